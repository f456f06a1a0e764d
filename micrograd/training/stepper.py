"""Single steps, for loops that :func:`~micrograd.fit` does not fit."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from ..data import check_samples
from ..engine import Value
from ..nn import Module
from ..optim import Optimizer
from .checks import check_kinds
from .eager import Batches, EagerSteps, SampleError, Steps
from .flow import FlowRecord
from .history import History
from .interrupts import Interrupts
from .loop import choose_steps
from .resuming import TrainingError
from .weights import Weights, generators

__all__ = ["Stepper"]


class Stepper:
    """Does steps of an optimizer on samples of your own: for reinforcement learning, or two networks that take turns.

    Between steps, all Values have their current numbers. Whatever you change is used by the next step: numbers,
    gradients, learning rates, and what the loss reads. A module keeps the mode that you gave it.

    Args:
        loss: a function that returns the loss of one sample, a Value. A sample that is a tuple is passed as several
            arguments, any other sample as one argument.
        optimizer: the optimizer of the parameters.
        clip: a function that is called with the list of parameters between the gradients and the update.
        model: the module to which the parameters belong. If a step fails, its buffers and random generators are
            restored, too.
        compile: as in :func:`~micrograd.fit`. A program is made in the first step, which takes as long as some tens of
            samples.

    Raises:
        TypeError: if an argument has the wrong type.

    >>> from micrograd import optim
    >>> weight = Value(0.0)
    >>> optimizer = optim.SGD([weight], lr=0.5)
    >>> stepper = Stepper(lambda x: (weight - x) ** 2, optimizer)
    >>> stepper.step([1.0, 3.0])
    5.0
    >>> weight.data, weight.grad
    (2.0, -4.0)
    >>> weight.data, optimizer.lr = 1.0, 0.25
    >>> stepper.step([2.0])
    1.0
    >>> weight.data
    1.5
    """

    def __init__(
        self,
        loss: Callable[..., Value],
        optimizer: Optimizer,
        *,
        clip: Callable[[list[Value]], object] | None = None,
        model: Module | None = None,
        compile: bool | str = "auto",  # noqa: A002
    ) -> None:
        check_kinds("Stepper()", locals())
        weights, flow = Weights(optimizer.parameters, model), FlowRecord(optimizer.parameters, model)
        self._compile, self._interrupts = compile, Interrupts()
        self._eager = EagerSteps(loss, (), optimizer, clip, weights, flow, generators(random, model), self._interrupts)
        self._steps: Steps | None = None

    def step(self, samples: Sequence[Any]) -> float:
        """Does a step on the gradient of the mean loss of the samples, and returns this mean before the step.

        The parameters' gradients are 0 when the step begins. Ctrl-C ends the program after the step. The samples of a
        batch ``xs, ys`` of a :class:`~micrograd.data.DataLoader` are ``list(zip(xs, ys))``.

        Raises:
            TrainingError: if the loss, its gradient or the update fails or is not finite. All is then as before the
                step.
            ValueError: if there are no samples.
        """
        check_samples(samples, "Stepper.step()")
        if not len(samples):
            raise ValueError("Stepper.step(): there are no samples")
        self._eager.data, self._interrupts.count = samples, 0
        with self._interrupts as interrupts:
            if self._steps is None:
                self._steps = choose_steps(self._eager, len(samples), self._compile, is_fixed=False)
            try:
                losses, _ = self._steps.run(Batches(range(len(samples)), [0, len(samples)]), [self._eager.optimizer.lr])
            except SampleError as error:
                raise TrainingError(
                    str(error).replace("data[", "samples["), History(), error.sample
                ) from error.__cause__
            finally:
                self._steps.write()
        if interrupts.count:
            raise KeyboardInterrupt
        return losses[0] / len(samples)
