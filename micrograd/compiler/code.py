"""Writes machine code in Python's terms: numbers, pointers and loops emit LLVM's instructions as they are used.

A :class:`Number` is a register: a float, a whole number, a truth, or a vector of eight of them. Python's operators on
it emit instructions. So code that computes with floats, when it is run on Numbers, emits the same computation.

>>> function = Function("twice", 2, math=lambda *_: None)
>>> source, target = function.pointers
>>> target[0] = source[0] * 2.0
>>> print(function.finish())
; ModuleID = "twice"
...
  %... = fmul double %..., 0x4000000000000000
...
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Union

from llvmlite import ir  # type: ignore[import-untyped]

__all__ = ["LANES", "Function", "Number", "Operand", "Operands", "Pointer", "Variable", "Vector", "Writer"]

LANES = 8  # lanes of a vector; a processor with narrower registers uses several for one
REAL, WHOLE, TRUTH, ADDRESS, NOTHING = ir.DoubleType(), ir.IntType(64), ir.IntType(1), ir.PointerType(), ir.VoidType()
REALS, WHOLES = ir.VectorType(REAL, LANES), ir.VectorType(WHOLE, LANES)
Vector = ir.VectorType

Operand = Union["Number", float, int, bool]
Math = Callable[["Writer", str, list["Number"]], "Number"]


class Number:
    """A register of the function that is written."""

    __slots__ = ("function", "register")

    def __init__(self, function: Writer, register: Any) -> None:
        self.function, self.register = function, register

    @property
    def kind(self) -> Any:
        return self.register.type

    def _pair(self, other: Operand) -> tuple[Any, Any]:
        # Returns both registers, of one type: a number beside a vector becomes a vector.
        x, y = self.register, self.function.register(other, self.kind)
        if x.type != y.type:
            if isinstance(y.type, ir.VectorType):
                x = self.function.splat(self).register
            else:
                y = self.function.splat(Number(self.function, y)).register
        return x, y

    def _apply(self, name: str, other: Operand, is_swapped: bool = False) -> Number:
        x, y = self._pair(other)
        x, y = (y, x) if is_swapped else (x, y)
        build = self.function.builder
        is_whole = _element(x.type) == WHOLE
        out = Number(self.function, getattr(build, name if is_whole else f"f{name}")(x, y))
        if name == "div" and self.function.note:
            self.function.note(out)
        return out

    def __add__(self, other: Operand) -> Number:
        return self._apply("add", other)

    def __radd__(self, other: Operand) -> Number:
        return self._apply("add", other, True)

    def __sub__(self, other: Operand) -> Number:
        return self._apply("sub", other)

    def __rsub__(self, other: Operand) -> Number:
        return self._apply("sub", other, True)

    def __mul__(self, other: Operand) -> Number:
        return self._apply("mul", other)

    def __rmul__(self, other: Operand) -> Number:
        return self._apply("mul", other, True)

    def __truediv__(self, other: Operand) -> Number:
        return self._apply("div", other)

    def __rtruediv__(self, other: Operand) -> Number:
        return self._apply("div", other, True)

    def __mod__(self, other: Operand) -> Number:
        if _element(self.kind) == WHOLE:
            return self._apply("srem", other)
        return self.function.modulo(self, other)

    def __rmod__(self, other: Operand) -> Number:
        return self.function.modulo(other, self)

    def __floordiv__(self, other: Operand) -> Number:
        if _element(self.kind) == WHOLE:
            return self._apply("sdiv", other)
        whole = self.function.call("floor", (self - self % other) / other + 0.5)
        return self.function.choose(whole == 0.0, 0.0 * (self / other), whole)  # a zero has the quotient's sign

    def __neg__(self) -> Number:
        return Number(self.function, self.function.builder.fneg(self.register))

    def __pos__(self) -> Number:
        return self

    def __abs__(self) -> Number:
        return self.function.intrinsic("fabs", self)

    def __pow__(self, exponent: Operand) -> Number:
        if not isinstance(exponent, Number) and exponent in _POWERS:
            power = _POWERS[exponent](self)
            if self.function.note:
                self.function.note(power)
            return power
        return self.function.call("pow", self, exponent)

    def __rpow__(self, base: Operand) -> Number:
        return self.function.call("pow", base, self)

    def _compare(self, how: str, other: Operand) -> Number:
        x, y = self._pair(other)
        build = self.function.builder
        if _element(x.type) == WHOLE:
            return Number(self.function, build.icmp_signed(how, x, y))
        # As in Python, only != is true of nan.
        return Number(self.function, (build.fcmp_unordered if how == "!=" else build.fcmp_ordered)(how, x, y))

    def __lt__(self, other: Operand) -> Number:
        return self._compare("<", other)

    def __le__(self, other: Operand) -> Number:
        return self._compare("<=", other)

    def __gt__(self, other: Operand) -> Number:
        return self._compare(">", other)

    def __ge__(self, other: Operand) -> Number:
        return self._compare(">=", other)

    def __eq__(self, other: Operand) -> Number:  # type: ignore[override]
        return self._compare("==", other)

    def __ne__(self, other: Operand) -> Number:  # type: ignore[override]
        return self._compare("!=", other)

    def _mix(self, name: str, other: Number | int) -> Number:
        x, y = self._pair(other)
        return Number(self.function, getattr(self.function.builder, name)(x, y))

    def __and__(self, other: Number | int) -> Number:
        return self._mix("and_", other)

    def __or__(self, other: Number | int) -> Number:
        return self._mix("or_", other)

    def __xor__(self, other: Number | int) -> Number:
        return self._mix("xor", other)

    def __lshift__(self, places: int) -> Number:
        return self._mix("shl", places)

    def __rshift__(self, places: int) -> Number:
        return self._mix("lshr", places)  # zeros come in from the left

    def __invert__(self) -> Number:
        return Number(self.function, self.function.builder.not_(self.register))

    def __bool__(self) -> bool:
        raise TypeError("a number of machine code is not known while the code is written")

    __hash__ = None  # type: ignore[assignment]

    def bits(self) -> Number:
        """Returns the 64 bits of each float of a vector, as whole numbers."""
        return Number(self.function, self.function.builder.bitcast(self.register, WHOLES))

    def double(self) -> Number:
        """Returns the floats that have these bits."""
        return Number(self.function, self.function.builder.bitcast(self.register, REALS))

    def as_real(self) -> Number:
        return Number(self.function, self.function.builder.sitofp(self.register, REAL))


class Pointer:
    """The address of numbers in memory: of floats, or of whole numbers."""

    __slots__ = ("address", "element", "function")

    def __init__(self, function: Writer, address: Any, element: Any) -> None:
        self.function, self.address, self.element = function, address, element

    def __add__(self, places: Operand) -> Pointer:
        place = self.function.register(places, WHOLE)
        address = self.function.builder.gep(self.address, [place], source_etype=self.element)
        return Pointer(self.function, address, self.element)

    def __getitem__(self, place: Operand) -> Number:
        at = (self + place).address
        return Number(self.function, self.function.builder.load(at, typ=self.element, align=8))

    def __setitem__(self, place: Operand, number: Operand) -> None:
        register = self.function.register(number, self.element)
        self.function.builder.store(register, (self + place).address, align=8)

    def vector(self, place: Operand = 0) -> Number:
        """Loads the eight floats that begin at a place."""
        return Number(self.function, self.function.builder.load((self + place).address, typ=REALS, align=8))

    def put(self, place: Operand, vector: Number) -> None:
        """Stores eight floats, beginning at a place."""
        self.function.builder.store(vector.register, (self + place).address, align=8)


class Operands:
    """The operands of an instruction, by name: to get or set an attribute emits a load or a store of a whole number.

    Args:
        first: the address of the first operand.
        names: their names, in order.

    Raises:
        AttributeError: if no operand has this name.
    """

    _first: Pointer
    _names: tuple[str, ...]

    def __init__(self, first: Pointer, names: Sequence[str]) -> None:
        vars(self).update(_first=first, _names=tuple(names))

    def _find(self, name: str) -> int:
        if name not in self._names:
            raise AttributeError(f"no operand is called {name!r}: they are {', '.join(self._names)}")
        return self._names.index(name)

    def __getattr__(self, name: str) -> Number:
        return self._first[self._find(name)]

    def __setattr__(self, name: str, number: Operand) -> None:
        self._first[self._find(name)] = number


class Variable:
    """A number that may change: a place on the stack, which LLVM turns into a register."""

    def __init__(self, function: Writer, start: Number) -> None:
        self.function, self.kind = function, start.kind
        self.place = function.allocate(start.kind)
        self.value = start

    @property
    def value(self) -> Number:
        return Number(self.function, self.function.builder.load(self.place, typ=self.kind))

    @value.setter
    def value(self, number: Operand) -> None:
        self.function.builder.store(self.function.register(number, self.kind), self.place)


class Writer:
    """Writes the instructions of a function.

    Args:
        function: llvmlite's function, which is still empty, in its module.
        fma: whether the processor has an instruction for ``a * b + c`` with a single rounding. Without one, LLVM would
            call a slow function of the C library for it.
        math: emits a function of math: see :mod:`micrograd.compiler.elementary`.
    """

    def __init__(self, function: Any, fma: bool, math: Math) -> None:
        self.ir, self.module, self.fma, self.math = function, function.module, fma, math
        self.entry = function.append_basic_block("entry")
        self.builder = ir.IRBuilder(function.append_basic_block("begin"))
        self.note: Callable[[Number], None] | None = None  # called with each number that may not be finite

    def end(self, result: Number | None = None) -> None:
        """Ends the function."""
        if result is None:
            self.builder.ret_void()
        else:
            self.builder.ret(result.register)
        ir.IRBuilder(self.entry).branch(self.ir.blocks[1])

    # Registers

    def register(self, x: Operand, kind: Any) -> Any:
        """Returns the register of a number, or of a constant of this type."""
        if isinstance(x, Number):
            return x.register
        if kind == TRUTH:
            return ir.Constant(TRUTH, int(x))
        if _element(kind) == WHOLE:
            return ir.Constant(kind, int(x) if kind == WHOLE else [int(x)] * LANES)
        return ir.Constant(kind, float(x) if kind == REAL else [float(x)] * LANES)

    def real(self, x: float) -> Number:
        return Number(self, ir.Constant(REAL, x))

    def whole(self, x: int) -> Number:
        return Number(self, ir.Constant(WHOLE, x))

    def reals(self, x: float) -> Number:
        """Returns a vector with this constant in all lanes."""
        return Number(self, ir.Constant(REALS, [x] * LANES))

    def splat(self, x: Number) -> Number:
        """Returns a vector with this number in all lanes."""
        kind = ir.VectorType(x.kind, LANES)
        nothing = ir.Constant(kind, ir.Undefined)
        first = self.builder.insert_element(nothing, x.register, ir.Constant(ir.IntType(32), 0))
        return Number(self, self.builder.shuffle_vector(first, nothing, self._constant_places([0] * LANES)))

    def before(self, count: Number) -> Number:
        """Returns a vector of truths: true in the first ``count`` lanes."""
        places = ir.Constant(ir.VectorType(WHOLE, LANES), list(range(LANES)))
        return Number(self, self.builder.icmp_signed("<", places, self.splat(count).register))

    def choose(self, test: Any, x: Operand, y: Operand) -> Number:
        """Returns ``x if test else y``, lane by lane if the test is a vector."""
        if not isinstance(test, Number):
            return Number(self, self._as(x if test else y, REALS))
        kind = TRUTH if isinstance(x, bool) or _is_truth(x) or _is_truth(y) else REAL
        if isinstance(test.kind, ir.VectorType):
            kind = ir.VectorType(kind, LANES)
        left, right = (self._as(side, kind) for side in (x, y))
        return Number(self, self.builder.select(test.register, left, right))

    def branch(self, test: Number, x: Callable[[], Operand], y: Callable[[], Operand]) -> Number:
        """Returns the same as :meth:`choose`. Each side is computed only if a lane needs it."""
        sides = []
        for needed, side in ((test, x), (~test, y)):
            found = self.variable(self.reals(0.0))
            with self.when(self.any(needed)):
                found.value = Number(self, self._as(side(), REALS))
            sides.append(found.value)
        return self.choose(test, *sides)

    def any(self, truths: Number) -> Number:
        """Returns whether any lane is true."""
        bits = self.builder.bitcast(truths.register, ir.IntType(LANES))
        return Number(self, self.builder.icmp_unsigned("!=", bits, ir.Constant(ir.IntType(LANES), 0)))

    def _as(self, x: Operand, kind: Any) -> Any:
        if isinstance(x, Number):
            return x.register if x.kind == kind else self.splat(x).register
        x = int(x) if _element(kind) == TRUTH else float(x)
        return ir.Constant(kind, [x] * LANES if isinstance(kind, ir.VectorType) else x)

    def fused(self, a: Number, b: Number, c: Number) -> Number:
        """Returns ``a * b + c``, rounded once."""
        return self.intrinsic("fma", a, b, c)

    def add_product(self, a: Number, b: Number, c: Number) -> Number:
        """Returns ``a * b + c``, rounded once if the processor can do that."""
        return self.intrinsic("fmuladd", a, b, c)

    def add_lost(self, check: Number, number: Number) -> Number:
        """Returns the check, with nan in the lanes where the number is not finite."""
        return self.add_product(number, self.reals(0.0), check)

    def sum(self, vector: Number) -> Number:
        """Returns the sum of a vector's lanes."""
        function = self.declare("llvm.vector.reduce.fadd.v8f64", REAL, [REAL, REALS])
        start = ir.Constant(REAL, -0.0)
        return Number(self, self.builder.call(function, [start, vector.register], fastmath=("reassoc",)))

    def sums(self, vectors: Sequence[Number]) -> Number:
        """Returns the sums of eight vectors, as a vector."""
        first, *rest = self.transpose(vectors)
        return sum(rest, first)

    def transpose(self, vectors: Sequence[Number]) -> list[Number]:
        """Transposes eight vectors: vector i of the result has lane i of each. Swaps blocks of 1, 2 and 4 numbers."""
        rows = [vector.register for vector in vectors]
        for size in (1, 2, 4):
            low = self._constant_places([k + (LANES - size) * bool(k & size) for k in range(LANES)])
            high = self._constant_places([k + (LANES if k & size else size) for k in range(LANES)])
            for i in range(LANES):
                if not i & size:
                    pair = rows[i], rows[i + size]
                    rows[i], rows[i + size] = (self.builder.shuffle_vector(*pair, mask) for mask in (low, high))
        return [Number(self, row) for row in rows]

    def _constant_places(self, places: list[int]) -> Any:
        return ir.Constant(ir.VectorType(ir.IntType(32), len(places)), places)

    def sqrt(self, x: Number) -> Number:
        return self.intrinsic("sqrt", x)

    def intrinsic(self, name: str, x: Number, *others: Operand) -> Number:
        """Calls an intrinsic function of LLVM on floats or vectors."""
        operands = [x.register, *[self._as(other, x.kind) for other in others]]
        function = self.declare(
            f"llvm.{name}.{'v8f64' if x.kind == REALS else 'f64'}", x.kind, [x.kind] * len(operands)
        )
        return Number(self, self.builder.call(function, operands))

    def call(self, name: str, *operands: Operand) -> Number:
        """Computes a function of ``math`` on vectors."""
        out = self.math(self, name, [Number(self, self._as(x, REALS)) for x in operands])
        if self.note:
            self.note(out)
        return out

    def modulo(self, x: Operand, y: Operand) -> Number:
        """Returns Python's remainder, which has the sign of the divisor."""
        a, b = (Number(self, self._as(z, REALS)) for z in (x, y))
        rest = Number(self, self.builder.frem(a.register, b.register))
        differs = self.choose(rest < 0, self.choose(b > 0, True, False), self.choose(b < 0, True, False))
        return self.choose(rest == 0, self.call("copysign", 0.0, b), self.choose(differs, rest + b, rest))

    def declare(self, name: str, result: Any, operands: Sequence[Any]) -> Any:
        """Declares a function that is defined elsewhere, once per module."""
        known = self.module.globals.get(name)
        return known or ir.Function(self.module, ir.FunctionType(result, operands), name)

    # Memory

    def allocate(self, kind: Any) -> Any:
        """Reserves a place on the stack."""
        place = ir.IRBuilder(self.entry).alloca(kind)
        place.type = ADDRESS  # untyped: it is also read and written in parts
        return place

    def reals_on_stack(self, count: int) -> Pointer:
        """Reserves places for floats on the stack."""
        return Pointer(self, self.allocate(ir.ArrayType(REAL, count)), REAL)

    def wholes(self, count: int) -> Pointer:
        """Reserves places for whole numbers on the stack."""
        return Pointer(self, self.allocate(ir.ArrayType(WHOLE, count)), WHOLE)

    def power_of_two(self, exponent: Number) -> Number:
        return Number(self, self.builder.shl(ir.Constant(WHOLE, 1), exponent.register))

    def address(self, pointer: Pointer) -> Number:
        """Returns an address as a whole number."""
        return Number(self, self.builder.ptrtoint(pointer.address, WHOLE))

    def reals_at(self, address: Number) -> Pointer:
        return Pointer(self, self.builder.inttoptr(address.register, ADDRESS), REAL)

    def wholes_at(self, address: Number) -> Pointer:
        return Pointer(self, self.builder.inttoptr(address.register, ADDRESS), WHOLE)

    def choose_whole(self, test: Number, x: Operand, y: Operand) -> Number:
        """Returns ``x if test else y``, for whole numbers."""
        return Number(self, self.builder.select(test.register, self.register(x, WHOLE), self.register(y, WHOLE)))

    def variable(self, start: Operand) -> Variable:
        """Makes a number that may change. A constant must be a float or an int, whichever the number is."""
        if not isinstance(start, Number):
            start = self.whole(start) if isinstance(start, int) else self.real(start)
        return Variable(self, start)

    # Control flow

    @contextmanager
    def loop(self, start: Operand, stop: Operand, step: Operand = 1) -> Iterator[Number]:
        """Repeats the block for each whole number from ``start`` on, below ``stop``."""
        build = self.builder
        test, body, end = (self.ir.append_basic_block(name) for name in ("test", "body", "end"))
        first, last = self.register(start, WHOLE), self.register(stop, WHOLE)
        before = build.block
        build.branch(test)
        build.position_at_end(test)
        index = build.phi(WHOLE)
        index.add_incoming(first, before)
        build.cbranch(build.icmp_signed("<", index, last), body, end)
        build.position_at_end(body)
        yield Number(self, index)
        index.add_incoming(build.add(index, self.register(step, WHOLE)), build.block)
        build.branch(test)
        build.position_at_end(end)

    @contextmanager
    def when(self, test: Number, likely: bool | None = None) -> Iterator[None]:
        """Does the block if the test is true. ``likely`` tells LLVM which case to make fast."""
        with self.builder.if_then(test.register, likely):
            yield

    @contextmanager
    def either(self, test: Number) -> Iterator[tuple[Any, Any]]:
        """Does one of two blocks: ``with either(test) as (then, otherwise): with then: …``."""
        with self.builder.if_else(test.register) as both:
            yield both

    def leave_when(self, test: Number) -> None:
        """Ends the function here if the test is true."""
        leave, go_on = (self.ir.append_basic_block(name) for name in ("leave", "go_on"))
        self.builder.cbranch(test.register, leave, go_on)
        ir.IRBuilder(leave).ret_void()
        self.builder.position_at_end(go_on)

    def least(self, x: Number, y: Operand) -> Number:
        """Returns the smaller one of two whole numbers."""
        other = Number(self, self.register(y, x.kind))
        return Number(self, self.builder.select((x < other).register, x.register, other.register))

    def run(self, address: Number, pointers: Sequence[Pointer], lanes: Operand) -> None:
        """Calls the function at an address, which takes the same arguments as a :class:`Function`."""
        kind = ir.FunctionType(NOTHING, [ADDRESS] * len(pointers) + [WHOLE])
        function = self.builder.inttoptr(address.register, ADDRESS)
        arguments = [*[pointer.address for pointer in pointers], self.register(lanes, WHOLE)]
        self.builder.call(_Typed(function, kind), arguments)


class Function(Writer):
    """Writes a function of pointers and a whole number, in a module of its own.

    Args:
        name: its name in the module.
        pointers: how many pointers it takes: the last one to whole numbers, all others to floats. A whole number, the
            number of lanes, follows them.
        fma, math: as a :class:`Writer` takes them.
    """

    def __init__(self, name: str, pointers: int, math: Math, fma: bool = True) -> None:
        kind = ir.FunctionType(NOTHING, [ADDRESS] * pointers + [WHOLE])
        super().__init__(ir.Function(ir.Module(name), kind, name), fma, math)
        *floats, wholes = self.ir.args[:-1]
        self.pointers = [*[Pointer(self, x, REAL) for x in floats], Pointer(self, wholes, WHOLE)]
        self.lanes = Number(self, self.ir.args[-1])

    def finish(self) -> str:
        """Ends the function, and returns its text in LLVM's language."""
        self.end()
        return str(self.module)


class _Typed:
    # A pointer with the type of a function: llvmlite asks what it calls for that.

    def __init__(self, pointer: Any, kind: Any) -> None:
        self.function_type, self.type, self._pointer = kind, kind.as_pointer(), pointer

    def get_reference(self) -> str:
        return str(self._pointer.get_reference())


def _element(kind: Any) -> Any:
    return kind.element if isinstance(kind, ir.VectorType) else kind


def _is_truth(x: Any) -> bool:
    return isinstance(x, Number) and _element(x.kind) == TRUTH


def _cube(x: Number) -> Number:
    # Corrects the cube by what its two products lose in rounding, which a fused multiply-add gives exactly.
    fused = x.function.fused
    square = x * x
    cube = square * x
    # The correction is subtracted last: as one instruction it would lose the sign of a cube that is -0.0.
    return cube - (fused(-x, x, square) * x + fused(-square, x, cube))


_POWERS: dict[Any, Callable[[Number], Number]] = {
    0: lambda x: x.function.reals(1.0),
    0.5: lambda x: x.function.sqrt(x),
    1: lambda x: x,
    2: lambda x: x * x,
    3: _cube,
    -1: lambda x: 1.0 / x,
}
