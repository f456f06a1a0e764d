"""Graphs that print as Python source: what the strategies draw, and the counterexamples of ``diagnose``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..engine import Value, lift, operation
from ..rules import Rule

__all__ = ["Expression", "Step"]


class Step(NamedTuple):
    """One node of a graph: an operation, and the indexes of the nodes that are its operands."""

    rule: Rule
    operands: tuple[int, ...]


@dataclass(frozen=True)
class Expression:
    """A random expression graph, and a point at which it is well defined.

    Called with numbers it returns a number, called with Values it returns a Value. It prints as Python source.

    Attributes:
        point: one number per argument.
        steps: the operations, each on arguments and earlier steps; the last one is the result.

    >>> from micrograd.rules import RULES
    >>> e = Expression((0.5, 2.0), (Step(RULES["*"], (0, 1)), Step(RULES["tanh"], (2,)), Step(RULES["+"], (2, 3))))
    >>> print(e)
    from micrograd.rules import RULES
    def f(x0, x1):
        x2 = x0 * x1
        x3 = RULES['tanh'](x2)
        return x2 + x3
    f(0.5, 2.0)
    >>> e(0.5, 2.0)
    1.7615941559557649
    >>> e(Value(0.5), 2.0).op
    '+'
    """

    point: tuple[float, ...]
    steps: tuple[Step, ...]

    @property
    def size(self) -> int:
        """The number of nodes: operations, and arguments that are used."""
        return len(self.steps) + len({i for step in self.steps for i in step.operands if i < len(self.point)})

    def __call__(self, *arguments: Any) -> Any:
        if not any(isinstance(argument, Value) for argument in arguments):
            return self._run([float(x) for x in arguments], lambda rule: rule.forward)
        return self._run([lift(x) for x in arguments], operation)

    def _run(self, nodes: list[Any], meaning: Callable[[Rule], Callable[..., Any]]) -> Any:
        if len(nodes) != len(self.point):
            raise TypeError(f"the expression takes {len(self.point)} arguments, not {len(nodes)}")
        for step in self.steps:
            nodes.append(meaning(step.rule)(*[nodes[i] for i in step.operands]))
        return nodes[-1]

    def function(self) -> Callable[..., Any]:
        """Compiles the printed source to a plain function.

        >>> from micrograd.rules import RULES
        >>> Expression((3.0,), (Step(RULES["neg"], (0,)),)).function()(5.0)
        -5.0
        """
        scope: dict[str, Any] = {}
        exec(str(self).rpartition("\n")[0], scope)
        made: Callable[..., Any] = scope["f"]
        return made

    def __str__(self) -> str:
        count = len(self.point)
        last = count + len(self.steps) - 1
        lines = [f"def f({', '.join(f'x{i}' for i in range(count))}):"]
        for i, step in enumerate(self.steps, count):
            lines.append(f"    {'return' if i == last else f'x{i} ='} {_source(step)}")
        if any("RULES" in line for line in lines):
            lines.insert(0, "from micrograd.rules import RULES")
        return "\n".join([*lines, f"f({', '.join(map(repr, self.point))})"])

    __repr__ = __str__

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # Hypothesis prints a failing example by this
        printer.text(str(self))


def _source(step: Step) -> str:
    names = [f"x{i}" for i in step.operands]
    name, constants = step.rule.name, step.rule.constants
    if name == "neg":
        return f"-{names[0]}"
    if name == "power":
        return f"{names[0]} ** {constants['n']!r}"
    if len(names) == 2 and not name.isidentifier():
        return f"{names[0]} {name} {names[1]}"
    keywords = [f"{key}={value!r}" for key, value in constants.items()]
    return f"RULES[{name!r}]({', '.join(names + keywords)})"
