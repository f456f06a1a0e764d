"""Derivatives of functions of several Values: Jacobians, Hessians, and their products with vectors.

Each takes a function ``f`` of a list of Values, and a point as a list of numbers. Each returns numbers.

>>> hessian(lambda x: x[0] ** 2 * x[1], [3.0, 2.0])
[[4.0, 6.0], [6.0, 0.0]]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .arguments import check_callable, sequence, to_float
from .engine import Number, Value, grad, lift, run_chain_rule
from .functional import dot

__all__ = ["hessian", "jacobian", "jvp", "vjp"]

Function = Callable[[list[Value]], Any]


def jacobian(f: Function, xs: Sequence[Number]) -> list[list[float]]:
    """Returns the Jacobian matrix ∂fᵢ/∂xⱼ, with one row per output and one column per input.

    Args:
        f: a function of a list of Values that returns a list of Values, or one Value.
        xs: the point, a list of numbers.

    Raises:
        TypeError: if ``f`` returns something else.

    >>> jacobian(lambda x: [x[0] * x[1], x[0].exp()], [0.0, 3.0])
    [[3.0, 0.0], [1.0, 0.0]]
    """
    point = _point(f, xs, "jacobian()")
    return [list(grad(out, point)) for out in _outputs(f(point))]


def hessian(f: Function, xs: Sequence[Number]) -> list[list[float]]:
    """Returns the Hessian matrix ∂²f/∂xᵢ∂xⱼ of a function with one output.

    Args:
        f: a function of a list of Values that returns one Value.
        xs: the point, a list of numbers.

    Raises:
        TypeError: if ``f`` returns anything but one Value.

    >>> hessian(lambda x: (x[0] * x[1]).exp(), [0.0, 2.0])
    [[4.0, 1.0], [1.0, 0.0]]
    """
    point = _point(f, xs, "hessian()")
    slopes = grad(_single(f(point), "hessian"), point, create_graph=True)
    return [run_chain_rule(slope, point, None) for slope in slopes]


def vjp(f: Function, xs: Sequence[Number], vector: Sequence[Number]) -> list[float]:
    """Returns the product vᵀJ of a vector and the Jacobian, with one backward pass.

    Args:
        f: a function of a list of Values that returns a list of Values, or one Value.
        xs: the point, a list of numbers.
        vector: v, with one number per output.

    Raises:
        ValueError: if the vector has not one number per output.

    >>> vjp(lambda x: [x[0] * x[1], x[0] ** 2], [2.0, 3.0], [1.0, 10.0])
    [43.0, 2.0]
    """
    point = _point(f, xs, "vjp()")
    outputs = _outputs(f(point))
    return list(grad(dot(outputs, _vector(vector)), point))


def jvp(f: Function, xs: Sequence[Number], vector: Sequence[Number]) -> list[float]:
    """Returns the product Jv of the Jacobian and a vector, the derivative along v, with two backward passes.

    The first pass computes uᵀJ for a vector u. This is linear in u, with derivative Jᵀ. So a second backward pass,
    through the first one, computes Jv (Townsend, *A new trick for calculating Jacobian vector products*, 2017).

    Args:
        f: a function of a list of Values that returns a list of Values, or one Value.
        xs: the point, a list of numbers.
        vector: v, with one number per input.

    Raises:
        ValueError: if the vector has not one number per input.

    >>> jvp(lambda x: [x[0] * x[1], x[0] ** 2], [2.0, 3.0], [1.0, 10.0])
    [23.0, 4.0]
    """
    point = _point(f, xs, "jvp()")
    outputs = _outputs(f(point))
    weights = [Value(1.0) for _ in outputs]
    rows = grad(dot(weights, outputs), point, create_graph=True)
    return list(grad(dot(rows, _vector(vector)), weights))


def _point(f: Function, xs: Sequence[Number], where: str) -> list[Value]:
    check_callable(f, where)
    return [Value(x.data if isinstance(x, Value) else x) for x in sequence(xs, "the point of a derivative")]


def _vector(vector: Sequence[Number]) -> list[float]:
    return [to_float(v) for v in sequence(vector, "a product with a derivative")]


def _outputs(out: Any) -> list[Value]:
    outs = list(out) if isinstance(out, (list, tuple)) else [out]
    return [lift(o) for o in outs]


def _single(out: Any, function: str) -> Value:
    if not isinstance(out, Value):
        raise TypeError(f"{function}() takes a function that gives one Value, not {type(out).__name__}")
    return out
