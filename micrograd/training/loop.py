"""``fit`` and the training loop."""

from __future__ import annotations

import copy
import inspect
import os
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from ..arguments import sequence, to_float
from ..data import DataLoader
from ..engine import Value
from ..nn import Module
from ..nn.module import modules
from ..optim import LRScheduler, Optimizer
from ..watching import resting_collector
from .checks import check_arguments
from .eager import Batches, EagerSteps, SampleError, Steps, arguments_of, warn_not_compiled
from .flow import FlowRecord
from .history import History
from .interrupts import Interrupts
from .progress import ProgressBar
from .resuming import Checkpoint, RunState, TrainingError
from .stopping import GradientNorm, StopCondition
from .weights import Weights, generators

__all__ = ["choose_steps", "fit"]

_PACKAGE = __name__.partition(".")[0]
_PAYS = 100  # the fewest samples for which compiling pays: it takes as long as some tens of samples
_BURST = 4096  # the most steps in one call, if nothing reads the parameters in between
_FORESEEN = 1024  # the most steps whose learning rates are computed before they are done
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
    """Minimises the mean loss over the data, with one optimizer step per batch.

    A step computes the gradient of the mean loss over its batch, then the optimizer updates the parameters. The graph
    of each sample is freed before the next one is made. A model that needs the whole batch at once, like
    ``nn.BatchNorm`` in training, takes a batch as one sample: then ``data`` is a list of batches.

    Ctrl-C ends the run after the current step or validation. A second Ctrl-C interrupts at once, and undoes the step.

    Args:
        loss: a function that returns the loss of one sample, a Value. A sample that is a tuple is passed as several
            arguments, any other sample as one argument.
        data: a sequence of samples.
        optimizer: the optimizer of the parameters.
        epochs: the number of passes through the data, counted from the start of the run, even if it is resumed.
        batch_size: the number of samples per step; the last batch of an epoch may be smaller.
        validation: samples; their mean loss is computed after each epoch.
        metrics: functions by name. Each is called like ``loss`` with each sample of the validation set, and returns a
            number.
        schedule: a schedule; its ``step()`` is called after each epoch. If ``step`` takes a measure, like that of
            ``ReduceLROnPlateau``, it gets the validation loss, or the training loss if there is no validation set.
        schedule_every: ``"epoch"``, or ``"step"`` to call the schedule after each step, with the step's loss. The
            warm-up of a Transformer, for example, takes some hundred steps.
        stop: a condition that ends the run early, or a list of them: ``GradientNorm(below)``,
            ``EarlyStopping(patience)``.
        callbacks: functions that are called with the history after each epoch.
        clip: a function that is called with the list of parameters between the gradients and the update, such as
            ``functools.partial(optim.clip_grad_norm_, max_norm=1.0)``. A compiled run does this one in machine code;
            any other function is called once per step, which takes longer than the step of a small network.
        model: the module to which the parameters belong. It is in training mode for the steps and in evaluation mode
            for the validation. Checkpoints contain its names and buffers. ``History.gradient_flow()`` reports its
            layers.
        progress: show a progress bar of tqdm if the standard error is a terminal.
        checkpoint: a safetensors file for the state of the run. If the file exists, the run continues from it, and ends
            with the same numbers, bit for bit, as a run without interruption. Two runs can't use the same file at the
            same time.
        checkpoint_every: the seconds between two checkpoints; 0 for one after each step. The default is one after each
            epoch, and one per minute within an epoch. The end of a run also writes one, unless it ends by an error.
        shuffle: use a new random order of the samples in each epoch.
        rng: the random generator that shuffles: a ``random.Random``, or the module ``random`` itself. Checkpoints
            contain its state, and the states of the module ``random`` and of the generators in the model.
        compile: whether to compile the loss and the update with :func:`micrograd.compile`. ``"auto"`` compiles them if
            llvmlite is installed and they can be compiled; otherwise it runs without, and warns. It does not compile
            for fewer than 100 samples in all, because that does not pay. True raises an error where ``"auto"`` warns.
            False does not compile.

    A compiled run keeps its numbers in arrays. It writes them back to the Values at its end, at checkpoints, and before
    callbacks, stop conditions and the validation read them. It reads plain lists and tuples of data once. It notices
    when a callback changes something that the loss reads. Ctrl-C ends it within a tenth of a second. A step is repeated
    with Python's floats if a number is not finite, if its mathematics is undefined, or if a function of yours raises an
    error. Any other failure is raised; with ``"auto"``, it is part of the warning.

    Returns:
        The history, with the reason why the run ended.

    Raises:
        TrainingError: if the loss, its gradient or the update of a step fails or is not finite. Parameters, gradients,
            buffers, optimizer and generators are then restored to those before that step. Also if a sample fails in
            validation, a checkpoint can't be written after a step, or another run uses the checkpoint.
        ValueError: if a setting is out of its range, or the checkpoint is damaged or of another run; the message lists
            the differences. Nothing is then changed.
        TypeError: if an argument has the wrong type; the message says what ``fit()`` takes.
        ImportError: if tqdm for a progress bar, safetensors for a checkpoint, or llvmlite for ``compile=True`` is not
            installed; the message says what to install.

    >>> weight = Value(0.0)
    >>> from micrograd import optim
    >>> fit(lambda x: (weight - x) ** 2, [1.0, 3.0], optim.SGD([weight], lr=0.5), epochs=3, batch_size=2).loss
    [5.0, 1.0, 1.0]

    A warm-up of four steps, followed by a cosine:

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

    # When something reads the parameters or the history, or sets the learning rate: after each step, or each epoch.
    watchers = [condition for condition in stops if type(condition).after_step is not StopCondition.after_step]
    is_foreseen = _is_foreseen(schedule, optimizer)
    waits = schedule is not None and not is_foreseen  # for the measure of each step or epoch
    look_each_step = watchers or (kept.file and checkpoint_every == 0) or (waits and schedule_every == "step")
    look_each_epoch = model or validation is not None or waits or stops or callbacks or kept.file
    may_change = callbacks or any(not type(x).__module__.startswith(f"{_PACKAGE}.") for x in (schedule, *stops) if x)
    is_foreign = not type(schedule).__module__.startswith(f"{_PACKAGE}.")  # ours set only the learning rate

    with ProgressBar(progress, epochs, run) as bar, kept.lock(), _modes(model), Interrupts() as interrupts:
        kept.resume(epochs)
        eager = EagerSteps(loss, data, optimizer, clip, weights, flow, run.generators, interrupts)
        is_over = run.stopped or run.epoch == epochs
        pays = not is_over and (compile is True or epochs * len(data) >= _PAYS)
        with interrupts.allow():
            if model:
                model.train()
            steps = choose_steps(eager, batch_size, compile if pays else False, is_fixed=True)
        try:
            todo = Batches([], [0])
            while run.epoch < epochs and not run.stopped and not interrupts.count:
                if run.position < len(batches):  # one step, or several if nothing looks in between
                    if not todo:
                        if model:
                            model.train()
                        ahead = _BURST // len(batches) if steps.is_predictable and not look_each_epoch else 1
                        todo = run.order(max(1, min(epochs - run.epoch, ahead)))
                    most, epoch = 1 if look_each_step else len(todo), run.epoch
                    if is_foreseen:
                        most = min(most, _FORESEEN)
                        of_epochs = [(run.position + i) // len(batches) for i in range(most)]
                        rates = _foresee(schedule, of_epochs if schedule_every == "epoch" else range(most))
                    else:
                        rates = [optimizer.lr] * most
                    losses, norms = steps.run(todo, rates)
                    run.record(todo, losses, norms, rates)
                    if is_foreseen:
                        for _ in losses if schedule_every == "step" else range(run.epoch - epoch):
                            schedule.step()
                    elif schedule and schedule_every == "step":
                        if is_foreign:
                            steps.write()
                        _step(schedule, history.loss[-1])
                        if is_foreign:
                            steps.look_again()
                    todo = todo.after(len(losses))
                    if any(type(watcher) is not GradientNorm for watcher in watchers):
                        steps.write()
                    run.stop_if(condition.after_step(history) for condition in stops)
                    is_due = run.position < len(batches) and kept.is_due(_SECONDS)
                else:  # the end of an epoch
                    if validation is not None or stops or may_change:
                        steps.write()
                    with interrupts.allow():
                        means = _validate(steps, model, {"": loss, **metrics}, validation)
                    run.end_epoch(means)
                    if schedule and schedule_every == "epoch":
                        _step(schedule, (history.validation_loss or history.train_loss)[-1])
                    run.stop_if(condition.after_epoch(history, weights) for condition in stops)
                    with interrupts.allow():
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
            run.take_back(todo)
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
    """Restores each module's mode, training or evaluation, after the block."""
    before = [(module, module.training) for module in modules(model)]
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


def _is_foreseen(schedule: Any, optimizer: Optimizer) -> bool:
    """Whether a schedule's learning rates can be computed before the steps are done."""
    return (
        isinstance(schedule, LRScheduler)
        and type(schedule).__module__.startswith(f"{_PACKAGE}.")
        and schedule.optimizer is optimizer
        and not hasattr(optimizer, "optimizer")  # that of Lookahead, whose learning rate it has
    )


def _foresee(schedule: LRScheduler, places: Sequence[int]) -> list[float]:
    """Returns the learning rates of steps, each after so many steps of the schedule."""
    twin = copy.copy(schedule.optimizer)
    ahead, rates = copy.deepcopy(schedule, {id(schedule.optimizer): twin}), [twin.lr]
    for _ in range(places[-1]):
        ahead.step()
        rates.append(twin.lr)
    return [rates[place] for place in places]


def _step(schedule: Any, measure: float) -> None:
    """Calls a schedule's ``step()``, with the measure if it takes one."""
    parameters = inspect.signature(schedule.step).parameters.values()
    schedule.step(*[measure for parameter in parameters if parameter.default is parameter.empty])


def choose_steps(eager: EagerSteps, batch_size: int, compile: bool | str, is_fixed: bool) -> Steps:  # noqa: A002
    """Returns compiled steps if they are wanted and possible, otherwise steps on Values.

    Args:
        eager: does steps on Values.
        batch_size: the largest number of samples per step.
        compile: as in :func:`fit`.
        is_fixed: the samples stay the same if the data are a list.
    """
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
        return CompiledSteps(eager, batch_size, compile is True, is_fixed)
    except DisagreementError:
        raise
    except Exception as error:  # raised by the loss, or by the compiler
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
    """Returns the means of the functions over the samples: of the loss, whose name is empty, and of the metrics."""
    if samples is None:
        return {}
    if model:
        model.eval()
    sums = dict.fromkeys(functions, 0.0)
    mean = steps.mean(samples)
    if mean is not None:
        sums[""] = mean * len(samples)
        del functions[""]
    with steps.foresee(model, samples) if model and functions else nullcontext():
        for i in range(len(samples)):
            name = ""
            try:
                with resting_collector():
                    arguments = arguments_of(samples[i])
                    for name, function in functions.items():
                        result = function(*arguments)
                        sums[name] += result.data if isinstance(result, Value) else to_float(result)
                        del result  # frees its graph before the next one is made
            except Exception as error:
                what = f"{name or 'the loss'} of validation[{i}]"
                raise SampleError(f"{what}: {type(error).__name__}: {error}", i) from error
    return {name: total / len(samples) for name, total in sums.items()}
