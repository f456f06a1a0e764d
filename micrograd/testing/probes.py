"""Small graphs, run on a ``Value`` class of anybody's, and what came out beside what should have come out.

A class is expected to have the interface of the published package: ``Value(data)``, ``data``, ``grad``, operators and
``backward()``.

>>> from micrograd import Value
>>> from micrograd.rules import RULES
>>> from micrograd.testing.expression import Step
>>> probe = Probe((3.0, 2.0), (Step(RULES["*"], (0, 1)), Step(RULES["tanh"], (2,))), plain=frozenset([1]))
>>> print(probe)
x2 = x0 * 2.0; x3 = x2.tanh(), at x0 = 3.0
>>> answer = ask(Value, probe)
>>> answer.gradients == probe.gradients
True
"""

from __future__ import annotations

import inspect
import math
import operator
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from types import FrameType
from typing import Any

from ..engine import Value, grad, operation
from ..rules import Rule
from .expression import Expression, Step

__all__ = [
    "Answer",
    "EndlessError",
    "Probe",
    "agree",
    "apply",
    "ask",
    "find_method",
    "limit_instructions",
    "read_number",
    "run_backward",
]  # fmt: skip

INSTRUCTIONS = 1_000_000
"""The number of Python's instructions that a class may run for a graph of a few nodes."""

_OPERATORS: dict[str, Callable[..., Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "**": operator.pow,
    "neg": operator.neg,
}


class EndlessError(BaseException):
    """Code ran more instructions than it may. No ``except Exception`` of that code catches it."""


@dataclass(frozen=True)
class Probe:
    """A graph of at most four nodes.

    Attributes:
        point: the arguments, its first nodes.
        steps: the operations, each on arguments and earlier steps; the last one is the root.
        plain: the indexes of the arguments that are given as plain numbers; the others are given as Values.
    """

    point: tuple[float, ...]
    steps: tuple[Step, ...]
    plain: frozenset[int] = frozenset()

    @property
    def expression(self) -> Expression:
        """The graph as an expression, whose arguments are also those given as plain numbers."""
        return Expression(self.point, self.steps)

    @cached_property
    def nodes(self) -> list[Value]:
        """The nodes of the expression, arguments first, in this package's own Values."""
        nodes = [Value(x) for x in self.point]
        for step in self.steps:
            nodes.append(operation(step.rule)(*[nodes[i] for i in step.operands]))
        return nodes

    @cached_property
    def data(self) -> list[float]:
        """The value that every node should have."""
        return [node.data for node in self.nodes]

    @cached_property
    def gradients(self) -> list[float | None]:
        """The gradient that every node should have; None for a plain number, which has none."""
        found = grad(self.nodes[-1], self.nodes)
        return [None if i in self.plain else gradient for i, gradient in enumerate(found)]

    @property
    def is_defined(self) -> bool:
        """Whether all values and gradients exist."""
        try:
            return all(math.isfinite(x or 0.0) for x in (*self.data, *self.gradients))
        except (ArithmeticError, ValueError):
            return False

    @property
    def leaves(self) -> list[int]:
        """The indexes of the arguments that are Values."""
        return [i for i in range(len(self.point)) if i not in self.plain]

    def name(self, node: int) -> str:
        """The name of a node in the text of the probe: a plain number is written as itself."""
        return repr(self.point[node]) if node in self.plain else f"x{node}"

    def write_step(self, node: int) -> str:
        """Writes the step that makes a node, as a student would write it."""
        step = self.steps[node - len(self.point)]
        names = [self.name(i) for i in step.operands]
        return f"x{node} = {_write(step.rule, names)}"

    def __str__(self) -> str:
        count = len(self.point)
        steps = "; ".join(self.write_step(count + i) for i in range(len(self.steps)))
        return f"{steps}, at {', '.join(f'x{i} = {self.point[i]!r}' for i in self.leaves)}"


def _write(rule: Rule, names: list[str]) -> str:
    if rule.name == "neg":
        return f"-{names[0]}"
    if rule.name == "power":
        return f"{names[0]} ** {_exponent(rule)!r}"
    if rule.name in _OPERATORS and len(names) == 2:
        return f"{names[0]} {rule.name} {names[1]}"
    return f"abs({names[0]})" if rule.name == "abs" else f"{names[0]}.{rule.name}({', '.join(names[1:])})"


def _exponent(rule: Rule) -> float:
    n: float = rule.constants["n"]
    return int(n) if n == int(n) else n


def find_method(engine: Any, name: str) -> str:
    """The name of a class's method for an operation of one operand, whatever its capitals; empty if it has none.

    A method that needs more, such as a logarithm's base, is another operation.

    >>> class Student:
    ...     def ReLU(self): ...
    ...     def log(self, base): ...
    >>> [find_method(Student, name) for name in ("relu", "tanh", "log")]
    ['ReLU', '', '']
    """
    names = (name, f"__{name}__")  # the second is what abs() calls
    found = [method for method in dir(engine) if method.lower() in names and _takes_one(getattr(engine, method, None))]
    return found[0] if found else ""


def _takes_one(method: Any) -> bool:
    try:
        inspect.signature(method).bind(None)
    except (TypeError, ValueError):  # it can't be called, needs more, or is not written in Python
        return False
    return True


def apply(rule: Rule, operands: list[Any]) -> Any:
    """Applies an operation to objects of any class, by its operator or its method."""
    if rule.name == "power":
        return operands[0] ** _exponent(rule)
    if rule.name in _OPERATORS:
        return _OPERATORS[rule.name](*operands)
    return getattr(operands[0], find_method(type(operands[0]), rule.name))(*operands[1:])


@dataclass
class Answer:
    """What a class made of a probe.

    Attributes:
        probe: the probe.
        nodes: its objects, one per argument and step, as far as they were made.
        data: the value of each object before ``backward()``.
        after: the same after it.
        gradients: the gradient of each object after ``backward()``; None for plain numbers.
        error: what was raised, or None.
        during: when it was raised: ``"construction"``, ``"forward"``, ``"backward"``, or empty.
    """

    probe: Probe
    nodes: list[Any] = field(default_factory=list)
    data: list[float] = field(default_factory=list)
    after: list[float] = field(default_factory=list)
    gradients: list[float | None] = field(default_factory=list)
    error: BaseException | None = None
    during: str = ""

    @property
    def changed(self) -> list[int]:
        """The nodes whose data ``backward()`` changed."""
        return [i for i, (before, after) in enumerate(zip(self.data, self.after, strict=False)) if before != after]

    def list_wrong_leaves(self) -> list[int]:
        """The arguments whose gradients are not those that they should be."""
        expected = self.probe.gradients
        return [i for i in self.probe.leaves if not agree(self.gradients[i], expected[i])]


def agree(got: float | None, expected: float | None) -> bool:
    """Whether two numbers agree as far as float32, and gradients by finite differences, can tell.

    >>> agree(1.000001, 1.0), agree(1.001, 1.0), agree(None, 0.0)
    (True, False, True)
    """
    got, expected = got or 0.0, expected or 0.0
    return abs(got - expected) <= 1e-5 * abs(expected) + 1e-7


def ask(
    engine: Callable[[float], Any], probe: Probe, backward: bool = True, instructions: int = INSTRUCTIONS
) -> Answer:
    """Builds the probe of a class's objects and calls ``backward()`` on the last one. Nothing that it raises escapes.

    Args:
        engine: the class.
        probe: the graph.
        backward: whether to call ``backward()``.
        instructions: the number of Python's instructions that this may run.
    """
    answer = Answer(probe)
    try:
        with limit_instructions(instructions):
            answer.during = "construction"
            for i, x in enumerate(probe.point):
                answer.nodes.append(x if i in probe.plain else engine(x))
            answer.data = _read_all(answer, "data")
            answer.during = "forward"
            for step in probe.steps:
                answer.nodes.append(apply(step.rule, [answer.nodes[i] for i in step.operands]))
                answer.data.append(read_number(answer.nodes[-1], "data"))
            if backward:
                answer.during = "backward"
                run_backward(answer)
            answer.during = ""
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever the class raises is found out about it
        answer.error = error
    return answer


def run_backward(answer: Answer) -> None:
    """Calls ``backward()`` on the last object of an answer, and reads all numbers again."""
    answer.nodes[-1].backward()
    plain = answer.probe.plain
    answer.gradients = [None if i in plain else x for i, x in enumerate(_read_all(answer, "grad"))]
    answer.after = _read_all(answer, "data")


def _read_all(answer: Answer, attribute: str) -> list[float]:
    return [x if i in answer.probe.plain else read_number(x, attribute) for i, x in enumerate(answer.nodes)]


def read_number(node: Any, attribute: str) -> float:
    """The number that an attribute of an object holds; None counts as 0.

    Raises:
        TypeError: if there is no such attribute, or it is no number.

    >>> read_number([], "data")
    Traceback (most recent call last):
        ...
    TypeError: list [] has no data: it is not a Value
    """
    if not hasattr(node, attribute):
        raise TypeError(f"{type(node).__name__} {node!r:.80} has no {attribute}: it is not a Value")
    number = getattr(node, attribute)
    try:
        return 0.0 if number is None else float(number)
    except TypeError:
        raise TypeError(f"its {attribute} is no number, but {type(number).__name__} {number!r:.80}") from None


@contextmanager
def limit_instructions(limit: int = INSTRUCTIONS) -> Iterator[None]:
    """Raises an error when the functions that are called in the block have run too many of Python's instructions.

    Unlike a clock it gives the same result on every machine.

    Raises:
        EndlessError: after ``limit`` instructions.

    >>> def loop():
    ...     while True:
    ...         pass
    >>> with limit_instructions(1000):
    ...     loop()
    Traceback (most recent call last):
        ...
    micrograd.testing.probes.EndlessError: it ran more than 1000 instructions
    """
    left = limit

    def trace(frame: FrameType, event: str, argument: Any) -> Callable[..., Any]:
        nonlocal left
        # Python 3.13.0 reports no instructions if the tracing of them begins here, but a line each time that it loops.
        frame.f_trace_lines, frame.f_trace_opcodes = sys.version_info >= (3, 13), True
        left -= 1
        if left < 0:
            raise EndlessError(f"it ran more than {limit} instructions")
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)
