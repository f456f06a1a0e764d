"""``fit``, and the one loop of training."""

from __future__ import annotations

import inspect
import os
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ..arguments import sequence, to_float
from ..data import DataLoader
from ..engine import Value
from ..nn import Module
from ..nn.module import modules
from ..optim import LRScheduler, Optimizer, ReduceLROnPlateau
from ..watching import resting_collector
from .checks import check_arguments
from .eager import EagerSteps, SampleError, Steps, arguments_of, warn_not_compiled
from .flow import FlowRecord
from .history import History
from .interrupts import Interrupts
from .progress import ProgressBar
from .resuming import Checkpoint, RunState, TrainingError
from .stopping import GradientNorm, StopCondition
from .weights import Weights, generators

__all__ = ["fit"]

_PACKAGE = __name__.partition(".")[0]
_PAYS = 100  # making a program takes as long as some tens of samples
_BURST = 4096  # steps that are done at once, at most, where nobody looks in between
_SECONDS = 60.0  # between checkpoints within an epoch


def fit(
    loss: Callable[..., Value],
    data: Sequence[Any],
    optimizer: Optimizer,
    *,
    epochs: int,
    batch_size: int = 1,
    validation: Sequence[Any] | None = None,
    metrics: Mapping[str, Callable[..., Any]] | None = None,
    schedule: Any = None,
    schedule_every: str = "epoch",
    stop: StopCondition | Iterable[StopCondition] = (),
    callbacks: Iterable[Callable[[History], object]] = (),
    clip: Callable[[list[Value]], object] | None = None,
    model: Module | None = None,
    progress: bool = True,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: float | None = None,
    shuffle: bool = True,
    rng: Any = random,
    compile: bool | str = "auto",  # noqa: A002
) -> History:
    """Minimises the mean loss over the data, a batch a step.

    A step sets the gradients to that of the mean over its batch, and lets the optimizer update the parameters. The
    batch's samples take turns: each one's graph is freed before the next one's is made. What has to see a whole batch
    at once, as ``nn.BatchNorm`` does in training, is given batches as samples, and a loss that takes one.

    Ctrl-C ends the run after the current step, or validation; a second one interrupts at once, and undoes the step.

    Args:
        loss: gives the loss of one sample, a Value. A sample that is a tuple is its arguments, another its argument.
        data: a sequence of samples.
        optimizer: which has the parameters.
        epochs: how often to go through the data, counted from the start of the run, also if it is resumed.
        batch_size: how many samples a step takes; the last batch of an epoch has what is left.
        validation: samples whose mean loss is taken after each epoch.
        metrics: functions by name that are given a sample of the validation set, like ``loss``, and give a number.
        schedule: whose ``step()`` is called after each epoch; if that takes a measure, as ``ReduceLROnPlateau``'s does,
            with the validation loss, or the training loss if there is none.
        schedule_every: ``"step"``, to call it after each step instead, with the step's loss: a warm-up, as Transformers
            need one, takes some hundred steps.
        stop: what ends the run early: ``GradientNorm(below)``, ``EarlyStopping(patience)``, or several in a list.
        callbacks: functions that are given the history after each epoch.
        clip: a function that is given the list of parameters after the gradients are computed and before they are used:
            ``lambda parameters: optim.clip_grad_norm_(parameters, 1.0)``.
        model: which the parameters belong to. It is set to training and, for the validation, to evaluation; checkpoints
            have its names and buffers; and ``History.gradient_flow()`` reports by its layers.
        progress: show a progress bar, tqdm's, if the standard error is a terminal.
        checkpoint: a safetensors file that keeps the state of the run. If it exists, the run goes on from there, and
            ends with the same numbers, bit for bit, as if it had not been interrupted. No two runs can have the same
            checkpoint at once.
        checkpoint_every: the seconds between two checkpoints, 0 for one after each step. If none is given, there is one
            after each epoch, and within an epoch each minute. There is always one when the run ends, unless by an
            error.
        shuffle: take the samples in a new random order in each epoch.
        rng: what shuffles: a ``random.Random``, or the module ``random`` itself. Its state is in the checkpoint,
            with those of the module ``random`` and of generators in the model.
        compile: ``"auto"``, to compile the loss and the update with :func:`micrograd.compile` if llvmlite is installed
            and they can be, and else run without, and say so in a warning (or not, if there are fewer than 100 samples
            to run, for which it does not pay); True, for an error instead; False, not to. A compiled run keeps its
            numbers in arrays, and writes them back to the Values at its end, at checkpoints, and before anybody looks:
            callbacks, stop conditions, the validation. Plain lists and tuples of data are read once. What callbacks
            change that the loss reads is seen. Ctrl-C then ends it within a tenth of a second. A step goes back to
            Python's floats where a number is not finite, where mathematics is undefined, and where a function of yours
            raises an error; anything else that goes wrong in one is raised, or, with ``"auto"``, said in the warning.

    Returns:
        The history, with the reason why the run ended.

    Raises:
        TrainingError: if the loss, its gradient or the update of a step fails, or is not finite: parameters, gradients,
            buffers, optimizer and generators are then as they were before that step. Also if a sample fails in
            validation, or a checkpoint can't be written, after a step that was done, or another run has it.
        ValueError: if a setting is out of its range, or the checkpoint is damaged or of another run; the message lists
            the differences. Nothing is then changed.
        TypeError: if something is not of its kind; the message says what ``fit()`` takes.
        ImportError: if a progress bar is to be shown and tqdm isn't there, a checkpoint to be kept and safetensors
            isn't, or compiling is asked for and llvmlite isn't, with what to install.

    >>> weight = Value(0.0)
    >>> from micrograd import optim
    >>> fit(lambda x: (weight - x) ** 2, [1.0, 3.0], optim.SGD([weight], lr=0.5), epochs=3, batch_size=2).loss
    [5.0, 1.0, 1.0]

    A warm-up of four steps, and from there down a cosine:

    >>> optimizer = optim.SGD([weight], lr=0.1)
    >>> warm_up, cosine = optim.LinearLR(optimizer, 0.25, total_iters=3), optim.CosineAnnealingLR(optimizer, 4)
    >>> schedule = optim.SequentialLR(optimizer, [warm_up, cosine], milestones=[3])
    >>> loss, samples = lambda x: (weight - x) ** 2, [1.0, 3.0, 2.0, 2.5]
    >>> history = fit(loss, samples, optimizer, epochs=2, schedule=schedule, schedule_every="step")
    >>> [round(lr, 3) for lr in history.lr]
    [0.025, 0.05, 0.075, 0.1, 0.085, 0.05, 0.015, 0.0]
    """
    stops = [stop] if isinstance(stop, StopCondition) else sequence(stop, "fit(): stop")
    callbacks, metrics = sequence(callbacks, "fit(): callbacks"), {} if metrics is None else metrics
    check_arguments(locals())
    batches = DataLoader(range(len(data)), batch_size, shuffle, rng)
    weights, flow = Weights(optimizer.parameters, model), FlowRecord(optimizer.parameters, model)
    history = History(metrics={name: [] for name in metrics}, _flow=flow)
    run = RunState(batches, history, weights, optimizer, schedule, stops, generators(rng, model))
    counts = {"schedule_every": schedule_every, "validation samples": None if validation is None else len(validation)}
    kept = Checkpoint(checkpoint, checkpoint_every, run, counts)

    # Who looks at the parameters or the history, or sets the learning rate, and when.
    watchers = [condition for condition in stops if type(condition).after_step is not StopCondition.after_step]
    look_each_step = watchers or (kept.file and checkpoint_every == 0) or (schedule and schedule_every == "step")
    look_each_epoch = model or validation is not None or schedule or stops or callbacks or kept.file or shuffle
    may_change = callbacks or any(not type(x).__module__.startswith(f"{_PACKAGE}.") for x in (schedule, *stops) if x)
    is_foreign = not isinstance(schedule, (LRScheduler, ReduceLROnPlateau))  # which set the learning rate alone

    with ProgressBar(progress, epochs, run) as bar, kept.locked(), _modes(model), Interrupts() as interrupts:
        kept.resume(epochs)
        eager = EagerSteps(loss, data, optimizer, clip, weights, flow, run.generators, interrupts)
        is_over = run.stopped or run.epoch == epochs
        pays = not is_over and (compile is True or epochs * len(data) >= _PAYS)
        with interrupts.allowed():
            steps = _choose(eager, batch_size, compile if pays else False)
        try:
            todo: list[list[int]] = []
            while run.epoch < epochs and not run.stopped and not interrupts.count:
                if run.position < len(batches):  # a step, or, if nobody looks in between, several
                    if not todo:
                        if model:
                            model.train()
                        todo = run.order()
                        if not look_each_epoch:
                            todo = todo * min(epochs - run.epoch, max(1, _BURST // len(todo)))
                    losses, norms = steps.run(todo, 1 if look_each_step else len(todo))
                    run.record(todo, losses, norms)
                    if schedule and schedule_every == "step":
                        if is_foreign:
                            steps.write()
                        _step(schedule, history.loss[-1])
                        if is_foreign:
                            steps.look_again()
                    del todo[: len(losses)]
                    if any(type(watcher) is not GradientNorm for watcher in watchers):
                        steps.write()
                    run.stop_if(condition.after_step(history) for condition in stops)
                    is_due = run.position < len(batches) and kept.is_due(_SECONDS)
                else:  # the end of an epoch
                    if validation is not None or stops or may_change:
                        steps.write()
                    with interrupts.allowed():
                        means = _validate(steps, model, {"": loss, **metrics}, validation)
                    run.end_epoch(means)
                    if schedule and schedule_every == "epoch":
                        _step(schedule, (history.validation_loss or history.train_loss)[-1])
                    run.stop_if(condition.after_epoch(history, weights) for condition in stops)
                    with interrupts.allowed():
                        for callback in callbacks:
                            callback(history)
                    if may_change:
                        steps.look_again()
                    is_due = kept.is_due(0.0)
                bar.show()
                if is_due:
                    steps.write()
                    kept.save()
        except SampleError as error:
            raise TrainingError(f"{run.where()}, {error}", history, error.sample) from error.__cause__
        finally:
            steps.write()
        is_over = run.stopped or run.epoch == epochs
        if not is_over:
            done = f"{run.position} of {len(batches)} steps of epoch {run.epoch + 1}"
            history.reason = f"interrupted by Ctrl-C after {done}"
        elif not run.stopped:
            history.reason = f"all {epochs} epochs were trained"
        kept.save()
        if is_over:
            for condition in stops:
                condition.at_end(weights)
    return history


@contextmanager
def _modes(model: Module | None) -> Iterator[None]:
    """Gives the modules' modes back, training or evaluation, that they have before the block."""
    before = [(module, module.training) for module in modules(model)]
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


def _step(schedule: Any, measure: float) -> None:
    """Lets a schedule step, with a measure if its ``step()`` takes one."""
    parameters = inspect.signature(schedule.step).parameters.values()
    schedule.step(*[measure for parameter in parameters if parameter.default is parameter.empty])


def _choose(eager: EagerSteps, batch_size: int, compile: bool | str) -> Steps:  # noqa: A002
    """Compiled steps, if they are wanted, and there can be any; else those on Values."""
    if not compile:
        return eager
    try:
        from ..compiler import DisagreementError, TraceError
        from ..compiler.tracing import is_watched
        from .compiled import CompiledSteps
    except ImportError as error:
        what = "llvmlite and numpy: python -m pip install llvmlite numpy"
        if compile is True:
            raise ImportError(f"compiling needs {what}") from error
        warn_not_compiled(f"it needs {what}")
        return eager
    if is_watched():
        return eager
    restore = eager.weights.snapshot(eager.generators)
    try:
        if eager.weights.model:
            eager.weights.model.train()
        return CompiledSteps(eager, batch_size, compile is True)
    except DisagreementError:
        raise
    except Exception as error:  # of the loss, or of the compiler
        if compile is True and isinstance(error, TypeError):
            raise TraceError(f"the training can't be compiled: {error}") from error
        if compile is True:
            raise
        warn_not_compiled(f"{type(error).__name__}: {error}")
        return eager
    finally:
        restore()


def _validate(
    steps: Steps, model: Module | None, functions: dict[str, Callable[..., Any]], samples: Sequence[Any] | None
) -> dict[str, float]:
    """The means of functions over samples: of the loss, whose name is empty, and of the metrics."""
    if samples is None:
        return {}
    if model:
        model.eval()
    sums = dict.fromkeys(functions, 0.0)
    mean = steps.mean(samples)
    if mean is not None:
        sums[""] = mean * len(samples)
        del functions[""]
    for i in range(len(samples)):
        name = ""
        try:
            with resting_collector():
                arguments = arguments_of(samples[i])
                for name, function in functions.items():
                    result = function(*arguments)
                    sums[name] += result.data if isinstance(result, Value) else to_float(result)
                    del result  # and with it its graph, before the next one is made
        except Exception as error:
            what = f"{name or 'the loss'} of validation[{i}]"
            raise SampleError(f"{what}: {type(error).__name__}: {error}", i) from error
    return {name: total / len(samples) for name, total in sums.items()}
