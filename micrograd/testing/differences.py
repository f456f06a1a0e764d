"""Judges a number that is said to be the slope of a function at a point, by differences of the function's values.

Difference quotients for shrinking steps h are extrapolated to h = 0 by Neville's scheme (Ridders, *Accurate computation
of F'(x) and F'(x) F''(x)*, 1982). The error of an estimate is its distance from its neighbours in the scheme, and the
function's noise divided by h. The smallest steps decide: an estimate from larger steps is used only if it agrees with
all those from smaller ones.

The quotients on both sides are extrapolated too. Where they have different limits, the function has a kink; where they
grow as 1/h, it jumps. A gradient is right if both sides and the middle allow it. It is wrong if the best of the three
and the middle exclude it, for two sets of steps that agree. Otherwise, the differences can't tell.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

__all__ = [
    "EPSILON",
    "NOTICED",
    "UNDERFLOW",
    "Line",
    "Sample",
    "Verdict",
    "estimate_noise",
    "examine",
    "glance",
    "judge",
]

EPSILON = 2.0**-52
UNDERFLOW = 2.0**-1022
# An interval reaches this many estimated errors to both sides. The estimate is the best of many, so that its error is
# sometimes too low.
SAFETY = 10.0
NOTICED = 1e-6  # a check that would miss a larger relative error can't tell
# Smaller relative errors are no bugs: solvers and approximations are functions whose gradients are not quite those of
# what they approximate.
FORGIVEN = 1e-7


class Sample(NamedTuple):
    """The values of a function at two points: ``left`` below x and ``right`` above it; nan where it is undefined."""

    left: float
    below: float
    right: float
    above: float


@dataclass(frozen=True)
class Verdict:
    """What the differences say about a gradient; the attributes are those of :class:`micrograd.testing.Row`."""

    numeric: float
    error: float
    noticed: float
    verdict: str
    reason: str = ""


class _Quotient(NamedTuple):
    h: float
    slope: float
    noise: float


class _Limit(NamedTuple):
    value: float
    error: float
    reach: float = 0.0  # the largest step that agrees with all smaller ones

    def allows(self, slope: float) -> bool:
        """Whether the slope may be this; a limit that is not known allows all."""
        return not abs(slope - self.value) > max(SAFETY * self.error, FORGIVEN * abs(slope))

    @property
    def low(self) -> float:
        return self.value - SAFETY * self.error

    @property
    def high(self) -> float:
        return self.value + SAFETY * self.error


_JUMP, _STEEP = 0.02, 0.9  # below these exponents, a function jumps, or its slope grows without bound


class Line:
    """A function along a line through the point; its values are kept.

    Args:
        evaluate: returns the distance that was really moved, and the function's outputs there; nan where undefined.
        x: where on the line the point is. The steps have its size.
        at: the outputs at the point.
    """

    def __init__(self, evaluate: Callable[[float], tuple[float, list[float]]], x: float, at: Sequence[float]) -> None:
        self._evaluate, self.x, self.at = evaluate, x, at
        self._known: dict[float, tuple[float, list[float]]] = {}

    def sample(self, steps: Iterable[float], i: int) -> list[Sample]:
        """The values of output ``i`` at these distances to both sides. Steps that rounding makes equal are left out."""
        samples: list[Sample] = []
        for h in steps:
            for t in (-h, h):
                if t not in self._known:
                    self._known[t] = self._evaluate(t)
            (left, below), (right, above) = self._known[-h], self._known[h]
            smaller = not samples or max(-left / samples[-1].left, right / samples[-1].right) < 0.9
            if left < 0 < right and smaller:
                samples.append(Sample(-left, below[i], right, above[i]))
        return samples

    def quick_steps(self) -> list[float]:
        """A few steps for smooth functions: not round, because a function may have a period that is round."""
        size = 1.37 * _size(self.x)
        return [size / 2**k for k in (6, 8, 10, 12, 14, 17, 26)]

    def steps(self) -> list[float]:
        """Steps for all functions, the largest first: powers of two, denser where they are large.

        A small x gets steps of its own size, and steps for functions that vary on a scale of 1.
        """
        size = _size(self.x)
        tops = {1.0, size} if abs(self.x) < 1 else {size}
        return self._ladder(tops, [*range(2, 21), *range(23, 48, 3)])

    def more_steps(self, slope: float, i: int) -> list[float]:
        """Further steps, where :meth:`steps` can't tell: all powers of two in between.

        If the gradient says that the function varies within the smallest step, there are steps of this size, too.
        """
        tops = {1.0, _size(self.x), self.guess_scale(slope, i)}
        largest = max(self._known)
        return [h for h in self._ladder(tops, range(2, 53)) if h <= largest]

    def guess_scale(self, slope: float, i: int) -> float:
        """The step in which a function of this slope would change by as much as it is known to change; 1 if unknown."""
        changes = [abs(values[i] - self.at[i]) for _, values in self._known.values()]
        change = max(filter(math.isfinite, changes), default=0.0)
        if change and slope and math.isfinite(slope):
            return _power(math.frexp(change)[1] - math.frexp(slope)[1] + 4)
        return 1.0

    def _ladder(self, tops: Iterable[float], exponents: Iterable[int]) -> list[float]:
        exponents = list(exponents)
        steps = {top / 2**k for top in tops for k in exponents}
        return sorted((h for h in steps if h >= 2 * math.ulp(abs(self.x) + h)), reverse=True)


def _size(x: float) -> float:
    return _power(math.frexp(x)[1]) if x else 1.0


def _power(exponent: int) -> float:
    return 2.0 ** min(max(exponent, -960), 1023)


def examine(line: Line, i: int, analytic: float, rounding: float, noise: float) -> Verdict:
    """Judges the gradient of output ``i`` along a line: with few steps if these can tell, with many otherwise.

    A gradient is only called wrong if other steps agree, because any steps may meet a function's oscillations.
    """
    at = line.at[i]

    def look(steps: list[float]) -> Verdict:
        return judge(analytic, rounding, at, noise, line.sample(steps, i))

    if abs(line.x) > 2.0**-10:
        verdict = glance(line, i, analytic, rounding, noise)
        if verdict.verdict == "ok":
            return verdict
    for choose_steps in (line.steps, lambda: line.more_steps(analytic, i)):
        steps = choose_steps()
        verdict = look(steps)
        if verdict.verdict in ("ok", "kink"):
            return verdict
        again = look([0.7 * h for h in steps]) if verdict.verdict == "wrong" else verdict
        apart = abs(verdict.numeric - again.numeric) > SAFETY * (verdict.error + again.error)
        is_seen = line.guess_scale(analytic, i) > steps[-1]  # the steps are small enough for such a gradient
        if verdict.verdict == again.verdict == "wrong" and not apart and is_seen:
            return verdict
    if verdict.verdict == "wrong" and (again.verdict != "wrong" or apart):
        return replace(verdict, verdict="cannot tell", noticed=math.inf, reason="the differences contradict")
    return verdict


def glance(line: Line, i: int, analytic: float, rounding: float, noise: float) -> Verdict:
    """Judges the gradient of output ``i`` along a line with a few steps; only ``ok`` is certain."""
    *samples, nearest = line.sample(line.quick_steps(), i)
    verdict = judge(analytic, rounding, line.at[i], noise, samples)
    if verdict.verdict == "ok" and not _is_slope_of(nearest, analytic, line.at[i], noise):
        return replace(verdict, verdict="cannot tell")
    return verdict


def _is_slope_of(sample: Sample, analytic: float, at: float, noise: float) -> bool:
    # Whether the quotients on both sides are the gradient, as far as a single step can tell.
    for h, a, b in ((sample.left, sample.below, at), (sample.right, at, sample.above)):
        if not abs((b - a) / h - analytic) <= 1e-4 * abs(analytic) + SAFETY * (2 * noise + EPSILON * abs(a)) / h:
            return False
    return True


def estimate_noise(values: Sequence[float]) -> float:
    """Estimates the noise of a function from its values at points that are close together and equally far apart.

    The k-th differences of a smooth function vanish, and those of noise grow by √((2k)!)/k!. The estimate is the
    standard deviation of the noise on which three orders of differences agree; 0 if none do. (Moré and Wild,
    *Estimating computational noise*, SIAM J. Sci. Comput. 33, 2011; *Estimating derivatives of noisy simulations*, ACM
    Trans. Math. Softw. 38, 2012.)

    >>> estimate_noise([1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6]) < 1e-15
    True
    >>> round(estimate_noise([1.01, 1.11, 1.19, 1.31, 1.41, 1.49, 1.59]), 2)
    0.01
    """
    levels: list[tuple[float, int]] = []
    differences = list(values)
    for k in range(1, len(values)):
        differences = [b - a for a, b in pairwise(differences)]
        size = math.hypot(*differences) / math.sqrt(len(differences) * math.comb(2 * k, k))
        levels.append((size, sum(a < 0 < b or b < 0 < a for a, b in pairwise(differences))))
    for three in list(zip(levels, levels[1:], levels[2:], strict=False))[:3]:
        sizes = [size for size, _ in three]
        if 0 < max(sizes) <= 4 * min(sizes) and three[0][1] > 1:  # a kink has one change of sign there
            return sizes[0]
    return 0.0


def judge(analytic: float, rounding: float, at: float, noise: float, samples: Sequence[Sample]) -> Verdict:
    """Judges a gradient.

    Args:
        analytic: the gradient.
        rounding: a bound of its rounding error.
        at: the value of the function at the point.
        noise: a bound of the error of the function's values.
        samples: the function's values around the point, those for the largest step first.
    """

    def divide(h: float, a: float, b: float) -> _Quotient:
        # Terms that cancel at the point may be as large as the step times their slope, and so are their errors.
        return _Quotient(h, (b - a) / h, (2 * noise + EPSILON * (abs(a) + abs(b))) / h + rounding)

    left = [divide(s.left, s.below, at) for s in samples]
    right = [divide(s.right, at, s.above) for s in samples]
    sides = [side for side in (left, right) if math.isfinite(side[-1].slope)]
    if not sides:
        return Verdict(math.nan, math.inf, math.inf, "cannot tell", "the function is undefined on both sides")
    if math.isnan(analytic):
        return Verdict(_extrapolate(sides[-1], 1).value, math.nan, math.nan, "wrong", "the gradient is nan")
    both = len(sides) == 2
    growths = [_measure_growth(side) for side in sides]
    if min(growths) < _STEEP:
        return _judge_growth(analytic, sides, growths)
    gap = _Limit(0.0, 0.0, math.inf)
    if both:
        gaps = [_Quotient(a.h, b.slope - a.slope, a.noise + b.noise) for a, b in zip(left, right, strict=True)]
        gap = _extrapolate(gaps, 1)
        gap = gap._replace(reach=_step_inside(gaps, gap.reach))
    limits = [_extrapolate([q for q in side if q.h <= gap.reach], 1) for side in sides]
    if not math.isfinite(analytic):
        return Verdict(limits[0].value, limits[0].error, math.nan, "wrong", f"the gradient is {analytic}")
    if abs(gap.value) > SAFETY * gap.error:
        return _judge_kink(analytic, limits)
    if both:
        central = [
            _Quotient(a.h, (a.slope + b.slope) / 2, (a.noise + b.noise) / 4)  # the value at the point cancels
            for a, b in zip(left, right, strict=True)
            if a.h <= gap.reach
        ]
        limits.append(_extrapolate(central, 2))
    limit = min(limits, key=lambda limit: limit.error)
    if not math.isfinite(limit.error):
        return Verdict(limit.value, limit.error, math.inf, "cannot tell", "there are too few differences")
    tolerance = SAFETY * limit.error
    # The noticed error is relative to the gradient. Where this is 0, it is relative to the slopes that are near.
    scale = abs(analytic) or max(abs(limit.value), *(abs(q.slope) for side in sides for q in side if q.h <= 1), abs(at))
    noticed = max(tolerance / scale if scale else 0.0, FORGIVEN)
    # One side alone may look smooth where the function oscillates, so that the middle decides.
    if not limit.allows(analytic) and not limits[-1].allows(analytic):
        return Verdict(limit.value, limit.error, noticed, "wrong")
    if noticed > NOTICED or not all(each.allows(analytic) for each in limits):
        reason = _find_reason(left, right, limit, rounding, noise)
        return Verdict(limit.value, limit.error, noticed, "cannot tell", reason)
    return Verdict(limit.value, limit.error, noticed, "ok" if both else "edge")


def _judge_kink(analytic: float, limits: Sequence[_Limit]) -> Verdict:
    low, high = min(limit.value for limit in limits), max(limit.value for limit in limits)
    tolerance = SAFETY * max(limit.error for limit in limits)
    noticed = tolerance / max(abs(low), abs(high), UNDERFLOW)
    middle, reach = low / 2 + high / 2, high / 2 - low / 2
    if not low - tolerance <= analytic <= high + tolerance:
        return Verdict(middle, reach, noticed, "wrong", f"the slopes at this kink are {low:.6g} and {high:.6g}")
    if noticed > NOTICED:
        return Verdict(middle, reach, noticed, "cannot tell", "a kink, and slopes that are not known well")
    return Verdict(middle, reach, noticed, "kink")


def _judge_growth(analytic: float, sides: Sequence[Sequence[_Quotient]], growths: Sequence[float]) -> Verdict:
    # On one side at least, the quotients grow without bound as the step shrinks.
    what = "a jump" if min(growths) < _JUMP else "the slope grows without bound"
    limits = [
        _step_over(side)
        if growth < _JUMP
        else _Limit(math.copysign(math.inf, side[-1].slope), 0.0)
        if growth < _STEEP
        else _extrapolate(side, 1)
        for side, growth in zip(sides, growths, strict=True)
    ]
    low, high = min(limit.low for limit in limits), max(limit.high for limit in limits)
    numeric = low / 2 + high / 2
    if math.isinf(analytic):
        agrees = low == high == analytic
        fits = ("edge" if len(sides) == 1 else "kink") if agrees else "wrong"
        return Verdict(numeric, math.nan, math.nan, fits, what if agrees else f"the gradient is {analytic}")
    # A steeper slope than all that was measured may be that of a function which changes within the smallest step.
    steeper = any(
        growth < _STEEP and abs(analytic) >= abs(side[-1].slope) and (analytic > 0) == (side[-1].slope > 0)
        for side, growth in zip(sides, growths, strict=True)
    )
    if steeper or (low <= analytic <= high and math.isinf(high - low)):
        return Verdict(numeric, math.nan, math.inf, "cannot tell", what)
    if low <= analytic <= high:
        return Verdict(numeric, high / 2 - low / 2, math.inf, "jump")
    return Verdict(numeric, math.nan, math.nan, "wrong", what)


def _step_inside(gaps: Sequence[_Quotient], reach: float) -> float:
    # The largest step that sees no more than it should of a narrow and symmetric bump at the point. Beyond the bump,
    # the slopes on both sides differ less than within it, and those of larger steps are the slopes of another function.
    within = [gap for gap in gaps if gap.h <= reach and math.isfinite(gap.slope)]
    peak = max((gap for gap in within if abs(gap.slope) > 8 * gap.noise), key=lambda gap: abs(gap.slope), default=None)
    return peak.h / 4 if peak and abs(peak.slope) > 8 * abs(within[0].slope) else reach


def _measure_growth(side: Sequence[_Quotient]) -> float:
    # The exponent p of differences that are as hᵖ at the smallest steps; 1 where there is no such p, or only noise.
    last = side[-4:]
    if any(not abs(q.slope) > 8 * q.noise or not math.isfinite(q.slope) for q in last) or len(last) < 4:
        return 1.0
    pairs = [(a, b) for a, b in pairwise(last)]
    if any((a.slope > 0) != (b.slope > 0) for a, b in pairs):
        return 1.0
    return max(1 + (math.log(abs(b.slope)) - math.log(abs(a.slope))) / math.log(b.h / a.h) for a, b in pairs)


def _step_over(side: Sequence[_Quotient]) -> _Limit:
    # The slope on the other side of a jump: differences from the nearest point, not from x.
    *others, near = side
    slopes = [
        _Quotient(
            q.h - near.h, (q.slope * q.h - near.slope * near.h) / (q.h - near.h), 2 * q.noise * q.h / (q.h - near.h)
        )
        for q in others
    ]
    return _extrapolate(slopes, 1)


def _extrapolate(quotients: Sequence[_Quotient], order: int) -> _Limit:
    """Extrapolates quotients to h = 0; their error is a series in powers of ``h**order``."""
    candidates: list[_Limit] = []
    steps: list[float] = []
    previous: list[tuple[float, float]] = []
    for h, slope, noise in quotients:
        if not math.isfinite(slope):
            candidates.clear()  # the function is undefined between here and the point
        if not math.isfinite(slope) or (steps and steps[-1] > 16 * h):
            steps, previous = [], []
        if not math.isfinite(slope):
            continue
        steps.append(h)
        row = [(slope, noise)]
        best = _Limit(slope, math.inf, h)
        for j, (before, before_noise) in enumerate(previous[:8]):
            (value, noise), weight = row[j], 1 / ((steps[-2 - j] / h) ** order - 1)
            better = value + (value - before) * weight
            row.append((better, noise + (noise + before_noise) * weight))
            error = max(abs(better - value), abs(better - before)) + row[-1][1]
            if error < best.error:
                best = _Limit(better, error, h)
        candidates.append(best)
        previous = row
    low, high, chosen = -math.inf, math.inf, _Limit(math.nan, math.inf)
    for limit in reversed(candidates):
        if not math.isfinite(limit.error):
            continue
        if limit.low > high or limit.high < low:
            break
        low, high = max(low, limit.low), min(high, limit.high)
        chosen = min(chosen, limit, key=lambda limit: limit.error)._replace(reach=limit.reach)
    return chosen


def _find_reason(
    left: Sequence[_Quotient], right: Sequence[_Quotient], limit: _Limit, rounding: float, noise: float
) -> str:
    if 4 * rounding > limit.error:
        return "the terms of the gradient cancel"
    larger = [(a, b) for a, b in zip(left, right, strict=True) if a.h >= limit.reach]
    if any(not math.isfinite(a.slope + b.slope) for a, b in larger):
        return "the domain ends nearby"
    gaps = [abs(b.slope - a.slope) for a, b in larger if abs(b.slope - a.slope) > 8 * (a.noise + b.noise)]
    if any(0.8 < b / a < 1.25 and 0.8 < c / b < 1.25 for (a, b), (_, c) in pairwise(pairwise(gaps))):
        return "a kink nearby"
    return f"the function's noise is about {noise:.0e}"
