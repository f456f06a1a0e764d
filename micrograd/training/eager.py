"""Training steps on Values: one sample's graph after the other, then the update."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

from ..engine import Value, accumulate
from ..nn import Module
from ..optim import Optimizer
from ..watching import resting_collector
from .flow import FlowRecord
from .interrupts import Interrupts
from .weights import Weights

__all__ = ["Batches", "EagerSteps", "SampleError", "Steps", "arguments_of", "warn_not_compiled"]


class SampleError(Exception):
    """A sample or a step failed. ``__cause__`` is the error; ``sample`` is the index of the sample, or None."""

    def __init__(self, message: str, sample: int | None) -> None:
        super().__init__(message)
        self.sample = sample


@dataclass(frozen=True)
class Batches:
    """The samples of several steps.

    Attributes:
        indexes: those of all steps.
        ends: where each step begins in ``indexes``, and where the last one ends.

    >>> batches = Batches([3, 1, 0, 2], [0, 2, 4])
    >>> len(batches), batches[0], batches.after(1)
    (2, [3, 1], Batches(indexes=[3, 1, 0, 2], ends=[2, 4]))
    """

    indexes: Sequence[int]
    ends: list[int]

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __getitem__(self, step: int) -> Sequence[int]:
        return self.indexes[self.ends[step] : self.ends[step + 1]]

    def after(self, steps: int) -> Batches:
        """Returns the batches of all later steps."""
        return Batches(self.indexes, self.ends[steps:])


class Steps(Protocol):
    """A way to do steps."""

    @property
    def is_predictable(self) -> bool:
        """Whether steps leave random generators alone, so that several epochs may be shuffled before they are done."""

    def run(self, batches: Batches, rates: Sequence[float]) -> tuple[list[float], list[float]]:
        """Does the next steps: at least one, and at most as many as there are learning rates for them.

        The first rate is the optimizer's own.

        Returns two lists, with one entry per step that was done: the sum of the losses before the update, and the norm
        of the gradient. If the first step fails, the state before it is restored.
        """

    def write(self) -> None:
        """Makes sure that the Values and the optimizer hold the current numbers."""

    def look_again(self) -> None:
        """Called when something that the loss or the update reads may have changed."""

    def mean(self, samples: Sequence[Any]) -> float | None:
        """Returns the mean loss of samples, or None if it has to be computed from Values."""

    def foresee(self, model: Module, samples: Sequence[Any]) -> AbstractContextManager[None]:
        """Within the block, calls of the model with arguments of these samples may be faster."""


class EagerSteps:
    """Does one step at a time, with Python's floats.

    Args:
        loss: a function that returns the loss of one sample, a Value.
        data: the samples.
        optimizer: the optimizer of the parameters.
        clip: a function that changes the gradients of all parameters before each update, or None.
        weights: the parameters and buffers to restore if a step fails.
        flow: records the gradients.
        generators: the random generators to restore if a step fails.
        interrupts: lets Ctrl-C interrupt while gradients are computed, but never during an update.
    """

    def __init__(
        self,
        loss: Callable[..., Value],
        data: Sequence[Any],
        optimizer: Optimizer,
        clip: Callable[[list[Value]], object] | None,
        weights: Weights,
        flow: FlowRecord,
        generators: list[Any],
        interrupts: Interrupts,
    ) -> None:
        self.loss, self.data, self.optimizer, self.clip = loss, data, optimizer, clip
        self.weights, self.flow, self.generators, self.interrupts = weights, flow, generators, interrupts

    @property
    def is_predictable(self) -> bool:
        return False  # the loss may draw numbers

    def run(self, batches: Batches, rates: Sequence[float]) -> tuple[list[float], list[float]]:
        batch, restore = [int(i) for i in batches[0]], self.weights.snapshot(self.generators)
        at: int | None = None
        norms: list[float] = []
        total = 0.0
        try:
            with self.interrupts.allow(), resting_collector():
                self.weights.zero_grad()
                for at in batch:
                    total += self.add_gradient(arguments_of(self.data[at]), len(batch))
                at = None
                norms = self.flow.norms()
                if not math.isfinite(math.hypot(*norms)):
                    raise ValueError("the gradient is not finite")
                if self.clip:
                    self.clip(self.optimizer.parameters)
            self.optimizer.step()  # changes nothing if it fails
        except BaseException as error:
            restore()
            if not isinstance(error, Exception):
                raise
            if not math.isfinite(math.hypot(*norms)):
                at = next((i for i in batch if not self.has_gradient(arguments_of(self.data[i]), len(batch))), None)
                restore()
            what = f"data[{at}]" if at is not None else f"the batch of data[i], i in {batch}"
            kept = "parameters, gradients and optimizer are as before the step"
            raise SampleError(f"{what}: {type(error).__name__}: {error}; {kept}", at) from error
        self.flow.add(norms)
        return [total], [math.hypot(*norms)]

    def add_gradient(self, arguments: tuple[Any, ...], count: int) -> float:
        """Adds the gradient of the sample's loss divided by ``count``, and returns the sample's loss.

        ``Value.backward()`` would save the leaves' gradients for each sample, to restore them after an error.
        :meth:`run` does that once per step.
        """
        out = self.loss(*arguments)
        if not isinstance(out, Value):
            raise TypeError(f"the loss must be a Value computed from the parameters, not {type(out).__name__} {out!r}")
        if not math.isfinite(out.data):
            raise ValueError(f"the loss is {out.data}")
        part = out / count
        accumulate(part)
        return out.data

    def has_gradient(self, arguments: tuple[Any, ...], count: int = 1) -> bool:
        """Whether the gradient of a sample can be computed and is finite. It changes the parameters' gradients."""
        self.weights.zero_grad()
        try:
            self.add_gradient(arguments, count)
        except Exception:
            return False
        return math.isfinite(math.hypot(*self.flow.norms()))

    def write(self) -> None:
        pass  # they always do

    def look_again(self) -> None:
        pass  # each step reads everything again

    def mean(self, samples: Sequence[Any]) -> float | None:
        return None

    def foresee(self, model: Module, samples: Sequence[Any]) -> AbstractContextManager[None]:
        return nullcontext()


def arguments_of(sample: Any) -> tuple[Any, ...]:
    """Returns the arguments of the loss for a sample: the items of a tuple, or the sample itself."""
    return sample if isinstance(sample, tuple) else (sample,)


def warn_not_compiled(why: str, calls: int = 0) -> None:
    """Warns that something is not compiled. The warning points to the line that called ``fit()`` or ``step()``."""
    what = "training runs without compiling, which is slower; compile=False leaves out this warning"
    warnings.warn(f"{what}: {why}", stacklevel=4 + calls)
