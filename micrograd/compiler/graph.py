"""The second stage: a trace as whole numbers, simplified by a table of patterns.

Each operation has a number, which is greater than the numbers of its operands. Equal operations become one. The next
stage removes those that no output needs. A sum of products is one operation, with any number of operands.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache, reduce
from itertools import chain, compress, repeat
from operator import mul
from types import CodeType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .. import rules
from ..engine import Number, Value, lift, operation
from ..references import find_names
from ..rule import VALUES, Rule, write_choices
from ..watching import watch
from .tracing import WHERE, Trace, TraceError, Tracing, combine

__all__ = [
    "ADD",
    "CAPTURED",
    "CHOICE",
    "CONSTANT",
    "DIVIDE",
    "DOT",
    "INPUT",
    "MULTIPLY",
    "PASSING",
    "SUBTRACT",
    "SUM",
    "SUMS",
    "Body",
    "Graph",
    "Operation",
    "Row",
    "UnsupportedError",
    "compile_text",
]


class UnsupportedError(TraceError):
    """A rule whose text can't be compiled."""


@dataclass(frozen=True, eq=False)
class Operation:
    """The kind of a node: a rule's text, with constants among the operands. :func:`intern` makes one per kind."""

    name: str
    operands: tuple[str, ...] = ()
    text: str = ""


@cache
def intern(name: str, operands: tuple[str, ...] = (), text: str = "") -> Operation:
    """Returns the operation of this name and text: the same object at each call."""
    return Operation(name, operands, text)


INPUT, CAPTURED, CONSTANT = map(intern, ("input", "captured", "constant"))
SUMS = DOT, SUM = intern("dot"), intern("sum")  # the operands of DOT are a₁ a₂ … b₁ b₂ …


@dataclass(frozen=True)
class Body:
    """An expression, as plain data: expressions of the same shape are equal.

    Its numbers are indexed in this order: first the leaves, then the constants, then the steps.

    Attributes:
        leaves: ``L`` for each leaf that differs between lanes, ``U`` for each leaf that does not.
        constants: 0, 1 and -1, if they are used. All other constants are leaves, so that they share a kernel.
        steps: operations, each with the indexes of its operands, which come before it.
        results: the indexes of the results.
    """

    leaves: str
    constants: tuple[float, ...]
    steps: tuple[tuple[Operation, tuple[int, ...]], ...]
    results: tuple[int, ...]
    _hash: list[int] = field(default_factory=list, compare=False, repr=False)

    def __hash__(self) -> int:
        if not self._hash:
            self._hash.append(hash((self.leaves, self.constants, self.steps, self.results)))
        return self._hash[0]

    def __str__(self) -> str:
        if len(self.steps) == 1 and self.steps[0][0].text:
            return f"{self.steps[0][0].name}: {self.steps[0][0].text}"
        names = [f"{leaf.lower()}{i}" for i, leaf in enumerate(self.leaves)]
        names += map(str, self.constants)
        for done, operands in self.steps:
            names.append(f"{done.name}({', '.join([names[x] for x in operands])})")
        return ", ".join([names[x] for x in self.results])


def _of(rule: Rule) -> Operation:
    return intern(rule.name, (*rule.names, *rule.constants), rule.value)


ADD, SUBTRACT, MULTIPLY, DIVIDE = map(_of, (rules.add, rules.subtract, rules.multiply, rules.divide))
NEGATE, _POWER, _POWER_OF, _SQRT = map(_of, (rules.negate, rules.power, rules.power_of, rules.sqrt))
CHOICE = _of(WHERE)
_SQUARE = intern("square", ("a",), "a ** 2")
_CUBE = intern("cube", ("a",), "a ** 3")
_INVERSE = intern("inverse", ("a",), "1 / a")
_INVERSE_SQUARE = intern("inverse square", ("a",), "1 / a * (1 / a)")  # the square alone may overflow
PASSING = {ADD, SUBTRACT, MULTIPLY, NEGATE, SUM, DOT, _SQUARE, _CUBE}  # not finite if one of their operands is not


class Row(NamedTuple):
    """Products of one operation with each of several others. Each product is part of a derivative.

    Attributes:
        places: the index of that derivative, for each product.
        others: the first factor of each product.
        factor: the second factor, the same for all.
    """

    places: tuple[int, ...]
    others: tuple[int, ...]
    factor: int


class _Numbers(dict[Number, int]):
    # By Value, the number of its operation. A Value that is not in the graph yet is a constant.

    def __init__(self, constant: Callable[[float], int]) -> None:
        self.constant = constant

    def __missing__(self, node: Number) -> int:
        number = self[node] = self.constant(node._data if isinstance(node, Value) else node)
        return number


class Graph:
    """The operations of a trace, each known by its number.

    Attributes:
        ops: the kind of each operation.
        args: its operands, by their numbers. Those of a leaf: its index among the captured Values, or the inputs.
        numbers: its value in the sample that was traced.
        constants: the operations that are plain numbers.
        zeros: the constants that are 0 or -0.
        varying: the operations that differ between lanes.
        forward: the number of operations that belong to the function. The others belong to its gradients.
        outputs: the operations that are the function's results, and those that it stores.
        slopes: the derivatives as sums of products: three lines, with the index of the derivative and the two factors
            of each product.
        rows: further such products, whose factors all differ between lanes.
        gradients: the derivatives as operations; empty before :meth:`make_gradients` is called.
        derivatives: the number of derivatives.
        leaves: the operations that are leaves: the captured Values, then the inputs.
        captured: the number of captured Values.
        inputs: the number of inputs: numbers among the arguments, and random numbers.
        sources: the captured Values and the arguments, for messages.
    """

    def __init__(self, trace: Trace) -> None:
        self.ops: list[Operation] = []
        self.args: list[tuple[int, ...]] = []
        self.numbers: list[float] = []
        # They are sets because a set checks many operands without a loop in Python.
        self.constants: set[int] = set()
        self.zeros: set[int] = set()
        self.varying: set[int] = set()
        self._ids = _Numbers(self.constant)
        self._known: dict[Any, int] = {}
        self._operations: dict[Rule, Operation] = {rules.dot: DOT, rules.weigh: DOT, rules.total: SUM}
        self._sides: dict[Value, tuple[tuple[int, ...], tuple[int, ...]]] = {}  # by dot product, its operands
        self._is_gradient, self.forward = False, 0
        self.one, self.zero, self.minus = map(self.constant, (1.0, 0.0, -1.0))
        self.units = frozenset((self.one, self.zero, self.minus))
        inputs = [*trace.inputs, *trace.drawn]
        self.sources = [*trace.captured, *trace.inputs]
        self.captured, self.inputs, self.traced = len(trace.captured), len(inputs), len(trace.nodes)
        self.leaves = range(len(self.ops), len(self.ops) + self.captured + self.inputs)
        self.ops += [CAPTURED] * self.captured + [INPUT] * self.inputs
        self.args += zip(chain(range(self.captured), range(self.inputs)))
        self.numbers += [leaf._data for leaf in (*trace.captured, *inputs)]
        self.varying.update(self.leaves[self.captured :])
        self._ids.update(
            zip([*map(trace.stands.get, trace.captured, trace.captured), *inputs], self.leaves, strict=True)
        )
        self._add(trace.nodes[: trace.forward])
        self.forward, self._is_gradient = len(self.ops), True
        self._add(trace.nodes[trace.forward :])
        self.outputs = [self._ids[out] for out in (*trace.outputs, *trace.stored)]
        self.derivatives = len(trace.gradients)
        self.rows: list[Row] = []
        self.slopes = self._find_slopes(trace)
        del self._ids, self._sides  # they refer to the graph and the trace, which are then freed
        self.gradients: list[int] = []
        self._counted: tuple[int, npt.NDArray[np.int64]] | None = None  # see count_uses()

    def _find_slopes(self, trace: Trace) -> npt.NDArray[np.int64]:
        number_of, products = self._ids.__getitem__, list[tuple[int, int, int]]()
        leaves = self.leaves[trace.wanted.start : trace.wanted.stop]
        in_lanes: dict[tuple[int, ...], list[bool]] = {}  # by operands, whether each differs between lanes
        places_of: dict[Any, tuple[int, ...]] = {}
        for output, node, side, upstream in trace.rows:
            ends, others = self._sides[node] if side.start is None else self._sides[node][::-1]
            factor, shift = number_of(upstream), output * len(leaves) - leaves.start
            is_in_row = in_lanes.get(others) or in_lanes.setdefault(others, [x in self.varying for x in others])
            if factor not in self.varying or min(ends) < leaves.start or max(ends) >= leaves.stop:
                is_in_row = [False] * len(others)
            if False in is_in_row:
                each = zip(ends, others, is_in_row, strict=True)
                products += [(end + shift, x, factor) for end, x, is_in in each if not is_in and end in leaves]
                ends, others = tuple(compress(ends, is_in_row)), tuple(compress(others, is_in_row))
            if others:
                key = ends, shift
                places = places_of.get(key) or places_of.setdefault(key, tuple([end + shift for end in ends]))
                self.rows.append(Row(places, others, factor))
        for place, factors in enumerate(trace.gradients):
            if factors:
                numbers = list(map(number_of, factors))
                products += zip(repeat(place), numbers[::2], numbers[1::2], strict=False)
        slopes = np.array(products, np.int64).reshape(-1, 3).T
        is_zero = np.zeros(len(self.ops), bool)  # see is_lost()
        is_zero[list(self.zeros)] = True
        return slopes[:, ~is_zero[slopes[1:]].any(axis=0)]

    def find_factors(self) -> set[int]:
        """The operations that are factors in the derivatives."""
        others = {row.others for row in self.rows}
        return {*self.slopes[1:].ravel().tolist(), *[row.factor for row in self.rows], *chain.from_iterable(others)}

    def find_products(self) -> npt.NDArray[np.int64]:
        """All products of the derivatives: the derivative, by its number, and the two factors."""
        rows, counts = self.rows, [len(row.places) for row in self.rows]
        places, others = (
            np.fromiter(chain.from_iterable(parts), np.int64, sum(counts))
            for parts in ([row.places for row in rows], [row.others for row in rows])
        )
        factors = np.repeat(np.array([row.factor for row in rows], np.int64), counts)
        return np.concatenate([self.slopes, [places, others, factors]], axis=1)

    def count_uses(self, roots: Sequence[int]) -> list[int]:
        """For each operation, how many times the computation of these roots uses it; 0 if they don't need it."""
        first, args = self.leaves.stop, self.args  # leaves have no operands
        done, counts = self._counted or (first, np.empty(0, np.int64))  # those of the last call
        more = np.bincount(np.fromiter(chain.from_iterable(args[done:]), np.int64), minlength=len(args))
        more[: len(counts)] += counts
        self._counted = len(args), more
        uses: list[int] = (more + np.bincount(np.array(roots, np.int64), minlength=len(args))).tolist()
        for i in range(len(args) - 1, first - 1, -1):  # an operation has a greater number than its operands
            if not uses[i]:
                for x in args[i]:
                    uses[x] -= 1
        return uses

    def make_gradients(self) -> None:
        """Makes an operation for each derivative."""
        if not self.gradients and self.derivatives:
            self._is_gradient = True
            pairs: list[list[int]] = [[] for _ in range(self.derivatives)]
            for place, a, b in self.find_products().T.tolist():
                pairs[place] += a, b
            numbers = self.find_gradients()
            self.gradients = [
                self._simplify(DOT, (*args[::2], *args[1::2]), number) if args else self.zero
                for args, number in zip(pairs, numbers, strict=True)
            ]

    def find_gradients(self) -> list[float]:
        """The derivatives' values in the sample that was traced."""
        numbers, (places, a, b) = np.array(self.numbers), self.find_products()
        with np.errstate(all="ignore"):
            sums: list[float] = np.bincount(places, numbers[a] * numbers[b], self.derivatives).tolist()
        return sums

    def __str__(self) -> str:
        lines = []
        for i, (op, args) in enumerate(zip(self.ops, self.args, strict=True)):
            of = repr(self.numbers[i]) if op is CONSTANT else ", ".join(map(str, args))
            lines.append(f"{i}: {op.name}({of})" + "  (the same in all lanes)" * (i not in self.varying))
        terms: list[list[str]] = [[] for _ in range(self.derivatives)]
        for place, a, b in self.find_products().T.tolist():
            terms[place].append(f"{a}·{b}")
        gradients = [" + ".join(products) or "0" for products in terms]
        return "\n".join([*lines, f"outputs {self.outputs}", f"gradients [{', '.join(gradients)}]"])

    def new(self, op: Operation, args: tuple[int, ...], number: float) -> int:
        """Adds an operation, and returns its number."""
        self.ops.append(op)
        self.args.append(args)
        self.numbers.append(number)
        i = len(self.numbers) - 1
        if op is CONSTANT:
            self.constants.add(i)
        elif args[-1] in self.varying or not self.varying.isdisjoint(args):  # the first are often weights
            self.varying.add(i)
        return i

    def constant(self, number: float) -> int:
        key = ("constant", number, math.copysign(1.0, number)) if number == number else "nan"
        if key not in self._known:
            self._known[key] = self.new(CONSTANT, (), number)
            if number == 0:
                self.zeros.add(self._known[key])
        return self._known[key]

    def terms(self, i: int) -> list[tuple[int, int]]:
        """The products whose sum an operation is. A single number counts as its product with 1."""
        op, args = self.ops[i], self.args[i]
        if op is DOT:
            return list(zip(args[: len(args) // 2], args[len(args) // 2 :], strict=True))
        if op is SUM:
            return [(x, self.one) for x in args]
        return [(args[0], args[1])] if op is MULTIPLY else [(i, self.one)]

    def _add(self, nodes: Iterable[Value]) -> None:
        ids, operations, simplify = self._ids, self._operations, self._simplify
        number_of = ids.__getitem__
        for node in nodes:
            rule = node.rule
            args = tuple(map(number_of, node._parents))
            if rule.number:
                number = self.constant(node._number)
                args = (number, *args) if rule.names[0] == rule.number else (*args, number)
            whole = rule.whole
            op = operations.get(whole)
            if op is None:
                if rule.variadic:
                    ids[node] = self._expand(rule, node)
                    continue
                op = operations[whole] = _of(whole)
            if op is DOT:
                if whole is rules.weigh:
                    args += tuple(map(self.constant, map(float, rule.constants["x"])))
                if not self._is_gradient:
                    self._sides[node] = args[: len(args) // 2], args[len(args) // 2 :]
            elif rule.constants:
                args += tuple([self.constant(_to_number(rule, x)) for x in rule.constants.values()])
            ids[node] = simplify(op, args, node._data)

    def _simplify(self, op: Operation, args: tuple[int, ...], number: float) -> int:
        has_constant = not self.constants.isdisjoint(args)
        if not args or (has_constant and self.constants.issuperset(args)):
            return self.constant(number)
        if has_constant or op in _WITHOUT_CONSTANTS or (len(args) < 3 and op in SUMS):
            for pattern in _PATTERNS.get(op, ()):
                found = pattern(self, number, *args)
                if found is not None:
                    return found
        key = op, args
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self.new(op, args, number)
        return known

    def make(self, op: Operation, number: float, *args: int) -> int:
        """The number of an operation, which is added if it is new. Patterns call this for their replacement."""
        return self._simplify(op, args, number)

    def is_number(self, x: int, number: float) -> bool:
        return x in self.constants and self.numbers[x] == number

    def is_neutral(self, x: int, sign: float) -> bool:
        """Whether adding it changes nothing: it is a 0 of this sign, as -0.0 + 0.0 is 0.0. In gradients any 0 is."""
        return self.is_number(x, 0) and (self._is_gradient or math.copysign(1.0, self.numbers[x]) == sign)

    def is_power_of_two(self, x: int) -> bool:
        """Whether it is a constant so that products and quotients with it are not rounded."""
        return (
            x in self.constants and abs(math.frexp(self.numbers[x])[0]) == 0.5 and 1e-300 < abs(self.numbers[x]) < 1e300
        )

    def is_lost(self, x: int, y: int) -> bool:
        """Whether a product is in a gradient and 0. In the function itself, 0 times infinity has to give nan."""
        return self._is_gradient and (x in self.zeros or y in self.zeros)

    def _expand(self, rule: Rule, node: Value) -> int:
        # Replaces a rule of any number of operands by simpler operations: it traces the rule's text on the parents.
        scope = {**VALUES, **_OF_VALUES, **rule.constants, rule.names[0]: list(node._parents)}
        tracing = Tracing()
        with watch(tracing):
            try:
                # The lambdas in it see the scope only if it is global.
                out = lift(eval(_compile(rule.value), scope))
            except Exception as error:
                reason = f"{type(error).__name__}: " * (not isinstance(error, UnsupportedError))
                raise UnsupportedError(f"the rule {rule.name!r} can't be compiled: {reason}{error}") from error
        self._add(tracing.made)
        return self._ids[out]


@cache
def _compile(text: str) -> CodeType:
    return compile_text(ast.parse(write_choices(ast.unparse(ast.parse(text, mode="eval"))), mode="eval"))


def compile_text(tree: ast.Expression) -> CodeType:
    """Compiles a rule's text in which choices are calls, as :func:`~micrograd.rule.write_choices` writes it.

    Raises:
        UnsupportedError: if a name is assigned on one side of a choice, and used outside of that side.
    """
    code = compile(ast.fix_missing_locations(tree), "<rule>", "eval")
    stored = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
    sides = {node for side in ast.walk(tree) if isinstance(side, ast.Lambda) for node in ast.walk(side)}
    lost = find_names(code) & {node.id for node in stored} - {node.id for node in stored if node not in sides}
    if lost:
        raise UnsupportedError(
            f"it assigns {min(lost)!r} behind 'and' or 'or' or in a side of a choice, and uses it outside of that: "
            "assign it before"
        )
    return code


def _to_number(rule: Rule, x: Any) -> float:
    if not isinstance(x, (bool, int, float)):
        raise UnsupportedError(
            f"the rule {rule.name!r} can't be compiled: its constant is a number, not {type(x).__name__} {x!r}"
        )
    return float(x)


# Simplification: the patterns of each operation. A pattern returns the replacement's number, or None without a match.

_Pattern = Callable[..., "int | None"]


def _sum_of(g: Graph, number: float, *args: int) -> int | None:
    left = tuple([x for x in args if not g.is_number(x, 0)])
    if len(left) == 1:
        return g.make(ADD, number, g.zero, left[0])  # a sum begins with 0.0
    return g.make(SUM, number, *left) if len(left) < len(args) else None


def _dot_of(g: Graph, number: float, *args: int) -> int | None:
    if len(args) == 2:
        return g.make(ADD, number, g.zero, g.make(MULTIPLY, number, *args))
    pairs = list(zip(args[: len(args) // 2], args[len(args) // 2 :], strict=True))
    left = [(x, y) for x, y in pairs if not g.is_lost(x, y)] if not g.zeros.isdisjoint(args) else pairs
    if not left:
        return g.zero
    if all(g.one in pair for pair in left):
        return g.make(SUM, number, *[y if x == g.one else x for x, y in left])
    return g.make(DOT, number, *chain.from_iterable(zip(*left, strict=True))) if len(left) < len(pairs) else None


_PATTERNS: dict[Operation, list[_Pattern]] = {
    ADD: [
        lambda g, _, a, b: a if g.is_neutral(b, -1.0) else None,
        lambda g, _, a, b: b if g.is_neutral(a, -1.0) else None,
    ],
    SUBTRACT: [lambda g, _, a, b: a if g.is_neutral(b, 1.0) else None],
    MULTIPLY: [
        lambda g, _, a, b: a if g.is_number(b, 1) else None,
        lambda g, _, a, b: b if g.is_number(a, 1) else None,
        lambda g, _, a, b: g.zero if g.is_lost(a, b) else None,
        lambda g, n, a, b: g.make(NEGATE, n, a) if g.is_number(b, -1) else None,
        lambda g, n, a, b: g.make(NEGATE, n, b) if g.is_number(a, -1) else None,
    ],
    DIVIDE: [
        lambda g, _, a, b: a if g.is_number(b, 1) else None,
        lambda g, n, a, b: g.make(MULTIPLY, n, a, g.constant(1 / g.numbers[b])) if g.is_power_of_two(b) else None,
    ],
    NEGATE: [lambda g, _, a: g.args[a][0] if g.ops[a] is NEGATE else None],
    _POWER: [
        lambda g, _, a, n: g.one if g.is_number(n, 0) else None,
        lambda g, _, a, n: a if g.is_number(n, 1) else None,
        lambda g, x, a, n: g.make(_SQUARE, x, a) if g.is_number(n, 2) else None,
        lambda g, x, a, n: g.make(_CUBE, x, a) if g.is_number(n, 3) else None,
        lambda g, x, a, n: g.make(_INVERSE, x, a) if g.is_number(n, -1) else None,
        lambda g, x, a, n: g.make(_INVERSE_SQUARE, x, a) if g.is_number(n, -2) else None,
        lambda g, x, a, n: g.make(ADD, x, g.make(_SQRT, x, a), g.zero) if g.is_number(n, 0.5) else None,
        lambda g, x, a, n: g.make(_POWER_OF, x, a, n),
    ],
    CHOICE: [
        lambda g, _, c, a, b: a if a == b else None,
        lambda g, _, c, a, b: (a if g.numbers[c] > 0 else b) if g.ops[c] is CONSTANT else None,
    ],
    SUM: [_sum_of],
    DOT: [_dot_of],
}
_WITHOUT_CONSTANTS = {NEGATE, CHOICE}  # they have patterns in which no operand is a constant


# The meaning of names in expanded texts, on Values, for names that are not in the table of rules


def _elementary(name: str, value: str) -> Callable[..., Value]:
    # A function of the module math that is not in the table. Nobody differentiates it, so its slope is nan.
    @cache
    def make() -> Callable[..., Value]:
        return operation(Rule(name, "a", value, ("nan",), {}))

    return lambda x: make()(lift(x))


def _combine(name: str) -> Callable[..., Value]:
    return lambda *xs: combine(name, [lift(x) for x in (xs[0] if len(xs) == 1 else xs)], name)


def _sum(xs: Iterable[Any], start: Any = 0.0) -> Value:
    return operation(rules.total)(*[lift(x) for x in (start, *xs)])


_OF_VALUES: dict[str, Any] = {
    **{
        name: _elementary(name, f"{name}(a)")
        for name in ("acosh", "asinh", "atanh", "erfc", "exp2", "gamma", "lgamma", "log10", "log2")
    },
    "isinf": _elementary("isinf", "1.0 if isinf(a) else 0.0"),
    "isnan": _elementary("isnan", "1.0 if isnan(a) else 0.0"),
    **{name: _combine(name) for name in ("fsum", "max", "min")},
    "prod": lambda xs: reduce(mul, map(lift, xs)),
    "sum": _sum,
    "mul": lambda a, b: lift(a) * b,
}
