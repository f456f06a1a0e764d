"""Functions of one or two Values, which are those of the table, and the choice between two.

>>> tanh(0.5) == tanh(Value(0.5)).data
True
"""

from __future__ import annotations

from typing import Any

from .. import rules
from ..engine import Number, Value, lift

__all__ = [
    "acos", "asin", "atan", "atan2", "cbrt", "cos", "cosh", "erf", "exp", "expm1", "floor", "gelu", "hypot",
    "leaky_relu", "log", "log1p", "maximum", "minimum", "relu", "sigmoid", "silu", "sin", "sinh", "softplus", "sqrt",
    "stop_gradient", "tan", "tanh", "where",
]  # fmt: skip

exp, expm1, log, log1p, sqrt, cbrt = rules.exp, rules.expm1, rules.log, rules.log1p, rules.sqrt, rules.cbrt
sin, cos, tan, asin, acos, atan = rules.sin, rules.cos, rules.tan, rules.asin, rules.acos, rules.atan
sinh, cosh, tanh, atan2, hypot = rules.sinh, rules.cosh, rules.tanh, rules.atan2, rules.hypot
sigmoid, softplus, silu, erf, gelu = rules.sigmoid, rules.softplus, rules.silu, rules.erf, rules.gelu
relu, maximum, minimum = rules.relu, rules.maximum, rules.minimum
floor, stop_gradient = rules.floor, rules.stop_gradient


def leaky_relu(x: Number, negative_slope: float = 0.01) -> Any:
    """``x`` if it is positive, otherwise ``negative_slope * x``.

    Args:
        x: a Value or a number.
        negative_slope: the slope for negative numbers.

    >>> leaky_relu(Value(-2), 0.1).data
    -0.2
    """
    if isinstance(x, Value):
        return x.leaky_relu(negative_slope)
    return rules.leaky_relu(x, negative_slope=negative_slope)


def where(condition: Any, a: Number, b: Number) -> Value:
    """Returns ``a`` if the condition holds, otherwise ``b``.

    It means ``a if condition else b``, and also works in a compiled function.

    Args:
        condition: a comparison of Values, or a bool.
        a: the result if the condition holds.
        b: the result if it doesn't.

    Raises:
        TypeError: if the condition is a Value: compare it with something.

    >>> x = Value(-2.0)
    >>> where(x > 0, x, 0.1 * x).data
    -0.2
    """
    if hasattr(condition, "_choose"):
        return lift(condition._choose(a, b))
    if isinstance(condition, Value):
        raise TypeError(f"a condition is a comparison, such as x > 0, not {condition!r}")
    return lift(a if condition else b)
