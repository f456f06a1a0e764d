"""Published causes of nan: each is found within ``detect_anomaly``, and its birthplace named.

The causes are those of questions and issues about PyTorch, JAX and diffrax, and of Goodfellow, Bengio and Courville,
Deep Learning (2016), chapter 4.1.
"""

import math

import pytest

from micrograd import Value, detect_anomaly, grad, nn
from micrograd import functional as F  # noqa: N812
from micrograd.anomaly import AnomalyError
from micrograd.rules import RULES, rule

HERE = __file__
MASKED = "This branch is masked: "
POINTS = {"+": (0.7, 1.1), "bce": (0.7, 0.3), "log": (2.1,), "sqrt": (2.1,), "**": (1.6, 2.3), "/": (1.1, 2.3)}
FLAT = ("floor", "round")
STRAIGHT = (
    "+",
    "-",
    "neg",
    "abs",
    "relu",
    "leaky_relu",
    "maximum",
    "first_maximum",
    "minimum",
    "stop_gradient",
    "sum",
    "weigh",
)


def log_softmax_by_hand(x, y):
    total = x.exp() + y.exp()
    return (x.exp() / total).log()


def softmax_by_hand(x, y):
    return x.exp() / (x.exp() + y.exp())


def norm(*xs):
    return sum(x * x for x in xs) ** 0.5


def mask(condition, taken, left):
    """``where`` as it is written where there is none: both branches count, one of them times 0."""
    return taken * float(condition) + left * float(not condition)


def train(loss, x, rate, steps):
    for _ in range(steps):
        x.grad = 0.0
        loss(x).backward()
        x.data = x.data - rate * x.grad


def unroll(x, factor, steps):
    for _ in range(steps):
        x = x * factor
    return x


ZERO = Value(0.0, "zero")
ONE = Value(1.0, "one")
BIG = Value(1000.0, "big")
HUGE = Value(1e200, "huge")
NAN = Value(math.nan, "gap")
INFINITE = Value(math.inf, "endless")

# What is computed, and what the message has to name: the operation first.
CAUSES = {
    # gradients that are infinite
    "sqrt at 0": (lambda: ZERO.sqrt(), "the gradient of sqrt", "the slope there is inf"),
    "norm at 0": (lambda: norm(ZERO, Value(0.0)), "the gradient of **0.5", "the slope there is inf"),
    "distance of equal points": (lambda: norm(ONE - 1, ONE - 1), "the gradient of **0.5", "the slope there is inf"),
    "standard deviation of equal numbers": (lambda: F.mean([(x - 1.0) ** 2 for x in (ONE, ONE)]).sqrt(),
                                            "the gradient of sqrt", "the slope there is inf"),
    "cube root at 0": (lambda: ZERO.cbrt(), "the gradient of cbrt", "the slope there is inf"),
    "a power below 1 at 0": (lambda: ZERO**0.3, "the gradient of **0.3", "the slope there is inf"),
    "arcsine at 1": (lambda: ONE.asin(), "the gradient of asin", "the slope there is inf"),
    "angle of equal unit vectors": (lambda: (ONE * 1.0).acos(), "the gradient of acos", "the slope there is -inf"),
    # masked branches
    "masked sqrt": (lambda: mask(ZERO > 0, ZERO.sqrt(), ZERO), "the gradient of sqrt", MASKED + "*"),
    "masked norm": (lambda: mask(ZERO > 0, norm(ZERO, ZERO), ZERO), "the gradient of **0.5", MASKED + "*"),
    "masked power": (lambda: mask(ZERO > 0, ZERO**0.5, ONE), "the gradient of **0.5", MASKED + "*"),
    "masked arcsine": (lambda: mask(ONE < 1, ONE.asin(), ONE), "the gradient of asin", MASKED + "*"),
    "sqrt below a relu": (lambda: (-ZERO.sqrt()).relu(), "the gradient of sqrt", MASKED + "relu"),
    "sqrt that a minimum leaves": (lambda: F.maximum(ZERO.sqrt(), 1.0), "the gradient of sqrt", MASKED + "maximum"),
    "masked far from the cause": (lambda: mask(ZERO > 0, (ZERO.sqrt() + 1) * 3, ONE), "the gradient of sqrt", MASKED),
    "masked division": (lambda: mask(ZERO > 0, 1 / ZERO, ZERO), "1.0 / zero=0.0", "division by zero"),
    "masked logarithm": (lambda: mask(ZERO > 0, ZERO.log(), ZERO), "log(zero=0.0)", "math domain error"),
    # values that are too large
    "large exp": (lambda: BIG.exp(), "exp(big=1000.0)", "range error"),
    "softmax by hand": (lambda: softmax_by_hand(BIG, ONE), "exp(big=1000.0)", "range error"),
    "log-softmax by hand": (lambda: log_softmax_by_hand(-BIG, ONE), "log(0.0)", "math domain error"),
    "sigmoid by hand": (lambda: 1 / (1 + (BIG * -1 * -1).exp()), "exp(1000.0)", "range error"),
    "square of a large number": (lambda: HUGE * HUGE, "huge=1e+200 * huge=1e+200: gave inf", "too large for a float"),
    "sum of large numbers": (lambda: HUGE * 1e108 + HUGE * 1e108, "+", "too large for a float"),
    "an unrolled recurrence": (lambda: unroll(HUGE, 1e30, 10), "*", "too large for a float"),
    "a gradient that explodes": (lambda: unroll(Value(1e-300), 1e200, 2), "the gradient of *", "1e+200 times 1e+200"),
    # undefined values
    "log of 0": (lambda: ZERO.log(), "log(zero=0.0)", "math domain error"),
    "0 log 0": (lambda: ZERO * ZERO.log(), "log(zero=0.0)", "math domain error"),
    "cross-entropy of a certain prediction": (lambda: -(ONE * (1 - ONE).log()), "log(0.0)", "math domain error"),
    "log of a negative number": (lambda: (-ONE).log(), "log(-1.0)", "math domain error"),
    "sqrt of rounding": (lambda: (Value(0.1) * 3 - 0.3 - 1e-16).sqrt(), "sqrt(", "math domain error"),
    "0 / 0": (lambda: ZERO / ZERO, "zero=0.0 / zero=0.0", "division by zero"),
    "variance of one number": (lambda: ZERO / Value(0.0, "count"), "count=0.0", "division by zero"),
    "a negative number to a fraction": (lambda: (-ONE) ** 0.5, "**0.5(-1.0)", "no real power"),
    "a power of two Values at 0": (lambda: ZERO ** (ONE - 2), "zero=0.0 ** -1.0", "power"),
    # what comes from outside
    "a gap in the data": (lambda: NAN * 2 + ONE, "gave nan", "operand 0 (gap) is nan: it was so before"),
    "an infinite input": (lambda: INFINITE - INFINITE, "gave nan", "∞ - ∞ is not defined"),
    "0 times infinity": (lambda: ZERO * INFINITE, "gave nan", "0·∞ is not defined"),
    "an attention mask of -inf": (lambda: (-INFINITE) * 0.0, "gave -inf", "operand 0 (endless) is inf"),
    "infinity over infinity": (lambda: INFINITE / INFINITE, "gave nan", "∞/∞ is not defined"),
    "a learning rate that is too large": (lambda: train(lambda x: x**4, Value(10.0), 1.0, 100), "**4(", None),
}  # fmt: skip


@pytest.mark.parametrize("name", CAUSES)
def test_the_birthplace_is_named(name):
    compute, *texts = CAUSES[name]
    leaves = (ZERO, ONE, BIG, HUGE, NAN, INFINITE)
    for leaf in leaves:
        leaf.grad = 0.0
    with pytest.raises((ArithmeticError, ValueError)) as caught, detect_anomaly():
        compute().backward()
    message = str(caught.value)
    for text in filter(None, texts):
        assert text in message
    assert (MASKED in message) == any(str(text).startswith(MASKED) for text in texts)
    if isinstance(caught.value, AnomalyError):
        assert f"{HERE}:" in message
    assert all(leaf.grad == 0 for leaf in leaves)


def test_the_masked_branch_says_where_and_how_to_mend_it():
    x = Value(0.0, "x")
    with detect_anomaly():
        branch = x.sqrt()
        out = branch * 0.0 + x
        with pytest.raises(AnomalyError) as caught:
            out.backward()
    message = str(caught.value)
    assert f"the gradient of sqrt, at {HERE}:" in message
    assert "is nan: the slope there is inf, the gradient of the result is 0" in message
    assert "where(condition, x, 1.0) in place of x keeps sqrt where its slope is finite" in message
    with detect_anomaly():
        (F.where(x > 0, F.where(x > 0, x, 1.0).sqrt(), 0.0) + x).backward()
    assert x.grad == 1.0


def test_a_gradient_that_vanishes_without_a_mask_is_not_called_masked():
    with detect_anomaly():
        y = Value(0.0, "x").sqrt()
        out = y - y
        with pytest.raises(AnomalyError) as caught:
            out.backward()
    assert "their product is not defined" in str(caught.value)
    assert MASKED not in str(caught.value)


@pytest.mark.parametrize("tail", [lambda x: x, lambda x: x * 1.0])
def test_gradients_that_are_too_large_together(tail):
    x = tail(Value(1e-300, "x"))
    with detect_anomaly(), pytest.raises(AnomalyError) as caught:
        (x * 1e308 + x * 1e308).backward()
    assert "is 1e+308: which is too large to add to 1e+308, the gradient that arrived there before" in str(caught.value)


def test_the_first_of_several_nodes_is_named():
    with detect_anomaly():
        early, late = Value(0.0, "early"), Value(0.0, "late")
        out = (early.sqrt() * 2).sqrt() + late.cbrt()
        with pytest.raises(AnomalyError) as caught:
            out.backward()
    assert "operand 0 (late)" in str(caught.value) or "operand 0 = 0.0" in str(caught.value)
    assert "(early)" not in str(caught.value)  # its gradient is infinite before it comes to the first sqrt


# Digits


def test_the_line_where_digits_are_lost():
    x = Value(1e-8)
    with detect_anomaly(digits=True) as digits:
        square = x * x
        difference = 1 - x.cos()  # lost here
        _ = (difference / square).tanh()
    first, *others = digits.rows
    assert (first.operation, first.times) == ("-", 1)
    assert first.line.startswith(HERE)
    assert first.lost > 15
    assert first.exact == pytest.approx(5e-17)
    assert first.value == 0.0
    assert all(row.lost < 1 for row in others)
    assert str(digits).splitlines()[1].split()[0] == "-"


def test_nothing_is_lost_in_a_network():
    model = nn.MLP(3, [4, 2], activation="tanh")
    with detect_anomaly(digits=True) as digits:
        F.cross_entropy(model([0.5, -1.0, 2.0]), 1).backward()
    assert max(row.lost for row in digits.rows) < 3
    assert {row.operation for row in digits.rows} > {"tanh", "dot"}


def test_the_line_where_digits_of_a_gradient_are_lost():
    x = Value(0.1)
    with detect_anomaly(digits=True) as digits:
        (x * 1e16 + x * 1.1 - x * 1e16).backward()
    first = digits.rows[0]
    assert (first.operation, first.times, first.exact, first.value) == ("gradient of *", 3, pytest.approx(1.1), x.grad)
    assert first.lost > 15
    assert first.line.startswith(HERE)


@pytest.fixture
def textbook():
    yield rule("textbook", "a", "tanh(a)", "1 - out * out")
    del RULES["textbook"]


@pytest.mark.parametrize("create_graph", [False, True])
def test_a_slope_that_loses_digits(textbook, create_graph):
    x = Value(20.0)
    with detect_anomaly(digits=True) as digits:
        y = textbook(x)
        grad(y, [x], create_graph=create_graph)
    first = digits.rows[0] if not create_graph else next(row for row in digits.rows if "gradient" in row.operation)
    assert (first.operation, first.value, first.right) == ("gradient of textbook", 0.0, 0.0)
    assert first.exact == pytest.approx(4 * math.exp(-40))


@pytest.mark.parametrize("name", [name for name in RULES if name != "upper_half"])
def test_every_rule_is_computed_with_50_digits(name):
    """The operands have lost digits: the result with 50 digits is that of the operands as they should be."""
    chosen, point = RULES[name], POINTS.get(name, (0.7, 1.3, -0.4, 2.1))
    if chosen.constants.get("x") is not None:
        chosen = chosen.bind(name, x=(0.5, -2.0, 3.0, 1.0))
    point = point[: 4 if chosen.variadic else len(chosen.names)]
    with detect_anomaly(digits=True) as digits:
        operands = [Value(x) + 2.0**30 - 2.0**30 for x in point]
        chosen(*operands).backward()
    rows = {row.operation: row for row in sorted(digits.rows, key=lambda row: row.line)}
    leaves = [Value(x) for x in point]
    right = chosen(*leaves)
    right.backward()
    assert rows[name].exact == pytest.approx(right.data, rel=1e-14)
    assert any(rows[f"gradient of {name}"].exact == pytest.approx(x.grad, rel=1e-14) for x in leaves)
    if name not in FLAT:
        assert rows[name].exact != rows[name].value
    if name not in (*FLAT, *STRAIGHT):
        assert rows[f"gradient of {name}"].exact != rows[f"gradient of {name}"].value


def test_a_line_that_runs_often_is_one_row():
    with detect_anomaly(digits=True) as digits:
        x = Value(0.1)
        for i in range(1, 11):
            x = x + 10.0**i - 10.0**i
    row = digits.rows[0]
    assert (row.operation, row.times) == ("-", 10)
    assert row.lost > 3


def test_digits_need_mpmath(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "mpmath", None)
    with pytest.raises(ImportError, match="needs mpmath: python -m pip install mpmath"):
        detect_anomaly(digits=True)
