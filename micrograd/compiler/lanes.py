"""Arithmetic on vectors, written with Python's operators: each operator writes one instruction of LLVM.

A :class:`Lanes` holds one double per lane, a :class:`Bits` one 64-bit integer per lane, a :class:`Mask` one truth value
per lane. The type is that of the first value: a vector of doubles, or a single double. A formula then reads as it does
in a book:

>>> from llvmlite import ir
>>> vector = ir.VectorType(ir.DoubleType(), 4)
>>> function = ir.Function(ir.Module(), ir.FunctionType(vector, [vector]), "f")
>>> builder = ir.IRBuilder(function.append_basic_block())
>>> x = Lanes(Writer(builder, vector, fma=True), function.args[0])
>>> y = 2.0 * x * x + 1.0
>>> for line in function.blocks[0].instructions:
...     print(line.opname)
fmul
fmul
fadd

No instruction carries a fast-math flag: LLVM may not reorder sums, which the exact sums and products below rely on.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..arguments import require

__all__ = [
    "Bits", "Lanes", "Mask", "Pair", "Writer", "absolute", "add_product", "bits_of", "call_per_lane", "clamp",
    "copy_sign", "divide_pairs", "exact_product", "exact_sum", "fast_sum", "multiply_add", "multiply_pairs",
    "polynomial", "select", "square_root", "where_rare",
]  # fmt: skip

ir = require("llvmlite.ir", "compiling", "llvmlite", "numpy")  # llvmlite has no types: its objects are Any here

SPLITTER = 2.0**27 + 1  # Veltkamp's: cuts the 53 bits of a double in two halves
LONG = 8  # coefficients: shorter polynomials gain nothing from being evaluated in parts


def bits_of(x: float) -> int:
    """The bits of a double as a signed integer.

    >>> hex(bits_of(1.0))
    '0x3ff0000000000000'
    """
    return int(struct.unpack("<q", struct.pack("<d", x))[0])


@dataclass(frozen=True)
class Writer:
    """Where instructions are written, and for what.

    Attributes:
        builder: llvmlite's builder, at the end of a block.
        type: a double, or a vector of doubles.
        fma: whether the processor has an instruction for ``a * b + c`` with a single rounding. Without one, LLVM
            would call a slow function of the C library for it.
    """

    builder: Any
    type: Any
    fma: bool

    @property
    def count(self) -> int:
        """The number of lanes; 0 for a single double."""
        return int(getattr(self.type, "count", 0))

    def constant(self, x: float) -> Lanes:
        """``x`` in every lane."""
        return Lanes(self, self.repeat(ir.DoubleType(), x))

    def integer(self, n: int) -> Bits:
        """``n`` in every lane."""
        return Bits(self, self.repeat(ir.IntType(64), n))

    def repeat(self, element: Any, x: float) -> Any:
        """A constant of LLVM with ``x`` in every lane."""
        if not self.count:
            return ir.Constant(element, x)
        return ir.Constant(ir.VectorType(element, self.count), [x] * self.count)

    def with_lanes_of(self, element: Any) -> Any:
        """The type with as many lanes, each of type ``element``."""
        return ir.VectorType(element, self.count) if self.count else element

    def call_intrinsic(self, name: str, *arguments: Lanes) -> Lanes:
        """The result of LLVM's own function ``llvm.name``."""
        full = f"llvm.{name}.v{self.count}f64" if self.count else f"llvm.{name}.f64"
        module = self.builder.module
        function = module.globals.get(full)
        if function is None:
            function = ir.Function(module, ir.FunctionType(self.type, [self.type] * len(arguments)), full)
        return Lanes(self, self.builder.call(function, [x.value for x in arguments]))


@dataclass(frozen=True, eq=False)
class Lanes:
    """One double per lane."""

    writer: Writer
    value: Any

    def operand(self, other: Lanes | float) -> Lanes:
        """``other``, a number repeated in every lane if it is one."""
        return other if isinstance(other, Lanes) else self.writer.constant(other)

    def write(self, instruction: str, left: Lanes | float, right: Lanes | float) -> Lanes:
        """The result of one instruction of arithmetic."""
        method = getattr(self.writer.builder, instruction)
        return Lanes(self.writer, method(self.operand(left).value, self.operand(right).value))

    def compare(self, sign: str, other: Lanes | float, ordered: bool = True) -> Mask:
        """Where ``self sign other`` holds; if ``ordered``, it never holds for a nan."""
        builder = self.writer.builder
        method = builder.fcmp_ordered if ordered else builder.fcmp_unordered
        return Mask(self.writer, method(sign, self.value, self.operand(other).value))

    def __add__(self, other: Lanes | float) -> Lanes:
        return self.write("fadd", self, other)

    def __radd__(self, other: float) -> Lanes:
        return self.write("fadd", other, self)

    def __sub__(self, other: Lanes | float) -> Lanes:
        return self.write("fsub", self, other)

    def __rsub__(self, other: float) -> Lanes:
        return self.write("fsub", other, self)

    def __mul__(self, other: Lanes | float) -> Lanes:
        return self.write("fmul", self, other)

    def __rmul__(self, other: float) -> Lanes:
        return self.write("fmul", other, self)

    def __truediv__(self, other: Lanes | float) -> Lanes:
        return self.write("fdiv", self, other)

    def __rtruediv__(self, other: float) -> Lanes:
        return self.write("fdiv", other, self)

    def __neg__(self) -> Lanes:
        return Lanes(self.writer, self.writer.builder.fneg(self.value))

    def __lt__(self, other: Lanes | float) -> Mask:
        return self.compare("<", other)

    def __le__(self, other: Lanes | float) -> Mask:
        return self.compare("<=", other)

    def __gt__(self, other: Lanes | float) -> Mask:
        return self.compare(">", other)

    def __ge__(self, other: Lanes | float) -> Mask:
        return self.compare(">=", other)

    def equals(self, other: Lanes | float) -> Mask:
        """Where both are the same number."""
        return self.compare("==", other)

    def is_nan(self) -> Mask:
        """Where it is not a number."""
        return self.compare("uno", self, ordered=False)

    def bits(self) -> Bits:
        """The 64 bits of each double."""
        integers = self.writer.with_lanes_of(ir.IntType(64))
        return Bits(self.writer, self.writer.builder.bitcast(self.value, integers))


@dataclass(frozen=True, eq=False)
class Bits:
    """One 64-bit integer per lane."""

    writer: Writer
    value: Any

    def write(self, instruction: str, other: Bits | int) -> Bits:
        """The result of one instruction on integers."""
        right = other if isinstance(other, Bits) else self.writer.integer(other)
        return Bits(self.writer, getattr(self.writer.builder, instruction)(self.value, right.value))

    def __add__(self, other: Bits | int) -> Bits:
        return self.write("add", other)

    def __sub__(self, other: Bits | int) -> Bits:
        return self.write("sub", other)

    def __and__(self, other: Bits | int) -> Bits:
        return self.write("and_", other)

    def __or__(self, other: Bits | int) -> Bits:
        return self.write("or_", other)

    def __xor__(self, other: Bits | int) -> Bits:
        return self.write("xor", other)

    def __lshift__(self, places: int) -> Bits:
        return self.write("shl", places)

    def __rshift__(self, places: int) -> Bits:
        return self.write("lshr", places)  # fills with zeros

    def is_zero(self) -> Mask:
        """Where all bits are 0."""
        zero = self.writer.integer(0)
        return Mask(self.writer, self.writer.builder.icmp_signed("==", self.value, zero.value))

    def double(self) -> Lanes:
        """The doubles with these bits."""
        return Lanes(self.writer, self.writer.builder.bitcast(self.value, self.writer.type))


@dataclass(frozen=True, eq=False)
class Mask:
    """One truth value per lane."""

    writer: Writer
    value: Any

    def __and__(self, other: Mask) -> Mask:
        return Mask(self.writer, self.writer.builder.and_(self.value, other.value))

    def __or__(self, other: Mask) -> Mask:
        return Mask(self.writer, self.writer.builder.or_(self.value, other.value))

    def __invert__(self) -> Mask:
        return Mask(self.writer, self.writer.builder.not_(self.value))

    def any(self) -> Any:
        """Whether it is true in at least one lane, as a value of LLVM's type ``i1``."""
        builder, count = self.writer.builder, self.writer.count
        if not count:
            return self.value
        packed = builder.bitcast(self.value, ir.IntType(count))
        return builder.icmp_unsigned("!=", packed, ir.Constant(packed.type, 0))


Pair = tuple[Lanes, Lanes]  # a number, and a much smaller one that is to be added to it


def select(where: Mask, x: Lanes | float, y: Lanes | float) -> Lanes:
    """``x`` where the mask is true, else ``y``."""
    writer = where.writer
    pair = [a if isinstance(a, Lanes) else writer.constant(a) for a in (x, y)]
    return Lanes(writer, writer.builder.select(where.value, pair[0].value, pair[1].value))


def where_rare(rare: Mask, usual: Lanes, compute: Callable[[], Lanes]) -> Lanes:
    """``usual``, and where the mask is true what ``compute`` writes, which runs only if a lane needs it."""
    builder = rare.writer.builder
    before = builder.block
    with builder.if_then(rare.any(), likely=False):
        other = select(rare, compute(), usual)
        end = builder.block
    chosen = builder.phi(rare.writer.type)
    chosen.add_incoming(usual.value, before)
    chosen.add_incoming(other.value, end)
    return Lanes(rare.writer, chosen)


def call_per_lane(name: str, x: Lanes) -> Lanes:
    """The function ``name`` of the C library, called once per lane."""
    writer = x.writer
    builder, module, double = writer.builder, writer.builder.module, ir.DoubleType()
    function = module.globals.get(name)
    if function is None:
        function = ir.Function(module, ir.FunctionType(double, [double]), name)
    if not writer.count:
        return Lanes(writer, builder.call(function, [x.value]))
    out = ir.Constant(writer.type, ir.Undefined)
    for lane in map(ir.IntType(32), range(writer.count)):
        out = builder.insert_element(out, builder.call(function, [builder.extract_element(x.value, lane)]), lane)
    return Lanes(writer, out)


def absolute(x: Lanes) -> Lanes:
    """``|x|``."""
    return x.writer.call_intrinsic("fabs", x)


def copy_sign(x: Lanes, sign: Lanes) -> Lanes:
    """``x`` with the sign of ``sign``, that of a zero included."""
    return x.writer.call_intrinsic("copysign", x, sign)


def square_root(x: Lanes) -> Lanes:
    """The square root, rounded correctly; nan below 0."""
    return x.writer.call_intrinsic("sqrt", x)


def clamp(x: Lanes, least: float, most: float) -> Lanes:
    """``x`` within two bounds; a nan stays one."""
    x = select(x < least, least, x)
    return select(x > most, most, x)


def multiply_add(x: Lanes, y: Lanes | float, z: Lanes | float) -> Lanes:
    """``x * y + z``, rounded once where the processor can, else twice."""
    if x.writer.fma:
        return x.writer.call_intrinsic("fma", x, x.operand(y), x.operand(z))
    return x * y + z


def polynomial(x: Lanes, coefficients: Sequence[float]) -> Lanes:
    """``c₀ + c₁x + c₂x² + …`` by Horner's rule; a long one as even and odd powers, which the processor overlaps."""
    if len(coefficients) > LONG:
        square = x * x
        return multiply_add(polynomial(square, coefficients[1::2]), x, polynomial(square, coefficients[::2]))
    *others, last = coefficients
    total = x.writer.constant(last)
    for c in reversed(others):
        total = multiply_add(total, x, c)
    return total


def fast_sum(x: Lanes, y: Lanes) -> Pair:
    """``x + y`` as the rounded sum and its exact error, for ``|x| >= |y|`` or ``x = 0`` (Dekker 1971)."""
    total = x + y
    return total, y - (total - x)


def exact_sum(x: Lanes, y: Lanes) -> Pair:
    """``x + y`` as the rounded sum and its exact error, in any order of size (Knuth)."""
    total = x + y
    of_y = total - x
    return total, (x - (total - of_y)) + (y - of_y)


def exact_product(x: Lanes, y: Lanes) -> Pair:
    """``x * y`` as the rounded product and its exact error.

    Without fused instructions it is Dekker's product of halves, for numbers below 2⁹⁹⁶.
    """
    product = x * y
    if x.writer.fma:
        return product, multiply_add(x, y, -product)
    (a, b), (c, d) = cut_in_halves(x), cut_in_halves(y)
    return product, ((a * c - product) + a * d + b * c) + b * d


def add_product(x: Lanes, y: Lanes, z: Lanes) -> Pair:
    """``x + y * z`` as the rounded sum and its error, for ``|x| >= |y * z|`` or ``x = 0``."""
    if x.writer.fma:
        total = multiply_add(y, z, x)
        return total, multiply_add(y, z, x - total)
    product, error = exact_product(y, z)
    total, lost = fast_sum(x, product)
    return total, lost + error


def cut_in_halves(x: Lanes) -> Pair:
    """Two numbers of 26 bits whose sum is ``x`` (Veltkamp 1968)."""
    large = SPLITTER * x
    high = large - (large - x)
    return high, x - high


def remainder(x: Lanes, quotient: Lanes, y: Lanes) -> Lanes:
    """``x - quotient * y`` for a quotient close to ``x / y``, with no error but the last rounding."""
    if x.writer.fma:
        return multiply_add(-quotient, y, x)
    product, error = exact_product(quotient, y)
    return (x - product) - error


def multiply_pairs(x: Lanes, x_low: Lanes, y: Lanes, y_low: Lanes) -> Pair:
    """The product of two pairs as a pair."""
    product, error = exact_product(x, y)
    return product, error + multiply_add(x, y_low, x_low * y)


def divide_pairs(x: Lanes, x_low: Lanes, y: Lanes, y_low: Lanes) -> Pair:
    """The quotient of two pairs as a pair, with one division; y_low may be only as large as the rounding of y."""
    inverse = 1.0 / y
    quotient = x * inverse
    return quotient, (remainder(x, quotient, y) + multiply_add(-quotient, y_low, x_low)) * inverse
