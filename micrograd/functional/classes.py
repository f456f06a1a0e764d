"""Functions of the logits of classes: softmax and its relatives."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from functools import reduce
from typing import Any

from .. import rules
from ..arguments import is_nested, to_float
from ..engine import Number, Value, lift, operation
from ..watching import find_watcher
from .draws import random as draw
from .elementary import where
from .sums import require_values

__all__ = [
    "find_largest", "gumbel_softmax", "log_softmax", "logsumexp", "one_hot", "read_index", "softmax", "sum_of_others",
]  # fmt: skip


def logsumexp(values: Iterable[Number]) -> Value:
    """log Σ exp xᵢ, as one node of the graph, without overflow or underflow. Its gradient is the softmax.

    Raises:
        ValueError: if there are no values.

    >>> round(logsumexp([Value(1000), Value(1000)]).data, 6)
    1000.693147
    """
    return operation(rules.logsumexp)(*[lift(value) for value in require_values(values, "logsumexp")])


def log_softmax(logits: Iterable[Number]) -> list[Value]:
    """The logarithms of :func:`softmax`: xᵢ − log Σ exp xⱼ.

    Raises:
        ValueError: if there are no logits.

    >>> [round(p.data, 6) for p in log_softmax([Value(1000), Value(1000)])]
    [-0.693147, -0.693147]
    """
    values = [lift(x) for x in require_values(logits, "log_softmax")]
    hidden, top = find_largest(values)
    if hidden is not None:
        shifted = [x - hidden for x in values]
        total = logsumexp(shifted)
        return [x - total for x in shifted]
    largest = values[top].data  # subtracting a number changes the result by rounding only
    total = operation(rules.exp_sum)(*values, lift(largest)).log()
    logs = [x - largest - total for x in values]
    logs[top] = -rules.log1p(sum_of_others(values, top))  # exact even if the others' share is far below rounding
    return logs


def softmax(logits: Iterable[Number]) -> list[Value]:
    """exp xᵢ / Σ exp xⱼ: positive numbers that sum to 1.

    Raises:
        ValueError: if there are no logits.

    >>> [round(p.data, 9) for p in softmax([Value(1000), Value(1000)])]
    [0.5, 0.5]
    """
    values = [lift(x) for x in require_values(logits, "softmax")]
    hidden, top = find_largest(values)
    if hidden is not None:
        return [x.exp() for x in log_softmax(values)]
    largest = values[top].data
    total = operation(rules.exp_sum)(*values, lift(largest))
    shares = [operation(rules.exp_difference)(x, largest) / total for x in values]
    shares[top] = 1 / (1 + sum_of_others(values, top))
    return shares


def gumbel_softmax(logits: Iterable[Any], tau: float = 1.0, hard: bool = False, rng: Any = random) -> list[Any]:
    """softmax((logits + g)/tau), with a random g of Gumbel's distribution for each logit: a draw of a class.

    The largest number is at each class with its probability softmax(logits), and the gradients reach the logits (Jang
    et al., *Categorical reparameterization with Gumbel-softmax*, 2017).

    Args:
        logits: one number per class, or a batch of such lists, nested to any depth.
        tau: the temperature, above 0: the smaller, the nearer are the numbers to 0 and 1.
        hard: return 1 at the largest and 0 elsewhere, with the gradients of the softmax.
        rng: the random generator: a ``random.Random``, or the module ``random`` itself.

    Raises:
        ValueError: if there are no logits, or ``tau`` is not above 0.

    >>> [p.data for p in gumbel_softmax([Value(0.0), Value(1.0), Value(50.0)], hard=True)]
    [0.0, 0.0, 1.0]
    """
    if not to_float(tau) > 0:
        raise ValueError(f"tau must be above 0, not {tau}")
    values: list[Any] = require_values(logits, "gumbel_softmax")
    if is_nested(values[0]):
        return [gumbel_softmax(sample, tau, hard, rng) for sample in values]
    draws = [draw(rng) * (1 - 2**-53) + 2**-54 for _ in values]  # neither 0 nor 1, where there is no logarithm
    noisy = [(lift(x) - (-u.log()).log()) / tau for x, u in zip(values, draws, strict=True)]
    shares = softmax(noisy)
    if not hard:
        return shares
    largest = reduce(operation(rules.first_maximum), noisy)
    taken, out = lift(0.0), []
    for x, share in zip(noisy, shares, strict=True):
        one = where(x >= largest, 1 - taken, 0.0)  # the first of several largest
        taken = taken + one
        out.append(one + (share - share.stop_gradient()))
    return out


def one_hot(index: int | Iterable[Any], classes: int) -> list[Any]:
    """A class as a vector: 1.0 at the index and 0.0 elsewhere. For a list of indexes, a list of vectors.

    Args:
        index: the index of the class, from 0; or a list of indexes.
        classes: the number of classes, which is the length of a vector.

    Raises:
        ValueError: if an index is not below ``classes``, or there is no class.
        TypeError: if an index is not a whole number.

    >>> one_hot(2, classes=4)
    [0.0, 0.0, 1.0, 0.0]
    >>> one_hot([0, 1], classes=2)
    [[1.0, 0.0], [0.0, 1.0]]
    """
    if not hasattr(classes, "__index__") or classes < 1:
        raise ValueError(f"the number of classes must be a whole number, at least 1, not {classes!r}")
    if is_nested(index):
        return [one_hot(i, classes) for i in index]
    if hasattr(index, "_one_hot"):
        return index._one_hot(classes)  # type: ignore[no-any-return]
    return [float(i == read_index(index, classes, "classes")) for i in range(classes)]


def read_index(target: Any, count: int, what: str, name: str = "the target") -> int:
    """Returns an index of one of ``count`` things; ``what`` says which, and ``name`` what it is, for the message.

    Raises:
        ValueError: if it is not below ``count``.
        TypeError: if it is not a whole number.

    >>> read_index(3, 2, "classes")
    Traceback (most recent call last):
        ...
    ValueError: the target is the index of one of 2 classes, 0 to 1, not 3
    """
    if not hasattr(target, "__index__"):
        raise TypeError(f"{name} is the index of one of the {what}, not {type(target).__name__} {target!r}")
    if not 0 <= target < count:
        raise ValueError(f"{name} is the index of one of {count} {what}, 0 to {count - 1}, not {target}")
    return target.__index__()  # type: ignore[no-any-return]


def find_largest(values: Sequence[Value]) -> tuple[Value | None, int]:
    """The index of the largest value. In a compiled function it is known only at run time: the largest value is a node.

    >>> find_largest([Value(1), Value(2)])
    (None, 1)
    """
    watcher = find_watcher()
    hidden = watcher.find_largest(values) if watcher else None
    return hidden, max(range(len(values)), key=lambda i: values[i]._data)


def sum_of_others(values: Sequence[Value], place: int) -> Value:
    """Σ exp(xⱼ − x) over all other values, where x is the value at ``place``.

    >>> sum_of_others([Value(2), Value(2), Value(2)], place=0).data
    2.0
    """
    return operation(rules.exp_sum)(*values[:place], *values[place + 1 :], values[place])
