"""Compares gradients with finite differences: :func:`gradcheck`, :func:`gradgradcheck`, and products with gradients."""

from __future__ import annotations

import inspect
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from ..arguments import check_callable
from ..engine import Value
from ..engine import grad as differentiate
from ..nn import Module
from .differences import EPSILON, NOTICED, UNDERFLOW, Line, Sample, Verdict, estimate_noise, examine, glance
from .directions import DIRECTIONS, MANY, draw_direction, find_wrong_input, move
from .inputs import Inputs
from .report import GradcheckError, Report, Row
from .subjects import Subject, find_gradient, list_outputs, subject_of_numbers, subject_of_values
from .surroundings import Surroundings

__all__ = ["gradcheck", "gradgradcheck"]

Function = Callable[..., Any]


def gradcheck(f: Function, inputs: Any, *more: Any, grad: Any = None, raises: bool = True) -> Report:
    """Checks the gradients of ``f`` at a point: those of Values, or any others.

    The differences' errors are estimated, with the noise of ``f`` (see :mod:`micrograd.testing.differences`), so that
    there is no tolerance to choose. Each row says which errors it would have noticed.

    Args:
        f: a function that returns a Value or a list of Values. It is called many times, and must return the same
            result each time. Everything that it changes is set back: gradients, labels, buffers and random generators.
        inputs: a list or tuple with the arguments of ``f``, or a single argument of another type. Every Value and every
            number in them is an input, also in lists, dicts, NumPy arrays and modules at any depth; ``f`` gets Values
            for them. Everything else, also True and False, is passed on unchanged. If there are PyTorch's tensors or
            modules or JAX's arrays, ``f`` gets such, and its gradient is what the library finds.
        grad: the gradient of a function ``f`` of plain numbers and arrays: a function of the same arguments that
            returns a number for each input, in the arguments' structure or order; for several outputs, such a gradient
            for each. True if ``f`` itself returns a pair, of its value and its gradient.
        raises: raise an error if a gradient is wrong; otherwise only the report says so.

    Returns:
        A report with one row per input; if there are several outputs, one row per output and input. More than 1000
        inputs move together along two random directions, with a row for each, whose ``noticed`` is relative to the
        whole gradient. If these are wrong, a wrong input is searched for, and gets a row.

    Raises:
        GradcheckError: if a gradient is wrong.
        ValueError: if there is no input, an input or output is not finite, or two calls of ``f`` differ.
        TypeError: if ``f`` returns something else than Values, a number is complex, or the inputs are not in one list.

    >>> from micrograd import Value
    >>> print(gradcheck(lambda x: x["a"].relu() + x["b"][0], {"a": 0.0, "b": [Value(1.0)]}))
    input  analytic  numeric  error    noticed  verdict
    x.a    0         0.5      ...      ...      kink
    x.b.0  1         1        ...      ...      ok
    >>> import math
    >>> print(gradcheck(lambda x, y: math.sin(x) * y, [0.0, 2.0], grad=lambda x, y: [math.cos(x), 0.0], raises=False))
    input  analytic  numeric  error    noticed  verdict
    x      1         2        ...      ...      wrong
    y      0         0        ...      ...      ok
    """
    __tracebackhide__ = True
    arguments, names = _read_arguments(f, inputs, more, "gradcheck()")
    if grad is None:
        make = _choose_subject(f, arguments, names)
    else:
        if grad is not True:
            check_callable(grad, "gradcheck(grad=…)")
        make = partial(subject_of_numbers, f, arguments, names, grad)
    return _check([f, grad, arguments], make, raises)


def gradgradcheck(f: Function, inputs: Any, *more: Any, raises: bool = True) -> Report:
    """Checks the second derivatives of ``f``: :func:`gradcheck` of its gradients.

    A row ``1 by x.a`` is the derivative by x.a of gradient number 1. Gradients are counted from 0: all inputs of the
    first output, then those of the next. Arguments and errors are those of :func:`gradcheck`. For a gradient of your
    own, use ``gradcheck(gradient, inputs, grad=hessian)``.

    >>> gradgradcheck(lambda x: x.exp() * x, [0.5]).ok
    True
    """
    __tracebackhide__ = True
    arguments, names = _read_arguments(f, inputs, more, "gradgradcheck()")
    found = find_gradient(arguments, names)
    if found:
        return _check([f, arguments], _choose_subject(partial(found[0], f), arguments, names), raises)

    def gradients(*arguments: Any) -> list[Value]:
        leaves = Inputs(arguments, names).sources
        return [g for output in list_outputs(f(*arguments)) for g in differentiate(output, leaves, create_graph=True)]

    return _check([f, arguments], _choose_subject(gradients, arguments, names), raises)


def _choose_subject(f: Function, arguments: Sequence[Any], names: Sequence[str]) -> Callable[[], Subject]:
    found = find_gradient(arguments, names)
    if found:
        gradient, library = found
        return partial(subject_of_numbers, f, arguments, names, partial(gradient, f), library)
    return partial(subject_of_values, f, arguments, names, gradcheck)


def _read_arguments(f: Function, inputs: Any, more: tuple[Any, ...], where: str) -> tuple[list[Any], list[str]]:
    check_callable(f, where)
    if more:
        name, given = where.removesuffix("()"), ", ".join(repr(x) for x in (inputs, *more))
        raise TypeError(f"{where} takes all inputs as one list, as in {name}(f, [{given}]); and raises by its name")
    arguments = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
    called = f.forward if isinstance(f, Module) and type(f).__call__ is Module.__call__ else f
    try:
        names = [p.name for p in inspect.signature(called).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    except (TypeError, ValueError):
        names = []
    if len(names) < len(arguments):
        names = [f"x{i}" for i in range(len(arguments))]
    return arguments, names[: len(arguments)]


def _check(roots: Sequence[Any], make_subject: Callable[[], Subject], raises: bool) -> Report:
    # Whatever can be reached from the roots is left as it was.
    __tracebackhide__ = True
    surroundings = Surroundings(roots)
    with surroundings.restore():
        subject = make_subject()
        subject.roots = roots
        _check_outputs(subject)
        _check_repeats(subject, surroundings)
        noises = [_add_noise(subject, i, noise) for i, noise in enumerate(_measure_noise(subject))]
        compare = _compare_along_directions if len(subject.inputs.point) > MANY else _compare_inputs
        report = Report(compare(subject, noises))
    if raises and not report.ok:
        raise GradcheckError(report)
    return report


def _check_outputs(subject: Subject) -> None:
    if not subject.at:
        raise ValueError("there is nothing to check: the function gives no output")
    for number in subject.at:
        if not math.isfinite(number):
            raise ValueError(f"the function gives {number}: there are no differences to compare with")


def _check_repeats(subject: Subject, surroundings: Surroundings) -> None:
    # A function that draws random numbers is called often, because its results may be the same by chance.
    states = []
    for _ in range(3):
        _compare_results(subject)
        states.append(surroundings.read_generators())
    if states[-1] != states[-2]:
        for _ in range(100):
            _compare_results(subject)


def _compare_results(subject: Subject) -> None:
    again, at = subject.evaluate(subject.inputs.point), subject.at
    if again != at:
        before, after = next(((a, b) for a, b in zip(at, again, strict=False) if a != b), (at, again))
        raise ValueError(
            f"the function is random: it gives another result at the same point, {after} after {before}. Seed it in "
            "each call (rng = random.Random(0) in its first line), switch dropout off with model.eval(), or take out "
            "what it remembers from call to call"
        )


def _compare_inputs(subject: Subject, noises: Sequence[float]) -> list[Row]:
    rows: list[list[Row]] = [[] for _ in subject.at]
    for j in range(len(subject.inputs.point)):
        line = _move_one(subject, j)
        for i, own in enumerate(rows):
            own.append(_make_row(subject, line, i, j, noises[i]))
        _compare_results(subject)
    return [row for group in rows for row in group]


def _make_row(subject: Subject, line: Line, i: int, j: int, noise: float) -> Row:
    analytic = subject.gradients[i][j]
    verdict = examine(line, i, analytic, subject.roundings[i][j], noise)
    explanation = subject.explain(i) if verdict.verdict == "wrong" and math.isfinite(analytic) else "wrong"
    if explanation != "wrong":
        verdict = replace(verdict, verdict=explanation, reason=f"operations have a {explanation} here")
    return _write_row(subject, line, i, subject.inputs.name(j), verdict, analytic)


def _write_row(subject: Subject, line: Line, i: int, path: str, verdict: Verdict, analytic: float) -> Row:
    path = f"{i} by {path}" if len(subject.at) > 1 else path
    return Row(**vars(verdict), path=path, analytic=analytic, samples=partial(_sample_densely, subject, line, i))


def _sample_densely(subject: Subject, line: Line, i: int) -> list[Sample]:
    with Surroundings(subject.roots).restore():
        return line.sample(line.more_steps(0.0, i), i)


def _compare_along_directions(subject: Subject, noises: Sequence[float]) -> list[Row]:
    rows: dict[str, Row] = {}
    rng = random.Random(0)
    for k in range(DIRECTIONS):
        direction = draw_direction(subject.inputs.point, rng)
        line = _move_all(subject, direction)
        for i, noise in enumerate(noises):
            verdict, analytic = _examine_direction(subject, line, i, direction, noise, examine)
            row = _write_row(subject, line, i, f"direction {k + 1} of all inputs", verdict, analytic)
            rows[row.path] = row
            found = _find_wrong_input(subject, i, direction, noise) if verdict.verdict == "wrong" else None
            if found:
                rows[found.path] = found
        _compare_results(subject)
    return list(rows.values())


def _examine_direction(
    subject: Subject, line: Line, i: int, direction: Sequence[float], noise: float, judge: Callable[..., Verdict]
) -> tuple[Verdict, float]:
    slopes, point = subject.gradients[i], subject.inputs.point
    analytic = math.fsum(slope * d for slope, d in zip(slopes, direction, strict=True))
    rounding = math.fsum(abs(own * d) for own, d in zip(subject.roundings[i], direction, strict=True))
    # The moved inputs are rounded.
    moved = EPSILON * math.hypot(*(slope * x for slope, x, d in zip(slopes, point, direction, strict=True) if d))
    return judge(line, i, analytic, rounding, noise + moved), analytic


def _find_wrong_input(subject: Subject, i: int, direction: Any, noise: float) -> Row | None:
    def is_wrong(part: Any) -> bool:
        line = _move_all(subject, part)
        verdict, _ = _examine_direction(subject, line, i, part, noise, glance)
        if verdict.verdict != "ok" and not verdict.noticed <= NOTICED:
            verdict, _ = _examine_direction(subject, line, i, part, noise, examine)
        return verdict.verdict == "wrong"

    j = find_wrong_input(direction, is_wrong)
    row = _make_row(subject, _move_one(subject, j), i, j, noise)
    return row if row.verdict == "wrong" else None


def _move_one(subject: Subject, j: int) -> Line:
    x, inputs = float(subject.inputs.point[j]), subject.inputs

    def evaluate(t: float) -> tuple[float, list[float]]:
        moved = inputs.settle(j, x + t)
        point = inputs.point.copy()
        point[j] = moved
        return moved - x, _try(subject, point)

    return Line(evaluate, x, subject.at)


def _move_all(subject: Subject, direction: Any) -> Line:
    point = subject.inputs.point

    def evaluate(t: float) -> tuple[float, list[float]]:
        return t, _try(subject, move(point, t, direction))

    return Line(evaluate, 1.0, subject.at)


def _try(subject: Subject, point: Sequence[float]) -> list[float]:
    try:
        values = subject.evaluate(point)
    except (ArithmeticError, ValueError):
        return [math.nan] * len(subject.at)
    if len(values) != len(subject.at):
        raise ValueError(
            f"the function must always give as many outputs: it gave {len(subject.at)}, and near there {len(values)}"
        )
    return values


def _measure_noise(subject: Subject) -> list[float]:
    # The noise of each output, from its values along short lines, for which all inputs move at once, each by its own
    # distance. Terms that cancel are noisy on some scale only, so that there are several. The distances are powers of
    # the golden ratio, because rounding errors would be the same at round ones; but x + k distances are exact. If the
    # function is the same at most points, as one that is rounded to three digits, the points stand further apart. Where
    # a bound of the rounding errors is known, only other noise is to be found, and two distances are enough.
    point = subject.inputs.point
    noises, told = [0.0] * len(subject.at), [0] * len(subject.at)
    many = (8, 16, 24, 30, 34, 38, 42, 50, 55, 59, 62, 65, 67)
    for exponent in (8, 34) if min(subject.noises) > UNDERFLOW else many:
        if (min(told) >= 3 and exponent > 42) or (min(told) >= 1 and len(point) > MANY):
            break
        distance = int(((1 + 5**0.5) / 2) ** exponent) | 1
        direction = [(1 + j % 7) * distance * 2 * math.ulp(x or 1.0) for j, x in enumerate(point)]
        if not isinstance(point, list):
            direction = point * 0 + direction
        values = [_try(subject, move(point, k, direction)) for k in range(1, 9)]
        for i, own in enumerate(zip(*values, strict=True)):
            noise = estimate_noise(own)
            # Where far points look noisier than near ones, and as large as the function, the function oscillates.
            if exponent == 8 or noise <= max(10 * noises[i], 0.05 * max(map(abs, own))):
                noises[i] = max(noises[i], noise)
            told[i] += len(set(own)) > 4
    return noises


def _add_noise(subject: Subject, i: int, measured: float) -> float:
    # A function that is less exact than floats has a gradient that is less exact, too.
    known, slopes = subject.noises[i], subject.gradients[i]
    size = abs(subject.at[i]) + math.fsum(
        abs(s * x) for s, x in zip(slopes, subject.inputs.point, strict=True) if math.isfinite(s)
    )
    if measured > known and size:
        factor = max(1.0, measured / size / subject.epsilon)
        subject.roundings[i] = [factor * rounding for rounding in subject.roundings[i]]
    return max(measured, known)
