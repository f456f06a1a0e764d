"""Functions of math as arithmetic on vectors: exp, sin, erf, … of as many numbers at a time as a register holds.

:func:`emit` writes a call; the function itself is written once per module, and LLVM puts it in the call's place
where that pays. A result is within 1.5 units in the last place (ulp) of the exact one, over all doubles. Where Python
raises an error, the result is nan or infinite, as in C: ``exp(1000)`` is inf, ``log(0)`` is -inf; ``log(-1)``,
``sqrt(-1)`` and ``sin(inf)`` are nan.

Processors without fused instructions (``a * b + c`` rounded once) get the same formulas with separate ones: the bounds
hold there too, the last bits may differ.

Each function reduces its argument to a short interval, evaluates a polynomial there, and puts the parts together. What
must be more precise than a double is a pair: a number and a much smaller one, to be added last. The polynomials are
minimax: of all of their degree, the one with the least largest error, found by Remez' algorithm with 60 digits,
weighted for the relative error of the result, and rounded to doubles. Each has its remaining error beside it.

The methods are those of W. J. Cody and W. Waite, *Software Manual for the Elementary Functions* (1980), of
J.-M. Muller, *Elementary Functions* (2016), and, for ``log`` and its kin, of Sun's fdlibm (1993).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from .lanes import (
    Bits,
    Lanes,
    Mask,
    Pair,
    Writer,
    absolute,
    add_product,
    bits_of,
    call_per_lane,
    clamp,
    copy_sign,
    divide_pairs,
    exact_product,
    exact_sum,
    fast_sum,
    ir,
    multiply_add,
    multiply_pairs,
    polynomial,
    select,
    square_root,
    where_rare,
)

__all__ = ["FUNCTIONS", "PREDICATES", "WRITERS", "emit"]

# Bits of a double: a sign, 11 bits of exponent, 52 of mantissa.
ONE = bits_of(1.0)
SIGN = bits_of(-0.0)
EXPONENT = bits_of(math.inf)
LEAST_NORMAL = 2.0**-1022
SHIFT = 1.5 * 2.0**52  # x + SHIFT is x rounded to a whole number, in the lowest bits of the sum

# Constants as pairs: the double, and what it lacks. Of those that are multiplied by whole numbers, the first part is
# short (42, 33 or 50 bits), so that the product is exact.
LN_2 = 0.6931471805598903, 5.497923018708371e-14
LOG10_2 = 0.30102999566395283, 2.8363394551044964e-14
PER_LN_2 = 1.4426950408889634, 2.0355273740931033e-17
PER_LN_10 = 0.4342944819032518, 1.098319650216765e-17
LN_2_LONG = 0.6931471805599453, 2.3190468138462996e-17
HALF_PI_SHORT = 1.5707963267341256, 6.077100506506192e-11
HALF_PI = 1.5707963267948966, 6.123233995736766e-17
QUARTER_PI = 0.7853981633974483, 3.061616997868383e-17
THIRD = 0.3333333333333333, 1.850371707708594e-17

# fmt: off
# (e^r - 1 - r) / r², |r| <= ln(2)/2: 2^-60 of e^r
EXP = (
    0.5, 0.16666666666666682, 0.041666666666666095, 0.008333333333317035, 0.0013888888889115427, 0.0001984126989638054,
    2.4801586926951727e-05, 2.755723486442574e-06, 2.75575816191314e-07, 2.5112036170890887e-08, 2.082668869221173e-09,
)
# (2 atanh(s) - 2s) / s³ in s², |s| <= 3 - 2√2: 2^-59 of the logarithm
LOG = (
    0.6666666666666734, 0.3999999999941432, 0.28571428742473176, 0.22222198563775872, 0.181835648472948,
    0.15314036413648913, 0.14796099001645088,
)
# (atanh(s) - s - s³/3) / s⁵ in s², the same interval: 2^-65
LOG_TAIL = (
    0.20000000000000367, 0.14285714285361073, 0.11111111211070654, 0.0909089602633039, 0.07693217285853124,
    0.06631873099667353, 0.06568266189935634,
)
# (sin r - r) / r³ and (cos r - 1 + r²/2) / r⁴ in r², |r| <= π/4: 2^-57 and 2^-59
SIN = (
    -0.16666666666666632, 0.008333333333322411, -0.00019841269829805824, 2.7557313691208495e-06,
    -2.505075800074039e-08, 1.5896788818044114e-10,
)
COS = (
    0.04166666666666664, -0.0013888888888879077, 2.4801587292188675e-05, -2.7557315051867794e-07,
    2.0875809741908017e-09, -1.1363769223274941e-11,
)
# (atan t - t) / t³ in t², |t| <= √2 - 1: 2^-58
ATAN = (
    -0.333333333333332, 0.19999999999954066, -0.1428571428024686, 0.11111110786051749, -0.0909089783386655,
    0.07692061589351996, -0.06663119821353264, 0.05848004689423505, -0.05039825902848614, 0.038077809363371275,
    -0.017921705256089573,
)
# (asin s - s) / s³ in s², |s| <= 1/2: 2^-58
ASIN = (
    0.16666666666666746, 0.07499999999973365, 0.044642857172769904, 0.030381942778241397, 0.022372213344523845,
    0.01735163709484388, 0.013980559998374555, 0.011400787906979737, 0.010770888875260483, 0.003738232533791201,
    0.021637183575700384, -0.020908173057814686, 0.03257634075062127,
)
# (sinh x - x) / x³ in x², |x| <= 1: 2^-56
SINH = (
    0.16666666666666669, 0.008333333333333139, 0.00019841269841437678, 2.755731915533766e-06, 2.505212339840952e-08,
    1.6057240353181863e-10, 7.759311842391483e-13,
)
# (tanh r - r) / r³ in r², |r| <= ln(2)/4: 2^-57
TANH = (
    -0.3333333333333249, 0.1333333333278375, -0.05396825278174885, 0.021869370678918077, -0.008857307136851683,
    0.003444813163946778,
)
# erf(x)/x - 1 in x², |x| <= 5/8: 2^-56
ERF = (
    0.1283791670955126, -0.37612638903183754, 0.11283791670955025, -0.026866170645090757, 0.005223977624610092,
    -0.0008548326923647841, 0.00012055325511786212, -1.4925290685455478e-05, 1.6450955338534769e-06,
    -1.6149514347785183e-07, 1.2399743220582925e-08,
)
# (1 + 2a) e^(a²) erfc(a) - 1 in (a - 4) / (a + 4), 5/8 <= a <= 28: 2^-56
ERFC = (
    0.2329951186255525, -0.13962111684056247, 0.015379652102619396, 0.0680970542546868, -0.10103906603627733,
    0.09373283499860485, -0.06633036581302583, 0.037167515532408435, -0.016197734045518886, 0.0050319700334837125,
    -0.0007577733968520827, -0.0001992570616970933, 0.00015062227026477515, -2.4397670227201616e-05,
    -1.1224129731687283e-05, 5.705513849971665e-06, 2.985841013627146e-07, -8.17989216537282e-07,
    6.789449051745558e-08, 1.0194321942684821e-07, -1.2553894367880996e-08, -9.166804088152715e-09,
)
# the cube root of v, 0.35 <= v <= 2.83: 2^-9
CBRT = (
    0.4427655015499667, 0.9011517524279894, -0.4769667721095793, 0.15467568146164495, -0.019753277023856666,
)
# fmt: on


# Whole numbers and powers of 2


def round_in_low_bits(x: Lanes, factor: float) -> tuple[Bits, Lanes]:
    """``x * factor`` rounded to a whole number below 2⁵¹: as the lowest bits of integers, and as doubles."""
    shifted = multiply_add(x, factor, SHIFT)
    return shifted.bits(), shifted - SHIFT


def power_of_two(k: Lanes) -> Lanes:
    """``2^k`` for whole numbers k from -1022 to 1023."""
    return (((k + SHIFT).bits() << 52) + ONE).double()


def scale(x: Lanes, k: Lanes) -> Lanes:
    """``x * 2^k`` for whole numbers k from -2044 to 2046, in two steps, of which only the last one rounds."""
    half = round_in_low_bits(k, 0.5)[1]
    return x * power_of_two(half) * power_of_two(k - half)


def split(x: Lanes) -> tuple[Lanes, Lanes]:
    """``k`` and ``m`` with ``x = 2^k m`` and ``√½ <= m < √2``, for positive normal numbers."""
    bits = x.bits()
    exponent = bits - (bits_of(math.sqrt(0.5)) - ONE)  # that of 1 or more if m is
    k = ((exponent >> 52) | bits_of(2.0**52)).double() - (2.0**52 + 1023)
    return k, (bits - ((exponent & EXPONENT) - ONE)).double()


def is_finite(x: Lanes) -> Mask:
    """Where it is neither infinite nor nan."""
    return absolute(x) < math.inf


def round_half_even(x: Lanes) -> Lanes:
    """The nearest whole number, of two the even one: adding 2⁵² leaves no place for a fraction."""
    size = absolute(x)
    return select(size < 2.0**52, copy_sign((size + 2.0**52) - 2.0**52, x), x)


def floor(x: Lanes) -> Lanes:
    """The largest whole number that is not above."""
    nearest = round_half_even(x)
    return select(nearest > x, nearest - 1.0, nearest)


def truncate(x: Lanes) -> Lanes:
    """The whole number without the fraction."""
    return copy_sign(floor(absolute(x)), x)


def reduce(x: Lanes, period: tuple[float, float]) -> tuple[Bits, Lanes, Lanes, Lanes]:
    """``k`` (as bits and as doubles) and a pair ``r`` with ``x = k period + r``, ``|r| <= period/2``: Cody and Waite.

    The first part of the period is so short that its product with k is exact.
    """
    bits, k = round_in_low_bits(x, 1.0 / sum(period))
    most = multiply_add(k, -period[0], x)
    r = multiply_add(k, -period[1], most)
    return bits, k, r, multiply_add(k, -period[1], most - r)


# Exponentials


def exp_less_linear(r: Lanes, r_low: Lanes) -> Lanes:
    """``e^(r + r_low) - 1 - r``, for ``|r| <= ln(2)/2``."""
    return multiply_add(r * r, polynomial(r, EXP), multiply_add(r, r_low, r_low))


def exp_pair(x: Lanes, x_low: Lanes | None = None) -> tuple[Bits, Lanes, Lanes, Lanes]:
    """``k`` (as bits and as doubles) and a pair with ``e^(x + x_low) = 2^k (high + low)``."""
    bits, k, r, r_low = reduce(x, LN_2)
    if x_low is not None:
        r, r_low = fast_sum(r, r_low + x_low)
    high, low = fast_sum(x.writer.constant(1.0), r)
    return bits, k, high, low + exp_less_linear(r, r_low)


def exp(x: Lanes) -> Lanes:
    """``2^k e^r``; the exponent's bits are added to the mantissa's, save near overflow and underflow."""
    bits, k, high, low = exp_pair(x)
    mantissa = high + low

    def of_far() -> Lanes:
        return select(x > 710.0, math.inf, select(x < -746.0, 0.0, scale(mantissa, k)))

    return where_rare(~(absolute(x) < 708.0), (mantissa.bits() + (bits << 52)).double(), of_far)


def exp2(x: Lanes) -> Lanes:
    """``2^k e^(r ln 2)`` with the whole number k nearest to x."""
    within = clamp(x, -1080.0, 1025.0)
    k = round_in_low_bits(within, 1.0)[1]
    rest = within - k
    r, r_low = exact_product(rest, x.writer.constant(LN_2_LONG[0]))
    high, low = fast_sum(x.writer.constant(1.0), r)
    return scale(high + (low + exp_less_linear(r, multiply_add(rest, LN_2_LONG[1], r_low))), k)


def expm1(x: Lanes) -> Lanes:
    """``2^k (1 - 2^-k + r + …)``, summed so that nothing cancels: exactly where numbers of one size meet."""
    within = clamp(x, -40.0, 710.0)
    _, k, r, r_low = reduce(within, LN_2)
    constant = 1.0 - power_of_two(-clamp(k, -100.0, 100.0))
    high, low = fast_sum(constant, r)
    return copy_sign(scale(high + (low + exp_less_linear(r, r_low)), k), x)


def half_exp_pair(size: Lanes) -> tuple[Lanes, Lanes, Lanes, Lanes]:
    """``k``, a pair and a number for ``size >= 0``: half e^size is 2^k (high + low), half e^-size is 2^k other."""
    _, k, high, low = exp_pair(clamp(size, 0.0, 711.0))
    high, low = fast_sum(high, low)
    return k - 1.0, high, low, power_of_two(-2.0 * clamp(k, 0.0, 60.0)) / high


def sinh(x: Lanes) -> Lanes:
    """``x + x³ P(x²)`` up to 1; ``(e^x - e^-x) / 2`` beyond."""
    square, size = x * x, absolute(x)
    near = multiply_add(x * square, polynomial(square, SINH), x)
    k, high, low, other = half_exp_pair(size)
    high, error = fast_sum(high, -other)
    return select(size < 1.0, near, copy_sign(scale(high + (error + low), k), x))


def cosh(x: Lanes) -> Lanes:
    """``(e^x + e^-x) / 2``."""
    k, high, low, other = half_exp_pair(absolute(x))
    high, error = fast_sum(high, other)
    return scale(high + (error + low), k)


def tanh(x: Lanes) -> Lanes:
    """By the theorem of addition, from ``x = k ln(2)/2 + r``: both parts of the quotient are pairs.

    With E = 2^k and T = tanh r, it is ``(E - 1 + T (E + 1)) / (E + 1 + T (E - 1))``. From k = 55 on, which is where x
    exceeds 18.88, E - 1 and E + 1 are the same double, and tanh is 1.
    """
    size = absolute(x)
    bits, _, r, r_low = reduce(select(size > 19.1, 19.1, size), (LN_2[0] / 2, LN_2[1] / 2))
    more = ((bits << 52) + ONE).double() + 1.0
    less = more - 2.0  # where E + 1 is rounded, only the difference of both matters
    square = r * r
    t, t_low = fast_sum(r, multiply_add(r * square, polynomial(square, TANH), r_low))
    above, above_low = add_product(less, more, t)
    below, below_low = add_product(more, less, t)
    high, low = divide_pairs(above, multiply_add(more, t_low, above_low), below, below_low)
    return copy_sign(high + low, x)


# Logarithms


def log_parts(m: Lanes) -> tuple[Lanes, Lanes, Lanes]:
    """``f``, ``h`` and a rest with ``log m = f - h + rest``: f is m - 1, h is f²/2 (fdlibm's way)."""
    f = m - 1.0
    s = f / (f + 2.0)
    square, h = s * s, 0.5 * f * f
    return f, h, s * multiply_add(square, polynomial(square, LOG), h)


def extend_log(x: Lanes, formula: Callable[[Lanes, Lanes], Lanes]) -> Lanes:
    """A logarithm of ``2^k m``, given by a formula of k and m, for all doubles."""

    def of_others() -> Lanes:
        small = x < LEAST_NORMAL
        k, m = split(select(small, x * 2.0**54, x))
        y = formula(select(small, k - 54.0, k), m)
        y = select(x < math.inf, y, x)
        y = select(x.equals(0.0), -math.inf, y)
        return select(x < 0.0, math.nan, y)

    return where_rare(~((x >= LEAST_NORMAL) & (x < math.inf)), formula(*split(x)), of_others)


def log(x: Lanes) -> Lanes:
    """``k ln 2 + log m``."""

    def formula(k: Lanes, m: Lanes) -> Lanes:
        f, h, rest = log_parts(m)
        return multiply_add(k, LN_2[0], f - (h - multiply_add(k, LN_2[1], rest)))

    return extend_log(x, formula)


def log_to_base(unit: tuple[float, float], factor: tuple[float, float]) -> Callable[[Lanes], Lanes]:
    """A logarithm to another base: ``k unit + factor log m``, with log m and the product as pairs."""

    def of(x: Lanes) -> Lanes:
        def formula(k: Lanes, m: Lanes) -> Lanes:
            f, h, rest = log_parts(m)
            high, low = fast_sum(f, -h)
            low = low + rest
            product, error = exact_product(high, x.writer.constant(factor[0]))
            error = multiply_add(low, factor[0], multiply_add(high, factor[1], error))
            total, lost = fast_sum(k * unit[0], product)
            return total + (lost + multiply_add(k, unit[1], error))

        return extend_log(x, formula)

    return of


def log1p(x: Lanes) -> Lanes:
    """The logarithm of ``u = 1 + x``, and the error of that sum divided by u."""
    u, error = exact_sum(x.writer.constant(1.0), x)
    k, m = split(u)
    f, h, rest = log_parts(m)
    error = error * power_of_two(-clamp(k, -60.0, 1000.0)) / m
    low = error - (h - multiply_add(k, LN_2[1], rest))
    high, lost = fast_sum(k * LN_2[0], f)
    y = copy_sign(high + (lost + low), x)
    y = select(x < math.inf, y, x)
    y = select(x.equals(-1.0), -math.inf, y)
    return select(x < -1.0, math.nan, y)


def log_pair(k: Lanes, m: Lanes) -> Pair:
    """``log(2^k m)`` as a pair, to 2^-64: ``2 atanh(s)`` with s = (m - 1) / (m + 1) and its cube as pairs."""
    one = m.writer.constant(1.0)
    f = m - one
    below, below_low = fast_sum(m.writer.constant(2.0), f)
    s, s_low = divide_pairs(f, f - f, below, below_low)
    square, square_low = exact_product(s, s)
    square_low = multiply_add(2.0 * s, s_low, square_low)
    tail = polynomial(square, LOG_TAIL)
    third, third_low = fast_sum(m.writer.constant(THIRD[0]), square * tail)
    third_low = multiply_add(square_low, tail, third_low + THIRD[1])
    u, u_low = multiply_pairs(square, square_low, third, third_low)
    v, v_low = multiply_pairs(s, s_low, u, u_low)
    high, low = fast_sum(s, v)
    total, lost = fast_sum(k * LN_2[0], 2.0 * high)
    return fast_sum(total, lost + multiply_add(k, LN_2[1], 2.0 * (low + (s_low + v_low))))


def power(x: Lanes, y: Lanes) -> Lanes:
    """``x * x`` where y is 2, which losses are full of; else the general formula, which runs if a lane needs it."""
    return where_rare(~y.equals(2.0), x * x, lambda: power_in_general(x, y))


def power_in_general(x: Lanes, y: Lanes) -> Lanes:
    """``e^(y log|x|)`` with the product as a pair; signs, zeros, infinities and nans then as C's ``pow`` has them.

    Where Python's ``**`` gives a complex number, it is nan, and where it divides by zero, inf. A result that is a
    double is exact, as those of small whole powers of small whole numbers are.
    """
    size = absolute(x)
    small = size < LEAST_NORMAL
    k, m = split(select(small, size * 2.0**54, size))
    logarithm, low = log_pair(select(small, k - 54.0, k), m)
    within = clamp(y, -(2.0**70), 2.0**70)  # beyond, only x = ±1 gives neither 0 nor inf
    product, error = exact_product(within, logarithm)
    error = select(absolute(product) < 750.0, multiply_add(within, low, error), 0.0)
    bits, k, high, low = exp_pair(clamp(product, -746.0, 710.0), error)
    mantissa = high + low

    def of_others() -> Lanes:
        result = scale(mantissa, k)
        result = select(size.equals(0.0), select(y < 0.0, math.inf, 0.0), result)
        result = select(size.equals(math.inf), select(y < 0.0, 0.0, math.inf), result)
        whole, even = round_half_even(y).equals(y), round_half_even(0.5 * y).equals(0.5 * y)
        result = select((x < 0.0) & is_finite(x) & ~whole, math.nan, result)
        result = select(whole & ~even, copy_sign(result, x), result)
        result = select(x.is_nan() | y.is_nan(), math.nan, result)
        return select(x.equals(1.0) | y.equals(0.0), 1.0, result)

    plain = (x > 0.0) & (x < math.inf) & (absolute(product) < 708.0)
    return where_rare(~plain, (mantissa.bits() + (bits << 52)).double(), of_others)


# Sine, cosine, tangent


def reduce_by_half_pi(x: Lanes) -> tuple[Bits, Lanes, Lanes, Mask]:
    """``n`` (in the lowest bits) and a pair ``r`` with ``x = n π/2 + r``, ``|r| <= π/4``; and where that is too rough.

    π/2 has 86 bits here. That is too rough beyond 25,000, and where x is so close to a multiple of π/2 that less than
    58 bits of r would be right.
    """
    bits, _, r, r_low = reduce(x, HALF_PI_SHORT)
    size = absolute(x)
    return bits, r, r_low, ~(size < 25_000.0) | ((size > 1.0) & (absolute(r) < 2.0**-14))


def sine_and_cosine(r: Lanes, r_low: Lanes) -> tuple[Pair, Pair]:
    """The sine and cosine of a pair, ``|r| <= π/4``, as pairs."""
    square = r * r
    half = 0.5 * square
    sine = multiply_add(r * square, polynomial(square, SIN), multiply_add(-half, r_low, r_low))
    high, low = fast_sum(r.writer.constant(1.0), -half)
    cosine = low + multiply_add(square * square, polynomial(square, COS), -(r * r_low))
    return (r, sine), (high, cosine)


def turn(x: Lanes, name: str, quarters: int) -> Lanes:
    """``sin(x + quarters π/2)``: ± the sine or cosine of the rest, by the quadrant.

    Where the reduction is too rough, the C library's function ``name`` is called.
    """
    bits, r, r_low, rough = reduce_by_half_pi(x)
    quadrant = bits + quarters
    sine, cosine = sine_and_cosine(r, r_low)
    y = select((quadrant & 1).is_zero(), copy_sign(sine[0] + sine[1], r), cosine[0] + cosine[1])
    y = (y.bits() ^ ((quadrant << 62) & SIGN)).double()
    return where_rare(rough, y, lambda: call_per_lane(name, x))


def sin(x: Lanes) -> Lanes:
    """The sine; see ``turn``."""
    return turn(x, "sin", 0)


def cos(x: Lanes) -> Lanes:
    """The cosine, which is the sine a quarter turn further; see ``turn``."""
    return turn(x, "cos", 1)


def tan(x: Lanes) -> Lanes:
    """Sine by cosine, or in odd quadrants minus cosine by sine."""
    bits, r, r_low, rough = reduce_by_half_pi(x)
    even = (bits & 1).is_zero()
    (s, s_low), (c, c_low) = (fast_sum(*pair) for pair in sine_and_cosine(r, r_low))
    above, above_low = select(even, s, c), select(even, s_low, c_low)
    below, below_low = select(even, c, s), select(even, c_low, s_low)
    high, low = divide_pairs(above, above_low, below, below_low)
    y = copy_sign(high + low, r)
    return where_rare(rough, select(even, y, -y), lambda: call_per_lane("tan", x))


# Inverse sine, cosine, tangent


def atan_of_ratio(a: Lanes, b: Lanes, swapped: Mask, behind: Mask) -> Lanes:
    """The angle of the direction ``(b, a)`` for ``0 <= a <= b``; ``swapped``, of (a, b); ``behind``, of (-b, a).

    It is ``atan t`` with t = a/b up to tan(π/8), else ``π/4 + atan t`` with t = (a - b) / (a + b); t is a pair.
    """
    zero, one = a.writer.constant(0.0), a.writer.constant(1.0)
    wide = a > (math.sqrt(2) - 1) * b
    less, less_low = fast_sum(b, -a)
    more, more_low = fast_sum(b, a)
    above, above_low = select(wide, -less, a), select(wide, -less_low, zero)
    below, below_low = select(wide, more, b), select(wide, more_low, zero)
    t, t_low = divide_pairs(above, above_low, below, below_low)
    square = t * t
    tail = multiply_add(t * square, polynomial(square, ATAN), multiply_add(-square, t_low, t_low))
    quarters, sign = select(wide, one, zero), one
    quarters, sign = select(swapped, 2.0 - quarters, quarters), select(swapped, -sign, sign)
    quarters, sign = select(behind, 4.0 - quarters, quarters), select(behind, -sign, sign)
    high, low = fast_sum(quarters * QUARTER_PI[0], sign * t)
    return high + (low + multiply_add(quarters, QUARTER_PI[1], sign * tail))


def atan(x: Lanes) -> Lanes:
    """The angle of the direction ``(1, x)``; from 2⁶⁰ on it is π/2."""
    size = clamp(absolute(x), 0.0, 2.0**60)
    swapped = size > 1.0
    nowhere = x < x
    return copy_sign(atan_of_ratio(select(swapped, 1.0, size), select(swapped, size, 1.0), swapped, nowhere), x)


def atan2(y: Lanes, x: Lanes) -> Lanes:
    """The angle of the direction ``(x, y)``, scaled so that the ratio's parts neither overflow nor underflow."""
    height, width = absolute(y), absolute(x)
    swapped = height > width
    a, b = select(swapped, width, height), select(swapped, height, width)
    endless = b.equals(math.inf)
    a = select(endless, select(a.equals(math.inf), 1.0, 0.0 * a), a)  # a nan stays one
    b = select(endless | b.equals(0.0), 1.0, b)
    factor = select(b > 2.0**600, 2.0**-300, a.writer.constant(2.0**300))
    behind = copy_sign(x.writer.constant(1.0), x) < 0.0
    return copy_sign(atan_of_ratio(a * factor, b * factor, swapped, behind), y)


def asin_parts(x: Lanes) -> tuple[Mask, Lanes, Lanes]:
    """Where ``|x| < 1/2``, and a pair: there the arcsine of |x|, else that of ``sqrt((1 - |x|) / 2)``."""
    size = absolute(x)
    near = size < 0.5
    square = select(near, size * size, 0.5 - 0.5 * size)
    s = select(near, size, square_root(square))
    return near, s, s * (square * polynomial(square, ASIN))


def asin(x: Lanes) -> Lanes:
    """``s + s³ P(s²)`` up to 1/2; ``π/2 - 2 asin(sqrt((1 - x) / 2))`` beyond."""
    near, s, tail = asin_parts(x)
    high, low = fast_sum(x.writer.constant(HALF_PI[0]), -2.0 * s)
    far = high + (low + (HALF_PI[1] - 2.0 * tail))
    return copy_sign(select(near, s + tail, far), x)


def acos(x: Lanes) -> Lanes:
    """``π/2 - asin x`` up to 1/2; twice the arcsine of ``sqrt((1 - |x|) / 2)``, or π less that, beyond."""
    near, s, tail = asin_parts(x)
    factor = copy_sign(x.writer.constant(1.0), x) * select(near, -1.0, 2.0)
    quarters = select(near, 1.0, select(x < 0.0, 2.0, 0.0))
    high, low = fast_sum(quarters * HALF_PI[0], factor * s)
    return high + (low + multiply_add(quarters, HALF_PI[1], factor * tail))


# The error function


def erfc_far(a: Lanes) -> tuple[Lanes, Lanes, Lanes]:
    """``k`` and a pair with ``erfc(a) = 2^k (high + low)`` for a from 5/8 to 28.

    ``(1 + 2a) e^(a²) erfc(a)`` is smooth up to infinity: a polynomial in (a - 4) / (a + 4) (Shepherd and Laframboise
    1981). It is divided by 1 + 2a and multiplied by e^(-a²), as pairs.
    """
    four, one = a.writer.constant(4.0), a.writer.constant(1.0)
    q, q_low = divide_pairs(*exact_sum(a, -four), *exact_sum(a, four))
    high, low = fast_sum(one, polynomial(q + q_low, ERFC))
    high, low = divide_pairs(high, low, *exact_sum(one, 2.0 * a))
    square, square_low = exact_product(a, a)
    _, k, factor, factor_low = exp_pair(-square, -square_low)
    return k, *multiply_pairs(high, low, *fast_sum(factor, factor_low))


def erf(x: Lanes) -> Lanes:
    """``x + x P(x²)`` up to 5/8; 1 - erfc beyond, and 1 from 6 on."""
    square, size = x * x, absolute(x)
    near = multiply_add(x, polynomial(square, ERF), x)
    k, high, low = erfc_far(clamp(size, 0.625, 6.0))
    factor = power_of_two(k)
    total, error = fast_sum(x.writer.constant(1.0), -(high * factor))
    return select(size < 0.625, near, copy_sign(total + (error - low * factor), x))


def erfc(x: Lanes) -> Lanes:
    """``1 - x - x P(x²)`` where ``|x| <= 5/8``; beyond, the far formula, or 2 less that."""
    one, two, size = x.writer.constant(1.0), x.writer.constant(2.0), absolute(x)
    high, low = fast_sum(one, -x)
    near = high + (low - x * polynomial(x * x, ERF))
    k, high, low = erfc_far(clamp(size, 0.625, 28.0))
    tail = scale(high + low, k)
    return select(size < 0.625, near, select(x < 0.0, two - tail, tail))


# Roots


def cbrt(x: Lanes) -> Lanes:
    """``2^q ∛v`` with a polynomial for v from 0.35 to 2.83, and two of Halley's steps.

    Before the last step the root is cut to 22 bits, so that its square is exact.
    """
    size = absolute(x)
    small = size < LEAST_NORMAL
    k, m = split(select(small, size * 2.0**54, size))
    q = round_in_low_bits(k, 1 / 3)[1]
    v = m * power_of_two(k - 3.0 * q)
    t = polynomial(v, CBRT)
    cube = t * t * t
    t = t * (cube + 2.0 * v) / (2.0 * cube + v)
    t = (t.bits() & ~((1 << 31) - 1)).double()
    ratio = v / (t * t)
    root = t + t * ((ratio - t) / (t + t + ratio))
    root = root * power_of_two(select(small, q - 18.0, q))
    return copy_sign(select((size > 0.0) & (size < math.inf), root, size), x)


def hypot(x: Lanes, y: Lanes) -> Lanes:
    """``sqrt(x² + y²)`` with the squares as pairs, scaled so that they neither overflow nor underflow."""
    one, left, right = x.writer.constant(1.0), absolute(x), absolute(y)
    a, b = select(left > right, left, right), select(left > right, right, left)
    big, small = a > 2.0**500, a < 2.0**-400
    factor = select(big, 2.0**-600, select(small, 2.0**600, one))
    (xx, xx_low), (yy, yy_low) = (exact_product(side, side) for side in (a * factor, b * factor))
    total, error = fast_sum(xx, yy)
    root = square_root(total + (error + (xx_low + yy_low)))
    root = root * select(big, 2.0**600, select(small, 2.0**-600, one))
    return select(left.equals(math.inf) | right.equals(math.inf), math.inf, root)


def is_infinite(x: Lanes) -> Mask:
    """Where it is inf or -inf."""
    return absolute(x).equals(math.inf)


PREDICATES: dict[str, Callable[[Lanes], Mask]] = {"isinf": is_infinite, "isnan": Lanes.is_nan}
WRITERS: dict[str, tuple[int, Callable[..., Lanes]]] = {
    "acos": (1, acos),
    "asin": (1, asin),
    "atan": (1, atan),
    "atan2": (2, atan2),
    "cbrt": (1, cbrt),
    "copysign": (2, copy_sign),
    "cos": (1, cos),
    "cosh": (1, cosh),
    "erf": (1, erf),
    "erfc": (1, erfc),
    "exp": (1, exp),
    "exp2": (1, exp2),
    "expm1": (1, expm1),
    "fabs": (1, absolute),
    "floor": (1, floor),
    "hypot": (2, hypot),
    "log": (1, log),
    "log10": (1, log_to_base(LOG10_2, PER_LN_10)),
    "log1p": (1, log1p),
    "log2": (1, log_to_base((1.0, 0.0), PER_LN_2)),
    "pow": (2, power),
    "round": (1, round_half_even),
    "sin": (1, sin),
    "sinh": (1, sinh),
    "sqrt": (1, square_root),
    "tan": (1, tan),
    "tanh": (1, tanh),
    "trunc": (1, truncate),
}
FUNCTIONS = frozenset(WRITERS) | frozenset(PREDICATES)


def emit(builder: Any, name: str, arguments: Sequence[Any], *, fma: bool = True, inline: bool = True) -> Any:
    """Writes a call of a function of math, lane by lane.

    The function is written into the builder's module when it is first called there, private to the module.

    Args:
        builder: llvmlite's ``IRBuilder``, where the call goes.
        name: one of :data:`FUNCTIONS`.
        arguments: values of one type, doubles or vectors of doubles.
        fma: whether the processor multiplies and adds in one instruction (its features say ``fma``, or it is an ARM
            of 64 bits). Code that says so is slow on one that can't.
        inline: whether LLVM may put the function in the call's place. That runs faster, by a fifth for ``exp``, and
            takes some 3 ms more to compile: for kernels with few calls.

    Returns:
        The value of the call: of the arguments' type; for ``isnan`` and ``isinf``, one bit per lane.

    Raises:
        ValueError: if there is no such function, or it takes another number of arguments.

    >>> from llvmlite import ir
    >>> vector = ir.VectorType(ir.DoubleType(), 8)
    >>> function = ir.Function(ir.Module(), ir.FunctionType(vector, [vector]), "f")
    >>> builder = ir.IRBuilder(function.append_basic_block())
    >>> print(emit(builder, "exp", function.args))
    %... = call <8 x double> @"exp.v8.fma"(<8 x double> %...)
    """
    if name not in FUNCTIONS:
        raise ValueError(f"no function of math is called {name!r}: there are {', '.join(sorted(FUNCTIONS))}")
    count, write = WRITERS.get(name, (1, None))
    if len(arguments) != count:
        raise ValueError(f"{name} takes {count} argument{'s' * (count > 1)}, not {len(arguments)}")
    if write is None:
        return PREDICATES[name](Lanes(Writer(builder, arguments[0].type, fma), arguments[0])).value
    function = function_of(builder.module, name, arguments[0].type, fma)
    return builder.call(function, arguments, attrs=() if inline else ("noinline",))


def function_of(module: Any, name: str, type_: Any, fma: bool) -> Any:
    """The module's own function for arguments of a type; written if it isn't there yet."""
    count, write = WRITERS[name]
    lanes = f"v{type_.count}" if hasattr(type_, "count") else "f64"
    full = f"{name}.{lanes}.{'fma' if fma else 'plain'}"
    if full in module.globals:
        return module.globals[full]
    function = ir.Function(module, ir.FunctionType(type_, [type_] * count), full)
    function.linkage = "internal"
    function.attributes.add("nounwind")
    writer = Writer(ir.IRBuilder(function.append_basic_block()), type_, fma)
    result = write(*(Lanes(writer, argument) for argument in function.args))
    writer.builder.ret(result.value)
    return function
