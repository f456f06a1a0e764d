"""A run's settings and state: what a checkpoint holds, and how a run goes on from one."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..data import DataLoader
from ..files import lock_file
from ..optim import Optimizer
from . import checkpoints
from .history import History
from .stopping import StopCondition
from .weights import Weights

__all__ = ["Checkpoint", "RunState", "TrainingError"]


class TrainingError(RuntimeError):
    """A run could not go on; ``__cause__`` is the error that was met.

    Attributes:
        history: what was done before.
        sample: the index of the sample that failed, in the data or, after an epoch, in the validation set; None if it
            was none in particular.
    """

    def __init__(self, message: str, history: History, sample: int | None = None) -> None:
        super().__init__(message)
        self.history = history
        self.sample = sample


@dataclass(eq=False)
class RunState:
    """Where a run is: how far it got, and its parts that have a state of their own.

    Attributes:
        epoch: how many epochs were completed.
        position: how many steps were done in this one.
        epoch_loss: the sum of the losses of this epoch's samples so far.
        stopped: whether a stop condition ended the run.
        shuffled_from: the generator's state before it shuffled for this epoch.
    """

    batches: DataLoader[int]
    history: History
    weights: Weights
    optimizer: Optimizer
    schedule: Any
    stops: list[StopCondition]
    generators: list[Any]
    epoch: int = 0
    position: int = 0
    epoch_loss: float = 0.0
    stopped: bool = False
    shuffled_from: Any = None

    def order(self) -> list[list[int]]:
        """The batches of this epoch that are still to be done; in the middle of one, as they were when it began."""
        shuffler, now = self.batches.rng, None
        if self.position:
            now = shuffler.getstate()
            shuffler.setstate(self.shuffled_from)
        else:
            self.shuffled_from = shuffler.getstate()
        batches = list(self.batches)
        if now is not None:
            shuffler.setstate(now)
        return batches[self.position :]

    def record(self, batches: Iterable[list[int]], losses: list[float], norms: list[float]) -> None:
        """Takes note of steps that were done, and of the epochs that they completed but for the last one."""
        history = self.history
        history.gradient_norm += norms
        history.lr += [self.optimizer.lr] * len(losses)
        for batch, loss in zip(batches, losses, strict=False):
            if self.position == len(self.batches):
                self.end_epoch({})
            history.loss.append(loss / len(batch))
            self.epoch_loss += loss
            self.position += 1

    def end_epoch(self, means: Mapping[str, float]) -> None:
        """Takes note of the end of an epoch, after its steps, and of the means over the validation set, by name."""
        history = self.history
        history.train_loss.append(self.epoch_loss / len(self.batches.data))
        history._epoch_ends.append(history.steps)
        for name, mean in means.items():
            (history.metrics[name] if name else history.validation_loss).append(mean)
        history._flow.end_epoch()
        self.epoch, self.position, self.epoch_loss = self.epoch + 1, 0, 0.0

    def stop_if(self, reasons: Iterable[str]) -> None:
        """Stops the run if there is a reason. All conditions are asked, for they keep count."""
        found = [reason for reason in reasons if reason]
        if found and not self.stopped:
            self.stopped, self.history.reason = True, "; ".join(found)

    def where(self) -> str:
        """How far it is, for a message about the next step, or about the end of the epoch."""
        if self.position == len(self.batches):
            return f"after the steps of epoch {self.epoch + 1}"
        return f"epoch {self.epoch + 1}, step {self.position + 1} of {len(self.batches)}"

    @property
    def settings(self) -> dict[str, Any]:
        """What must be the same in a run that goes on."""
        shapes = {f"shape of {name}": checkpoints.shape(x) for name, x in self.weights.state_dict().items()}
        return {
            "optimizer": type(self.optimizer).__name__,
            "schedule": None if self.schedule is None else type(self.schedule).__name__,
            "stop": [condition.settings for condition in self.stops],
            "samples": len(self.batches.data),
            "batch_size": self.batches.batch_size,
            "shuffle": self.batches.shuffle,
            "metrics": list(self.history.metrics),
            "generators": len(self.generators),
            **shapes,
        }

    def state_dict(self) -> dict[str, Any]:
        """All that is to be restored besides the weights, as JSON can hold it."""
        return {
            "epoch": self.epoch,
            "position": self.position,
            "epoch_loss": self.epoch_loss,
            "stopped": self.stopped,
            "shuffled_from": self.shuffled_from,
            "generators": [generator.getstate() for generator in self.generators],
            "optimizer": self.optimizer.state_dict(),
            "schedule": None if self.schedule is None else self.schedule.state_dict(),
            "stop": [condition.state_dict() for condition in self.stops],
            "history": self.history.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what :meth:`state_dict` gave.

        Raises:
            ValueError: if it is another run's, or no such state; some parts may then be changed. So may any error that
                a file made by hand leads to.
        """
        self.history.load_state_dict(state["history"])
        for condition, its_state in zip(self.stops, state["stop"], strict=True):
            condition.load_state_dict(its_state)
        if self.schedule is not None:
            self.schedule.load_state_dict(state["schedule"])
        self.optimizer.load_state_dict(state["optimizer"])
        for generator, its_state in zip(self.generators, state["generators"], strict=True):
            generator.setstate(_tuples(its_state))
        self.shuffled_from = _tuples(state["shuffled_from"])
        self.epoch, self.position = int(state["epoch"]), int(state["position"])
        self.epoch_loss, self.stopped = float(state["epoch_loss"]), bool(state["stopped"])


class Checkpoint:
    """The file in which a run is kept, if it is kept in one.

    Args:
        file: where; None to keep nothing.
        every: the seconds between two, or None for the default.
        run: what is kept.
        settings: what must be the same in a run that goes on, besides the run's own settings.
    """

    def __init__(
        self, file: str | os.PathLike[str] | None, every: float | None, run: RunState, settings: Mapping[str, Any]
    ) -> None:
        self.file = None if file is None else Path(file)
        self.every, self.run = every, run
        self.settings: dict[str, Any] = {}
        if file is not None:
            self.settings = json.loads(json.dumps({**run.settings, **settings}))  # as it is read
        self.saved_at = time.monotonic()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Within the block no other run can have this checkpoint.

        Raises:
            TrainingError: if another run has it, or it can't be written where it is to be.
        """
        with contextlib.ExitStack() as stack:
            if self.file is not None:
                try:
                    stack.enter_context(lock_file(self.file))
                except OSError as error:
                    raise TrainingError(f"the run can't begin: {error}", self.run.history) from error
            yield

    def is_due(self, default: float) -> bool:
        """Whether so many seconds have gone since the last one, if it was not said how many it should be."""
        seconds = default if self.every is None else self.every
        return self.file is not None and time.monotonic() - self.saved_at >= seconds

    def save(self) -> None:
        """Writes the checkpoint.

        Raises:
            TrainingError: if it can't be written; what was there before is untouched.
        """
        if self.file is None:
            return
        try:
            checkpoints.write(self.file, self.run.weights.state_dict(), {"run": self.settings, **self.run.state_dict()})
        except (OSError, ValueError) as error:
            kept = "the parameters are those after that step"
            raise TrainingError(f"after step {self.run.history.steps}: {error}; {kept}", self.run.history) from error
        self.saved_at = time.monotonic()

    def resume(self, epochs: int) -> None:
        """Goes on from the checkpoint if there is one, and begins it otherwise.

        Raises:
            ValueError: if it is damaged, or of another run; the message lists the differences. Nothing is then changed.
        """
        run = self.run
        for condition in run.stops:
            condition.reset()
        if self.file is None or not self.file.is_file():
            self.save()  # so that it does not turn out only after an epoch that it can't be written
            return
        tensors, state = checkpoints.read(self.file)
        if state is None:
            raise ValueError(
                f"{self.file} holds parameters, but no run that could go on: take them over by "
                "load_parameters(model, file), and name another file as the checkpoint"
            )
        before, restore = run.state_dict(), run.weights.snapshot(run.generators)
        try:
            differences = list(_differences(state["run"], self.settings))
            if state["epoch"] > epochs:
                differences.append(f"epochs: {state['epoch']} were completed, and no more than {epochs} are wanted")
            if differences:
                raise ValueError("\n  ".join(["it is of another run:", *differences]))
            run.weights.load_state_dict(tensors)
            run.load_state_dict(state)
        except Exception as error:  # whatever a file made by hand leads to
            run.load_state_dict(before)
            restore()
            what = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
            raise ValueError(f"{self.file} can't be gone on from, and nothing was changed: {what}") from error
        run.history.reason = run.history.reason if run.stopped else ""


def _tuples(state: Any) -> Any:
    # The state of a generator, from JSON, which has no tuples.
    return tuple(map(_tuples, state)) if isinstance(state, (list, tuple)) else state


def _differences(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> Iterator[str]:
    for name in dict.fromkeys([*theirs, *ours]):
        if name not in theirs or name not in ours or theirs[name] != ours[name]:
            yield f"{name}: {theirs.get(name, 'none')} in the checkpoint, {ours.get(name, 'none')} here"
