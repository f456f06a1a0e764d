"""The third stage: rows for what is left to compute, and instructions that compute many of them at once."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from .. import rules
from ..rule import Rule
from .kernel import elementwise
from .listing import Instruction, Listing

if TYPE_CHECKING:
    from .lowering import Scheduler, Term

__all__ = ["Assembler"]


class Assembler:
    def __init__(self, scheduler: Scheduler) -> None:
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

    def levels(self, live: list[int]) -> list[list[int]]:
        # By how many operations each has to wait for.
        terms, args = self.s.terms, self.graph.args
        level = [-1] * len(self.graph.ops)
        waiting: list[list[int]] = []
        for i in live:
            here = 0
            for term in terms[i] if i in terms else (args[i],):
                for x in term:
                    if level[x] >= here:
                        here = level[x] + 1
            level[i] = here
            if here == len(waiting):
                waiting.append([])
            waiting[here].append(i)
        return waiting

    def assemble(self, live: list[int], is_uniform: bool) -> None:
        program = self.out.uniform if is_uniform else self.out.lanes
        for together in self.levels(live):
            sums, others = [], defaultdict(list)
            for i in together:
                if i in self.s.terms and not self.is_elementwise(i):
                    sums.append(i)
                else:
                    others[self.key(self.graph.ops[i])].append(i)
            for members in others.values():
                self.rule(members, is_uniform, program)
            for layer in self.layers(sums):
                self.sums(layer, is_uniform, program)

    def is_elementwise(self, i: int) -> bool:
        # Whether a sum of products is no more than the operation that it was: a + b or a - b.
        op, args = self.graph.ops[i], self.graph.args[i]
        if len(self.s.terms[i]) != 2 or len(args) != 2 or not (op is rules.add or op is rules.subtract):
            return False
        (a, b), uniform, is_part = args, self.graph.is_uniform, self.s.is_part
        return not (uniform[a] or uniform[b] or is_part[a] or is_part[b] or i in self.s.starts)

    @staticmethod
    def key(rule: Rule) -> Any:
        return rule.whole, *rule.constants.items()

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
            terms, inputs = self.s.terms[i], None
            if len(terms) > 1 and all(uniform[a] != uniform[b] for a, b in terms):
                inputs = tuple([b if uniform[a] else a for a, b in terms])
            together[inputs].append(i)
        return list(together.values())

    def sums(self, members: list[int], is_uniform: bool, program: list[Instruction]) -> None:
        terms, row, uniform = self.s.terms, self.row, self.graph.is_uniform
        zero, starts = row[self.graph.zero], self.s.starts
        work = sum([2 * len(terms[i]) for i in members])
        if not is_uniform and len(members) > 1:
            layer = self.layer([[(a, b) if uniform[a] else (b, a) for a, b in terms[i]] for i in members])
            if layer:
                first = min([self.new_row(i, False) for i in members])
                affine, inputs = layer
                size = f"{len(inputs)} → {len(members)}"
                begin = [row[starts[i]] if i in starts else zero for i in members]
                operands = [len(members), len(inputs), *affine, first, *begin, *inputs]
                program.append(Instruction("layer", operands, work, work, size))
                return
        operands, most = [len(members)], 0
        for i in members:
            mixed: list[int] = []
            lanes: list[int] = []
            for a, b in terms[i]:
                if is_uniform or uniform[a]:
                    mixed += row[a], row[b]
                elif uniform[b]:
                    mixed += row[b], row[a]
                else:
                    lanes += row[a], row[b]
            most = max(most, len(terms[i]))
            start = row[starts[i]] if i in starts else zero
            operands += (self.new_row(i, is_uniform), start, len(mixed) // 2, len(lanes) // 2, *mixed, *lanes)
        program.append(Instruction("dot", operands, len(members), work, f"of up to {most} products"))

    def layer(self, terms: list[list[Term]]) -> tuple[tuple[int, int, int], list[int]] | None:
        # Where the weights of sums are, and their inputs, if these are the same in all.
        row, uniform = self.row, self.graph.is_uniform
        if len(terms[0]) < 2 or not all(uniform[a] and not uniform[b] for line in terms for a, b in line):
            return None
        affine = _affine([[row[a] for a, _ in line] for line in terms])
        inputs = [b for _, b in terms[0]]
        if affine is None or not all([b for _, b in line] == inputs for line in terms):
            return None
        return affine, [row[b] for b in inputs]

    # Sums over lanes

    def summed(self) -> dict[int, list[Term]]:
        # Of each gradient that differs between lanes: its terms, if it has no other use, else itself.
        s, graph = self.s, self.graph
        counts: dict[int, int] = defaultdict(int)
        for g in s.gradients:
            counts[g] += 1
        found: dict[int, list[Term]] = {}
        for g, n in counts.items():
            if not graph.is_uniform[g] and s.uses[g] == n and g in s.terms:
                found[g] = s.terms[g]
        return found

    def sum_up(self, summed: dict[int, list[Term]]) -> None:
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
