"""Functions of several Values: sums, softmax and the losses. They take Values and plain numbers.

The functions of one or two Values are here too, with their names in :mod:`micrograd.rules`:

>>> tanh(0.5) == tanh(Value(0.5)).data
True

The losses compare predictions with targets: two numbers, two vectors, or two nested lists of the same shape. They
return the mean of all losses; with ``reduction="sum"`` the sum; with ``"none"`` all losses, in lists like the
predictions.

>>> mse_loss([[Value(1)], [Value(2)]], [[1], [4]]).data
2.0
>>> [loss.data for loss in mse_loss([Value(1), Value(2)], [1, 4], reduction="none")]
[0.0, 4.0]
"""

from __future__ import annotations

import random as generator
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeGuard

from . import rules
from .arguments import check_rng, sequence, to_float
from .engine import Number, Value, lift, operation
from .randomness import NORMAL, UNIFORM, Kind
from .watching import find_watcher

__all__ = [
    "acos", "add", "asin", "atan", "atan2", "binary_cross_entropy", "binary_cross_entropy_with_logits", "cbrt", "cos",
    "cosh", "cross_entropy", "dot", "erf", "exp", "expm1", "floor", "gelu", "hinge_loss", "huber_loss", "hypot",
    "kl_div", "l1_loss", "leaky_relu", "log", "log1p", "log_softmax", "logsumexp", "maximum", "mean", "minimum",
    "mse_loss", "nll_loss", "normal", "one_hot", "random", "relu", "sigmoid", "silu", "sin", "sinh", "softmax",
    "softplus", "sqrt", "stop_gradient", "sum", "tan", "tanh", "weighted_sums", "where",
]  # fmt: skip

# The functions of one or two Values come from the table.
exp, expm1, log, log1p, sqrt, cbrt = rules.exp, rules.expm1, rules.log, rules.log1p, rules.sqrt, rules.cbrt
sin, cos, tan, asin, acos, atan = rules.sin, rules.cos, rules.tan, rules.asin, rules.acos, rules.atan
sinh, cosh, tanh, atan2, hypot = rules.sinh, rules.cosh, rules.tanh, rules.atan2, rules.hypot
sigmoid, softplus, silu, erf, gelu = rules.sigmoid, rules.softplus, rules.silu, rules.erf, rules.gelu
relu, maximum, minimum = rules.relu, rules.maximum, rules.minimum
floor, stop_gradient = rules.floor, rules.stop_gradient


def leaky_relu(x: Number, negative_slope: float = 0.01) -> Any:
    """``x`` if it is positive, otherwise ``negative_slope * x``.

    Args:
        x: a Value or a number.
        negative_slope: the slope for negative numbers.

    >>> leaky_relu(Value(-2), 0.1).data
    -0.2
    """
    if isinstance(x, Value):
        return x.leaky_relu(negative_slope)
    return rules.leaky_relu(x, negative_slope=negative_slope)


def where(condition: Any, a: Number, b: Number) -> Value:
    """Returns ``a`` if the condition holds, otherwise ``b``.

    It means ``a if condition else b``, and also works in a compiled function.

    Args:
        condition: a comparison of Values, or a bool.
        a: the result if the condition holds.
        b: the result if it doesn't.

    Raises:
        TypeError: if the condition is a Value: compare it with something.

    >>> x = Value(-2.0)
    >>> where(x > 0, x, 0.1 * x).data
    -0.2
    """
    if hasattr(condition, "_choose"):
        return lift(condition._choose(a, b))
    if isinstance(condition, Value):
        raise TypeError(f"a condition is a comparison, such as x > 0, not {condition!r}")
    return lift(a if condition else b)


def random(rng: Any = generator) -> Value:
    """Draws a number from 0 to 1, without 1: a constant, the number that ``rng.random()`` gives.

    A compiled function draws as it does when it is not compiled: for one sample after the other, in the order in which
    the function draws for a sample.

    Args:
        rng: the random generator: a ``random.Random``, or the module ``random`` itself.

    Raises:
        TypeError: if ``rng`` has no method ``random``.

    >>> random(generator.Random(0)).data == generator.Random(0).random()
    True
    """
    return _draw(UNIFORM, rng)


def normal(rng: Any = generator) -> Value:
    """Draws a number from the normal distribution of mean 0 and variance 1; otherwise like :func:`random`.

    Each draw takes two numbers u and v of ``rng.random()``, and is √(−2 log(1 − u))·cos 2πv (Box and Muller, *A note
    on the generation of random normal deviates*, 1958).

    >>> noisy = lambda x: x + 0.1 * normal()
    >>> x = Value(1.0)
    >>> noisy(x).backward()
    >>> x.grad
    1.0
    """
    return _draw(NORMAL, rng)


def _draw(kind: Kind, rng: Any) -> Value:
    check_rng(rng, "random")
    watcher = find_watcher()
    hidden = watcher.draw(kind, rng) if watcher else None
    return lift(kind.draw(rng)) if hidden is None else hidden


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
    values = _require_values(values, "mean")
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


def logsumexp(values: Iterable[Number]) -> Value:
    """log Σ exp xᵢ, as one node of the graph, without overflow or underflow. Its gradient is the softmax.

    Raises:
        ValueError: if there are no values.

    >>> round(logsumexp([Value(1000), Value(1000)]).data, 6)
    1000.693147
    """
    return operation(rules.logsumexp)(*[lift(value) for value in _require_values(values, "logsumexp")])


def log_softmax(logits: Iterable[Number]) -> list[Value]:
    """The logarithms of :func:`softmax`: xᵢ − log Σ exp xⱼ.

    Raises:
        ValueError: if there are no logits.

    >>> [round(p.data, 6) for p in log_softmax([Value(1000), Value(1000)])]
    [-0.693147, -0.693147]
    """
    values = [lift(x) for x in _require_values(logits, "log_softmax")]
    hidden, top = _find_largest(values)
    if hidden is not None:
        shifted = [x - hidden for x in values]
        total = logsumexp(shifted)
        return [x - total for x in shifted]
    largest = values[top].data  # subtracting a number changes the result by rounding only
    total = operation(rules.exp_sum)(*values, lift(largest)).log()
    logs = [x - largest - total for x in values]
    logs[top] = -rules.log1p(_sum_of_others(values, top))  # exact even if the others' share is far below rounding
    return logs


def softmax(logits: Iterable[Number]) -> list[Value]:
    """exp xᵢ / Σ exp xⱼ: positive numbers that sum to 1.

    Raises:
        ValueError: if there are no logits.

    >>> [round(p.data, 9) for p in softmax([Value(1000), Value(1000)])]
    [0.5, 0.5]
    """
    values = [lift(x) for x in _require_values(logits, "softmax")]
    hidden, top = _find_largest(values)
    if hidden is not None:
        return [x.exp() for x in log_softmax(values)]
    largest = values[top].data
    total = operation(rules.exp_sum)(*values, lift(largest))
    shares = [operation(rules.exp_difference)(x, largest) / total for x in values]
    shares[top] = 1 / (1 + _sum_of_others(values, top))
    return shares


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
    return [float(i == _index(index, classes, "classes")) for i in range(classes)]


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
        logits = _require_values(logits, "cross_entropy")
        true = _at(target, logits, "logits")
        values = [lift(x) for x in logits]
        hidden, top = _find_largest([*values, true])
        if hidden is not None:
            return logsumexp([x - true for x in values])
        if top == target:
            return lift(rules.log1p(_sum_of_others(values, top)))
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
        log_probabilities = _require_values(log_probabilities, "nll_loss")
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

    >>> round(kl_div(log_softmax([Value(0), Value(0)]), [0.25, 0.75], reduction="sum").data, 9)
    0.130812036
    """

    def loss(p: Number, t: Number) -> Value:
        if log_target:
            return lift(exp(t) * (lift(t) - p))
        negative_entropy = 0.0 if not isinstance(t, Value) and to_float(t) == 0 else log(t) * t
        return lift(negative_entropy - lift(p) * t)

    if reduction != "batchmean":
        return _of_pairs(loss, log_probabilities, targets, reduction, ", 'batchmean'")
    terms = _of_pairs(loss, log_probabilities, targets, "none")
    if not isinstance(terms, list) or not terms:
        raise ValueError("'batchmean' is the mean over samples, and there are none")
    return sum(_flat(terms)) / len(terms)


def is_nested(x: Any) -> TypeGuard[Iterable[Any]]:
    """Whether ``x`` is a list or another iterable, not a single number or Value."""
    return hasattr(x, "__iter__") and not isinstance(x, str) and getattr(x, "shape", None) != ()


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
    return lift(values[_index(target, len(values), what)])


def _index(target: Any, count: int, what: str) -> int:
    if not hasattr(target, "__index__"):
        raise TypeError(f"the target is the index of one of the {what}, not {type(target).__name__} {target!r}")
    if not 0 <= target < count:
        raise ValueError(f"the target is the index of one of {count} {what}, 0 to {count - 1}, not {target}")
    return target.__index__()  # type: ignore[no-any-return]


def _find_largest(values: Sequence[Value]) -> tuple[Value | None, int]:
    # The index of the largest value. In a compiled function it is known only at run time: the largest value is a node.
    watcher = find_watcher()
    hidden = watcher.find_largest(values) if watcher else None
    return hidden, max(range(len(values)), key=lambda i: values[i]._data)


def _sum_of_others(values: Sequence[Value], place: int) -> Value:
    # Σ exp(xⱼ - x) over all other values, where x is the value at ``place``
    return operation(rules.exp_sum)(*values[:place], *values[place + 1 :], values[place])


def _require_values(values: Iterable[Number], function: str) -> list[Number]:
    values = sequence(values, f"{function}()")
    if not values:
        raise ValueError(f"{function}() of no values is not defined")
    return values
