"""Random numbers that Values are made of. Each kind is a formula of numbers of ``rng.random()``.

A compiled program draws the same numbers, in the same order, because it uses the same formulas.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["NORMAL", "UNIFORM", "Kind"]


@dataclass(frozen=True)
class Kind:
    """A kind of random numbers.

    Attributes:
        name: its name.
        count: how many numbers of ``rng.random()`` one number takes.
        formula: the function of these numbers that gives it.

    >>> import random
    >>> UNIFORM.draw(random.Random(0)) == random.Random(0).random()
    True
    """

    name: str
    count: int
    formula: Callable[..., float]

    def draw(self, rng: Any) -> float:
        """Draws one number."""
        return self.formula(*[rng.random() for _ in range(self.count)])


def _normal(u: float, v: float) -> float:
    # Box and Muller, A note on the generation of random normal deviates, 1958
    return math.sqrt(-2 * math.log(1 - u)) * math.cos(2 * math.pi * v)


UNIFORM, NORMAL = Kind("random", 1, float), Kind("normal", 2, _normal)
