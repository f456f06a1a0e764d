"""The progress bar of a run, which fits into the terminal's width."""

from __future__ import annotations

import sys
from typing import Any

from ..arguments import require
from .resuming import RunState

__all__ = ["ProgressBar"]

_LEAST = 10  # columns of the bar itself
_START = "{desc}: {percentage:3.0f}%|{bar}| "
_LAYOUTS = (_START + "{n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}] ", _START + "{remaining} left, ", _START)


class ProgressBar:
    """Shows how far a run is, if the standard error is a terminal: tqdm's bar.

    In a narrow terminal, the bar, the loss and the metrics keep their place longest.

    Args:
        is_wanted: whether it is to be shown.
        epochs: how many epochs the run has.
        run: where it is.

    Raises:
        ImportError: if tqdm isn't there.
    """

    def __init__(self, is_wanted: bool, epochs: int, run: RunState) -> None:
        self._epochs, self._run, self._has_begun = epochs, run, False
        self._bar: Any = None
        if is_wanted and sys.stderr is not None and sys.stderr.isatty():
            tqdm = require("tqdm", "a progress bar (progress=False is without)").tqdm
            total = epochs * len(run.batches)
            # Without smoothing the rate is that of the whole run: steps come in bursts.
            self._bar = tqdm(total=total, unit="step", dynamic_ncols=True, smoothing=0, desc="preparing")

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self) -> None:
        """Shows where the run is."""
        if self._bar is None:
            return
        bar, run, history = self._bar, self._run, self._run.history
        done = run.epoch * len(run.batches) + run.position
        recent = history.loss[-len(run.batches) :][-20:]
        numbers = {
            "loss": [sum(recent) / max(len(recent), 1)],
            **history.metrics,
            "validation": history.validation_loss,
        }
        shown = [f"{name}={values[-1]:.4g}" for name, values in numbers.items() if values]
        bar.set_description_str(f"epoch {min(run.epoch + 1, self._epochs)}/{self._epochs}", refresh=False)
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
