"""Directions in which many inputs move at once, and the search for a single one that is wrong.

A point and a direction are lists, or NumPy's arrays if there are many numbers.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

__all__ = ["DIRECTIONS", "MANY", "draw_direction", "find_wrong_input", "move"]

DIRECTIONS = 2  # the number of random directions for many inputs
MANY = 1000  # more inputs than this are checked along random directions first


def draw_direction(point: Any, rng: random.Random) -> Any:
    """A random direction, in which each input moves by about its own size."""
    drawn = [rng.choice((-1, 1)) * rng.uniform(0.5, 1.0) * (abs(x) or 1.0) for x in point]
    return drawn if isinstance(point, list) else point * 0 + drawn


def move(point: Any, t: float, direction: Any) -> Any:
    """The point at distance ``t`` in a direction.

    >>> move([1.0, 2.0], 0.5, [1.0, -1.0])
    [1.5, 1.5]
    """
    if isinstance(point, list):
        return [x + t * d for x, d in zip(point, direction, strict=True)]
    return point + t * direction


def find_wrong_input(direction: Any, is_wrong: Callable[[Any], bool]) -> int:
    """Halves the inputs that move, and goes on with the half that is wrong, until one is left.

    Args:
        direction: a direction along which a derivative is wrong.
        is_wrong: whether the derivative is wrong along a direction in which some of these inputs move.

    >>> find_wrong_input([1.0, 1.0, 1.0, 1.0], lambda part: part[2] != 0)
    2
    """
    low, high = 0, len(direction)
    while high - low > 1:
        middle = (low + high) // 2
        part = direction.copy()
        part[:low], part[middle:] = [0.0] * low, [0.0] * (len(part) - middle)
        low, high = (low, middle) if is_wrong(part) else (middle, high)
    return low
