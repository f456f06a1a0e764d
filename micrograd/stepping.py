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
    "write_expression",
]  # fmt: skip


def contributions(node: Value, upstream: float = 1.0) -> list[float]:
    """The products local gradient · upstream gradient, one per parent of a node. No gradient is changed.

    Args:
        node: the result of an operation.
        upstream: the upstream gradient. With 1, the products are the local gradients.

    Raises:
        ValueError, ArithmeticError: if Python's float raises it; the message names the operation and the operands.

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
    # The same operation on new leaves with the data of the node's parents.
    copy = Value(node._data)
    copy._parents, copy.rule = tuple([Value(parent._data) for parent in node.parents]), node.rule
    return copy


@dataclass(frozen=True)
class BackwardStep:
    """One application of the chain rule: ``parent.grad += local * upstream``.

    Attributes:
        node: the operation's result.
        parent: the operand that receives a contribution.
        operand: the index of this operand, counted from 0.
        local: the local gradient ∂node/∂parent.
        upstream: the node's own gradient ∂root/∂node.
        contribution: ``local * upstream``.
        before: the parent's gradient before the step.
        after: the parent's gradient after the step.
        names: the names of the nodes.
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
        """The local gradient as a formula, from the table in :mod:`micrograd.rules`."""
        return local_formula(self.node, self.operand, self.names)

    def __str__(self) -> str:
        node, parent = self.names[self.node], self.names[self.parent]
        local = _number(self.local)
        formula = "" if self.formula == local else f"{self.formula} = "
        return (
            f"{node} = {write_expression(self.node, self.names)}: ∂{node}/∂{parent} = {formula}{local}; "
            f"times {node}.grad, {_number(self.upstream)}, is {_number(self.contribution)}; "
            f"{parent}.grad: {_number(self.before)} → {_number(self.after)}"
        )


@dataclass(frozen=True)
class ForwardStep:
    """One operation of the forward pass.

    Attributes:
        node: the operation's result.
        value: the result's number.
        before: its number before the step.
        names: the names of the nodes.
    """

    node: Value
    value: float
    before: float
    names: Mapping[Value, str] = field(repr=False)

    @property
    def formula(self) -> str:
        """The operation as an expression of its operands."""
        return write_expression(self.node, self.names)

    def __str__(self) -> str:
        numbers = {parent: _number(parent.data) for parent in self.node.parents}
        return (
            f"{self.names[self.node]} = {self.formula} = {write_expression(self.node, numbers)} = {_number(self.value)}"
        )


class BackwardPass:
    """The backward pass, which can step in both directions.

    It starts with a gradient of 1 at the root and 0 at all other nodes. It keeps the gradients that the leaves had, and
    :meth:`close` adds them again.

    Args:
        root: the Value to differentiate.
        names: variables that name nodes, like ``locals()``.

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
        """Every application of the chain rule, in order: the node, and the index of its operand."""
        self.done: list[BackwardStep] = []
        self._before = [(leaf, leaf.grad) for leaf in self.names if leaf.grad and not leaf.parents]
        self._at: Value | None = None
        self.clear()

    def clear(self) -> None:
        """Sets all gradients to those at the start: 1 at the root, 0 elsewhere."""
        for node in self.names:
            node.grad = 0.0
        self.root.grad = 1.0
        self.done.clear()
        self._at = None

    def forth(self) -> BackwardStep:
        """Takes the next step.

        Raises:
            IndexError: if the pass is complete.
            ValueError, ArithmeticError: if Python's float raises it; the message names the operation and the operands.
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
        """Undoes the last step, and returns it.

        Raises:
            IndexError: if no step was taken.
        """
        step = self.done.pop()
        step.parent.grad = step.before
        self._at = None
        return step

    def close(self) -> None:
        """Ends the pass at the present step, and adds the gradients that the leaves had before the pass."""
        for leaf, gradient in self._before:
            leaf.grad += gradient
        self._before.clear()


def backward_steps(root: Value, names: Mapping[str, Any] | None = None) -> Iterator[BackwardStep]:
    """Runs the backward pass step by step. At the end all gradients are those that ``backward()`` computes.

    Until then the leaves have the gradients of this pass alone. Their previous gradients are added when the iterator
    ends or is closed.

    Args:
        root: the Value to differentiate.
        names: variables that name nodes, like ``locals()``.

    Raises:
        ValueError, ArithmeticError: as ``backward()``; the leaves then keep the gradients that they had.

    >>> x = Value(2.0, label="x")
    >>> [step.contribution for step in backward_steps(x * x)]
    [2.0, 2.0]
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
    """Runs the forward pass again, step by step: computes every operation from the current data of the leaves.

    Args:
        root: the last node.
        names: variables that name nodes, like ``locals()``.

    Raises:
        ValueError, ArithmeticError: if Python's float raises it; the message names the operation and the operands. All
            nodes then keep the data that they had.

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

    The table's text runs on Values. The graph that it makes is the formula for these operands.

    Args:
        node: the result of an operation.
        operand: the index of the operand, counted from 0.
        names: the names of the node and its parents.

    >>> x = Value(3.0)
    >>> y = x**3
    >>> local_formula(y, 0, {x: "x", y: "y"})
    '3 * x**2'
    """
    if hasattr(node.rule, "slopes"):  # a call of a compiled function: its slopes are numbers
        return _number(node.rule.slopes[operand])
    copy = _copy(node)
    factors: list[list[Number]] = [[] for _ in copy.parents]  # of each: the local gradient, the upstream gradient
    for parent, arriving in zip(copy.parents, factors, strict=True):
        parent._grad = arriving  # type: ignore[assignment]
    try:
        node.rule.pull_values(copy)
    except TypeError:  # the text runs on floats only: show the text itself
        return node.rule.local[0 if node.rule.variadic else operand]
    called = {parent: names[named] for parent, named in zip(copy.parents, node.parents, strict=True)}
    return write_expression(lift(factors[operand][0]), {**called, copy: names[node]}, whole=True)


# The precedence of operators: a higher number binds more tightly.
_BINDING = {"+": 1, "-": 1, "*": 2, "/": 2, "neg": 3, "**": 4}
_TIGHT = 5


def write_expression(node: Value, names: Mapping[Value, str], whole: bool = False) -> str:
    """Writes the operation that made a node as an expression of its parents' names.

    Args:
        node: the node.
        names: the names of its parents.
        whole: use the name of ``node`` itself, too, if it has one. Nodes without a name are always written as
            expressions of their own parents.

    >>> x, y = Value(2.0), Value(3.0)
    >>> write_expression((x + 1) * y, {x: "x", y: "y"}, whole=True)
    '(x + 1) * y'
    """
    return _write(node, {name: text for name, text in names.items() if whole or name is not node})[0]


def _write(node: Value, names: Mapping[Value, str]) -> tuple[str, int]:
    if node in names:
        return names[node], 3 if names[node].startswith("-") else _TIGHT
    if not node.parents:
        return _number(node.data), 3 if node.data < 0 else _TIGHT
    name, constants = node.op, node.rule.constants
    parts = [_write(parent, names) for parent in node.parents[:6]]
    if name.startswith("**") and "n" in constants:
        n = constants["n"]
        exponent = f"({_number(n)})" if n < 0 else _number(n)
        return parts[0] if n == 1 else (f"{_bracket(parts[0], 5)}**{exponent}", 4)
    binding = _BINDING.get(name)
    if binding is None or len(parts) > 2:
        more = ["…"] if len(node.parents) > len(parts) else []
        return f"{name}({', '.join([text for text, _ in parts] + more)})", _TIGHT
    if len(parts) == 1:
        return f"-{_bracket(parts[0], binding + 1)}", binding
    left, right = _bracket(parts[0], binding + (name == "**")), _bracket(parts[1], binding + (name in "-/"))
    return (f"{left}**{right}" if name == "**" else f"{left} {name} {right}"), binding


def _bracket(part: tuple[str, int], least: int) -> str:
    text, binding = part
    return text if binding >= least else f"({text})"


def _number(x: float) -> str:
    return f"{x:.6g}"
