"""The third stage: group the operations into instructions, and choose the row in memory of each number.

A small program becomes one *fused* kernel: an expression of its inputs, without rows in memory. In a larger program:

- Sums of products of the same inputs form a *layer*. Layers with the same weights are one instruction.
- An operation with a single use is part of the expression that uses it. Expressions of the same shape are one
  instruction: a *kernel* that runs on many rows.
- Long sums of products that share nothing are *dot* instructions.
- Gradients that are summed over samples are *outer* products, summed over the lanes and over the uses of a layer.

What is the same in all lanes is computed once per run, in rows of one number.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from . import emit, products
from .code import LANES
from .graph import ADD, DOT, MULTIPLY, SUBTRACT, SUMS, Body, Graph
from .grouping import Layer, Offsets, Term, Tile, find_layers, find_offsets, find_rows, find_tiles, split_terms
from .machine import Floats, Kernel, Whole

if TYPE_CHECKING:
    from ..drawing import Drawing

__all__ = ["Instruction", "Plan", "make_plan"]

_FUSED = 160  # the largest number of operations of a program that is one kernel
_FUSED_SUMS = 16  # the largest number of its sums over lanes
_STEPS, _LEAVES = 24, 16  # the largest numbers of operations and of leaves of an expression
_SHORT = 8  # the largest number of products of a sum that is part of an expression
_CHAIN = 6  # the smallest number of terms of a sum written with + that becomes one operation


@dataclass(eq=False, repr=False)
class Instruction:
    """One line of a program.

    Attributes:
        kernel: the kernel that it runs.
        expression: the kernel that it calls for each vector, or None. Its address is put before the operands.
        operands: its numbers, as :mod:`micrograd.compiler.emit` describes them.
        name: its name, for people.
        note: what it computes, for people.
        count: the number of the graph's operations that it computes.
        work: the number of additions and multiplications per lane.
        reads: the rows that it reads, each once.
        writes: the rows that it writes. Sums over lanes are not rows.
    """

    kernel: Kernel
    expression: Kernel | None
    operands: Whole
    name: str
    note: str
    count: int
    work: int
    reads: npt.NDArray[np.int32]
    writes: range


@dataclass(eq=False, repr=False)
class Plan:
    """A program, before it is compiled.

    Attributes:
        uniform: the instructions that run once; their rows are numbers of ``u``.
        lanes: the instructions that run for each sample. A fused program has one.
        is_fused: whether the program is fused.
        constants: ``u`` before the first run: the check at index 0, then the captured numbers, then constants.
        captured: the number of captured Values. Their indexes in ``u`` begin at 1.
        inputs: the number of inputs. Their rows in ``v`` begin at 1.
        rows: the number of rows of ``v``.
        outputs: the row of each output in ``v``. The last ones are unused results that may raise an error.
        gradients: the row of each gradient, if each lane has its own.
        sums: the number of sums over lanes in ``g``.
        traced: the number of operations that were traced.
        places: the operations that have a row: the operation, whether the row is in ``v``, and the row. It is emptied
            when the program has been checked.
    """

    captured: int
    inputs: int
    traced: int
    uniform: list[Instruction] = field(default_factory=list)
    lanes: list[Instruction] = field(default_factory=list)
    is_fused: bool = False
    constants: Floats = field(default_factory=lambda: np.empty(0))
    rows: int = 0
    outputs: list[int] = field(default_factory=list)
    gradients: list[int] = field(default_factory=list)
    sums: int = 0
    places: Whole = field(default_factory=lambda: np.empty((0, 3), np.int64))

    def __str__(self) -> str:
        lines = [
            f"{self.traced} operations were traced, of {self.captured} captured Values and {self.inputs} inputs; "
            f"they became {len(self.uniform + self.lanes)} instructions"
        ]
        for title, part in (("once", self.uniform), ("for each sample", self.lanes)):
            if part:
                lines.append(f"{title}:")
            for one in part:
                lines.append(f"  {one.count:7} × {one.name}" + f"  ({one.note})" * bool(one.note))
        return "\n".join(lines)

    def draw(self) -> Drawing:
        """Draws the instructions that run for each sample. An arrow leads to an instruction that reads the rows.

        >>> from micrograd.compiler import compile
        >>> double = compile(lambda x: x * 2 + 1)
        >>> double.values([1.0])
        array([3.])
        >>> print(double.program.draw().source)
        digraph {
        ...
            inputs -> i0
        ...
        """
        import graphviz  # type: ignore[import-untyped]

        from ..drawing import Drawing

        graph = graphviz.Digraph(graph_attr={"rankdir": "LR"}, node_attr={"shape": "box", "fontname": "Helvetica"})
        made = dict.fromkeys(range(1, 1 + self.inputs), "inputs")
        graph.node("inputs", f"{self.inputs} inputs", shape="plain")
        for i, one in enumerate(self.lanes):
            label = f"{one.count} × {one.name}" + f"\n{one.note}" * bool(one.note)
            graph.node(f"i{i}", graphviz.escape(label).replace("\n", "\\n"))
            for source in dict.fromkeys(made[row] for row in one.reads.tolist() if row in made):
                graph.edge(source, f"i{i}")
            made.update(dict.fromkeys(one.writes, f"i{i}"))
        return Drawing(graph.source)


def make_plan(graph: Graph, sums: bool | None) -> Plan:
    """Plans the program that computes a graph's outputs and gradients.

    Args:
        graph: the graph.
        sums: True if gradients are summed over lanes, False if each lane has its own. None if there is a single lane:
            then a large program sums them, which makes it shorter.
    """
    graph.outputs += _find_unused(graph)
    if sums is False or len(graph.outputs) + graph.derivatives <= _FUSED:
        graph.make_gradients()
    planner = _Planner(graph)
    small = planner.find_small(bool(sums))
    if small is not None:
        planner.fuse(small, bool(sums))
    else:
        planner.schedule(sums is not False)
    planner.plan.constants = np.array(planner.constants)
    return planner.plan


def _find_unused(graph: Graph) -> list[int]:
    # Returns the unused results of the function that may raise an error. They become outputs, so that it is noticed.
    risky = [i for i in range(graph.leaves.stop, graph.forward) if emit.may_fail(graph.ops[i].text)]
    if not risky:
        return []
    uses = graph.count_uses([*graph.outputs, *graph.find_factors()])
    return [i for i in risky if not uses[i]]


_Lines = tuple[tuple[tuple[int, ...], int], ...]  # the sums of a layer: the rows of the weights, and where it starts


class _Kind:
    # Units of one kind may be one instruction. They share an expression, or the lines of a layer, or are "dot".

    __slots__ = ("left", "ready", "what")

    def __init__(self, what: Body | _Lines | str) -> None:
        self.what = what
        self.left = 0  # the number of units that are not in an instruction yet
        self.ready: list[_Unit] = []  # those of them whose operands are computed


class _Unit:
    # All operations of one kind whose operands are computed by the same other units.

    __slots__ = ("height", "kind", "members", "needs", "users", "waits_for")

    def __init__(self, kind: _Kind) -> None:
        self.kind = kind
        self.members: list[int] = []
        self.needs: list[Sequence[int]] = []  # the operands of each member, or the inputs of each layer
        self.users: list[_Unit] = []
        self.waits_for = 0  # the number of units that are to be computed before it
        self.height = 0  # the length of the longest path from it through its users


# An expression: the number of its shape, of its steps and of its different operands, and its leaves. Expressions of one
# shape differ in their leaves only.
_Tree = tuple[int, int, int, list[int]]


class _Planner:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.plan = Plan(graph.captured, graph.inputs, graph.traced)
        # By operation: its index in u if it is the same in all lanes, otherwise its row in v. The leaves come first.
        rows = [*range(1, 1 + graph.captured), *range(1, 1 + graph.inputs)]
        self.row: dict[int, int] = dict(zip(graph.leaves, rows, strict=True))
        self.constants = [0.0, *[graph.numbers[i] for i in graph.leaves[: graph.captured]]]
        self.plan.rows = 1 + graph.inputs
        self.add_constants([graph.zero, graph.one])
        self.filled: dict[int, int] = {}  # by index of u: the row of v that is filled with that number

    def add_constants(self, operations: Iterable[int]) -> None:
        for i in operations:
            if i in self.graph.constants and i not in self.row:
                self.row[i] = len(self.constants)
                self.constants.append(self.graph.numbers[i])

    # One kernel

    def find_small(self, sums: bool) -> list[int] | None:
        # Returns all operations that are needed, in order; None if they are too many for one kernel.
        graph = self.graph
        if len(graph.gradients) < graph.derivatives:
            return None
        waiting, found, work = [*graph.outputs, *graph.gradients], set[int](), 0
        summed = sum([g not in graph.constants for g in graph.gradients]) if sums else 0
        if len(waiting) > _FUSED or summed > _FUSED_SUMS:
            return None
        while waiting:
            i = waiting.pop()
            if i not in found:
                found.add(i)
                if i not in self.row and i not in graph.constants:
                    work += max(1, len(graph.args[i]) // 2)
                    waiting += graph.args[i]
                    if work > _FUSED:
                        return None
        return sorted(found)

    def fuse(self, live: list[int], sums: bool) -> None:
        graph, plan = self.graph, self.plan
        self.add_constants(live)
        leaves = [i for i in live if i in self.row and i not in graph.units]
        summed = [(p, g) for p, g in enumerate(graph.gradients) if not graph.is_number(g, 0)] if sums else []
        outputs = graph.outputs if sums else [*graph.outputs, *graph.gradients]
        inner = [i for i in live if i not in self.row]
        body = self.make_body(inner, leaves, [*outputs, *[g for _, g in summed]], False)
        rows = [self.row[i] - (i in graph.varying) for i in leaves]
        operands = [0] * 5 + [len(leaves), len(outputs), len(summed)]  # the first are set when the program runs
        for kind, row in zip(body.leaves, rows, strict=True):
            operands += (int(kind == "U"), row)
        operands += [p for p, _ in summed]
        plan.is_fused, plan.rows, plan.sums = True, 1, graph.derivatives if sums else 0
        plan.outputs = list(range(1, 1 + len(graph.outputs)))
        plan.gradients = list(range(1 + len(graph.outputs), 1 + len(outputs)))
        reads = [1 + row for row, kind in zip(rows, body.leaves, strict=True) if kind == "L"]
        work = sum([max(1, len(args)) for _, args in body.steps])
        note, kernel = _describe(body)[1], emit.express(body, len(summed))
        plan.lanes.append(_instruction(emit.FUSED, operands, "fused", note, len(inner), work, reads, range(0), kernel))

    # Many kernels

    def schedule(self, sums: bool) -> None:
        graph, plan = self.graph, self.plan
        plan.sums = graph.derivatives if sums else 0
        # By sum of products:
        self.terms: dict[int, list[Term]] = {}  # if it is long: its products that differ between lanes
        self.starts: dict[int, int] = {}  # the sum of its other products, computed once
        self.rests: dict[int, list[Term]] = {}  # these other products, before they are summed
        self.lines: dict[tuple[int, ...], tuple[int, ...]] = {}  # by weights, their rows
        self.offsets: dict[_Lines, Offsets] = {}  # by layer, the rows of its weights
        self.find_products(sums)
        self.uses = graph.count_uses(self.roots)
        self.live = [i for i, count in enumerate(self.uses) if count]
        self.absorb_chains()
        layers = find_layers(graph, self.live, self.rests)
        self.split(layers)
        self.add_constants(self.live)
        todo = [i for i in self.live if i not in self.row]
        self.assemble([i for i in todo if i not in graph.varying], [], True)
        self.assemble([i for i in todo if i in graph.varying], layers, False)
        plan.outputs = [self.row_of(i) for i in graph.outputs]
        if sums:
            self.sum_up()
        else:
            plan.gradients = [self.row_of(i) for i in graph.gradients]
        if self.filled:  # these are the last rows
            operands = [1, 1, len(self.filled), 0, *[x for u, row in self.filled.items() for x in (row, u)]]
            kernel = emit.express(Body("U", (), (), (0,)))
            rows = range(plan.rows - len(self.filled), plan.rows)
            one = _instruction(emit.ROWS, operands, "fill", "the same in all", len(rows), 0, [], rows, kernel)
            plan.lanes.append(one)
        made, rows_ = np.array(list(self.row)), np.array(list(self.row.values()))
        is_made = made >= graph.leaves.stop
        is_made[np.isin(made, list(graph.constants))] = False
        plan.places = np.stack([made, self.find_varying()[made], rows_], axis=1)[is_made]

    def find_products(self, sums: bool) -> None:
        # Finds the roots, which have to be computed: the outputs and the gradients. If a gradient is summed over lanes,
        # the factors of its products are roots instead. A gradient that is a single operation, such as a bias's, is
        # split into products too, unless the operation is a factor of another gradient.
        graph = self.graph
        if not sums:
            self.roots = [*graph.outputs, *graph.gradients]
            return
        places, a, b = graph.slopes
        is_bare = (np.bincount(places, minlength=graph.derivatives)[places] == 1) & (
            (a == graph.one) | (b == graph.one)
        )
        bare = np.where(a == graph.one, b, a)[is_bare].tolist()
        terms = [graph.terms(x) if x in graph.varying else [(x, graph.one)] for x in bare]
        in_rows = [*[row.factor for row in graph.rows], *chain.from_iterable({row.others for row in graph.rows})]
        is_factor = np.zeros(len(graph.ops), bool)
        is_factor[graph.slopes[1:, ~is_bare]] = is_factor[in_rows] = True
        is_factor[list(chain.from_iterable(chain.from_iterable(terms)))] = True
        split = [
            (place, *term)
            for place, x, its in zip(places[is_bare].tolist(), bare, terms, strict=True)
            for term in ([(x, graph.one)] if is_factor[x] else its)
        ]
        self.products = np.concatenate([graph.slopes[:, ~is_bare], np.array(split, np.int64).reshape(-1, 3).T], axis=1)
        # Products that are the same in all lanes are summed once.
        is_uniform = ~self.find_varying()[self.products[1:]].any(axis=0)
        together: dict[int, list[Term]] = defaultdict(list)
        for place, x, y in self.products[:, is_uniform].T.tolist():
            together[place].append((x, y))
        self.products = self.products[:, ~is_uniform]
        self.shares = {place: self.sum_uniform(terms) for place, terms in together.items()}
        self.roots = [*graph.outputs, *self.shares.values(), *in_rows, *self.products[1:].ravel().tolist()]

    def find_varying(self) -> npt.NDArray[np.bool_]:
        # Returns for each operation whether it differs between lanes.
        varies = np.zeros(len(self.graph.ops), dtype=bool)
        varies[list(self.graph.varying)] = True
        return varies

    def absorb_chains(self) -> None:
        # Turns a + b·c + d + …, added from left to right, into one sum of products. A number that is the same in all
        # lanes and is added to a long sum of products becomes one of them. The sum begins with 0.0: a chain whose terms
        # are all -0.0 loses the sign.
        graph, uses, varying = self.graph, self.uses, self.graph.varying
        chains: dict[int, tuple[list[Term], list[int]]] = {}  # its products, and what they replace
        for i in self.live:
            op = graph.ops[i]
            if op is not ADD and op is not SUBTRACT:
                continue
            left, right = graph.args[i]
            if self.is_long_sum(left) and right not in varying:
                self.start(i, left, (right, graph.one if op is ADD else graph.minus))
            elif self.is_long_sum(right) and left not in varying and op is ADD:
                self.start(i, right, (left, graph.one))
            else:
                is_part = uses[left] == 1 and left in chains
                terms, inner = chains.pop(left) if is_part else self.find_product(left)
                if op is ADD:
                    more, inner_more = self.find_product(right)
                else:
                    more, inner_more = [(right, graph.minus)], []
                chains[i] = terms + more, inner + inner_more + [left] * is_part
        for i, (terms, inner) in chains.items():
            if len(terms) >= _CHAIN:
                self.absorb(i, terms, inner)
        self.live = [i for i in self.live if uses[i]]

    def is_long_sum(self, i: int) -> bool:
        return self.graph.ops[i] is DOT and self.uses[i] == 1 and i in self.graph.varying and self.is_long(i)

    def find_product(self, x: int) -> tuple[list[Term], list[int]]:
        # Returns an operation as one product, and the operations that it replaces.
        if self.uses[x] == 1 and self.graph.ops[x] is MULTIPLY:
            return self.graph.terms(x), [x]
        return [(x, self.graph.one)], []

    def start(self, i: int, long: int, term: Term) -> None:
        # Makes an operation, which adds a term to a long sum, this sum itself.
        self.graph.ops[i], self.graph.args[i] = DOT, self.graph.args[long]
        self.rests[i] = [*self.rests.pop(long, []), term]
        self.uses[long] = 0

    def absorb(self, i: int, terms: list[Term], inner: list[int]) -> None:
        # Makes an operation a sum of products, which replaces its operands.
        self.graph.ops[i], self.graph.args[i] = DOT, _join(terms)
        for x in inner:
            self.uses[x] = 0

    def split(self, layers: list[Layer]) -> None:
        # Separates the products that are the same in all lanes from the long sums and the layers.
        graph, varying, rests = self.graph, self.graph.varying, self.rests
        self.long = {i for i in self.live if graph.ops[i] in SUMS and self.is_long(i)}
        in_layer = set(chain.from_iterable([layer.members for layer in layers]))
        for layer in layers:
            for i in layer.members:
                self.starts[i] = self.sum_uniform(rests[i]) if i in rests else graph.zero
        for i in sorted(self.long & varying - in_layer):
            self.terms[i], rest = split_terms(graph, i)
            rest = rest + rests.get(i, [])
            self.starts[i] = self.sum_uniform(rest) if rest else graph.zero
        new = range(len(self.uses), len(graph.ops))
        self.uses += [1] * len(new)
        self.live += new
        self.long.update(filter(self.is_long, new))

    def sum_uniform(self, terms: list[Term]) -> int:
        graph = self.graph
        if len(terms) == 1 and graph.one in terms[0]:
            return terms[0][0] if terms[0][1] == graph.one else terms[0][1]
        number = sum([graph.numbers[a] * graph.numbers[b] for a, b in terms])
        args = _join(terms)
        return graph.constant(number) if graph.constants.issuperset(args) else graph.new(DOT, args, number)

    # Instructions

    def assemble(self, todo: list[int], layers: list[Layer], is_uniform: bool) -> None:
        # Makes the instructions, in order. If it can, a kind waits until all its units are ready: one instruction.
        program = self.plan.uniform if is_uniform else self.plan.lanes
        ready: dict[_Kind, None] = {}
        for unit in self.find_units(todo, layers, is_uniform):
            unit.kind.left += 1
            if not unit.waits_for:
                unit.kind.ready.append(unit)
                ready[unit.kind] = None
        while ready:
            whole = (kind for kind in ready if len(kind.ready) == kind.left)
            # If no kind is ready as a whole, the one comes first that begins the longest path.
            kind = next(whole, None) or max(ready, key=lambda kind: max([unit.height for unit in kind.ready]))
            del ready[kind]
            units, kind.ready = kind.ready, []
            kind.left -= len(units)
            program.append(self.run(units, is_uniform))
            for unit in units:
                for user in unit.users:
                    user.waits_for -= 1
                    if not user.waits_for:
                        user.kind.ready.append(user)
                        ready[user.kind] = None

    def find_units(self, todo: list[int], layers: list[Layer], is_uniform: bool) -> Iterable[_Unit]:
        graph = self.graph
        layer_of = {i: layer for layer in layers for i in layer.members}
        apart = self.long.union(layer_of)
        trees, parts = self.find_trees([i for i in todo if i not in apart], is_uniform)
        kinds: dict[Any, _Kind] = {}
        dot = _Kind("dot")
        of: dict[int, _Unit] = {}
        units: dict[tuple[_Kind, frozenset[_Unit | None]], _Unit] = {}
        for i in todo:
            if i in parts or i in of:
                continue
            members, kind = [i], dot
            needs: Sequence[int] = graph.args[i]
            if i in trees:
                kind, needs = self.find_expression(i, trees[i], parts, kinds, is_uniform)
            elif i in layer_of:
                members, kind, needs = self.find_layer(layer_of[i], kinds)
            key = kind, frozenset(map(of.get, needs))
            unit = units.get(key)
            if unit is None:
                unit = units[key] = _Unit(kind)
                others = [other for other in key[1] if other]
                unit.waits_for = len(others)
                for other in others:
                    other.users.append(unit)
            unit.members += members
            unit.needs.append(needs)
            for member in members:
                of[member] = unit
        for unit in reversed(units.values()):
            if unit.users:
                unit.height = 1 + max([user.height for user in unit.users])
        return units.values()

    def find_trees(self, todo: Iterable[int], is_uniform: bool) -> tuple[dict[int, _Tree], set[int]]:
        # Returns all expressions, and the operations that are part of another expression, their only user.
        graph, uses = self.graph, self.uses
        varying, units = graph.varying, graph.units
        shapes: dict[tuple[Any, ...], int] = {}
        trees: dict[int, _Tree] = {}
        parts: set[int] = set()
        for i in todo:
            op, args = graph.ops[i], graph.args[i]
            steps, width = 1 + (len(args) // 4 if op in SUMS else 0), len({*args})
            shape: list[Any] = [op]
            leaves: list[int] = []
            for x in args:
                if x in trees and uses[x] == 1:
                    its_shape, its_steps, its_width, its_leaves = trees[x]
                    if steps + its_steps <= _STEPS and width + its_width <= _LEAVES + 1:
                        parts.add(x)
                        steps, width = steps + its_steps, width + its_width - 1
                        shape.append(its_shape)
                        leaves += its_leaves
                        continue
                if x in units:
                    shape.append(-1 - x)
                else:
                    shape.append("L" if is_uniform or x in varying else "U")
                    leaves.append(x)
            trees[i] = shapes.setdefault(tuple(shape), len(shapes)), steps, width, leaves
        return trees, parts

    def is_long(self, i: int) -> bool:
        # Whether an operation is a sum that is too long to be part of an expression.
        op = self.graph.ops[i]
        return op in SUMS and len(self.graph.args[i]) > (2 * _SHORT if op is DOT else _SHORT)

    def terms_of(self, i: int) -> list[Term]:
        return self.terms[i] if i in self.terms else self.graph.terms(i)

    def find_expression(
        self, root: int, tree: _Tree, parts: set[int], kinds: dict[Any, _Kind], is_uniform: bool
    ) -> tuple[_Kind, Sequence[int]]:
        shape, _, _, its = tree
        leaves = list(dict.fromkeys(its))
        key = shape if len(leaves) == len(its) else (shape, *map(leaves.index, its))
        if key not in kinds:
            inner = [root]
            for i in inner:  # grows in the loop
                inner += parts.intersection(self.graph.args[i])
            kinds[key] = _Kind(self.make_body(sorted(inner), leaves, [root], is_uniform))
        return kinds[key], leaves

    def make_body(self, inner: Sequence[int], leaves: Sequence[int], results: Sequence[int], is_uniform: bool) -> Body:
        # Makes an expression of operations, which are given in order.
        graph = self.graph
        used = chain(results, *[graph.args[i] for i in inner])
        units = sorted(graph.units.intersection(used))
        index = {x: k for k, x in enumerate([*leaves, *units])}
        steps = []
        for i in inner:
            steps.append((graph.ops[i], tuple(map(index.__getitem__, graph.args[i]))))
            index[i] = len(index)
        kinds = "".join(["L" if is_uniform or x in graph.varying else "U" for x in leaves])
        numbers = tuple([graph.numbers[x] for x in units])
        return Body(kinds, numbers, tuple(steps), tuple([index[x] for x in results]))

    def find_layer(self, layer: Layer, kinds: dict[Any, _Kind]) -> tuple[list[int], _Kind, Sequence[int]]:
        # Sorts the sums of a layer by their weights, so that all layers with these weights are of one kind.
        lines = []
        for i, weights in zip(layer.members, layer.weights, strict=True):
            known = self.lines.get(weights)
            if known is None:
                known = self.lines[weights] = tuple([self.row[w] for w in weights])
            lines.append((known, self.row[self.starts[i]], i))
        lines.sort()
        key = tuple([(known, start) for known, start, _ in lines])
        if key not in kinds:
            kinds[key] = _Kind(key)
        return [i for _, _, i in lines], kinds[key], layer.inputs

    def run(self, units: list[_Unit], is_uniform: bool) -> Instruction:
        # Makes an instruction of units of the same kind.
        what = units[0].kind.what
        members = [i for unit in units for i in unit.members]
        needs = [operands for unit in units for operands in unit.needs]
        if isinstance(what, Body):
            return self.run_body(what, members, needs, is_uniform)
        if isinstance(what, tuple):
            return self.run_layers(what, members, needs)
        return self.run_dots(members, is_uniform)

    def new_rows(self, members: Sequence[int], is_uniform: bool) -> range:
        plan = self.plan
        if is_uniform:
            first = len(self.constants)
            self.constants += [0.0] * len(members)
        else:
            first = plan.rows
            plan.rows += len(members)
        rows = range(first, first + len(members))
        self.row.update(zip(members, rows, strict=True))
        return rows

    def row_of(self, x: int) -> int:
        # Returns the row of v of an operation. If it is the same in all lanes, a row is filled with its number.
        if x in self.graph.varying:
            return self.row[x]
        u = self.row[x]
        if u not in self.filled:
            self.filled[u] = self.plan.rows
            self.plan.rows += 1
        return self.filled[u]

    def run_body(self, body: Body, members: list[int], needs: list[Sequence[int]], is_uniform: bool) -> Instruction:
        row = self.row.__getitem__
        lines = sorted([(list(map(row, leaves)), i) for leaves, i in zip(needs, members, strict=True)])
        rows = self.new_rows([i for _, i in lines], is_uniform)
        columns = list(zip(*[line for line, _ in lines], strict=True))
        follow = sum([1 << s for s, column in enumerate(columns) if _is_run(column)])
        same = sum([1 << s for s, leaf in enumerate(body.leaves) if leaf == "U"])
        operands = [len(body.leaves), same, len(rows), follow]
        operands += [x for place, (line, _) in zip(rows, lines, strict=True) for x in (place, *line)]
        reads = [x for s, column in enumerate(columns) if body.leaves[s] == "L" for x in column]
        work = sum([max(1, len(args) // 2) for _, args in body.steps]) * len(rows)
        (name, note), count, kernel = _describe(body), len(rows) * len(body.steps), emit.express(body)
        return _instruction(emit.ROWS, operands, name, note, count, work, reads, rows, kernel)

    def run_dots(self, members: list[int], is_uniform: bool) -> Instruction:
        row, varying, graph = self.row, self.graph.varying, self.graph
        rows = self.new_rows(members, is_uniform)
        operands, reads, most, work = [len(members)], list[int](), 0, 0
        for place, i in zip(rows, members, strict=True):
            mixed: list[int] = []
            lanes: list[int] = []
            terms = self.terms_of(i)
            for a, b in terms:
                if is_uniform or a not in varying:
                    mixed += row[a], row[b]
                elif b not in varying:
                    mixed += row[b], row[a]
                else:
                    lanes += row[a], row[b]
            most, work = max(most, len(terms)), work + 2 * len(terms)
            start = row[self.starts.get(i, graph.zero)]
            operands += (place, start, len(mixed) // 2, len(lanes) // 2, *mixed, *lanes)
            reads += [*mixed[1::2], *lanes]
        note = f"of up to {most} products"
        return _instruction(products.DOT, operands, "dot", note, len(members), work, reads, rows)

    def run_layers(self, lines: _Lines, members: list[int], needs: list[Sequence[int]]) -> Instruction:
        height, width, places = len(lines), len(lines[0][0]), len(needs)
        if lines not in self.offsets:
            self.offsets[lines] = find_offsets([weights for weights, _ in lines]) or self.copy(lines)
        down, right = self.offsets[lines]
        rows = self.new_rows(members, False)
        reads = [self.row[x] for inputs in needs for x in inputs]
        follow = [
            _is_run(down),
            _is_run(right),
            all(_is_run(reads[i : i + width]) for i in range(0, len(reads), width)),
        ]
        starts = [start for _, start in lines]
        operands = [height, width, places, rows.start, *map(int, follow), *starts, *down, *right, *reads]
        note = f"{width} → {height}" + f", at {places} places" * (places > 1)
        work = 2 * width * len(rows)
        return _instruction(products.LAYER, operands, "layer", note, len(rows), work, reads, rows)

    def copy(self, lines: _Lines) -> Offsets:
        # Copies the weights of a layer to consecutive places in u.
        numbers, width = [w for weights, _ in lines for w in weights], len(lines[0][0])
        first = len(self.constants)
        self.constants += [0.0] * len(numbers)
        rows = range(first, len(self.constants))
        operands = [1, 0, len(numbers), 0, *[x for pair in zip(rows, numbers, strict=True) for x in pair]]
        kernel = emit.express(Body("L", (), (), (0,)))
        one = _instruction(emit.ROWS, operands, "copy", "", len(numbers), 0, numbers, rows, kernel)
        self.plan.uniform.append(one)
        return list(rows[::width]), list(range(width))

    # Sums over lanes

    def sum_up(self) -> None:
        graph, program = self.graph, self.plan.lanes
        varies, row = self.find_varying(), np.zeros(len(graph.ops), np.int64)
        row[list(self.row)] = list(self.row.values())
        places, a, b = self.products
        varies_a, varies_b = varies[a], varies[b]
        both = varies_a & varies_b
        lines = [*graph.rows, *find_rows(np.stack([places[both], a[both], b[both]]))]
        shared: dict[tuple[tuple[int, ...], tuple[int, ...]], list[Tile]] = defaultdict(list)
        for tile in find_tiles(lines):
            tile = min(tile, tile.turn(), key=_cost)
            shared[tuple(tile.places[0]), tuple(tile.places[1])].append(tile)
        for offsets, tiles in shared.items():
            high, wide = map(len, offsets)
            rows = [self.row[x] for tile in tiles for x in tile.rows]
            columns = [self.row[x] for tile in tiles for x in tile.columns]
            follow = _is_run(offsets[1]) and all(_is_run(columns[i : i + wide]) for i in range(0, len(columns), wide))
            near = [k + LANES <= wide and _is_run(offsets[1][k : k + LANES]) for k in range(0, wide, LANES)]
            operands = [high, wide, len(tiles), int(follow), *chain(*offsets), *map(int, near), *rows, *columns]
            note = f"{high} × {wide}" + f", at {len(tiles)} places" * (len(tiles) > 1)
            count, reads = high * wide * len(tiles), [*rows, *columns]
            program.append(_instruction(products.OUTER, operands, "outer", note, count, 2 * count, reads, range(0)))
        if not both.all():
            sums, times_ = np.where(varies_a, a, b)[~both], np.where(varies_a, b, a)[~both]
            totals = np.stack([places[~both], row[sums], row[times_]], axis=1)
            operands = [len(totals), *totals.ravel().tolist()]
            reads = totals[:, 1].tolist()
            program.append(
                _instruction(products.TOTAL, operands, "total", "", len(totals), len(totals), reads, range(0))
            )
        times = [x for place, g in self.shares.items() if not graph.is_number(g, 0) for x in (place, self.row[g])]
        if times:
            count = len(times) // 2
            program.append(_instruction(products.TIMES, [count, *times], "times", "", count, 0, [], range(0)))


def _instruction(
    kernel: Kernel, operands: Sequence[int], name: str, note: str, count: int, work: int,
    reads: Sequence[int], writes: range, expression: Kernel | None = None,
) -> Instruction:  # fmt: skip
    arrays = np.array(operands, np.int64), np.array([*dict.fromkeys(reads)], np.int32)
    return Instruction(kernel, expression, arrays[0], name, note, count, work, arrays[1], writes)


def _join(terms: Iterable[Term]) -> tuple[int, ...]:
    # Returns the operands of a sum of products.
    return tuple(chain.from_iterable(zip(*terms, strict=True)))


def _cost(tile: Tile) -> int:
    # Estimates a tile's time: the vectors of products, for eight lanes, and the additions to their sums.
    return -(-len(tile.columns) // LANES) * len(tile.rows) * (LANES + (2 if _is_run(tile.places[1]) else LANES))


def _is_run(rows: Sequence[int]) -> bool:
    # Whether rows are consecutive.
    return list(rows) == list(range(rows[0], rows[0] + len(rows)))


def _describe(body: Body) -> tuple[str, str]:
    # Returns the name of an expression, and what it computes.
    if len(body.steps) == 1 and body.steps[0][0].text:
        return body.steps[0][0].name, body.steps[0][0].text
    text = str(body) if len(body.steps) < 40 else "…"
    return "expression", text if len(text) < 100 else f"{text[:96]} …"
