"""Compares gradients with finite differences, and estimates the error of the differences.

Central differences with steps h, h/2, h/4, … are extrapolated to h = 0 by Richardson's method, which gives a triangle
of estimates. The estimate that agrees best with its neighbours is used; its distance from them is its error (Ridders,
*Accurate computation of F'(x) and F'(x) F''(x)*, 1982). A gradient is wrong if it differs from the estimate by more
than this error and rounding.

If a gradient differs, the slopes on both sides tell why. At a kink they stay apart as h shrinks, and any gradient
between them is a subgradient. At the edge of the domain, only one of them exists.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from ..arguments import check_callable
from ..engine import Value, grad, topological_order
from ..nn import Module
from ..stepping import contributions
from ..tables import lay_out

__all__ = ["GradcheckError", "Report", "Row", "gradcheck", "gradgradcheck"]

EPSILON = 2.0**-52
UNDERFLOW = 2.0**-1022
# The tolerance, as a multiple of the estimated error. The estimate is the best of about a hundred, so it is sometimes
# too low by a factor of ten. A bug changes the gradient by millions of times the error.
SAFETY = 100.0


@dataclass(frozen=True)
class Row:
    """The result for one input.

    Attributes:
        path: the path of the input: ``x``, ``model.layers.0.neurons.2.w.1``; with several outputs, ``1 by x``.
        analytic: the gradient that was checked.
        numeric: the finite difference; nan if there is none.
        error: the estimated error of ``numeric``.
        verdict: ``ok``; ``kink``, where the gradient is a subgradient; ``edge`` of the domain, where it can't be
            checked; or ``wrong``.
    """

    path: str
    analytic: float
    numeric: float
    error: float
    verdict: str


@dataclass(frozen=True)
class Report:
    """A report with one row per input. It prints as a table."""

    rows: list[Row] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether no gradient is wrong."""
        return all(row.verdict != "wrong" for row in self.rows)

    def __str__(self) -> str:
        lines = [("input", "analytic", "numeric", "error", "verdict")]
        lines += [(r.path, f"{r.analytic:.12g}", f"{r.numeric:.12g}", f"{r.error:.1e}", r.verdict) for r in self.rows]
        return lay_out(lines)


class GradcheckError(AssertionError):
    """A gradient is wrong. The message is the report as a table; ``report`` is the report itself."""

    def __init__(self, report: Report) -> None:
        wrong = [row.path for row in report.rows if row.verdict == "wrong"]
        super().__init__(f"wrong by {', '.join(wrong)}\n{report}")
        self.report = report


def gradcheck(f: Callable[..., Any], inputs: Any, raises: bool = True) -> Report:
    """Checks the gradients of ``f`` at a point.

    Args:
        f: a function that returns a Value or a list of Values. It is called many times, and must return the same
            result each time.
        inputs: a list or tuple with the arguments of ``f``, or a single argument of another type. Every Value and every
            float in them is an input, also in lists, dicts and modules at any depth; everything else is passed on
            unchanged.
        raises: raise an error if a gradient is wrong; otherwise only the report says so.

    Returns:
        A report with one row per input; if there are several outputs, one row per output and input.

    Raises:
        GradcheckError: if a gradient is wrong.
        ValueError: if there is no input, an input or output is not finite, or two calls of ``f`` differ.
        TypeError: if ``f`` returns something else than Values.

    >>> from micrograd import Value
    >>> print(gradcheck(lambda x: x["a"].relu() + x["b"][0], {"a": 0.0, "b": [Value(1.0)]}))
    input  analytic  numeric  error    verdict
    x.a    0         0.5      ...      kink
    x.b.0  1         1        ...      ok
    """
    check_callable(f, "gradcheck()")
    arguments = _arguments(inputs)
    return _check(f, arguments, _parameter_names(f, len(arguments)), raises)


def _check(f: Callable[..., Any], arguments: list[Any], names: list[str], raises: bool) -> Report:
    leaves = dict(_name_inputs(names, arguments))
    if not leaves:
        raise ValueError("there is nothing to check: the inputs hold neither a Value nor a float")

    def evaluate() -> list[Value]:
        return _outputs(f(*arguments))

    for path, leaf in leaves.items():
        if not math.isfinite(leaf.data):
            raise ValueError(f"{path} is {leaf.data}: there are no differences to compare with")
    outputs, again = evaluate(), evaluate()
    if not outputs:
        raise ValueError("there is nothing to check: the function gives no output")
    for output in outputs:
        if not math.isfinite(output.data):
            raise ValueError(f"the function gives {output!r}: there are no differences to compare with")
    if [o.data for o in outputs] != [o.data for o in again]:
        raise ValueError("the function gives another result at the same point: take what is random out of it")
    gradients = [grad(output, leaves.values()) for output in outputs]
    roundings = [_rounding(output) for output in outputs]
    rows: list[list[Row]] = [[] for _ in outputs]
    for j, (path, leaf) in enumerate(leaves.items()):
        steps = _steps(leaf.data)
        results = _probe(evaluate, leaf, steps, len(outputs))
        for i, output in enumerate(outputs):
            name = f"{i} by {path}" if len(outputs) > 1 else path
            samples = [(h, below[i], above[i]) for h, (below, above) in zip(steps, results, strict=True)]
            rounding = roundings[i].get(leaf, 0.0)
            row = _judge(name, gradients[i][j], rounding, output.data, _noise(output), samples)
            if row.verdict == "wrong" and _at_kinks(output):
                row = replace(row, verdict="kink")
            rows[i].append(row)
    report = Report([row for group in rows for row in group])
    if raises and not report.ok:
        raise GradcheckError(report)
    return report


def gradgradcheck(f: Callable[..., Any], inputs: Any, raises: bool = True) -> Report:
    """Checks the second derivatives of ``f``: :func:`gradcheck` of its gradients.

    A row ``1 by x.a`` is the derivative by x.a of gradient number 1. Gradients are counted from 0: all inputs of the
    first output, then those of the next. Arguments and errors are those of :func:`gradcheck`.

    >>> gradgradcheck(lambda x: x.exp() * x, [0.5]).ok
    True
    """
    check_callable(f, "gradgradcheck()")
    arguments = _arguments(inputs)
    names = _parameter_names(f, len(arguments))
    leaves = [leaf for _, leaf in _name_inputs(names, arguments)]

    def gradients(*arguments: Any) -> list[Value]:
        outputs = _outputs(f(*arguments))
        return [gradient for output in outputs for gradient in grad(output, leaves, create_graph=True)]

    return _check(gradients, arguments, names, raises)


def _arguments(inputs: Any) -> list[Any]:
    return [_lift(argument) for argument in (inputs if isinstance(inputs, (list, tuple)) else [inputs])]


def _outputs(out: Any) -> list[Value]:
    outputs = list(out) if isinstance(out, (list, tuple)) else [out]
    for output in outputs:
        if not isinstance(output, Value):
            raise TypeError(f"the function must give Values, not {type(output).__name__} {output!r}")
    return outputs


def _lift(tree: Any) -> Any:
    # The same structure with Values in place of floats. Values and modules are not copied, so that f uses the user's.
    if isinstance(tree, float):
        return Value(tree)
    if isinstance(tree, dict):
        return {key: _lift(item) for key, item in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [_lift(item) for item in tree]
    return tree


def _leaves(tree: Any, path: str) -> Iterator[tuple[str, Value]]:
    if isinstance(tree, Value):
        yield path, tree
    elif isinstance(tree, Module):
        for name, parameter in tree.named_parameters():
            yield f"{path}.{name}", parameter
    elif isinstance(tree, (dict, list)):
        for key, item in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from _leaves(item, f"{path}.{key}")


def _name_inputs(names: Sequence[str], arguments: Sequence[Any]) -> Iterator[tuple[str, Value]]:
    seen: set[Value] = set()
    for name, argument in zip(names, arguments, strict=True):
        for path, leaf in _leaves(argument, name):
            if leaf not in seen:
                seen.add(leaf)
                yield path, leaf


def _parameter_names(f: Callable[..., Any], count: int) -> list[str]:
    # The names of the function's parameters if their number fits, otherwise x0, x1, ….
    called = f.forward if isinstance(f, Module) and type(f).__call__ is Module.__call__ else f
    try:
        names = [p.name for p in inspect.signature(called).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    except (TypeError, ValueError):
        names = []
    return (names if len(names) >= count else [f"x{i}" for i in range(count)])[:count]


def _steps(x: float) -> list[float]:
    # Powers of two, from a quarter of 1 or of |x| down to where the difference is only rounding. A very small x gets
    # two sequences: one for its own size, and one for functions that vary on a scale of 1.
    size = 2.0 ** max(round(math.log2(abs(x))), -1000) if x and math.isfinite(x) else 1.0
    ladders = [(size, 18), (1.0, 18)] if size < 2.0**-40 else [(max(size, 1.0), 18 + abs(round(math.log2(size))))]
    return [top / 4 / 2**i for top, count in sorted(ladders, reverse=True) for i in range(count)]


def _probe(
    evaluate: Callable[[], list[Value]], leaf: Value, steps: list[float], count: int
) -> list[tuple[list[float], list[float]]]:
    # The outputs at x - h and at x + h for each step; nan if they are undefined. Restores the leaf.
    x = leaf.data
    results = []
    try:
        for h in steps:
            sides = []
            for leaf.data in (x - h, x + h):
                try:
                    sides.append([output.data for output in evaluate()])
                except (ArithmeticError, ValueError):
                    sides.append([math.nan] * count)
            results.append((sides[0], sides[1]))
    finally:
        leaf.data = x
    return results


def _noise(output: Value) -> float:
    # A bound of the output's rounding error: every node has a relative error ε, weighted by its gradient.
    nodes = topological_order(output)
    parts = [abs(slope * node.data) for slope, node in zip(grad(output, nodes), nodes, strict=True)]
    return EPSILON * math.fsum(part for part in parts if math.isfinite(part)) + UNDERFLOW


def _rounding(output: Value) -> dict[Value, float]:
    # A bound of each gradient's rounding error: ε times the sum of the magnitudes over all paths.
    sizes = {output: EPSILON}
    for node in reversed(topological_order(output)):
        for parent, part in zip(node.parents, contributions(node, sizes[node]), strict=True):
            sizes[parent] = sizes.get(parent, 0.0) + (abs(part) if math.isfinite(part) else 0.0)
    return sizes


def _at_kinks(output: Value) -> bool:
    # If several operations are at their kinks, the chain rule may not give a subgradient, although each factor is one:
    # x - relu(x) + relu(-x) has slope 1 - 0 + 0 at 0. So each operation is checked alone.
    operations = [node for node in topological_order(output) if node.parents]
    verdicts: set[str] = set()
    for node in operations if len(operations) > 1 else ():
        report = gradcheck(lambda *operands, rule=node.rule: rule(*operands), [p.data for p in node.parents], False)
        verdicts.update(row.verdict for row in report.rows)
    return "kink" in verdicts and "wrong" not in verdicts


def _judge(
    path: str, analytic: float, rounding: float, at: float, noise: float, samples: list[tuple[float, float, float]]
) -> Row:
    def slope(a: float, b: float, h: float, width: float) -> tuple[float, float, float]:
        return h, (b - a) / width, (noise + EPSILON * (abs(a) + abs(b))) / h

    left = [slope(below, at, h, h) for h, below, _ in samples]
    right = [slope(at, above, h, h) for h, _, above in samples]
    central = [slope(below, above, h, 2 * h) for h, below, above in samples]
    estimates = list(_extrapolate(central, order=2))
    numeric, error = min(estimates, key=lambda e: e[1], default=(math.nan, math.inf))
    kinks = list(_kinks(left, right))
    if kinks and kinks[0].here and kinks[0].has(analytic):
        return Row(path, analytic, kinks[0].middle, kinks[0].reach, "kink")
    if any(abs(analytic - n) <= SAFETY * (e + rounding) for n, e in estimates if e <= 1e-6 * abs(n) or e <= 10 * error):
        return Row(path, analytic, numeric, error, "ok")
    _, below, above = samples[-1]
    if not (math.isfinite(below) and math.isfinite(above)):
        return _judge_edge(
            path, analytic, [side for side, end in ((left, below), (right, above)) if math.isfinite(end)]
        )
    for kink in kinks:
        if kink.has(analytic):
            return Row(path, analytic, kink.middle, kink.reach, "kink")
    return Row(path, analytic, numeric, error, "wrong")


def _judge_edge(path: str, analytic: float, sides: list[list[tuple[float, float, float]]]) -> Row:
    # At most one side is defined. If its slope can be measured, the gradient must be this slope.
    for side in sides:
        numeric, error = min(_extrapolate(side, order=1), key=lambda e: e[1], default=(math.nan, math.inf))
        steep = all(abs(b) > max(1.1 * abs(a), 8 * noise) for (_, a, _), (_, b, noise) in pairwise(side[-4:]))
        if steep and math.isfinite(analytic):  # the slope grows without bound
            return Row(path, analytic, math.copysign(math.inf, side[-1][1]), math.nan, "wrong")
        if math.isfinite(analytic) and error < 1e-3 * abs(numeric):
            return Row(path, analytic, numeric, error, "edge" if abs(analytic - numeric) <= SAFETY * error else "wrong")
    return Row(path, analytic, math.nan, math.inf, "edge")


@dataclass(frozen=True)
class _Kink:
    """The slopes on both sides, which stay apart as the step shrinks; ``here``: down to the smallest step."""

    low: float
    high: float
    here: bool

    @property
    def middle(self) -> float:
        return (self.low + self.high) / 2

    @property
    def reach(self) -> float:
        return (self.high - self.low) / 2

    def has(self, gradient: float) -> bool:
        return not math.isfinite(gradient) or abs(gradient - self.middle) <= 1.01 * self.reach


def _kinks(left: list[tuple[float, float, float]], right: list[tuple[float, float, float]]) -> Iterator[_Kink]:
    # Starts at the smallest step. Finds three consecutive gaps that exceed rounding and do not shrink with the step.
    here = True
    for i in range(len(left) - 3, -1, -1):
        three = range(i, i + 3)
        gaps = [abs(right[k][1] - left[k][1]) for k in three]
        if left[i][0] != 4 * left[i + 2][0] or not all(
            g > 8 * (left[k][2] + right[k][2]) for g, k in zip(gaps, three, strict=True)
        ):
            continue
        if gaps[1] > 0.7 * gaps[0] and gaps[2] > 0.7 * gaps[1]:
            slopes = [side[k][1] for side in (left, right) for k in three]
            yield _Kink(min(slopes), max(slopes), here)
        here = False


def _extrapolate(differences: list[tuple[float, float, float]], order: int) -> Iterator[tuple[float, float]]:
    """Yields every entry of Richardson's triangle with its error, from its neighbours and from rounding."""
    previous: list[float] = []
    before_h = math.nan
    for h, slope, rounding in differences:
        if not math.isfinite(slope) or h != before_h / 2:
            previous = []
        before_h = h
        if not math.isfinite(slope):
            continue
        row = [slope]
        for j, before in enumerate(previous[:8]):
            factor = 2.0 ** (order * (j + 1))
            row.append((factor * row[j] - before) / (factor - 1))
            yield row[-1], max(abs(row[-1] - row[j]), abs(row[-1] - before)) + rounding
        previous = row
