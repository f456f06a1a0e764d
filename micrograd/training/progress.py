"""The progress bar of a run, which fits into the terminal's width."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from ..arguments import require

__all__ = ["ProgressBar"]

_LEAST = 10  # columns of the bar itself
_START = "{desc}: {percentage:3.0f}%|{bar}| "
_LAYOUTS = (_START + "{n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}] ", _START + "{remaining} left, ", _START)


class ProgressBar:
    """Shows how far a run is, if the standard error is a terminal: tqdm's bar.

    In a narrow terminal, the bar, the loss and the metrics keep their place longest.

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
        bar.bar_format = self._fit(shown)
        if self._has_begun:
            bar.update(done - bar.n)
        else:  # what was done so far took other time: that of compiling, or of an earlier run
            self._has_begun = True
            bar.initial = bar.n = bar.last_print_n = done
            bar.unpause()
            bar.refresh()

    def _fit(self, numbers: list[str]) -> str:
        """The layout that says most of those that leave place for the bar."""
        width = self._bar.format_dict["ncols"]
        all_, long, short, bare = len(numbers), *_LAYOUTS
        choices = [(long, all_), (short, all_), (short, all_ - 1), *[(bare, count) for count in range(all_, 0, -1)]]
        for layout, count in choices:
            layout += ", ".join(numbers[:count]).replace("{", "{{").replace("}", "}}")
            facts = {**self._bar.format_dict, "bar_format": layout.replace("{bar}", ""), "ncols": None}
            if not width or width - len(self._bar.format_meter(**facts)) >= _LEAST:
                break
        return layout
