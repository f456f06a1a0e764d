"""The fourth stage: the kernels of a plan, written in LLVM's instructions, eight lanes at a time.

The numbers of a node are a *row* of a block: one for each lane, in places that are filled up to whole vectors. A block
of one lane has rows of one number. Rows are given by their index. ``v`` are the rows of a block, ``u`` the numbers
that are the same in all lanes, ``g`` the sums over lanes, ``c`` the operands of the instruction. Row 0 of ``v`` is 0 in
the lanes where each operation gave something finite, and nan in the others; number 0 of ``u`` likewise.
"""

from __future__ import annotations

import ast
import builtins
import math
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from typing import Any

from ..rule import RULES, Rule, write_choices
from .code import LANES, Function, Number, Pointer
from .elementary import FUNCTIONS
from .graph import Body, Operation, UnsupportedError
from .machine import FOREIGN, Kernel

__all__ = ["DOT", "LAYER", "OUTER", "TIMES", "TOTAL", "elementwise", "find_stride", "fuse"]


# Expressions


def apply(function: Function, operation: Operation, operands: Sequence[Number], checks: list[Number]) -> Number:
    """Emits an operation, and adds to the checks what is not finite where Python's floats may raise an error."""
    if operation.name == "dot":
        a, b, *rest = operands
        total = a * b
        for i in range(0, len(rest), 2):
            total = function.add_product(rest[i], rest[i + 1], total)
        return total
    if operation.name == "sum":
        total = operands[0]
        for operand in operands[1:]:
            total = total + operand
        return total
    try:
        out = _Text(function).evaluate(operation.text, dict(zip(operation.operands, operands, strict=True)))
    except UnsupportedError as error:
        raise UnsupportedError(f"the rule {operation.name!r} can't be compiled: {error}") from None
    except Exception as error:
        raise UnsupportedError(
            f"the rule {operation.name!r} can't be compiled: {type(error).__name__}: {error}"
        ) from error
    if may_fail(operation.text):
        checks.append(out)
    return out


class _Text:
    # Runs the text of a rule on Numbers, which emits it.

    def __init__(self, function: Function) -> None:
        self.function = function

    def evaluate(self, text: str, names: dict[str, Any]) -> Number:
        code, free = _compile(text)
        scope = {"__builtins__": {}, **{name: self._find(name) for name in free if name not in names}, **names}
        out = eval(code, scope)
        return out if isinstance(out, Number) else self.function.reals(float(out))

    def _find(self, name: str) -> Any:
        # What a name in a text means; the module says what it means on floats.
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

    def _degrees_(self, x: Any) -> Any:
        return x * (180 / math.pi)

    def _radians_(self, x: Any) -> Any:
        return x * (math.pi / 180)

    def _call_rule(self, rule: Rule, *operands: Any) -> Any:
        names = {rule.names[0]: list(operands)} if rule.variadic else dict(zip(rule.names, operands, strict=True))
        return self.evaluate(rule.value, {**rule.constants, **names})

    # Helpers by their names in the texts. Where one raises an error on floats, the number is nan here.

    def _choose__(self, test: Any, x: Callable[[], Any], y: Callable[[], Any]) -> Any:
        if not isinstance(test, Number):
            return x() if test else y()
        return self.function.choose(test, x(), y())

    def _real_(self, x: Any) -> Any:
        return x

    def _float_(self, x: Any) -> Any:
        return x if isinstance(x, Number) else float(x)

    def _abs_(self, x: Any) -> Any:
        return abs(x)

    def _fabs_(self, x: Any) -> Any:
        return abs(x)

    def _len_(self, xs: Any) -> int:
        return len(xs)

    def _max_(self, *xs: Any) -> Any:
        first, *rest = xs[0] if len(xs) == 1 else xs
        for x in rest:
            first = self._choose__(x > first, lambda x=x: x, lambda first=first: first)  # type: ignore[misc]
        return first

    def _min_(self, *xs: Any) -> Any:
        first, *rest = xs[0] if len(xs) == 1 else xs
        for x in rest:
            first = self._choose__(x < first, lambda x=x: x, lambda first=first: first)  # type: ignore[misc]
        return first

    def _sqrt_(self, x: Any) -> Any:
        return self.function.sqrt(x) if isinstance(x, Number) else math.sqrt(x)

    def _pow_(self, x: Any, y: Any) -> Any:
        return x**y

    def _isinf_(self, x: Any) -> Any:
        return abs(x) == math.inf

    def _isnan_(self, x: Any) -> Any:
        return x != x

    def _isfinite_(self, x: Any) -> Any:
        return abs(x) < math.inf

    def _round_(self, x: Any) -> Any:
        return self.function.intrinsic("rint", x) if isinstance(x, Number) else round(x)

    def _mul_(self, x: Any, y: Any) -> Any:
        return x * y

    def _fsum_(self, xs: Any) -> Any:
        total, *rest = xs
        lost = 0.0
        for x in rest:
            # What is lost where a + b is rounded (Knuth, The art of computer programming, volume 2, 4.2.2).
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


# What Python's own functions do on lists of Numbers is right as it is.
_PLAIN: dict[str, Any] = {
    f.__name__: f for f in (map, sum, zip, range, enumerate, reversed, list, tuple, int, bool)
}


def is_rule(name: str) -> bool:
    """Whether a name in a text means a rule of the table. In the rule's own text it is the function of math."""
    return name in RULES and not hasattr(builtins, name) and f"{name}(" not in RULES[name].value


@cache
def _compile(text: str) -> tuple[Any, frozenset[str]]:
    # The code of a text, and the names in it that it gives no meaning.
    written = write_choices(text.strip())
    names = [node for node in ast.walk(ast.parse(written, mode="eval")) if isinstance(node, ast.Name)]
    given = {node.id for node in names if isinstance(node.ctx, ast.Store)}
    return compile(written, "<rule>", "eval"), frozenset(node.id for node in names) - given


@cache
def may_fail(text: str) -> bool:
    """Whether Python's floats may raise an error in a text. Sums and products never do."""
    for node in ast.walk(ast.parse(text.strip() or "0", mode="eval")):
        if isinstance(node, (ast.Div, ast.FloorDiv, ast.Mod, ast.Pow)):
            return True
        if isinstance(node, ast.Call) and not (
            isinstance(node.func, ast.Name) and node.func.id in ("abs", "max", "min", "copysign", "isinf", "isnan")
        ):
            return True
    return False


def define(operation: Operation) -> str:
    """All that an operation is made of: its text, and those of the rules that it calls."""
    found = {operation.name: f"{operation.name}({', '.join(operation.operands)}) = {operation.text}"}
    waiting = [operation.text]
    while waiting:
        for node in ast.walk(ast.parse(waiting.pop().strip() or "0", mode="eval")):
            if isinstance(node, ast.Name) and node.id not in found and is_rule(node.id):
                rule = RULES[node.id]
                found[node.id] = f"{rule!r} {rule.operands} {rule.constants}"
                waiting.append(rule.value)
    return "; ".join(found.values())


def evaluate(function: Function, body: Body, leaves: Sequence[Number]) -> tuple[list[Number], Number]:
    """Emits a body: its results, and 0 where all is finite."""
    values, checks = list(leaves), []  # type: ignore[var-annotated]
    for operation, operands in body.steps:
        values.append(apply(function, operation, [values[x] for x in operands], checks))
    check = function.reals(0.0)
    for i, number in enumerate(checks):
        product = number * 0.0
        check = product if i == 0 else check + product
    return [values[x] for x in body.results], check


def _key(name: str, body: Body) -> str:
    operations = dict.fromkeys(operation for operation, _ in body.steps)
    return "\n".join([name, repr(body), *map(define, operations)])


# Kernels: an expression on many rows


def find_stride(f: Function, lanes: Number | None = None) -> Number:
    """How many places a row of so many lanes has: whole vectors, or one for a single lane."""
    lanes = f.lanes if lanes is None else lanes
    padded = (lanes + (LANES - 1)) // LANES * LANES
    return f.choose_whole(lanes > 1, padded, 1)


@cache
def elementwise(body: Body) -> Kernel:
    """The kernel that computes the same expression of many rows.

    Operands: how many; a bit for each leaf whose rows follow each other; then for each its row, and the row of each
    leaf. The rows that are computed follow each other.
    """
    return Kernel(_key("rows", body), partial(_write_rows, body))


def _write_rows(body: Body, f: Function, v: Pointer, u: Pointer, g: Pointer, c: Pointer) -> None:
    leaves, width = body.leaves, len(body.leaves) + 1
    buffers = [f.buffer() for _ in leaves]
    out_buffer, check_buffer = f.buffer(), f.buffer()
    count, stride, direct = c[0], find_stride(f), c[1]
    check_buffer.put(0, f.reals(0.0))
    places = [f.allocate_pointer() for _ in leaves]
    out_place, check_place = f.allocate_pointer(), f.allocate_pointer()
    step = f.choose_whole(f.lanes > 1, 1, LANES)
    with f.loop(0, count, step) as i:
        members = c + 2 + i * width
        # Uniform leaves are the same in all lanes of a row.
        with f.when(f.lanes > 1):
            for s, leaf in enumerate(leaves):
                if leaf == "U":
                    buffers[s].put(0, f.splat(u[members[1 + s]]))
        with f.loop(0, stride, LANES) as lane:
            is_whole = f.variable(1)
            with f.either(f.lanes > 1) as (many, one):
                with many:
                    for s, leaf in enumerate(leaves):
                        places[s].value = buffers[s] if leaf == "U" else v + (members[1 + s] * stride + lane)
                    out_place.value, check_place.value = v + (members[0] * stride + lane), v + lane
                with one:
                    check_place.value = check_buffer
                    is_whole.value = f.choose_whole(i + LANES <= count, 1, 0)
                    for s, leaf in enumerate(leaves):
                        source = u if leaf == "U" else v
                        follows = ((direct // (1 << s)) % 2) * is_whole.value
                        with f.either(follows == 1) as (row, rows):
                            with row:
                                places[s].value = source + members[1 + s]
                            with rows:
                                with f.loop(0, LANES) as k:
                                    member = f.least(i + k, count - 1)
                                    buffers[s][k] = source[c[member * width + (3 + s)]]
                                places[s].value = buffers[s]
                    with f.either(is_whole.value == 1) as (row, rows):
                        with row:
                            out_place.value = v + members[0]
                        with rows:
                            out_place.value = out_buffer
            (out,), check = evaluate(f, body, [place.value.vector() for place in places])
            out_place.value.put(0, out)
            if any(may_fail(operation.text) for operation, _ in body.steps):
                check_place.value.put(0, check_place.value.vector() + check)
            with f.when(is_whole.value == 0), f.loop(0, count - i) as k:
                v[members[0] + k] = out_buffer[k]
    with f.when(f.lanes == 1):
        v[0] = v[0] + f.sum(check_buffer.vector())


# Kernels: a whole program as one expression


@cache
def fuse(body: Body, rows: tuple[int, ...], places: tuple[int, ...]) -> Kernel:
    """The kernel that is a whole small program.

    Args:
        body: what it computes; its last results are summed over lanes.
        rows: for each leaf which input it is, or which number of ``u``.
        places: where the sums go in ``g``.

    Operands: whether all is finite, which it sets; where the inputs are, and how many places a row of them has; where
    the outputs go, and how many places a row of them has. Row 0 of the outputs is the check.
    """
    return Kernel(_key(f"fused {rows} {places}", body), partial(_write_fused, body, rows, places))


def _write_fused(
    body: Body, rows: tuple[int, ...], places: tuple[int, ...], f: Function, v: Pointer, u: Pointer, g: Pointer,
    c: Pointer,
) -> None:  # fmt: skip
    outputs = len(body.results) - len(places)
    inputs = {s: rows[s] for s, leaf in enumerate(body.leaves) if leaf == "L"}
    buffers = {s: f.buffer() for s in inputs}
    out_buffers = [f.buffer() for _ in range(outputs + 1)]
    x, x_stride, out, out_stride = f.reals_at(c[1]), c[2], f.reals_at(c[3]), c[4]
    same = {s: f.splat(u[row]) for s, row in enumerate(rows) if s not in inputs}
    totals = [f.variable(f.reals(0.0)) for _ in body.results[outputs:]]
    failed = f.variable(f.reals(0.0))
    in_places = {s: f.allocate_pointer() for s in inputs}
    out_places = [f.allocate_pointer() for _ in out_buffers]
    with f.loop(0, f.lanes, LANES) as lane:
        left = f.lanes - lane
        with f.either(left >= LANES) as (whole, part):
            with whole:
                for s, row in inputs.items():
                    in_places[s].value = x + (x_stride * row + lane)
                for k, place in enumerate(out_places):
                    place.value = out + (out_stride * k + lane)
            with part:
                for s, row in inputs.items():
                    in_places[s].value = buffers[s]
                for place, buffer in zip(out_places, out_buffers, strict=True):
                    place.value = buffer
                with f.loop(0, LANES) as k:
                    at = lane + f.least(k, left - 1)
                    for s, row in inputs.items():
                        buffers[s][k] = x[x_stride * row + at]
        leaves = [same[s] if s in same else in_places[s].value.vector() for s in range(len(body.leaves))]
        results, check = evaluate(f, body, leaves)
        for place, number in zip(out_places[1:], results[:outputs], strict=True):
            place.value.put(0, number)
        out_places[0].value.put(0, check)
        for number in results[:outputs]:
            check = check + number * 0.0
        failed.value = failed.value + check
        is_lane = f.before(left)
        for total, number in zip(totals, results[outputs:], strict=True):
            total.value = total.value + f.choose(is_lane, number, 0.0)
        with f.when(left < LANES), f.loop(0, left) as k:
            for row, buffer in enumerate(out_buffers):
                out[out_stride * row + (lane + k)] = buffer[k]
    for place, total in zip(places, totals, strict=True):
        g[place] = g[place] + f.sum(total.value)
    c[0] = f.choose_whole(f.sum(failed.value) == 0.0, 1, 0)


# Kernels: sums of products


def _write_dot(f: Function, v: Pointer, u: Pointer, g: Pointer, c: Pointer) -> None:
    # sums: (row, start in u, how many products of u and v, of v and v, the products…)…
    stride, at = find_stride(f), f.variable(1)
    with f.loop(0, c[0]):
        k = at.value
        row, start, mixed, lanes = (c[k + i] for i in range(4))
        first = k + 4
        second = first + mixed * 2
        with f.either(f.lanes > 1) as (many, one):
            with many, f.loop(0, stride, LANES) as lane:
                total = f.variable(f.splat(u[start]))
                with f.loop(first, second, 2) as i:
                    w = f.splat(u[c[i]])
                    total.value = f.add_product(w, v.vector(c[i + 1] * stride + lane), total.value)
                with f.loop(second, second + lanes * 2, 2) as i:
                    a, b = (v.vector(c[i + j] * stride + lane) for j in range(2))
                    total.value = f.add_product(a, b, total.value)
                v.put(row * stride + lane, total.value)
            with one:
                single = f.variable(u[start])
                with f.loop(first, second, 2) as i:
                    single.value = f.add_product(u[c[i]], v[c[i + 1]], single.value)
                with f.loop(second, second + lanes * 2, 2) as i:
                    single.value = f.add_product(v[c[i]], v[c[i + 1]], single.value)
                v[row] = single.value
        at.value = second + lanes * 2


def _each_tile(f: Function, stop: Number, sizes: Sequence[int], start: Any = 0) -> Iterator[tuple[int, Number]]:
    # Loops over a range in steps of the largest size, then over what is left in smaller ones.
    first = f.whole(start) if isinstance(start, int) else start
    for size in sizes:
        last = first + (stop - first) // size * size
        with f.loop(first, last, size) as index:
            yield size, index
        first = last


def _write_layer(f: Function, v: Pointer, u: Pointer, g: Pointer, c: Pointer) -> None:
    # The same sums of products of the inputs of several places: how many sums, inputs, places; the weight of sum j and
    # input i is u[w0 + j wj + i wi]; the first row, of all places' sums; a start in u for each sum; each place's inputs.
    sums, inputs, places, w0, wj, wi, first = (c[i] for i in range(7))
    stride = find_stride(f)
    starts = c + 7
    with f.either(f.lanes > 1) as (many, one):
        with many, f.loop(0, places) as p:
            rows = starts + (sums + p * inputs)
            out = first + p * sums
            for height, j in _each_tile(f, sums, (8, 4, 1)):
                for width, chunk in _each_tile(f, stride // LANES, (2, 1)):
                    lane = chunk * LANES
                    totals = [[f.variable(f.splat(u[starts[j + r]])) for _ in range(width)] for r in range(height)]
                    weights = [u + (w0 + (j + r) * wj) for r in range(height)]
                    with f.loop(0, inputs) as i:
                        row = v + (rows[i] * stride + lane)
                        x = [row.vector(LANES * w) for w in range(width)]
                        for r in range(height):
                            weight = f.splat(weights[r][i * wi])
                            for w in range(width):
                                totals[r][w].value = f.add_product(weight, x[w], totals[r][w].value)
                    for r in range(height):
                        for w in range(width):
                            v.put((out + (j + r)) * stride + (lane + LANES * w), totals[r][w].value)
        with one:
            begins, ends = f.buffer(), f.buffer()
            with f.loop(0, sums, LANES) as j:
                count = f.least(sums - j, LANES)
                with f.loop(0, count) as k:
                    begins[k] = u[starts[j + k]]
                for size, p in _each_tile(f, places, (4, 1)):
                    totals_ = [f.variable(begins.vector()) for _ in range(size)]
                    rows_ = [starts + (sums + (p + q) * inputs) for q in range(size)]
                    with f.loop(0, inputs) as i:
                        at = u + (w0 + j * wj + i * wi)
                        with f.either(wj == 1) as (near, far):
                            with near:
                                ends.put(0, at.vector())
                            with far:
                                for k in range(LANES):
                                    ends[k] = at[wj * f.least(f.whole(k), count - 1)]
                        weights_ = ends.vector()
                        for q in range(size):
                            number = f.splat(v[rows_[q][i]])
                            totals_[q].value = f.add_product(weights_, number, totals_[q].value)
                    for q in range(size):
                        ends.put(0, totals_[q].value)
                        with f.loop(0, count) as k:
                            v[first + ((p + q) * sums + j + k)] = ends[k]


def _write_outer(f: Function, v: Pointer, u: Pointer, g: Pointer, c: Pointer) -> None:
    # Sums over lanes, and over places, of products: g[g0 + i gi + j gj] += row i × row j. How many i, j, places; g0, gi,
    # gj; whether the rows j follow each other, as their sums do; each place's rows i; each place's rows j.
    high, wide, places, g0, gi, gj, follow = (c[i] for i in range(7))
    stride, rows = find_stride(f), c + 7
    columns = rows + places * high
    with f.either(f.lanes > 1) as (many, one):
        with many:
            for height, i in _each_tile(f, high, (4, 1)):
                for width, j in _each_tile(f, wide, (4, 1)):
                    totals = [[f.variable(f.reals(0.0)) for _ in range(width)] for _ in range(height)]
                    with f.loop(0, places) as p:
                        a = [v + rows[p * high + i + r] * stride for r in range(height)]
                        b = [v + columns[p * wide + j + w] * stride for w in range(width)]
                        with f.loop(0, stride, LANES) as lane:
                            is_lane = f.before(f.lanes - lane)
                            left = [f.choose(is_lane, x.vector(lane), 0.0) for x in a]
                            right = [x.vector(lane) for x in b]
                            for r in range(height):
                                for w in range(width):
                                    totals[r][w].value = f.add_product(left[r], right[w], totals[r][w].value)
                    for r in range(height):
                        for w in range(width):
                            place = g0 + (i + r) * gi + (j + w) * gj
                            g[place] = g[place] + f.sum(totals[r][w].value)
        with one, f.loop(0, places) as p, f.loop(0, high) as i:
            x, line = v[rows[p * high + i]], g + (g0 + i * gi)
            mine = columns + p * wide
            whole = f.choose_whole(follow == 1, wide // LANES * LANES, 0)
            with f.loop(0, whole, LANES) as j:
                line.put(j, f.add_product(f.splat(x), v.vector(mine[0] + j), line.vector(j)))
            with f.loop(whole, wide) as j:
                line[j * gj] = f.add_product(x, v[mine[j]], line[j * gj])


def _write_total(f: Function, v: Pointer, u: Pointer, g: Pointer, c: Pointer) -> None:
    # Sums over lanes of rows, each times a number: (place in g, row, factor in u)…
    stride = find_stride(f)
    with f.loop(0, c[0]) as i:
        one = c + (1 + i * 3)
        row, total = v + one[1] * stride, f.variable(0.0)
        with f.either(f.lanes > 1) as (many, single):
            with many:
                vector = f.variable(f.reals(0.0))
                with f.loop(0, stride, LANES) as lane:
                    vector.value = vector.value + f.choose(f.before(f.lanes - lane), row.vector(lane), 0.0)
                total.value = f.sum(vector.value)
            with single:
                total.value = row[0]
        g[one[0]] = f.add_product(total.value, u[one[2]], g[one[0]])


def _write_times(f: Function, v: Pointer, u: Pointer, g: Pointer, c: Pointer) -> None:
    # What is the same in all lanes, as often as there are lanes: (place in g, number in u)…
    with f.loop(0, c[0]) as i:
        one = c + (1 + i * 2)
        g[one[0]] = f.add_product(f.lanes.as_real(), u[one[1]], g[one[0]])


DOT, LAYER = Kernel("dot", _write_dot), Kernel("layer", _write_layer)
OUTER, TOTAL, TIMES = Kernel("outer", _write_outer), Kernel("total", _write_total), Kernel("times", _write_times)
