"""Random numbers that Values are made of."""

from __future__ import annotations

import random as generator
from typing import Any

from ..arguments import check_rng, is_nested, to_float
from ..engine import Value, lift
from ..randomness import NORMAL, UNIFORM, Kind
from ..watching import find_watcher
from .elementary import where

__all__ = ["dropout", "normal", "random"]


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


def dropout(x: Any, p: float = 0.5, training: bool = True, rng: Any = generator) -> Any:
    """Sets each number to 0 with probability p, else divides it by 1 − p, which keeps the mean.

    (Srivastava et al., *Dropout: a simple way to prevent neural networks from overfitting*, 2014.)

    Args:
        x: a number or Value, or a list of them, nested to any depth.
        p: the probability, from 0 to 1.
        training: if False, nothing is changed.
        rng: the random generator: a ``random.Random``, or the module ``random`` itself.

    Raises:
        ValueError: if ``p`` is not between 0 and 1.

    >>> [y.data for y in dropout([1.0, 2.0, 3.0, 4.0], rng=generator.Random(0))]
    [2.0, 4.0, 0.0, 0.0]
    """
    if not 0 <= to_float(p) <= 1:
        raise ValueError(f"the probability of dropout must be between 0 and 1, not {p}")
    if is_nested(x):
        return [dropout(item, p, training, rng) for item in x]
    if not training or not p:
        return lift(x)
    return lift(x) * where(random(rng) < p, 0.0, 1 / (1 - p) if p < 1 else 0.0)


def _draw(kind: Kind, rng: Any) -> Value:
    check_rng(rng, "random")
    watcher = find_watcher()
    hidden = watcher.draw(kind, rng) if watcher else None
    return lift(kind.draw(rng)) if hidden is None else hidden
