"""The second stage: from the nodes of a trace to what is left to compute, and from that to instructions.

1. Constants are folded, sums with 0 and products with 1 dropped, and what is computed twice is computed once.
2. What no output needs is dropped; what depends on no input is set apart, to be computed once for all lanes.
3. Chains of sums and products that nothing else uses become one sum of products.
4. Operations that wait for the same others are taken together: a rule's become one instruction for many rows, and sums
   of products that share their inputs a layer.
"""

from __future__ import annotations

import ast
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from .. import rules
from ..engine import Value, lift, operation
from ..operations import conditional
from ..rules import VALUES, Rule
from .kernel import UnsupportedError, elementwise
from .tracing import Trace

__all__ = ["Instruction", "Listing", "lower"]

_SUMS = (rules.add, rules.total)
_Term = tuple[int, int]  # the product of two numbers, by their ids; that of one is a product with the constant 1


@dataclass
class Instruction:
    """One line of a program.

    Attributes:
        key: a rule, or the name of one of the fixed instructions.
        operands: its numbers, as :mod:`micrograd.compiler.kernel` describes them.
        count: how many operations of the graph it does.
        work: how many additions and multiplications a lane takes.
        note: what it is made of.
    """

    key: str | Rule
    operands: list[int]
    count: int
    work: int
    note: str = ""


@dataclass
class Listing:
    """A program, before it is compiled.

    Attributes:
        uniform: what is computed once; its rows are those of ``u``.
        lanes: what is computed for each sample.
        constants: ``u`` before the first run: row 0 is the check, then the captured, then constants.
        captured: how many Values were captured: their rows in ``u`` are 1 and on.
        inputs: how many numbers an argument has: their rows in ``v`` are 1 and on.
        rows: how many rows ``v`` has.
        outputs: the row of each output in ``v``.
        gradients: the row of each gradient, if they are asked for lane by lane.
        sums: how many sums over lanes there are in ``g``.
        traced: how many operations were traced.
        checks: for the nodes of the trace that have a row: node, whether in ``v``, row.
    """

    uniform: list[Instruction] = field(default_factory=list)
    lanes: list[Instruction] = field(default_factory=list)
    constants: list[float] = field(default_factory=list)
    captured: int = 0
    inputs: int = 0
    rows: int = 0
    outputs: list[int] = field(default_factory=list)
    gradients: list[int] = field(default_factory=list)
    sums: int = 0
    traced: int = 0
    checks: list[tuple[Value, bool, int]] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [
            f"{self.traced} operations were traced, of {self.captured} captured Values and {self.inputs} inputs; "
            f"they became {len(self.uniform + self.lanes)} instructions"
        ]
        for title, part in (("once", self.uniform), ("for each sample", self.lanes)):
            if part:
                lines.append(f"{title}:")
            for one in part:
                name = one.key if isinstance(one.key, str) else f"{one.key.name}: {one.key.value}"
                lines.append(f"  {one.count:7} × {name}" + f"  ({one.note})" * bool(one.note))
        return "\n".join(lines)


def lower(trace: Trace, sums: bool) -> Listing:
    """The instructions that compute a trace's outputs and gradients.

    Args:
        trace: what the function made.
        sums: whether the gradients are summed over lanes; otherwise each lane has its own.

    Raises:
        UnsupportedError: if a rule can't be compiled.
    """
    graph = _Graph(trace)
    for node in trace.nodes:
        graph.add(node)
    return _Scheduler(graph, trace, sums).listing()


class _Graph:
    # Operations by number, each after its operands: what it is, and of what.

    def __init__(self, trace: Trace) -> None:
        self.ops: list[Any] = []  # a rule; or "constant", "captured", "input"
        self.args: list[tuple[int, ...]] = []
        self.numbers: list[float] = []  # what it is worth in the sample
        self.nodes: list[Value | None] = []
        self.is_uniform: list[bool] = []
        self.ids: dict[Value, int] = {}
        self.known: dict[Any, int] = {}
        self.one, self.zero = self.constant(1.0), self.constant(0.0)
        for what, leaves in (("captured", trace.captured), ("input", trace.inputs)):
            for i, leaf in enumerate(leaves):
                self.ids[leaf] = self.new(what, (i,), leaf._data, leaf)

    def new(self, op: Any, args: tuple[int, ...], number: float, node: Value | None) -> int:
        self.ops.append(op)
        self.args.append(args)
        self.numbers.append(number)
        self.nodes.append(node)
        is_uniform = op != "input"
        if node is not None and not isinstance(op, str):
            for x in args:
                if not self.is_uniform[x]:
                    is_uniform = False
                    break
        self.is_uniform.append(is_uniform)
        return len(self.ops) - 1

    def constant(self, number: float) -> int:
        key = ("constant", number, math.copysign(1.0, number)) if number == number else "nan"
        if key not in self.known:
            self.known[key] = self.new("constant", (), number, None)
        return self.known[key]

    def id(self, node: Value) -> int:
        found = self.ids.get(node)
        if found is None:  # a constant: all else was captured or made before
            found = self.ids[node] = self.constant(node._data)
        return found

    def add(self, node: Value) -> None:
        rule, ids = node.rule, self.ids
        args: tuple[int, ...]
        if rule.number:
            parent = ids.get(node._parents[0])
            x, number = self.id(node._parents[0]) if parent is None else parent, self.constant(node._number)
            args = (number, x) if rule.names[0] == rule.number else (x, number)
            rule = cast(Rule, rule.whole)
        else:
            args = tuple([ids[parent] if parent in ids else self.id(parent) for parent in node._parents])
        ids[node] = self.simplified(rule, args, node)

    def simplified(self, rule: Rule, args: tuple[int, ...], node: Value) -> int:
        ops, numbers = self.ops, self.numbers
        constants = [x for x in args if ops[x] == "constant"]
        if constants:
            if len(constants) == len(args):
                return self.constant(node._data)
            if rule is rules.multiply or rule is rules.add:
                (x,), other = constants, args[0] if args[1] == constants[0] else args[1]
                if numbers[x] == (rule is rules.multiply):  # 1 or 0, which changes nothing
                    return other
                if numbers[x] == 0:
                    return self.zero
        if rule.variadic and rule is not rules.total and rule is not rules.dot:
            if rule.whole is not rules.weigh:
                return self.expanded(rule, node)
            args += tuple([self.constant(float(x)) for x in rule.constants["x"]])
            rule = rules.dot
        key = rule if rule.whole is None else (rule.whole, *rule.constants.items()), args
        found = self.known.get(key)
        if found is None:
            found = self.known[key] = self.new(rule, args, node._data, node)
        return found

    def expanded(self, rule: Rule, node: Value) -> int:
        # A rule of any number of operands, by running its text on Values: it becomes what it is made of.
        from .tracing import _noting

        text = conditional(ast.unparse(ast.parse(rule.value, mode="eval")))
        scope = {**VALUES, **_OF_VALUES, **rule.constants, rule.names[0]: list(node._parents)}
        with _noting() as made:
            try:
                # The lambdas in it see the scope only if it is global.
                out = lift(eval(text, scope))
            except Exception as error:
                raise UnsupportedError(
                    f"the rule {rule.name!r} can't be compiled: {type(error).__name__}: {error}"
                ) from error
        for part in made:
            self.add(part)
        return self.id(out)


def _elementary(name: str, value: str) -> Callable[..., Value]:
    # A function of math that has no line in the table, for texts that are expanded; nobody differentiates it.
    made = operation(Rule(name, "a", value, ("nan",), {}))
    return lambda x: made(lift(x))


def _folded(rule: Rule) -> Callable[..., Value]:
    def fold(*xs: Any) -> Value:
        first, *rest = xs[0] if len(xs) == 1 else xs
        out = lift(first)
        for x in rest:
            out = operation(rule)(out, lift(x))
        return out

    return fold


def _sum(xs: Iterable[Any], start: Any = 0.0) -> Value:
    return operation(rules.total)(*[lift(x) for x in (start, *xs)])


_OF_VALUES: dict[str, Any] = {
    **{
        name: _elementary(name, f"{name}(a)")
        for name in ("acos", "acosh", "asin", "asinh", "atan", "atanh", "cbrt", "cosh", "erf", "erfc", "exp2", "expm1",
                     "gamma", "lgamma", "log10", "log1p", "log2", "sinh", "tan")
    },
    "isinf": _elementary("isinf", "1.0 if isinf(a) else 0.0"),
    "isnan": _elementary("isnan", "1.0 if isnan(a) else 0.0"),
    "max": _folded(rules.maximum),
    "min": _folded(rules.minimum),
    "prod": _folded(rules.multiply),
    "fsum": _sum,
    "sum": _sum,
    "mul": lambda a, b: lift(a) * b,
}  # fmt: skip


class _Scheduler:
    def __init__(self, graph: _Graph, trace: Trace, sums: bool) -> None:
        self.graph, self.trace, self.sums = graph, trace, sums
        self.outputs = [graph.id(out) for out in trace.outputs]
        self.gradients = [graph.id(slope) for slope in trace.gradients]
        self.terms: dict[int, list[_Term]] = {}
        self.uses = self.counted([*self.outputs, *self.gradients])
        self.is_part = bytearray(len(graph.ops))  # of a sum of products, and has no row
        self.minus = graph.constant(-1.0)
        self.starts: dict[int, int] = {}  # of a sum in lanes: what is the same in all of them

    def counted(self, roots: Sequence[int]) -> list[int]:
        # How often each operation is used by what the outputs need; 0 if it isn't.
        uses = [0] * len(self.graph.ops)
        for root in roots:
            uses[root] += 1
        ops, args = self.graph.ops, self.graph.args
        for i in range(len(uses) - 1, -1, -1):
            if uses[i] and not isinstance(ops[i], str):
                for x in args[i]:
                    uses[x] += 1
        return uses

    def listing(self) -> Listing:
        graph = self.graph
        self.fuse()
        for i in [i for i in list(self.terms) if not graph.is_uniform[i]]:
            self.split(i)
        self.uses += [1] * (len(graph.ops) - len(self.uses))
        self.is_part.extend(bytes(len(graph.ops) - len(self.is_part)))
        return _Assembler(self).listing()

    def fuse(self) -> None:
        graph, terms, uses = self.graph, self.terms, self.uses
        for i in range(len(uses)):
            op = graph.ops[i]
            if not uses[i] or isinstance(op, str):
                continue
            args = graph.args[i]
            if op is rules.multiply:
                terms[i] = [args]  # type: ignore[list-item]
            elif op is rules.dot:
                half = len(args) // 2
                terms[i] = list(zip(args[:half], args[half:], strict=True))
            elif op is rules.negate:
                terms[i] = [(args[0], self.minus)]
            elif op is rules.subtract:
                terms[i] = [*self.absorbed(args[0]), (args[1], self.minus)]
            elif op in _SUMS:
                parts = [self.absorbed(x) for x in args]
                longest = max(parts, key=len)
                if len(longest) > 8 and longest is not parts[0]:
                    parts.remove(longest)
                    parts.insert(0, longest)
                whole = parts[0]
                for part in parts[1:]:
                    whole += part
                terms[i] = whole

    def absorbed(self, x: int) -> list[_Term]:
        # The terms of x, if nothing else uses it; x then has no row of its own.
        if self.uses[x] == 1 and x in self.terms:
            self.is_part[x] = True
            return self.terms.pop(x)
        return [(x, self.graph.one)]

    def split(self, i: int) -> None:
        # Sets apart what is the same in all lanes.
        uniform = self.graph.is_uniform
        here = [term for term in self.terms[i] if uniform[term[0]] and uniform[term[1]]]
        if not here:
            return
        self.terms[i] = [term for term in self.terms[i] if not (uniform[term[0]] and uniform[term[1]])]
        self.starts[i] = self.uniform_sum(here)

    def uniform_sum(self, terms: list[_Term]) -> int:
        if len(terms) == 1 and self.graph.one in terms[0]:
            return terms[0][0] if terms[0][1] == self.graph.one else terms[0][1]
        number = math.fsum(self.graph.numbers[a] * self.graph.numbers[b] for a, b in terms)
        new = self.graph.new("start", (), number, None)
        self.graph.is_uniform[new] = True
        self.terms[new] = terms
        return new


class _Assembler:
    def __init__(self, scheduler: _Scheduler) -> None:
        self.s, self.graph = scheduler, scheduler.graph
        self.row: dict[int, int] = {}  # by operation: its row in u if it is uniform, else in v
        self.out = Listing(captured=len(scheduler.trace.captured), inputs=len(scheduler.trace.inputs))
        self.out.traced = len(scheduler.trace.nodes)
        self.filled: dict[int, int] = {}

    def listing(self) -> Listing:
        s, graph, out = self.s, self.graph, self.out
        out.constants, out.rows = [0.0], 1 + out.inputs
        for i, op in enumerate(graph.ops):
            if op == "captured":
                self.row[i] = 1 + graph.args[i][0]
                out.constants.append(graph.numbers[i])
            elif op == "input":
                self.row[i] = 1 + graph.args[i][0]
        for i, op in enumerate(graph.ops):
            if op == "constant":
                self.row[i] = len(out.constants)
                out.constants.append(graph.numbers[i])
        summed = self.summed() if s.sums else {}
        live = [i for i in range(len(graph.ops)) if i not in self.row and s.uses[i] and not s.is_part[i]]
        live = [i for i in live if i not in summed]  # what is only summed over lanes has no row
        for is_uniform in (True, False):
            self.assemble([i for i in live if graph.is_uniform[i] == is_uniform], is_uniform)
        out.outputs = [self.row_of(i) for i in s.outputs]
        if s.sums:
            self.sum_up(summed)
            out.sums = len(s.gradients)
        else:
            out.gradients = [self.row_of(i) for i in s.gradients]
        if self.filled:
            pairs = [x for u, row in self.filled.items() for x in (row, u)]
            out.lanes.insert(0, Instruction("fill", [len(self.filled), *pairs], len(self.filled), 0, "the same in all"))
        out.checks = [
            (node, not graph.is_uniform[i], self.row[i])
            for i, node in enumerate(graph.nodes)
            if node is not None and i in self.row
        ]
        return out

    # Rows and instructions

    def levels(self, live: list[int]) -> dict[int, list[int]]:
        # By how many operations each has to wait for.
        s, graph = self.s, self.graph
        level: dict[int, int] = {}
        waiting: dict[int, list[int]] = defaultdict(list)
        for i in live:
            terms = s.terms.get(i)
            args = [x for term in terms for x in term] if terms is not None else graph.args[i]
            here = 0
            for x in args:
                if x in level and level[x] >= here:
                    here = level[x] + 1
            level[i] = here
            waiting[here].append(i)
        return waiting

    def assemble(self, live: list[int], is_uniform: bool) -> None:
        program = self.out.uniform if is_uniform else self.out.lanes
        waiting = self.levels(live)
        for here in sorted(waiting):
            sums, others = [], defaultdict(list)
            for i in waiting[here]:
                if i in self.s.terms and not self.is_elementwise(i):
                    sums.append(i)
                else:
                    others[self.key(self.graph.ops[i])].append(i)
            for members in others.values():
                self.rule(members, is_uniform, program)
            for layer in self.layers(sums):
                self.sums(layer, is_uniform, program)

    def is_elementwise(self, i: int) -> bool:
        # Whether a sum of products is no more than the operation that it was.
        graph, op = self.graph, self.graph.ops[i]
        if op not in (rules.add, rules.subtract, rules.multiply, rules.negate):
            return False
        args = graph.args[i]
        return (
            len(self.s.terms[i]) == len(args)
            and i not in self.s.starts
            and (
                (op is rules.multiply and not any(graph.is_uniform[x] for x in args))
                or (
                    op in (rules.add, rules.subtract)
                    and not any(self.s.is_part[x] or graph.is_uniform[x] for x in args)
                )
            )
        )

    @staticmethod
    def key(rule: Rule) -> Any:
        return rule if rule.whole is None else (rule.whole, *rule.constants.items())

    def new_row(self, i: int, is_uniform: bool) -> int:
        if is_uniform:
            self.row[i] = len(self.out.constants)
            self.out.constants.append(0.0)
        else:
            self.row[i] = self.out.rows
            self.out.rows += 1
        return self.row[i]

    def rule(self, members: list[int], is_uniform: bool, program: list[Instruction]) -> None:
        rule, operands = self.graph.ops[members[0]], [len(members)]
        elementwise(rule)  # an error now, not when it runs
        for i in members:
            rows = [self.row[x] if is_uniform else self.row_of(x) for x in self.graph.args[i]]
            operands += [self.new_row(i, is_uniform), *rows]
        program.append(Instruction(rule, operands, len(members), len(members)))

    def row_of(self, x: int) -> int:
        # A row of v; for what is the same in all lanes, one that is filled with it.
        if not self.graph.is_uniform[x]:
            return self.row[x]
        u = self.row[x]
        if u not in self.filled:
            self.filled[u] = self.out.rows
            self.out.rows += 1
        return self.filled[u]

    def layers(self, sums: list[int]) -> list[list[int]]:
        # Sums that have the same inputs, and one weight for each, stand together.
        together: dict[Any, list[int]] = defaultdict(list)
        uniform = self.graph.is_uniform
        if len(sums) < 2:
            return [sums] * len(sums)
        for i in sums:
            terms = self.s.terms[i]
            inputs = tuple([b if uniform[a] else a for a, b in terms])
            mixed = len(terms) > 1 and all(uniform[a] != uniform[b] for a, b in terms)
            together[inputs if mixed else None].append(i)
        return list(together.values())

    def sums(self, members: list[int], is_uniform: bool, program: list[Instruction]) -> None:
        graph, s, row = self.graph, self.s, self.row
        uniform = graph.is_uniform
        work = sum(2 * len(s.terms[i]) for i in members)
        starts = [row[s.starts.get(i, graph.zero)] for i in members]
        terms = [[(a, b) if uniform[a] else (b, a) for a, b in s.terms[i]] for i in members]
        if not is_uniform and len(members) > 1 and len(terms[0]) > 1:
            weights = (
                [[row[a] for a, _ in line] for line in terms]
                if all(uniform[a] and not uniform[b] for line in terms for a, b in line)
                else []
            )
            affine = weights and _affine(weights)
            if affine and all([b for _, b in line] == [b for _, b in terms[0]] for line in terms):
                first = min([self.new_row(i, False) for i in members])
                inputs = [row[b] for _, b in terms[0]]
                size = f"{len(inputs)} → {len(members)}"
                operands = [len(members), len(inputs), *affine, first, *starts, *inputs]
                program.append(Instruction("layer", operands, work, work, size))
                return
        operands = [len(members)]
        for i, start, line in zip(members, starts, terms, strict=True):
            mixed: list[int] = []
            lanes: list[int] = []
            for a, b in line:
                (mixed if is_uniform or uniform[a] else lanes).extend((row[a], row[b]))
            operands += [self.new_row(i, is_uniform), start, len(mixed) // 2, len(lanes) // 2, *mixed, *lanes]
        note = f"{len(members)} of up to {max(map(len, terms))} products"
        program.append(Instruction("dot", operands, work, work, note))

    # Sums over lanes

    def summed(self) -> dict[int, list[_Term]]:
        # Of each gradient that differs between lanes: its terms, if it has no other use, else itself.
        s, graph = self.s, self.graph
        counts: dict[int, int] = defaultdict(int)
        for g in s.gradients:
            counts[g] += 1
        found: dict[int, list[_Term]] = {}
        for g, n in counts.items():
            if not graph.is_uniform[g] and s.uses[g] == n and g in s.terms:
                found[g] = s.terms[g]
        return found

    def sum_up(self, summed: dict[int, list[_Term]]) -> None:
        s, graph, row = self.s, self.graph, self.row
        uniform = graph.is_uniform
        products: dict[int, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
        totals: list[int] = []
        times: list[int] = []
        work = 0
        for place, g in enumerate(s.gradients):
            if uniform[g]:
                times += [place, row[g]]
                continue
            if g in s.starts and g in summed:
                times += [place, row[s.starts[g]]]
            for a, b in summed.get(g, [(g, graph.one)]):
                work += 2
                if uniform[a]:
                    totals += [place, row[b], row[a]]
                elif uniform[b]:
                    totals += [place, row[a], row[b]]
                else:
                    products[row[a]][row[b]].append(place)
        program = self.out.lanes
        for block in _blocks(products):
            places, size = next(iter(block.values())), len(block)
            columns = list(places)
            grid = [[line[column] for column in columns] for line in block.values()]
            affine = _affine(grid)
            note = f"{size} × {len(columns)}"
            if affine:
                g0, gi, gj = affine
                operands = [size, len(columns), g0, gi, gj, *block, *columns]
                program.append(Instruction("outer", operands, size * len(columns), 2 * size * len(columns), note))
            else:
                for a, line in block.items():
                    for b, place in line.items():
                        program.append(Instruction("outer", [1, 1, place, 0, 0, a, b], 1, 2, note))
        if totals:
            program.append(Instruction("total", [len(totals) // 3, *totals], len(totals) // 3, len(totals) // 3))
        if times:
            program.append(Instruction("times", [len(times) // 2, *times], len(times) // 2, 0))


def _blocks(products: dict[int, dict[int, list[int]]]) -> list[dict[int, dict[int, int]]]:
    # Rows that are multiplied with the same others are a block: a matrix of places, by row and column.
    found: dict[Any, list[dict[int, dict[int, int]]]] = defaultdict(list)
    for a, line in products.items():
        for k in range(max(map(len, line.values()))):
            here = {b: places[k] for b, places in line.items() if len(places) > k}
            blocks = found[tuple(here)]
            if not blocks or a in blocks[-1]:
                blocks.append({})
            blocks[-1][a] = here
    return [block for blocks in found.values() for block in blocks]


def _affine(grid: list[list[int]]) -> tuple[int, int, int] | None:
    # (first, step down, step to the right), if the numbers are in steps.
    first = grid[0][0]
    down = grid[1][0] - first if len(grid) > 1 else 0
    right = grid[0][1] - first if len(grid[0]) > 1 else 0
    for j, line in enumerate(grid):
        start = first + j * down
        if line != (list(range(start, start + len(line) * right, right)) if right else [start] * len(line)):
            return None
    return first, down, right
