"""Checks gradcheck: it finds bugs of every kind, and never calls a correct gradient wrong."""

import ast
import itertools
import math
import random

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from micrograd import Value, nn
from micrograd.functional import cross_entropy, mean
from micrograd.rules import RULES, Rule, rule
from micrograd.testing import GradcheckError, gradcheck, gradgradcheck
from micrograd.testing.strategies import expressions, finite_floats, values

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


def test_edges_of_a_domain_are_told_from_bugs():
    assert [row.verdict for row in gradcheck(lambda x: x.sqrt(), [0.0]).rows] == ["edge"]
    assert [row.verdict for row in gradcheck(lambda x: x**1.5, [0.0]).rows] == ["edge"]
    assert [row.verdict for row in gradcheck(lambda x: x.log(), [1e-5]).rows] == ["ok"]
    assert [row.verdict for row in gradcheck(lambda x: x.log(), [1e-200]).rows] == ["ok"]
    assert [row.verdict for row in gradcheck(lambda x, y: x**y, [-2.0, 3.0]).rows] == ["ok", "edge"]
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
        (lambda x: x, [2], ValueError, "nothing to check"),
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
