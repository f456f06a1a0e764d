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

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Union

from . import rules
from .arguments import sequence, to_float
from .rule import FLOATS, VALUES, Rule, operation
from .scalar import Scalar, is_array
from .watching import find_watcher, report_look, watchers

if TYPE_CHECKING:
    from .stepping import BackwardStep, ForwardStep

__all__ = ["Number", "Value", "accumulate", "grad", "lift", "operation", "run_chain_rule", "topological_order"]

Number = Union["Value", float]


_PLAIN = frozenset((float, int))  # the usual types of a plain number: to_float() is not needed


@lru_cache
def _bind(number: float, rule: Rule = rules.power) -> Callable[[Value], Value]:
    name = f"**{repr(float(number)).removesuffix('.0')}" if rule is rules.power else rule.name
    return operation(rule.bind(name, **dict.fromkeys(rule.constants, float(number))))


class Value(Scalar):
    """A float that remembers how it was made.

    Args:
        data: the number.
        label: a name for people: shown in drawings, tables and errors.

    Raises:
        TypeError: if ``data`` or ``grad`` is not a real number, or ``label`` not a string.

    >>> a = Value(2, label="a")
    >>> b = (a * 3).tanh()
    >>> b.op, b.parents[0].op, b.parents[0].parents
    ('tanh', '*', (Value(data=2.0, grad=0.0, label='a'), Value(data=3.0, grad=0.0)))
    """

    __slots__ = ("_number", "_parents", "rule")

    rule: Rule
    """The operation that made this node, a line of :mod:`micrograd.rules`."""
    _number: float
    _parents: tuple[Value, ...]

    def __init__(self, data: float, label: str = "") -> None:
        self._data = data if data.__class__ is float else to_float(data)
        self._grad = 0.0
        self._parents = ()
        self.rule = rules.leaf
        self._label = ""
        if label != "":
            self.label = label

    __add__, __radd__ = rules.add.node, rules.add.reflected
    __sub__, __rsub__ = rules.subtract.node, rules.subtract.reflected
    __mul__, __rmul__ = rules.multiply.node, rules.multiply.reflected
    __truediv__, __rtruediv__ = rules.divide.node, rules.divide.reflected
    __neg__, __abs__ = rules.negate.node, rules.absolute.node
    _power_of, __rpow__ = rules.power_of.node, rules.power_of.reflected

    def __pow__(self, other: Number) -> Value:
        if other.__class__ in _PLAIN:
            return _bind(other)(self)
        if isinstance(other, Value) or is_array(other):
            return self._power_of(other)
        return _bind(to_float(other))(self)

    def __pos__(self) -> Value:
        return self

    abs, exp, expm1, log, log1p = __abs__, rules.exp.node, rules.expm1.node, rules.log.node, rules.log1p.node
    sqrt, cbrt, hypot = rules.sqrt.node, rules.cbrt.node, rules.hypot.node
    sin, cos, tan, asin, acos = rules.sin.node, rules.cos.node, rules.tan.node, rules.asin.node, rules.acos.node
    atan, atan2, sinh, cosh = rules.atan.node, rules.atan2.node, rules.sinh.node, rules.cosh.node
    tanh, sigmoid, softplus, silu = rules.tanh.node, rules.sigmoid.node, rules.softplus.node, rules.silu.node
    relu, erf, gelu = rules.relu.node, rules.erf.node, rules.gelu.node
    maximum, minimum = rules.maximum.node, rules.minimum.node
    floor, round, stop_gradient = rules.floor.node, rules.rounded.node, rules.stop_gradient.node

    def leaky_relu(self, negative_slope: float = 0.01) -> Value:
        """``self`` if it is positive, otherwise ``negative_slope * self``."""
        return _bind(to_float(negative_slope), rules.leaky_relu)(self)

    def __repr__(self) -> str:
        op = f", op={self.op!r}" if self.op else ""
        label = f", label={self._label!r}" if self._label else ""
        return f"Value(data={self._data}, grad={self._grad}{op}{label})"

    @property
    def op(self) -> str:
        """The name of the operation that made this node; empty for a leaf."""
        return self.rule.name

    @property
    def parents(self) -> tuple[Value, ...]:
        """The operands of the operation that made this node; a leaf has none.

        The node stores a plain number as a float. It becomes a constant Value when ``parents`` is first read, with the
        gradient that the last ``backward()`` would have given it.
        """
        if self.rule.number:
            place, constant = self.rule.names.index(self.rule.number), lift(self._number)
            self._parents = (*self._parents[:place], constant, *self._parents[place:])
            self.rule = self.rule.whole
            if isinstance(self._grad, float) and self._grad:  # while grad() runs, this is a list of factors
                copy = Value(self._data)
                copy._grad, copy.rule = self._grad, self.rule
                copy._parents = tuple([Value(parent._data) for parent in self._parents])
                try:
                    self.rule.pull(copy)
                    constant._grad = copy._parents[place]._grad
                except (ArithmeticError, ValueError):
                    constant._grad = math.nan
        return self._parents

    # Names that code written for the published package uses.
    _prev = property(lambda self: set(self.parents))
    _op = property(lambda self: {"relu": "ReLU"}.get(self.op, self.op))

    def _backward(self) -> None:
        if self.parents:
            self.rule.pull(self)

    def _find_ancestors(self) -> list[Value]:  # for copy and pickle
        return topological_order(self)[:-1]

    def backward(self) -> None:
        """Adds ∂self/∂leaf to the ``grad`` of every leaf of the graph; sets ``grad`` to ∂self/∂node in all other nodes.

        Raises:
            ValueError, ArithmeticError: if Python's float raises it; the message names the operation and the operands.
                Also if the graph, changed by hand, has a cycle. The leaves then keep the ``grad`` that they had.

        >>> x = Value(3.0)
        >>> y = x * x
        >>> y.backward()
        >>> x.grad
        6.0
        >>> y.backward()
        >>> x.grad
        12.0
        """
        operations, leaves, nodes = _order(self)
        before = [(leaf, leaf._grad) for leaf in leaves]
        for leaf, _ in before:
            leaf._grad = 0.0
        try:
            _chain_rule(self, operations)
        except BaseException:
            for node in nodes:
                node._grad = 0.0
            raise
        finally:
            for leaf, grad in before:
                leaf._grad += grad

    def steps(self, names: Mapping[str, Any] | None = None) -> Iterator[BackwardStep]:
        """Runs ``backward()``, one application of the chain rule at a time; for ``names``, pass ``locals()``."""
        from .stepping import backward_steps  # imported here because the engine imports no reader of the graph

        return backward_steps(self, names)

    def forward_steps(self, names: Mapping[str, Any] | None = None) -> Iterator[ForwardStep]:
        """Runs the forward pass again, one operation at a time, from the current data of the leaves."""
        from .stepping import forward_steps

        return forward_steps(self, names)


def lift(x: Any) -> Value:
    """Returns ``x`` itself if it is a Value, otherwise a constant with that number.

    Raises:
        TypeError: if ``x`` is neither a Value nor a plain number.
    """
    if isinstance(x, Value):
        return x
    out = Value(x)
    out.rule = rules.constant
    return out


def _order(root: Value) -> tuple[list[Value], list[Value], Iterable[Value]]:
    # The operations of the graph, each after its parents; the leaves with a gradient; and all nodes.
    operations, leaves = list[Value](), list[Value]()
    is_open: dict[Value, bool] = {}  # for every visited node: whether it is still on the stack
    # A depth-first search. It keeps its own stack, because Python's recursion limit would bound the graph's depth.
    stack: list[tuple[Value, Iterator[Value]]] = []
    node, parents = root, iter((root,))
    while True:
        for parent in parents:
            if parent not in is_open:
                if parent._parents:
                    is_open[parent] = True
                    stack.append((node, parents))
                    node, parents = parent, iter(parent._parents)
                    break
                is_open[parent] = False
                if parent._grad:
                    leaves.append(parent)
            elif is_open[parent]:
                raise ValueError(f"the graph has a cycle: {parent!r} is made of itself; nodes can't be changed by hand")
        else:
            if not stack:
                return operations, leaves, is_open
            operations.append(node)
            is_open[node] = False
            node, parents = stack.pop()


def _chain_rule(root: Value, operations: list[Value], on_values: bool = False) -> None:
    if watchers and not on_values:
        report_look(root, "backward", "called")
    for node in operations if not on_values else ():
        node._grad = 0.0
    root._grad = 1.0
    node = root
    try:
        if on_values:
            for node in reversed(operations):
                node.rule.pull_values(node)
        else:
            for node in reversed(operations):
                node.rule.pull(node)
    except (ArithmeticError, ValueError) as error:
        raise node.rule.explain(error, node.parents, "in the gradient of ") from None
    if watchers and (watcher := find_watcher()):
        watcher.check(root, operations)


def _collect(factors: Any) -> Any:
    # Sums products as one node. Their factors are what arrived: a local and an upstream gradient, the next two, …
    if not isinstance(factors, list):
        return factors  # their products were summed before
    local, upstream = factors[::2], factors[1::2]
    if len(local) > 1:
        if float not in map(type, factors):
            return operation(rules.dot)(*local, *upstream)
        both = zip(local, upstream, strict=True)
        pairs = [(a, b) for a, b in both if float not in (a.__class__, b.__class__) or not _vanishes(a, b)]
        local, upstream = [a for a, _ in pairs], [b for _, b in pairs]
    if len(local) < 2:
        a, b = (local[0], upstream[0]) if local else (0.0, 1.0)
        if a.__class__ is float and (a == 1 or _vanishes(a, b)):
            return a and b
        return a if b.__class__ is float and b == 1 else a * b
    is_sum = all(a.__class__ is float and a == 1 for a in local)
    return rules.total(*upstream) if is_sum else rules.dot(*local, *upstream)


def _vanishes(local: Number, upstream: Number) -> bool:
    # Whether the product is 0 because one factor is a plain 0. The product 0 · ∞ is nan, so it is kept.
    if local.__class__ is float and local == 0:
        return math.isfinite(lift(upstream)._data)
    return upstream.__class__ is float and upstream == 0 and math.isfinite(lift(local)._data)


def _check_values(where: str, nodes: list[Any]) -> None:
    for node in nodes:
        if not isinstance(node, Value):
            call = ": it takes a Value, so call the function first, as in f(x)" if callable(node) else ""
            raise TypeError(f"{where} takes Values, not {type(node).__name__} {node!r}{call}")


def accumulate(root: Value) -> None:
    """Runs ``backward()`` without restoring the leaves' gradients if it fails: the caller restores them."""
    _chain_rule(root, _order(root)[0])


def topological_order(root: Value) -> list[Value]:
    """All nodes of the graph of ``root``, itself included, parents before children.

    >>> x = Value(2.0, label="x")
    >>> [node.op or node.label for node in topological_order((x * x).exp() + x)]
    ['x', '*', 'exp', '+']
    """
    _check_values("topological_order()", [root])
    nodes = [x for node in _order(root)[0] for x in (*node.parents, node)]
    return list(dict.fromkeys([*nodes, root]))


def grad(output: Value, inputs: Value | Iterable[Value], create_graph: bool = False) -> tuple[Any, ...]:
    """Returns the derivatives ∂output/∂input, one per input, and leaves every ``grad`` unchanged.

    Args:
        output: the Value to differentiate.
        inputs: leaves or any other nodes. The derivative is 0 if the output does not depend on the input.
        create_graph: return Values, which can be differentiated again, instead of floats.

    No other thread may work on the same graph at the same time.

    Raises:
        TypeError: if the output or an input is not a Value.
        ValueError, ArithmeticError: if Python's float raises it; the message names the operation and the operands.

    >>> x = Value(2.0)
    >>> grad(x**3, [x])
    (12.0,)
    >>> (slope,) = grad(x**3, [x], create_graph=True)
    >>> grad(slope, [x])
    (12.0,)
    """
    _check_values("grad()", [output])
    inputs = [inputs] if isinstance(inputs, Value) else sequence(inputs, "grad()")
    _check_values("grad()", inputs)
    gradients = run_chain_rule(output, inputs, _collect if create_graph else None)
    return tuple(map(lift, gradients) if create_graph else gradients)


def run_chain_rule(output: Value, inputs: Iterable[Value], collect: Callable[[Any], Any] | None) -> list[Any]:
    """The chain rule on floats; or on Values, with what ``collect`` makes of the factors that arrive at each input."""
    operations, leaves, nodes = _order(output)
    before = [node._grad for node in nodes]
    try:
        for node in nodes if collect else leaves:
            node._grad = [] if collect else 0.0  # type: ignore[assignment]  # factors, see _collect()
        _chain_rule(output, operations, collect is not None)
        for x in inputs:
            x._grad = collect(x._grad) if collect else x._grad
        return [x._grad if x in nodes else 0.0 for x in inputs]
    finally:
        for node, gradient in zip(nodes, before, strict=True):
            node._grad = gradient


_create: Callable[[], Value] = partial(object.__new__, Value)
FLOATS.update(create_=_create, new_=_create, Value_=Value, lift_=lift)
FLOATS.update(to_float_=to_float, plain_=_PLAIN, is_array_=is_array)
VALUES["collect_"] = _collect
