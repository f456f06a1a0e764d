"""The settings and the state of a run: what a checkpoint contains, and how a run continues from one."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..data import DataLoader, draw_order
from ..files import lock_file
from ..optim import Optimizer
from . import checkpoints
from .eager import Batches
from .history import History
from .stopping import StopCondition
from .weights import Weights

__all__ = ["Checkpoint", "RunState", "TrainingError"]


class TrainingError(RuntimeError):
    """A run failed; ``__cause__`` is the error.

    Attributes:
        history: the history of the run before the failure.
        sample: the index of the sample that failed: in the data or, after an epoch, in the validation set. None if no
            single sample failed.
    """

    def __init__(self, message: str, history: History, sample: int | None = None) -> None:
        super().__init__(message)
        self.history = history
        self.sample = sample


@dataclass(eq=False)
class RunState:
    """The state of a run: its position, and the parts that have a state of their own.

    Attributes:
        epoch: the number of epochs that were completed.
        position: the number of steps that were done in the current epoch.
        epoch_loss: the sum of the losses of the samples in the current epoch so far.
        stopped: whether a stop condition ended the run.
        shuffled_from: the generator's state before it shuffled the samples, for the current epoch or several.
        ahead: the number of epochs for which it shuffled them at once.
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
    ahead: int = 1

    def order(self, epochs: int = 1) -> Batches:
        """Returns the remaining batches of this epoch, and all batches of the next ones, of ``epochs`` in all.

        A resumed epoch keeps the order with which it began. If not all batches are used: see :meth:`take_back`.
        """
        shuffler, now, size, count = self.batches.rng, None, self.batches.batch_size, len(self.batches.data)
        if self.batches.shuffle and self.position:
            now = shuffler.getstate()
            shuffler.setstate(self.shuffled_from)
        elif self.batches.shuffle:
            self.shuffled_from = shuffler.getstate()
        if epochs > 1:  # which are compiled
            from ..compiler.draws import draw_orders

            indexes: Any = draw_orders(shuffler if self.batches.shuffle else None, count, epochs).ravel()
        else:
            indexes = draw_order(count, shuffler) if self.batches.shuffle else range(count)
        if now is not None:
            shuffler.setstate(now)
        self.ahead = epochs
        ends = [first + k for first in range(0, epochs * count, count) for k in range(0, count, size)]
        return Batches(indexes, [*ends, epochs * count]).after(self.position)

    def take_back(self, batches: Batches) -> None:
        """Gives the generator the state as if the epochs of these batches, which were not begun, had not been drawn."""
        unused = len(batches) // len(self.batches)
        if self.batches.shuffle and unused:
            self.batches.rng.setstate(self.shuffled_from)
            for _ in range(self.ahead - unused):
                draw_order(len(self.batches.data), self.batches.rng)

    def record(self, batches: Batches, losses: list[float], norms: list[float], rates: list[float]) -> None:
        """Records steps that were done, and the epochs that they completed, except the last one.

        Args:
            batches: the samples of the steps, and maybe of more.
            losses, norms: as :meth:`~micrograd.training.eager.Steps.run` returns them.
            rates: the learning rate of each step, and maybe of more.
        """
        history, count, ends = self.history, len(self.batches), batches.ends
        history.gradient_norm += norms
        history.lr += rates[: len(losses)]
        for i, loss in enumerate(losses):
            if self.position == count:
                self.end_epoch({})
            history.loss.append(loss / (ends[i + 1] - ends[i]))
            self.epoch_loss += loss
            self.position += 1

    def end_epoch(self, means: Mapping[str, float]) -> None:
        """Records the end of an epoch, with the means over the validation set, by name."""
        history = self.history
        history.train_loss.append(self.epoch_loss / len(self.batches.data))
        history._epoch_ends.append(history.steps)
        for name, mean in means.items():
            (history.metrics[name] if name else history.validation_loss).append(mean)
        history._flow.end_epoch()
        self.epoch, self.position, self.epoch_loss = self.epoch + 1, 0, 0.0

    def stop_if(self, reasons: Iterable[str]) -> None:
        """Stops the run if there is a reason. Asks for all reasons, because stop conditions count their calls."""
        found = [reason for reason in reasons if reason]
        if found and not self.stopped:
            self.stopped, self.history.reason = True, "; ".join(found)

    def where(self) -> str:
        """The position, for a message about the next step or the end of the epoch."""
        if self.position == len(self.batches):
            return f"after the steps of epoch {self.epoch + 1}"
        return f"epoch {self.epoch + 1}, step {self.position + 1} of {len(self.batches)}"

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that must be the same in a run that continues this one."""
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
        """Returns the state to restore, except the weights, in types that JSON has."""
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
        """Restores the state from a :meth:`state_dict`.

        Raises:
            ValueError: if it belongs to another run, or is not such a state. A file made by hand may lead to other
                errors. After an error, some parts may be changed.
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
    """The checkpoint file of a run, if it has one.

    Args:
        file: the path of the file; None for no checkpoints.
        every: the seconds between two checkpoints, or None for the default.
        run: the state of the run.
        settings: further settings that must be the same in a run that continues this one.
    """

    def __init__(
        self, file: str | os.PathLike[str] | None, every: float | None, run: RunState, settings: Mapping[str, Any]
    ) -> None:
        self.file = None if file is None else Path(file)
        self.every, self.run = every, run
        self.settings: dict[str, Any] = {}
        if file is not None:
            self.settings = json.loads(json.dumps({**run.settings, **settings}))  # as a reader will see them
        self.saved_at = time.monotonic()

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keeps other runs from using this checkpoint within the block.

        Raises:
            TrainingError: if another run uses it, or the file can't be written.
        """
        with contextlib.ExitStack() as stack:
            if self.file is not None:
                try:
                    stack.enter_context(lock_file(self.file))
                except OSError as error:
                    raise TrainingError(f"the run can't begin: {error}", self.run.history) from error
            yield

    def is_due(self, default: float) -> bool:
        """Whether it is time for a checkpoint; ``default`` is the number of seconds between two if none was given."""
        seconds = default if self.every is None else self.every
        return self.file is not None and time.monotonic() - self.saved_at >= seconds

    def save(self) -> None:
        """Writes the checkpoint.

        Raises:
            TrainingError: if the file can't be written; an existing file is unchanged.
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
        """Restores the run from the checkpoint if the file exists, otherwise writes the first checkpoint.

        Raises:
            ValueError: if it is damaged, or of another run; the message lists the differences. Nothing is then changed.
        """
        run = self.run
        for condition in run.stops:
            condition.reset()
        if self.file is None or not self.file.is_file():
            self.save()  # at once, so that a file that can't be written is noticed before the first epoch
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
        except Exception as error:  # a file made by hand may lead to any error
            run.load_state_dict(before)
            restore()
            what = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
            raise ValueError(f"{self.file} can't be gone on from, and nothing was changed: {what}") from error
        run.history.reason = run.history.reason if run.stopped else ""


def _tuples(state: Any) -> Any:
    # Converts lists to tuples: the state of a generator has tuples, and JSON has none.
    return tuple(map(_tuples, state)) if isinstance(state, (list, tuple)) else state


def _differences(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> Iterator[str]:
    for name in dict.fromkeys([*theirs, *ours]):
        if name not in theirs or name not in ours or theirs[name] != ours[name]:
            yield f"{name}: {theirs.get(name, 'none')} in the checkpoint, {ours.get(name, 'none')} here"
