"""Losses, with the names, arguments and results of PyTorch's.

The losses compare predictions with targets: two numbers, two vectors, or two nested lists of the same shape. They
return the mean of all losses; with ``reduction="sum"`` the sum; with ``"none"`` all losses, in lists like the
predictions.

>>> mse_loss([[Value(1)], [Value(2)]], [[1], [4]]).data
2.0
>>> [loss.data for loss in mse_loss([Value(1), Value(2)], [1, 4], reduction="none")]
[0.0, 4.0]
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .. import rules
from ..arguments import is_nested, sequence, to_float
from ..engine import Number, Value, lift, operation
from .classes import find_largest, logsumexp, one_hot, read_index, sum_of_others
from .elementary import exp, log, where
from .sums import dot, mean, require_values, sum

__all__ = [
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "cross_entropy", "hinge_loss", "huber_loss", "kl_div",
    "l1_loss", "mse_loss", "nll_loss",
]  # fmt: skip


def cross_entropy(logits: Iterable[Any], target: int | Iterable[int], reduction: str = "mean") -> Any:
    """The negative log-likelihood −log softmax(logits)[target] = log Σ exp(xⱼ − x_target), from logits of any size.

    Args:
        logits: one number per class, or a batch: one such list per sample.
        target: the index of the true class; for a batch, one index per sample.
        reduction: for a batch, as in the other losses.

    Raises:
        ValueError: if there are no logits, a target is not the index of a logit, or the numbers of samples and targets
            differ.
        TypeError: if a target is not a whole number.

    >>> cross_entropy([Value(-1000), Value(1000)], target=0).data
    2000.0
    >>> cross_entropy([[Value(-1000), Value(1000)], [Value(1000), Value(0)]], target=[0, 0]).data
    1000.0
    """

    def loss(logits: Iterable[Number], target: Any) -> Value:
        logits = require_values(logits, "cross_entropy")
        true = _at(target, logits, "logits")
        values = [lift(x) for x in logits]
        hidden, top = find_largest([*values, true])
        if hidden is not None:
            return logsumexp([x - true for x in values])
        if top == target:
            return lift(rules.log1p(sum_of_others(values, top)))
        largest = values[top].data
        return operation(rules.exp_sum)(*values, lift(largest)).log() - (true - largest)

    return _of_classes(loss, logits, target, reduction)


def nll_loss(log_probabilities: Iterable[Any], target: int | Iterable[int], reduction: str = "mean") -> Any:
    """The negative log-likelihood −log p[target], from log-probabilities such as those of :func:`log_softmax`.

    Arguments and errors are those of :func:`cross_entropy`, with log-probabilities in place of logits.

    >>> nll_loss([Value(-0.5), Value(-1.0)], target=1).data
    1.0
    """

    def loss(log_probabilities: Iterable[Number], target: Any) -> Value:
        log_probabilities = require_values(log_probabilities, "nll_loss")
        return -_at(target, log_probabilities, "log-probabilities")

    return _of_classes(loss, log_probabilities, target, reduction)


def mse_loss(predictions: Any, targets: Any, reduction: str = "mean") -> Any:
    """The squared error (p − t)².

    Args:
        predictions: p, a number or Value, or a list of them, nested to any depth.
        targets: t, with the shape of the predictions.
        reduction: ``"mean"``, ``"sum"``, or ``"none"`` for all losses, in the shape of the predictions.

    Raises:
        ValueError: if the lengths differ or are 0, or the reduction is unknown. All losses raise it.

    >>> mse_loss([Value(1), Value(2)], [1, 4]).data
    2.0
    """
    return _of_pairs(lambda p, t: (lift(p) - t) ** 2, predictions, targets, reduction)


def l1_loss(predictions: Any, targets: Any, reduction: str = "mean") -> Any:
    """The absolute error abs(p − t). For the arguments see :func:`mse_loss`.

    >>> l1_loss([Value(1), Value(2)], [1, 4]).data
    1.0
    """
    return _of_pairs(lambda p, t: abs(lift(p) - t), predictions, targets, reduction)


def huber_loss(predictions: Any, targets: Any, reduction: str = "mean", delta: float = 1.0) -> Any:
    """½(p − t)² if abs(p − t) is less than δ, otherwise the tangent of that parabola at δ, δ·(abs(p − t) − ½δ).

    Outliers count for less than in the squared error (Huber, *Robust estimation of a location parameter*, 1964).

    Args:
        predictions, targets, reduction: as in :func:`mse_loss`.
        delta: δ, above 0.

    Raises:
        ValueError: if ``delta`` is not above 0.

    >>> [loss.data for loss in huber_loss([Value(1), Value(5)], [0, 0], reduction="none", delta=2)]
    [0.5, 8.0]
    """
    delta = to_float(delta)
    if not delta > 0:
        raise ValueError(f"delta must be above 0, not {delta}")

    def loss(p: Number, t: Number) -> Value:
        error = lift(p) - t
        size = abs(error)
        return where(size < delta, error * error * 0.5, (size - delta / 2) * delta)

    return _of_pairs(loss, predictions, targets, reduction)


def hinge_loss(scores: Any, targets: Any, reduction: str = "mean") -> Any:
    """max(0, 1 − t·s): no loss for a score s on the right side of 0, by a margin of 1. Targets t are −1 or 1.

    It is the loss of support-vector machines (Cortes and Vapnik, *Support-vector networks*, 1995).

    Args:
        scores: s, shaped like the predictions of :func:`mse_loss`.
        targets: t, each −1 or 1, with the shape of the scores.
        reduction: as in :func:`mse_loss`.

    Raises:
        ValueError: if a target is neither −1 nor 1.

    >>> [loss.data for loss in hinge_loss([Value(3), Value(0.5), Value(-2)], [1, 1, 1], reduction="none")]
    [0.0, 0.5, 3.0]
    """

    def loss(s: Number, t: Number) -> Value:
        side = lift(t)
        if hasattr(side, "_one_hot"):  # a placeholder: the compiled function checks it when it runs
            index: Any = (side + 1) / 2
            left, right = index._one_hot(2)
            side = right - left
        elif abs(side.data) != 1:
            raise ValueError(f"a target of hinge_loss() is -1 or 1, not {side.data}")
        return (1 - lift(s) * side).relu()

    return _of_pairs(loss, scores, targets, reduction)


def binary_cross_entropy(probabilities: Any, targets: Any, reduction: str = "mean") -> Any:
    """−(t·log p + (1 − t)·log(1 − p)), the negative log-likelihood of a probability p of class 1; t is the target.

    As in PyTorch, a logarithm below −100 counts as −100, so the loss of a certain and wrong prediction is 100; and the
    denominator of the gradient (p − t)/(p·(1 − p)) is at least 10⁻¹². :func:`binary_cross_entropy_with_logits` takes
    logits and needs no such bounds.

    Args:
        probabilities: p, from 0 to 1, shaped like the predictions of :func:`mse_loss`.
        targets: t, from 0 to 1, with the shape of the probabilities.
        reduction: as in :func:`mse_loss`.

    Raises:
        ValueError: if a probability or a target is not between 0 and 1.

    >>> round(binary_cross_entropy([Value(0.25), Value(0.5)], [0, 1]).data, 9)
    0.490414627
    >>> binary_cross_entropy(Value(0), 1).data
    100.0
    """

    bce = operation(rules.bce)
    return _of_pairs(lambda p, t: bce(lift(p), lift(t)), probabilities, targets, reduction)


def binary_cross_entropy_with_logits(logits: Any, targets: Any, reduction: str = "mean") -> Any:
    """t·log(1 + e⁻ᶻ) + (1 − t)·log(1 + eᶻ): binary cross-entropy of sigmoid(z), without overflow for any logit z.

    Args:
        logits: z, shaped like the predictions of :func:`mse_loss`.
        targets: t, from 0 to 1, with the shape of the logits.
        reduction: as in :func:`mse_loss`.

    >>> [loss.data for loss in binary_cross_entropy_with_logits([Value(1000), Value(-1000)], [0, 0], reduction="none")]
    [1000.0, 0.0]
    """

    def loss(z: Number, t: Number) -> Value:
        z = lift(z)
        return (-z).softplus() * t + z.softplus() * (1 - t)

    return _of_pairs(loss, logits, targets, reduction)


def kl_div(log_probabilities: Any, targets: Any, reduction: str = "mean", log_target: bool = False) -> Any:
    """The terms t·(log t − log p) of the Kullback-Leibler divergence of p from the true probabilities t.

    The divergence is the sum of the terms. ``"mean"`` divides it by the number of terms; ``"batchmean"``, for lists,
    by the number of samples (Kullback and Leibler, *On information and sufficiency*, 1951).

    Args:
        log_probabilities: log p.
        targets: t. A target of 0 adds no term.
        reduction: as in the other losses, or ``"batchmean"``.
        log_target: whether the targets are given as log t.

    >>> from micrograd.functional import log_softmax
    >>> round(kl_div(log_softmax([Value(0), Value(0)]), [0.25, 0.75], reduction="sum").data, 9)
    0.130812036
    """

    def loss(p: Number, t: Any) -> Value:
        if log_target:
            return lift(exp(t) * (lift(t) - p))
        if not isinstance(t, Value) and to_float(t) == 0:
            return lift(0.0 - lift(p) * t)
        if hasattr(t, "_one_hot") and not t.parents:  # an argument of a compiled function, which may be 0 when it runs
            return lift(log(where(abs(t) <= 0, 1.0, t)) * t - lift(p) * t)
        return lift(log(t) * t - lift(p) * t)

    if reduction != "batchmean":
        return _of_pairs(loss, log_probabilities, targets, reduction, ", 'batchmean'")
    terms = _of_pairs(loss, log_probabilities, targets, "none")
    if not isinstance(terms, list) or not terms:
        raise ValueError("'batchmean' is the mean over samples, and there are none")
    return sum(_flat(terms)) / len(terms)


def _of_pairs(loss: Callable[[Any, Any], Value], predictions: Any, targets: Any, reduction: str, more: str = "") -> Any:
    def pairwise(p: Any, t: Any) -> Any:
        if not is_nested(p) and not is_nested(t):
            return loss(p, t)
        p, t = (list(x) if is_nested(x) else [x] for x in (p, t))
        if len(p) != len(t):
            raise ValueError(
                f"there must be a target for each prediction, not {len(p)} predictions and {len(t)} targets"
            )
        return [pairwise(pi, ti) for pi, ti in zip(p, t, strict=True)]

    return _reduction(reduction, more)(pairwise(predictions, targets))


def _of_classes(loss: Callable[[Any, Any], Value], inputs: Iterable[Any], target: Any, reduction: str) -> Any:
    reduce = _reduction(reduction)
    if not is_nested(target):
        return loss(inputs, target)
    samples, targets = sequence(inputs, "a loss of a batch"), list(target)
    if len(samples) != len(targets):
        raise ValueError(f"there must be a target for each sample, not {len(samples)} samples and {len(targets)}")
    return reduce([loss(x, t) for x, t in zip(samples, targets, strict=True)])


def _reduction(name: str, more: str = "") -> Callable[[Any], Any]:
    reductions: dict[str, Callable[[Any], Any]] = {
        "mean": lambda losses: mean(_flat(losses)) if isinstance(losses, list) else losses,
        "sum": lambda losses: sum(_flat(losses)) if isinstance(losses, list) else losses,
        "none": lambda losses: losses,
    }
    if not isinstance(name, str) or name not in reductions:
        raise ValueError(f"a reduction is 'mean', 'sum', 'none'{more}, not {name!r}")
    return reductions[name]


def _flat(tree: Any) -> list[Value]:
    return [leaf for item in tree for leaf in _flat(item)] if isinstance(tree, list) else [tree]


def _at(target: Any, values: Sequence[Number], what: str) -> Value:
    # The value at the target's index. In a compiled function the index is known only when the function runs.
    if hasattr(target, "_one_hot"):
        return dot(values, one_hot(target, len(values)))
    return lift(values[read_index(target, len(values), what)])
