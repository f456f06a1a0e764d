"""The progress bar of a run, which fits into the terminal's width."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from ..arguments import require

__all__ = ["ProgressBar"]

_LEAST = 10  # columns of the bar itself
_LAYOUTS = (
    "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]",
    "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}",
    "{desc}: {percentage:3.0f}%|{bar}|{postfix}",
)


class ProgressBar:
    """Shows how far a run is, if the standard error is a terminal: tqdm's bar.

    Of a narrow terminal's line, the bar, the loss and the metrics keep their place longest.

    Args:
        is_wanted: whether it is to be shown.
        total: how many steps the run has.

    Raises:
        ImportError: if tqdm isn't there.
    """

    def __init__(self, is_wanted: bool, total: int) -> None:
        self._bar: Any = None
        self._has_begun = False
        if is_wanted and sys.stderr is not None and sys.stderr.isatty():
            tqdm = require("tqdm", "a progress bar (progress=False is without)").tqdm
            # Without smoothing the rate is that of the whole run: steps come in bursts.
            self._bar = tqdm(total=total, unit="step", dynamic_ncols=True, smoothing=0, desc="preparing")

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, done: int, title: str, numbers: Iterable[tuple[str, float]]) -> None:
        """Shows how many steps were done, and numbers by their names, of which the last ones are left out first."""
        if self._bar is None:
            return
        bar, shown = self._bar, [f"{name}={number:.4g}" for name, number in numbers]
        bar.set_description_str(title, refresh=False)
        if not self._has_begun:  # what was done so far took other time: that of compiling, or of an earlier run
            self._has_begun = True
            bar.initial = bar.n = bar.last_print_n = done
            bar.unpause()
        bar.bar_format, bar.postfix = self._fit(shown)
        bar.update(done - bar.n)

    def _fit(self, numbers: list[str]) -> tuple[str, str]:
        # The most that leaves place for the bar: the layouts with all numbers, then the last one with fewer.
        width = self._bar.format_dict["ncols"]
        choices = [(layout, numbers) for layout in _LAYOUTS]
        choices += [(_LAYOUTS[-1], numbers[:count]) for count in range(len(numbers) - 1, 0, -1)]
        for layout, some in choices:
            postfix = ", ".join(some)
            if not width or width - self._length(layout, postfix) >= _LEAST:
                break
        return layout, postfix

    def _length(self, layout: str, postfix: str) -> int:
        facts = {**self._bar.format_dict, "bar_format": layout.replace("{bar}", ""), "postfix": postfix, "ncols": None}
        return len(self._bar.format_meter(**facts))
