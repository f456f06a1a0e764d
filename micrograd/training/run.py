"""A run of training: its steps, its epochs, and its state, which checkpoints hold."""

from __future__ import annotations

import inspect
import json
import math
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import engine
from ..arguments import to_float
from ..data import DataLoader
from ..engine import Value, resting_collector
from ..nn import Module
from ..optim import Optimizer
from . import checkpoints
from .flow import FlowRecord
from .history import History
from .interrupts import Interrupts
from .stopping import GradientNorm, StopCondition
from .weights import Weights, generators

if TYPE_CHECKING:
    from .compiled import CompiledSteps

__all__ = ["Run", "TrainingError"]

_PACKAGE = __name__.partition(".")[0]
_PAYS = 100  # making a program takes as long as some tens of samples
_SECONDS = 60.0  # between checkpoints within an epoch


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
class Run:
    """The arguments of ``fit``, checked, and how far the run is."""

    loss: Callable[..., Value]
    batches: DataLoader[int]
    data: Sequence[Any]
    optimizer: Optimizer
    epochs: int
    validation: Sequence[Any] | None
    metrics: dict[str, Callable[..., Any]]
    schedule: Any
    stops: list[StopCondition]
    callbacks: list[Callable[[History], object]]
    clip: Callable[[list[Value]], object] | None
    model: Module | None
    checkpoint: Path | None
    checkpoint_every: float | None
    compile: bool | str

    def __post_init__(self) -> None:
        if not hasattr(self.epochs, "__index__") or self.epochs < 0:
            raise ValueError(f"epochs must be a whole number, at least 0, not {self.epochs!r}")
        if not len(self.data):
            raise ValueError("there is nothing to train on: the data are empty")
        if self.validation is not None and not len(self.validation):
            raise ValueError("the validation set is empty: give samples, or None")
        if self.metrics and self.validation is None:
            raise ValueError(f"metrics are taken over the validation set, and there is none: {', '.join(self.metrics)}")
        for function in (self.loss, *self.metrics.values(), *self.callbacks, *([self.clip] if self.clip else [])):
            if not callable(function):
                raise TypeError(f"loss, metrics, callbacks and clip are functions, not {type(function).__name__}")
        for condition in self.stops:
            if not isinstance(condition, StopCondition):
                raise TypeError(f"stop takes conditions like EarlyStopping(5), not {type(condition).__name__}")
        scheduled = getattr(self.schedule, "optimizer", self.optimizer)
        if scheduled not in (self.optimizer, getattr(self.optimizer, "optimizer", None)):  # Lookahead is around another
            raise ValueError(f"the schedule is for another optimizer: {scheduled!r}, not {self.optimizer!r}")
        if self.compile not in (True, False, "auto"):
            raise ValueError(f"compile is True, False or 'auto', not {self.compile!r}")
        if self.checkpoint_every is not None and not to_float(self.checkpoint_every) >= 0:
            raise ValueError(f"checkpoint_every is a number of seconds, at least 0, not {self.checkpoint_every}")
        self.generators = generators(self.batches.rng, self.model)
        self.weights = Weights(self.optimizer.parameters, self.model)
        self.flow = FlowRecord(self.optimizer.parameters, self.model)
        self.history = History(metrics={name: [] for name in self.metrics}, _flow=self.flow)
        self.epoch = self.position = 0  # how many epochs were completed, and batches in this one
        self.epoch_loss = 0.0  # the sum over the samples of this epoch so far
        self.stopped = False  # by a stop condition
        self.shuffled_from: Any = None  # the generator's state before it shuffled for this epoch
        self.saved_at = time.monotonic()
        self.interrupts = Interrupts()
        self.machine: CompiledSteps | None = None

    # The loop

    def go(self, tqdm: Any) -> History:
        bar = self.bar(tqdm)
        try:
            return self.train(bar)
        finally:
            self.write_back()
            if bar is not None:
                bar.close()

    def compiled(self) -> CompiledSteps | None:
        # What does the steps at machine speed; None if that can't be, or is not wanted.
        if not self.compile or self.stopped or self.epoch == self.epochs:
            return None
        if self.compile == "auto" and self.epochs * len(self.data) < _PAYS:
            return None
        back = self.way_back()
        try:
            from ..compiler import DisagreementError, TraceError
            from ..compiler.tracing import is_watched
            from .compiled import CompiledSteps
        except ImportError as error:
            if self.compile != "auto":
                raise ImportError("compiling needs numba and numpy: python -m pip install numba numpy") from error
            self.not_compiled("it needs numba and numpy: python -m pip install numba numpy")
            return None
        if is_watched():
            return None
        try:
            if self.model:
                self.model.train()
            is_fixed = type(self.data) in (list, tuple)
            return CompiledSteps(
                self.loss,
                lambda i: _arguments(self.data[i]),
                len(self.data),
                self.batches.batch_size,
                is_fixed,
                self.optimizer,
                self.flow,
                self.clip,
            )
        except DisagreementError:
            raise
        except Exception as error:
            if self.compile != "auto":
                if isinstance(error, TypeError):
                    raise TraceError(f"the training can't be compiled: {error}") from error
                raise
            self.not_compiled(f"{type(error).__name__}: {error}")
            return None
        finally:
            back()

    def not_compiled(self, why: str) -> None:
        warnings.warn(
            f"fit runs without compiling, which is slower; compile=False leaves out this warning: {why}", stacklevel=6
        )

    def write_back(self) -> None:
        if self.machine:
            self.machine.write()

    def train(self, bar: Any) -> History:
        self.history.reason = self.history.reason if self.stopped else ""
        with self.interrupts as interrupts:
            if bar is not None:
                bar.set_description("compiling")
            self.machine = self.compiled()
            while self.epoch < self.epochs and not self.stopped and not interrupts.count:
                if self.model:
                    self.model.train()
                if self.machine:
                    self.many_steps(self.machine, bar)
                    continue
                for batch in self.order()[self.position :]:
                    with resting_collector():
                        self.step(batch)
                    self.stop_if(condition.after_step(self.history) for condition in self.stops)
                    self.show(bar)
                    if self.stopped or interrupts.count:
                        break
                    if self.position < len(self.batches) and self.is_time_to_save(_SECONDS):
                        self.save()
                else:
                    self.end_epoch()
                    self.show(bar, 0)
                    if self.is_time_to_save(0.0):
                        self.save()
            if interrupts.count and not self.stopped and self.epoch < self.epochs:
                done = f"{self.position} of {len(self.batches)} steps of epoch {self.epoch + 1}"
                self.history.reason = f"interrupted by Ctrl-C after {done}"
            elif not self.stopped:
                self.history.reason = f"all {self.epochs} epochs were trained"
            self.save()
        if self.stopped or self.epoch == self.epochs:
            for condition in self.stops:
                condition.at_end(self.weights)
        return self.history

    def many_steps(self, machine: CompiledSteps, bar: Any) -> None:
        # The rest of an epoch, compiled; or several epochs, if nobody wants to look in between.
        batches = self.order()[self.position :]
        if not batches:  # interrupted after the last step of an epoch
            self.end_epoch()
            self.show(bar, 0)
            if self.is_time_to_save(0.0):
                self.save()
            return
        watching = [stop for stop in self.stops if type(stop).after_step is not StopCondition.after_step]
        one_by_one = watching or (self.checkpoint and self.checkpoint_every == 0)
        looks = self.model or self.validation or self.schedule or self.stops or self.callbacks or self.checkpoint
        if not looks and not self.batches.shuffle:
            batches = batches * min(self.epochs - self.epoch, max(1, 4096 // len(batches)))
        at = 0
        while at < len(batches):
            states = [] if machine.is_fixed else [generator.getstate() for generator in self.generators]
            try:
                with self.interrupts.held():
                    losses, norms = machine.run(batches[at:], 1 if one_by_one else len(batches) - at)
                    self.record([len(batch) for batch in batches[at : at + len(losses)]], losses, norms)
                refusal = None
            except TypeError as error:  # of a form that comes for the first time
                if self.compile != "auto":
                    raise
                losses, refusal = [], error
            if losses:
                at += len(losses)
            else:  # Python's floats say what is wrong with it
                machine.write()
                for generator, state in zip(self.generators, states, strict=False):
                    generator.setstate(state)
                if refusal:
                    self.machine = None
                    self.not_compiled(f"{type(refusal).__name__}: {refusal}")
                    return
                with resting_collector():
                    self.step(batches[at])
                at += 1
                losses = [math.nan]
            if any(type(stop) is not GradientNorm for stop in watching):
                machine.write()
            self.stop_if(condition.after_step(self.history) for condition in self.stops)
            self.show(bar, len(losses))
            if self.stopped or self.interrupts.count:
                return
            if self.position == len(self.batches):
                self.end_epoch()
            if self.is_time_to_save(_SECONDS if self.position else 0.0):
                self.save()

    def record(self, sizes: Sequence[int], losses: Sequence[float], norms: Sequence[float]) -> None:
        # Steps that were done, and the epochs that they completed but for the last one.
        history = self.history
        history.gradient_norm += norms
        history.lr += [self.optimizer.lr] * len(losses)
        for size, loss in zip(sizes, losses, strict=True):
            if self.position == len(self.batches):
                history.train_loss.append(self.epoch_loss / len(self.data))
                history._epoch_ends.append(len(history.loss))
                self.epoch, self.position, self.epoch_loss = self.epoch + 1, 0, 0.0
            history.loss.append(loss / size)
            self.epoch_loss += loss
            self.position += 1

    def order(self) -> list[list[int]]:
        # The batches of this epoch; in the middle of one, as they were when it began.
        shuffler, now = self.batches.rng, None
        if self.position:
            now = shuffler.getstate()
            shuffler.setstate(self.shuffled_from)
        else:
            self.shuffled_from = shuffler.getstate()
        batches = list(self.batches)
        if now is not None:
            shuffler.setstate(now)
        return batches

    def step(self, batch: list[int]) -> None:
        back = self.way_back()
        at: int | None = None
        norms: list[float] = []
        total, is_done = 0.0, False
        try:
            self.weights.zero_grad()
            for at in batch:
                total += self.add_gradient(at, len(batch))
            at = None
            norms = self.flow.norms()
            if not math.isfinite(math.hypot(*norms)):
                raise ValueError("the gradient is not finite")
            if self.clip:
                self.clip(self.optimizer.parameters)
            lr = self.optimizer.lr
            with self.interrupts.held():  # the update and its record are done together, or not at all
                self.optimizer.step()
                self.flow.add(norms)
                self.history.loss.append(total / len(batch))
                self.history.gradient_norm.append(math.hypot(*norms))
                self.history.lr.append(lr)
                self.epoch_loss += total
                self.position += 1
                is_done = True
        except Exception as error:
            back()
            if not math.isfinite(math.hypot(*norms)):
                at = self.without_gradient(batch)
                back()
            what = f"data[{at}]" if at is not None else f"the batch of data[i], i in {batch}"
            where = f"epoch {self.epoch + 1}, step {self.position + 1} of {len(self.batches)}, {what}"
            raise TrainingError(
                f"{where}: {type(error).__name__}: {error}; parameters, gradients and optimizer are as before the step",
                self.history,
                at,
            ) from error
        except BaseException:
            if not is_done:
                back()
            raise

    def way_back(self) -> Callable[[], None]:
        # A function that undoes the step that is now begun; the optimizer itself changes nothing if its step fails.
        restore, states = self.weights.snapshot(), [generator.getstate() for generator in self.generators]

        def back() -> None:
            restore()
            for generator, state in zip(self.generators, states, strict=True):
                generator.setstate(state)

        return back

    def add_gradient(self, at: int, count: int) -> float:
        # Adds the gradient of the sample's part in the mean, and returns its loss. Value.backward() would set the
        # leaves' gradients aside for each sample, to be able to restore them; step() does that once.
        sample = self.data[at]
        out = self.loss(*_arguments(sample))
        if not isinstance(out, Value):
            raise TypeError(f"the loss must be a Value computed from the parameters, not {type(out).__name__} {out!r}")
        if not math.isfinite(out.data):
            raise ValueError(f"the loss is {out.data}")
        part = out / count
        engine._chain_rule(part, engine._order(part)[0])
        return out.data

    def without_gradient(self, batch: list[int]) -> int | None:
        # The first sample of the batch whose own gradient is not finite.
        for at in batch:
            self.weights.zero_grad()
            try:
                self.add_gradient(at, len(batch))
            except Exception:
                return at
            if not math.isfinite(math.hypot(*self.flow.norms())):
                return at
        return None

    def end_epoch(self) -> None:
        own = [x for x in (self.schedule, *self.stops) if x and not type(x).__module__.startswith(f"{_PACKAGE}.")]
        meddling = self.callbacks or own
        if self.validation or self.stops or meddling:
            self.write_back()
        validated = self.validate()
        with self.interrupts.held():
            self.history.train_loss.append(self.epoch_loss / len(self.data))
            self.history._epoch_ends.append(self.history.steps)
            if validated:
                self.history.validation_loss.append(validated.pop(""))
                for name, mean in validated.items():
                    self.history.metrics[name].append(mean)
            self.flow.end_epoch()
            self.epoch, self.position, self.epoch_loss = self.epoch + 1, 0, 0.0
            if self.schedule is not None:
                measure = (self.history.validation_loss or self.history.train_loss)[-1]
                arguments = inspect.signature(self.schedule.step).parameters.values()
                self.schedule.step(*[measure for argument in arguments if argument.default is argument.empty])
            self.stop_if(condition.after_epoch(self.history, self.weights) for condition in self.stops)
        for callback in self.callbacks:
            callback(self.history)
        if meddling and self.machine:
            self.machine.look_again()

    def validate(self) -> dict[str, float]:
        # The means of the loss, under an empty name, and of the metrics.
        if self.validation is None:
            return {}
        if self.model:
            self.model.eval()
        functions = {"": self.loss, **self.metrics}
        sums = dict.fromkeys(functions, 0.0)
        if self.machine and type(self.validation) in (list, tuple):
            mean = self.machine.mean(list(map(_arguments, self.validation)))
            if mean is not None:
                sums[""] = mean * len(self.validation)
                del functions[""]
        for i in range(len(self.validation)):
            name = ""
            try:
                with resting_collector():
                    arguments = _arguments(self.validation[i])
                    for name, function in functions.items():
                        result = function(*arguments)
                        sums[name] += result.data if isinstance(result, Value) else to_float(result)
                        del result  # and with it its graph, before the next one is made
            except Exception as error:
                raise TrainingError(
                    f"after the steps of epoch {self.epoch + 1}, {name or 'the loss'} of validation[{i}]: "
                    f"{type(error).__name__}: {error}",
                    self.history,
                    i,
                ) from error
        return {name: total / len(self.validation) for name, total in sums.items()}

    def stop_if(self, reasons: Iterable[str]) -> None:
        found = [reason for reason in reasons if reason]  # all conditions are asked, for they keep count
        if found and not self.stopped:
            self.stopped, self.history.reason = True, "; ".join(found)

    # The progress bar

    def bar(self, tqdm: Any) -> Any:
        done = self.epoch * len(self.batches) + self.position
        total = self.epochs * len(self.batches)
        return tqdm and tqdm(total=total, initial=done, unit="step", dynamic_ncols=True)

    def show(self, bar: Any, steps: int = 1) -> None:
        if bar is None:
            return
        bar.set_description(f"epoch {min(self.epoch + 1, self.epochs)}/{self.epochs}", refresh=False)
        recent = self.history.loss[-len(self.batches) :][-20:]
        shown = {"loss": recent, "validation": self.history.validation_loss, **self.history.metrics}
        numbers = {name: sum(recent) / len(recent) if name == "loss" else x[-1] for name, x in shown.items() if x}
        bar.set_postfix({name: f"{number:.4g}" for name, number in numbers.items()}, refresh=False)
        bar.update(steps)

    # Checkpoints

    def is_time_to_save(self, default: float) -> bool:
        seconds = default if self.checkpoint_every is None else self.checkpoint_every
        return self.checkpoint is not None and time.monotonic() - self.saved_at >= seconds

    def save(self) -> None:
        if self.checkpoint is None:
            return
        self.write_back()
        try:
            checkpoints.write(self.checkpoint, self.weights.state_dict(), {"run": self.settings(), **self.state_dict()})
        except (OSError, ValueError) as error:
            raise TrainingError(f"after step {self.history.steps}: {error}", self.history) from error
        self.saved_at = time.monotonic()

    def resume(self) -> None:
        for condition in self.stops:
            condition.reset()
        if self.checkpoint is None:
            return
        if not self.checkpoint.exists():
            self.save()  # so that it does not turn out only after an epoch that it can't be written
            return
        tensors, state = checkpoints.read(self.checkpoint)
        if state is None:
            raise ValueError(
                f"{self.checkpoint} holds parameters, but no run that could go on: take them over by "
                "load_parameters(model, file), and name another file as the checkpoint"
            )
        before, weights_before = self.state_dict(), self.weights.state_dict()
        try:
            differences = list(_differences(state["run"], self.settings()))
            if state["epoch"] > self.epochs:
                differences.append(
                    f"epochs: {state['epoch']} were completed, and no more than {self.epochs} are wanted"
                )
            if differences:
                raise ValueError("\n  ".join(["it is of another run:", *differences]))
            self.weights.load_state_dict(tensors)
            self.load_state_dict(state)
        except Exception as error:  # whatever a file made by hand leads to
            self.weights.load_state_dict(weights_before)
            self.load_state_dict(before)
            what = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
            raise ValueError(f"{self.checkpoint} can't be gone on from, and nothing was changed: {what}") from error

    def settings(self) -> dict[str, Any]:
        # What must be the same in a run that goes on, as JSON gives it back.
        settings: dict[str, Any] = {
            "optimizer": type(self.optimizer).__name__,
            "schedule": None if self.schedule is None else type(self.schedule).__name__,
            "stop": [condition.settings for condition in self.stops],
            "samples": len(self.data),
            "batch_size": self.batches.batch_size,
            "shuffle": bool(self.batches.shuffle),
            "validation samples": None if self.validation is None else len(self.validation),
            "metrics": list(self.metrics),
            "generators": len(self.generators),
        }
        for name, entry in self.weights.state_dict().items():
            settings[f"shape of {name}"] = checkpoints.shape(entry)
        known: dict[str, Any] = json.loads(json.dumps(settings))
        return known

    def state_dict(self) -> dict[str, Any]:
        # All that is to be restored, besides the weights.
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


def _arguments(sample: Any) -> tuple[Any, ...]:
    return sample if isinstance(sample, tuple) else (sample,)


def _tuples(state: Any) -> Any:
    # The state of a generator, from JSON, which has no tuples.
    return tuple(map(_tuples, state)) if isinstance(state, (list, tuple)) else state


def _differences(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> Iterator[str]:
    for name in dict.fromkeys([*theirs, *ours]):
        if name not in theirs or name not in ours or theirs[name] != ours[name]:
            yield f"{name}: {theirs.get(name, 'none')} in the checkpoint, {ours.get(name, 'none')} here"
