"""Double-double arithmetic: sums and products, each as the rounded result and its rounding error.

Formulas are written with the operators of :class:`~micrograd.compiler.code.Number`, which emit the instructions. No
instruction has a fast-math flag: exact sums and products rely on LLVM not reordering anything.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

from .code import Number, Operand

__all__ = [
    "Pair", "add_product", "bits_of", "clamp", "copy_sign", "divide_pairs", "exact_product", "exact_sum", "fast_sum",
    "multiply_add", "multiply_pairs", "polynomial", "select", "where_rare",
]  # fmt: skip

SPLITTER = 2.0**27 + 1  # Veltkamp's constant, which splits the 53 bits of a double into two halves
LONG = 8  # a polynomial with more coefficients is evaluated in two parts, which takes less time
Pair = tuple[Number, Number]  # a number, and a much smaller one; the pair stands for their sum


def bits_of(x: float) -> int:
    """The bits of a double as a signed integer.

    >>> hex(bits_of(1.0))
    '0x3ff0000000000000'
    """
    return int(struct.unpack("<q", struct.pack("<d", x))[0])


def select(where: Number, x: Operand, y: Operand) -> Number:
    """``x`` in the lanes where the condition is true, otherwise ``y``."""
    return where.function.choose(where, x, y)


def where_rare(rare: Number, usual: Number, compute: Callable[[], Number]) -> Number:
    """``usual``; in the lanes of ``rare``, the result of the code that ``compute`` emits. It runs only if needed."""
    f = rare.function
    found = f.variable(usual)
    with f.when(f.any(rare), likely=False):
        found.value = f.choose(rare, compute(), usual)
    return found.value


def copy_sign(x: Number, sign: Number) -> Number:
    """``x`` with the sign of ``sign``, which may be a zero's."""
    return x.function.intrinsic("copysign", x, sign)


def clamp(x: Number, least: float, most: float) -> Number:
    """``x``, limited to the range between two bounds; nan stays nan."""
    x = select(x < least, least, x)
    return select(x > most, most, x)


def multiply_add(x: Number, y: Operand, z: Operand) -> Number:
    """``x * y + z``, rounded once if the processor has fused instructions, otherwise twice."""
    if x.function.fma:
        return x.function.intrinsic("fma", x, y, z)
    return x * y + z


def polynomial(x: Number, coefficients: Sequence[float]) -> Number:
    """``c₀ + c₁x + c₂x² + …`` by Horner's rule. The even and odd powers of a long one are computed in parallel."""
    if len(coefficients) > LONG:
        square = x * x
        return multiply_add(polynomial(square, coefficients[1::2]), x, polynomial(square, coefficients[::2]))
    *others, last = coefficients
    total = x.function.reals(last)
    for c in reversed(others):
        total = multiply_add(total, x, c)
    return total


def fast_sum(x: Number, y: Number) -> Pair:
    """``x + y`` as the rounded sum and its exact error, for ``|x| >= |y|`` or ``x = 0`` (Dekker 1971)."""
    total = x + y
    return total, y - (total - x)


def exact_sum(x: Number, y: Number) -> Pair:
    """``x + y`` as the rounded sum and its exact error, for any ``x`` and ``y`` (Knuth)."""
    total = x + y
    of_y = total - x
    return total, (x - (total - of_y)) + (y - of_y)


def exact_product(x: Number, y: Number) -> Pair:
    """``x * y`` as the rounded product and its exact error.

    Without fused instructions this is Dekker's product of halves, and both numbers must be below 2⁹⁹⁶.
    """
    product = x * y
    if x.function.fma:
        return product, multiply_add(x, y, -product)
    (a, b), (c, d) = cut_in_halves(x), cut_in_halves(y)
    return product, ((a * c - product) + a * d + b * c) + b * d


def add_product(x: Number, y: Number, z: Number) -> Pair:
    """``x + y * z`` as the rounded sum and its error, for ``|x| >= |y * z|`` or ``x = 0``."""
    if x.function.fma:
        total = multiply_add(y, z, x)
        return total, multiply_add(y, z, x - total)
    product, error = exact_product(y, z)
    total, lost = fast_sum(x, product)
    return total, lost + error


def cut_in_halves(x: Number) -> Pair:
    """Two numbers of 26 bits whose sum is ``x`` (Veltkamp 1968)."""
    large = SPLITTER * x
    high = large - (large - x)
    return high, x - high


def remainder(x: Number, quotient: Number, y: Number) -> Number:
    """``x - quotient * y``, rounded once, for a quotient close to ``x / y``."""
    if x.function.fma:
        return multiply_add(-quotient, y, x)
    product, error = exact_product(quotient, y)
    return (x - product) - error


def multiply_pairs(x: Number, x_low: Number, y: Number, y_low: Number) -> Pair:
    """The product of two pairs as a pair."""
    product, error = exact_product(x, y)
    return product, error + multiply_add(x, y_low, x_low * y)


def divide_pairs(x: Number, x_low: Number, y: Number, y_low: Number) -> Pair:
    """The quotient of two pairs as a pair, with one division. ``y_low`` is at most the rounding error of ``y``."""
    inverse = 1.0 / y
    quotient = x * inverse
    return quotient, (remainder(x, quotient, y) + multiply_add(-quotient, y_low, x_low)) * inverse
