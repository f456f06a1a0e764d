"""Training at machine speed: the loss is compiled, and parameters, gradients and the optimizer's state are arrays.

The update rule is the optimizer's own: it is elementwise arithmetic, and is traced on Values like any function.
"""

from __future__ import annotations

import contextlib
import copy
import math
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..arguments import to_float
from ..compiler import Compiled
from ..compiler.kernel import Whole, address_of, instruction, run
from ..compiler.program import DisagreementError, Floats, Program, made
from ..compiler.tracing import Trace, Traced, TraceError, flatten, trace
from ..engine import Value
from ..optim import Optimizer
from ..rules import constant
from .flow import FlowRecord

__all__ = ["CompiledSteps"]

_BURST = 0.05  # seconds that steps are run for before anybody looks


class CompiledSteps:
    """Runs steps of training in place of a loop over samples.

    Args:
        loss: gives the loss of one sample, a Value.
        arguments: gives the arguments of the sample with this index.
        count: how many samples there are.
        batch_size: how many a step takes at most.
        is_fixed: whether each sample is the same each time.
        optimizer: which has the parameters.
        flow: what takes notes of the gradients.
        clip: changes the gradients of all parameters before each update.

    Raises:
        TraceError: if the loss or the update can't be compiled.
    """

    def __init__(
        self,
        loss: Callable[..., Value],
        arguments: Callable[[int], tuple[Any, ...]],
        count: int,
        batch_size: int,
        is_fixed: bool,
        optimizer: Optimizer,
        flow: FlowRecord,
        clip: Callable[[list[Value]], object] | None,
    ) -> None:
        if type(optimizer).step is not Optimizer.step:
            raise TraceError(f"{type(optimizer).__name__} has a step() of its own")
        self.loss, self.arguments, self.is_fixed, self.clip = loss, arguments, is_fixed, clip
        self.optimizer, self.flow, self.batch_size = optimizer, flow, batch_size
        self.programs: dict[Any, tuple[Program, Trace]] = {}
        self.stale: set[Any] = set()  # forms whose program does not know what the Values hold
        self.samples: dict[Any, tuple[Any, list[Any]]] = {}  # arguments, and what the loss made of them
        self.forward = Compiled(loss)
        self.updates: dict[str, list[_Update]] = {}
        self.place = {parameter: i for i, parameter in enumerate(optimizer.parameters)}  # which the programs have first
        self.numbers = np.zeros((2 + len(optimizer.state[0]), len(self.place)))
        self.after = np.empty_like(self.numbers)  # what becomes of them in a step: the two change places
        self.pace = 0.0  # the seconds that a unit of work takes
        self.form = np.zeros(count, dtype=np.int64)
        self.row = np.zeros(count, dtype=np.int64)
        self.forms: list[Any] = []
        self.x: list[Floats] = []
        if is_fixed:
            self.take((i, arguments(i)) for i in range(count))
        with contextlib.suppress(ArithmeticError, ValueError):  # of the sample: its step will say so
            first = arguments(0)
            self.program(flatten(first)[1], lambda: first)
        self.layers = flow.layout(optimizer.parameters)
        self.read()
        self.update(1)

    def take(self, samples: Iterable[tuple[int, Any]]) -> None:
        """Takes the numbers of these samples' arguments over: an array for each form."""
        rows: dict[Any, list[list[float]]] = {}
        places: dict[Any, int] = {}
        for i, arguments in samples:
            leaves, form = flatten(arguments, to_float)
            found = rows.setdefault(form, [])
            self.form[i], self.row[i] = places.setdefault(form, len(places)), len(found)
            found.append(leaves)
        self.forms, self.x = list(rows), [np.array(found).reshape(len(found), -1) for found in rows.values()]

    # Programs

    def program(self, form: Any, sample: Callable[[], Any]) -> tuple[Program, Trace]:
        """The program for such samples."""
        if form not in self.programs:
            arguments = sample()
            program, traced = made(self.loss, arguments, "captured", True, self.place)
            if traced.structure is not None or traced.outputs[0].rule is constant:
                raise TypeError("the loss must be a Value computed from the parameters")
            self.samples[form] = arguments, traced.described()
            traced.nodes.clear()
            self.programs[form] = program, traced
            self.stale.add(form)
        return self.programs[form]

    def update(self, step: int) -> _Update:
        """The optimizer's update rule as a program, for the step of this number."""
        settings = {name: value for name, value in self.optimizer.settings.items() if name != "lr"}
        key = repr(settings)
        for update in self.updates.get(key, []):
            if update.fits(step):
                return update
        update = _Update(self.optimizer, step)
        self.updates.setdefault(key, []).append(update)
        return update

    def look_again(self) -> None:
        """Forgets programs that are not what they were, for the loss or the update reads something that was changed."""
        self.updates.clear()
        for form, (arguments, expected) in self.samples.items():
            try:
                found = trace(self.loss, arguments).described()
            except (TypeError, ArithmeticError, ValueError):
                found = []
            if found != expected and form in self.programs:
                del self.programs[form]
                self.forward = Compiled(self.loss)

    def mean(self, samples: Sequence[tuple[Any, ...]]) -> float | None:
        """The mean loss of samples; None if it is left to Python's floats."""
        try:
            return float(self.forward.values(*zip(*samples, strict=True)).mean())
        except DisagreementError:
            raise
        except (TypeError, ArithmeticError, ValueError):
            return None

    # Between Values and arrays

    def read(self) -> None:
        """Takes the numbers of parameters and optimizer over."""
        self.numbers[0] = [parameter._data for parameter in self.place]
        self.numbers[1] = [parameter._grad for parameter in self.place]
        if len(self.optimizer.state[0]):
            self.numbers[2:] = np.array(self.optimizer.state).T
        self.is_read, self.stale = True, set(self.programs)

    def write(self) -> None:
        """Gives the numbers back to the Values and to the optimizer."""
        if not self.is_read:
            return
        for parameter, data, slope in zip(self.place, *self.numbers[:2].tolist(), strict=True):
            parameter._data, parameter._grad = data, slope
        self.optimizer.state = list(map(tuple, self.numbers[2:].T.tolist()))
        self.is_read = False

    # Steps

    def run(self, batches: Sequence[Sequence[int]], most: int) -> tuple[list[float], list[float]]:
        """Does steps until all batches are done, or it is time to look.

        Args:
            batches: the samples of each step.
            most: how many steps to do at most.

        Returns:
            The sum of the losses and the norm of the gradient of each step that was done. Where there are fewer than
            were to be done, the next one has to be left to Python's floats.
        """
        if not self.is_read:
            self.read()
        try:
            self.optimizer.check(self.optimizer.settings)
            return self.steps(batches, most)
        except (DisagreementError, TraceError):
            raise
        except Exception:  # while a program was made, or of clip
            return [], []

    def steps(self, batches: Sequence[Sequence[int]], most: int) -> tuple[list[float], list[float]]:
        update = self.update(self.optimizer.steps + 1)
        each = len(self.place) * update.program.work
        budget = _BURST / self.pace if self.pace else 0.0
        least = each + len(batches[0]) * min((program.work for program, _ in self.programs.values()), default=0)
        most = 1 if self.clip or not self.is_fixed else min(most, 2 + int(budget / max(least, 1)))
        most = next((i for i in range(1, most) if not update.fits(self.optimizer.steps + 1 + i)), most)
        losses, norms, settings = np.empty(most), np.empty(most), update.settings(self.optimizer, most)
        work = self.work(batches[:most], each, budget, losses)
        begin = time.perf_counter()
        done = (self.clipped if self.clip else self.burst)(work, update, settings, norms)
        if done:
            self.pace = (time.perf_counter() - begin) / max(work.units[done - 1], 1.0)
            self.optimizer.steps += done
            if not self.clip:
                self.flow.take(done, self.layers)
        return losses[:done].tolist(), norms[:done].tolist()

    def work(self, batches: Sequence[Sequence[int]], each: int, budget: float, losses: Floats) -> _Work:
        """What steps have to compute before their updates, in each the samples of one form after the other.

        Args:
            batches: the samples of each step.
            each: the work of an update.
            budget: how much work to do at most, if it is not the first step's. A step that needs a new program is the
                first.
            losses: where the losses go.
        """
        lanes = np.cumsum([0, *map(len, batches)])
        if all(batch is batches[0] for batch in batches):
            samples = np.tile(np.asarray(batches[0]), len(batches))
        else:
            samples = np.concatenate([np.asarray(batch) for batch in batches])
        arguments = self.arguments
        if not self.is_fixed:
            drawn = {int(i): self.arguments(int(i)) for i in samples}
            self.take(drawn.items())
            arguments = drawn.__getitem__
        form = self.form[samples]
        known = [self.programs[form][0].work if form in self.programs else math.inf for form in self.forms]
        units = np.cumsum(np.add.reduceat(np.array(known)[form], lanes[:-1]) + each)
        count = max(1, int(np.searchsorted(units, budget, side="right")))
        lanes = lanes[: count + 1]
        samples, form, begins = samples[: lanes[-1]], form[: lanes[-1]], lanes[:-1]
        if len(self.forms) > 1:
            group = np.repeat(np.arange(count) * len(self.forms), np.diff(lanes)) + form
            order = np.argsort(group, kind="stable")
            samples, form = samples[order], form[order]
            begins = np.flatnonzero(np.diff(group[order], prepend=-1))
        ends = np.append(begins[1:], len(samples))
        used, which = np.unique(form[begins], return_inverse=True)
        parts, picked, out = np.stack([which, begins, ends], axis=1), self.row[samples], np.empty((2, len(samples)))
        programs, instructions, v = [], [], np.empty(0)
        for k in used:
            program, traced = self.program(self.forms[k], partial(arguments, int(samples[np.argmax(form == k)])))
            if self.forms[k] in self.stale or self.clip or not self.is_fixed:
                self.stale.discard(self.forms[k])
                program.capture(traced.captured)
            width = program.width(self.batch_size)  # the same for all steps, for it decides how sums are rounded
            v = max(v, program.memory(width), key=len)
            instructions.append(program.batch(self.x[k], picked, out, 0, 0, width))
            programs.append(program)
        pairs = zip(instructions, programs, strict=True)
        table = np.array([[address_of(one), address_of(program.u)] for one, program in pairs])
        slopes = instruction("slopes", 0, 0, len(parts), parts, table, self.numbers, len(self.place), 0, losses)
        sums = np.zeros(max(program.listing.sums for program in programs))
        kept = [parts, picked, out, table, instructions]
        return _Work(slopes, v, sums, units[:count], lanes, np.searchsorted(begins, lanes), kept)

    def burst(self, work: _Work, update: _Update, settings: Floats, norms: Floats) -> int:
        """Does the steps, up to the first whose numbers are not finite, and gives how many these are."""
        finish, its_v = self.finish(update, settings, norms)
        count, its_u = len(self.place), update.program.u
        train = instruction(
            "train", 0, len(work.units), work.parts, work.lanes, its_v, its_u, count, work.slopes, finish
        )  # fmt: skip
        done = run(train, work.v, its_u, work.sums, int(work.lanes[-1]))
        if done % 2:
            self.numbers, self.after = self.after, self.numbers
        return done

    def clipped(self, work: _Work, update: _Update, settings: Floats, norms: Floats) -> int:
        """Does one step, in which the gradients are clipped, if its numbers are finite, and gives 1 if they are."""
        size = int(work.lanes[-1])
        if not run(work.slopes, work.v, work.sums, work.sums, size):
            return 0
        numbers, arriving = self.numbers[0], work.sums[: len(self.place)]
        for parameter, data, slope in zip(self.place, numbers.tolist(), (arriving / size).tolist(), strict=True):
            parameter._data, parameter._grad = data, slope
        before = self.flow.norms()
        if not math.isfinite(math.hypot(*before)):
            return 0
        assert self.clip is not None
        self.clip(self.optimizer.parameters)
        arriving[:] = [parameter._grad * size for parameter in self.place]
        kept = numbers.copy()
        numbers[:] = [parameter._data for parameter in self.place]
        finish, its_v = self.finish(update, settings, norms)
        finish[15] = size
        if not run(finish, its_v, update.program.u, work.sums, len(self.place)):
            numbers[:] = kept
            return 0
        self.numbers, self.after = self.after, self.numbers
        self.flow.add(before)
        norms[0] = math.hypot(*before)
        self.layers = self.flow.layout(self.optimizer.parameters)
        return 1

    def finish(self, update: _Update, settings: Floats, norms: Floats) -> tuple[Whole, Floats]:
        """The instruction that updates all parameters, and the rows that it needs."""
        program, width = update.program, min(len(self.place), 512)
        runs, biases, arriving, squares, heard, sums = self.layers
        finish = instruction(
            "finish", 0, program.code, *program.ends, self.numbers, len(self.numbers), program.rows, self.after, width,
            settings, settings.shape[1], 0, norms, 1, runs, len(runs), biases, len(biases), arriving, squares, heard,
            sums, len(sums),
        )  # fmt: skip
        return finish, program.memory(width)


class _Work(NamedTuple):
    # What steps have to compute: an instruction, the rows and sums that it works with, how much work all steps up to
    # each are, where in the lanes and in the parts each step begins, and what has to be kept as long as it is.

    slopes: Whole
    v: Floats
    sums: Floats
    units: Floats
    lanes: Whole
    parts: Whole
    kept: list[Any]


class _Update:
    # An optimizer's update rule, traced: from (parameter, gradient, state) to (parameter, state). The learning rate and
    # the number of the step are Values, so that the program is the same for all steps that look alike to the rule.

    def __init__(self, optimizer: Optimizer, step: int) -> None:
        self.questions: dict[tuple[str, int], Any] = {}
        self.lr, self.number = Value(optimizer.lr), _Step(step)
        self.number.ask = self.ask
        self.step = step
        twin = _twin(optimizer, self.lr)

        def update(parameter: Value, gradient: Value, *state: Value) -> Any:
            parameter, state = twin.update(parameter, gradient, state, self.number)
            return [parameter, *state]

        self.program, traced = made(update, (0.75, 0.5, *optimizer.first_state(0.75)), "", False)
        self.captured = traced.captured
        assert len(self.program.rows) == 2 + len(optimizer.state[0])

    def ask(self, what: str, other: int) -> Any:
        answer = self.questions[what, other] = _answer(self.step, what, other)
        return answer

    def fits(self, step: int) -> bool:
        return all(_answer(step, *question) == answer for question, answer in self.questions.items())

    def settings(self, optimizer: Optimizer, count: int) -> Floats:
        # What is captured, for each of the next steps.
        first = optimizer.steps + 1
        columns = [
            np.full(count, optimizer.lr) if leaf is self.lr else np.arange(first, first + count, dtype=np.float64)
            if leaf is self.number else np.full(count, leaf._data)
            for leaf in self.captured
        ]  # fmt: skip
        return np.array(columns).reshape(len(columns), count).T.copy()


class _Step(Traced):
    # The number of a step. A rule that asks whether it is a certain one gets a plain answer, which is kept.

    __slots__ = ("ask",)

    ask: Callable[[str, int], Any]

    def __eq__(self, other: object) -> bool:
        return bool(self.ask("==", other)) if isinstance(other, int) else self is other

    def __mod__(self, other: int) -> int:
        return int(self.ask("%", other))

    __hash__ = Value.__hash__


def _answer(step: int, what: str, other: int) -> Any:
    return step == other if what == "==" else step % other


def _twin(optimizer: Optimizer, lr: Value) -> Any:
    twin: Any = copy.copy(optimizer)
    inner = getattr(optimizer, "optimizer", None)
    if inner is not None:  # Lookahead
        twin.optimizer = _twin(inner, lr)
    else:
        twin.lr = lr
    return twin
