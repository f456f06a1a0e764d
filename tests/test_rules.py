"""Checks every line of the table against finite differences. A new line is tested without a new test."""

import itertools
import math
import random
import sys
from pathlib import Path

import pytest
from exact import write_id
from hypothesis import assume, given
from hypothesis import strategies as st

import micrograd
from micrograd import Value, derivatives, functional, grad, rules
from micrograd.engine import operation, topological_order
from micrograd.rules import RULES, rule

numbers = st.floats(-3, 3).map(lambda x: round(x, 6))
# If an operation is defined on a part of the line only, its operands are moved there.
DOMAINS = {
    "log": lambda a: (abs(a) + 0.1,),
    "sqrt": lambda a: (abs(a) + 0.1,),
    "/": lambda a, b: (a, b + math.copysign(0.3, b)),
    "**": lambda a, b: (abs(a) + 0.1, b),
    "power": lambda a: (abs(a) + 0.1,),
    "bce": lambda p, t: (0.1 + abs(p) / 4, 0.1 + abs(t) / 4),
    "bce_slope": lambda p, t: (0.1 + abs(p) / 4, t),
    "log_odds": lambda p: (0.1 + abs(p) / 4,),
    "log1p": lambda a: (abs(a),),
    "sqrt_slope": lambda a: (abs(a) + 0.1,),
    "cbrt": lambda a: (abs(a) + 0.1,),
    "cbrt_slope": lambda a: (abs(a) + 0.1,),
    "tan": lambda a: (a / 3,),
    "asin": lambda a: (a / 4,),
    "acos": lambda a: (a / 4,),
    "asin_slope": lambda a: (a / 4,),
    "hypot": lambda x, y: (x, abs(y) + 0.1),
    "hypot_slope": lambda x, y: (x, abs(y) + 0.1),
    "atan2": lambda y, x: (y, abs(x) + 0.1),
    "atan2_slope": lambda x, y: (x, abs(y) + 0.1),
    "power_slope": lambda c, a, n: (c, abs(a) + 0.1, n),
}
KINKS = {"abs": 1, "relu": 1, "leaky_relu": 1, "maximum": 2, "minimum": 2, "first_maximum": 2}
NO_DERIVATIVE = {"floor", "round", "stop_gradient", "upper_half"}  # at almost all points


def derivative(f, points, i):
    """Returns the central difference by operand i, extrapolated once (Richardson)."""

    def slope(h):
        up, down = list(points), list(points)
        up[i], down[i] = points[i] + h, points[i] - h
        return (f(*up) - f(*down)) / (2 * h)

    return (4 * slope(5e-4) - slope(1e-3)) / 3


TABLE = [r.bind("weigh", x=(0.5, -2.0, 1.5, 3.0)) if r.name == "weigh" else r for r in RULES.values()]
DIFFERENTIABLE = [r for r in TABLE if r.name not in NO_DERIVATIVE]
every_rule = pytest.mark.parametrize("operation", DIFFERENTIABLE, ids=write_id)
every_binary_rule = pytest.mark.parametrize("operation", [r for r in TABLE if len(r.local) == 2], ids=write_id)


def operands_of(chosen, drawn):
    count = 4 if chosen.operands.startswith("*") else len(chosen.local)
    return DOMAINS.get(chosen.name, lambda *x: x)(*drawn[:count])


@every_rule
@given(drawn=st.lists(numbers, min_size=4, max_size=4))
def test_first_and_second_derivatives(operation, drawn):
    points = operands_of(operation, drawn)
    if operation.name in KINKS:
        assume(abs(points[0] - (points[1] if KINKS[operation.name] == 2 else 0)) > 0.01)
    values = [Value(x) for x in points]
    out = operation(*values)
    assert out.data == operation(*points)
    gradients = grad(out, values, create_graph=True)
    out.backward()
    for i, gradient in enumerate(gradients):
        assert gradient.data == pytest.approx(values[i].grad, rel=1e-14, abs=1e-14)
        assert gradient.data == pytest.approx(derivative(operation, points, i), rel=1e-6, abs=1e-6)
        for j, second in enumerate(grad(gradient, values)):

            def slope(*moved, i=i):
                moved = [Value(x) for x in moved]
                return grad(operation(*moved), moved)[i]

            assert second == pytest.approx(derivative(slope, points, j), rel=1e-5, abs=1e-5)


@every_binary_rule
@given(a=numbers, b=numbers)
def test_a_number_is_a_constant_on_either_side(operation, a, b):
    a, b = operands_of(operation, (a, b))
    for x, y in ((Value(a), b), (a, Value(b)), (Value(a), Value(b))):
        out = operation(x, y)
        assert out.data == operation(a, b)
        known = [v for v in (x, y) if isinstance(v, Value)]
        whole = dict(zip("ab", grad(operation(p := Value(a), q := Value(b)), [p, q]), strict=True))
        assert grad(out, known) == tuple(whole[name] for name, v in (("a", x), ("b", y)) if isinstance(v, Value))


@pytest.mark.parametrize(
    ("expression", "inputs", "expected"),
    [
        (lambda x: abs(x), [0.0], [0.0]),
        (lambda x: x.relu(), [0.0], [0.0]),
        (lambda x: x.leaky_relu(0.25), [0.0], [0.25]),
        (lambda x: x.leaky_relu(0.25), [-2.0], [0.25]),
        (lambda x, y: x.maximum(y), [1.5, 1.5], [0.5, 0.5]),
        (lambda x, y: x.minimum(y), [1.5, 1.5], [0.5, 0.5]),
        (lambda x: x.sqrt(), [0.0], [math.inf]),
        (lambda x: x**0.5, [0.0], [math.inf]),
        (lambda x: x**0, [0.0], [0.0]),
        (lambda x: x**1, [0.0], [1.0]),
        (lambda x: x**2, [0.0], [0.0]),
        (lambda x: x**3, [-2.0], [12.0]),
        (lambda x: x**10, [0.0], [0.0]),
        (lambda x: x**100, [0.0], [0.0]),
        (lambda x: x**3.5, [0.0], [0.0]),
        (lambda x: x**-2, [-2.0], [0.25]),
        (lambda x: x**-2, [-0.5], [16.0]),
        (lambda x, y: x**y, [0.0, 2.0], [0.0, 0.0]),
        (lambda x, y: x**y, [0.0, 0.5], [math.inf, 0.0]),
        (lambda x, y: x**y, [0.0, 0.0], [0.0, 0.0]),
        (lambda x, y: x**y, [-2.0, 3.0], [12.0, math.nan]),
        (lambda x, y: x**y, [-0.5, -2.0], [16.0, math.nan]),
        (lambda y: 2**y, [3.0], [8 * math.log(2)]),
    ],
)
def test_kinks_and_edges_are_those_of_pytorch(expression, inputs, expected):
    values = [Value(x) for x in inputs]
    expression(*values).backward()
    assert [v.grad for v in values] == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("n", [1.0, 1.5, 3.0, -2.0, 10.0, -49.0, 49.0])
def test_the_slope_of_a_usual_power_is_that_of_the_books(n):
    for k in range(40):
        x, far = Value(0.0017 * 1.37**k), Value(1e9 * 1.37**k)
        powers = [(far, far**n), (far, far ** Value(n))] if 1 <= n <= 3 else []
        for a, out in [(x, x**n), *powers]:
            (slope,) = grad(out, [a], create_graph=True)
            assert slope.data == n * a.data ** (n - 1)
            assert "power_slope" not in [node.op for node in topological_order(slope)]


def test_the_slope_of_a_quotient_of_tiny_numbers():
    y = Value(0.07)
    assert grad(Value(1.5e-323) / y, [y]) == (-1.5e-323 / (0.07 * 0.07),)  # the quotient itself has lost digits
    y = Value(1e-200)
    assert grad(Value(0.0) / y, [y]) == (0.0,)


@pytest.mark.parametrize("x", [3.0, -3.0, 0.0])
@pytest.mark.parametrize("square", [lambda x: x**2, lambda x: x ** Value(2.0), lambda x: x * x])
def test_a_square_through_its_fourth_derivative(square, x):
    at = Value(x)
    out = square(at)
    for expected in (2 * x, 2.0, 0.0, 0.0):
        (out,) = grad(out, [at], create_graph=True)
        assert out.data == expected


def test_fourth_derivative_of_a_gaussian():
    x = Value(0.0)
    out = (-(x**2)).exp()
    for _ in range(4):
        (out,) = grad(out, [x], create_graph=True)
    assert out.data == 12.0


@pytest.mark.parametrize("x", [-1000.0, -40.0, 0.0, 40.0, 1000.0])
def test_sigmoid_and_softplus_are_exact_far_out(x):
    assert rules.sigmoid(x) == pytest.approx(1 / (1 + math.exp(-x)) if x > -700 else 0.0, rel=1e-15)
    assert rules.softplus(x) == pytest.approx(max(x, math.exp(x) if x < -30 else x, math.log(2) if x == 0 else 0))


def test_nan_is_never_hidden():
    for function in ("relu", "leaky_relu", "abs", "tanh", "sigmoid", "softplus", "exp"):
        assert math.isnan(getattr(Value(math.nan), function)().data), function
    for function in ("maximum", "minimum"):
        assert math.isnan(getattr(Value(math.nan), function)(1.0).data)
        assert math.isnan(getattr(Value(1.0), function)(math.nan).data)


def test_a_rule_added_at_run_time():
    softsign = rule("softsign", "x", "x / (1 + abs(x))", "1 / (1 + abs(x)) ** 2")
    try:
        x = Value(-3.0)
        out = softsign(x) * 2
        assert out.data == -1.5
        (slope,) = grad(out, [x], create_graph=True)
        assert slope.data == 0.125
        assert grad(slope, [x])[0] == pytest.approx(2 * 2 / 4**3)
        with pytest.raises(ValueError, match="already"):
            rule("softsign", "x", "x", "1.0")
    finally:
        del RULES["softsign"]


def test_a_singular_slope_has_a_slope():
    for function in (lambda x: x.sqrt(), lambda x: x**0.5, lambda x: x ** Value(0.5)):
        x = Value(0.0)
        (slope,) = grad(function(x), [x], create_graph=True)
        assert (slope.data, grad(slope, [x])) == (math.inf, (-math.inf,))
    x = Value(1e-320)
    assert grad(x**0, [x]) == (0.0,)


def test_rules_of_several_operands_and_of_other_rules():
    added = ["cube", "square", "gammas", "gamma_of", "erf_of", "mul_add"]
    try:
        fused = rule("mul_add", "a,b, c", "a * b + c", "b", "a", "1.0")
        x, y = Value(2.0), Value(3.0)
        assert grad(fused(x, y, 5), [x, y]) == (3.0, 2.0)
        rule("square", "x", "x * x", "2 * x")
        del RULES["square"]
        rule("square", "x", "x * x * x", "3 * x * x")
        cube = rule("cube", "x", "square(x)", "3 * x * x")
        assert (cube(2.0), cube(x).data) == (8.0, 8.0)
        rule("gamma_of", "x", "x + 100", "1.0")
        gammas = rule("gammas", "x", "x * x", "gamma_of(x)")
        out = gammas(x)
        assert grad(out, [x]) == (102.0,) == (grad(out, [x], create_graph=True)[0].data,)
        erf = rule("erf_of", "x", "erf(x)", "2 / sqrt(pi) * exp(-x * x)")
        (slope,) = grad(erf(y), [y], create_graph=True)
        assert grad(slope, [y])[0] == pytest.approx(-6 * 2 / math.sqrt(math.pi) * math.exp(-9))
    finally:
        for name in added:
            del RULES[name]


@pytest.mark.parametrize("operands", ["out", "a_", "a b", "a, out", "isinstance", "if", ""])
def test_operands_need_names_of_their_own(operands):
    with pytest.raises(ValueError, match="can't name an operand"):
        rule("broken", operands, "1.0", *["1.0"] * len(operands.split(",")))
    assert "broken" not in RULES


def test_a_one_within_a_rule_is_not_left_out():
    power = rule("double", "a", "a * a", "a **(1.0) * 2.0")
    try:
        x = Value(3.0)
        power(x).backward()
        assert x.grad == 6.0
    finally:
        del RULES["double"]


def test_a_rule_of_two_operands_and_a_constant():
    scaled = rule("scaled", "a, b", "(a - b) * by", "by", "-by", by=1.0)
    try:
        x, y = Value(3.0), Value(1.0)
        for by in (1.0, 2.0):
            out = scaled(x, y, by=by)
            assert (out.data, grad(out, [x, y])) == (2 * by, (by, -by))
            assert grad(scaled(x, 1.0, by=by), [x]) == (by,)
        assert grad(scaled(x, y), [x, y]) == (1.0, -1.0)
        assert grad(scaled(1.0, y), [y]) == (-1.0,)
    finally:
        del RULES["scaled"]


def test_a_constant_that_a_rule_has_not():
    with pytest.raises(TypeError, match="leaky_relu has no constant slope; it has negative_slope"):
        rules.leaky_relu(Value(1.0), slope=0.5)
    assert Value(-1.0).leaky_relu().data == -0.01


@pytest.mark.parametrize(
    ("operands", "message"), [("*x, y", "beside 'x', .* there can be no others"), ("**x", "can't name")]
)
def test_any_number_of_operands_stands_alone(operands, message):
    with pytest.raises(ValueError, match=message):
        rule("broken", operands, "1.0", *["1.0"] * len(operands.split(",")))
    assert "broken" not in RULES


@pytest.mark.parametrize("texts", [(3, "x", "1.0"), ("x", 2, "0.0"), ("x", "x", 1.0), ("x", None, "1.0")])
def test_a_text_is_a_string(texts):
    with pytest.raises(TypeError, match=r"rule 'broken': .* are texts, such as '2 \* x', not"):
        rule("broken", *texts)
    assert "broken" not in RULES


def test_a_rule_that_is_no_expression():
    for texts in (("x +", "1.0"), ("x", "1.0 +"), ("x", "1.0 # the slope"), ("x # the same", "1.0")):
        with pytest.raises(SyntaxError):
            rule("broken", "x", *texts)
    with pytest.raises(ValueError, match="'a, b', and needs a local gradient for each, not 1"):
        rule("broken", "a, b", "a + b", "1.0")
    assert "broken" not in RULES


def test_the_slope_of_a_certain_prediction_is_that_of_pytorchs_bounds():
    for p, expected in ((1.0, -100.0), (0.0, 100.0), (0.5, 0.0)):
        t = Value(0.5)
        functional.binary_cross_entropy(Value(p), t).backward()
        assert t.grad == expected


WHOLE = ["1", "-1", "k", "not a", "a > 0", "len((a,))", "round(a)", "max(1, a)", "min(2, a)", "sum([1, 2])", "1 + 1"]
WHOLE += [
    "1 if a < 0 else a",
    "a if a > 0 else 2",
    "+k",
    "~k",
    "sum([k], 3)",
    "max(a, 3)",
    "9 // 2",
    "k ** 2",
    "ceil(a)",
]


@pytest.mark.parametrize("text", WHOLE)
def test_a_value_is_a_float(text):
    whole = rule("whole", "a", text, "0.0", k=3)
    try:
        for data in (whole(-1.5), whole(Value(-1.5)).data):
            assert isinstance(data, float)
            assert data == eval(text, {"a": -1.5, "k": 3, "ceil": math.ceil})
    finally:
        del RULES["whole"]


@pytest.mark.parametrize(
    "text", ["a ** 0.5", "1.0 + a ** k", "sum([a ** 0.5], 0.0)", "-(a ** 0.5)", "(a ** 0.5) ** 2", "1j"]
)
def test_a_complex_value_or_gradient_is_an_error(text):
    for texts in ((text, "1.0"), ("a", text)):
        roots = rule("roots", "a", *texts, k=0.5)
        try:
            with pytest.raises(ValueError, match="no real power"):
                roots(Value(-2.0)).backward()
        finally:
            del RULES["roots"]


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_a_dot_product_of_any_length(count):
    a, b = [float(k) for k in range(2, count + 2)], [10.0**k for k in range(count)]
    assert RULES["dot"](*a, *b) == sum(x * y for x, y in zip(a, b, strict=True))
    values = [Value(x) for x in (*a, *b)]
    assert grad(RULES["dot"](*values), values) == (*b, *a)


def test_constants_have_their_defaults():
    assert RULES["power"](3.0) == 9.0
    assert RULES["leaky_relu"](-1.0) == -0.01


def test_a_power_of_zero_by_its_exponent_at_any_order():
    b = Value(2.0)
    (slope,) = grad(Value(0.0) ** b, [b], create_graph=True)
    assert (slope.data, grad(slope, [b])) == (0.0, (0.0,))


@pytest.mark.parametrize("a", [-0.5, -2.0])
def test_a_negative_base_has_no_derivative_by_the_exponent(a):
    assert math.isnan(grad(Value(a) ** (b := Value(2.0)), [b])[0])


def test_a_function_without_a_rule_has_no_second_derivative_until_it_has_one():
    x = Value(3.0)
    for _ in range(2):
        late = rule("late", "a", "a", "lgamma(a)")
        with pytest.raises(TypeError, match="forgets its gradient"):
            grad(late(x), [x], create_graph=True)
        rule("lgamma", "a", "lgamma(a)", "0.9")
        assert grad(grad(late(x), [x], create_graph=True)[0], [x]) == (0.9,)
        del RULES["late"], RULES["lgamma"]


def test_the_names_of_operands_have_no_order():
    try:
        ratio = rule("ratio", "y, x", "y / x", "1 / x", "-out / x")
        a = Value(6.0)
        out = rules.RULES["ratio"](a, 2.0)
        number = operation(ratio)(a, 2.0)
        for node in (out, number):
            node.backward()
            assert node.parents[0] is a
            assert [p.data for p in node.parents] == [6.0, 2.0]
        assert a.grad == 1.0
        assert number.parents[1].grad == -1.5
    finally:
        del RULES["ratio"]


def test_logsumexp_is_exact_beside_an_operand_that_towers_over_the_others():
    assert RULES["logsumexp"](0.0, -211.0) == math.exp(-211.0)
    assert RULES["logsumexp"](-300.0, 0.0, -300.0) == pytest.approx(2 * math.exp(-300.0), rel=1e-15)


@pytest.mark.parametrize(("x", "slope"), [(3.0, 1.0), (2.0, 0.5), (1.0, 0.0)])
def test_the_maximum_with_a_number(x, slope):
    v = Value(x)
    v.maximum(2.0).backward()
    assert v.grad == slope
    assert grad(v.minimum(2), [v]) == (1 - slope,)


# A name in a text has one meaning.

TEXTS_USE = [
    "mul",
    "real",
    "chance",
    "max",
    "abs",
    "len",
    "isinf",
    "fsum",
    "log1p",
    "exp",
    "gamma",
    "pi",
    "e",
    "inf",
    "nan",
]


@pytest.mark.parametrize(
    "name", [*TEXTS_USE, "print", "__builtins__", "choose_", "choose_step_", "new_", "collect_", "Value_", "rule_"]
)
def test_a_name_that_has_a_meaning_is_refused(name):
    before = functional.dot([Value(2.0), Value(3.0)], [Value(4.0), Value(5.0)]).data
    names = dict(rules.FLOATS), dict(rules.VALUES)
    for text in ("a + b", "tanh(a)"):
        with pytest.raises(ValueError, match=r"a name has one meaning|one of the package.s own"):
            rule(name, "a, b", text, "1.0", "1.0")
    assert (dict(rules.FLOATS), dict(rules.VALUES)) == names
    assert name not in RULES or name in RULES.sealed
    assert functional.dot([Value(2.0), Value(3.0)], [Value(4.0), Value(5.0)]).data == before == 23.0


@pytest.mark.parametrize(
    "name", ["index", "where", "less", "compiled", "a", "n", "tiny", "ab", "out", "lambda", "two words"]
)
def test_a_name_that_only_looks_taken_changes_nothing(name):
    np = pytest.importorskip("numpy")
    pytest.importorskip("llvmlite", reason="compiling needs llvmlite, which is not installed")
    added = rule(name, "x, y", "x * y + 1", "y", "x")
    try:
        x = Value(3.0)
        assert (added(x, 2.0).data, grad(added(x, 2.0), [x])) == (7.0, (2.0,))
        assert ((x**3).data, x.leaky_relu().data, functional.binary_cross_entropy(Value(0.5), 1).data) == (
            27.0,
            3.0,
            math.log(2),
        )
        loss = micrograd.compile(lambda logits, k: functional.cross_entropy(logits, k))
        assert loss.values([[1.0, 2.0]], [1])[0] == pytest.approx(math.log1p(math.exp(-1)))
        assert np.isfinite(loss([1.0, 2.0], 0).data)
    finally:
        del RULES[name]


def test_a_text_can_not_use_a_rule_that_comes_later_under_another_meaning():
    first = rule("first", "x", "x * later", "later", later=2.0)  # a constant of its own
    try:
        rule("later", "x", "x + 1", "1.0")
        assert (first(3.0), RULES["later"](3.0)) == (6.0, 4.0)
    finally:
        del RULES["first"], RULES["later"]
    rule("first", "x", "later(x)", "1.0")
    try:
        with pytest.raises(ValueError, match="the rule 'first' uses this name"):
            rule("later", "x", "x + 1", "1.0")
    finally:
        del RULES["first"]
    with pytest.raises(ValueError, match="its own value uses this name"):
        rule("endless", "x", "endless(x)", "1.0")


def test_a_function_of_math_may_become_a_rule_of_its_own_name():
    erfc = rule("erfc", "a", "erfc(a)", "-2 / sqrt(pi) * exp(-a * a)") if "erfc" not in RULES else RULES["erfc"]
    try:
        x = Value(0.5)
        assert (erfc(x).data, erfc(0.5)) == (math.erfc(0.5), math.erfc(0.5))
    finally:
        if "erfc" not in RULES.sealed:
            del RULES["erfc"]
    assert rules.FLOATS["erfc"] is math.erfc


def test_a_deleted_rule_is_gone_wholly():
    names = set(rules.FLOATS), set(rules.VALUES), set(RULES)
    rule("twice", "x", "2 * x", "2.0")
    x = Value(3.0)
    out = RULES["twice"](x)
    user = rule("user", "x", "twice(x) + 1", "2.0")
    with pytest.raises(ValueError, match="'twice' can't be deleted: user uses it"):
        del RULES["twice"]
    assert user(1.0) == 3.0
    del RULES["user"], RULES["twice"]
    assert (set(rules.FLOATS), set(rules.VALUES), set(RULES)) == names
    out.backward()  # nodes that were made before keep it
    assert x.grad == 2.0
    late = rule("late", "x", "twice(x)", "1.0")
    try:
        with pytest.raises(NameError, match="twice"):
            late(1.0)
    finally:
        del RULES["late"]


def test_rules_of_the_package_stay():
    for name in ("+", "tanh", "power", "bce"):
        with pytest.raises(ValueError, match="a rule of the package"):
            del RULES[name]
        with pytest.raises(ValueError, match=r"has a rule .* already, one of the package.s own"):
            rule(name, "a", "a", "1.0", replace=True)
        with pytest.raises(ValueError, match=r"has a rule .* already, one of the package.s own"):
            RULES[name] = rules.sin
    with pytest.raises(ValueError, match="a rule of the package"):
        RULES.clear()
    assert RULES["tanh"] is rules.tanh is rules.VALUES["tanh"]


def test_a_cell_of_a_notebook_may_run_twice():
    try:
        for k in (2, 3, 3):
            times = rule("times", "x", f"{k} * x", f"{k}.0", replace=True)
            user = rule("user", "x", "times(x) + 1", f"{k}.0", replace=True)
            x = Value(5.0)
            assert (times(x).data, user(1.0), grad(times(x), [x])) == (5.0 * k, k + 1, (k,))
        old = times(x)
        rule("times", "x", "0 * x", "0.0", replace=True)
        assert grad(old, [x]) == (3.0,)
        with pytest.raises(ValueError, match="give replace=True"):
            rule("times", "x", "x", "1.0")
        with pytest.raises(ValueError, match="its own value uses this name"):
            rule("times", "x", "times(x) + 1", "1.0", replace=True)
    finally:
        del RULES["user"], RULES["times"]


# Derivatives of derivatives are small graphs.


def test_what_arrives_at_a_node_becomes_one_sum_of_products():
    x = Value(0.5)
    out = functional.sum([x * k for k in range(1, 6)] + [x.tanh(), x * x])
    (slope,) = grad(out, [x], create_graph=True)
    assert (slope.op, len(slope.parents)) == ("dot", 16)
    assert slope.data == pytest.approx(grad(out, [x])[0], rel=1e-15)
    for factors in ((2.0, 3.0), (0.5, 0.25)):
        (slope,) = grad(functional.sum([x * k for k in factors]), [x], create_graph=True)
        assert slope.data == sum(factors)
    plain = functional.sum([x + 1, x + 2, x])
    (slope,) = grad(plain, [x], create_graph=True)
    assert (slope.data, slope.parents) == (3.0, ())


def test_a_plain_zero_times_infinity_is_no_zero():
    x = Value(0.0)
    out = x.relu().sqrt()  # 0 · ∞
    floats, values = grad(out, [x]), grad(out, [x], create_graph=True)
    assert math.isnan(floats[0])
    assert math.isnan(values[0].data)


def test_the_gradients_of_a_word_are_a_graph_as_large_as_its_own():
    demos = str(Path(__file__).parent.parent / "demos" / "read")
    sys.path.insert(0, demos)
    try:
        import gpt
    finally:
        sys.path.remove(demos)
    model = gpt.GPT(27, random.Random(0))
    word = [functional.one_hot(k, 27) for k in (0, 8, 5, 12, 12, 15, 0)]
    loss = gpt.loss(model, word)
    parameters = model.parameters()
    slopes = grad(loss, parameters, create_graph=True)
    made = set(topological_order(functional.sum(slopes))) - set(topological_order(loss))
    assert len(made) <= 15_000
    assert [slope.data for slope in slopes] == pytest.approx(grad(loss, parameters), rel=1e-12, abs=1e-15)


def test_a_hessian_by_sums_of_products():
    def rosenbrock(x):
        return functional.sum([100 * (b - a**2) ** 2 + (1 - a) ** 2 for a, b in itertools.pairwise(x)])

    rng = random.Random(0)
    at = [rng.uniform(-2, 2) for _ in range(20)]
    expected = [[0.0] * 20 for _ in range(20)]
    for i, (a, b) in enumerate(itertools.pairwise(at)):
        expected[i][i] += 1200 * a**2 - 400 * b + 2
        expected[i][i + 1] = expected[i + 1][i] = -400 * a
        expected[i + 1][i + 1] += 200
    for row, expected_row in zip(derivatives.hessian(rosenbrock, at), expected, strict=True):
        assert row == pytest.approx(expected_row, rel=1e-12, abs=1e-9)
