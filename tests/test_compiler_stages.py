"""Each stage of the compiler alone: graphs are simplified, plans put together what belongs together, both print."""

import gc
import os
import random
import subprocess
import sys
import tracemalloc
from weakref import WeakValueDictionary

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

np = pytest.importorskip("numpy")
pytest.importorskip("llvmlite", reason="compiling needs llvmlite, which is not installed")

from micrograd import Value, compile, functional, grad, nn
from micrograd.compiler import DisagreementError, emit, machine
from micrograd.compiler.code import Function
from micrograd.compiler.graph import Body, Graph, Operation
from micrograd.compiler.plan import make_plan
from micrograd.compiler.tracing import record, trace
from micrograd.rules import RULES, rule


def graph_of(function, *arguments, differentiate=""):
    return Graph(trace(record(function, arguments), differentiate))


def names(graph):
    return [op.name for op in graph.ops if op.name not in ("constant", "input", "captured")]


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: x * 1, []),
        (lambda x: x + 0, ["+"]),  # -0.0 + 0.0 is 0.0
        (lambda x: -0.0 + x - 0 + -0.0, []),
        (lambda x: x / 1, []),
        (lambda x: (-x) * -1, ["neg"]),
        (lambda x: x * -1, ["neg"]),
        (lambda x: x**1, []),
        (lambda x: x**2, ["square"]),
        (lambda x: x**3, ["cube"]),
        (lambda x: x**-1, ["inverse"]),
        (lambda x: x**0.5, ["sqrt", "+"]),  # (-0.0) ** 0.5 is 0.0
        (lambda x: x**2.5, ["**"]),
        (lambda x: x / 4, ["*"]),
        (lambda x: x / 3, ["/"]),
        (lambda x: functional.sum([x, 0.0]), ["+"]),  # a sum begins with 0.0
        (lambda x: functional.dot([x, x], [1.0, 1.0]), ["sum"]),
        (lambda x: functional.dot([x], [2.0]), ["*", "+"]),
        (lambda x: x.exp() * x.exp(), ["exp", "*"]),
        (lambda x: functional.where(x > 0, x, x), ["less"]),
    ],
)
def test_graphs_are_simplified(function, expected):
    assert names(graph_of(function, 0.75)) == expected


def test_zeros_times_anything_vanish_in_gradients_alone():
    graph = graph_of(lambda x: x * 0.0, 2.0, differentiate="inputs")
    graph.make_gradients()
    assert graph.gradients == [graph.zero]
    assert graph.outputs != [graph.zero]


def test_the_slope_of_an_inverse_has_no_general_power():
    found = names(graph_of(lambda x: x**-1, 0.75, differentiate="inputs"))
    assert "inverse square" in found
    assert "**" not in found


def test_a_graph_prints():
    w = Value(3.0)
    text = str(graph_of(lambda x: (w * w + x).tanh(), 0.5))
    assert "*(3, 3)  (the same in all lanes)" in text
    assert "tanh(" in text
    assert text.splitlines()[-2].startswith("outputs [")


def test_small_programs_are_one_kernel():
    plan = make_plan(graph_of(lambda x: x.tanh() * x + 1, 0.5, differentiate="inputs"), sums=False)
    assert plan.is_fused
    assert [one.name for one in plan.lanes] == ["fused"]


def test_sums_of_shared_inputs_are_layers_and_their_places_share_weights():
    layer = nn.Linear(8, 8)

    def twice(x):
        return functional.sum([y.tanh() for half in (x[:8], x[8:]) for y in layer(half)])

    plan = make_plan(graph_of(twice, [0.1 * i for i in range(16)], differentiate="captured"), sums=True)
    (layers,) = [one for one in plan.lanes if one.name == "layer"]
    assert layers.note == "8 → 8, at 2 places"
    (products,) = [one for one in plan.lanes if one.name == "outer"]
    assert products.note == "8 × 8, at 2 places"


@settings(max_examples=25, deadline=None)
@given(st.data(), *[st.sampled_from([range(8), range(8, 13), range(13), range(16)])] * 2, st.booleans())
def test_slopes_of_dot_products_of_any_leaves(data, first, second, has_squares):
    w = [Value(0.25 * i - 1.0) for i in range(8)]
    x = [Value(0.5 * i - 0.75) for i in range(5)]
    sides = [
        [data.draw(st.lists(st.sampled_from(which), min_size=30, max_size=30)) for which in (first, second)]
        for _ in range(7)
    ]
    sides += [[a, a] for a, _ in sides if has_squares]

    def function(given):
        leaves = [*w, *given, 0.0, 1.0, -2.5]
        dots = [functional.dot([leaves[i] for i in a], [leaves[i] for i in b]) for a, b in sides]
        return [functional.sum([(d * 0.01 + given[0]).tanh() * k for d in dots]) for k in (1.0, 2.0)]

    def run(f):
        found = []
        for out in f(x):
            for leaf in (*w, *x):
                leaf.grad = 0.0
            out.backward()
            found += [out.data, *[leaf.grad for leaf in (*w, *x)]]
        return found

    assert run(compile(function)) == pytest.approx(run(function), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("name", ["relu", "abs", "maximum", "minimum"])
def test_a_slope_that_is_a_choice_among_numbers_is_one_operation(name):
    operands = [0.5, -0.25][: len(RULES[name].names)]
    graph = graph_of(lambda *x: RULES[name](*x), *operands, differentiate="inputs")
    assert names(graph) == [name, *[f"slope of {name}"] * len(operands)]


def test_what_stands_in_parentheses_is_added_first():
    huge = 1e17
    f = compile(lambda w, t: w + (t - huge))
    assert f.values([1.0, 1.0], [huge + 64, huge]).tolist() == [65.0, 1.0]


def test_long_chains_of_plus_are_one_sum():
    w = [Value(0.1 * i) for i in range(300)]
    compiled = compile(lambda x: sum((wi * x for wi in w), Value(1.0)))
    assert compiled(2.0).data == pytest.approx(compiled.function(Value(2.0)).data, rel=1e-13)
    assert compiled.program.lanes[0].name == "dot"


def test_plain_numbers_are_operands_and_no_part_of_the_machine_code(monkeypatch):
    kernels = []
    keep = machine._find_code
    monkeypatch.setattr(machine, "_find_code", lambda kernel, what: (kernels.append(kernel), keep(kernel, what))[1])
    for k in range(1, 5):
        compile(lambda x, k=k: (x * (0.37 + k)) ** (2.3 + k) - 1.7 * k - 5)(0.7)
    assert len({kernel.key for kernel in kernels if kernel.key.startswith("expression")}) <= 1


def test_a_kink_that_rounding_decides_is_no_disagreement():
    tenths = [0.1] * 10
    compiled = compile(lambda x, w: functional.dot(x, w).relu() - functional.dot(x[::-1], w).relu() * 1.0)
    weights = [1.0, 2.0, 3.0, 4.0, 5.0, -1.0, -2.0, -3.0, -4.0, -5.0]
    assert compiled(tenths, weights).data == pytest.approx(compiled.function(tenths, list(map(Value, weights))).data)


def test_large_numbers_that_cancel_are_no_disagreement():
    compiled = compile(lambda x: (functional.dot(x, x) - 3e16) * 1e3)
    x = [1e8, 1e8, 1e8, 1.0, 3.0, 5.0, 7.0, 1.0, 2.0]
    expected = compiled.function(list(map(Value, x))).data
    assert compiled(x).data == pytest.approx(expected, abs=1e5)


def test_a_gradient_that_cancels_is_no_disagreement():
    slope = compile(lambda x: RULES["bce_slope"](x.sigmoid() ** 2, x.sigmoid() ** 2).leaky_relu())
    assert slope.gradients([0.0, 0.0]) == pytest.approx([0.0, 0.0], abs=1e-16)


def test_programs_of_many_forms_are_forgotten_again():
    total = compile(lambda xs: functional.sum(xs))
    for n in range(1, 100):
        assert total([1.0] * n).data == n
    assert len(total._programs) <= 64
    assert total([1.0]).data == 1.0


def test_a_program_keeps_no_graph():
    model = nn.MLP(4, [8, 2], activation="tanh")
    compiled = compile(lambda x: functional.sum(model(x)))
    compiled.batch(np.ones((3, 4)))
    for (_, traced), *_ in compiled._programs.values():
        assert (traced.nodes, traced.inputs, traced.outputs, traced.gradients) == ([], [], [], [])


def test_a_call_leaves_no_values_behind_and_little_memory():
    model = nn.MLP(32, [64, 10], activation="relu")
    x = [0.1 * i for i in range(32)]
    compile(lambda x: functional.logsumexp(model(x)))(x)  # what is made once for all
    gc.collect()
    before = {id(thing) for thing in gc.get_objects() if isinstance(thing, Value)}
    compiled = compile(lambda x: functional.logsumexp(model(x)))
    tracemalloc.start()
    compiled(x).backward()
    gc.collect()
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert [thing for thing in gc.get_objects() if isinstance(thing, Value) and id(thing) not in before] == []
    assert kept < 200 * len(model.parameters())


def test_graphs_are_freed_without_the_collector():
    model = nn.MLP(4, [8, 8, 2])
    compiled = compile(lambda x: functional.logsumexp(model(x)))
    gc.collect()
    gc.disable()
    try:
        before = {id(thing) for thing in gc.get_objects() if isinstance(thing, Value)}
        compiled([0.1, 0.2, 0.3, 0.4])
        compiled.values([[0.1, 0.2, 0.3, 0.4]] * 3)
        assert [thing for thing in gc.get_objects() if isinstance(thing, Value) and id(thing) not in before] == []
    finally:
        gc.enable()


def test_results_stay_what_they_are_when_a_function_is_called_again():
    double = compile(lambda x: x * 2)
    first = double.values([1.0, 2.0])
    second = double.values([3.0, 4.0])
    assert (first.tolist(), second.tolist()) == ([2.0, 4.0], [6.0, 8.0])


def test_an_operation_that_is_defined_anew_is_compiled_anew():
    for text, expected in (("x + 1.0", 3.0), ("x + 2.0", 4.0)):
        rule("shifted", "x", text, "1.0")
        try:
            assert compile(lambda x: RULES["shifted"](x) * 1.0)(2.0).data == expected
        finally:
            del RULES["shifted"]


@pytest.mark.parametrize("text", ["1 / (1 + exp(-x))", "1 / (1 / x)", "0.0 if x > 800 else 1 / (1 + exp(-x))"])
@pytest.mark.parametrize("point", [-1000.0, 0.0, 2.0, 1000.0])
def test_an_error_inside_of_a_text_is_not_lost(text, point):
    squash = rule("squash", "x", text, "0.0")
    try:
        results = []
        for function in (compile(lambda x: squash(x) * 2), lambda x: squash(Value(x)) * 2):
            try:
                results.append(function(point).data)
            except (ArithmeticError, ValueError) as error:
                results.append(str(error))
        assert results[0] == (results[1] if isinstance(results[1], str) else pytest.approx(results[1], rel=1e-14))
    finally:
        del RULES["squash"]


def test_an_expression_prints():
    tanh = Operation("tanh", ("a",), "tanh(a)")
    assert str(Body("L", (), ((tanh, (0,)),), (1,))) == "tanh: tanh(a)"
    assert str(Body("LU", (), ((tanh, (0,)), (tanh, (2,))), (3,))) == "tanh(tanh(l0))"


def test_a_side_that_takes_long_is_a_branch_and_errors_in_it_count_only_where_it_is_needed():
    compiled = compile(lambda x: functional.where(x > 0, x.log(), x * 2))
    found = compiled.values([1.0, -1.0, 4.0] * 6)
    assert found[:3].tolist() == [0.0, -2.0, pytest.approx(np.log(4.0))]


def test_numbers_of_machine_code_are_not_known_when_it_is_written():
    function = Function("f", 2, lambda *given: None)
    with pytest.raises(TypeError, match="not known while the code is written"):
        bool(function.pointers[0][0] > 0.0)


def run_for(target, code, **more):
    """Runs code that prints "right" in a process that compiles for a kind of processor."""
    environment = {**os.environ, "MICROGRAD_TARGET": target, **more}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert run.stdout == "right\n", run.stderr


@pytest.mark.parametrize("target", ["AVX2", "SSE2"])
def test_other_processors(target):
    code = """if True:
        import numpy as np
        from micrograd import Value, compile, functional, nn
        import random
        model = nn.MLP(5, [12, 9], activation="tanh", rng=random.Random(0))
        loss = compile(lambda x: functional.logsumexp(model(x)))
        x = np.random.default_rng(0).normal(size=(19, 5))
        expected = [loss.function(list(map(Value, row))).data for row in x.tolist()]
        np.testing.assert_allclose(loss.values(x), expected, rtol=1e-12)
        np.testing.assert_allclose(loss.batch(x).data, np.mean(expected), rtol=1e-12)
        print("right")
    """
    run_for(target, code)


def test_an_unknown_processor_is_an_error(monkeypatch):
    monkeypatch.setenv("MICROGRAD_TARGET", "Z80")
    with pytest.raises(ValueError, match="MICROGRAD_TARGET is one of AVX-512, AVX2, SSE2, not 'Z80'"):
        machine.find_target()


def test_a_wrong_sum_is_caught(monkeypatch):
    apply = emit.apply
    monkeypatch.setattr(
        emit, "apply", lambda f, what, *more: apply(f, what, *more) * (1.0 + 1e-7 * (what.name == "dot"))
    )
    monkeypatch.setattr(machine, "_codes", WeakValueDictionary())
    monkeypatch.setattr(machine, "find_folder", lambda: None)
    with pytest.raises(DisagreementError, match="disagree"):
        compile(lambda x: functional.dot(x, x[::-1]))([0.5, 0.25, 2.0])


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 20), st.integers(2, 20), st.integers(1, 6), st.sampled_from([1, 2, 9, 70]))
def test_layers_of_any_size_give_what_floats_give(inputs, sums, places, count):
    """Weights that are shared by places, for one sample and for several: values and sums of gradients."""
    rng = random.Random(inputs * 100 + sums)
    weights = [[Value(rng.gauss(0, 1)) for _ in range(inputs)] for _ in range(sums)]
    biases = [Value(rng.gauss(0, 1)) for _ in range(sums)]

    def loss(x):
        rows = [x[p : p + inputs] for p in range(places)]
        return functional.sum(
            [functional.tanh(functional.dot(w, row) + b) for row in rows for w, b in zip(weights, biases, strict=True)]
        )

    x = [[rng.gauss(0, 1) for _ in range(inputs + places)] for _ in range(count)]
    parameters = [*biases, *[w for line in weights for w in line]]
    expected = functional.mean([loss(row) for row in x])
    out = compile(loss).batch(np.array(x))
    assert out.data == pytest.approx(expected.data, rel=1e-12, abs=1e-12)
    np.testing.assert_allclose(grad(out, parameters), grad(expected, parameters), rtol=1e-11, atol=1e-11)


CONVOLUTION = """if True:
    import random
    import numpy as np
    from micrograd import Value, compile, functional, grad
    rng = random.Random(0)
    kernels = [[[Value(rng.gauss(0, 1)) for _ in range(3)] for _ in range(4)] for _ in range(9)]
    scale = Value(0.7)
    parameters = [scale, *[w for kernel in kernels for line in kernel for w in line]]

    def loss(x):
        channels = [[(scale * xi).tanh() for xi in x[begin : begin + 6]] for begin in (0, 6, 12, 18)]
        out = []
        for p in range(6):
            near = [d for d in range(3) if 0 < p + d < 7]
            given = [channel[p + d - 1] for channel in channels for d in near]
            out += [functional.dot([line[d] for line in kernel for d in near], given).tanh() for kernel in kernels]
        return functional.sum(out)
"""


def test_weights_of_a_convolution_are_copied_nowhere():
    """Where a place has fewer neighbours, those weights are in uneven steps."""
    scope = {}
    exec(CONVOLUTION, scope)
    traced = trace(record(scope["loss"], [[0.01 * i for i in range(24)]]), "captured", scope["parameters"])
    plan = make_plan(Graph(traced), sums=True)
    assert [one.name for one in plan.uniform] == []
    assert sorted(one.note for one in plan.lanes if one.name == "layer") == [
        "12 → 9, at 4 places", "18 → 4", "18 → 4", "27 → 4, at 4 places", "8 → 9", "8 → 9"
    ]  # fmt: skip
    assert len([one for one in plan.lanes if one.name == "outer"]) == 4  # of three kinds of places, and of the scale


@pytest.mark.parametrize("target", ["", "AVX2", "SSE2"])
def test_a_convolution_gives_what_floats_give(target):
    code = f"""{CONVOLUTION}
    for count in (1, 5, 19, 150):
        x = np.random.default_rng(0).normal(size=(count, 24))
        expected = functional.mean([loss(list(map(Value, row))) for row in x.tolist()])
        out = compile(loss).batch(x)
        np.testing.assert_allclose(out.data, expected.data, rtol=1e-12)
        np.testing.assert_allclose(grad(out, parameters), grad(expected, parameters), rtol=1e-11, atol=1e-13)
    print("right")
    """
    run_for(target, code)


def test_threads_keep_the_instructions_that_they_run():
    code = """if True:
        import numpy as np
        from micrograd import compile, functional, nn
        model = nn.MLP(200, [100, 10], activation="relu")
        loss = compile(lambda x: functional.logsumexp(model(x)))
        x = np.random.default_rng(0).normal(size=(256, 200))
        for _ in range(20):
            assert abs(loss.batch(x).data - np.mean(loss.values(x))) < 1e-9
        print("right")
    """
    run_for("", code, MICROGRAD_THREADS="2")


def test_two_arrays_are_read_where_they_are():
    numbers = np.random.default_rng(0).normal(size=(4, 60))
    packed = np.zeros(50, dtype=[("tag", "i4"), ("x", "f8")])  # not at whole steps from the other
    packed["x"] = numbers[3, :50]
    product = compile(lambda x, y: x * y + x)
    for x, y in [
        (numbers[0], numbers[1]), (numbers[1], numbers[0]), (numbers[0, ::2], numbers[1, 30:]),
        (numbers[0][::-1], numbers[2]), (numbers[0].astype(np.float32), numbers[1]), (numbers[0, :50], packed["x"]),
    ]:  # fmt: skip
        values, (by_x, by_y) = product.values_and_gradients(x, y)
        np.testing.assert_array_equal(values, np.multiply(x, y, dtype=float) + x)
        np.testing.assert_array_equal(by_x, y + 1.0)
        np.testing.assert_array_equal(by_y, x)


@pytest.mark.parametrize("place", [0, 3, 500, 1001, 1002])
def test_a_failure_that_no_output_shows_is_noticed(place):
    """In a fused program: 1 / exp(800) is 0 in machine code, and an error for floats; the next call is as before."""
    compiled = compile(lambda x: 1.0 / functional.exp(x))
    x = np.linspace(-5, 5, 1003)
    expected = pytest.approx(np.exp(-x).tolist(), rel=1e-14)
    assert compiled.values(x).tolist() == expected
    wrong = x.copy()
    wrong[place] = 800.0
    with pytest.raises(OverflowError):
        compiled.values(wrong)
    assert compiled.values(x).tolist() == expected


@pytest.mark.parametrize("place", [0, 3, 500, 1001, 1002])
def test_samples_that_are_not_finite_get_what_floats_give(place):
    compiled = compile(lambda x: x * 2.0 + 1.0)
    x = np.linspace(-5, 5, 1003)
    x[place] = np.inf
    values, slopes = compiled.values_and_gradients(x)
    np.testing.assert_array_equal(values, x * 2.0 + 1.0)
    np.testing.assert_array_equal(slopes, 2.0)
