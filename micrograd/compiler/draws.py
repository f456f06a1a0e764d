"""Draws random numbers for programs: many at once, the same numbers in the same order as the function itself."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ..engine import Value, lift
from ..randomness import Kind
from ..watching import Watcher
from .machine import Floats, Whole

__all__ = ["Draw", "Draws", "Replay", "draw_for", "draw_orders"]

Draw = tuple[Kind, Any]
"""A random number that a trace draws: its kind, and its generator."""

_MANY = 1000  # from so many numbers on, NumPy is faster, although the generator's state is copied to it and back


def _is_twister(rng: Any) -> bool:
    # Whether NumPy's Mersenne Twister can draw its numbers: it is a random.Random, or the module random.
    return type(getattr(rng.random, "__self__", None)) is random.Random


def _take(rng: Any, count: int) -> Floats:
    # Draws ``count`` numbers, those of as many calls of rng.random().
    if count < _MANY or not _is_twister(rng):
        return np.array([rng.random() for _ in range(count)])
    version, (*key, place), after = rng.getstate()
    twin = np.random.RandomState(0)
    twin.set_state(("MT19937", np.array(key, dtype=np.uint32), place, 0, 0.0))
    numbers = twin.random_sample(count)
    new = twin.get_state(legacy=False)["state"]
    rng.setstate((version, (*new["key"].tolist(), int(new["pos"])), after))
    return numbers


def draw_orders(rng: Any, count: int, orders: int) -> Whole:
    """Draws several orders of ``count`` samples, one per row: those of :func:`micrograd.data.draw_order`.

    If ``rng`` is None, each row counts from 0 up.
    """
    if rng is None:
        return np.tile(np.arange(count), (orders, 1))
    keys = (_take(rng, orders * count) * 2.0**31).astype(np.int64).reshape(orders, count)
    # The low bits of each key hold its index: sorting keys is faster than sorting indexes by their keys.
    return np.sort(keys << 32 | np.arange(count), axis=1) & (2**32 - 1)


def draw_for(programs: Sequence[Sequence[Draw]], which: Whole) -> list[Floats]:
    """Draws the numbers of many samples.

    Args:
        programs: for each program, the draws for one sample.
        which: for each sample, the index of its program.

    Returns:
        One array per program, with a row for each of its samples and a column for each draw.
    """
    counts = np.bincount(which, minlength=len(programs))
    rows = [np.empty((count, len(draws))) for count, draws in zip(counts, programs, strict=True)]
    owners = {id(rng): rng for draws in programs for _, rng in draws}
    if not all(map(_is_twister, owners.values())):
        filled = [0] * len(programs)
        for k in which.tolist():
            rows[k][filled[k]] = [kind.draw(rng) for kind, rng in programs[k]]
            filled[k] += 1
        return rows
    for key, rng in owners.items():
        each = np.array([sum(kind.count for kind, its in draws if id(its) == key) for draws in programs])[which]
        ends = np.cumsum(each)
        stream = _take(rng, int(ends[-1]))
        for k, draws in enumerate(programs):
            place = (ends - each)[which == k]
            for column, (kind, its) in enumerate(draws):
                if id(its) == key:
                    numbers = [stream[place + i] for i in range(kind.count)]
                    # NumPy's functions round differently from those of the module math.
                    rows[k][:, column] = (
                        numbers[0] if kind.count == 1 else [*map(kind.formula, *[x.tolist() for x in numbers])]
                    )
                    place = place + kind.count
    return rows


class Draws:
    """Draws random numbers, and can set the generators back."""

    def __init__(self) -> None:
        self._states: dict[int, tuple[Any, Any]] = {}

    def draw(self, programs: Sequence[Sequence[Draw]], which: Whole) -> list[Floats]:
        """Draws the numbers of many samples: see :func:`draw_for`."""
        for draws in programs:
            for _, rng in draws:
                if id(rng) not in self._states and hasattr(rng, "getstate"):
                    with contextlib.suppress(NotImplementedError):  # of a random.SystemRandom
                        self._states[id(rng)] = rng, rng.getstate()
        return draw_for(programs, which)

    def rewind(self) -> None:
        """Restores the state that each generator had before the first draw."""
        for rng, state in self._states.values():
            rng.setstate(state)


class Replay(Watcher):
    """Replays random numbers: a function that is called again for a sample gets the numbers that were drawn for it.

    Args:
        numbers: the numbers, in the order of the draws.
        keeps: whether the function may change buffers, such as running means. It may in its first call only.
    """

    def __init__(self, numbers: Iterable[float], keeps: bool) -> None:
        self._numbers, self._keeps = iter(numbers), keeps
        self.thread = threading.get_ident()

    def draw(self, kind: Kind, rng: Any) -> Value:
        return lift(next(self._numbers))

    def keep(self, module: Any, store: Callable[..., object], values: Sequence[Value]) -> bool:
        return not self._keeps
