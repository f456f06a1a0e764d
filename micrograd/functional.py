"""Functions of several Values: sums, softmax and the losses. They take Values and plain numbers alike.

The functions of one or two Values are here too, under their names in :mod:`micrograd.rules`:

>>> tanh(0.5) == tanh(Value(0.5)).data
True
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from . import rules
from .engine import Number, Value, lift, operation, sequence, to_float
from .rules import cos, exp, log, maximum, minimum, relu, sigmoid, sin, softplus, sqrt, tanh

__all__ = [
    "cos", "cross_entropy", "dot", "exp", "leaky_relu", "log", "log_softmax", "logsumexp", "maximum", "mean", "minimum",
    "mse_loss", "relu", "sigmoid", "sin", "softmax", "softplus", "sqrt", "sum", "tanh", "weighted_sums",
]  # fmt: skip


def leaky_relu(x: Number, negative_slope: float = 0.01) -> Any:
    """``x`` where it is positive, else ``negative_slope * x``.

    >>> leaky_relu(Value(-2), 0.1).data
    -0.2
    """
    if isinstance(x, Value):
        return x.leaky_relu(negative_slope)
    return rules.leaky_relu(x, negative_slope=negative_slope)


def sum(values: Iterable[Number]) -> Value:
    """The sum, as one node of the graph; of nothing, 0.

    >>> sum([Value(1), Value(2), 3])
    Value(data=6.0, grad=0.0, op='sum')
    """
    return operation(rules.total)(*[lift(value) for value in sequence(values, "sum()")])


def mean(values: Iterable[Number]) -> Value:
    """The arithmetic mean.

    Raises:
        ValueError: if there are no values.

    >>> mean([Value(1), Value(2)]).data
    1.5
    """
    values = _filled(values, "mean")
    return sum(values) / len(values)


def dot(a: Sequence[Number], b: Sequence[Number]) -> Value:
    """The dot product Σ aᵢbᵢ, as one node of the graph.

    Raises:
        ValueError: if the lengths differ.

    >>> dot([Value(1), Value(2)], [3, Value(4)])
    Value(data=11.0, grad=0.0, op='dot')
    """
    a, b = sequence(a, "dot()"), sequence(b, "dot()")
    if not any(isinstance(x, Value) for x in a):
        a, b = b, a
    return weighted_sums(b)([lift(x) for x in a])


def weighted_sums(x: Iterable[Number]) -> Callable[[Sequence[Value]], Value]:
    """The function w ↦ dot(w, x), for many vectors w of Values: a layer is made of these.

    Plain numbers in ``x`` are constants of the node, and cost no gradient.

    Raises:
        ValueError: by the function, if the lengths differ.

    >>> of_inputs = weighted_sums([2.0, 3.0])
    >>> of_inputs([Value(10), Value(1)]).data
    23.0
    """
    x = sequence(x, "weighted_sums()")
    if any(isinstance(xi, Value) for xi in x):
        product, values = operation(rules.dot), [lift(xi) for xi in x]
    else:
        product, values = operation(rules.weigh.bind("dot", x=[to_float(xi) for xi in x])), []

    def of_x(w: Sequence[Value]) -> Value:
        if len(w) != len(x):
            raise ValueError(f"a dot product takes two vectors of one length, not of {len(w)} and {len(x)}")
        return product(*w, *values)

    return of_x


def logsumexp(values: Iterable[Number]) -> Value:
    """log Σ exp xᵢ, as one node of the graph, whose gradient is the softmax; it neither overflows nor underflows.

    Raises:
        ValueError: if there are no values.

    >>> round(logsumexp([Value(1000), Value(1000)]).data, 6)
    1000.693147
    """
    return operation(rules.logsumexp)(*[lift(value) for value in _filled(values, "logsumexp")])


def log_softmax(logits: Iterable[Number]) -> list[Value]:
    """The logarithms of :func:`softmax`: xᵢ − log Σ exp xⱼ.

    Raises:
        ValueError: if there are no logits.
    """
    logits = _filled(logits, "log_softmax")
    top = max(lift(x).data for x in logits)
    shifted = [lift(x) - top for x in logits]  # by a constant, which makes no difference but for rounding
    total = logsumexp(shifted)
    return [x - total for x in shifted]


def softmax(logits: Iterable[Number]) -> list[Value]:
    """exp xᵢ / Σ exp xⱼ: positive numbers that sum to 1.

    Raises:
        ValueError: if there are no logits.

    >>> [round(p.data, 9) for p in softmax([Value(1000), Value(1000)])]
    [0.5, 0.5]
    """
    return [x.exp() for x in log_softmax(logits)]


def cross_entropy(logits: Iterable[Number], target: int) -> Value:
    """The negative log-likelihood −log softmax(logits)[target] = log Σ exp(xⱼ − x_target), from logits of any size.

    Raises:
        ValueError: if there are no logits, or the target is not the index of one.
        TypeError: if the target is not a whole number.

    >>> cross_entropy([Value(-1000), Value(1000)], target=0).data
    2000.0
    """
    logits = _filled(logits, "cross_entropy")
    if not hasattr(target, "__index__"):
        raise TypeError(f"the target is the index of one of the logits, not {type(target).__name__} {target!r}")
    if not 0 <= target < len(logits):
        raise ValueError(
            f"the target is the index of one of {len(logits)} logits, 0 to {len(logits) - 1}, not {target}"
        )
    true = lift(logits[target])
    return logsumexp([lift(x) - true for x in logits])


def mse_loss(predictions: Number | Iterable[Number], targets: Number | Iterable[Number]) -> Value:
    """The mean squared error, of two numbers or of two vectors.

    Raises:
        ValueError: if the lengths differ, or are 0.

    >>> mse_loss([Value(1), Value(2)], [1, 4]).data
    2.0
    """
    p = list(predictions) if isinstance(predictions, Iterable) else [predictions]
    t = list(targets) if isinstance(targets, Iterable) else [targets]
    if len(p) != len(t):
        raise ValueError(f"there must be a target for each prediction, not {len(p)} predictions and {len(t)} targets")
    return mean([(lift(pi) - ti) ** 2 for pi, ti in zip(p, t, strict=True)])


def _filled(values: Iterable[Number], function: str) -> list[Number]:
    values = sequence(values, f"{function}()")
    if not values:
        raise ValueError(f"{function}() of no values is not defined")
    return values
