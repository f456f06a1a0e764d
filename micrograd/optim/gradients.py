"""Clipping of gradients, and penalties on the size of parameters that are added to the loss."""

from __future__ import annotations

import math
from collections.abc import Iterable

from .. import functional
from ..arguments import sequence
from ..engine import Value
from .settings import number

__all__ = ["clip_grad_norm_", "clip_grad_value_", "l1_penalty", "l2_penalty"]

_UPTO_INF = number(ends="[]")


def clip_grad_norm_(
    parameters: Value | Iterable[Value],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> float:
    """Scales the gradient of all parameters, as one vector, to the norm ``max_norm`` if its norm is larger.

    g ← g · min(1, max_norm/(‖g‖ + 1e-6)) (Pascanu et al., *On the difficulty of training recurrent neural networks*,
    2013)

    Args:
        parameters: the Values whose gradients are clipped.
        max_norm: the largest norm; may be ``math.inf``, to measure only.
        norm_type: p of the p-norm, above 0; may be ``math.inf``, for the largest magnitude.
        error_if_nonfinite: raise an error if the norm is not finite. By default there is none, as in PyTorch, and the
            gradients become 0 or nan.

    Returns:
        The norm before clipping.

    Raises:
        TypeError: if a parameter is not a Value.
        ValueError: if ``max_norm`` or ``norm_type`` is out of its range, or, with ``error_if_nonfinite``, the norm is
            not finite; no gradient is then changed.

    >>> a, b = Value(0.0), Value(0.0)
    >>> a.grad, b.grad = 3.0, -4.0
    >>> clip_grad_norm_([a, b], max_norm=1.0)
    5.0
    >>> round(a.grad, 6), round(b.grad, 6)
    (0.6, -0.8)
    """
    values = _values(parameters, "clip_grad_norm_()")
    max_norm, norm_type = _UPTO_INF("max_norm", max_norm), number(ends="(]")("norm_type", norm_type)
    norm = _norm([abs(value.grad) for value in values], norm_type)
    if error_if_nonfinite and not math.isfinite(norm):
        raise ValueError(f"the norm of the gradients is {norm}: no gradient was clipped")
    factor = max_norm / (norm + 1e-6)
    if not factor >= 1:  # true for nan, too, which then spreads, as in PyTorch
        for value in values:
            value.grad *= factor
    return norm


def clip_grad_value_(parameters: Value | Iterable[Value], clip_value: float) -> None:
    """Clips every gradient to the interval [−clip_value, clip_value].

    Args:
        parameters: the Values whose gradients are clipped.
        clip_value: the largest magnitude of a gradient, at least 0.

    Raises:
        TypeError: if a parameter is not a Value.
        ValueError: if ``clip_value`` is negative or nan.

    >>> a = Value(0.0)
    >>> a.grad = -3.0
    >>> clip_grad_value_([a], 0.5)
    >>> a.grad
    -0.5
    """
    values = _values(parameters, "clip_grad_value_()")
    clip_value = _UPTO_INF("clip_value", clip_value)
    for value in values:
        value.grad = max(min(value.grad, clip_value), -clip_value)  # nan as the first argument stays nan


def l1_penalty(parameters: Iterable[Value], factor: float) -> Value:
    """factor · Σ|θ|, a penalty to add to the loss. It makes parameters sparse: most become 0.

    Args:
        parameters: θ, a list of Values.
        factor: the strength of the penalty, at least 0.

    Raises:
        TypeError: if a parameter is not a Value.
        ValueError: if the factor is negative or not finite.

    >>> l1_penalty([Value(3.0), Value(-4.0)], 0.5).data
    3.5
    """
    return functional.sum(map(abs, _values(parameters, "l1_penalty()"))) * _factor(factor)


def l2_penalty(parameters: Iterable[Value], factor: float) -> Value:
    """factor · Σθ², a penalty to add to the loss. It keeps parameters small.

    An optimizer's ``weight_decay`` of 2·factor (not decoupled) has the same effect, without nodes in the graph.

    Args:
        parameters: θ, a list of Values.
        factor: the strength of the penalty, at least 0.

    Raises:
        TypeError: if a parameter is not a Value.
        ValueError: if the factor is negative or not finite.

    >>> l2_penalty([Value(3.0), Value(-4.0)], 0.5).data
    12.5
    """
    values = _values(parameters, "l2_penalty()")
    return functional.dot(values, values) * _factor(factor)


def _factor(factor: float) -> float:
    return number()("factor of the penalty", factor)  # type: ignore[no-any-return]


def _values(parameters: Value | Iterable[Value], where: str) -> list[Value]:
    values = [parameters] if isinstance(parameters, Value) else sequence(parameters, where)
    for value in values:
        if not isinstance(value, Value):
            raise TypeError(f"{where} takes Values, not {type(value).__name__} {value!r}")
    return values


def _norm(magnitudes: list[float], p: float) -> float:
    if any(map(math.isnan, magnitudes)):
        return math.nan
    if p == 2:
        return math.hypot(*magnitudes)
    largest = max(magnitudes, default=0.0)
    if p == math.inf or largest in (0.0, math.inf):
        return largest
    # The magnitudes are divided by the largest one, so that no power overflows or underflows to 0 altogether.
    return float(largest * sum((x / largest) ** p for x in magnitudes) ** (1 / p))
