"""Compares every rule of the table with 60 digits. A new line is measured without a new test."""

import math
import random

import mpmath
import pytest
from exact import bounds, list_cases, ours, sample, subtract_rounding, thresholds, ulps, write_id

from micrograd import Value, functional, grad
from micrograd.rules import RULES

POINTS = 250
POINTS_BESIDE = 20  # beside each number with which the rule compares


@pytest.mark.parametrize(
    ("rule", "by"),
    [pytest.param(*one, id=f"{write_id(one[0])}-{one[0].names[one[1]]}{i}") for i, one in enumerate(list_cases())],
)
def test_values_and_derivatives_are_right_to_the_last_digit(rule, by):
    rng = random.Random(f"{rule.name} {by}")
    near = thresholds(rule)
    for i in range(POINTS + POINTS_BESIDE * len(near)):
        at, true = sample(rule, by, rng, near if i >= POINTS else ())
        found = ours(rule, at, by)
        for order, bound in enumerate(bounds(rule)):
            if bound is not None:
                error = subtract_rounding(rule, at, by, order, ulps(found[order], true[order]), bound)
                assert error <= bound, (at, order, found[order], float(true[order]))
            if found[order] is None or not math.isfinite(found[order]):
                break  # it overflows a double, and so do the derivatives


@pytest.mark.parametrize(
    ("name", "x", "slope"),
    [
        ("tanh", 750.0, 0.0),
        ("tanh", -19.5, 4 * math.exp(-39.0)),
        ("sigmoid", 37.0, math.exp(-37.0)),
        ("sigmoid", -800.0, 0.0),
        ("softplus", 800.0, 1.0),
        ("silu", -1000.0, 0.0),
        ("gelu", -1e200, 0.0),
        ("erf", 1e200, 0.0),
        ("atan", 1e200, 0.0),
        ("cbrt", 1e-300, 1e200 / 3),
        ("cbrt", 0.0, math.inf),
        ("asin", 1.0, math.inf),
        ("acos", -1.0, -math.inf),
        ("floor", -2.0, 0.0),
        ("round", 2.5, 1.0),
        ("stop_gradient", 3.0, 0.0),
        ("upper_half", 0.3, 1.0),
    ],
)
def test_tails_and_edges(name, x, slope):
    (found,) = grad(RULES[name](v := Value(x)), [v])
    assert found == pytest.approx(slope, rel=1e-15, abs=0.0)


@pytest.mark.parametrize(
    ("name", "x", "second"),
    [("asin", 1.0, math.inf), ("asin", -1.0, -math.inf), ("acos", 1.0, -math.inf), ("sqrt", 0.0, -math.inf)],
)
def test_second_derivatives_at_edges(name, x, second):
    (slope,) = grad(RULES[name](v := Value(x)), [v], create_graph=True)
    assert grad(slope, [v]) == (second,)


def test_a_cube_root_has_no_second_derivative_at_0():
    (slope,) = grad((v := Value(0.0)).cbrt(), [v], create_graph=True)
    assert math.isnan(grad(slope, [v])[0])


@pytest.mark.parametrize(("a", "n"), [(1e-3, 107.0), (0.5, 1070.0), (2.0, -1070.0)])
def test_the_slope_of_a_tiny_power_by_its_exponent(a, n):
    (found,) = grad(Value(a) ** (b := Value(n)), [b])
    with mpmath.workdps(60):
        assert ulps(found, mpmath.mpf(a) ** n * mpmath.log(a)) <= 4


OF_MATH = [name for name in RULES if hasattr(math, name) and len(RULES[name].names) == 1 and name != "floor"]


@pytest.mark.parametrize("name", OF_MATH)
@pytest.mark.parametrize("x", [math.inf, -math.inf, 0.0, -0.0, math.nan])
def test_infinities_and_zeros_are_those_of_math(name, x):
    try:
        expected = getattr(math, name)(x)
    except ValueError:
        with pytest.raises(ValueError, match=r"domain|expected"):
            RULES[name](x)
    else:
        assert repr(RULES[name](x)) == repr(expected)  # which shows the sign of a zero, too


@pytest.mark.parametrize(
    ("name", "x", "y"),
    [("round", 0.5, 0.0), ("round", 1.5, 2.0), ("round", -2.6, -3.0), ("round", 1e300, 1e300), ("floor", -0.5, -1.0)]
    + [(name, x, x) for name in ("round", "floor") for x in (math.inf, -math.inf)],
)
def test_whole_numbers_are_floats(name, x, y):
    found = RULES[name](Value(x)).data
    assert isinstance(found, float)
    assert found == y


@pytest.mark.parametrize("name", ["round", "floor", "stop_gradient", "cbrt", "gelu", "silu", "erf", "atan"])
def test_nan_stays_nan(name):
    assert math.isnan(RULES[name](math.nan))


# Softmax and its relatives: each entry of the gradient


def of_softmax(logits):
    """Returns the softmax and its complement, both with many digits."""
    with mpmath.workdps(60):
        powers = [mpmath.exp(mpmath.mpf(x) - max(logits)) for x in logits]
        total = mpmath.fsum(powers)
        shares = [p / total for p in powers]
        others = [mpmath.fsum(powers[:i] + powers[i + 1 :]) / total for i in range(len(powers))]
    return shares, others


def some_logits(rng):
    size = rng.choice((1.0, 30.0, 700.0, 1e4))
    return [rng.uniform(-size, size) * rng.choice((1.0, 1.0, 1e-3)) for _ in range(rng.randrange(2, 9))]


@pytest.mark.parametrize("seed", range(20))
def test_gradients_of_softmax_are_right_in_every_entry(seed):
    logits = some_logits(random.Random(seed))
    shares, others = of_softmax(logits)
    values = [Value(x) for x in logits]
    with mpmath.workdps(60):
        for found, true in zip(grad(functional.logsumexp(values), values), shares, strict=True):
            assert ulps(found, true) <= 8
        for i, (p, log_p) in enumerate(zip(functional.softmax(values), functional.log_softmax(values), strict=True)):
            assert ulps(p.data, shares[i]) <= 8
            assert log_p.data == pytest.approx(float(mpmath.log(shares[i])), rel=1e-15)
            for j, (of_p, of_log) in enumerate(zip(grad(p, values), grad(log_p, values), strict=True)):
                slope = others[i] if i == j else -shares[j]
                assert ulps(of_log, slope) <= 8, (i, j)
                assert ulps(of_p, shares[i] * slope) <= 8, (i, j)
            loss = functional.cross_entropy(values, i)
            for j, found in enumerate(grad(loss, values)):
                assert ulps(found, -others[i] if i == j else shares[j]) <= 8, (i, j)
