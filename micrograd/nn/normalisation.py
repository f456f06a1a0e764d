"""Normalisation shifts and scales numbers to mean 0 and variance 1, against vanishing and exploding gradients."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from ..arguments import sequence
from ..engine import Number, Value, lift
from ..functional import dot, mean
from ..watching import keep, read_buffer
from .inputs import check_length, check_sizes, is_batch, read_number
from .module import Module

__all__ = ["BatchNorm", "LayerNorm"]


class _Normalisation(Module):
    def __init__(self, size: int, eps: float, affine: bool) -> None:
        check_sizes(size=size)
        self.size = size
        self.eps = _at_least_0("eps", eps)
        self.affine = affine
        if affine:
            self.weight = [Value(1) for _ in range(size)]
            self.bias = [Value(0) for _ in range(size)]

    def _scale(self, deviations: Sequence[Number], variance: Number, weights: Sequence[Any]) -> list[Value]:
        # deviation/√(variance + eps)·weight + bias. ``weights`` are the pairs (weight, bias), or None for each number.
        scale = (lift(variance) + self.eps) ** -0.5
        return [scale * d * w[0] + w[1] if w else scale * d for d, w in zip(deviations, weights, strict=True)]

    def _weights(self) -> list[Any]:
        return list(zip(self.weight, self.bias, strict=True)) if self.affine else [None] * self.size

    def _sample(self, x: Any) -> list[Value]:
        sample = sequence(x, self._title())
        check_length(sample, self.size, f"{type(self).__name__} takes samples of {self.size} numbers, not of")
        return [lift(xi) for xi in sample]

    def _title(self) -> str:
        return f"{type(self).__name__}({self.size})"


class BatchNorm(_Normalisation):
    """(x − μ)/√(σ² + eps)·weight + bias, with the mean μ and the variance σ² of each column of the batch.

    In training, the module takes a batch, which is a list of samples, and updates running means of μ and σ²:
    ``(1 − momentum)·running + momentum·new``, with n − 1 in the denominator of σ². After ``eval()``, it uses the
    running means instead of the batch's own, and takes single samples too.
    (Ioffe and Szegedy, *Batch normalization: accelerating deep network training by reducing internal covariate shift*,
    2015; as PyTorch's ``BatchNorm1d``.)

    Args:
        size: the length of a sample.
        eps: added to the variance, at least 0.
        momentum: the weight of a new batch in the running means, from 0 to 1; with None, all batches count equally.
        affine: whether each column has a weight and a bias, which start at 1 and 0.

    Raises:
        ValueError: if a setting is out of its range.
        TypeError: if a setting is not a number.

    >>> norm = BatchNorm(2)
    >>> [[round(y.data, 3) for y in sample] for sample in norm([[1.0, 10.0], [3.0, 30.0]])]
    [[-1.0, -1.0], [1.0, 1.0]]
    >>> norm.running_mean, norm.running_var
    ([0.2, 2.0], [1.1, 20.9])
    """

    buffers = ("running_mean", "running_var", "num_batches_tracked")

    def __init__(self, size: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True) -> None:
        super().__init__(size, eps, affine)
        self.momentum = momentum if momentum is None else _at_least_0("momentum", momentum)
        if self.momentum is not None and self.momentum > 1:
            raise ValueError(f"momentum must be at most 1, not {momentum}")
        self.running_mean = [0.0] * size
        self.running_var = [1.0] * size
        self.num_batches_tracked = 0

    def forward(self, x: Sequence[Any]) -> list[Any]:
        """Returns the normalised batch; after ``eval()``, also a single normalised sample.

        Raises:
            ValueError: if a sample has not ``size`` numbers, or a batch in training has less than two samples.
        """
        if not self.training:
            return (
                [self._normalise_by_running(sample) for sample in x] if is_batch(x) else self._normalise_by_running(x)
            )
        batch = [self._sample(sample) for sample in x] if is_batch(x) else [self._sample(x)]
        if len(batch) < 2:
            raise ValueError("BatchNorm in training takes a batch of two samples at least: one alone has no variance")
        columns = list(zip(*batch, strict=True))
        means = [mean(column) for column in columns]
        deviations = [[x - center for x in column] for column, center in zip(columns, means, strict=True)]
        variances = [dot(column, column) / len(batch) for column in deviations]
        out = [
            self._scale(column, variance, [weight] * len(batch))
            for column, variance, weight in zip(deviations, variances, self._weights(), strict=True)
        ]
        keep(self, partial(self._remember, len(batch)), [*means, *variances])
        return [list(sample) for sample in zip(*out, strict=True)]

    def _normalise_by_running(self, x: Any) -> list[Value]:
        sample = self._sample(x)
        running = read_buffer(self, "running_mean"), read_buffer(self, "running_var")
        moments = zip(sample, *running, self._weights(), strict=True)
        return [self._scale([xi - m], v, [w])[0] for xi, m, v, w in moments]

    def _remember(self, n: int, *moments: float) -> None:
        means, variances = moments[: self.size], moments[self.size :]
        self.num_batches_tracked += 1
        new = 1 / self.num_batches_tracked if self.momentum is None else self.momentum
        self.running_mean = [
            (1 - new) * old + new * center for old, center in zip(self.running_mean, means, strict=True)
        ]
        self.running_var = [
            (1 - new) * old + new * variance * n / (n - 1)
            for old, variance in zip(self.running_var, variances, strict=True)
        ]


class LayerNorm(_Normalisation):
    """(x − μ)/√(σ² + eps)·weight + bias, with the mean μ and the variance σ² of the sample's own numbers.

    It does not depend on the batch, so it is the same in training and evaluation (Ba et al., *Layer normalization*,
    2016).

    Args:
        size: the length of a sample.
        eps: added to the variance, at least 0.
        elementwise_affine: whether each number has a weight and a bias, which start at 1 and 0.

    Raises:
        ValueError: if a setting is out of its range.
        TypeError: if a setting is not a number.

    >>> [round(y.data, 3) for y in LayerNorm(3)([1.0, 2.0, 3.0])]
    [-1.225, 0.0, 1.225]
    """

    def __init__(self, size: int, eps: float = 1e-5, elementwise_affine: bool = True) -> None:
        super().__init__(size, eps, elementwise_affine)

    def forward(self, x: Sequence[Any]) -> list[Any]:
        """Returns the normalised sample, or batch of samples.

        Raises:
            ValueError: if a sample has not ``size`` numbers.
        """
        return [self._normalise(sample) for sample in x] if is_batch(x) else self._normalise(x)

    def _normalise(self, x: Any) -> list[Value]:
        sample = self._sample(x)
        center = mean(sample)
        deviations = [xi - center for xi in sample]
        return self._scale(deviations, dot(deviations, deviations) / self.size, self._weights())


def _at_least_0(name: str, number: float) -> float:
    number = read_number(name, number)
    if not 0 <= number < float("inf"):
        raise ValueError(f"{name} must be at least 0, not {number}")
    return number
