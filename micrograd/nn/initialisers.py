"""Initialisers: they draw a layer's first weights so that signals neither vanish nor explode between layers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..engine import Value

__all__ = ["INITIALISERS", "find_gain", "make_values", "read_init"]


def _uniform(rng: Any, fan_in: int, fan_out: int, gain: float) -> float:
    return rng.uniform(-1, 1)  # type: ignore[no-any-return]


def _normal(variance: Callable[[int, int], float]) -> Callable[[Any, int, int, float], float]:
    return lambda rng, fan_in, fan_out, gain: rng.gauss(0, gain * math.sqrt(variance(fan_in, fan_out)))


def _even(variance: Callable[[int, int], float]) -> Callable[[Any, int, int, float], float]:
    def draw(rng: Any, fan_in: int, fan_out: int, gain: float) -> float:
        bound = gain * math.sqrt(3 * variance(fan_in, fan_out))  # U(−b, b) has the variance b²/3
        return rng.uniform(-bound, bound)  # type: ignore[no-any-return]

    return draw


def _he(fan_in: int, fan_out: int) -> float:
    return 1 / fan_in


def _xavier(fan_in: int, fan_out: int) -> float:
    return 2 / (fan_in + fan_out)


INITIALISERS: dict[str, Callable[[Any, int, int, float], float]] = {
    "uniform": _uniform,
    "he": _normal(_he),
    "xavier": _normal(_xavier),
    "he_normal": _normal(_he),
    "he_uniform": _even(_he),
    "xavier_normal": _normal(_xavier),
    "xavier_uniform": _even(_xavier),
}
"""Functions that draw one weight, by name. Each takes (rng, fan_in, fan_out, gain).

- ``uniform``: U(−1, 1), as in the published package.
- ``he`` or ``he_normal``: N(0, gain²/fan_in), with gain √2 for ReLU (He et al., *Delving deep into rectifiers*, 2015).
- ``xavier`` or ``xavier_normal``: N(0, gain²·2/(fan_in + fan_out)), with gain 1 for sigmoid (Glorot and Bengio,
  *Understanding the difficulty of training deep feedforward neural networks*, 2010).
- ``he_uniform`` and ``xavier_uniform``: uniform, with mean 0 and the same variances.
"""

# The gains of torch.nn.init.calculate_gain. Smooth relatives of ReLU have its gain; all other activations have 1.
GAINS = {"leaky_relu": math.sqrt(2 / (1 + 0.01**2)), "tanh": 5 / 3} | dict.fromkeys(
    ("relu", "gelu", "silu"), math.sqrt(2)
)
RECTIFIERS = ("relu", "leaky_relu", "softplus", "gelu", "silu")


def read_init(init: str | None) -> str:
    """Returns the name of an initialiser; the default is ``"he"``.

    Raises:
        ValueError: if there is no such initialiser.

    >>> read_init(None)
    'he'
    """
    if init is None:
        return "he"
    if not isinstance(init, str) or init not in INITIALISERS:
        raise ValueError(f"there is no initialisation {init!r}; there are {', '.join(INITIALISERS)}")
    return init


def find_gain(init: str) -> float:
    """The gain for a layer that does not know the activation that follows: He's initialisations assume ReLU.

    >>> find_gain("he") ** 2, find_gain("xavier")
    (2.0000000000000004, 1.0)
    """
    return math.sqrt(2) if init.startswith("he") else 1.0


def make_values(draw: Callable[[], float], *shape: int) -> Any:
    """Returns nested lists of Values, with a number of ``draw()`` each.

    >>> make_values(lambda: 0.5, 1, 2)
    [[Value(data=0.5, grad=0.0), Value(data=0.5, grad=0.0)]]
    """
    return [make_values(draw, *shape[1:]) for _ in range(shape[0])] if shape else Value(draw())
