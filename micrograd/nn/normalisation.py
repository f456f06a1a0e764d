"""Normalisation shifts and scales numbers to mean 0 and variance 1, against vanishing and exploding gradients."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from ..arguments import one_line, sequence, shape_of, to_lists
from ..engine import Number, Value, lift
from ..functional import dot, mean
from ..watching import keep, read_buffer
from .inputs import check_flags, check_length, check_sizes, map_samples, read_number
from .module import Module

__all__ = ["BatchNorm", "BatchNorm1d", "BatchNorm2d", "GroupNorm", "LayerNorm"]


class _Normalisation(Module):
    def __init__(self, size: int, eps: float, affine: bool, bias: bool = True) -> None:
        check_sizes(size=size)
        check_flags(affine=affine, bias=bias)
        self.size = size
        self.eps = _at_least_0("eps", eps)
        self.affine = affine
        self.weight = [Value(1) for _ in range(size)] if affine else None
        self.bias = [Value(0) for _ in range(size)] if affine and bias else None

    def _normalise(self, numbers: Sequence[Value], places: Sequence[int]) -> list[Value]:
        center = mean(numbers)
        deviations = [x - center for x in numbers]
        return self._scale(deviations, dot(deviations, deviations) / len(numbers), places)

    def _scale(self, deviations: Sequence[Value], variance: Number, places: Sequence[int]) -> list[Value]:
        # deviation/√(variance + eps)·weight + bias, with the weight and the bias of each number's place.
        scale = (lift(variance) + self.eps) ** -0.5
        out = [scale * d for d in deviations]
        if self.weight:
            out = [x * self.weight[i] for x, i in zip(out, places, strict=True)]
        return [x + self.bias[i] for x, i in zip(out, places, strict=True)] if self.bias else out

    def _sample(self, x: Any) -> list[Any]:
        sample = sequence(x, self._title())
        check_length(sample, self.size, f"{type(self).__name__} takes samples of {self.size} numbers, not of")
        return sample

    def _title(self) -> str:
        return f"{type(self).__name__}({self.size})"


class BatchNorm(_Normalisation):
    """(x − μ)/√(σ² + eps)·weight + bias, with the mean μ and the variance σ² of each channel of the batch.

    In training, the module takes a batch, which is a list of samples, and updates running means of μ and σ²:
    ``(1 − momentum)·running + momentum·new``, with n − 1 in the denominator of σ². After ``eval()``, it uses the
    running means instead of the batch's own, and takes single samples too. A sample is [channel], or a signal
    [channel][position].
    (Ioffe and Szegedy, *Batch normalization: accelerating deep network training by reducing internal covariate shift*,
    2015; as PyTorch's ``BatchNorm1d``.)

    Args:
        size: the number of channels, which is the length of a sample.
        eps: added to the variance, at least 0.
        momentum: the weight of a new batch in the running means, from 0 to 1; with None, all batches count equally.
        affine: whether each channel has a weight and a bias, which start at 1 and 0.

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
    dimensions: tuple[int, ...] = (1, 2)  # of a sample

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
            ValueError: if a sample has not ``size`` channels, or a channel in training has less than two numbers.
        """
        x = to_lists(sequence(x, self._title()))
        is_sample = _depth(x) == self.dimensions[0]
        batch = [self._sample(sample) for sample in ([x] if is_sample else x)]
        shape = shape_of(batch)
        if not batch or not isinstance(shape, tuple) or len(shape) - 1 not in self.dimensions:
            what = f"images ({self.size}, height, width)" if 3 in self.dimensions else "samples [channel] or signals"
            raise ValueError(f"{self._title()} takes a batch of {what} of one shape, not {one_line(str(shape))}")
        columns = [_lift_all(channels) for channels in zip(*batch, strict=True)]
        normalise = self._normalise_by_batch if self.training else self._normalise_by_running
        numbers = list(map(iter, normalise(columns)))
        out = [[_fill(c, found) for c, found in zip(sample, numbers, strict=True)] for sample in batch]
        return out[0] if is_sample else out

    def _normalise_by_batch(self, columns: list[list[Value]]) -> list[list[Value]]:
        count = len(columns[0])
        if count < 2:
            raise ValueError("BatchNorm in training takes a batch of two samples at least: one alone has no variance")
        means = [mean(column) for column in columns]
        deviations = [[x - center for x in column] for column, center in zip(columns, means, strict=True)]
        variances = [dot(column, column) / count for column in deviations]
        out = [
            self._scale(column, variance, [i] * count)
            for i, (column, variance) in enumerate(zip(deviations, variances, strict=True))
        ]
        keep(self, partial(self._remember, count), [*means, *variances])
        return out

    def _normalise_by_running(self, columns: list[list[Value]]) -> list[list[Value]]:
        running = read_buffer(self, "running_mean"), read_buffer(self, "running_var")
        return [
            self._scale([x - center for x in column], variance, [i] * len(column))
            for i, (column, center, variance) in enumerate(zip(columns, *running, strict=True))
        ]

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


class BatchNorm1d(BatchNorm):
    """:class:`BatchNorm` with PyTorch's name. Samples are [channel], or signals [channel][position].

    Args:
        num_features: the number of channels.
        eps, momentum, affine: as in :class:`BatchNorm`.

    Raises:
        ValueError: if a setting is out of its range.
        TypeError: if a setting is not a number.

    >>> [[[round(y.data, 3) for y in row] for row in sample] for sample in BatchNorm1d(1)([[[1.0, 3.0]], [[1.0, 3.0]]])]
    [[[-1.0, 1.0]], [[-1.0, 1.0]]]
    """

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True) -> None:
        super().__init__(num_features, eps, momentum, affine)


class BatchNorm2d(BatchNorm1d):
    """:class:`BatchNorm` for images [channel][row][column]: the statistics are those of all pixels of a channel.

    Args:
        num_features: the number of channels.
        eps, momentum, affine: as in :class:`BatchNorm`.

    Raises:
        ValueError: if a setting is out of its range.
        TypeError: if a setting is not a number.

    >>> [[[round(y.data, 3) for y in row] for row in plane] for plane in BatchNorm2d(1)([[[[1.0, 3.0]]]])[0]]
    [[[-1.0, 1.0]]]
    """

    dimensions = (3,)


class GroupNorm(_Normalisation):
    """(x − μ)/√(σ² + eps)·weight + bias, with the mean μ and the variance σ² of a group of a sample's channels.

    It does not depend on the batch (Wu and He, *Group normalization*, 2018). A sample is [channel], or an image
    [channel][row][column]. Other depths are batches: one of signals [channel][position] is not taken.

    Args:
        num_groups: into how many groups the channels are divided; 1 for all channels together.
        num_channels: the number of channels.
        eps: added to the variance, at least 0.
        affine: whether each channel has a weight and a bias, which start at 1 and 0.

    Raises:
        ValueError: if a setting is out of its range, or ``num_groups`` does not divide ``num_channels``.
        TypeError: if a setting is not a number.

    >>> [round(y.data, 3) for y in GroupNorm(2, 4)([1.0, 3.0, 10.0, 30.0])]
    [-1.0, 1.0, -1.0, 1.0]
    """

    def __init__(self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True) -> None:
        check_sizes(num_groups=num_groups, num_channels=num_channels)
        if num_channels % num_groups:
            raise ValueError(f"num_groups must divide num_channels, but {num_groups} does not divide {num_channels}")
        super().__init__(num_channels, eps, affine)
        self.num_groups = num_groups

    def forward(self, x: Sequence[Any]) -> list[Any]:
        """Returns the normalised sample, or batch of samples.

        Raises:
            ValueError: if a sample has not ``num_channels`` channels, or its maps differ in shape.
        """
        x = to_lists(sequence(x, self._title()))
        if _depth(x) in (2, 4):
            return [self.forward(sample) for sample in x]
        sample = self._sample(x)
        if not isinstance(shape := shape_of(sample), tuple) or len(shape) not in (1, 3):
            raise ValueError(
                f"{self._title()} takes samples ({self.size},), images ({self.size}, height, width), or batches of "
                f"them, not shape {one_line(str(shape))}"
            )
        each, out = self.size // self.num_groups, []
        for first in range(0, self.size, each):
            channels = [_lift_all(channel) for channel in sample[first : first + each]]
            places = [first + i for i, channel in enumerate(channels) for _ in channel]
            numbers = iter(self._normalise([x for channel in channels for x in channel], places))
            out += [_fill(channel, numbers) for channel in sample[first : first + each]]
        return out

    def _title(self) -> str:
        return f"{type(self).__name__}({self.num_groups}, {self.size})"


class LayerNorm(_Normalisation):
    """(x − μ)/√(σ² + eps)·weight + bias, with the mean μ and the variance σ² of the sample's own numbers.

    It does not depend on the batch, so it is the same in training and evaluation (Ba et al., *Layer normalization*,
    2016).

    Args:
        size: the length of a sample.
        eps: added to the variance, at least 0.
        elementwise_affine: whether each number has a weight and a bias, which start at 1 and 0.
        bias: whether each number has a bias, if it has a weight.

    Raises:
        ValueError: if a setting is out of its range.
        TypeError: if a setting is not a number.

    >>> [round(y.data, 3) for y in LayerNorm(3)([1.0, 2.0, 3.0])]
    [-1.225, 0.0, 1.225]
    """

    def __init__(self, size: int, eps: float = 1e-5, elementwise_affine: bool = True, bias: bool = True) -> None:
        super().__init__(size, eps, elementwise_affine, bias)

    def forward(self, x: Sequence[Any]) -> list[Any]:
        """Returns the normalised sample, or each of those that are nested in ``x``.

        Raises:
            ValueError: if a sample has not ``size`` numbers.
        """
        return map_samples(lambda sample: self._normalise(list(map(lift, self._sample(sample))), range(self.size)), x)


def _depth(x: Any) -> int:
    return 1 + _depth(x[0]) if isinstance(x, list) and x else int(isinstance(x, list))


def _lift_all(tree: Any) -> list[Value]:
    return [x for item in tree for x in _lift_all(item)] if isinstance(tree, (list, tuple)) else [lift(tree)]


def _fill(tree: Any, numbers: Iterator[Value]) -> Any:
    # The lists of a tree with other numbers.
    return [_fill(item, numbers) for item in tree] if isinstance(tree, list) else next(numbers)


def _at_least_0(name: str, number: float) -> float:
    number = read_number(name, number)
    if not 0 <= number < float("inf"):
        raise ValueError(f"{name} must be at least 0, not {number}")
    return number
