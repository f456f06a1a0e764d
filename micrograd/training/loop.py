"""``fit``: what a run is made of."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..arguments import require
from ..data import DataLoader
from ..engine import Value
from ..nn import Module
from ..nn.module import modules
from ..optim import Optimizer
from .history import History
from .run import Run
from .stopping import StopCondition

__all__ = ["fit"]


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
        stop: what ends the run early: ``GradientNorm(below)``, ``EarlyStopping(patience)``, or several in a list.
        callbacks: functions that are given the history after each epoch.
        clip: a function that is given the list of parameters after the gradients are computed and before they are used:
            ``lambda parameters: optim.clip_grad_norm_(parameters, 1.0)``.
        model: which the parameters belong to. It is set to training and, for the validation, to evaluation; checkpoints
            have its names and buffers; and ``History.gradient_flow()`` reports by its layers.
        progress: show a progress bar, tqdm's, if the standard error is a terminal.
        checkpoint: a safetensors file that keeps the state of the run. If it exists, the run goes on from there, and
            ends with the same numbers, bit for bit, as if it had not been interrupted.
        checkpoint_every: the seconds between two checkpoints, 0 for one after each step. If none is given, there is one
            after each epoch, and within an epoch each minute. There is always one when the run ends, unless by an
            error.
        shuffle: take the samples in a new random order in each epoch.
        rng: what shuffles: a ``random.Random``, or the module ``random`` itself. Its state is in the checkpoint,
            with those of the module ``random`` and of generators in the model.
        compile: ``"auto"``, to compile the loss and the update with :func:`micrograd.compile` if Numba is installed and
            they can be, and else run without, and say so in a warning (or not, if there are fewer than 100 samples to
            run, for which it does not pay); True, for an error instead; False, not to. A compiled run keeps its numbers
            in arrays, and writes them back to the Values at its end, at checkpoints, and before anybody looks:
            callbacks, stop conditions, the validation. Plain lists and tuples of data are read once. What callbacks
            change that the loss reads is seen. Ctrl-C then ends it within a tenth of a second.

    Returns:
        The history, with the reason why the run ended.

    Raises:
        TrainingError: if the loss, its gradient or the update of a step fails, or is not finite: parameters, gradients,
            buffers, optimizer and generators are then as they were before that step. Also if a sample fails in
            validation, or a checkpoint can't be written, after a step that was done.
        ValueError: if a setting is out of its range, or the checkpoint is damaged or of another run; the message lists
            the differences. Nothing is then changed.
        TypeError: if something is not of its kind.
        ImportError: if a progress bar is to be shown and tqdm isn't there, a checkpoint to be kept and safetensors
            isn't, or compiling is asked for and Numba isn't, with what to install.

    >>> weight = Value(0.0)
    >>> from micrograd import optim
    >>> fit(lambda x: (weight - x) ** 2, [1.0, 3.0], optim.SGD([weight], lr=0.5), epochs=3, batch_size=2).loss
    [5.0, 1.0, 1.0]
    """
    for samples in (data, *([] if validation is None else [validation])):
        if isinstance(samples, DataLoader):
            raise TypeError("fit makes the batches itself: give it the samples and batch_size, not a DataLoader")
        DataLoader(samples)  # which knows what is a sequence
    run = Run(
        loss=loss,
        batches=DataLoader(range(len(data)), batch_size, shuffle, rng),
        data=data,
        optimizer=optimizer,
        epochs=epochs,
        validation=validation,
        metrics=dict(metrics or {}),
        schedule=schedule,
        stops=[stop] if isinstance(stop, StopCondition) else list(stop),
        callbacks=list(callbacks),
        clip=clip,
        model=model,
        checkpoint=None if checkpoint is None else Path(checkpoint),
        checkpoint_every=checkpoint_every,
        compile=compile,
    )
    was_training = [(module, module.training) for module in modules(model)]
    tqdm = None
    if progress and sys.stderr is not None and sys.stderr.isatty():
        tqdm = require("tqdm", "a progress bar (progress=False is without)").tqdm
    try:
        run.resume()
        return run.go(tqdm)
    finally:
        for module, training in was_training:
            module.training = training
