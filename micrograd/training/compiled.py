"""Training at machine speed: the loss is compiled, and parameters, gradients and the optimizer's state are arrays.

The update rule is the optimizer's own: it is elementwise arithmetic, and is traced on Values like any function.
"""

from __future__ import annotations

import contextlib
import copy
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from ..compiler import Compiled
from ..compiler.kernel import Whole, instruction, run
from ..compiler.program import DisagreementError, Floats, Program, made
from ..compiler.tracing import Trace, Traced, TraceError, flatten, trace
from ..engine import Value, to_float
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
        is_fixed: bool,
        optimizer: Optimizer,
        flow: FlowRecord,
        clip: Callable[[list[Value]], object] | None,
    ) -> None:
        if type(optimizer).step is not Optimizer.step:
            raise TraceError(f"{type(optimizer).__name__} has a step() of its own")
        self.loss, self.arguments, self.is_fixed, self.clip = loss, arguments, is_fixed, clip
        self.optimizer, self.flow = optimizer, flow
        self.programs: dict[Any, tuple[Program, Trace]] = {}
        self.stale: set[Any] = set()  # forms whose program does not know what the Values hold
        self.samples: dict[Any, tuple[Any, list[Any]]] = {}  # arguments, and what the loss made of them
        self.forward = Compiled(loss)
        self.updates: dict[str, list[_Update]] = {}
        self.place = {parameter: i for i, parameter in enumerate(optimizer.parameters)}  # which the programs have first
        self.numbers = np.zeros((2 + optimizer.state_size, len(self.place)))
        self.after = np.empty_like(self.numbers)  # what becomes of them in a step: the two change places
        self.seconds = 0.0  # that a step takes
        self.form = np.zeros(count, dtype=np.int64)
        self.row = np.zeros(count, dtype=np.int64)
        self.forms: list[Any] = []
        self.x: list[Floats] = []
        if is_fixed:
            rows: dict[Any, list[list[float]]] = {}
            for i in range(count):
                leaves, form = flatten(arguments(i))
                if form not in rows:
                    rows[form] = []
                    self.forms.append(form)
                self.form[i], self.row[i] = self.forms.index(form), len(rows[form])
                rows[form].append(list(map(to_float, leaves)))
            self.x = [np.array(rows[form]).reshape(len(rows[form]), -1) for form in self.forms]
        with contextlib.suppress(ArithmeticError, ValueError):  # of the sample: its step will say so
            first = arguments(0)
            self.program(flatten(first)[1], lambda: first)
        self.layers = flow.layout(optimizer.parameters)
        self.read()
        self.update(1)

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
        if self.optimizer.state_size:
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
        self.optimizer.check(self.optimizer.settings)
        try:
            return self.steps(batches, most)
        except (DisagreementError, TraceError):
            raise
        except Exception:  # while a program was made, or of clip
            return [], []

    def steps(self, batches: Sequence[Sequence[int]], most: int) -> tuple[list[float], list[float]]:
        is_burst = self.is_fixed and len(self.forms) == 1 and not self.clip
        if not is_burst:
            most = 1
        most = min(most, max(1, int(_BURST / self.seconds)) if self.seconds else 2)
        update = self.update(self.optimizer.steps + 1)
        most = next((i for i in range(1, most) if not update.fits(self.optimizer.steps + 1 + i)), most)
        batches = batches[:most]
        begin = time.perf_counter()
        losses, norms = np.empty(len(batches)), np.empty(len(batches))
        settings = update.settings(self.optimizer, len(batches))
        if is_burst:
            done = self.burst(batches, update, settings, losses, norms)
        else:
            done = self.one(batches[0], update, settings, losses, norms)
        if done:
            self.seconds = (time.perf_counter() - begin) / done
            self.optimizer.steps += done
            if not self.clip:
                self.flow.take(done, self.layers)
        return losses[:done].tolist(), norms[:done].tolist()

    def burst(
        self, batches: Sequence[Sequence[int]], update: _Update, settings: Floats, losses: Floats, norms: Floats
    ) -> int:
        form = self.forms[0]
        program = self.program(form, lambda: self.arguments(batches[0][0]))[0]
        lengths = [len(batch) for batch in batches]
        ends = np.cumsum([0, *lengths])
        picked = (
            self.row[np.concatenate([np.asarray(batch) for batch in batches])]
            if len(batches) > 1 and any(batch is not batches[0] for batch in batches)
            else np.tile(self.row[np.asarray(batches[0])], len(batches))
        )
        self.fill(form)
        width, out = program.width(max(lengths)), np.empty((len(program.rows), len(picked)))
        batch = program.batch(self.x[0], picked, out, 0, 0, width)
        finish, its_v = self.finish(update, settings, norms)
        train = instruction(
            "train", 0, len(batches), ends, losses, its_v, update.program.u, len(self.place), batch, finish
        )  # fmt: skip
        done = run(train, program.memory(width), program.u, np.zeros(program.listing.sums), len(picked))
        if done % 2:
            self.numbers, self.after = self.after, self.numbers
        return done

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

    def one(self, batch: Sequence[int], update: _Update, settings: Floats, losses: Floats, norms: Floats) -> int:
        slopes, total = np.zeros(len(self.place)), 0.0
        for form, x, rows, sample in self.parts(batch):
            program, _ = self.program(form, sample)
            self.fill(form)
            out, sums, is_finite = program(x, rows)
            if not is_finite:
                return 0
            slopes += sums[: len(slopes)]
            total += float(out[1].sum())
        losses[0] = total
        before: list[float] = []
        if self.clip:
            numbers = zip(self.place, self.numbers[0].tolist(), (slopes / len(batch)).tolist(), strict=True)
            for parameter, data, slope in numbers:
                parameter._data, parameter._grad = data, slope
            before = self.flow.norms()
            self.clip(self.optimizer.parameters)
            slopes = np.array([parameter._grad for parameter in self.place]) * len(batch)
            clipped = np.array([parameter._data for parameter in self.place])
            self.numbers[0], clipped = clipped, self.numbers[0].copy()
        finish, its_v = self.finish(update, settings, norms)
        finish[15] = len(batch)
        finished = run(finish, its_v, update.program.u, slopes, len(slopes))
        if finished:
            self.numbers, self.after = self.after, self.numbers
        elif self.clip:
            self.numbers[0] = clipped  # what it was before
        if finished and self.clip:
            self.flow.add(before)
            norms[0] = math.hypot(*before)
            self.layers = self.flow.layout(self.optimizer.parameters)
        return finished

    def fill(self, form: Any) -> None:
        """Gives the program for a form the numbers of what it captured."""
        program, traced = self.programs[form]
        if form in self.stale:
            self.stale.remove(form)
            program.capture(traced.captured)
        program.u[1 : 1 + len(self.place)] = self.numbers[0]

    def parts(self, batch: Sequence[int]) -> list[tuple[Any, Floats, Whole, Callable[[], Any]]]:
        """The samples of a batch by form: the form, numbers, which rows of these they are, and what gives one."""
        if self.is_fixed:
            at = np.asarray(batch)
            return [
                (
                    self.forms[k],
                    self.x[k],
                    self.row[at[self.form[at] == k]],
                    partial(self.arguments, int(at[self.form[at] == k][0])),
                )
                for k in np.unique(self.form[at])
            ]
        rows: dict[Any, list[list[float]]] = {}
        samples: dict[Any, Any] = {}
        for i in batch:
            arguments = self.arguments(i)
            leaves, form = flatten(arguments, to_float)
            rows.setdefault(form, []).append(leaves)
            samples.setdefault(form, arguments)
        return [
            (form, np.array(found).reshape(len(found), -1), np.arange(len(found)), partial(lambda x: x, samples[form]))
            for form, found in rows.items()
        ]


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
        assert len(self.program.rows) == 2 + optimizer.state_size

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
