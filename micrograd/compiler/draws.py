"""Random numbers for programs: many at a time, the same that the generator itself would draw."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from .machine import Floats, Whole

__all__ = ["draw_orders", "take"]

_MANY = 1000  # numbers for which NumPy is faster: it takes the generator's state and gives it back


def is_twister(rng: Any) -> bool:
    """Whether it draws as NumPy's Mersenne Twister does: a ``random.Random``, or the module ``random``."""
    return type(getattr(rng.random, "__self__", None)) is random.Random


def take(rng: Any, count: int) -> Floats:
    """Draws as many numbers of ``rng.random()``."""
    if count < _MANY or not is_twister(rng):
        return np.array([rng.random() for _ in range(count)])
    version, (*key, place), after = rng.getstate()
    twin = np.random.RandomState(0)
    twin.set_state(("MT19937", np.array(key, dtype=np.uint32), place, 0, 0.0))
    numbers = twin.random_sample(count)
    new = twin.get_state(legacy=False)["state"]
    rng.setstate((version, (*new["key"].tolist(), int(new["pos"])), after))
    return numbers


def draw_orders(rng: Any, count: int, orders: int) -> Whole:
    """Draws several orders of ``count`` samples, a row each: those of :func:`micrograd.data.draw_order`.

    Without a generator, they are all as they are.
    """
    if rng is None:
        return np.tile(np.arange(count), (orders, 1))
    keys = (take(rng, orders * count) * 2.0**31).astype(np.int64).reshape(orders, count)
    # The place of a number in its lowest bits: sorting these is faster than sorting places.
    return np.sort(keys << 32 | np.arange(count), axis=1) & (2**32 - 1)
