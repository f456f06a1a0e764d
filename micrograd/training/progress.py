"""The progress bar of a run. It fits into the width of the terminal."""

from __future__ import annotations

import sys
from typing import Any

from ..arguments import require
from .resuming import RunState

__all__ = ["ProgressBar"]

_LEAST = 10  # the fewest columns of the bar itself
_START = "{percentage:3.0f}%|{bar}| "
_LAYOUTS = (_START + "{n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}] ", _START + "{remaining} left, ", _START)


class ProgressBar:
    """Shows the progress of a run with tqdm's bar, if the standard error is a terminal.

    In a narrow terminal it leaves out other facts before the bar, the loss and the metrics.

    Args:
        is_wanted: whether to show the bar.
        epochs: the number of epochs of the run.
        run: the state of the run.

    Raises:
        ImportError: if tqdm is not installed.
    """

    def __init__(self, is_wanted: bool, epochs: int, run: RunState) -> None:
        self._epochs, self._run, self._has_begun = epochs, run, False
        self._bar: Any = None
        if is_wanted and sys.stderr is not None and sys.stderr.isatty():
            tqdm = require("tqdm", "a progress bar (progress=False is without)").tqdm
            total = epochs * len(run.batches)
            # No smoothing: the rate is the mean over the run, because steps come in bursts.
            self._bar = tqdm(total=total, unit="step", dynamic_ncols=True, smoothing=0, desc="preparing")
            self._format, self._bar.format_meter = self._bar.format_meter, self._line  # tqdm calls it for each line

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self) -> None:
        """Shows the present state of the run."""
        if self._bar is None:
            return
        done = self._run.epoch * len(self._run.batches) + self._run.position
        if self._has_begun:
            self._bar.update(done - self._bar.n)
        else:  # leave these steps out of the rate: they include compiling, or an earlier run did them
            self._has_begun = True
            self._bar.initial = self._bar.n = self._bar.last_print_n = done
            self._bar.unpause()
            self._bar.refresh()

    def _line(self, **facts: Any) -> str:
        """Returns the line in the most detailed layout that leaves room for the bar."""
        run, history, width = self._run, self._run.history, facts["ncols"]
        recent = history.loss[-len(run.batches) :][-20:]
        loss = {"loss": [sum(recent) / max(len(recent), 1)]}
        all_numbers = {**loss, **history.metrics, "validation": history.validation_loss}
        numbers = [f"{name}={values[-1]:.4g}" for name, values in all_numbers.items() if values]
        count, (long, short, bare) = len(numbers), _LAYOUTS
        choices = [(long, count), (short, count), (short, count - 1), *[(bare, k) for k in range(count, 0, -1)]]
        for layout, k in choices:
            shown = ", ".join(numbers[:k]).replace("{", "{{").replace("}", "}}")
            layout = f"epoch {min(run.epoch + 1, self._epochs)}/{self._epochs}: {layout}{shown}"
            rest = self._format(**{**facts, "bar_format": layout.replace("{bar}", ""), "ncols": None})
            if not width or width - len(rest) >= _LEAST:
                break
        return str(self._format(**{**facts, "bar_format": layout}))
