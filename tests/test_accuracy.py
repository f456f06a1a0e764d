"""Compares every rule of the table with 60 digits. A new line is measured without a new test."""

import itertools
import math
import random
from fractions import Fraction
from functools import partial

import mpmath
import pytest
from exact import bounds, exact, list_cases, ours, sample, subtract_rounding, thresholds, ulps, write_id

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
        ("log_odds", 0.0, 0.0),
        ("log_odds", 1.0, 0.0),
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


def test_the_second_derivative_of_silu_far_out():
    (slope,) = grad((x := Value(744.0)).silu(), [x], create_graph=True)
    assert grad(slope, [x])[0] == pytest.approx(-742 * math.exp(-744 / 2) * math.exp(-744 / 2), rel=1e-3)


def test_tanh_where_one_formula_takes_over_from_another():
    for k in range(-200, 201):
        x = 0.55 * (1 + k / 4096) if k % 2 else k / 10
        with mpmath.workdps(60):
            assert ulps(RULES["tanh"](x), mpmath.tanh(mpmath.mpf(x))) <= 2


def test_the_slope_of_atan_is_good_enough_for_its_own_derivative():
    rng = random.Random(0)
    for _ in range(500):
        x = 2 ** rng.uniform(-4, 4)
        with mpmath.workdps(60):
            assert ulps(RULES["atan_slope"](x), 1 / (1 + mpmath.mpf(x) ** 2)) <= 1.3


EDGES = [sign * x for x in (5e-324, 3e-310, 1e-300, 1e-160, 1e-100, 1.0, 1e100, 1e160, 1e300) for sign in (1, -1)]


@pytest.mark.parametrize("name", ["hypot", "atan2", "hypot_slope", "atan2_slope"])
def test_two_sides_of_any_size(name):
    rule = RULES[name]
    for at in itertools.product(EDGES, EDGES):
        for by in (0, 1):
            true, found = exact(rule, at, by), ours(rule, at, by)
            for order, bound in enumerate(bounds(rule)[:2]):
                assert bound is None or ulps(found[order], true[order]) <= bound, (at, by, order)
                if found[order] is None or math.isinf(found[order]):
                    break  # it overflows


@pytest.mark.parametrize(
    ("name", "operands"),
    [
        ("sqrt_slope", [-1.0]),
        ("asin_slope", [2.0]),
        ("asin_slope", [-1.1]),
        ("log_odds", [1.1]),
        ("log_odds", [-0.1]),
        ("bce_slope", [1.1, 0.5]),
        ("bce", [1.1, 0.5]),
        ("bce", [-0.1, 0.5]),
        ("bce", [0.5, 1.1]),
    ],
)
def test_a_slope_is_defined_where_its_function_is(name, operands):
    with pytest.raises(ValueError, match=r"domain|expected|probability"):
        RULES[name](*operands)


@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("p", [0.0, 1e-50, 3.8e-44, 1e-30, 1e-13, 0.25, 0.5, 0.75, 1 - 1e-13, 1 - 2**-53, 1.0])
def test_binary_cross_entropy_within_pytorchs_bounds(p, t):
    tiny, eps = RULES["bce"].constants["tiny"], RULES["bce_slope"].constants["eps"]
    log_p, log_q = math.log(max(p, tiny)), math.log1p(-p) if p < 1 else -100.0
    odds = -100.0 if p < tiny else log_p - log_q if p < 1 else 100.0
    below = max(p * (1 - p), eps)
    close = partial(pytest.approx, rel=1e-13, abs=1e-300)
    assert RULES["bce"](p, t) == close(-t * log_p - (1 - t) * log_q)
    assert RULES["log_odds"](p) == close(odds)
    x, y = Value(p), Value(t)
    by_p, by_t = grad(RULES["bce"](x, y), [x, y], create_graph=True)
    assert (by_p.data, by_t.data) == close(((p - t) / below, -odds))
    assert grad(by_p, [x, y]) == close((((p - t) ** 2 + t * (1 - t)) / below**2, -1 / below))
    assert grad(by_t, [x]) == close((-1 / (p * (1 - p)) if tiny < p < 1 else 0.0,))


def test_a_difference_of_infinite_logits():
    exp_difference = RULES["exp_difference"]
    assert exp_difference(-math.inf, 1.0) == exp_difference(-1e308, 1e308) == exp_difference(-1000.0, 0.0) == 0.0
    assert exp_difference(0.0, math.inf) == 0.0
    assert exp_difference(1e308, -1e308) == math.inf
    with pytest.raises(OverflowError):
        exp_difference(1000.0, 0.0)


def test_the_upper_half_of_a_number_has_an_exact_square():
    rng = random.Random(0)
    for _ in range(200):
        x = rng.uniform(-40, 40)
        half = RULES["upper_half"](x)
        assert Fraction(half) ** 2 == Fraction(half * half)
        assert abs(x - half) <= 2**-26 * abs(x)
    assert grad(RULES["upper_half"](v := Value(0.3)), [v], create_graph=True)[0].data == 1.0


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


# Powers at the edges of doubles: each of their formulas

EXPONENTS = (
    0.0,
    1e-20,
    0.1,
    0.3,
    0.5,
    1.0,
    1.5,
    2.0,
    2.5,
    3.0,
    4.0,
    50.0,
    60.0,
    1070.0,
    -0.3,
    -1.0,
    -2.0,
    -50.0,
    -1070.0,
)
BASES = (5e-324, 3e-310, 1e-200, 2e-31, 1e-3, 0.5, 1 - 2**-53, 1.0, 2.0, 700.0, 1e31, 1e200, 1.5e308, math.inf)


def power(c, a, n):
    """Returns c·aⁿ with many digits. The releases of mpmath differ about ∞⁰, which is 1 here as in Python."""
    return c and mpmath.mpf(c) * (mpmath.mpf(a) ** n if n and (a or n > 0) else mpmath.inf if n else 1)


def times_log(x, a):
    return x and x * mpmath.log(a) if 0 <= a < math.inf else x * a if a > 0 else math.nan


def assert_derivatives(function, operands, expected):
    """Compares the derivatives by each operand, if all of them are doubles: else ``backward()`` raises an error."""
    values = [Value(x) for x in operands]
    if all(math.isnan(x) or abs(x) < 1.7e308 for x in expected):
        for found, true in zip(grad(function(*values), values), expected, strict=True):
            assert math.isnan(found) if math.isnan(true) else ulps(found, true) <= 4, (operands, found, true)


def list_bases(n, least):
    """Returns bases of which the power n is real, and 0 if n is not below the least exponent for it."""
    signs = (1, -1) if n == int(n) else (1,)
    return [0.0] * (n >= least) + [sign * a for a in BASES for sign in signs]


@mpmath.workdps(60)
@pytest.mark.parametrize("n", [mpmath.mpf(n) for n in EXPONENTS], ids=str)
def test_powers_at_edges(n):
    for a in list_bases(n, least=0):
        value, slope = power(1, a, n), power(n, a, n - 1)
        if abs(value) < 1.7e308:
            assert_derivatives(RULES["power"].bind("power", n=float(n)), [a], [slope])
            assert_derivatives(RULES["**"], [a, float(n)], [slope, times_log(value, a)])


@mpmath.workdps(60)
@pytest.mark.parametrize("n", [-1070.5, -50.0, -1.7, 3.7, 60.5])
@pytest.mark.parametrize(
    ("c", "size"), [(0.3, 710.4), (-0.01, 712.0), (1e-300, 1300.0), (3.0, -709.0), (1e300, -1300.0)]
)
def test_slopes_of_powers_where_the_power_alone_is_no_double(n, c, size):
    a = math.exp(size / (n - 1))
    true = power(c, a, mpmath.mpf(n) - 1)
    assert 2.3e-308 < abs(true) < 1.7e308
    assert not 2.3e-308 < power(1, a, mpmath.mpf(n) - 1) < 1.7e308
    assert ulps(RULES["power_slope"](c, a, n), true) <= 4


@mpmath.workdps(60)
@pytest.mark.parametrize("n", [-0.5, -2.0, 3.0])
@pytest.mark.parametrize("c", [1.0, -1.0])
def test_slopes_of_powers_that_are_no_normal_doubles(n, c):
    smallest, largest = math.exp(-740 / (n - 1)), math.exp(711 / (n - 1))
    assert ulps(RULES["power_slope"](c, smallest, n), power(c, smallest, mpmath.mpf(n) - 1)) <= 1
    with pytest.raises(OverflowError):
        RULES["power_slope"](c, largest, n)


@mpmath.workdps(60)
@pytest.mark.parametrize("n", [mpmath.mpf(n) for n in EXPONENTS], ids=str)
def test_slopes_of_powers_at_edges(n):
    for a in list_bases(n, least=1):
        for c in (0.0, 1.0, -0.3, 50.0, 1e-300):
            out = power(c, a, n - 1)
            if abs(out) < 1.7e308:
                assert ulps(RULES["power_slope"](c, a, float(n)), out) <= 2, (c, a)
            elif c == 1 and math.isfinite(a):
                with pytest.raises(OverflowError):
                    RULES["power_slope"](c, a, float(n))
            if not 0 < abs(out) < 1e-290:
                slopes = [power(1, a, n - 1), power(c * (n - 1), a, n - 2), times_log(out, a)]
                assert_derivatives(RULES["power_slope"], [c, a, float(n)], slopes)


def test_the_slope_of_no_power_of_zero():
    c = Value(0.0)
    assert grad(RULES["power_slope"](c, 0.0, 0.5), [c]) == (0.0,)


@pytest.mark.parametrize("n", [2.0**54, -(2.0**54), 2.0**53 + 2])
@pytest.mark.parametrize("a", [-1.0, 1 + 2**-49, 1 - 2**-50])
def test_the_slope_of_a_power_whose_exponent_less_1_is_no_double(n, a):
    with mpmath.workdps(60):
        assert_derivatives(RULES["power"].bind("power", n=n), [a], [power(n, a, mpmath.mpf(n) - 1)])
