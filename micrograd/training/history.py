"""The history of a run: its numbers per step and per epoch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..arguments import require
from .flow import FlowRecord, GradientFlow

__all__ = ["History"]

_BY_STEP = ("loss", "gradient_norm", "lr")
_BY_EPOCH = ("train_loss", "validation_loss")


@dataclass(repr=False)
class History:
    """The numbers of a run.

    Attributes:
        loss: per step, the mean loss over the batch, before the update.
        gradient_norm: per step, the norm of the gradient, before clipping.
        lr: per step, the learning rate.
        train_loss: per epoch, the mean loss over the samples, each taken before the update of its batch.
        validation_loss: per epoch, the mean loss over the validation set after the epoch; empty without such a set.
        metrics: by name, and per epoch, the mean over the validation set.
        reason: why the run ended.

    >>> from micrograd import Value, fit, optim
    >>> weight = Value(0.0)
    >>> history = fit(lambda x: (weight - x) ** 2, [1.0], optim.SGD([weight], lr=0.5), epochs=2)
    >>> history.loss, history.gradient_norm, history.steps
    ([1.0, 0.0], [2.0, 0.0], 2)
    """

    loss: list[float] = field(default_factory=list)
    gradient_norm: list[float] = field(default_factory=list)
    lr: list[float] = field(default_factory=list)
    train_loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    metrics: dict[str, list[float]] = field(default_factory=dict)
    reason: str = ""
    _epoch_ends: list[int] = field(default_factory=list)  # per epoch, the number of steps so far
    _flow: FlowRecord = field(default_factory=FlowRecord)

    @property
    def steps(self) -> int:
        """The number of steps that were done."""
        return len(self.loss)

    @property
    def epochs(self) -> int:
        """The number of epochs that were completed."""
        return len(self.train_loss)

    def __repr__(self) -> str:
        last = {"loss": self.train_loss[-1:] or self.loss[-1:], "validation loss": self.validation_loss[-1:]}
        last.update({name: numbers[-1:] for name, numbers in self.metrics.items()})
        shown = [f"{name} {numbers[0]:.4g}" for name, numbers in last.items() if numbers]
        counts = [f"{n} {what}{'s' * (n != 1)}" for n, what in ((self.epochs, "epoch"), (self.steps, "step"))]
        return f"History({', '.join([*counts, *shown, self.reason or 'not ended'])})"

    def gradient_flow(self) -> GradientFlow:
        """Reports the size of the gradients per layer in the last epoch, problems, and what helps against them.

        The report prints as a table. If no epoch was completed, it covers the steps that were done.

        Raises:
            ValueError: if ``fit`` was not given the model, or no step was done.
        """
        return self._flow.report()

    def plot(self, file: str | os.PathLike[str] | None = None) -> Any:
        """Plots the losses, the metrics, and the gradient norm with the learning rate.

        Args:
            file: the file for the picture, ending in ``.png``, ``.svg`` or ``.pdf``; None to write no file.

        Returns:
            matplotlib's Figure, which a notebook shows.

        Raises:
            ImportError: if matplotlib is not installed.
            ValueError: if no step was done.
        """
        if not self.loss:
            raise ValueError("there is nothing to draw: no step was done")
        panels = 2 + bool(self.metrics)
        figure = require("matplotlib.figure", "a picture of the history").Figure(
            (7, 2.4 * panels), layout="constrained"
        )
        loss, *metrics, gradient = figure.subplots(panels, 1, sharex=True)
        steps = range(1, self.steps + 1)
        loss.plot(steps, self.loss, color="0.8", label="batch", **_dots(self.loss))
        for numbers, label in ((self.train_loss, "epoch"), (self.validation_loss, "validation")):
            if numbers:
                loss.plot(self._epoch_ends, numbers, marker=".", label=label)
        loss.set(ylabel="loss", title=self.reason)
        _log(loss, [*self.loss, *self.train_loss, *self.validation_loss])
        loss.legend()
        for axes in metrics:
            for name, numbers in self.metrics.items():
                axes.plot(self._epoch_ends, numbers, marker=".", label=name)
            axes.set(ylabel="validation")
            axes.legend()
        gradient.plot(steps, self.gradient_norm, label="gradient norm", **_dots(self.loss))
        gradient.plot(steps, self.lr, label="learning rate", **_dots(self.loss))
        gradient.set(xlabel="step")
        _log(gradient, [*self.gradient_norm, *self.lr])
        gradient.legend()
        if file is not None:
            figure.savefig(file, dpi=120)
        return figure

    def state_dict(self) -> dict[str, Any]:
        """Returns the history in types that JSON has; the lists are not copied."""
        numbers = {name: getattr(self, name) for name in (*_BY_STEP, *_BY_EPOCH, "metrics", "reason")}
        return {**numbers, "epoch_ends": self._epoch_ends, "flow": self._flow.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores the history from a :meth:`state_dict`.

        Raises:
            ValueError: if it is not a history, or its run has other layers or metrics.
        """
        try:
            by_step = {name: list(map(float, state[name])) for name in _BY_STEP}
            by_epoch = {name: list(map(float, state[name])) for name in _BY_EPOCH}
            metrics = {str(name): list(map(float, numbers)) for name, numbers in state["metrics"].items()}
            epoch_ends, reason = list(map(int, state["epoch_ends"])), str(state["reason"])
            flow = state["flow"]
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"this is not a history: {type(error).__name__}: {error}") from error
        self._flow.load_state_dict(flow)
        vars(self).update(by_step | by_epoch, metrics=metrics, reason=reason, _epoch_ends=epoch_ends)


def _dots(numbers: list[float]) -> dict[str, str]:
    return {"marker": "."} if len(numbers) == 1 else {}  # a line through one point is invisible


def _log(axes: Any, numbers: list[float]) -> None:
    if min(numbers) > 0 and max(numbers) > 20 * min(numbers):
        axes.set_yscale("log")
