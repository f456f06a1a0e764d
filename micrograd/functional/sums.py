"""Sums and products of lists of Values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .. import rules
from ..arguments import is_nested, sequence, to_float
from ..engine import Number, Value, lift, operation

__all__ = ["add", "dot", "mean", "require_values", "sum", "weighted_sums"]


def add(x: Any, y: Any) -> Any:
    """x + y, number by number. Python's ``+`` joins two lists instead.

    Args:
        x: a number or Value, or a list of them, nested to any depth.
        y: the same, with the shape of ``x``.

    Raises:
        ValueError: if the lengths differ.
        TypeError: if one argument is a list and the other one a number.

    >>> [total.data for total in add([Value(1), Value(2)], [3, 4])]
    [4.0, 6.0]
    """
    if not is_nested(x) and not is_nested(y):
        return lift(x) + y
    if not is_nested(x) or not is_nested(y):
        other = y if is_nested(x) else x
        raise TypeError(f"add() takes two numbers or two lists, not a list and {type(other).__name__} {other!r}")
    x, y = list(x), list(y)
    if len(x) != len(y):
        raise ValueError(f"add() takes two lists of one length, not of {len(x)} and {len(y)}")
    return [add(xi, yi) for xi, yi in zip(x, y, strict=True)]


def sum(values: Iterable[Number]) -> Value:
    """The sum, as one node of the graph; 0 if there are no values.

    >>> sum([Value(1), Value(2), 3])
    Value(data=6.0, grad=0.0, op='sum')
    """
    return operation(rules.total)(*_lift_all(sequence(values, "sum()")))


def mean(values: Iterable[Number]) -> Value:
    """The arithmetic mean.

    Raises:
        ValueError: if there are no values.

    >>> mean([Value(1), Value(2)]).data
    1.5
    """
    values = require_values(values, "mean")
    return sum(values) / len(values)


def dot(a: Sequence[Number], b: Sequence[Number]) -> Value:
    """The dot product Σ aᵢbᵢ, as one node of the graph.

    Args:
        a: a list of Values and numbers.
        b: another one of the same length.

    Raises:
        ValueError: if the lengths differ.

    >>> dot([Value(1), Value(2)], [3, Value(4)])
    Value(data=11.0, grad=0.0, op='dot')
    """
    a, b = sequence(a, "dot()"), sequence(b, "dot()")
    if not any(isinstance(x, Value) for x in a):
        a, b = b, a
    return weighted_sums(b)(_lift_all(a))


def _lift_all(xs: list[Any]) -> list[Value]:
    # Most vectors are of Values already, which their types tell sooner than a call for each number.
    return xs if all(issubclass(kind, Value) for kind in {*map(type, xs)}) else list(map(lift, xs))


def weighted_sums(x: Iterable[Number]) -> Callable[[Sequence[Value]], Value]:
    """Returns the function w ↦ dot(w, x), for many vectors w of Values. A layer calls it once per neuron.

    Plain numbers in ``x`` are constants of the node: no gradient is computed for them.

    Raises:
        ValueError: from the returned function, if the lengths differ.

    >>> of_inputs = weighted_sums([2.0, 3.0])
    >>> of_inputs([Value(10), Value(1)]).data
    23.0
    """
    x = sequence(x, "weighted_sums()")
    if any(isinstance(xi, Value) for xi in x):
        product, values = operation(rules.dot), _lift_all(x)
    else:
        product, values = operation(rules.weigh.bind("dot", x=[to_float(xi) for xi in x])), []

    def of_x(w: Sequence[Value]) -> Value:
        if len(w) != len(x):
            raise ValueError(f"a dot product takes two vectors of one length, not of {len(w)} and {len(x)}")
        return product(*w, *values)

    return of_x


def require_values(values: Iterable[Number], function: str) -> list[Number]:
    """Returns the values as a list; ``function`` is the name of the calling function, for the message.

    Raises:
        ValueError: if there are no values.
        TypeError: if they are not a sequence.

    >>> require_values([], "mean")
    Traceback (most recent call last):
        ...
    ValueError: mean() of no values is not defined
    """
    values = sequence(values, f"{function}()")
    if not values:
        raise ValueError(f"{function}() of no values is not defined")
    return values
