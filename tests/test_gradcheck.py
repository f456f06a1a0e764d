"""Checks gradcheck: it finds bugs of every kind, and never calls a correct gradient wrong."""

import ast
import itertools
import math
import random
from functools import partial

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from micrograd import Value, nn
from micrograd.functional import cross_entropy, mean
from micrograd.rules import FLOATS, RULES, Rule, rule
from micrograd.testing import GradcheckError, check_jvp, check_vjp, gradcheck, gradgradcheck
from micrograd.testing.strategies import expressions, finite_floats, lists, modules, values

CHOSEN = ("floor", "round", "stop_gradient", "upper_half")  # gradients that are not derivatives, or 0
# Formulas for rounding, and for numbers so small or so near an edge that no difference quotient is exact: see
# test_accuracy.py.
RARE = {
    "/": "-a / (b * b)",
    "**": "a ** (b / 2) * log(a) * a ** (b / 2)",
    "asin_slope": "if -1 < a < 1 else a * out",
    "power": "n - 1 + 1 == n",
    "power_slope": "n - 1 + 1 <= n",
}
POINTS = {"bce": (0.7, 0.3), "log": (2.0,), "sqrt": (2.0,), "**": (1.5, 2.5), "/": (1.0, 2.0)}


def example(name):
    """Returns a rule and a point at which its slopes differ from each other and from 0, 1 and −1."""
    chosen = RULES[name]
    if name == "weigh":
        chosen = chosen.bind("weigh", x=(0.5, -2.0, 3.0))
    if name == "power":
        chosen = chosen.bind("power", n=3.0)
    count = 4 if name in ("sum", "dot", "logsumexp", "exp_sum") else 3 if name == "weigh" else len(chosen.local)
    return chosen, POINTS.get(name, (0.7, 1.3, -0.4, 2.1)[:count])


def check(function, point):
    return gradcheck(lambda *x: function(*x), list(map(float, point)), raises=False)


@pytest.mark.parametrize("name", [name for name in RULES if name not in CHOSEN])
def test_every_rule_passes(name):
    function, point = example(name)
    assert [row.verdict for row in check(function, point).rows] == ["ok"] * len(point)
    gradgradcheck(lambda *x: function(*x), list(point))


def without_a_term(text):
    """Yields the expression with one operand of a sum, difference, product or quotient left out."""
    for i in range(sum(isinstance(node, ast.BinOp) for node in ast.walk(ast.parse(text)))):
        for side in ("left", "right"):
            count = itertools.count()

            class Without(ast.NodeTransformer):
                def visit_BinOp(self, node, i=i, side=side, count=count):
                    chosen = next(count) == i
                    self.generic_visit(node)
                    return getattr(node, side) if chosen else node

            yield ast.unparse(Without().visit(ast.parse(text, mode="eval")))


def bugs(name):
    right = RULES[name]
    if right.variadic:
        text = right.local[0]
        yield "scaled", (f"[1.001 * s for s in {text}]",)
        yield "negated", (f"[-s for s in {text}]",)
        if name != "sum":
            yield "swapped", (f"list({text})[::-1]",)
        yield "a missing term", (f"[*list({text})[:-1], 0.0]",)
        return
    yield "scaled", tuple(f"1.001 * ({text})" for text in right.local)
    yield "negated", tuple(f"-({text})" for text in right.local)
    if len(set(right.local)) == 2:
        yield "swapped", right.local[::-1]
    for i, text in enumerate(right.local):
        yield f"no slope {i}", (*right.local[:i], "0.0", *right.local[i + 1 :])
        yield from (
            (f"{shorter} for {text}", (*right.local[:i], shorter, *right.local[i + 1 :]))
            for shorter in without_a_term(text)
            # Skip a change that keeps the value and changes only the slope.
            if shorter != ast.unparse(ast.parse(text.replace("inf - out", "inf"))).strip()
            and (RARE.get(name, "") in shorter or RARE[name] not in text)
        )


@pytest.mark.parametrize(
    ("name", "local"),
    [pytest.param(n, local, id=f"{n}: {kind}") for n in RULES if n not in CHOSEN for kind, local in bugs(n)],
)
def test_every_injected_bug_is_caught(name, local):
    right, point = example(name)
    wrong = Rule(name, right.operands, right.value, local, right.constants)
    # Two points and an edge, because a branch, and one side of a maximum, is seen at one of them only.
    cases = [(wrong, point), (wrong, tuple(x + 0.1 for x in reversed(point)))]
    more = {"sqrt": [(0.0,)], "**": [(0.0, 0.5), (0.7, 5.0)], "tanh": [(0.2,)], "asin_slope": [(0.3,), (0.9,)]}
    cases += [(wrong, at) for at in more.get(name, [])]
    if name == "power":
        cases += [
            (wrong.bind("power", n=2.0), (0.7,)),
            (wrong.bind("power", n=5.0), (0.7,)),
            (wrong.bind("power", n=5.0), (1e-4,)),
        ]
        cases += [(wrong.bind("power", n=0.5), (0.0,)), (wrong.bind("power", n=0.0), (0.0,))]
    found = []
    for function, at in cases:
        try:
            found.append(not check(function, at).ok)
        except (ArithmeticError, ValueError, TypeError):  # the bug raised an error
            found.append(True)
    assert any(found)


@settings(max_examples=300, suppress_health_check=list(HealthCheck), deadline=None)
@given(expressions())
def test_no_false_alarm(expression):
    gradcheck(expression, expression.point)


def test_kinks_are_told_from_bugs():
    report = gradcheck(lambda x, y: abs(x) + x.maximum(y) + y.relu(), [0.0, 0.0])
    assert [row.verdict for row in report.rows] == ["kink", "kink"]
    nearly = gradcheck(lambda x: (x - 1e-6).relu(), [0.0])
    assert nearly.ok
    outside = Rule("outside", "a", "abs(a)", ("1.5",), {})
    with pytest.raises(GradcheckError, match="wrong by x"):
        gradcheck(lambda x: outside(x), [0.0])


def test_operations_after_one_that_jumps_are_no_bugs():
    # Beyond the jump, atan2(a, a) is π/4 or -3π/4, and the slope of what comes after it is not that at 0.
    def f(x, bell_curve):
        a = x.log1p()
        return bell_curve(a.atan2(a).asin(), x).hypot(a)

    report = gradcheck(lambda x: f(x, RULES["bell_curve"]), [0.0])
    assert [(row.verdict, row.reason) for row in report.rows] == [("jump", "operations have a jump here")]
    right = RULES["bell_curve"]
    wrong = Rule("wrong", right.operands, right.value, (right.local[0], "2.0"), {})
    assert not gradcheck(lambda x: f(x, wrong), [0.0], raises=False).ok


def test_edges_of_a_domain_are_told_from_bugs():
    assert [row.verdict for row in gradcheck(lambda x: x.sqrt(), [0.0]).rows] == ["edge"]
    assert [row.verdict for row in gradcheck(lambda x: x**1.5, [0.0]).rows] == ["edge"]
    assert [row.verdict for row in gradcheck(lambda x: x.log(), [1e-5]).rows] == ["ok"]
    assert [row.verdict for row in gradcheck(lambda x: x.log(), [1e-200]).rows] == ["ok"]
    assert [row.verdict for row in gradcheck(lambda x, y: x**y, [-2.0, 3.0]).rows] == ["ok", "cannot tell"]
    half = Rule("half", "a", "a + 0 * sqrt(a)", ("1.5",), {})
    with pytest.raises(GradcheckError):
        gradcheck(lambda x: half(x), [0.0])


def test_a_failing_entry_is_named_by_its_path():
    wrong = Rule("wrong", "a", "a * a", ("a",), {})
    model = nn.MLP(2, [2, 1], activation="tanh", rng=random.Random(0))

    def loss(model, batch, *, scale=1):
        return mean(model(x) * batch["weight"] for x in batch["x"]) + wrong(model.layers[1].neurons[0].b + 1.0)

    with pytest.raises(GradcheckError, match=r"wrong by model\.layers\.1\.neurons\.0\.b\n") as caught:
        gradcheck(loss, [model, {"x": [[0.5, 1.0]], "weight": 2.0}])
    paths = [row.path for row in caught.value.report.rows]
    assert paths[0] == "model.layers.0.neurons.0.w.0"
    assert paths[-3:] == ["batch.x.0.0", "batch.x.0.1", "batch.weight"]
    assert isinstance(caught.value, AssertionError)
    assert [p.grad for p in model.parameters()] == [0.0] * 9


def test_a_whole_model_with_several_outputs():
    model = nn.MLP(3, [4, 3], activation="softplus", rng=random.Random(1))
    x = [Value(0.1), Value(-0.7), Value(2.0)]
    report = gradcheck(lambda model, x: [cross_entropy(model(x), 2), model(x)[0] ** 2], [model, x])
    assert len(report.rows) == 2 * (len(model.parameters()) + 3)
    assert report.rows[0].path == "0 by model.layers.0.neurons.0.w.0"
    gradgradcheck(lambda x: cross_entropy(model(x), 2), [x])


def test_inputs_are_put_back_whatever_happens():
    x = Value(0.5)
    calls = iter(range(5))

    def f(x):
        if next(calls) == 4:
            raise KeyError("in the middle")
        return x * x

    with pytest.raises(KeyError):
        gradcheck(f, [x])
    assert (x.data, x.grad) == (0.5, 0.0)


@pytest.mark.parametrize(
    ("f", "inputs", "error", "message"),
    [
        (lambda x: x, [True, "two"], ValueError, "nothing to check"),
        (lambda x: x, [], ValueError, "nothing to check"),
        (lambda x: x.data, [2.0], TypeError, "must give Values, not float 2.0"),
        (lambda x: x * random.random(), [2.0], ValueError, "another result at the same point"),
        (lambda x: x.log(), [-1.0], ValueError, r"log\(-1.0\)"),
    ],
)
def test_bad_input(f, inputs, error, message):
    with pytest.raises(error, match=message):
        gradcheck(f, inputs)


def test_a_wrong_second_derivative_is_caught():
    # the slope has the right number, but it is a plain number, so the graph of the slope is lost
    forgetful = Rule("forgetful", "a", "a * a * a", ("3 * (a * 1.0) * forget(a)",), {})
    from micrograd import rules

    rules.FLOATS["forget"] = lambda a: a
    rules.VALUES["forget"] = lambda a: a.data
    try:
        assert gradcheck(lambda x: forgetful(x), [1.5]).ok
        with pytest.raises(GradcheckError, match="wrong by x"):
            gradgradcheck(lambda x: forgetful(x), [1.5])
    finally:
        del rules.FLOATS["forget"], rules.VALUES["forget"]


@given(expressions(max_leaves=5))
def test_an_expression_is_the_same_in_all_its_forms(expression):
    number = expression(*expression.point)
    assert math.isfinite(number)
    assert expression(*map(Value, expression.point)).data == number
    assert expression.function()(*expression.point) == pytest.approx(number, rel=1e-12, abs=1e-12)
    scope = {}
    exec(str(expression), scope)


def test_an_injected_bug_shrinks_to_a_small_expression():
    right = RULES["tanh"]
    RULES.data["tanh"] = Rule("tanh", "a", "tanh(a)", ("1 - out",), {})
    smallest = []

    @settings(max_examples=500, database=None, deadline=None, phases=[Phase.generate, Phase.shrink])
    @given(expressions())
    def wrong(expression):
        if not gradcheck(expression, expression.point, raises=False).ok:
            smallest.append(expression)
            raise AssertionError(str(expression))

    try:
        with pytest.raises(AssertionError, match="RULES"):
            wrong()
    finally:
        RULES.data["tanh"] = right
    assert smallest[-1].size <= 3


def test_a_new_operation_is_in_the_strategies():
    softsign = rule("softsign", "x", "x / (1 + abs(x))", "1 / (1 + abs(x)) ** 2")
    try:

        @settings(max_examples=50, deadline=None)
        @given(expressions(operations=["softsign", "*"]))
        def right(expression):
            gradcheck(expression, expression.point)
            gradgradcheck(expression, expression.point)

        right()
        gradcheck(lambda x: softsign(x), [0.0])
    finally:
        del RULES["softsign"]


@given(values(), finite_floats(-1, 2))
def test_numbers(value, number):
    assert abs(value.data) <= 1000
    assert -1 <= number <= 2


def test_no_expressions_of_nothing():
    with pytest.raises(ValueError, match=r"unknown are \['nothing'\]"):
        expressions(operations=["nothing"])
    with pytest.raises(ValueError, match="at most 0"):
        expressions(max_leaves=0)


def test_a_gradient_that_cancels_in_rounding_is_no_bug():
    def f(x):
        y = 4.5 * x
        return y * (y - y) + y * (2 * x * x)  # y.grad is 2x² + y − y, of which 2x² is lost

    assert gradcheck(f, [2.3e-35]).ok
    assert gradcheck(f, [0.5]).ok


def verdicts(f, *point):
    return [row.verdict for row in gradcheck(f, list(point), raises=False).rows]


def claim(value, slope):
    """Returns a function of one Value with a gradient that is only claimed."""
    return Rule("claim", "a", value, (slope,), {})


@pytest.mark.parametrize(
    ("f", "point"),
    [
        (lambda x, y: (x * x + y * y).sqrt(), (0.0, 0.0)),
        (lambda x: abs(x) ** (1 / 3), (0.0,)),
        (lambda x: x.relu() ** 0.5, (0.0,)),
        (lambda x: claim("a", "nan")(x), (1.0,)),
        (lambda x: claim("a", "inf")(x), (1.0,)),
        (lambda x: claim("abs(a)", "inf")(x), (0.0,)),
        (lambda x: claim("sqrt(a)", "-inf")(x), (0.0,)),
        (lambda x: claim("1.0 if a >= 0 else 0.0", "inf")(x), (0.0,)),
    ],
)
def test_a_gradient_that_is_not_finite_is_wrong(f, point):
    assert verdicts(f, *point) == ["wrong"] * len(point)


def test_an_infinite_gradient_agrees_with_a_slope_that_grows_without_bound():
    assert verdicts(lambda x: x.sqrt(), 0.0) == ["edge"]
    assert verdicts(lambda x: x.cbrt(), 0.0) == ["kink"]
    assert verdicts(lambda x: claim("sqrt(a)", "5.0")(x), 0.0) == ["wrong"]


@pytest.mark.parametrize("value", ["1.0 if a >= 0 else 0.0", "1.0 if a > 0 else 0.0", "0.0 if a == 0 else 1.0"])
def test_a_jump_is_no_kink(value):
    row = gradcheck(lambda x: claim(value, "12345.0")(x), [0.0], raises=False).rows[0]
    assert (row.verdict, row.reason) == ("wrong", "a jump")
    assert verdicts(lambda x: claim(value, "0.0")(x), 0.0) == ["jump"]
    assert verdicts(lambda x: claim(f"({value}) + 3 * a", "3.0")(x), 0.0) == ["jump"]
    assert verdicts(lambda x: claim(f"({value}) + 3 * a", "3.01")(x), 0.0) == ["wrong"]


def test_a_steep_function_is_no_jump():
    for k in (-200, -20, 20, 200):
        assert verdicts(lambda x, k=k: (x * 10.0**k).tanh(), 0.0) == ["ok"]
        assert verdicts(lambda x, k=k: claim("tanh(a)", "1.001 - out * out")(x * 10.0**k), 0.0) == ["wrong"]


@pytest.mark.parametrize("seed", range(0, 200, 5))
@pytest.mark.parametrize("p", [0.5, 0.2])
def test_a_random_function_is_an_error_that_says_how_to_seed_it(seed, p):
    dropout = nn.Dropout(p, random.Random(seed))
    with pytest.raises(ValueError, match=r"is random: .*rng = random.Random\(0\)"):
        gradcheck(lambda x: dropout([x])[0], [0.7])
    assert gradcheck(lambda x: nn.Dropout(p, random.Random(seed))([x])[0], [0.7]).ok
    dropout.eval()
    assert gradcheck(lambda x: dropout([x])[0], [0.7]).ok


def test_a_function_that_remembers_its_calls_is_an_error():
    calls = []

    def f(x):
        calls.append(x)
        return x * max(1, len(calls) - 13)  # a warm-up of 14 calls

    with pytest.raises(ValueError, match=r"another result at the same point, [0-9.]+ after 1\.0"):
        gradcheck(f, [1.0])


@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_wrong_gradients_near_a_kink_are_found(offset):
    half = claim("max(a, 0.0)", "0.5 if a > 0 else 0.0")
    for x in np.geomspace(3e-7, 0.018, 20):
        assert verdicts(lambda x: half(x) + offset, x) == ["wrong"]
        assert verdicts(lambda x: x.relu() + offset, x) == ["ok"]


def test_a_kink_that_is_too_near_is_told():
    row = gradcheck(lambda x: x.relu() + 1, [1e-10]).rows[0]
    assert (row.verdict, row.reason) == ("cannot tell", "a kink nearby")
    assert verdicts(lambda x: x.relu(), 1e-100) == ["ok"]


@pytest.mark.parametrize(
    ("value", "slope", "points"),
    [
        ("sin(30 * a)", "30 * cos(30 * a)", [(k + 0.5) / 10 for k in range(50)]),
        ("sin(8 * pi * a)", "8 * pi * cos(8 * pi * a)", [0.0, 0.1, 0.3]),
        ("1 / a", "-1 / (a * a)", [10.0 ** (-k / 5) for k in range(50)]),
    ],
)
@pytest.mark.parametrize("wrong", ["-({})", "0.0 * ({})", "1.00001 * ({})"])
def test_coarse_steps_hide_nothing(value, slope, points, wrong):
    right, wrong = claim(value, slope), claim(value, wrong.format(slope))
    for x in points:
        assert verdicts(lambda x: right(x), x) == ["ok"]
        assert verdicts(lambda x: wrong(x), x) == ["wrong"]


@pytest.mark.parametrize("distance", [1e-1, 1e-4, 1e-7, 1e-10, 1e-13, 1e-15, 2.0**-53])
def test_right_gradients_near_the_end_of_the_domain_are_not_accused(distance):
    for f in (lambda x: (1 - x).log(), lambda x: (1 - x).sqrt(), lambda x: x.asin(), lambda x: (1 - x) ** 1.5):
        assert verdicts(f, 1 - distance) == (["ok"] if distance > 1e-12 else verdicts(f, 1 - distance))
        assert "wrong" not in verdicts(f, 1 - distance)
    if distance >= 1e-10:
        wrong = claim("sqrt(1 - a)", "-0.5001 / sqrt(1 - a)")
        assert verdicts(lambda x: wrong(x), 1 - distance) == ["wrong"]


@settings(max_examples=100, suppress_health_check=list(HealthCheck), deadline=None)
@given(expressions(), finite_floats(-6, -1))
def test_every_error_that_a_row_says_it_notices_is_found(expression, exponent):
    scaled = claim("a", f"1 + 10.0 ** {exponent}")
    right = gradcheck(expression, expression.point).rows
    wrong = gradcheck(lambda *x: scaled(expression(*x)), list(expression.point), raises=False).rows
    for before, after in zip(right, wrong, strict=True):
        assert before.verdict != "ok" or before.noticed <= 1e-6
        if before.verdict == "ok" and before.analytic and 10.0**exponent > 2.1 * before.noticed:
            assert after.verdict == "wrong"


@pytest.mark.parametrize("amplitude", [1e-3, 1e-5, 1e-7, 1e-9, 1e-12])
def test_noise_is_estimated(amplitude):
    FLOATS["noisy_sin"] = lambda a: math.sin(a) + amplitude * random.Random(a).uniform(-1, 1)
    try:
        for x in (0.3, 0.7, 1.1, 1.9):
            right = gradcheck(lambda x: claim("noisy_sin(a)", "cos(a)")(x), [x]).rows[0]
            assert right.verdict == ("ok" if right.noticed <= 1e-6 else "cannot tell")
            assert right.verdict == "ok" or "noise is about" in right.reason
            assert right.noticed < max(3000 * amplitude, 1e-6)
            assert right.noticed > amplitude or amplitude < 1e-8
            assert verdicts(lambda x: claim("noisy_sin(a)", "-cos(a)")(x), x) == ["wrong"]
    finally:
        del FLOATS["noisy_sin"]


def test_what_can_not_be_resolved_is_told():
    assert gradcheck(lambda x: x * (x * x), [1e-155]).ok
    assert gradcheck(lambda x, y: abs((-x.minimum(y)).leaky_relu().erf()).asin(), [4.5e-26, 0.0]).ok
    assert gradcheck(lambda x: x * 1e-300, [1.5e308]).ok
    assert verdicts(lambda x, y: (x - y) - x, 0.0, -6e-80)[0] == "cannot tell"
    assert gradcheck(lambda x: RULES["asin_slope"](x).log().leaky_relu(), [1e-38]).ok
    assert verdicts(lambda x: (x * 1e6).sin(), 0.3) == ["ok"]
    row = gradcheck(lambda x: (x * 1e9).sin(), [0.3]).rows[0]
    assert (row.verdict, row.noticed > 1e-6) == ("cannot tell", True)
    assert verdicts(lambda x: x + 1e12, 0.3) == ["cannot tell"]
    assert verdicts(lambda x: x.cos() + x**4, 0.0) == ["ok"]
    assert verdicts(lambda x: x * 0 + 5, 0.3) == ["ok"]
    assert verdicts(lambda x: x * x, 1e150) == ["ok"]


def test_a_check_leaves_everything_as_it_was():
    rng, generator = random.Random(1), np.random.default_rng(1)
    norm = nn.BatchNorm(2)
    x, weight = Value(1.0, label="x"), Value(3.0)
    x.grad, weight.grad, norm.weight[0].grad = 5.0, 6.0, 7.0

    def f(x):
        x.label = "renamed"
        (x * weight).backward()
        for draw in (rng, generator, random, np.random):
            draw.random()
        norm.training_batches = len(norm([[x, 1.0], [2.0, x * weight]]))
        return norm([[x, 1.0], [2.0, x * weight]])[0][0]

    def read():
        own = {name: state for name, state in vars(norm).items() if name not in ("weight", "bias")}
        states = rng.getstate(), generator.bit_generator.state, random.getstate(), np.random.get_state()[1].tolist()
        return str((own, norm.state_dict(), states, x, weight, norm.weight, list(norm.parameters())))

    before = read()
    assert gradcheck(f, [x]).ok
    assert read() == before
    with pytest.raises(GradcheckError):
        gradcheck(lambda x: claim("a", "2.0")(f(x)), [x])
    assert read() == before
    assert gradcheck(partial(lambda norm, x: norm([[x, 1.0], [x * x, 2.0]])[0][0], norm), [x]).ok
    assert read() == before


def test_inputs_given_one_by_one_are_an_error():
    for check_them in (gradcheck, gradgradcheck):
        with pytest.raises(TypeError, match=rf"as in {check_them.__name__}\(f, \[1.0, 2.0\]\)"):
            check_them(lambda x, y: x * y, 1.0, 2.0)


def test_arrays_ints_and_float32_are_inputs():
    report = gradcheck(lambda x, y, n: (x @ y).sum() * n, [np.eye(2), np.array([1, 2], np.float32), 3])
    assert [row.path for row in report.rows] == ["x.0.0", "x.0.1", "x.1.0", "x.1.1", "y.0", "y.1", "n"]
    assert [row.analytic for row in report.rows] == [3.0, 6.0, 3.0, 6.0, 3.0, 3.0, 3.0]
    assert {row.verdict for row in report.rows} == {"ok"}
    assert gradcheck(lambda x: x * x, np.float32(0.5)).rows[0].analytic == 1.0
    assert gradcheck(lambda x: x[0] * x[1], [np.array([Value(1.0), Value(2.0)])]).ok
    assert gradgradcheck(lambda x: (x * x * x).sum(), [np.array([1.0, 2.0])]).ok


def test_a_gradient_of_any_function_of_numbers_and_arrays():
    def f(tree, scale):
        return float((tree["a"] ** 2).sum()) * tree["b"][0] * scale

    def gradient(tree, scale, error=0.0):
        a, b = tree["a"], tree["b"][0]
        return {"a": 2 * a * b * scale + error, "b": [(a**2).sum() * scale]}, (a**2).sum() * b

    inputs = [{"a": np.array([[1.0, 2.0]]), "b": [0.5]}, 3]
    report = gradcheck(f, inputs, grad=gradient)
    assert [(row.path, row.verdict) for row in report.rows] == [
        ("tree.a.0.0", "ok"), ("tree.a.0.1", "ok"), ("tree.b.0", "ok"), ("scale", "ok"),
    ]  # fmt: skip
    with pytest.raises(GradcheckError, match=r"wrong by tree\.a\.0\.1\n"):
        gradcheck(f, inputs, grad=partial(gradient, error=np.array([[0.0, 1e-6]])))
    assert gradcheck(lambda *x: (f(*x), gradient(*x)), inputs, grad=True).ok
    assert inputs[0]["a"].tolist() == [[1.0, 2.0]]


def test_a_jacobian_and_a_function_that_is_undefined_on_one_side():
    assert gradcheck(lambda x: x**2, [np.array([1.0, 2.0])], grad=lambda x: np.diag(2 * x)).ok
    report = gradcheck(lambda x: np.log(1 - x), 0.9999999, grad=lambda x: -1 / (1 - x))
    assert [row.verdict for row in report.rows] == ["ok"]


def test_float32_is_told_from_a_wrong_gradient():
    x = np.array([1.0, 2.0], np.float32)
    right = gradcheck(lambda x: np.exp(x).sum(), x, grad=lambda x: np.exp(x))
    assert {row.verdict for row in right.rows} == {"cannot tell"}
    assert "noise is about" in right.rows[0].reason
    wrong = gradcheck(lambda x: np.exp(x).sum(), x, grad=lambda x: 1.001 * np.exp(x), raises=False)
    assert {row.verdict for row in wrong.rows} == {"wrong"}


def test_bad_gradients_of_other_functions_are_errors():
    with pytest.raises(ValueError, match="the gradient has 1 numbers: 1 for the outputs times 2"):
        gradcheck(lambda x, y: x * y, [1.0, 2.0], grad=lambda x, y: y)
    with pytest.raises(TypeError, match=r"float 2\.0 is not callable"):
        gradcheck(lambda x: x * x, 1.0, grad=2.0)
    with pytest.raises(TypeError, match="the function's result is complex: gradients are checked for real numbers"):
        gradcheck(lambda x: 1j * x, 1.0, grad=lambda x: 1.0)
    with pytest.raises(TypeError, match=r"x\.a is complex"):
        gradcheck(lambda x: x["a"], {"a": np.array([1j])})
    with pytest.raises(TypeError, match=r"returns a pair \(value, gradient\), not 1\.0"):
        gradcheck(lambda x: x, 1.0, grad=True)


def test_gradients_of_jax():
    pytest.importorskip("jax", reason="JAX is not installed")
    import jax.numpy as jnp

    report = gradcheck(lambda x: jnp.sin(x["b"]) * x["a"].sum(), {"b": jnp.array(1.0), "a": jnp.array([2.0, 3.0])})
    assert [row.path for row in report.rows] == ["x.b", "x.a.0", "x.a.1"]
    assert [row.analytic for row in report.rows] == pytest.approx([2.7015114, 0.84147096, 0.84147096])


def test_arguments_of_a_jax_function_that_are_no_inputs():
    jnp = pytest.importorskip("jax.numpy", reason="JAX is not installed")

    def f(x, factor, flags):
        return jnp.sin(x["b"]) * x["a"].sum() * factor if flags["sine"] is True and flags["name"] == "f" else 0.0

    x = {"b": jnp.array(1.0), "a": jnp.array([2.0, 3.0])}
    report = gradcheck(f, [x, 2.0, {"sine": True, "name": "f", "none": None}])
    assert [row.path for row in report.rows] == ["x.b", "x.a.0", "x.a.1"]
    assert [row.analytic for row in report.rows] == pytest.approx([5.4030228, 1.6829419, 1.6829419])


def test_a_report_is_a_table_in_a_notebook():
    html = gradcheck(lambda d: d["<a>"] * 2, {"<a>": 1.0})._repr_html_()
    assert html.count("<tr>") == 2
    assert "<td>d.&lt;a&gt;</td><td>2</td><td>2</td>" in html


@pytest.mark.parametrize("width", [1e-3, 1e-5, 1e-7])
def test_a_narrow_bump_that_large_steps_do_not_see(width):
    """Its slope is 1 within the bump, and 2 beyond it; differences of both sides cancel what the bump adds."""

    def f(x):
        return width / math.hypot(1.0, x / width) + 2 * x - width * math.tanh(x / width)

    assert gradcheck(f, [0.0], grad=lambda x: 1.0).ok
    assert not any(row.verdict == "ok" for row in gradcheck(f, [0.0], grad=lambda x: 2.0, raises=False).rows)


def test_a_narrow_bump_that_large_steps_cancel():
    """A random expression whose right gradient was called wrong: a bump of height and width 1e-7, where x is 0."""
    width = 1.192092896e-07

    def f(x):
        power = RULES["power_slope"](width, RULES["weigh"](x, x=(1.0,)) + 1.19, 1.19)
        return RULES["hypot_slope"](width, x).cosh() ** power

    assert gradcheck(f, [0.0]).ok


@pytest.mark.parametrize("nothing", [[], np.array([]), {"a": []}, "text"])
def test_no_inputs_are_an_error(nothing):
    with pytest.raises(ValueError, match="there is nothing to check: the inputs hold neither a Value nor a number"):
        gradcheck(lambda x: 1.0, [nothing], grad=lambda x: [])


def test_a_million_inputs_take_few_calls():
    calls = []

    def f(x):
        calls.append(1)
        return float(np.sum(np.sin(x) * x))

    def gradient(x, error=1.0):
        slopes = np.cos(x) * x + np.sin(x)
        slopes[123_456] *= error
        return slopes

    x = np.random.default_rng(0).normal(size=1_000_000)
    report = gradcheck(f, x, grad=gradient)
    assert [row.path for row in report.rows] == ["direction 1 of all inputs", "direction 2 of all inputs"]
    assert {row.verdict for row in report.rows} == {"ok"}
    assert len(calls) <= 50


def test_a_wrong_one_of_many_inputs_is_named():
    x = np.random.default_rng(0).normal(size=(50, 40))

    def gradient(x):
        slopes = np.cos(x)
        slopes[31, 7] *= 1.001
        return slopes

    with pytest.raises(GradcheckError, match=r"x\.31\.7"):
        gradcheck(lambda x: np.sin(x).sum(), x, grad=gradient)
    with pytest.raises(GradcheckError, match="direction 1"):
        gradcheck(lambda x: np.sin(x).sum(), x, grad=lambda x: 1.00001 * np.cos(x))
    model = nn.MLP(30, [30, 5, 1], activation="tanh", rng=random.Random(0))
    assert [row.verdict for row in gradcheck(lambda m: m([0.1] * 30), [model]).rows] == ["ok", "ok"]


def test_a_solver_with_noise():
    integrate = pytest.importorskip("scipy.integrate", reason="SciPy is not installed")

    def solve(rate, start):
        solution = integrate.solve_ivp(lambda t, y: -rate * y, (0, 1), [start], rtol=1e-9, atol=1e-12)
        return solution.y[0, -1]

    def gradient(rate, start, error=0.0):
        return -start * math.exp(-rate) * (1 + error), math.exp(-rate)

    report = gradcheck(solve, [0.7, 2.0], grad=gradient)
    assert {row.verdict for row in report.rows} <= {"ok", "cannot tell"}
    with pytest.raises(GradcheckError, match="wrong by rate\n"):
        gradcheck(solve, [0.7, 2.0], grad=partial(gradient, error=1e-3))


def test_products_with_the_jacobian():
    a = np.arange(12.0).reshape(3, 4)

    def f(x, y):
        return {"u": np.sin(a @ x), "v": y * x.sum()}

    def vjp(x, y, w, factor=1.0):
        back = a.T @ (np.cos(a @ x) * w["u"]) * factor
        return {"x": back + w["v"] * y, "y": w["v"] * x.sum()}

    def jvp(x, y, dx, dy, factor=1.0):
        return np.cos(a @ x) * (a @ dx) * factor, dy * x.sum() + y * dx.sum()

    inputs = [np.array([0.1, 0.2, -0.3, 0.4]), 2.0]
    assert len(check_vjp(f, inputs, vjp).rows) == len(check_jvp(f, inputs, jvp).rows) == 4 * 5
    with pytest.raises(GradcheckError, match=r"1 by x\.2"):
        check_vjp(f, inputs, partial(vjp, factor=np.array([1, 1, 1.001, 1])))
    with pytest.raises(GradcheckError, match=r"0 by x\.1"):
        check_jvp(f, inputs, partial(jvp, factor=1.001))
    x = np.linspace(0, 1, 2000)
    assert len(check_vjp(np.sin, x, lambda x, w: w * np.cos(x)).rows) == 4
    assert check_jvp(lambda x: np.sin(x).sum(), x, lambda x, dx: (np.cos(x) * dx).sum()).ok
    assert not check_jvp(lambda x: np.sin(x).sum(), x, lambda x, dx: (np.cos(x) * dx).sum() * 1.001, raises=False).ok
    with pytest.raises(TypeError, match=r"check_vjp\(vjp=…\) takes a function"):
        check_vjp(f, inputs, 3)


@pytest.mark.parametrize("shift", [0.0, 1e6])
@pytest.mark.parametrize("wrong", [0, 1234, 2999])
def test_a_wrong_entry_among_many_is_named(wrong, shift):
    x = {"w": np.linspace(-1, 1, 3000).reshape(30, 100) + shift}
    factor = np.ones((30, 100))
    factor.flat[wrong] = 1.001
    products = 0

    def f(x):
        return [np.sin(x["w"] - shift).sum(), (x["w"] - shift).sum()]

    def jvp(x, dx, factor=1.0):
        nonlocal products
        products += 1
        return [(np.cos(x["w"] - shift) * dx["w"] * factor).sum(), dx["w"].sum()]

    assert [row.path for row in check_jvp(f, [x], jvp).rows] == [
        f"{i} by direction {k} of all inputs" for k in (1, 2) for i in (0, 1)
    ]
    products = 0
    with pytest.raises(GradcheckError) as caught:
        check_jvp(f, [x], partial(jvp, factor=factor))
    assert products <= 2 * (2 + math.ceil(math.log2(3000)))
    report = gradcheck(f, [x], grad=lambda x: [np.cos(x["w"] - shift) * factor, factor * 0 + 1], raises=False)
    for name, found in (("x0", caught.value.report), ("x", report)):
        named = [row for row in found.rows if "direction" not in row.path]
        assert [(row.path, row.verdict) for row in named] == [(f"0 by {name}.w.{wrong // 100}.{wrong % 100}", "wrong")]
        assert named[0].numeric == pytest.approx(named[0].analytic / 1.001)


def test_the_plot_is_a_v():
    pytest.importorskip("matplotlib", reason="Matplotlib is not installed").use("Agg")
    report = gradcheck(
        lambda x, y: math.exp(x) * math.sin(y),
        [0.3, 1.0],
        grad=lambda x, y: (0.0, math.exp(x) * math.cos(y)),
        raises=False,
    )
    axes = report.plot()
    assert axes.get_title() == "x: wrong"
    steps, distances = map(list, report.plot("y").lines[0].get_data())
    lowest = distances.index(min(distances))
    assert 1e3 * distances[lowest] < min(distances[0], distances[-1])  # they are larger on both sides of it
    assert steps[0] > steps[lowest] > steps[-1]
    with pytest.raises(ValueError, match="there is no row 'z'; there are x, y"):
        report.plot("z")


def test_a_failure_shows_no_library_source():
    with pytest.raises(GradcheckError) as caught:
        gradcheck(lambda x: x * x, 1.0, grad=lambda x: x)
    shown = [entry.name for entry in caught.traceback.filter(caught)]
    assert shown == ["test_a_failure_shows_no_library_source"]


@given(finite_floats(10, 20), finite_floats(-20, -10.5), finite_floats(0.1, 0.2), finite_floats(0, 1e-310))
def test_numbers_of_any_range(a, b, c, d):
    assert 10 <= a <= 20
    assert -20 <= b <= -10.5
    assert 0.1 <= c <= 0.2
    assert 0 <= d <= 1e-310


@given(finite_floats(-math.inf, math.inf), lists(1, 3, 0, 1))
def test_unbounded_numbers_and_lists(number, some):
    assert math.isfinite(number)
    assert 1 <= len(some) <= 3
    assert all(0 <= value.data <= 1 for value in some)


@settings(max_examples=20, deadline=None)
@given(modules(nin=2, nout=2, max_layers=2, max_size=3))
def test_networks(module):
    assert len(module([0.5, -1.0])) == 2
    gradcheck(module, [[0.5, -1.0]])


def test_no_networks_of_nothing():
    with pytest.raises(ValueError, match=r"sizes of 1 at least, not \(0, 1, 3, 4\)"):
        modules(nin=0)


def test_a_failing_expression_prints_as_python_source(capsys):
    @settings(database=None, print_blob=False)
    @given(expressions(operations=["tanh"], max_leaves=1))
    def fails(expression):
        raise AssertionError

    with pytest.raises(AssertionError) as caught:
        fails()
    note = "\n".join(caught.value.__notes__) if hasattr(caught.value, "__notes__") else capsys.readouterr().out
    assert "return RULES['tanh'](x0)" in note
    assert "Expression(" not in note
