"""Checks of functions that bring only products with their Jacobian: :func:`check_vjp` and :func:`check_jvp`."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial, wraps
from typing import Any

from ..arguments import check_callable
from .checks import gradcheck
from .directions import DIRECTIONS, MANY, draw_direction, find_wrong_input, move
from .inputs import Inputs, flatten
from .report import GradcheckError, Report, Row

__all__ = ["check_jvp", "check_vjp"]

FEW = 10  # up to so many outputs are checked one by one, more by random sums


def check_vjp(f: Callable[..., Any], inputs: Any, vjp: Callable[..., Any], raises: bool = True) -> Report:
    """Checks products of a vector with the Jacobian of ``f``, as a backward pass computes them.

    Args:
        f: a function of numbers and arrays; its result is a number, an array, or lists and dicts of them.
        inputs: the arguments of ``f``, as for :func:`gradcheck`.
        vjp: called with the arguments of ``f`` and a vector of the structure of its result; returns the sum of the
            outputs' gradients, weighted by the vector.
        raises: raise an error if a product is wrong; otherwise only the report says so.

    Returns:
        A report as that of :func:`gradcheck`. More than ten outputs are summed with random weights, twice: ``0 by x``
        is then the derivative of the first sum.

    Raises:
        GradcheckError: if a product is wrong.
        ValueError, TypeError: as in :func:`gradcheck`.

    >>> print(check_vjp(lambda x, y: [x * y, x + y], [2.0, 3.0], lambda x, y, v: [v[0] * y + v[1], v[0] * x + v[1]]))
    input   analytic  numeric  error    noticed  verdict
    0 by x  3         3        ...      ...      ok
    0 by y  2         2        ...      ...      ok
    1 by x  1         1        ...      ...      ok
    1 by y  1         1        ...      ...      ok
    """
    __tracebackhide__ = True
    check_callable(f, "check_vjp()")
    check_callable(vjp, "check_vjp(vjp=…)")
    arguments = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
    result = f(*arguments)
    count = len(flatten(result, "the function's result"))
    vectors = _units(count) if count <= FEW else _draw(count)
    weights = [Inputs([result], ["result"]).fill(vector)[0] for vector in vectors]

    @wraps(f)
    def sums(*arguments: Any) -> list[float]:
        numbers = flatten(f(*arguments), "the function's result")
        return [sum(w * x for w, x in zip(vector, numbers, strict=True) if w) for vector in vectors]

    def gradient(*arguments: Any) -> Any:
        products = [vjp(*arguments, weight) for weight in weights]
        return products if len(products) > 1 else products[0]

    return gradcheck(sums, arguments, grad=gradient, raises=raises)


def check_jvp(f: Callable[..., Any], inputs: Any, jvp: Callable[..., Any], raises: bool = True) -> Report:
    """Checks products of the Jacobian of ``f`` with a vector, as a forward pass of derivatives computes them.

    Args:
        f: a function of numbers and arrays; its result is a number, an array, or lists and dicts of them.
        inputs: the arguments of ``f``, as for :func:`gradcheck`.
        jvp: called with the arguments of ``f`` and then, for each argument, with the direction in which it moves;
            returns the derivative of the result in this direction.
        raises: raise an error if a product is wrong; otherwise only the report says so.

    Returns:
        A report as that of :func:`gradcheck`. More than 1000 inputs move together along two random directions. If the
        product with one of these is wrong, a wrong input is searched for, and gets a row.

    Raises:
        GradcheckError: if a product is wrong.
        ValueError, TypeError: as in :func:`gradcheck`.

    >>> print(check_jvp(lambda x, y: x * y, [2.0, 3.0], lambda x, y, dx, dy: dx * y + x * dy))
    input  analytic  numeric  error    noticed  verdict
    x      3         3        ...      ...      ok
    y      2         2        ...      ...      ok
    """
    __tracebackhide__ = True
    check_callable(f, "check_jvp()")
    check_callable(jvp, "check_jvp(jvp=…)")
    arguments = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
    read = Inputs(arguments, [f"x{i}" for i in range(len(arguments))])
    count = len(read.point)

    def differentiate(arguments: Sequence[Any], directions: Iterable[Sequence[float]]) -> list[float]:
        columns = [flatten(jvp(*arguments, *read.fill(direction)), "the product") for direction in directions]
        return [number for row in zip(*columns, strict=True) for number in row]

    if count <= MANY:
        return gradcheck(f, arguments, grad=lambda *arguments: differentiate(arguments, _units(count)), raises=raises)

    def check_along(direction: Any, name: str, start: float = 1.0) -> list[Row]:
        def along(t: float) -> Any:
            return f(*read.fill(move(read.point, t - start, direction)))

        def product(t: float) -> list[float]:
            return differentiate(read.fill(read.point), [direction])

        rows = gradcheck(along, [start], grad=product, raises=False).rows
        return [replace(row, path=row.path.removesuffix("t") + name) for row in rows]

    def is_wrong_along(output: int, direction: Any) -> bool:
        return check_along(direction, "")[output].verdict == "wrong"

    rng = random.Random(0)
    rows: dict[str, Row] = {}
    for k in range(DIRECTIONS):
        direction = draw_direction(read.point, rng)
        for i, row in enumerate(check_along(direction, f"direction {k + 1} of all inputs")):
            rows[row.path] = row
            if row.verdict == "wrong":
                j = find_wrong_input(direction, partial(is_wrong_along, i))
                unit = move(read.point, -1.0, read.point)
                unit[j] = 1.0
                found = check_along(unit, read.name(j), float(read.point[j]))[i]
                rows.update({found.path: found} if found.verdict == "wrong" else {})
    report = Report([*rows.values()])
    if raises and not report.ok:
        raise GradcheckError(report)
    return report


def _units(count: int) -> list[list[float]]:
    return [[float(i == j) for j in range(count)] for i in range(count)]


def _draw(count: int) -> list[list[float]]:
    rng = random.Random(0)
    return [[rng.choice((-1, 1)) * rng.uniform(0.5, 1.0) for _ in range(count)] for _ in range(2)]
