"""The page of micrograd.explore, in a real browser: its numbers, keys and safety, and its rules in JavaScript."""

import json
import math
import random
import re
import shutil
import struct

import pytest

from micrograd import Value, explore, nn
from micrograd.engine import topological_order
from micrograd.explorer.translation import translate
from micrograd.naming import name_nodes
from micrograd.rules import FLOATS, RULES, VALUES, rule

EVIL = [
    "</script><script>alert(1)</script>",
    '"]; evil [',
    "<b>",
    "a\nb",
    "🙈",
    "-->",
    "<!--",
    "{{data}}",
    "&lt;",
    "\u2028",
]


# ---- the browser


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    pytest.importorskip("selenium", reason="the tests of the page need selenium: python -m pip install selenium")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    binary = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    if not (binary and driver):
        pytest.skip("the tests of the page need a browser: apt install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    quiet = ["no-first-run", "disable-background-networking", "disable-component-update", "disable-sync"]
    for flag in ["headless", "no-sandbox", "disable-gpu", "disable-quic", "window-size=1280,800", *quiet]:
        options.add_argument(f"--{flag}")
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(driver))
    yield browser
    browser.quit()


class Page:
    """A page in the browser: reads what people see, and presses keys and buttons."""

    def __init__(self, browser, path):
        self.browser, self.url = browser, path.as_uri()
        self.open()

    def open(self, link=""):
        self.browser.get("about:blank")
        self.browser.get_log("browser")
        self.browser.get(self.url + link)
        from selenium.webdriver.support.ui import WebDriverWait

        ready = "return location.protocol === 'file:' && document.readyState === 'complete'"
        WebDriverWait(self.browser, 30).until(lambda browser: browser.execute_script(ready))

    def js(self, script, *arguments):
        return self.browser.execute_script(script, *arguments)

    def text(self, place):
        return re.sub(r"\n+", "\n", self.js("return document.getElementById(arguments[0]).innerText", place))

    @property
    def sentence(self):
        return self.text("sentence").split("\n")

    def press(self, *keys):
        from selenium.webdriver import ActionChains

        ActionChains(self.browser).send_keys(*keys).perform()

    def edit(self, i, text):
        self.js(
            "const input = document.getElementById(`leaf-${arguments[0]}`); input.value = arguments[1];"
            "input.dispatchEvent(new Event('input')); input.dispatchEvent(new Event('change'))",
            i,
            text,
        )

    def nodes(self):
        """Returns the texts of data and grad of each node in the drawing."""
        return [
            tuple(lines[-2:])
            for lines in self.js(
                "return [...document.querySelectorAll('.node')]"
                ".sort((a, b) => a.id.slice(1) - b.id.slice(1))"
                ".map((node) => [...node.querySelectorAll('text')].map((text) => text.textContent))"
            )
        ]


@pytest.fixture
def show(chromium, tmp_path):
    def show(root, names=None):
        explore(root, tmp_path / "page.html", names)
        page = Page(chromium, tmp_path / "page.html")
        assert errors(page) == []
        return page

    return show


def errors(page):
    return [entry["message"] for entry in page.browser.get_log("browser")]


@pytest.fixture
def new_rule():
    added = []

    def new_rule(name, *texts, **constants):
        added.append(name)
        return rule(name, *texts, **constants)

    yield new_rule
    for name in added:
        RULES.pop(name, None)
        FLOATS.pop(name, None)
        VALUES.pop(name, None)


# ---- what Python says


def expected(root, at):
    """Computes with the engine what the drawing must show after a number of steps."""
    nodes = topological_order(root)
    forward = list(root.forward_steps())
    for node in nodes:
        node.grad = 0.0
    data = {node: node.data for node in nodes if not node.parents}
    data |= {step.node: step.value for step in forward[:at]}
    grad = dict.fromkeys(nodes)
    if at >= len(forward):
        grad |= dict.fromkeys(nodes, 0.0) | {root: 1.0}
        for count, step in enumerate(root.steps()):
            if count < at - len(forward):
                grad[step.parent] = step.after
    shown = [(data.get(node), grad[node]) for node in nodes]
    return [(f"data {'·' if x is None else f'{x:.6g}'}", f"grad {'·' if g is None else f'{g:.6g}'}") for x, g in shown]


def expected_words(root, names, at):
    """Returns the sentence about a step of the backward pass."""
    forward = len(list(root.forward_steps()))  # first, because it computes the data again
    step = list(root.steps(names))[at - forward - 1]
    node, parent = step.names[step.node], step.names[step.parent]
    numbers = [f"{x:.6g}" for x in (step.local, step.upstream, step.contribution, step.before, step.after)]
    local, upstream, contribution, before, after = numbers
    formula = "" if step.formula == local else f"{step.formula} = "
    return (
        f"∂{node}/∂{parent} = {formula}{local}; times upstream {node}.grad {upstream} = {contribution}; "
        f"{parent}.grad: {before} + {contribution} = {after}"
    )


def example():
    w, x, b = Value(-3.1, label="w"), Value(2.0, label="x"), Value(7.0, label="b")
    n = w * x + b
    y = (n * 0.5).tanh() + n.relu() * x**3 + (w / b).exp()
    return y, {"w": w, "x": x, "b": b, "n": n, "y": y}


def test_ten_on_three_back_a_leaf_edited_and_reloaded(show):
    from selenium.webdriver.common.keys import Keys

    y, names = example()
    page = show(y, names)
    last = len(list(y.forward_steps())) + len(list(y.steps()))
    assert page.nodes() == expected(y, 0)
    for at in range(1, 11):
        page.press(Keys.ARROW_RIGHT)
        assert page.nodes() == expected(y, at)
    for at in (9, 8, 7):
        page.press(Keys.ARROW_LEFT)
        assert page.nodes() == expected(y, at)
    assert page.js("return location.hash") == "#step=7"
    order = topological_order(y)
    for number in ("-4.25", "1e-7", "-0.0", "3"):
        page.edit(order.index(names["w"]), number)
        names["w"].data = float(number)
        assert page.text("source") == "Changed: w"
        for at in (7, 15, last):
            page.js(f"location.hash = '#step={at}'; window.dispatchEvent(new Event('hashchange'))")
            assert page.nodes() == expected(y, at)
            if at > 10:
                assert page.sentence[-1] == expected_words(y, names, at)
    names["w"].data = -3.1
    page.open("#step=5")
    assert page.nodes() == expected(y, 5)
    assert page.text("position") == f"5 / {last}"
    assert errors(page) == []


def test_every_step_says_what_the_engine_does_before_and_after_an_edit(show):
    y, names = example()
    page = show(y, names)
    forward, last = len(list(y.forward_steps())), int(page.text("position").split("/")[1])
    for x in (2.0, 5.5):
        names["x"].data = x
        if x != 2.0:
            page.edit(topological_order(y).index(names["x"]), str(x))
        for at in range(forward + 1, last + 1):
            page.js(f"location.hash = '#step={at}'; window.dispatchEvent(new Event('hashchange'))")
            assert page.sentence[-1] == expected_words(y, names, at)
            assert page.sentence[0] == f"Backward {at - forward} of {last - forward}"
    assert page.nodes() == expected(y, last)


def test_a_formula_follows_the_branch_that_an_edit_takes(show):
    x = Value(2.0, label="x")
    page = show(x.leaky_relu(0.25) * x.abs() * (x**x))
    root = x.leaky_relu(0.25) * x.abs() * (x**x)
    last = int(page.text("position").split("/")[1])
    for number in ("2", "-2", "0", "0.5"):
        page.edit(0, number)
        x.data = float(number)
        for at in range(6, last + 1):
            page.js(f"location.hash = '#step={at}'; window.dispatchEvent(new Event('hashchange'))")
            assert page.sentence[-1] == expected_words(root, None, at)


def test_the_values_are_left_as_they_were(tmp_path):
    y, _ = example()
    y.backward()
    y.backward()
    before = [(node.data, node.grad) for node in topological_order(y)]
    topological_order(y)[0].data = 0.5  # and the rest is not computed again
    before[0] = (0.5, before[0][1])
    explore(y, tmp_path / "page.html")
    assert [(node.data, node.grad) for node in topological_order(y)] == before


def test_a_leaf_alone_and_a_deep_chain(show):
    page = show(Value(2.0, label="only"))
    assert page.nodes() == [("data 2", "grad 1")]
    assert page.sentence[0] == "No steps"
    y = Value(0.5)
    for _ in range(30):
        y = y.sin()
    assert show(y).nodes() == expected(y, 0)


# ---- undefined


def test_what_is_not_defined_is_said_and_the_rest_goes_on(show):
    x, z = Value(2.0, label="x"), Value(3.0, label="z")
    page = show(x.log() * z + 1 / z + x.exp())
    last = int(page.text("position").split("/")[1])
    page.js(f"location.hash = '#step={last}'; window.dispatchEvent(new Event('hashchange'))")
    order = topological_order(x.log() * z + 1 / z + x.exp())
    place = {node.label: i for i, node in enumerate(order) if node.label}
    page.edit(place["x"], "-1")
    assert page.text("problem") == "log(x = -1) is not defined: outside its domain"
    assert ("data n/a", "grad n/a") in page.nodes()
    assert "n/a" in page.text("sentence")
    page.edit(place["z"], "0")
    assert "(and 1 more)" in page.text("problem")
    page.edit(place["x"], "1000")
    assert page.text("problem").startswith("(")
    assert "/ (z = 0) is not defined: division by zero (and 1 more)" in page.text("problem")
    page.edit(place["z"], "1")
    assert page.text("problem") == "exp(x = 1000) is not defined: too large for a float"
    page.edit(place["x"], "nonsense")
    assert page.text("source") == "x: “nonsense” is not a number"
    page.js("document.getElementById('reset').click()")
    assert page.text("problem") == ""
    assert page.text("source") == "Change a number: both passes follow."
    assert errors(page) == []


def test_a_gradient_that_is_not_defined(show, new_rule):
    slope = new_rule("slope_of_none", "x", "x", "1 / x")
    x = Value(2.0, label="x")
    page = show(slope(x))
    page.js("document.getElementById('last').click()")
    page.edit(0, "0")
    assert page.text("problem") == "∂%1/∂x of slope_of_none(x = 0) is not defined: division by zero"
    assert page.nodes() == [("data 0", "grad n/a"), ("data 0", "grad 1")]


# ---- safety, size, network


def test_labels_are_text_and_run_nothing(show):
    leaves = [Value(i + 1.0, label=label) for i, label in enumerate(EVIL)]
    root = leaves[0].tanh()
    for leaf in leaves[1:]:
        root = root * leaf
    root.label = EVIL[0]
    page = show(root, {"<i>": leaves[2]})
    page.js("window.alerted = 0; window.alert = () => (window.alerted += 1)")
    names = list(name_nodes(root, {"<i>": leaves[2]}).values())
    page.js("document.getElementById('last').click()")
    assert page.js("return window.alerted") == 0
    assert page.js("return document.querySelectorAll('b, i').length") == 0
    assert page.js("return document.scripts.length") == 2
    shown = page.js("return [...document.querySelectorAll('#leaves .name')].map((name) => name.textContent)")
    assert shown == [name for name, node in zip(names, topological_order(root), strict=True) if not node.parents]
    drawn = page.js("return document.getElementById('drawing').textContent")
    assert "</script><script>alert(1)</script>" in drawn
    assert "<i>" in drawn
    assert page.js("return document.querySelector('h1').textContent").startswith(names[-1])
    assert errors(page) == []


def test_an_evil_rule_name_and_constants_are_data(show, new_rule):
    evil = new_rule("</script><script>alert(1)</script>", "a", "a * k", "k", k=math.inf)
    x = Value(1.0, label="x")
    page = show(evil(x))
    page.js("document.getElementById('last').click()")
    assert page.nodes() == [("data 1", "grad inf"), ("data inf", "grad 1")]
    page.edit(0, "-1")
    assert page.nodes() == [("data -1", "grad inf"), ("data -inf", "grad 1")]


def test_200_nodes_are_under_a_megabyte_and_ask_nothing_of_the_network(show, tmp_path):
    rng = random.Random(1)
    model = nn.MLP(4, [12, 7, 1])
    for parameter in model.parameters():
        parameter.data = rng.uniform(-1, 1)
    out = model([Value(1.0), Value(2.0), Value(-1.0), Value(0.5)])
    root = ((out[0] if isinstance(out, list) else out) - 1.0) ** 2
    assert len(topological_order(root)) >= 200
    page = show(root)
    assert (tmp_path / "page.html").stat().st_size < 1_000_000
    page.browser.get_log("performance")
    page.open("#step=100")
    assert page.nodes() == expected(root, 100)
    page.press("+", "0", "-")
    requests = [
        message["params"]["request"]["url"]
        for entry in page.browser.get_log("performance")
        if (message := json.loads(entry["message"])["message"])["method"] == "Network.requestWillBeSent"
    ]
    assert {url.split("#")[0] for url in requests} <= {page.url, "about:blank"}
    policy = page.js("return document.querySelector('meta[http-equiv]').content")
    assert policy.startswith("default-src 'none'")
    # The content policy works: an inserted script does not run.
    page.js(
        "const script = document.createElement('script'); script.textContent = 'window.ran = 1';"
        "document.body.append(script)"
    )
    assert page.js("return window.ran") is None


def test_too_large_a_graph_is_an_error(tmp_path):
    x = y = Value(1.0)
    for _ in range(1000):
        y = y.sin()
    with pytest.raises(
        ValueError, match=r"up to 1,000 nodes and 4,000 edges, and this graph has 1,001 and 1,000: take"
    ):
        explore(y, tmp_path / "page.html")
    assert x.grad == 0.0
    with pytest.raises(TypeError, match="takes Values, not float"):
        explore(2.0, tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


# ---- keys and screen readers


def test_keys_walk_play_and_go_from_node_to_node(show):
    from selenium.webdriver.common.keys import Keys

    y, names = example()
    page = show(y, names)
    last = int(page.text("position").split("/")[1])
    page.press(Keys.END)
    assert page.text("position") == f"{last} / {last}"
    page.press(Keys.HOME)
    assert page.sentence[0] == f"Step 0 of {last}"
    page.press(" ")
    assert page.js("return document.getElementById('play').getAttribute('aria-label')") == "Pause"
    assert page.text("position") == f"1 / {last}"
    page.press(" ")
    assert page.js("return document.getElementById('play').getAttribute('aria-label')") == "Play"
    page.js("document.getElementById('slider').focus()")
    page.press(Keys.ARROW_RIGHT)
    assert page.text("position") == f"2 / {last}"
    assert page.js("return document.getElementById('slider').getAttribute('aria-valuetext')").startswith("Forward 2 of")

    page.js("document.getElementById('n0').focus()")
    page.press(Keys.ARROW_DOWN)
    focus = "return document.activeElement"
    assert page.js(f"{focus}.id") == "n1"
    assert page.js(f"{focus}.getAttribute('aria-label')").startswith("x. data 2, grad not computed yet. A leaf")
    assert not page.js("return document.getElementById('tip').hidden")
    page.press(Keys.ENTER)
    assert page.js(f"{focus}.id") == "leaf-1"
    page.press("4", Keys.ARROW_RIGHT)  # types, and does not step
    assert page.text("position") == f"2 / {last}"
    assert page.nodes()[1][0] == "data 4"
    assert page.js("return document.getElementById('sentence').getAttribute('aria-live')") == "polite"


def test_everything_that_takes_the_focus_has_a_name(show):
    y, names = example()
    page = show(y, names)
    nameless = page.js(
        "return [...document.querySelectorAll('button, input, [tabindex]')].filter((element) =>"
        "!(element.getAttribute('aria-label') || element.textContent.trim() || element.labels?.length))"
        ".map((element) => element.id)"
    )
    assert nameless == []


def test_hovering_tells_the_rule_in_words(show):
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.by import By

    y, names = example()
    page = show(y, names)
    i = next(i for i, node in enumerate(topological_order(y)) if node.op == "tanh")
    ActionChains(page.browser).move_to_element(page.browser.find_element(By.ID, f"n{i}")).perform()
    value, (local,) = RULES["tanh"].value, RULES["tanh"].local
    assert f"The rule tanh: of a it makes out = {value}\n∂out/∂a = {local}" in page.text("tip")
    page.js("document.getElementById(arguments[0]).dispatchEvent(new PointerEvent('pointerenter'))", f"e{i}_0")
    assert f"In the rule tanh: {local}" in page.text("tip")


# ---- the translation


def of_texts(one, constants, operands):
    """Computes a rule's value and its local gradients from its texts; None if undefined."""

    def evaluated(text, **more):
        given = {one.names[0]: operands} if one.variadic else dict(zip(one.names, operands, strict=True))
        try:
            return eval(text, {**FLOATS, **constants, **given, **more})
        except (ArithmeticError, ValueError):
            return None

    value = evaluated(one.value)
    return value, [None if value is None else evaluated(local, out=value) for local in one.local]


def agree(python, javascript):
    if isinstance(python, (list, tuple)):
        return len(python) == len(javascript) and all(map(agree, python, javascript))
    if python is None or javascript is None:
        return python is javascript
    python, javascript = float(python), float(javascript)
    return python == javascript or math.isclose(python, javascript, rel_tol=1e-12) or (python != python != javascript)


def test_every_rule_is_the_same_in_javascript(show, new_rule):
    new_rule("softsign", "x", "x / (1 + abs(x))", "1 / (1 + abs(x)) ** 2")
    new_rule(
        "odd",
        "*xs",
        "sum(x * y for x, y in zip(xs, xs[1:]) if x and not y < 0) + max(xs) % 3 // 1 + (0 < (k := len(xs)) < 9) * k",
        "[x % 3 // 1 + len(xs) ** 0.5 + xs[-1] + min(sorted(xs)[:2]) for x in xs]",
    )
    new_rule("soft", "x, y", "softplus(x) + hypot(x, y) or y", "x if x < y <= 3 != x else pi", "-y and e + tau - inf")
    new_rule("in", "this, var", "this * function - var", "function", "-1.0 if this else nan", function=2.5)
    bound = {
        "power": [{"n": n} for n in (-1.0, -0.5, 0.0, 0.5, 1.0, 3.0)],
        "leaky_relu": [{"negative_slope": -0.3}],
        "weigh": [{"x": (1.0, -2.0, 0.5, 3.0)}],
    }
    root = Value(0.0)
    for one in RULES.values():
        with_constants = one.bind(one.name, **bound.get(one.name, [{}])[-1])
        root = root + with_constants(*[Value(0.7 + i / 9) for i in range(4 if one.variadic else len(one.names))])
    page = show(root)
    rng = random.Random(3)
    cases, python = [], []
    for one in RULES.values():
        for k in range(120):
            constants = {**one.constants, **rng.choice(bound.get(one.name, [{}]))}
            operands = [
                rng.choice([-2.0, -1.0, 0.0, 0.5, 1.0, 3.0]) if k % 3 else rng.gauss(0, 10 ** (k % 4 - 1))
                for _ in range(4 if one.variadic else len(one.names))
            ]
            value, local = of_texts(one, constants, operands)
            cases.append([one.name, constants, operands, value])
            python.append([value, local])
    javascript = page.js(
        """
        const numbers = { inf: Infinity, "-inf": -Infinity, nan: NaN };
        const index = Object.fromEntries(JSON.parse(data.textContent).nodes.map((node) => [node.op, node.rule]));
        const attempt = (compute) => {
          try { return compute(); } catch (error) { if (error instanceof Undefined) return null; throw error; }
        };
        const results = JSON.parse(arguments[0]).map(([name, constants, operands, value]) => {
          const rule = RULES[index[name]];
          const out = numbers[value] ?? value;
          return [attempt(() => rule.value(constants, undefined, operands)),
                  rule.local.map((local) => value === null ? null : attempt(() => local(constants, out, operands)))];
        });
        return JSON.stringify(results, (key, x) => typeof x === "number" && !Number.isFinite(x) ? String(x) : x);
        """,
        json.dumps([[*case[:3], x if x is None or math.isfinite(x) else str(x)] for case in cases for x in case[3:]]),
    )
    for case, by_python, by_javascript in zip(cases, python, json.loads(javascript), strict=True):
        assert agree(by_python, by_javascript), (case, by_python, by_javascript)


def test_numbers_are_written_as_python_writes_them(show):
    rng = random.Random(4)
    numbers = [
        1e-7,
        1e6,
        123456789.0,
        0.0,
        -0.0,
        999999.5,
        999999.4,
        0.0001,
        0.00001,
        1234565.0,
        1234575.0,
        0.5,
        5e-324,
    ]
    numbers += [1e22, 1.7976931348623157e308, 100000.5, 100001.5, 0.1234565, 2.5e-5, -1e100, 123456.5, 1 / 3]
    numbers += [struct.unpack("d", rng.randbytes(8))[0] for _ in range(3000)]
    numbers += [rng.randrange(10**8) / 2 ** rng.randrange(12) for _ in range(3000)]
    numbers = [x for x in numbers if math.isfinite(x)]
    page = show(Value(1.0).tanh())
    assert page.js("return JSON.parse(arguments[0]).map(format)", json.dumps(numbers)) == [f"{x:.6g}" for x in numbers]
    assert page.js("return [Infinity, -Infinity, NaN].map(format)") == ["inf", "-inf", "nan"]


def test_a_rule_added_at_run_time(show, new_rule):
    softsign = new_rule("softsign", "x", "x / (1 + abs(x))", "1 / (1 + abs(x)) ** 2")
    x = Value(2.0, label="x")
    y = softsign(x * 3)
    page = show(y)
    page.js("document.getElementById('last').click()")
    assert page.nodes() == expected(y, 5)
    page.edit(0, "-0.3")
    x.data = -0.3
    assert page.nodes() == expected(y, 5)
    assert len(page.js("return RULES")) == 2  # and no others of the table


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gamma(a)", "the function 'gamma' has no counterpart in JavaScript"),
        ("[a][0]()", "the call of '[a][0]' is not translated to JavaScript"),
        ("a.real", "'a.real' (Attribute) is not translated to JavaScript"),
        ("{a: 1}[a]", "'{a: 1}' (Dict) is not translated to JavaScript"),
        ("a + b", "the name 'b' is neither an operand nor a constant"),
        ("a + 1j", "1j is not a real number"),
        ("a << 1", "the operator in 'a << 1' is not for floats"),
        ("a is a", "the comparison in 'a is a' is not for floats"),
        ("sum([a], start=0)", "the keyword in 'sum([a], start=0)' is not translated to JavaScript"),
        ("[a] - a", "'[a]' is a sequence where a number is expected"),
        ("sum([x for x in a])", "'a' is a number where a sequence is expected"),
        ("[a][::2][0]", "the step in '[a][::2]' is not translated to JavaScript"),
        ("a()", "'a' is no function"),
        ("[a] if a else a", "'[a] if a else a' is a number or a sequence"),
    ],
)
def test_what_is_not_translated_is_an_error_that_names_it(new_rule, text, message):
    odd = new_rule("odd", "a", text, "1.0")
    with pytest.raises(ValueError, match=re.escape(f"rule 'odd' can't be shown in a page: {message}; write the rule")):
        translate([odd])


def test_constants_that_are_no_numbers_are_an_error(new_rule):
    odd = new_rule("odd", "a", "a", "1.0", k="text")
    with pytest.raises(ValueError, match=r"rule 'odd': the constant k is str 'text': the page takes only numbers"):
        translate([odd])
