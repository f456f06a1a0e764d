"""Batches and splits of data, which is any sequence of samples.

Batch, stochastic and mini-batch gradient descent differ in one number:

>>> samples = list(range(100))
>>> [len(DataLoader(samples, batch_size=k)) for k in (100, 1, 20)]
[1, 100, 5]
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Generic, TypeVar

from .arguments import sequence, to_float

__all__ = [
    "DataLoader", "Standardisation", "TensorDataset", "check_samples", "check_whole", "draw_order", "split",
    "standardise",
]  # fmt: skip

Sample = TypeVar("Sample")


class TensorDataset(Sequence[tuple[Any, ...]]):
    """Samples whose parts stand in several sequences: sample i is the tuple of item i of each.

    Args:
        tensors: sequences of equal length, such as lists or NumPy arrays.

    Raises:
        ValueError: if there are no sequences, or they differ in length.
        TypeError: if one is not a sequence.

    >>> data = TensorDataset([[0.0, 1.0], [1.0, 0.0]], [1, 0])
    >>> data[0], len(data)
    (([0.0, 1.0], 1), 2)
    >>> for xs, ys in DataLoader(data, batch_size=2):
    ...     print(xs, ys)
    [[0.0, 1.0], [1.0, 0.0]] [1, 0]
    """

    def __init__(self, *tensors: Sequence[Any]) -> None:
        for tensor in tensors:
            check_samples(tensor, "TensorDataset()")
        if len({*map(len, tensors)}) != 1:
            lengths = ", ".join(str(len(tensor)) for tensor in tensors) or "there are none"
            raise ValueError(f"TensorDataset() takes sequences of equal length, one at least; their lengths: {lengths}")
        self.tensors = tensors

    def __len__(self) -> int:
        """The number of samples."""
        return len(self.tensors[0])

    def __getitem__(self, i: Any) -> tuple[Any, ...]:
        """Sample i. A slice gives the tuple of that part of each sequence."""
        return tuple([tensor[i] for tensor in self.tensors])


class DataLoader(Generic[Sample]):
    """Iterates over data in batches. Each iteration goes through the data once.

    A batch is a list of samples. If the samples are tuples, such as pairs (x, y), it is the tuple of a list for each
    part, as in PyTorch: ``for xs, ys in loader``.

    Args:
        data: a sequence of samples.
        batch_size: the number of samples per batch; the last batch may be smaller.
        shuffle: use a new random order in each iteration.
        rng: the random generator: a ``random.Random``, or the module ``random`` itself.
        drop_last: leave out a last batch that is not full.

    Raises:
        ValueError: if the batch size is not a positive whole number.
        TypeError: if the data are not a sequence, or another argument has the wrong type.

    >>> list(DataLoader("abcde", batch_size=2))
    [['a', 'b'], ['c', 'd'], ['e']]
    >>> list(DataLoader("abcde", batch_size=2, shuffle=True, rng=random.Random(0), drop_last=True))
    [['d', 'c'], ['e', 'b']]
    >>> for xs, ys in DataLoader([(1, "a"), (2, "b"), (3, "c")], batch_size=2):
    ...     print(xs, ys)
    [1, 2] ['a', 'b']
    [3] ['c']
    """

    def __init__(
        self,
        data: Sequence[Sample],
        batch_size: int = 1,
        shuffle: bool = False,
        rng: Any = random,
        drop_last: bool = False,
    ) -> None:
        check_samples(data, "DataLoader()")
        check_whole("DataLoader(): batch_size", batch_size, 1)
        for name, value in (("shuffle", shuffle), ("drop_last", drop_last)):
            if not isinstance(value, bool):
                raise TypeError(f"DataLoader(): {name} is True or False, not {type(value).__name__} {value!r}")
        if not callable(getattr(rng, "random", None)):
            raise TypeError(
                f"DataLoader(): rng is a random.Random, or the module random, not {type(rng).__name__} {rng!r}"
            )
        self.data = data
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.rng = rng
        self.drop_last = drop_last

    def __len__(self) -> int:
        """The number of batches."""
        whole, rest = divmod(len(self.data), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[Any]:
        """Yields the batches.

        Raises:
            ValueError: if some samples of a batch are tuples and others not, or the tuples differ in length.
        """
        order = draw_order(len(self.data), self.rng) if self.shuffle else range(len(self.data))
        for i in range(len(self)):
            yield _collate([self.data[j] for j in order[i * self.batch_size : (i + 1) * self.batch_size]])


def _collate(samples: list[Any]) -> Any:
    lengths = [len(sample) if isinstance(sample, tuple) else None for sample in samples]
    if set(lengths) == {None}:
        return samples
    if len(set(lengths)) > 1:
        odd = next(i for i, length in enumerate(lengths) if length != lengths[0])
        raise ValueError(
            f"the samples of a DataLoader are all tuples of one length, or none is a tuple: {samples[odd]!r} does not "
            f"go with {samples[0]!r}"
        )
    return tuple(map(list, zip(*samples, strict=True)))


def draw_order(count: int, rng: Any = random) -> list[int]:
    """Returns the whole numbers below ``count`` in a random order: sorted by 31 random bits that are drawn for each.

    All orders are equally likely, but that equal bits, of which there are few, keep their order. What draws many orders
    at once, as a compiled ``fit`` does, gets the same ones.

    Args:
        count: how many there are.
        rng: the random generator: a ``random.Random``, or the module ``random`` itself.

    >>> draw_order(5, random.Random(0))
    [3, 2, 4, 1, 0]
    """
    keys = [int(rng.random() * 2**31) for _ in range(count)]
    return sorted(range(count), key=keys.__getitem__)


def split(data: Sequence[Sample], fraction: float, rng: Any = random) -> tuple[list[Sample], list[Sample]]:
    """Splits the samples at random into two lists.

    Args:
        data: a sequence of samples.
        fraction: the part of the samples that goes into the first list, from 0 to 1.
        rng: the random generator: a ``random.Random``, or the module ``random`` itself.

    Raises:
        ValueError: if the fraction is not between 0 and 1.
        TypeError: if the fraction is not a number, or the data are not a sequence.

    >>> train, test = split(range(10), 0.8, random.Random(0))
    >>> len(train), len(test), sorted(train + test) == list(range(10))
    (8, 2, True)
    """
    check_samples(data, "split()")
    if not 0 <= to_float(fraction) <= 1:
        raise ValueError(f"the fraction must be between 0 and 1, not {fraction}")
    order = draw_order(len(data), rng)
    cut = round(fraction * len(order))
    return [data[i] for i in order[:cut]], [data[i] for i in order[cut:]]


@dataclass(frozen=True)
class Standardisation:
    """(x − mean)/deviation per column: the transformation that :func:`standardise` found, for other rows.

    Attributes:
        means: the mean of each column.
        deviations: the standard deviation of each column; 1 for a constant column.

    >>> Standardisation(means=[2.0], deviations=[0.5])([[3.0]])
    [[2.0]]
    """

    means: list[float]
    deviations: list[float]

    def __call__(self, rows: Iterable[Sequence[float]]) -> list[list[float]]:
        """Returns the rows, transformed like the first ones.

        Raises:
            ValueError: if a row has another length, or a number is not finite.
            TypeError: if a row contains something else than numbers.
        """
        columns = list(zip(self.means, self.deviations, strict=True))
        return [
            [(x - mean) / deviation for x, (mean, deviation) in zip(row, columns, strict=True)]
            for row in _table(rows, len(columns))
        ]


def standardise(rows: Iterable[Sequence[float]]) -> tuple[list[list[float]], Standardisation]:
    """Shifts and scales every column to mean 0 and standard deviation 1. Returns the rows and the transformation.

    Apply the transformation of the training set to the other sets, so that training learns nothing about those. The
    standard deviation has n in the denominator. A constant column becomes 0.

    Args:
        rows: lists of numbers, all of the same length.

    Raises:
        ValueError: if there are no rows, rows differ in length, or a number is not finite.
        TypeError: if a row contains something else than numbers.

    >>> train, apply = standardise([[1, 7], [3, 7]])
    >>> train
    [[-1.0, 0.0], [1.0, 0.0]]
    >>> apply([[5, 8]])
    [[3.0, 1.0]]
    """
    table = _table(rows)
    if not table:
        raise ValueError("standardise() of no rows is not defined")
    means, deviations = [], []
    for column in zip(*table, strict=True):
        constant = min(column) == max(column)  # rounding would give it a small deviation
        mean = column[0] if constant else math.fsum(column) / len(column)
        deviation = math.dist(column, [mean] * len(column)) / math.sqrt(len(column))  # squares could overflow
        means.append(mean)
        deviations.append(deviation or 1.0)
    apply = Standardisation(means, deviations)
    return apply(table), apply


def _table(rows: Iterable[Sequence[float]], width: int | None = None) -> list[list[float]]:
    table = [[to_float(x) for x in sequence(row, "a row of standardise()")] for row in sequence(rows, "standardise()")]
    for i, row in enumerate(table):
        width = len(row) if width is None else width
        if len(row) != width:
            raise ValueError(f"every row must have {width} numbers, and row {i} has {len(row)}")
        for j, x in enumerate(row):
            if not math.isfinite(x):
                raise ValueError(f"row {i} has {x} in column {j}: only finite numbers can be standardised")
    return table


def check_samples(data: Any, where: str) -> None:
    """Checks that data are a sequence of samples; ``where`` is the name of the calling function, for the message.

    Raises:
        TypeError: if they are not.

    >>> check_samples({1, 2}, "fit()")
    Traceback (most recent call last):
    TypeError: fit(): the data are a sequence of samples, not set: put them into a list
    """
    if isinstance(data, DataLoader):
        raise TypeError(f"{where} takes samples, not a DataLoader: give it what that was given")
    if not (hasattr(data, "__len__") and hasattr(data, "__getitem__")) or isinstance(data, dict):
        raise TypeError(f"{where}: the data are a sequence of samples, not {type(data).__name__}: put them into a list")


def check_whole(what: str, x: Any, least: int) -> None:
    """Checks that an argument is a whole number that is at least ``least``; ``what`` is its name, for the message.

    Raises:
        TypeError: if it is not a number.
        ValueError: if it is not whole, or below ``least``.

    >>> check_whole("fit(): epochs", 2.5, 0)
    Traceback (most recent call last):
    ValueError: fit(): epochs must be a whole number, at least 0, not 2.5
    """
    if not isinstance(x, Real) or isinstance(x, bool):
        raise TypeError(f"{what} is a whole number, not {type(x).__name__} {x!r}")
    if not hasattr(x, "__index__") or x < least:
        raise ValueError(f"{what} must be a whole number, at least {least}, not {x!r}")
