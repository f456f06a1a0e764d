"""The two passes, one operation and one application of the chain rule at a time.

>>> from micrograd import Value
>>> w, x, b = Value(-3.0, label="w"), Value(2.0, label="x"), Value(7.0, label="b")
>>> y = (w * x + b).tanh()
>>> for step in y.steps(names=locals()):
...     print(step)
y = tanh(%4): ∂y/∂%4 = tanh_slope(%4) = 0.419974; times y.grad, 1, is 0.419974; %4.grad: 0 → 0.419974
%4 = %2 + b: ∂%4/∂%2 = 1; times %4.grad, 0.419974, is 0.419974; %2.grad: 0 → 0.419974
%4 = %2 + b: ∂%4/∂b = 1; times %4.grad, 0.419974, is 0.419974; b.grad: 0 → 0.419974
%2 = w * x: ∂%2/∂w = x = 2; times %2.grad, 0.419974, is 0.839949; w.grad: 0 → 0.839949
%2 = w * x: ∂%2/∂x = w = -3; times %2.grad, 0.419974, is -1.25992; x.grad: 0 → -1.25992
>>> for step in y.forward_steps(names=locals()):
...     print(step)
%2 = w * x = -3 * 2 = -6
%4 = %2 + b = -6 + 7 = 1
y = tanh(%4) = tanh(1) = 0.761594
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .engine import Number, Value, lift
from .naming import name_nodes

__all__ = [
    "BackwardPass", "BackwardStep", "ForwardStep", "backward_steps", "contributions", "forward_steps", "local_formula",
    "written",
]  # fmt: skip


def contributions(node: Value, upstream: float = 1.0) -> list[float]:
    """What the chain rule adds to the gradient of each parent: local gradient times upstream gradient; touches nothing.

    With an upstream gradient of 1, these are the local gradients.

    Raises:
        ValueError, ArithmeticError: what Python's float raises, with the operation and the operands.

    >>> from micrograd import Value
    >>> x = Value(3.0)
    >>> contributions(x * 5, 2.0), contributions(x * x)
    ([10.0, 6.0], [3.0, 3.0])
    """
    copy = _copy(node)
    copy._grad = upstream
    try:
        if copy.op:
            node.rule.pull(copy)
    except (ArithmeticError, ValueError) as error:
        raise node.rule.explain(error, node.parents, "in the gradient of ") from None
    return [parent.grad for parent in copy.parents]


def _copy(node: Value) -> Value:
    # The same operation on leaves with the data of the node's parents, apart from its graph.
    copy = Value(node._data)
    copy._parents, copy.rule = tuple([Value(parent._data) for parent in node.parents]), node.rule
    return copy


@dataclass(frozen=True)
class BackwardStep:
    """One application of the chain rule: ``parent.grad += local * upstream``.

    Attributes:
        node: the operation's result.
        parent: the operand that gets a part of its gradient.
        operand: which operand of the node that is, counted from 0.
        local: the local gradient ∂node/∂parent.
        upstream: the node's own gradient.
        contribution: ``local * upstream``.
        before: the parent's gradient before.
        after: the parent's gradient after.
        names: what the nodes are called.
    """

    node: Value
    parent: Value
    operand: int
    local: float
    upstream: float
    contribution: float
    before: float
    after: float
    names: Mapping[Value, str] = field(repr=False)

    @property
    def formula(self) -> str:
        """The local gradient as a formula, of the table in :mod:`micrograd.rules`."""
        return local_formula(self.node, self.operand, self.names)

    def __str__(self) -> str:
        node, parent = self.names[self.node], self.names[self.parent]
        local = _number(self.local)
        formula = "" if self.formula == local else f"{self.formula} = "
        return (
            f"{node} = {written(self.node, self.names)}: ∂{node}/∂{parent} = {formula}{local}; times {node}.grad, "
            f"{_number(self.upstream)}, is {_number(self.contribution)}; "
            f"{parent}.grad: {_number(self.before)} → {_number(self.after)}"
        )


@dataclass(frozen=True)
class ForwardStep:
    """One operation of the forward pass.

    Attributes:
        node: the operation's result.
        value: its number.
        before: the number that it had before.
        names: what the nodes are called.
    """

    node: Value
    value: float
    before: float
    names: Mapping[Value, str] = field(repr=False)

    @property
    def formula(self) -> str:
        """The operation on its operands."""
        return written(self.node, self.names)

    def __str__(self) -> str:
        numbers = {parent: _number(parent.data) for parent in self.node.parents}
        return f"{self.names[self.node]} = {self.formula} = {written(self.node, numbers)} = {_number(self.value)}"


class BackwardPass:
    """The backward pass, which can be walked in both directions.

    It begins with gradients of 0, and 1 at the root. The gradients that leaves have from before are set aside, and
    added when it is closed.

    Args:
        root: what is differentiated.
        names: variables by which nodes are called, like ``locals()``.

    >>> x = Value(3.0, label="x")
    >>> walk = BackwardPass(x * x)
    >>> walk.forth().after, walk.forth().after
    (3.0, 6.0)
    >>> walk.back().before, x.grad
    (3.0, 3.0)
    >>> walk.close()
    """

    def __init__(self, root: Value, names: Mapping[str, Any] | None = None) -> None:
        self.root = root
        self.names = name_nodes(root, names)
        operations = [node for node in self.names if node.parents]
        self.edges = [(node, i) for node in reversed(operations) for i in range(len(node.parents))]
        """Every application of the chain rule, in order: the node, and which of its operands."""
        self.done: list[BackwardStep] = []
        self._before = [(leaf, leaf.grad) for leaf in self.names if leaf.grad and not leaf.parents]
        self._at: Value | None = None
        self.clear()

    def clear(self) -> None:
        """Sets all gradients to those of the beginning, whatever they are."""
        for node in self.names:
            node.grad = 0.0
        self.root.grad = 1.0
        self.done.clear()
        self._at = None

    def forth(self) -> BackwardStep:
        """Takes the next step.

        Raises:
            IndexError: if there is none.
            ValueError, ArithmeticError: what Python's float raises, with the operation and the operands.
        """
        node, i = self.edges[len(self.done)]
        if node is not self._at:  # its own gradient is complete now
            self._local, self._contributions = contributions(node), contributions(node, node.grad)
            self._at = node
        parent = node.parents[i]
        before, given = parent.grad, self._contributions[i]
        parent.grad = before + given
        step = BackwardStep(node, parent, i, self._local[i], node.grad, given, before, parent.grad, self.names)
        self.done.append(step)
        return step

    def back(self) -> BackwardStep:
        """Takes the last step back, and returns it.

        Raises:
            IndexError: if there is none.
        """
        step = self.done.pop()
        step.parent.grad = step.before
        self._at = None
        return step

    def close(self) -> None:
        """Ends the pass where it is: leaves get the gradients that they had before on top."""
        for leaf, gradient in self._before:
            leaf.grad += gradient
        self._before.clear()


def backward_steps(root: Value, names: Mapping[str, Any] | None = None) -> Iterator[BackwardStep]:
    """The backward pass, step by step. At its end all gradients are what ``backward()`` makes them.

    Meanwhile leaves have the gradients of this pass alone; those from before are added when it ends, or is left.

    Args:
        root: what is differentiated.
        names: variables by which nodes are called, like ``locals()``.

    Raises:
        ValueError, ArithmeticError: as ``backward()``; the leaves' gradients are then as they were.
    """
    walk = BackwardPass(root, names)
    try:
        for _ in walk.edges:
            yield walk.forth()
    except (ArithmeticError, ValueError):
        walk.clear()
        root.grad = 0.0
        raise
    finally:
        walk.close()


def forward_steps(root: Value, names: Mapping[str, Any] | None = None) -> Iterator[ForwardStep]:
    """The forward pass once more, step by step: every operation is computed anew from what the leaves have now.

    Args:
        root: the last node.
        names: variables by which nodes are called, like ``locals()``.

    Raises:
        ValueError, ArithmeticError: what Python's float raises, with the operation and the operands; all data are then
            as they were.

    >>> x = Value(2.0, label="x")
    >>> y = x * x
    >>> x.data = 5.0
    >>> print(*y.forward_steps())
    %1 = x * x = 5 * 5 = 25
    """
    called = name_nodes(root, names)
    before = [(node, node.data) for node in called if node.parents]
    try:
        for node, data in before:
            try:
                node.data = node.rule.forward(*[parent.data for parent in node.parents])
            except (ArithmeticError, ValueError) as error:
                raise node.rule.explain(error, node.parents) from None
            yield ForwardStep(node, node.data, data, called)
    except (ArithmeticError, ValueError):
        for node, data in before:
            node.data = data
        raise


def local_formula(node: Value, operand: int, names: Mapping[Value, str]) -> str:
    """The local gradient of a node by one of its operands, as a formula.

    It is the table's own text, run on Values: what they remember is the formula for these operands.

    >>> x = Value(3.0)
    >>> y = x**3
    >>> local_formula(y, 0, {x: "x", y: "y"})
    '3 * x**2'
    """
    if hasattr(node.rule, "slopes"):  # of a compiled function: numbers are all there is
        return _number(node.rule.slopes[operand])
    copy = _copy(node)
    pairs: list[list[tuple[Number, Number]]] = [[] for _ in copy.parents]  # of local and upstream gradient
    for parent, arriving in zip(copy.parents, pairs, strict=True):
        parent._grad = arriving  # type: ignore[assignment]
    try:
        node.rule.pull_values(copy)
    except TypeError:  # it is written for floats only: then its text has to do
        return node.rule.local[0 if node.rule.variadic else operand]
    called = {parent: names[named] for parent, named in zip(copy.parents, node.parents, strict=True)}
    return written(lift(pairs[operand][0][0]), {**called, copy: names[node]}, whole=True)


# How tightly an operation binds its operands.
_BINDING = {"+": 1, "-": 1, "*": 2, "/": 2, "neg": 3, "**": 4}
_TIGHT = 5


def written(node: Value, names: Mapping[Value, str], whole: bool = False) -> str:
    """The operation that made a node as an expression of its parents' names.

    Args:
        node: the node.
        names: what its parents are called.
        whole: write what has no name as an expression of its own parents in turn.

    >>> x, y = Value(2.0), Value(3.0)
    >>> written((x + 1) * y, {x: "x", y: "y"}, whole=True)
    '(x + 1) * y'
    """
    return _written(node, {name: text for name, text in names.items() if whole or name is not node})[0]


def _written(node: Value, names: Mapping[Value, str]) -> tuple[str, int]:
    if node in names:
        return names[node], 3 if names[node].startswith("-") else _TIGHT
    if not node.parents:
        return _number(node.data), 3 if node.data < 0 else _TIGHT
    name, constants = node.op, node.rule.constants
    parts = [_written(parent, names) for parent in node.parents[:6]]
    if name.startswith("**") and "n" in constants:
        n = constants["n"]
        exponent = f"({_number(n)})" if n < 0 else _number(n)
        return parts[0] if n == 1 else (f"{_bracketed(parts[0], 5)}**{exponent}", 4)
    binding = _BINDING.get(name)
    if binding is None or len(parts) > 2:
        more = ["…"] if len(node.parents) > len(parts) else []
        return f"{name}({', '.join([text for text, _ in parts] + more)})", _TIGHT
    if len(parts) == 1:
        return f"-{_bracketed(parts[0], binding + 1)}", binding
    left, right = _bracketed(parts[0], binding + (name == "**")), _bracketed(parts[1], binding + (name in "-/"))
    return (f"{left}**{right}" if name == "**" else f"{left} {name} {right}"), binding


def _bracketed(part: tuple[str, int], least: int) -> str:
    text, binding = part
    return text if binding >= least else f"({text})"


def _number(x: float) -> str:
    return f"{x:.6g}"
