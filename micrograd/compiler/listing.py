"""Programs as lists of instructions: to be read, drawn, measured, and assembled for the machine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..engine import Value
from ..rules import Rule

if TYPE_CHECKING:
    from ..drawing import Drawing

__all__ = ["Instruction", "Listing"]


@dataclass
class Instruction:
    """One line of a program.

    Attributes:
        key: a rule, or the name of one of the fixed instructions.
        operands: its numbers, as :mod:`micrograd.compiler.sources` describes them.
        count: how many operations of the graph it does.
        work: how many additions and multiplications a lane takes.
        note: what it is made of.
    """

    key: str | Rule
    operands: list[int]
    count: int
    work: int
    note: str = ""

    @property
    def name(self) -> str:
        return self.key if isinstance(self.key, str) else self.key.name

    def rows(self) -> tuple[list[int], list[int]]:
        """The rows that it reads, and those that it writes; sums over lanes are no rows."""
        x, k = self.operands, 1
        reads: list[int] = []
        writes: list[int] = []
        if isinstance(self.key, Rule):
            width = 1 + len(self.key.names)
            writes = x[1::width]
            reads = [row for i in range(1, len(x), width) for row in x[i + 1 : i + width]]
        elif self.key == "fill":
            writes = x[1::2]
        elif self.key == "layer":
            writes, reads = list(range(x[5], x[5] + x[0])), x[6 + x[0] :]
        elif self.key == "outer":
            reads = x[5:]
        elif self.key == "total":
            reads = x[2::3]
        elif self.key == "dot":
            for _ in range(x[0]):
                mixed, lanes = x[k + 2 : k + 4]
                writes.append(x[k])
                k += 4
                reads += x[k + 1 : k + 2 * mixed : 2] + x[k + 2 * mixed : k + 2 * (mixed + lanes)]
                k += 2 * (mixed + lanes)
        return reads, writes


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
            reads, writes = one.rows()
            label = f"{one.count} × {one.name}" + f"\n{one.note}" * bool(one.note)
            graph.node(f"i{i}", graphviz.escape(label).replace("\n", "\\n"))
            for source in dict.fromkeys(made[row] for row in reads if row in made):
                graph.edge(source, f"i{i}")
            made.update(dict.fromkeys(writes, f"i{i}"))
        return Drawing(graph.source)
