"""Steps of training on Values: a sample's graph after the other, and then the update."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from ..engine import Value, accumulate
from ..optim import Optimizer
from ..watching import resting_collector
from .flow import FlowRecord
from .interrupts import Interrupts
from .weights import Weights

__all__ = ["EagerSteps", "SampleError", "Steps", "arguments_of", "warn_not_compiled"]


class SampleError(Exception):
    """A sample or a step failed; ``__cause__`` is the error, and ``sample`` the sample's index, if it is one's."""

    def __init__(self, message: str, sample: int | None) -> None:
        super().__init__(message)
        self.sample = sample


class Steps(Protocol):
    """A way to do steps."""

    def run(self, batches: Sequence[Sequence[int]], most: int) -> tuple[list[float], list[float]]:
        """Does the next steps, one at least and so many at most; ``batches`` has the indexes of each one's samples.

        It returns the sum of the losses, before the update, and the norm of the gradient of each step that was done. If
        the first one fails, all is as it was before.
        """

    def write(self) -> None:
        """Sees that the Values and the optimizer hold what they are worth now."""

    def look_again(self) -> None:
        """Notices that what the loss and the update read may have been changed."""

    def mean(self, samples: Sequence[Any]) -> float | None:
        """The mean loss of samples; None if it is to be computed from Values."""


class EagerSteps:
    """Does one step at a time, by Python's floats.

    Args:
        loss: gives the loss of one sample, a Value.
        data: the samples.
        optimizer: which has the parameters.
        clip: changes the gradients of all parameters before each update.
        weights: what the gradients are set to 0 in, and what is restored if a step fails.
        flow: takes notes of the gradients.
        generators: what random numbers may be drawn from.
        interrupts: Ctrl-C interrupts while gradients are computed, and never an update.
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

    def run(self, batches: Sequence[Sequence[int]], most: int) -> tuple[list[float], list[float]]:
        batch, restore = batches[0], self.weights.snapshot(self.generators)
        at: int | None = None
        norms: list[float] = []
        total = 0.0
        try:
            with self.interrupts.allowed(), resting_collector():
                self.weights.zero_grad()
                for at in batch:
                    total += self.add_gradient(arguments_of(self.data[at]), len(batch))
                at = None
                norms = self.flow.norms()
                if not math.isfinite(math.hypot(*norms)):
                    raise ValueError("the gradient is not finite")
                if self.clip:
                    self.clip(self.optimizer.parameters)
            self.optimizer.step()  # which changes nothing if it fails
        except BaseException as error:
            restore()
            if not isinstance(error, Exception):
                raise
            if not math.isfinite(math.hypot(*norms)):
                at = next((i for i in batch if not self.has_gradient(arguments_of(self.data[i]), len(batch))), None)
                restore()
            what = f"data[{at}]" if at is not None else f"the batch of data[i], i in {list(batch)}"
            kept = "parameters, gradients and optimizer are as before the step"
            raise SampleError(f"{what}: {type(error).__name__}: {error}; {kept}", at) from error
        self.flow.add(norms)
        return [total], [math.hypot(*norms)]

    def add_gradient(self, arguments: tuple[Any, ...], count: int) -> float:
        """Adds the gradient of a sample's part in the mean over so many, and returns the sample's loss.

        ``Value.backward()`` would set the leaves' gradients aside for each sample, to be able to restore them;
        :meth:`run` does that once.
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
        """Whether the gradient of a sample can be computed, and is finite. The gradients are then those."""
        self.weights.zero_grad()
        try:
            self.add_gradient(arguments, count)
        except Exception:
            return False
        return math.isfinite(math.hypot(*self.flow.norms()))

    def write(self) -> None:
        pass  # they do

    def look_again(self) -> None:
        pass  # each step reads all anew

    def mean(self, samples: Sequence[Any]) -> float | None:
        return None


def arguments_of(sample: Any) -> tuple[Any, ...]:
    """The arguments of the loss: a tuple's items, or the sample."""
    return sample if isinstance(sample, tuple) else (sample,)


def warn_not_compiled(why: str, calls: int = 0) -> None:
    """Warns that something is not compiled, at the line of the call of ``fit()`` that led here."""
    what = "fit runs without compiling, which is slower; compile=False leaves out this warning"
    warnings.warn(f"{what}: {why}", stacklevel=4 + calls)
