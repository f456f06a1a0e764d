"""The fourth stage: writes expressions as LLVM's instructions on eight lanes, and the kernels that run them.

The kernels for sums of products are in :mod:`micrograd.compiler.products`.

The numbers of a node are a *row* of a block: one per lane, padded to whole vectors. A block of one lane has rows of one
number. An operand names a row by its index. Each kernel gets four pointers: ``v`` to the rows of a block, ``u`` to the
numbers that are the same in all lanes, ``g`` to the sums over lanes, and ``c`` to the operands of the instruction. Row
0 of ``v`` is the *check*: it is 0 in the lanes where all operations gave finite numbers, and nan in the others. So is
number 0 of ``u``.
"""

from __future__ import annotations

import ast
import builtins
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cache, lru_cache, partial
from operator import mul
from typing import Any

from ..rule import RULES, Rule, write_choices
from .code import LANES, Function, Number, Operand, Operands, Pointer, Variable, Vector
from .elementary import FOREIGN, FUNCTIONS
from .graph import CHOICE, DIVIDE, DOT, PASSING, SUM, Body, Operation, UnsupportedError, compile_text
from .machine import Kernel

__all__ = ["FUSED", "FUSED_OPERANDS", "FUSED_PARTS", "ROWS", "express", "find_stride"]


# Expressions


Fail = Callable[[Number, "Number | None"], None]  # adds a number to the check, in the lanes that need it


def apply(
    function: Function, operation: Operation, operands: Sequence[Number], fail: Fail, is_shown: bool = False
) -> Number:
    """Emits an operation.

    Args:
        function: the function that is written.
        operation: the operation to emit.
        operands: its operands.
        fail: called with each number that is not finite where Python's floats would raise an error.
        is_shown: whether ``fail`` need not be called with the result: another number that is checked shows whether it
            is finite.
    """
    if operation is DOT:
        total = function.reals(0.0)
        for a, b in zip(operands[: len(operands) // 2], operands[len(operands) // 2 :], strict=True):
            total = function.add_product(a, b, total)
        return total
    if operation is SUM:
        return sum(operands, function.reals(0.0))
    text = _Text(function)
    if operation.name not in RULES.sealed and _hides_failures(operation.text):
        # In the table's own texts, a part that is not finite makes the result not finite.
        function.note = lambda number: fail(number, text.needed)
    try:
        out = text.evaluate(operation.text, dict(zip(operation.operands, operands, strict=True)))
    except UnsupportedError as error:
        raise UnsupportedError(f"the rule {operation.name!r} can't be compiled: {error}") from None
    except Exception as error:
        raise UnsupportedError(
            f"the rule {operation.name!r} can't be compiled: {type(error).__name__}: {error}"
        ) from error
    finally:
        function.note = None
    if may_fail(operation.text) and not is_shown:
        fail(out, None)
    return out


class _Text:
    # Emits the text of a rule: evaluates it on Numbers.

    def __init__(self, function: Function) -> None:
        self.function = function
        self.needed: Number | None = None  # the lanes that need the side that is emitted now; None if all do

    def evaluate(self, text: str, names: dict[str, Any]) -> Number:
        code, free = _compile(text)
        scope = {"__builtins__": {}, **{name: self._find(name) for name in free if name not in names}, **names}
        out = eval(code, scope)
        return out if isinstance(out, Number) else self.function.reals(float(out))

    def _find(self, name: str) -> Any:
        # Finds what a name in a text means on Numbers.
        if is_rule(name):
            return partial(self._call_rule, RULES[name])
        if (helper := getattr(self, f"_{name}_", None)) is not None:
            return helper
        if name in _PLAIN:
            return _PLAIN[name]
        if name.startswith("_") or not hasattr(math, name):
            raise UnsupportedError(f"its text uses {name!r}")
        meaning = getattr(math, name)
        return meaning if isinstance(meaning, float) else partial(self._call, name)

    def _call(self, name: str, *operands: Any) -> Any:
        if not any(isinstance(x, Number) for x in operands):
            return getattr(math, name)(*operands)
        if name not in FUNCTIONS and name not in FOREIGN:
            raise UnsupportedError(f"its text uses {name!r}")
        return self.function.call(name, *operands)

    def _ceil_(self, x: Any) -> Any:
        return self.function.intrinsic("ceil", x) if isinstance(x, Number) else math.ceil(x)

    def _call_rule(self, rule: Rule, *operands: Any) -> Any:
        names = {rule.names[0]: list(operands)} if rule.variadic else dict(zip(rule.names, operands, strict=True))
        return self.evaluate(rule.value, {**rule.constants, **names})

    # Helpers, by their names in the texts. Where the helper on floats raises an error, the result here is nan.

    def _choose__(self, test: Any, x: Callable[[], Any], y: Callable[[], Any]) -> Any:
        if not isinstance(test, Number):
            return x() if test else y()
        return self.function.choose(test, self._side(test, x)(), self._side(~test, y)())

    def _branch__(self, test: Any, x: Callable[[], Any], y: Callable[[], Any]) -> Any:
        # choose_(), for sides that take long: each is skipped if no lane needs it.
        if not isinstance(test, Number) or not isinstance(test.kind, Vector):
            return self._choose__(test, x, y)
        return self.function.branch(test, self._side(test, x), self._side(~test, y))

    def _side(self, test: Number, side: Callable[[], Any]) -> Callable[[], Any]:
        def emit() -> Any:
            before = self.needed
            self.needed = test if before is None else before & test
            try:
                return side()
            finally:
                self.needed = before

        return emit

    def _float_(self, x: Any) -> Any:
        return x if isinstance(x, Number) else float(x)

    def _max_(self, *xs: Any) -> Any:
        first, *rest = xs[0] if len(xs) == 1 else xs
        for x in rest:
            first = self.function.choose(x > first, x, first)
        return first

    def _min_(self, *xs: Any) -> Any:
        first, *rest = xs[0] if len(xs) == 1 else xs
        for x in rest:
            first = self.function.choose(x < first, x, first)
        return first

    def _sqrt_(self, x: Any) -> Any:
        return self.function.sqrt(x) if isinstance(x, Number) else math.sqrt(x)

    def _round_(self, x: Any) -> Any:
        if not isinstance(x, Number):
            return round(x)
        return self.function.intrinsic("rint", x) + 0.0  # Python rounds to an int, which has no -0.0

    def _fsum_(self, xs: Any) -> Any:
        total, *rest = xs
        lost = 0.0
        for x in rest:
            # Adds up what each addition loses in rounding (Knuth, The art of computer programming, volume 2, 4.2.2).
            both = total + x
            part = both - total
            lost = lost + ((total - (both - part)) + (x - part))
            total = both
        return total + lost

    def _chance_(self, p: Any) -> Any:
        return self.function.choose(p >= 0, self.function.choose(p <= 1, p, math.nan), math.nan)

    def _index__(self, i: Any, count: Any) -> Any:
        whole = self.function.intrinsic("floor", i) == i
        inside = self.function.choose(i >= 0, self.function.choose(i < count, i, math.nan), math.nan)
        return self.function.choose(whole, inside, math.nan)


# Names in the texts that mean the same on Numbers as on floats.
_PLAIN: dict[str, Any] = {
    **{f.__name__: f for f in (abs, map, sum, zip, range, enumerate, reversed, list, tuple, int, bool, len, mul, pow)},
    "fabs": abs,
    "real": lambda x: x,
    "isinf": lambda x: abs(x) == math.inf,
    "isnan": lambda x: x != x,
    "isfinite": lambda x: abs(x) < math.inf,
    "degrees": lambda x: x * (180 / math.pi),
    "radians": lambda x: x * (math.pi / 180),
}


def is_rule(name: str) -> bool:
    """Returns whether a name in a text means a rule. In the rule's own text it means the function of ``math``."""
    return name in RULES and not hasattr(builtins, name) and f"{name}(" not in RULES[name].value


@cache
def _compile(text: str) -> tuple[Any, frozenset[str]]:
    # Returns the code of a text, and the names in it that it does not assign itself.
    tree = _Branches().visit(ast.parse(write_choices(text.strip()), mode="eval"))
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    given = {node.id for node in names if isinstance(node.ctx, ast.Store)}
    return compile_text(tree), frozenset(node.id for node in names) - given


class _Branches(ast.NodeTransformer):
    # Replaces choose_() by branch_() where a side takes long and gives a number.

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id == "choose_":
            sides = [side.body for side in node.args[1:] if isinstance(side, ast.Lambda)]
            if any(map(takes_long, sides)) and not any(map(_is_truth, sides)):
                node.func.id = "branch_"
        return node


def _is_truth(side: ast.expr) -> bool:
    # Whether a side of a choice gives a truth, not a number. It may be a choice itself.
    if isinstance(side, ast.Call) and isinstance(side.func, ast.Name) and side.func.id == "choose_":
        return any(_is_truth(inner.body) for inner in side.args[1:] if isinstance(inner, ast.Lambda))
    return isinstance(side, ast.Compare) or (isinstance(side, ast.Constant) and isinstance(side.value, bool))


@cache
def may_fail(text: str) -> bool:
    """Returns whether Python's floats may raise an error in a text. Sums and products never do."""
    return takes_long(ast.parse(text.strip() or "0", mode="eval").body)


@cache
def _hides_failures(text: str) -> bool:
    # Whether a part of a text may fail while the result is finite.
    root = ast.parse(text.strip() or "0", mode="eval").body
    return any(takes_long(part) for part in ast.iter_child_nodes(root) if isinstance(part, ast.expr))


_QUICK = {"abs", "max", "min", "copysign", "isinf", "isnan", "choose_", "float"}


def takes_long(expression: ast.expr) -> bool:
    """Returns whether an expression has more than sums, products and choices."""
    for node in ast.walk(expression):
        if isinstance(node, (ast.Div, ast.FloorDiv, ast.Mod, ast.Pow)):
            return True
        if isinstance(node, ast.Call) and not (isinstance(node.func, ast.Name) and node.func.id in _QUICK):
            return True
    return False


def define(operation: Operation) -> str:
    """Returns the full definition of an operation: its text, and those of the rules that it calls."""
    found = {operation.name: f"{operation.name}({', '.join(operation.operands)}) = {operation.text}"}
    waiting = [operation.text]
    while waiting:
        for node in ast.walk(ast.parse(waiting.pop().strip() or "0", mode="eval")):
            if isinstance(node, ast.Name) and node.id not in found and is_rule(node.id):
                rule = RULES[node.id]
                found[node.id] = f"{rule!r} {rule.operands} {rule.constants}"
                waiting.append(rule.value)
    return "; ".join(found.values())


class _Evaluation:
    # Emits a body. ``values`` has the number of each leaf and step; ``failed`` is 0 in the lanes where all numbers are
    # finite, or None if no number had to be checked. The constructor emits the steps that need only the leaves that it
    # gets: these are the same in all lanes. finish() emits the others, in the loop over vectors.

    def __init__(self, function: Function, body: Body, leaves: dict[int, Number], is_checked: bool) -> None:
        self.function, self.body = function, body
        count = len(body.leaves)
        self.first = count + len(body.constants)
        self.values = {**leaves, **dict(enumerate(map(function.reals, body.constants), count))}
        self._check = function.variable(function.reals(0.0))
        self.failed: Variable | None = None
        self.sides = self._find_sides()
        self.is_shown = self._find_shown() if is_checked else set()
        inner = {step for sides in self.sides.values() for steps in sides for step in steps}
        self._steps = [k for k in range(self.first, self.first + len(body.steps)) if k not in inner]
        for k in self._steps:
            if k not in self.sides and self.values.keys() >= {*body.steps[k - self.first][1]}:
                self._emit(k, None)
        self._before = self._check.value

    def finish(self, leaves: dict[int, Number]) -> list[Number]:
        """Emits all other steps, once the other leaves are given, and returns the results."""
        self.values.update(leaves)
        self._check.value = self._before
        for k in self._steps:
            if k not in self.values:
                self._emit(k, None)
        return [self.values[x] for x in self.body.results]

    def _find_shown(self) -> set[int]:
        # Finds steps that need no check: if they are not finite, then a result is not either, as they reach it through
        # sums and products.

        found = set(self.body.results)
        for k, (operation, operands) in reversed([*enumerate(self.body.steps, self.first)]):
            if k in found and operation in PASSING:
                found.update(operands)
            elif k in found and operation is DIVIDE:
                found.add(operands[0])
            elif k in found and k in self.sides:
                found.update([x for x, steps in zip(operands[1:], self.sides[k], strict=True) if steps])
        return found

    def _find_sides(self) -> dict[int, list[list[int]]]:
        # Finds for each choice the steps that only one side needs, if they take long. All other steps are always done.
        steps, first = self.body.steps, self.first
        uses: dict[int, int] = defaultdict(int)
        for x in (*self.body.results, *[x for _, operands in steps for x in operands]):
            uses[x] += 1
        found: dict[int, list[list[int]]] = {}
        for k, (operation, operands) in enumerate(steps, first):
            if operation is CHOICE:
                sides = []
                for side in operands[1:]:
                    inner: list[int] = []
                    waiting = [side]
                    while waiting:
                        x = waiting.pop()
                        if x >= first and uses[x] == 1:
                            inner.append(x)
                            waiting += steps[x - first][1]
                    takes_long = any(may_fail(steps[x - first][0].text) for x in inner)
                    sides.append(sorted(inner) if takes_long else [])
                if any(sides):
                    found[k] = sides
        return found

    def _emit(self, k: int, needed: Number | None) -> None:
        # Emits a step. It is checked in the lanes that need it.
        operation, operands = self.body.steps[k - self.first]
        if k in self.sides:
            self._emit_choice(k, operands, needed)
            return

        def fail(number: Number, inner: Number | None) -> None:
            for test in (needed, inner):
                number = number if test is None else self.function.choose(test, number, 0.0)
            self.failed = self._check
            self._check.value = self.function.add_lost(self._check.value, number)

        operands_ = [self.values[x] for x in operands]
        self.values[k] = apply(self.function, operation, operands_, fail, k in self.is_shown)

    def _emit_choice(self, k: int, operands: Sequence[int], needed: Number | None) -> None:
        f, values = self.function, self.values
        test = values[operands[0]] > 0
        inner = {step for other in self.sides[k] for step in other if step in self.sides} if k in self.sides else set()
        nested = {step for choice in inner for side in self.sides[choice] for step in side}

        def choose(side: int, steps: list[int], here: Number, other: Number | None) -> Number:
            # Returns this side's number in the lanes of ``here``, and the other number elsewhere. If there is no other
            # number yet, those lanes may have any. The steps are skipped if no lane needs them.
            if not steps:
                return values[side] if other is None else f.choose(here, values[side], other)
            found = f.variable(f.reals(0.0) if other is None else other)
            needed_here = here if needed is None else here & needed
            with f.when(f.any(needed_here)):
                for step in steps:
                    if step not in nested:
                        self._emit(step, needed_here)
                found.value = values[side] if other is None else f.choose(here, values[side], other)
            return found.value

        (x, y), (of_x, of_y) = operands[1:], self.sides[k]
        values[k] = choose(x, of_x, test, choose(y, of_y, ~test, None))


# Kernels: an expression, one vector after the other


def find_stride(f: Function, lanes: Number | None = None) -> Number:
    """Returns how many places a row has: whole vectors for several lanes, one place for a single lane."""
    lanes = f.lanes if lanes is None else lanes
    return f.choose_whole(lanes > 1, (lanes + (LANES - 1)) // LANES * LANES, 1)


@lru_cache(1024)
def express(body: Body, sums: int | None = None) -> Kernel:
    """Makes the kernel that computes an expression on vectors. :data:`ROWS` and :data:`FUSED` run it.

    Instead of a number of lanes it takes a number of vectors.

    Args:
        body: the expression.
        sums: for a fused program, how many of the last results are summed over lanes; None for :data:`ROWS`.
    """
    operations = dict.fromkeys(operation for operation, _ in body.steps)
    key = "\n".join([f"expression, {sums} sums", repr(body), *map(define, operations)])
    write = partial(_write_expression, body) if sums is None else partial(_write_sums, body, sums)
    return Kernel(key, write, stays=False)


def _write_expression(body: Body, f: Function, v: Pointer, u: Pointer, g: Pointer, c: Pointer) -> None:
    # Computes an expression for many rows of vectors. Operands:
    # - the addresses to which the rows of each leaf, of the result and of the check are relative;
    # - the address of the row numbers (the result's, then each leaf's), and how many results there are;
    # - how many numbers a row has;
    # - the step from a vector of the check to the next, and that of a leaf that is the same in all lanes: if that is 0,
    #   the leaf is a single number.
    count = len(body.leaves)
    *leaves, result, check = (f.reals_at(c[k]) for k in range(count + 2))
    rows, many, stride, step, its_step = f.wholes_at(c[count + 2]), *(c[count + 3 + k] for k in range(4))
    is_single = f.splat(its_step == 0)
    with f.loop(0, many) as m:
        row = rows + m * (count + 1)
        begins = [
            (leaf + row[s + 1] * (stride if kind == "L" else 1), kind == "L")
            for s, (leaf, kind) in enumerate(zip(leaves, body.leaves, strict=True))
        ]
        out = result + row[0] * stride
        singles = [None if is_row else f.splat(begin[0]) for begin, is_row in begins]
        with f.loop(0, f.lanes) as i:
            vectors = [
                begin.vector(i * LANES) if single is None else f.choose(is_single, single, begin.vector(i * its_step))
                for (begin, _), single in zip(begins, singles, strict=True)
            ]
            done = _Evaluation(f, body, dict(enumerate(vectors)), False)
            out.put(i * LANES, done.finish({})[0])
            if done.failed:
                check.put(i * step, check.vector(i * step) + done.failed.value)


def _write_sums(body: Body, sums: int, f: Function, v: Pointer, u: Pointer, g: Pointer, c: Pointer) -> None:
    # Computes an expression for the vectors of a fused program. Operands are addresses: of each leaf, which is a single
    # vector if it is the same in all lanes; of each output; of a vector to which each sum is added, and of one for the
    # check; and of a vector that is 0 in the lanes that do not count for the sums.
    count, outputs = len(body.leaves), len(body.results) - sums
    pointers = [f.reals_at(c[k]) for k in range(count + len(body.results) + 2)]
    leaves, results, totals = pointers[:count], pointers[count : count + outputs], pointers[count + outputs : -1]
    done = _Evaluation(f, body, {s: leaf.vector() for s, leaf in enumerate(leaves) if body.leaves[s] == "U"}, True)
    added, is_counted = [f.variable(f.reals(0.0)) for _ in totals], pointers[-1].vector() != 0.0
    with f.loop(0, f.lanes) as i:
        numbers = done.finish({s: leaf.vector(i * LANES) for s, leaf in enumerate(leaves) if body.leaves[s] == "L"})
        before = added[-1].value
        check = f.reals(0.0) if sums else before
        if done.failed:
            check = check + done.failed.value
        for result, number in zip(results, numbers[:outputs], strict=True):
            result.put(i * LANES, number)
            check = f.add_lost(check, number)
        for total, number in zip(added, numbers[outputs:], strict=False):
            total.value = total.value + f.choose(is_counted, number, 0.0)
        added[-1].value = before + f.choose(is_counted, check, 0.0) if sums else check
    for pointer, total in zip(totals, added, strict=True):
        pointer.put(0, pointer.vector() + total.value)


_LEAVES = 32  # leaves of an expression of rows, at most
_MEMBERS = 64  # of one lane: results that are computed at a time
_ROWS = ("kernel", "leaves", "same", "count", "adjacent")


def _write_rows(f: Function, v: Pointer, u: Pointer, g: Pointer, c: Pointer) -> None:
    # Computes the same expression for many rows. Operands:
    # - ``kernel``, ``leaves``: the address of the expression's function, and how many leaves it has;
    # - ``same``: a bit for each leaf, which is set if it is a number of u;
    # - ``count``: how many results there are; their rows are adjacent;
    # - ``adjacent``: a bit for each leaf, which is set if its rows are adjacent, too;
    # - then for each result its row, and the row of each leaf.
    # In a block of one lane, eight results are a vector.
    o, stride = Operands(c, _ROWS), find_stride(f)
    kernel, leaves, same, count, adjacent = o.kernel, o.leaves, o.same, o.count, o.adjacent
    width, members = leaves + 1, c + len(_ROWS)
    table, scratch, checked = f.wholes(_LEAVES + 7), f.reals_on_stack((_LEAVES + 1) * _MEMBERS), f.reals_on_stack(LANES)
    pointers, rest = [v, u, g, table], table + width

    def bit(s: Number) -> Number:
        return same // f.power_of_two(s) % 2

    def set_rest(check: Pointer, rows: Pointer, many: Operand, step: int, its_step: int) -> None:
        for k, x in enumerate([f.address(check), f.address(rows), many, stride, step, its_step]):
            rest[k] = x

    with f.either(f.lanes > 1) as (many, one):
        with many:
            with f.loop(0, leaves) as s:
                table[s] = f.choose_whole(bit(s) == 1, f.address(u), f.address(v))
            table[leaves] = f.address(v)
            set_rest(v, members, count, LANES, 0)
            f.run(kernel, pointers, stride // LANES)
        with one:
            checked.put(0, f.reals(0.0))
            begins = f.wholes(_LEAVES + 1)  # all 0: the table has the address of each leaf's first number
            with f.loop(0, width) as s:
                begins[s] = 0
            set_rest(checked, begins, 1, 0, LANES)
            with f.loop(0, count, _MEMBERS) as first:
                here = f.least(count - first, _MEMBERS)
                vectors = (here + (LANES - 1)) // LANES
                is_whole = f.choose_whole(here % LANES == 0, 1, 0)
                member = members + first * width
                with f.loop(0, leaves) as s:
                    source = f.choose_whole(bit(s) == 1, f.address(u), f.address(v))
                    with f.either(adjacent // f.power_of_two(s) % 2 * is_whole == 1) as (row, rows):
                        with row:
                            table[s] = source + member[s + 1] * 8
                        with rows:
                            numbers, column = scratch + s * _MEMBERS, f.reals_at(source)
                            with f.loop(0, vectors * LANES) as k:
                                numbers[k] = column[members[f.least(first + k, count - 1) * width + (s + 1)]]
                            table[s] = f.address(numbers)
                out = scratch + leaves * _MEMBERS
                target = v + member[0]
                table[leaves] = f.choose_whole(is_whole == 1, f.address(target), f.address(out))
                f.run(kernel, pointers, vectors)
                with f.when(is_whole == 0), f.loop(0, here) as k:
                    target[k] = out[k]
            v[0] = v[0] + f.sum(checked.vector())


FUSED_PARTS = 1024  # leaves and results of a fused program, at most

FUSED_OPERANDS = ("kernel", "x", "x_step", "out", "out_step", "is_finite", "leaves", "outputs", "sums")
"""Operands of the instruction that runs a program of a single expression:

- ``kernel``: the address of the expression's function;
- ``x``, ``x_step``, ``out``, ``out_step``: where inputs and outputs are, and numbers from a row to the next one. Row 0
  of the outputs is the check, which is written only if a number is not finite;
- ``is_finite``: it sets this to 1 if all numbers are finite, else to 0;
- ``leaves``, ``outputs``, ``sums``: how many there are.

Then for each leaf two numbers: whether it is a number of ``u``, and its row; and for each sum its place in ``g``.
"""


def _write_fused(f: Function, v: Pointer, u: Pointer, g: Pointer, c: Pointer) -> None:
    o = Operands(c, FUSED_OPERANDS)
    kernel, x, x_stride, out, out_stride = o.kernel, f.reals_at(o.x), o.x_step, f.reals_at(o.out), o.out_step
    leaves, outputs, sums = o.leaves, o.outputs, o.sums
    rows = c + len(FUSED_OPERANDS)
    places = rows + leaves * 2
    table, scratch = f.wholes(FUSED_PARTS + 2), f.reals_on_stack((FUSED_PARTS + 2) * LANES)
    results = leaves + outputs
    checked, counted = results + sums, results + sums + 1
    check, is_counted = scratch + checked * LANES, scratch + counted * LANES
    table[counted] = f.address(is_counted)
    is_counted.put(0, f.reals(1.0))
    with f.loop(0, leaves) as s, f.when(rows[s * 2] == 1):
        scratch.put(s * LANES, f.splat(u[rows[s * 2 + 1]]))
        table[s] = f.address(scratch + s * LANES)
    with f.loop(results, counted) as s:
        scratch.put(s * LANES, f.reals(0.0))
        table[s] = f.address(scratch + s * LANES)
    whole = f.lanes // LANES
    done, left = whole * LANES, f.lanes - whole * LANES

    def run_at(first: Number | int, vectors: Number | int) -> None:
        with f.loop(0, leaves) as s, f.when(rows[s * 2] == 0):
            table[s] = f.address(x + (rows[s * 2 + 1] * x_stride + first))
        with f.loop(0, outputs) as k:
            table[leaves + k] = f.address(out + ((k + 1) * out_stride + first))
        f.run(kernel, [v, u, g, table], vectors)

    with f.when(whole > 0):
        run_at(0, whole)
        with f.when(f.sum(check.vector()) != 0.0):  # finds the lanes: runs once more, a vector at a time
            with f.loop(0, done, LANES) as first:
                check.put(0, f.reals(0.0))
                run_at(first, 1)
                out.put(first, check.vector())
            check.put(0, f.reals(math.nan))
    with f.when(left > 0):
        with f.loop(0, leaves) as s, f.when(rows[s * 2] == 0):
            column, numbers = x + (rows[s * 2 + 1] * x_stride + done), scratch + s * LANES
            with f.loop(0, LANES) as k:
                numbers[k] = column[f.least(k, left - 1)]
            table[s] = f.address(numbers)
        with f.loop(0, outputs) as k:
            table[leaves + k] = f.address(scratch + (leaves + k) * LANES)
        with f.loop(0, LANES) as k:
            is_counted[k] = f.choose(k < left, 1.0, 0.0)
        before = check.vector()
        check.put(0, f.reals(0.0))
        f.run(kernel, [v, u, g, table], 1)
        with f.loop(0, left) as k:
            out[done + k] = check[k]
        check.put(0, check.vector() + before)
        with f.loop(0, outputs) as k:
            numbers, row = scratch + (leaves + k) * LANES, out + ((k + 1) * out_stride + done)
            with f.loop(0, left) as i:
                row[i] = numbers[i]
    with f.loop(0, sums) as s:
        g[places[s]] = g[places[s]] + f.sum(scratch.vector((results + s) * LANES))
    o.is_finite = f.choose_whole(f.sum(check.vector()) == 0.0, 1, 0)


ROWS, FUSED = Kernel("rows", _write_rows, _ROWS), Kernel("fused", _write_fused, FUSED_OPERANDS)
