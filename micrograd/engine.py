"""The engine: ``Value``, a float that remembers how it was made, and the chain rule, which reads that memory.

>>> x, y = Value(3.0, label="x"), Value(2.0, label="y")
>>> z = x * y + x**2
>>> z
Value(data=15.0, grad=0.0, op='+')
>>> z.backward()
>>> x.grad, y.grad
(8.0, 3.0)
"""

from __future__ import annotations

import gc
import math
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, NoReturn, Union, cast

from . import rules
from .arguments import one_line, sequence, to_float
from .operations import maker, operation, puller
from .rules import Rule

if TYPE_CHECKING:
    from .stepping import BackwardStep, ForwardStep

__all__ = [
    "Number",
    "Value",
    "contributions",
    "grad",
    "lift",
    "operation",
    "resting_collector",
    "topological_order",
]

Number = Union["Value", float]


def explained(error: Exception, rule: Rule, operands: Iterable[Number], where: str = "") -> Exception:
    """The same error with the operation and its operands, by label and number, in the message."""
    values = [lift(operand) for operand in operands]
    shown = [f"{one_line(v.label)}={v._data!r}" if v.label else repr(v._data) for v in values]
    return rule.explained(error, shown, where)


def lift(x: Any) -> Value:
    """``x`` itself if it is a Value, else a constant of that number.

    Raises:
        TypeError: if ``x`` is neither a Value nor a plain number.
    """
    if isinstance(x, Value):
        return x
    out = Value(x)
    out.rule = rules.constant
    return out


def _comparison(compare: Callable[[float, float], bool]) -> Callable[[Value, Number], bool]:
    return lambda self, other: compare(self.data, other.data if isinstance(other, Value) else other)


_PLAIN = frozenset((float, int))  # of what needs no closer look


@lru_cache
def _power(n: float) -> Callable[[Value], Value]:
    n = to_float(n)
    return operation(rules.power.bind(f"**{repr(n).removesuffix('.0')}", n=n))


@lru_cache
def _leaky_relu(negative_slope: float) -> Callable[[Value], Value]:
    return operation(rules.leaky_relu.bind("leaky_relu", negative_slope=negative_slope))


class Value:
    """A float that remembers how it was made.

    Args:
        data: the number.
        label: a name for people: shown in drawings, tables and errors.

    Attributes:
        data: the number, a float.
        grad: the derivative by this value of what ``backward()`` was called on, a float.
        rule: the operation that made it, a line of :mod:`micrograd.rules`.
        label: as given.

    Raises:
        TypeError: if ``data`` or ``grad`` is not a real number, or ``label`` not a string.

    >>> a = Value(2, label="a")
    >>> b = (a * 3).tanh()
    >>> b.op, b.parents[0].op, b.parents[0].parents
    ('tanh', '*', (Value(data=2.0, grad=0.0, label='a'), Value(data=3.0, grad=0.0)))
    """

    __slots__ = ("_data", "_grad", "_number", "_parents", "label", "rule")

    label: str
    rule: Rule
    _data: float
    _grad: float
    _parents: tuple[Value, ...]
    _number: float

    def __init__(self, data: float, label: str = "") -> None:
        if not isinstance(label, str):
            raise TypeError(f"a label is a string, not {type(label).__name__} {label!r}")
        self._data = data if data.__class__ is float else to_float(data)
        self._grad = 0.0
        self._parents = ()
        self.rule = rules.leaf
        self.label = label

    __add__, __radd__ = operation(rules.add), maker(rules.add, reflected=True)
    __sub__, __rsub__ = operation(rules.subtract), maker(rules.subtract, reflected=True)
    __mul__, __rmul__ = operation(rules.multiply), maker(rules.multiply, reflected=True)
    __truediv__, __rtruediv__ = operation(rules.divide), maker(rules.divide, reflected=True)
    __neg__, __abs__ = operation(rules.negate), operation(rules.absolute)
    _raised, __rpow__ = operation(rules.power_of), maker(rules.power_of, reflected=True)

    def __pow__(self, other: Number) -> Value:
        if isinstance(other, Value):
            return self._raised(other)
        return _power(other if other.__class__ in _PLAIN else to_float(other))(self)

    abs, exp, log, sqrt = __abs__, operation(rules.exp), operation(rules.log), operation(rules.sqrt)
    sin, cos, tanh = operation(rules.sin), operation(rules.cos), operation(rules.tanh)
    sigmoid, softplus, relu = operation(rules.sigmoid), operation(rules.softplus), operation(rules.relu)
    maximum, minimum = operation(rules.maximum), operation(rules.minimum)

    def leaky_relu(self, negative_slope: float = 0.01) -> Value:
        """``a`` where it is positive, else ``negative_slope * a``."""
        return _leaky_relu(to_float(negative_slope))(self)

    __lt__, __le__ = _comparison(operator.lt), _comparison(operator.le)
    __gt__, __ge__ = _comparison(operator.gt), _comparison(operator.ge)

    def __float__(self) -> NoReturn:
        raise TypeError(
            "a Value turned into a float forgets its gradient: write v.exp(), v.log(), … for math.exp(v), "
            "math.log(v), …, and v.data where only the number is wanted"
        )

    def __repr__(self) -> str:
        op = f", op={self.op!r}" if self.op else ""
        label = f", label={self.label!r}" if self.label else ""
        return f"Value(data={self._data}, grad={self._grad}{op}{label})"

    @property
    def data(self) -> float:
        return self._data

    @data.setter
    def data(self, number: float) -> None:
        self._data = to_float(number)

    @property
    def grad(self) -> float:
        return self._grad

    @grad.setter
    def grad(self, number: float) -> None:
        self._grad = to_float(number)

    @property
    def op(self) -> str:
        """The name of the operation that made it, empty for a leaf."""
        return self.rule.name

    @property
    def parents(self) -> tuple[Value, ...]:
        """The operands it was made of; a leaf has none.

        A plain number among them becomes a constant when it is first looked at, with the gradient that the last
        ``backward()`` would have given it.
        """
        if self.rule.number:
            number, whole = lift(self._number), cast(Rule, self.rule.whole)
            place = whole.names.index(self.rule.number)
            self._parents, self.rule = (*self._parents[:place], number, *self._parents[place:]), whole
            if self._grad:
                try:
                    number._grad = contributions(self, self._grad)[place]
                except (ArithmeticError, ValueError):
                    number._grad = math.nan
        return self._parents

    # For code that knows the published package.
    _prev = property(lambda self: set(self.parents))
    _op = property(lambda self: {"relu": "ReLU"}.get(self.op, self.op))

    @staticmethod
    def _apply(rule: Rule, operands: Iterable[Number]) -> Value:
        return operation(rule)(*[lift(operand) for operand in operands])

    def backward(self) -> None:
        """Adds ∂self/∂leaf to the ``grad`` of every leaf that self was made of, and sets it in every other node.

        Raises:
            ValueError, ArithmeticError: what Python's float raises, with the operation and the operands; and if a node
                was changed by hand into a part of itself. The leaves' ``grad`` is then as it was.

        >>> x = Value(3.0)
        >>> y = x * x
        >>> y.backward()
        >>> x.grad
        6.0
        >>> y.backward()
        >>> x.grad
        12.0
        """
        operations, leaves = _order(self)
        before = [(leaf, leaf._grad) for leaf in dict.fromkeys(leaves)] if leaves else []
        for leaf, _ in before:
            leaf._grad = 0.0
        try:
            _chain_rule(self, operations)
        except BaseException:
            self._grad = 0.0
            for node in operations:
                for parent in node._parents:
                    parent._grad = 0.0
            raise
        finally:
            for leaf, grad in before:
                leaf._grad += grad

    def steps(self, names: Mapping[str, Any] | None = None) -> Iterator[BackwardStep]:
        """``backward()``, one application of the chain rule at a time: see :mod:`micrograd.stepping`.

        Args:
            names: variables by which the steps call the nodes, like ``locals()``.

        >>> x = Value(3.0, label="x")
        >>> print(*(x * x).steps(), sep="\\n")
        %1 = x * x: ∂%1/∂x = x = 3; times %1.grad, 1, is 3; x.grad: 0 → 3
        %1 = x * x: ∂%1/∂x = x = 3; times %1.grad, 1, is 3; x.grad: 3 → 6
        """
        from .stepping import backward_steps  # a reader of the graph, not loaded before it is asked for

        return backward_steps(self, names)

    def forward_steps(self, names: Mapping[str, Any] | None = None) -> Iterator[ForwardStep]:
        """The forward pass again, one operation at a time, from the data that the leaves have now."""
        from .stepping import forward_steps

        return forward_steps(self, names)


def _order(root: Value) -> tuple[list[Value], list[Value]]:
    # The operations that root was made of, each after its parents; and the leaves that have a gradient, once a use.
    operations: list[Value] = []
    leaves: list[Value] = []
    is_open: dict[Value, bool] = {}  # by every node that was found: whether it is still on the stack
    # Depth first, on a stack of its own: recursion would bound the depth.
    stack: list[tuple[Value, Iterator[Value]]] = []
    node, parents = root, iter((root,))
    while True:
        for parent in parents:
            if not parent._parents:
                if parent._grad:
                    leaves.append(parent)
            elif parent not in is_open:
                is_open[parent] = True
                stack.append((node, parents))
                node, parents = parent, iter(parent._parents)
                break
            elif is_open[parent]:
                raise ValueError(f"the graph has a cycle: {parent!r} is made of itself; nodes can't be changed by hand")
        else:
            if not stack:
                return operations, leaves
            operations.append(node)
            is_open[node] = False
            node, parents = stack.pop()


def _chain_rule(root: Value, operations: list[Value], differentiable: bool = False) -> None:
    for node in operations:
        node._grad = 0.0
    root._grad = 1.0
    node = root
    try:
        if differentiable:
            for node in reversed(operations):
                puller(node.rule, data="")(node)
        else:
            for node in reversed(operations):
                node.rule.pull(node)
    except (ArithmeticError, ValueError) as error:
        raise explained(error, node.rule, node.parents, "in the gradient of ") from None


def _all_values(where: str, nodes: list[Any]) -> None:
    for node in nodes:
        if not isinstance(node, Value):
            raise TypeError(f"{where} takes Values, not {type(node).__name__} {node!r}")


def contributions(node: Value, upstream: float = 1.0) -> list[float]:
    """What the chain rule adds to the gradient of each parent: local gradient times upstream gradient; touches nothing.

    With an upstream gradient of 1, these are the local gradients.

    Raises:
        ValueError, ArithmeticError: what Python's float raises, with the operation and the operands.

    >>> x = Value(3.0)
    >>> contributions(x * 5, 2.0), contributions(x * x)
    ([10.0, 6.0], [3.0, 3.0])
    """
    stand_in = alone(node, upstream)
    try:
        if stand_in.op:
            node.rule.pull(stand_in)
    except (ArithmeticError, ValueError) as error:
        raise explained(error, node.rule, node.parents, "in the gradient of ") from None
    return [parent.grad for parent in stand_in.parents]


def alone(node: Value, upstream: Number) -> Value:
    """The same operation on leaves with the data of the node's parents, apart from its graph."""
    stand_in = Value(node._data)
    stand_in._parents, stand_in.rule = tuple([Value(parent._data) for parent in node.parents]), node.rule
    stand_in._grad = upstream  # type: ignore[assignment]  # a Value where the chain rule is to be remembered
    return stand_in


def topological_order(root: Value) -> list[Value]:
    """All that ``root`` was made of, itself included, parents before children.

    Raises:
        TypeError: if it is not a Value.
        ValueError: if a node was changed by hand into a part of itself.

    >>> x = Value(2.0, label="x")
    >>> [node.op or node.label for node in topological_order((x * x).exp() + x)]
    ['x', '*', 'exp', '+']
    """
    _all_values("topological_order()", [root])
    nodes: dict[Value, None] = {}
    for node in _order(root)[0]:
        nodes.update(dict.fromkeys(node.parents))
        nodes[node] = None
    nodes[root] = None
    return list(nodes)


def grad(output: Value, inputs: Value | Iterable[Value], create_graph: bool = False) -> tuple[Any, ...]:
    """The derivatives ∂output/∂input; no ``grad`` is touched.

    Args:
        output: what is differentiated.
        inputs: by what: leaves, or any nodes of its graph. By one that it does not depend on, the derivative is 0.
        create_graph: return Values, which can be differentiated again, instead of floats.

    Raises:
        TypeError: if one of them is not a Value.
        ValueError, ArithmeticError: what Python's float raises, with the operation and the operands.

    The nodes' ``grad`` is borrowed meanwhile: let no other thread work on the same graph.

    >>> x = Value(2.0)
    >>> grad(x**3, [x])
    (12.0,)
    >>> (slope,) = grad(x**3, [x], create_graph=True)
    >>> grad(slope, [x])
    (12.0,)
    """
    inputs = [inputs] if isinstance(inputs, Value) else sequence(inputs, "grad()")
    _all_values("grad()", [output, *inputs])
    operations = _order(output)[0]
    before = {parent: parent._grad for node in operations for parent in node._parents} | {output: output._grad}
    try:
        for node in before:
            node._grad = 0.0
        _chain_rule(output, operations, create_graph)
        gradients = [x._grad if x in before else 0.0 for x in inputs]
    finally:
        for node, gradient in before.items():
            node._grad = gradient
    return tuple([lift(gradient) for gradient in gradients] if create_graph else gradients)


@contextmanager
def resting_collector() -> Iterator[None]:
    """The cyclic collector rests within the block: graphs have no cycles, and it would look at all nodes in vain."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


rules.FLOATS.update(
    new_=partial(object.__new__, Value),
    Value_=Value,
    to_float_=to_float,
    plain_=_PLAIN,
    explained_=explained,
)
