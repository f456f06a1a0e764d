"""Compares gradients with finite differences: :func:`gradcheck`, :func:`gradgradcheck`, and their report."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from html import escape
from typing import Any

from ..arguments import check_callable, to_float
from ..engine import Value, grad, topological_order
from ..nn import Module
from ..stepping import contributions
from ..tables import lay_out
from .differences import EPSILON, UNDERFLOW, Sample, Verdict, choose_steps, estimate_noise, judge, refine_steps
from .foreign import find_gradient, is_foreign, take_values
from .surroundings import Surroundings

__all__ = ["GradcheckError", "Report", "Row", "gradcheck", "gradgradcheck"]


@dataclass(frozen=True)
class Row(Verdict):
    """The result for one input.

    Attributes:
        path: the path of the input: ``x``, ``model.layers.0.neurons.2.w.1``; with several outputs, ``1 by x``.
        analytic: the gradient that was checked.
        numeric: the finite difference; nan if there is none.
        error: the estimated error of ``numeric``.
        noticed: the smallest relative error of the gradient that the check would have noticed.
        verdict: ``ok``; ``wrong``; ``cannot tell``, where an error of 1e-6 would not have been noticed; ``kink`` and
            ``jump``, where there is no derivative, and the gradient lies between the slopes on both sides; ``edge`` of
            the domain, where the function is not defined on both sides.
        reason: the reason for the verdict, if it is not obvious.
    """

    path: str = field(kw_only=True)
    analytic: float = field(kw_only=True)


@dataclass(frozen=True)
class Report:
    """A report with one row per input. It prints as a table, in notebooks as HTML."""

    rows: list[Row] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether no gradient is wrong."""
        return all(row.verdict != "wrong" for row in self.rows)

    def __str__(self) -> str:
        return lay_out(self._cells())

    def _repr_html_(self) -> str:  # for notebooks
        lines = ["".join(f"<td>{escape(cell)}</td>" for cell in cells) for cells in self._cells()]
        return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"

    def _cells(self) -> list[tuple[str, ...]]:
        cells: list[tuple[str, ...]] = [("input", "analytic", "numeric", "error", "noticed", "verdict")]
        for row in self.rows:
            numbers = f"{row.analytic:.12g}", f"{row.numeric:.12g}", f"{row.error:.1e}", f"{row.noticed:.1e}"
            cells.append((row.path, *numbers, f"{row.verdict}: {row.reason}" if row.reason else row.verdict))
        return cells


class GradcheckError(AssertionError):
    """A gradient is wrong. The message is the report as a table; ``report`` is the report itself."""

    def __init__(self, report: Report) -> None:
        wrong = [row.path for row in report.rows if row.verdict == "wrong"]
        super().__init__(f"wrong by {', '.join(wrong)}\n{report}")
        self.report = report


def gradcheck(f: Callable[..., Any], inputs: Any, *more: Any, grad: Any = None, raises: bool = True) -> Report:
    """Checks the gradients of ``f`` at a point: those of Values, or any others.

    The differences' errors are estimated, with the noise of ``f`` (see :mod:`micrograd.testing.differences`), so that
    there is no tolerance to choose. Each row says which errors it would have noticed.

    Args:
        f: a function that returns a Value or a list of Values. It is called many times, and must return the same
            result each time. Everything that it changes is set back: gradients, labels, buffers and random generators.
        inputs: a list or tuple with the arguments of ``f``, or a single argument of another type. Every Value and every
            number in them is an input, also in lists, dicts, NumPy arrays and modules at any depth; ``f`` gets Values
            for them. Everything else, also True and False, is passed on unchanged. If there are PyTorch's tensors or
            JAX's arrays, ``f`` gets such, and its gradient is what the library finds.
        grad: the gradient of a function ``f`` of plain numbers and arrays: a function of the same arguments that
            returns a number for each input, in their order; for several outputs, such a gradient for each. True if
            ``f`` itself returns a pair, of its value and its gradient.
        raises: raise an error if a gradient is wrong; otherwise only the report says so.

    Returns:
        A report with one row per input; if there are several outputs, one row per output and input.

    Raises:
        GradcheckError: if a gradient is wrong.
        ValueError: if there is no input, an input or output is not finite, or two calls of ``f`` differ.
        TypeError: if ``f`` returns something else than Values, or the inputs are not in one list.

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
    arguments = _arguments(f, inputs, more, "gradcheck()")
    names = _parameter_names(f, len(arguments))
    originals = inputs if isinstance(inputs, (list, tuple)) else [inputs]
    found = find_gradient(originals) if grad is None else None
    if grad is not True and grad is not None:
        check_callable(grad, "gradcheck(grad=…)")
    differentiate = partial(found, f) if found else grad
    return _check(f, take_values(f, originals, differentiate) if differentiate else f, arguments, names, raises)


def _check(
    owner: Callable[..., Any], f: Callable[..., Any], arguments: list[Any], names: list[str], raises: bool
) -> Report:
    # ``owner`` is the user's function, whose surroundings are kept; ``f`` is the same as a function of Values.
    leaves = dict(_name_inputs(names, arguments))
    if not leaves:
        raise ValueError("there is nothing to check: the inputs hold neither a Value nor a number")
    for path, leaf in leaves.items():
        if not math.isfinite(leaf.data):
            raise ValueError(f"{path} is {leaf.data}: there are no differences to compare with")
    surroundings = Surroundings([owner, arguments])
    with surroundings.restore():
        rows = _make_rows(f, arguments, leaves, surroundings)
    report = Report(rows)
    if raises and not report.ok:
        raise GradcheckError(report)
    return report


def _make_rows(
    f: Callable[..., Any], arguments: list[Any], leaves: dict[str, Value], surroundings: Surroundings
) -> list[Row]:
    def evaluate() -> list[float]:
        return [output.data for output in _outputs(f(*arguments))]

    outputs = _outputs(f(*arguments))
    if not outputs:
        raise ValueError("there is nothing to check: the function gives no output")
    for output in outputs:
        if not math.isfinite(output.data):
            raise ValueError(f"the function gives {output!r}: there are no differences to compare with")
    at = [output.data for output in outputs]
    _check_repeats(evaluate, at, surroundings)
    gradients = [grad(output, leaves.values()) for output in outputs]
    roundings = [_rounding(output) for output in outputs]
    noises = []
    measured = _measure_noise(evaluate, list(leaves.values()), len(at))
    for output, noise, sizes in zip(outputs, measured, roundings, strict=True):
        noises.append(max(_noise(output), noise))
        if noise > _noise(output) and output.data:  # the function is less exact than floats, and so is its gradient
            relative = min(noise / abs(output.data), 1.0)
            sizes.update({leaf: relative / EPSILON * size for leaf, size in sizes.items()})
    rows: list[list[Row]] = [[] for _ in outputs]
    for j, (path, leaf) in enumerate(leaves.items()):
        samples = _sample(evaluate, leaf, choose_steps(leaf.data), at)
        _compare_results(evaluate(), at)
        for i, output in enumerate(outputs):
            analytic, rounding = gradients[i][j], roundings[i].get(leaf, 0.0)
            verdict = judge(analytic, rounding, at[i], noises[i], samples[i])
            if verdict.verdict not in ("ok", "kink"):
                steps = refine_steps(leaf.data, analytic, samples[i], at[i])
                verdict = judge(analytic, rounding, at[i], noises[i], _sample(evaluate, leaf, steps, at)[i])
            if verdict.verdict == "wrong" and math.isfinite(analytic) and _at_kinks(output):
                verdict = replace(verdict, verdict="kink", reason="several operations are at their kinks")
            name = f"{i} by {path}" if len(outputs) > 1 else path
            rows[i].append(Row(**vars(verdict), path=name, analytic=analytic))
    return [row for group in rows for row in group]


def _check_repeats(evaluate: Callable[[], list[float]], at: list[float], surroundings: Surroundings) -> None:
    # A function that draws random numbers is called often, because its results may be the same by chance.
    states = []
    for _ in range(3):
        _compare_results(evaluate(), at)
        states.append(surroundings.read_generators())
    if states[-1] != states[-2]:
        for _ in range(100):
            _compare_results(evaluate(), at)


def _compare_results(again: list[float], at: list[float]) -> None:
    if again != at:
        before, after = next(((a, b) for a, b in zip(at, again, strict=False) if a != b), (at, again))
        raise ValueError(
            f"the function is random: it gives another result at the same point, {after} after {before}. Seed it in "
            "each call (rng = random.Random(0) in its first line), switch dropout off with model.eval(), or take out "
            "what it remembers from call to call"
        )


def gradgradcheck(f: Callable[..., Any], inputs: Any, *more: Any, raises: bool = True) -> Report:
    """Checks the second derivatives of ``f``: :func:`gradcheck` of its gradients.

    A row ``1 by x.a`` is the derivative by x.a of gradient number 1. Gradients are counted from 0: all inputs of the
    first output, then those of the next. Arguments and errors are those of :func:`gradcheck`.

    >>> gradgradcheck(lambda x: x.exp() * x, [0.5]).ok
    True
    """
    arguments = _arguments(f, inputs, more, "gradgradcheck()")
    names = _parameter_names(f, len(arguments))
    leaves = [leaf for _, leaf in _name_inputs(names, arguments)]

    def gradients(*arguments: Any) -> list[Value]:
        outputs = _outputs(f(*arguments))
        return [gradient for output in outputs for gradient in grad(output, leaves, create_graph=True)]

    return _check(f, gradients, arguments, names, raises)


def _arguments(f: Callable[..., Any], inputs: Any, more: tuple[Any, ...], where: str) -> list[Any]:
    check_callable(f, where)
    if more:
        name, given = where.removesuffix("()"), ", ".join(repr(x) for x in (inputs, *more))
        raise TypeError(f"{where} takes all inputs as one list, as in {name}(f, [{given}]); and raises by its name")
    return [_lift(argument) for argument in (inputs if isinstance(inputs, (list, tuple)) else [inputs])]


def _outputs(out: Any) -> list[Value]:
    outputs = list(out) if isinstance(out, (list, tuple)) else [out]
    for output in outputs:
        if not isinstance(output, Value):
            raise TypeError(f"the function must give Values, not {type(output).__name__} {output!r}")
    return outputs


def _lift(tree: Any) -> Any:
    # The same structure with Values in place of numbers. Values and modules are not copied, so that f uses the user's.
    if isinstance(tree, dict):
        return {key: _lift(item) for key, item in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [_lift(item) for item in tree]
    if isinstance(tree, (Value, Module, bool)):
        return tree
    if is_foreign(tree):
        return _lift(tree.tolist())
    if _is_array(tree):
        lifted = tree.astype(object)
        lifted.flat = [_lift(item) for item in lifted.flat]
        return lifted
    try:
        return Value(to_float(tree))
    except TypeError:
        return tree


def _is_array(x: Any) -> bool:
    return type(x).__module__ == "numpy" and bool(getattr(x, "shape", ())) and x.dtype.kind in "iufO"


def _leaves(tree: Any, path: str) -> Iterator[tuple[str, Value]]:
    if isinstance(tree, Value):
        yield path, tree
    elif isinstance(tree, Module):
        for name, parameter in tree.named_parameters():
            yield f"{path}.{name}", parameter
    elif isinstance(tree, (dict, list)) or _is_array(tree):
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


def _sample(
    evaluate: Callable[[], list[float]], leaf: Value, steps: list[float], at: list[float]
) -> list[list[Sample]]:
    # For each output, its values around the point; nan where it is undefined. Restores the leaf.
    x = leaf.data
    samples: list[list[Sample]] = [[] for _ in at]
    try:
        for h in steps:
            sides = []
            for leaf.data in (x - h, x + h):
                sides.append(_try(evaluate, len(at)))
            for own, below, above in zip(samples, *sides, strict=True):
                own.append(Sample(x - (x - h), below, (x + h) - x, above))
    finally:
        leaf.data = x
    return samples


def _try(evaluate: Callable[[], list[float]], count: int) -> list[float]:
    try:
        values = evaluate()
    except (ArithmeticError, ValueError):
        return [math.nan] * count
    if len(values) != count:
        raise ValueError(
            f"the function must always give as many outputs: it gave {count}, and near there {len(values)}"
        )
    return values


def _measure_noise(evaluate: Callable[[], list[float]], leaves: list[Value], count: int) -> list[float]:
    # The noise of each output, from its values along a short line, for which all inputs move at once, each by its own
    # distance. The points stand further apart for a function that is the same at most of them, such as one that is
    # rounded to float32. The distance is not round, because rounding errors would then often be the same; but x + k
    # distances are exact.
    point = [leaf.data for leaf in leaves]
    noises: list[float | None] = [None] * count
    try:
        for distance in [int(1.618 * 2**k) | 1 for k in (5, 13, 21, 29, 37)]:
            values = []
            for k in range(1, 9):
                for j, (leaf, x) in enumerate(zip(leaves, point, strict=True)):
                    leaf.data = x + k * (1 + j % 7) * distance * 2 * math.ulp(x or 1.0)
                values.append(_try(evaluate, count))
            for i, own in enumerate(zip(*values, strict=True)):
                if noises[i] is None and len(set(own)) > 4:
                    smooth = max(own) - min(own) <= 0.1 * max(map(abs, own))
                    noises[i] = estimate_noise(own) if smooth else 0.0
            if None not in noises:
                break
    finally:
        for leaf, x in zip(leaves, point, strict=True):
            leaf.data = x
    return [noise or 0.0 for noise in noises]


def _noise(output: Value) -> float:
    # A bound of the output's rounding error: every operation has a relative error ε, weighted by its gradient.
    nodes = [node for node in topological_order(output) if node.parents]
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
        report = gradcheck(
            lambda *operands, rule=node.rule: rule(*operands), [p.data for p in node.parents], raises=False
        )
        verdicts.update(row.verdict for row in report.rows)
    return "kink" in verdicts and "wrong" not in verdicts
