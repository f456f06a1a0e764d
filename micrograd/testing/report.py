"""What a check of gradients has found: a table, in notebooks and in a terminal, and plots."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from ..arguments import require
from ..tables import lay_out
from .differences import Sample, Verdict

__all__ = ["GradcheckError", "Report", "Row"]


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
        samples: the function's values near the point, for :meth:`Report.plot`.
    """

    path: str = field(kw_only=True)
    analytic: float = field(kw_only=True)
    samples: Callable[[], Sequence[Sample]] = field(kw_only=True, repr=False, compare=False)


@dataclass(frozen=True)
class Report:
    """A report with one row per input. It prints as a table, in notebooks as HTML."""

    rows: list[Row] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether no gradient is wrong."""
        return all(row.verdict != "wrong" for row in self.rows)

    def plot(self, path: str | None = None) -> Any:
        """Draws how far difference quotients are from the gradient, against their step, on logarithmic axes.

        A right gradient gives a V: for large steps the distance falls with the square of the step, for small ones
        rounding makes it rise. A wrong gradient gives a line that does not fall.

        Args:
            path: the path of the input; the default is the first one that is wrong, or the first one.

        Returns:
            Matplotlib's axes.

        Raises:
            ValueError: if there is no such row.
            ImportError: if Matplotlib is missing.
        """
        wrong = [row for row in self.rows if row.verdict == "wrong"]
        rows = [row for row in self.rows if row.path == path] if path is not None else wrong or self.rows
        if not rows:
            raise ValueError(f"there is no row {path!r}; there are {', '.join(row.path for row in self.rows[:20])}")
        row = rows[0]
        points = []
        for left, below, right, above in row.samples():
            distance = abs((above - below) / (left + right) - row.analytic)
            if 0 < distance < float("inf"):
                points.append(((left + right) / 2, distance))
        axes = require("matplotlib.pyplot", "Report.plot()", "matplotlib").figure().add_subplot()
        axes.loglog(*zip(*points, strict=True), "o-", markersize=3)
        axes.set(xlabel="step", ylabel="|difference quotient − gradient|", title=f"{row.path}: {row.verdict}")
        return axes

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
