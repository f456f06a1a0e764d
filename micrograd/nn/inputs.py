"""Checks of what modules take: sizes, settings, samples and batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ..arguments import is_nested, to_float

__all__ = ["check_flags", "check_length", "check_sizes", "is_batch", "map_samples", "read_number"]


def is_batch(x: Any) -> bool:
    """Whether ``x`` is a list of samples, not one sample."""
    return is_nested(x) and not isinstance(x, Iterator) and is_nested(next(iter(x), None))


def map_samples(function: Callable[[Any], Any], x: Any) -> list[Any]:
    """Calls a function for a sample, which is a list of numbers, or for each of the samples that are nested in ``x``.

    >>> map_samples(len, [1, 2]), map_samples(len, [[[1, 2], [3, 4]]])
    (2, [[2, 2]])
    """
    return [map_samples(function, item) for item in x] if is_batch(x) else function(x)


def check_sizes(**sizes: int) -> None:
    """Raises a ValueError if a size is not a whole number that is at least 1."""
    for name, size in sizes.items():
        if not hasattr(size, "__index__") or size < 1:
            raise ValueError(f"{name} must be a whole number, at least 1, not {size!r}")


def check_flags(**flags: bool) -> None:
    """Raises a TypeError if a flag is neither True nor False."""
    for name, flag in flags.items():
        if flag not in (True, False):
            raise TypeError(f"{name} is True or False, not {type(flag).__name__} {flag!r}")


def read_number(name: str, number: Any) -> float:
    """Returns a setting as a float.

    Raises:
        TypeError: if it is not a number.

    >>> read_number("gain", "a")
    Traceback (most recent call last):
        ...
    TypeError: gain is a number, not str 'a'
    """
    try:
        return to_float(number)
    except TypeError:
        raise TypeError(f"{name} is a number, not {type(number).__name__} {number!r}") from None


def check_length(sample: list[Any], size: int, takes: str) -> None:
    """Raises a ValueError if the length of the sample is not ``size``; its message is ``takes`` and the length.

    >>> check_length([1, 2, 3, 4], 2, "LayerNorm takes samples of 2 numbers, not of")
    Traceback (most recent call last):
        ...
    ValueError: LayerNorm takes samples of 2 numbers, not of 4. (x + y joins two lists; functional.add(x, y) adds them)
    """
    if len(sample) != size:
        is_joined = sample and len(sample) % size == 0
        hint = ". (x + y joins two lists; functional.add(x, y) adds them)" if is_joined else ""
        raise ValueError(f"{takes} {len(sample)}{hint}")
