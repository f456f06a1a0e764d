"""Exercises in the chain rule: a small random graph, whose gradients are asked for one after the other.

>>> exercise = Exercise.draw(seed=5)
>>> print(exercise)
a = -2
b = 4
c = a + b = 2
d = b * c = 8
e = c * d = 16
>>> exercise.questions
['e', 'd', 'c', 'b', 'a']
>>> exercise.find_answer("c")
16.0
>>> print(exercise.explain("c", 8.0))
No, not 8. c is used more than once: what its uses give is added.
d = b * c gives ∂d/∂c · ∂e/∂d = 4 · 2 = 8
e = c * d gives ∂e/∂c · ∂e/∂e = 8 · 1 = 8
∂e/∂c is 16.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import combinations
from typing import NamedTuple

from ..engine import Value, grad, operation, topological_order
from ..rules import RULES
from ..stepping import contributions, write_expression
from .probes import agree

__all__ = ["Exercise", "practise"]

_OPERATIONS = ("+", "-", "*", "*", "neg", "relu", "power")


@dataclass(frozen=True)
class Exercise:
    """A graph whose gradients are asked for.

    Attributes:
        root: the node whose derivatives are asked for.
        names: the names of all nodes.
    """

    root: Value
    names: dict[Value, str] = field(repr=False)

    @classmethod
    def draw(cls, seed: int | None = None) -> Exercise:
        """Draws an exercise: whole numbers, three operations on two leaves, one node at least used twice.

        Args:
            seed: the same number gives the same exercise.
        """
        rng = random.Random(seed)
        while True:
            nodes = [Value(rng.choice((-3, -2, -1, 2, 3, 4))) for _ in range(2)]
            for _ in range(3):
                rule = RULES[rng.choice(_OPERATIONS)]
                operands = [nodes[-1], *rng.sample(nodes[:-1], k=len(rule.names) - 1)]
                rng.shuffle(operands)
                nodes.append(operands[0] ** 2 if rule.name == "power" else operation(rule)(*operands))
            exercise = cls(nodes[-1], dict(zip(nodes, "abcde", strict=True)))
            if exercise.is_good():
                return exercise

    def is_good(self) -> bool:
        """Whether all nodes are used, one of them twice, and no number is large or uninteresting."""
        nodes = topological_order(self.root)
        gradients = grad(self.root, nodes)
        uses = [len(list(self._list_uses(node))) for node in nodes]
        numbers = [*gradients, *(node.data for node in nodes)]
        return len(nodes) == 5 and max(uses) > 1 and max(map(abs, numbers)) < 100 and sum(map(bool, gradients)) > 3

    @property
    def questions(self) -> list[str]:
        """The names of the nodes, in the order in which their gradients are asked for: from the root to the leaves."""
        return list(self.names.values())[::-1]

    def find_answer(self, name: str) -> float:
        """The derivative of the root by a node.

        Raises:
            KeyError: if no node has that name.
        """
        (answer,) = grad(self.root, [self._find(name)])
        return float(answer)

    def explain(self, name: str, given: float) -> str:
        """Says which rule a wrong answer missed, and computes the right one."""
        node, root = self._find(name), self.names[self.root]
        if node is self.root:
            return f"No, not {given:g}. The derivative of a node by itself is 1: ∂{root}/∂{root} = 1"
        uses = list(self._list_uses(node))
        lines = [f"No, not {given:g}. {self._find_mistake(name, uses, given)}"]
        for use in uses:
            child = self.names[use.child]
            lines.append(
                f"{child} = {write_expression(use.child, self.names)} gives ∂{child}/∂{name} · ∂{root}/∂{child} = "
                f"{use.local:g} · {use.upstream:g} = {use.given:g}"
            )
        return "\n".join([*lines, f"∂{root}/∂{name} is {self.find_answer(name):g}."])

    def _find_mistake(self, name: str, uses: list[_Use], given: float) -> str:
        gifts = [use.given for use in uses]
        for count in range(1, len(uses)):
            if any(agree(given, sum(some)) for some in combinations(gifts, count)):
                return f"{name} is used more than once: what its uses give is added."
        for i, use in enumerate(uses):
            others = sum(gifts) - gifts[i]
            child = self.names[use.child]
            for wrong, rule in self._list_mistakes(use, child, name):
                if agree(given, others + wrong):
                    return rule
        if agree(given, sum(use.local for use in uses)):
            return "The chain rule multiplies each local gradient by the gradient of the operation's result."
        if agree(given, sum(use.upstream for use in uses)):
            return "The chain rule multiplies the gradient of each operation's result by the local gradient."
        return "The chain rule: for each use, the local gradient times the gradient of the result, all added."

    def _list_mistakes(self, use: _Use, child: str, name: str) -> Iterator[tuple[float, str]]:
        # What a use gives if a rule is missed, and the rule.
        step = f"{child} = {write_expression(use.child, self.names)}"
        if use.child.op == "*":
            yield use.node.data * use.upstream, f"{step}: the local gradient of a product is the other factor."
        if use.child.op == "**2":
            yield use.node.data * use.upstream, f"{step}: the local gradient of x² is 2x."
            yield 2 * use.upstream, f"{step}: the local gradient of x² is 2x."
        if use.child.op == "relu":
            yield (1 - use.local) * use.upstream, f"{step}: the slope of relu is 1 above 0, and 0 below."
        if use.child.op in ("-", "neg"):
            yield -use.local * use.upstream, f"{step}: the local gradient of what is subtracted is -1."
        yield use.local, f"{step}: the local gradient has to be multiplied by the gradient of {child}."
        yield use.upstream, f"{step}: the gradient of {child} has to be multiplied by the local gradient."
        yield -use.local * use.upstream, f"{step}: the sign is wrong."

    def _find(self, name: str) -> Value:
        return {text: node for node, text in self.names.items()}[name]

    def _list_uses(self, node: Value) -> Iterator[_Use]:
        for child in self.names:
            for place, parent in enumerate(child.parents):
                if parent is node:
                    (upstream,) = grad(self.root, [child])
                    yield _Use(node, child, contributions(child)[place], upstream)

    def __str__(self) -> str:
        lines = []
        for node, name in self.names.items():
            made = f"{write_expression(node, self.names)} = " if node.parents else ""
            lines.append(f"{name} = {made}{node.data:g}")
        return "\n".join(lines)


class _Use(NamedTuple):
    # One use of a node as an operand of a child, with its local gradient and the gradient of the child.
    node: Value
    child: Value
    local: float
    upstream: float

    @property
    def given(self) -> float:
        return self.local * self.upstream


def practise(exercise: Exercise, ask: Callable[[str], str], show: Callable[[str], object]) -> bool:
    """Asks for the gradients of an exercise, and explains each wrong answer by the rule that was missed.

    After a wrong answer the next one is asked for. An empty answer shows the right one; the end of the input ends it.

    Args:
        exercise: the exercise.
        ask: returns what somebody answers to a question, like ``input``.
        show: shows a text, like ``print``.

    Returns:
        Whether all answers were right.

    >>> answers = iter(["1", "2", "8", "20", ""])
    >>> practise(Exercise.draw(seed=5), lambda question: next(answers), print)
    a = -2
    b = 4
    c = a + b = 2
    d = b * c = 8
    e = c * d = 16
    <BLANKLINE>
    The derivative of e by each node, from e to the leaves:
    No, not 8. c is used more than once: what its uses give is added.
    d = b * c gives ∂d/∂c · ∂e/∂d = 4 · 2 = 8
    e = c * d gives ∂e/∂c · ∂e/∂e = 8 · 1 = 8
    ∂e/∂c is 16.
    ∂e/∂a is 16.
    3 of 5 are right.
    False
    """
    root = exercise.names[exercise.root]
    show(f"{exercise}\n\nThe derivative of {root} by each node, from {root} to the leaves:")
    right = 0
    for name in exercise.questions:
        answer = exercise.find_answer(name)
        try:
            given = _ask_number(f"∂{root}/∂{name} = ", ask, show)
        except EOFError:
            break
        if given is None:
            show(f"∂{root}/∂{name} is {answer:g}.")
        elif agree(given, answer):
            right += 1
        else:
            show(exercise.explain(name, given))
    show(f"{right} of {len(exercise.questions)} are right.")
    return right == len(exercise.questions)


def _ask_number(question: str, ask: Callable[[str], str], show: Callable[[str], object]) -> float | None:
    while True:
        text = ask(question).strip()
        try:
            return float(text) if text else None
        except ValueError:
            show(f"{text!r} is no number.")
