"""The third stage: which operations stand together, and in which rows.

A small program is one *fused* kernel: an expression of its inputs, without rows in memory. In a larger one,

- sums of products that share their inputs are a *layer*, whose places share its weights;
- what nothing else uses becomes part of an expression; expressions of one shape are a *kernel* of many rows;
- long sums of products that share nothing are run as they are, *dot*;
- gradients that are summed over samples are *outer* products, summed over lanes and over the places of a layer.

What is the same in all lanes is computed once, in rows of one number.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from . import emit, products
from .graph import ADD, CAPTURED, CONSTANT, DOT, INPUT, MULTIPLY, SUBTRACT, SUM, Body, Graph
from .machine import Kernel, Whole

if TYPE_CHECKING:
    from ..drawing import Drawing

__all__ = ["Instruction", "Plan", "make_plan"]

_FUSED = 160  # operations of a program that is one kernel, at most
_FUSED_SUMS = 16  # and its sums over lanes
_STEPS, _LEAVES = 24, 16  # of a kernel's expression, at most
_SHORT = 8  # products of a sum that is part of an expression, at most
_CHAIN = 6  # terms of a sum that was written with +, at least, to be run as one
_LAYER = 8  # weights of a layer, at least


@dataclass
class Instruction:
    """One line of a program.

    Attributes:
        kernel: what it runs.
        expression: the kernel that it runs for each vector, whose address comes before all operands; None without.
        operands: its numbers, as :mod:`micrograd.compiler.emit` describes them.
        name: what it is.
        note: what it is made of.
        count: how many operations of the graph it does.
        work: how many additions and multiplications a lane takes.
        reads: the rows that it reads.
        writes: the rows that it writes; sums over lanes are no rows.
    """

    kernel: Kernel
    expression: Kernel | None
    operands: Whole
    name: str
    note: str
    count: int
    work: int
    reads: Whole
    writes: Whole


@dataclass
class Plan:
    """A program, before it is compiled.

    Attributes:
        uniform: what is computed once; its rows are numbers of ``u``.
        lanes: what is computed for each sample; a fused program is one instruction.
        is_fused: whether it is one.
        constants: ``u`` before the first run: number 0 is the check, then the captured, then constants.
        captured: how many Values were captured: their numbers in ``u`` are 1 and on.
        inputs: how many numbers an argument has: their rows in ``v`` are 1 and on.
        rows: how many rows ``v`` has.
        outputs: the row of each output in ``v``.
        gradients: the row of each gradient, if they are asked for lane by lane.
        sums: how many sums over lanes there are in ``g``.
        traced: how many operations were traced.
        places: of operations that have a row: the operation, whether in ``v``, the row.
    """

    captured: int
    inputs: int
    traced: int
    uniform: list[Instruction] = field(default_factory=list)
    lanes: list[Instruction] = field(default_factory=list)
    is_fused: bool = False
    constants: list[float] = field(default_factory=list)
    rows: int = 0
    outputs: list[int] = field(default_factory=list)
    gradients: list[int] = field(default_factory=list)
    sums: int = 0
    places: list[tuple[int, bool, int]] = field(default_factory=list)

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
        """The instructions for each sample as a drawing: which needs what which other gives.

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
            made.update(dict.fromkeys(one.writes.tolist(), f"i{i}"))
        return Drawing(graph.source)


def make_plan(graph: Graph, sums: bool) -> Plan:
    """How to compute a graph's outputs and gradients.

    Args:
        graph: what is computed.
        sums: whether the gradients are summed over lanes; otherwise each lane has its own.
    """
    planner = _Planner(graph, sums)
    return planner.fuse() if planner.is_small() else planner.schedule()


Term = tuple[int, int]  # a product of two operations; a single one is a product with the constant 1


class _Planner:
    def __init__(self, graph: Graph, sums: bool) -> None:
        self.graph, self.sums = graph, sums
        self.plan = Plan(graph.captured, graph.inputs, graph.traced)
        self.plan.sums = len(graph.gradients) if sums else 0
        self.row: dict[int, int] = {}  # by operation: its number in u if it is uniform, else its row in v
        self.filled: dict[int, int] = {}  # by number of u: a row of v that is filled with it
        self.is_rooted = set(graph.outputs) | set(() if sums else graph.gradients)
        self.count_uses([*graph.outputs, *graph.gradients])
        self.number()

    def count_uses(self, roots: Iterable[int]) -> None:
        # How often each operation is used by what has to be computed; those that are, in order.
        ops, args = self.graph.ops, self.graph.args
        uses = [0] * len(ops)
        for i in roots:
            uses[i] += 1
        for i in range(len(ops) - 1, -1, -1):  # an operation has a greater number than its operands
            if uses[i] and ops[i] is not INPUT and ops[i] is not CAPTURED:
                for x in args[i]:
                    uses[x] += 1
        self.uses, self.is_live = uses, [i for i, count in enumerate(uses) if count]

    def number(self) -> None:
        # Rows for what is given.
        graph, plan = self.graph, self.plan
        plan.constants, plan.rows = [0.0] * (1 + plan.captured), 1 + plan.inputs
        for i, op in enumerate(graph.ops):
            if op is CAPTURED:
                self.row[i] = 1 + graph.args[i][0]
                plan.constants[self.row[i]] = graph.numbers[i]
            elif op is INPUT:
                self.row[i] = 1 + graph.args[i][0]
        for i in dict.fromkeys([graph.zero, graph.one, *self.is_live]):
            if graph.ops[i] is CONSTANT:
                self.row[i] = len(plan.constants)
                plan.constants.append(graph.numbers[i])

    # One kernel

    def is_small(self) -> bool:
        graph = self.graph
        todo = [i for i in self.is_live if i not in self.row]
        work = sum([max(1, len(graph.args[i]) // 2) for i in todo])
        summed = sum([graph.ops[g] is not CONSTANT for g in graph.gradients]) if self.sums else 0
        return work <= _FUSED and summed <= _FUSED_SUMS and len(graph.outputs) + len(graph.gradients) <= _FUSED

    def fuse(self) -> Plan:
        graph, plan = self.graph, self.plan
        leaves = [i for i in self.is_live if i in self.row]
        index = {i: k for k, i in enumerate(leaves)}
        steps = []
        for i in self.is_live:
            if i not in index:
                steps.append((graph.ops[i], tuple([index[x] for x in graph.args[i]])))
                index[i] = len(index)
        summed = [(p, g) for p, g in enumerate(graph.gradients) if not graph.is_number(g, 0)] if self.sums else []
        outputs = graph.outputs if self.sums else [*graph.outputs, *graph.gradients]
        kinds = "".join(["L" if graph.ops[i] is INPUT else "U" for i in leaves])
        body = Body(kinds, tuple(steps), tuple([index[i] for i in [*outputs, *[g for _, g in summed]]]))
        rows = [self.row[i] - (graph.ops[i] is INPUT) for i in leaves]
        operands = [0] * 5 + [len(leaves), len(outputs), len(summed)]
        for kind, row in zip(kinds, rows, strict=True):
            operands += (int(kind == "U"), row)
        operands += [p for p, _ in summed]
        plan.is_fused, plan.rows = True, 1
        plan.outputs = list(range(1, 1 + len(graph.outputs)))
        plan.gradients = list(range(1 + len(graph.outputs), 1 + len(outputs)))
        reads = [1 + row for row, kind in zip(rows, kinds, strict=True) if kind == "L"]
        work = sum([max(1, len(args)) for _, args in steps])
        note, kernel = _describe(body)[1], emit.express(body, len(summed))
        plan.lanes.append(self.instruction(emit.FUSED, operands, "fused", note, len(steps), work, reads, [], kernel))
        return plan

    # Many kernels

    def schedule(self) -> Plan:
        graph, plan = self.graph, self.plan
        self.terms: dict[int, list[Term]] = {}  # of a sum of products: those that differ between lanes
        self.starts: dict[int, int] = {}  # and the sum of all others
        self.summed = self.find_summed() if self.sums else {}
        self.count_uses(self.find_roots())
        self.absorb_chains()
        layers = self.find_layers()
        self.split(layers)
        # Again, for what was split has new operations.
        self.count_uses(self.find_roots())
        for i in self.is_live:
            if graph.ops[i] is CONSTANT and i not in self.row:
                self.row[i] = len(plan.constants)
                plan.constants.append(graph.numbers[i])
        todo = [i for i in self.is_live if i not in self.row]
        self.in_layer = {i for members in layers for i in members}
        for is_uniform in (True, False):
            part = [i for i in todo if graph.is_uniform[i] == is_uniform]
            self.assemble(part, is_uniform, [] if is_uniform else layers)
        plan.outputs = [self.row_of(i) for i in graph.outputs]
        if self.sums:
            self.sum_up()
        else:
            plan.gradients = [self.row_of(i) for i in graph.gradients]
        if self.filled:  # the last rows, one after the other
            operands = [1, 1, len(self.filled), 0, *[x for u, row in self.filled.items() for x in (row, u)]]
            kernel, rows = emit.express(Body("U", (), (0,))), list(self.filled.values())
            one = self.instruction(emit.ROWS, operands, "fill", "the same in all", len(rows), 0, [], rows, kernel)
            plan.lanes.append(one)
        plan.places = [
            (i, not graph.is_uniform[i], self.row[i])
            for i in self.row
            if graph.ops[i] not in (CONSTANT, CAPTURED, INPUT)
        ]
        return plan

    def find_roots(self) -> list[int]:
        # What has to be computed: of a gradient that is summed over lanes, what its products are of.
        roots = [*self.graph.outputs, *self.starts.values()]
        for g in self.graph.gradients:
            if g in self.summed:
                for a, b in self.summed[g]:
                    roots += (a, b)
            else:
                roots.append(g)
        return roots

    def find_summed(self) -> dict[int, list[Term]]:
        # Of each gradient that differs between lanes: the products that it is the sum of.
        graph, uniform = self.graph, self.graph.is_uniform
        found: dict[int, list[Term]] = {}
        for g in dict.fromkeys(graph.gradients):
            if not uniform[g]:
                terms = graph.terms(g)
                found[g] = [(a, b) for a, b in terms if not (uniform[a] and uniform[b])]
                if len(found[g]) < len(terms):
                    self.starts[g] = self.sum_uniform([(a, b) for a, b in terms if uniform[a] and uniform[b]])
        return found

    def absorb_chains(self) -> None:
        # a + b + c + …, added from left to right, is a sum of products, and a · b in it one of them.
        graph, uses = self.graph, self.uses
        chains: dict[int, list[Term]] = {}
        for i in self.is_live:
            op = graph.ops[i]
            if (op is not ADD and op is not SUBTRACT) or not uses[i]:
                continue
            left, right = graph.args[i]
            terms = chains.pop(left, None) if uses[left] == 1 else None
            terms = terms or self.product(left)
            sign = graph.one if op is ADD else graph.minus
            last = self.product(right)
            terms += last if op is ADD else [(right, sign)]
            chains[i] = terms
        long = {i: terms for i, terms in chains.items() if len(terms) >= _CHAIN}
        for i, terms in long.items():
            graph.ops[i], graph.args[i] = DOT, tuple([x for term in terms for x in term])
        if long:
            self.count_uses(self.find_roots())

    def product(self, x: int) -> list[Term]:
        graph = self.graph
        is_part = self.uses[x] == 1 and (graph.ops[x] is MULTIPLY or graph.ops[x] is DOT)
        return graph.terms(x) if is_part else [(x, graph.one)]

    # Layers

    def find_layers(self) -> list[list[int]]:
        # Sums of products, of the same inputs and one weight for each, stand together.
        graph, uniform = self.graph, self.graph.is_uniform
        together: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for i in self.is_live:
            if graph.ops[i] is DOT and not uniform[i]:
                weights, inputs, rest = [], [], []
                for a, b in graph.terms(i):
                    if uniform[a] and uniform[b]:
                        rest.append((a, b))
                    elif uniform[a]:
                        weights.append(a)
                        inputs.append(b)
                    elif uniform[b]:
                        weights.append(b)
                        inputs.append(a)
                    else:
                        break
                else:
                    together[tuple(inputs)].append(i)
        return [
            members for inputs, members in together.items() if len(members) > 1 and len(members) * len(inputs) >= _LAYER
        ]

    def split(self, layers: list[list[int]]) -> None:
        # Sets apart what is the same in all lanes, of long sums and of layers.
        graph, uniform = self.graph, self.graph.is_uniform
        in_layer = {i for members in layers for i in members}
        for i in self.is_live:
            op = graph.ops[i]
            if uniform[i] or (op is not DOT and op is not SUM):
                continue
            terms = graph.terms(i)
            if i not in in_layer and len(terms) <= _SHORT:
                continue
            here = [term for term in terms if uniform[term[0]] and uniform[term[1]]]
            self.starts[i] = self.sum_uniform(here) if here else graph.zero
            self.terms[i] = [term for term in terms if not (uniform[term[0]] and uniform[term[1]])]

    def sum_uniform(self, terms: list[Term]) -> int:
        graph = self.graph
        if len(terms) == 1 and graph.one in terms[0]:
            return terms[0][0] if terms[0][1] == graph.one else terms[0][1]
        number = sum([graph.numbers[a] * graph.numbers[b] for a, b in terms])
        if all(graph.ops[x] is CONSTANT for term in terms for x in term):
            i = graph.new(CONSTANT, (), number)
        else:
            i = graph.new(DOT, tuple([x for term in terms for x in term]), number)
        return i

    # Rows and instructions

    def instruction(
        self, kernel: Kernel, operands: Sequence[int], name: str, note: str, count: int, work: int,
        reads: Sequence[int], writes: Sequence[int], expression: Kernel | None = None,
    ) -> Instruction:  # fmt: skip
        return Instruction(kernel, expression, _array(operands), name, note, count, work, _array(reads), _array(writes))

    def new_rows(self, members: Sequence[int], is_uniform: bool) -> int:
        plan = self.plan
        if is_uniform:
            first = len(plan.constants)
            plan.constants += [0.0] * len(members)
        else:
            first = plan.rows
            plan.rows += len(members)
        for k, i in enumerate(members):
            self.row[i] = first + k
        return first

    def row_of(self, x: int) -> int:
        # A row of v; for what is the same in all lanes, one that is filled with it.
        if not self.graph.is_uniform[x]:
            return self.row[x]
        u = self.row[x]
        if u not in self.filled:
            self.filled[u] = self.plan.rows
            self.plan.rows += 1
        return self.filled[u]

    def assemble(self, todo: list[int], is_uniform: bool, layers: list[list[int]]) -> None:
        graph = self.graph
        program = self.plan.uniform if is_uniform else self.plan.lanes
        layer_of = {i: k for k, members in enumerate(layers) for i in members}
        # What nothing else uses becomes part of what uses it.
        size: dict[int, tuple[int, int]] = {}
        is_part: set[int] = set()
        for i in todo:
            if i in layer_of or self.is_long(i):
                continue
            steps = 1 + (len(graph.args[i]) // 4 if graph.ops[i] is DOT or graph.ops[i] is SUM else 0)
            operands = dict.fromkeys(graph.args[i])
            leaves = len(operands)
            for x in operands:
                inner, its_leaves = size.get(x, (_STEPS, 0))
                is_single = self.uses[x] == 1 and x not in self.is_rooted
                if is_single and steps + inner <= _STEPS and leaves + its_leaves <= _LEAVES + 1:
                    is_part.add(x)
                    steps, leaves = steps + inner, leaves + its_leaves - 1
            size[i] = steps, leaves
        whole = [i for i in todo if i not in is_part]
        bodies: dict[int, tuple[Body, list[int]]] = {}
        level: dict[int, int] = {}
        waiting: dict[int, list[int]] = defaultdict(list)
        for i in whole:
            if i in layer_of or self.is_long(i):
                needs: Iterable[int] = [x for term in self.terms_of(i) for x in term]
            else:
                bodies[i] = self.body(i, is_part, is_uniform)
                needs = bodies[i][1]
            level[i] = max([level[x] + 1 for x in needs if x in level], default=0)
            waiting[level[i]].append(i)
        for k in sorted(waiting):
            kernels: dict[Body, list[int]] = defaultdict(list)
            sums: list[int] = []
            grouped: dict[int, list[int]] = defaultdict(list)
            for i in waiting[k]:
                if i in layer_of:
                    grouped[layer_of[i]].append(i)
                elif i in bodies:
                    kernels[bodies[i][0]].append(i)
                else:
                    sums.append(i)
            for body, members in kernels.items():
                self.kernel(body, members, bodies, is_uniform, program)
            if sums:
                self.dot(sums, is_uniform, program)
            if grouped:
                self.layers(list(grouped.values()), program)

    def is_long(self, i: int) -> bool:
        op = self.graph.ops[i]
        return i in self.terms or ((op is DOT or op is SUM) and len(self.graph.terms(i)) > _SHORT)

    def terms_of(self, i: int) -> list[Term]:
        return self.terms[i] if i in self.terms else self.graph.terms(i)

    def body(self, root: int, is_part: set[int], is_uniform: bool) -> tuple[Body, list[int]]:
        # The expression of an operation, with those that are part of it, and its leaves.
        graph = self.graph
        inner: list[int] = []
        waiting = [root]
        while waiting:
            i = waiting.pop()
            inner.append(i)
            waiting += [x for x in dict.fromkeys(graph.args[i]) if x in is_part]
        inner.sort()
        leaves: dict[int, int] = {}
        for i in inner:
            for x in graph.args[i]:
                if x not in is_part:
                    leaves.setdefault(x, len(leaves))
        index = {**leaves}
        steps = []
        for i in inner:
            steps.append((graph.ops[i], tuple([index[x] for x in graph.args[i]])))
            index[i] = len(index)
        kinds = "".join(["U" if graph.is_uniform[x] and not is_uniform else "L" for x in leaves])
        return Body(kinds, tuple(steps), (index[root],)), list(leaves)

    def kernel(
        self, body: Body, members: list[int], bodies: dict[int, tuple[Body, list[int]]], is_uniform: bool,
        program: list[Instruction],
    ) -> None:  # fmt: skip
        table = [[self.row[x] for x in bodies[i][1]] for i in members]
        order = sorted(range(len(members)), key=lambda k: table[k])
        members, table = [members[k] for k in order], [table[k] for k in order]
        first = self.new_rows(members, is_uniform)
        follow = 0
        for s in range(len(body.leaves)):
            if all(line[s] == table[0][s] + k for k, line in enumerate(table)):
                follow |= 1 << s
        same = sum([1 << s for s, leaf in enumerate(body.leaves) if leaf == "U"])
        operands = [len(body.leaves), same, len(members), follow]
        for k, line in enumerate(table):
            operands += (first + k, *line)
        reads = [line[s] for line in table for s, leaf in enumerate(body.leaves) if leaf == "L"]
        work = sum([max(1, len(args) // 2) for _, args in body.steps]) * len(members)
        writes = range(first, first + len(members))
        (name, note), count, kernel = _describe(body), len(members) * len(body.steps), emit.express(body)
        program.append(self.instruction(emit.ROWS, operands, name, note, count, work, reads, writes, kernel))

    def dot(self, members: list[int], is_uniform: bool, program: list[Instruction]) -> None:
        row, uniform, graph = self.row, self.graph.is_uniform, self.graph
        self.new_rows(members, is_uniform)
        operands, reads, most, work = [len(members)], [], 0, 0
        for i in members:
            mixed: list[int] = []
            lanes: list[int] = []
            terms = self.terms_of(i)
            for a, b in terms:
                if is_uniform or uniform[a]:
                    mixed += row[a], row[b]
                elif uniform[b]:
                    mixed += row[b], row[a]
                else:
                    lanes += row[a], row[b]
            most, work = max(most, len(terms)), work + 2 * len(terms)
            start = row[self.starts.get(i, graph.zero)]
            operands += (row[i], start, len(mixed) // 2, len(lanes) // 2, *mixed, *lanes)
            reads += [*mixed[1::2], *lanes]
        note, writes = f"of up to {most} products", [row[i] for i in members]
        program.append(self.instruction(products.DOT, operands, "dot", note, len(members), work, reads, writes))

    def layers(self, groups: list[list[int]], program: list[Instruction]) -> None:
        # Those of the same weights are places of one.
        uniform = self.graph.is_uniform
        shared: dict[tuple[tuple[int, ...], ...], list[list[int]]] = defaultdict(list)
        for members in groups:
            lines = {i: (self.starts[i], *[a if uniform[a] else b for a, b in self.terms[i]]) for i in members}
            members.sort(key=lambda i: [self.row[x] for x in lines[i][1:]])
            shared[tuple([lines[i] for i in members])].append(members)
        for weights, places in shared.items():
            inputs = [[b if uniform[a] else a for a, b in self.terms[members[0]]] for members in places]
            affine = _find_steps([[self.row[w] for w in line[1:]] for line in weights])
            if affine is None:
                affine = self.copy([w for line in weights for w in line[1:]]), len(inputs[0]), 1
            first = self.new_rows([i for members in places for i in members], False)
            starts = [self.row[line[0]] for line in weights]
            reads = [self.row[x] for line in inputs for x in line]
            height, width = len(weights), len(inputs[0])
            operands = [height, width, len(places), *affine, first, *starts, *reads]
            note = f"{width} → {height}" + f", at {len(places)} places" * (len(places) > 1)
            count = height * len(places)
            work = 2 * width * count
            writes = range(first, first + count)
            program.append(self.instruction(products.LAYER, operands, "layer", note, count, work, reads, writes))

    def copy(self, numbers: list[int]) -> int:
        # Copies numbers of u to places that follow each other.
        first = len(self.plan.constants)
        self.plan.constants += [0.0] * len(numbers)
        operands = [1, 0, len(numbers), 0]
        for k, x in enumerate(numbers):
            operands += (first + k, self.row[x])
        kernel, reads, writes = emit.express(Body("L", (), (0,))), operands[5::2], operands[4::2]
        one = self.instruction(emit.ROWS, operands, "copy", "", len(numbers), 0, reads, writes, kernel)
        self.plan.uniform.append(one)
        return first

    # Sums over lanes

    def sum_up(self) -> None:
        graph, row, uniform = self.graph, self.row, self.graph.is_uniform
        pairs: dict[int, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
        totals: list[int] = []
        times: list[int] = []
        for place, g in enumerate(graph.gradients):
            if uniform[g]:
                if not graph.is_number(g, 0):
                    times += [place, row[g]]
                continue
            if g in self.starts:
                times += [place, row[self.starts[g]]]
            for a, b in self.summed.get(g, [(g, graph.one)]):
                if uniform[a]:
                    totals += [place, row[b], row[a]]
                elif uniform[b]:
                    totals += [place, row[a], row[b]]
                else:
                    pairs[row[a]][row[b]].append(place)
        program = self.plan.lanes
        shared: dict[tuple[int, int, int, int, int], list[tuple[list[int], list[int]]]] = defaultdict(list)
        singles: list[tuple[int, int, int]] = []
        for block in _find_blocks(pairs):
            columns = list(next(iter(block.values())))
            steps = _find_steps([[line[column] for column in columns] for line in block.values()])
            if steps and steps[1] == 1 != steps[2]:  # the sums of a row follow each other
                shared[(len(columns), len(block), steps[0], steps[2], 1)].append((columns, list(block)))
            elif steps:
                shared[(len(block), len(columns), *steps)].append((list(block), columns))
            else:
                singles += [(place, a, b) for a, line in block.items() for b, place in line.items()]
        for (high, wide, *steps_), places in shared.items():
            rows = [row for a, _ in places for row in a]
            columns = [row for _, b in places for row in b]
            follow = steps_[2] == 1 and all(b == list(range(b[0], b[0] + wide)) for _, b in places)
            operands = [high, wide, len(places), *steps_, int(follow), *rows, *columns]
            note, count = (
                f"{high} × {wide}" + f", at {len(places)} places" * (len(places) > 1),
                high * wide * len(places),
            )
            program.append(
                self.instruction(products.OUTER, operands, "outer", note, count, 2 * count, rows + columns, [])
            )
        for place, a, b in singles:
            program.append(
                self.instruction(products.OUTER, [1, 1, 1, place, 0, 0, 0, a, b], "outer", "1 × 1", 1, 2, [a, b], [])
            )
        if totals:
            count = len(totals) // 3
            program.append(
                self.instruction(products.TOTAL, [count, *totals], "total", "", count, count, totals[1::3], [])
            )
        if times:
            count = len(times) // 2
            program.append(self.instruction(products.TIMES, [count, *times], "times", "", count, 0, [], []))


def _find_blocks(products: dict[int, dict[int, list[int]]]) -> list[dict[int, dict[int, int]]]:
    # Rows that are multiplied with the same others are a block: a matrix of places, by row and column.
    found: dict[tuple[int, ...], list[dict[int, dict[int, int]]]] = defaultdict(list)
    for a, line in products.items():
        for k in range(max(map(len, line.values()))):
            here = {b: places[k] for b, places in line.items() if len(places) > k}
            blocks = found[tuple(here)]
            if not blocks or a in blocks[-1]:
                blocks.append({})
            blocks[-1][a] = here
    return [block for blocks in found.values() for block in blocks]


def _find_steps(grid: list[list[int]]) -> tuple[int, int, int] | None:
    # (first, step down, step to the right), if the numbers are in steps.
    first = grid[0][0]
    down = grid[1][0] - first if len(grid) > 1 else 0
    right = grid[0][1] - first if len(grid[0]) > 1 else 0
    for j, line in enumerate(grid):
        start = first + j * down
        if line != (list(range(start, start + len(line) * right, right)) if right else [start] * len(line)):
            return None
    return first, down, right


def _array(numbers: Iterable[int]) -> Whole:
    return np.array(list(numbers), dtype=np.int64)


def _describe(body: Body) -> tuple[str, str]:
    # What a kernel is called, and what it is made of.
    if len(body.steps) == 1 and body.steps[0][0].text:
        return body.steps[0][0].name, body.steps[0][0].text
    text = str(body) if len(body.steps) < 40 else "…"
    return "expression", text if len(text) < 100 else f"{text[:96]} …"
