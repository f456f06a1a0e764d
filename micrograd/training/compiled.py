"""Compiled training steps: the loss is machine code; parameters, gradients and the optimizer's state are arrays.

The update rule is the optimizer's own ``update``: elementwise arithmetic, compiled like any function of Values.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..arguments import to_float
from ..compiler import Compiled
from ..compiler.code import LANES
from ..compiler.draws import Draw, Draws
from ..compiler.function import stack_columns
from ..compiler.machine import Floats, Whole, address_of, instruction, run
from ..compiler.program import DisagreementError, Program, UndefinedError, find_rows, make_program
from ..compiler.tracing import Trace, TraceError, flatten
from ..engine import Value
from ..nn import Module
from ..optim import Optimizer, clip_grad_norm_
from ..watching import Watcher, watch
from .eager import Batches, EagerSteps, arguments_of, warn_not_compiled
from .foresight import Foresight
from .kernels import FINISH, SLOPES, TRAIN
from .updates import Update

__all__ = ["CompiledSteps"]

_BURST = 0.05  # seconds for which steps run, at most, before control returns to the loop


class _LeftToFloatsError(Exception):
    """Leaves a step to Python's floats, whose error says what is wrong with which sample. The only reasons are:

    - a number is not finite: the program stops before that step, and :meth:`CompiledSteps.run` notices it;
    - the mathematics of a sample that has no program yet is undefined, like the logarithm of 0;
    - an object of the caller raises an error: the data, ``clip``, or the optimizer's check of its settings.

    Any other error is raised.
    """


class CompiledSteps:
    """Does steps in machine code, many per call, until one fails.

    Args:
        eager: does the steps that machine code can't do.
        batch_size: the largest number of samples per step.
        is_strict: raise unexpected errors. Otherwise warn, and leave all further steps to ``eager``.
        is_fixed: the samples stay the same if the data are a list. Otherwise each step reads them again.

    Raises:
        TraceError: if the loss or the update can't be compiled.
    """

    def __init__(self, eager: EagerSteps, batch_size: int, is_strict: bool, is_fixed: bool) -> None:
        optimizer = eager.optimizer
        if type(optimizer).step is not Optimizer.step:
            raise TraceError(f"{type(optimizer).__name__} has a step() of its own")
        self.eager, self.batch_size, self.is_strict, self.is_given_up = eager, batch_size, is_strict, False
        self.loss, self.optimizer, self.flow = eager.loss, optimizer, eager.flow
        # The largest norm, if clipping is by clip_grad_norm_ only: that is compiled. Any other function is called.
        self.most_norm = np.array([_find_norm(eager.clip) or 0.0])
        self.clip = None if self.most_norm[0] else eager.clip
        self.is_fixed = is_fixed and self.is_list
        self.programs: dict[Any, tuple[Program, Trace]] = {}
        self.stale: set[Any] = set()  # forms whose program must copy the captured numbers again
        self.forward: Compiled | None = Compiled(self.loss)
        self.foresight = Foresight()
        self.updates: dict[str, list[Update]] = {}
        self.finishes: dict[Update, tuple[Whole, Floats, Whole]] = {}  # see make_finish(); the last one is kept alive
        # A program captures the parameters first, in this order, and then other Values. Gradients of others add up over
        # steps, as nobody sets them to 0; but if they belong to the model, each step sets them to 0.
        self.place = {parameter: i for i, parameter in enumerate(optimizer.parameters)}
        self.others: dict[Value, float] = {}  # by what a step multiplies the gradient first: 0 or 1
        self.slopes = self.remain = np.empty(0)
        # A step reads the numbers of one side, and writes those of the other. A side has every second row: the check,
        # the parameters, and the optimizer's state. Its last row has the gradient that leads to the *other* side. So
        # an update finds parameters, state and gradient at equal distances, and the last gradient stays.
        self.rows, self.side = 1 + len(optimizer.state[0]), 0
        self.memory: Floats = np.zeros((2 * self.rows + 4, len(self.place)))
        self.draws = Draws()  # since run() began
        self.pace = 0.0  # seconds per unit of work
        self.form = self.row = np.zeros(0, dtype=np.int64)
        self.is_read = False  # whether the current numbers are in the arrays; otherwise they are in the Values
        self.forms: list[Any] = []
        self.x: list[Floats] = []
        self.fetched: dict[int, Any] = {}  # the samples of a step; or the error that was raised for one
        self.states: list[tuple[Any, Any]] = []  # those of the generators, after the samples were fetched
        if self.is_fixed:
            self.take_list()
            with contextlib.suppress(_LeftToFloatsError):
                first = self.read_sample(0)
                self.find_program(flatten(first)[1], lambda: first)
        self.layers = self.flow.layout(optimizer.parameters)
        self.read()
        self.find_update(1)

    @property
    def is_list(self) -> bool:
        """Whether the data are a list: then reading a sample draws no numbers and changes nothing."""
        return type(self.eager.data) in (list, tuple)

    @property
    def is_predictable(self) -> bool:
        """Whether steps draw no random numbers, so that several epochs may be shuffled in advance."""
        known = [self.programs[form][1] for form in self.forms if form in self.programs]
        draws = len(known) < len(self.forms) or any(traced.draws for traced in known)
        return self.is_fixed and not (draws or self.clip or self.is_given_up)

    def read_sample(self, i: int) -> tuple[Any, ...]:
        """Returns the arguments of the sample with this index."""
        try:
            return arguments_of(self.eager.data[i])
        except Exception as error:
            raise _LeftToFloatsError from error

    def fetch(self, batch: Sequence[int]) -> list[Floats]:
        """Reads the samples of a step, each once, as they may be different each time or depend on the parameters.

        The random numbers that the loss draws for a sample are drawn before the next sample is read.

        Returns:
            For each form the numbers that were drawn, with a row per sample.
        """
        self.fetched = {}
        drawn: dict[Any, list[Floats]] = {}
        found = []
        try:
            with watch(_Look(self.write)):
                for i in map(int, batch):
                    try:
                        self.fetched[i] = self.eager.data[i]
                    except Exception as error:
                        self.fetched[i] = error
                        raise _LeftToFloatsError from error
                    leaves, form = flatten(arguments_of(self.fetched[i]), to_float)
                    found.append((i, leaves, form))
                    rows = drawn.setdefault(form, [])
                    if form not in self.programs or self.programs[form][1].draws:
                        _, traced = self.find_program(form, partial(arguments_of, self.fetched[i]))
                        rows += self.draws.draw([traced.draws], _ONE)
        finally:
            self.states = [(generator, generator.getstate()) for generator in self.eager.generators]
        if not self.is_read:
            self.read()
        self.take(found)
        return [np.concatenate(rows or [np.empty((0, 0))]) for rows in drawn.values()]

    def take_list(self) -> None:
        """Copies all samples of a list into arrays."""
        samples = list(map(arguments_of, self.eager.data))
        stacked = stack_columns(list(zip(*samples, strict=True))) if len({*map(len, samples)}) == 1 else None
        if stacked is None:
            self.take((i, *flatten(sample, to_float)) for i, sample in enumerate(samples))
        else:
            self.x, self.forms = [np.ascontiguousarray(np.concatenate(stacked[0]).T)], [stacked[1]]
            self.form, self.row = np.zeros(len(samples), dtype=np.int64), np.arange(len(samples))

    def take(self, samples: Iterable[tuple[int, list[float], Any]]) -> None:
        """Copies samples into arrays, one per form. A sample is given by its index, its numbers and its form."""
        rows: dict[Any, list[list[float]]] = {}
        places: dict[Any, int] = {}
        if len(self.form) < len(self.eager.data):
            self.form, self.row = np.zeros((2, len(self.eager.data)), dtype=np.int64)
        for i, leaves, form in samples:
            found = rows.setdefault(form, [])
            self.form[i], self.row[i] = places.setdefault(form, len(places)), len(found)
            found.append(leaves)
        self.forms, self.x = list(rows), [np.array(found).reshape(len(found), -1) for found in rows.values()]

    # Programs

    def find_program(self, form: Any, sample: Callable[[], Any]) -> tuple[Program, Trace]:
        """Returns the program for samples of this form; makes it if there is none."""
        if form in self.programs and not (self.is_fixed and not self.clip) and not self.programs[form][1].is_current():
            del self.programs[form]  # the data or clip() changed something that the loss reads, so it is out of date
        if form not in self.programs:
            arguments = sample()
            try:
                program, traced = make_program(self.loss, arguments, "captured", True, [*self.place, *self.others])
            except UndefinedError as error:
                self.write()
                restore = self.eager.weights.snapshot(self.eager.generators)
                is_sound = self.eager.has_gradient(arguments)
                restore()
                if is_sound and error.__cause__:  # the sample is fine, so the error has another reason
                    raise error.__cause__ from None
                raise _LeftToFloatsError from error
            if traced.structure is not None or traced.is_constant:
                raise TypeError("the loss must be a Value computed from the parameters")
            if any(leaf._parents for leaf in traced.captured):
                raise TraceError(
                    "the loss uses a Value that was made of others outside of it, which keeps the number that it had "
                    "then: compute it in the loss"
                )
            self.follow(traced.captured)
            self.programs[form] = program, traced
            self.stale.add(form)
        return self.programs[form]

    def follow(self, captured: list[Value]) -> None:
        """Also computes the gradients of those Values that were not known before."""
        new = [leaf for leaf in captured if leaf not in self.place and leaf not in self.others]
        if new:
            is_read = self.is_read
            self.write()
            of_model = set(self.eager.weights.values)
            self.others.update((leaf, float(leaf not in of_model)) for leaf in new)
            self.remain, self.slopes = np.array(list(self.others.values())), np.zeros(len(self.others))
            self.finishes.clear()  # they use the addresses of the old arrays
            if is_read:
                self.read()

    def find_update(self, step: int) -> Update:
        """Returns the optimizer's update rule as a program for step number ``step``."""
        settings = {name: value for name, value in self.optimizer.settings.items() if name != "lr"}
        key = repr(settings)
        for update in self.updates.get(key, []):
            if update.fits(step):
                return update
        update = Update(self.optimizer, step)
        self.updates.setdefault(key, []).append(update)
        return update

    def look_again(self) -> None:
        """Discards programs that are out of date because something that the loss or the update reads changed."""
        self.updates.clear()
        self.finishes.clear()
        self.programs = {form: found for form, found in self.programs.items() if found[1].is_current()}

    def mean(self, samples: Sequence[Any]) -> float | None:
        """Returns the mean loss of samples, or None if it has to be computed from Values.

        The result is None if the samples have several forms, a number is not finite, or the mathematics is undefined.
        """
        if self.is_given_up or self.forward is None or type(samples) not in (list, tuple):
            return None
        try:
            return float(self.forward.values(*zip(*map(arguments_of, samples), strict=True)).mean())
        except DisagreementError:
            raise
        except Exception as error:
            forms = {repr(flatten(arguments_of(sample))[1]) for sample in samples}
            if isinstance(error, (ArithmeticError, ValueError, IndexError)) and (
                len(forms) > 1 or any(map(self.fails, samples))
            ):
                return None
            if self.is_strict:
                raise
            self.forward = None
            warn_not_compiled(f"the validation: {type(error).__name__}: {error}", 1)
            return None

    def foresee(self, model: Module, samples: Sequence[Any]) -> AbstractContextManager[None]:
        is_possible = type(samples) in (list, tuple) and not self.is_given_up
        return self.foresight.watch(model, samples) if is_possible else contextlib.nullcontext()

    def fails(self, sample: Any) -> bool:
        """Returns whether the loss of a sample can't be computed, or is not finite."""
        try:
            return not math.isfinite(self.loss(*arguments_of(sample)).data)
        except Exception:
            return True

    # Between Values and arrays

    @property
    def numbers(self) -> Floats:
        """The parameters, and the optimizer's state."""
        return self.memory[2 + self.side :: 2][: self.rows]

    @property
    def gradient(self) -> Floats:
        """The gradient of the parameters in the last step."""
        found: Floats = self.memory[2 * self.rows + 3 - self.side]
        return found

    def read(self) -> None:
        """Copies the numbers of the parameters and the optimizer into the arrays."""
        self.numbers[0] = [parameter._data for parameter in self.place]
        self.gradient[:] = [parameter._grad for parameter in self.place]
        self.slopes[:] = [other._grad for other in self.others]
        self.numbers[1:] = self.optimizer.read_rows()
        self.is_read, self.stale = True, set(self.programs)

    def write(self) -> None:
        """Copies the numbers back to the Values and the optimizer."""
        if not self.is_read:
            return
        for parameter, data, slope in zip(self.place, self.numbers[0].tolist(), self.gradient.tolist(), strict=True):
            parameter._data, parameter._grad = data, slope
        for other, slope in zip(self.others, self.slopes.tolist(), strict=True):
            other._grad = slope
        self.optimizer.write_rows(self.numbers[1:].copy())
        self.is_read = False

    # Steps

    def run(self, batches: Batches, rates: Sequence[float]) -> tuple[list[float], list[float]]:
        """Does steps until all are done or the time is over: see :class:`~micrograd.training.eager.Steps`.

        If the first step fails, restores the state before it, and does it on Values.
        """
        if self.is_given_up:
            return self.eager.run(batches, rates)
        if not self.is_read:
            self.read()
        numbers, slopes, steps = self.numbers.copy(), self.slopes.copy(), self.optimizer.steps
        drawers = self.eager.generators if self.clip else ()
        self.draws = Draws()
        self.states, self.fetched = [(generator, generator.getstate()) for generator in drawers], {}
        failure: Exception | None = None
        try:
            done = self.do_steps(batches, rates)
            if done[0]:
                return done
        except _LeftToFloatsError:
            pass
        except Exception as error:
            failure = error
        if not self.is_read:
            self.read()
        self.numbers[:], self.optimizer.steps = numbers, steps
        self.slopes[: len(slopes)] = slopes
        for generator, state in self.states:
            generator.setstate(state)
        self.draws.rewind()
        self.write()
        if failure is not None:
            if self.is_strict or isinstance(failure, DisagreementError):
                raise failure
            self.is_given_up = True
            warn_not_compiled(f"{type(failure).__name__}: {failure}")
        data = self.eager.data
        self.eager.data = _Fetched(data, self.fetched)
        try:
            return self.eager.run(batches, rates)
        finally:
            self.eager.data = data

    def do_steps(self, batches: Batches, rates: Sequence[float]) -> tuple[list[float], list[float]]:
        """Does compiled steps. Returns their losses and norms; none, if the first step's numbers are not finite."""
        try:
            self.optimizer.check(self.optimizer.settings)
        except (TypeError, ValueError) as error:
            raise _LeftToFloatsError from error
        update = self.find_update(self.optimizer.steps + 1)
        each = len(self.place) * update.program.work
        budget = _BURST / self.pace if self.pace else 0.0
        least = each + len(batches[0]) * min((program.work for program, _ in self.programs.values()), default=0)
        most = 1 if self.clip or not self.is_fixed else min(len(rates), 2 + int(budget / max(least, 1)))
        if update.questions:
            most = next((i for i in range(1, most) if not update.fits(self.optimizer.steps + 1 + i)), most)
        losses, norms, settings = (
            np.empty(most),
            np.empty(most),
            update.list_settings(self.optimizer.steps, rates[:most]),
        )
        work = self.prepare(batches, most, each, budget, losses)
        begin = time.perf_counter()
        done = (self.run_clipped if self.clip else self.run_all)(work, update, settings, norms)
        if done:
            self.pace = (time.perf_counter() - begin) / max(work.units[done - 1], 1.0)
            self.optimizer.steps += done
            if not self.clip:
                self.flow.take(done, self.layers)
            if self.is_list and done < len(work.units):  # undo the draws for the other steps
                self.draws.rewind()
                self.draws.draw(work.draws, work.which[: work.lanes[done]])
            work.store(int(work.lanes[done]))
        return losses[:done].tolist(), norms[:done].tolist()

    def choose(
        self, batches: Batches, most: int, each: int, budget: float
    ) -> tuple[Whole, Floats, Whole, Whole, Whole, Whole]:
        """Chooses the steps to do next. A step that needs a new program is always the first of its call.

        Args:
            batches: the samples of each step.
            most: how many steps to do, at most.
            each: the work of an update.
            budget: the work to do, at most; but at least one step is done.

        Returns:
            Where each step begins in the lanes; for each step the work up to its end; the sample that each lane is; its
            place among the samples of all steps; the form of each of these; and where another form or step begins.
        """
        lanes = np.array(batches.ends[: most + 1])
        samples = np.asarray(batches.indexes[lanes[0] : lanes[-1]])
        lanes -= lanes[0]
        form = self.form[samples]
        known = [self.programs[form][0].work if form in self.programs else math.inf for form in self.forms]
        units = np.cumsum(np.add.reduceat(np.array(known)[form], lanes[:-1]) + each)
        count = max(1, int(np.searchsorted(units, budget, side="right")))
        lanes = lanes[: count + 1]
        samples, form = samples[: lanes[-1]], form[: lanes[-1]]
        if len(self.forms) == 1:
            return lanes, units[:count], samples, np.arange(len(form)), form, lanes[:-1]
        group = np.repeat(np.arange(count) * len(self.forms), np.diff(lanes)) + form
        order = np.argsort(group, kind="stable")
        return lanes, units[:count], samples[order], order, form, np.flatnonzero(np.diff(group[order], prepend=-1))

    def prepare(self, batches: Batches, most: int, each: int, budget: float, losses: Floats) -> _Work:
        """Prepares the instruction that sums losses and gradients. Within a step, lanes are ordered by form.

        Args:
            batches, most, each, budget: see :meth:`choose`.
            losses: the array for the losses.
        """
        arguments: Callable[[int], tuple[Any, ...]] = self.read_sample
        drawn: list[Floats] = []
        if not self.is_list:
            drawn = self.fetch(batches[0])
            arguments = lambda i: arguments_of(self.fetched[i])  # noqa: E731
        elif not self.is_fixed:
            self.take_list()
        lanes, units, samples, order, which, begins = self.choose(batches, most, each, budget)
        form = which[order]
        ends = np.append(begins[1:], len(samples))
        used = sorted({*form[begins].tolist()})
        part = np.searchsorted(used, form[begins])
        found = {
            k: self.find_program(self.forms[k], partial(arguments, int(samples[np.argmax(form == k)]))) for k in used
        }
        traces = [found[k][1] if k in found else None for k in range(len(self.forms))]
        draws: list[list[Draw]] = [traced.draws if traced else [] for traced in traces]
        if self.is_list and any(draws):
            drawn = self.draws.draw(draws, which)
        parts, picked = np.stack([part, begins, ends], axis=1), self.row[samples]
        programs, instructions, x, v = [], [], [], np.empty(0)
        for k, (program, traced) in found.items():
            x.append(self.x[k])
            if traced.draws:  # a sample that occurs twice has other random numbers each time
                x[-1] = np.concatenate([self.x[k][picked[form == k]], drawn[k]], axis=1)
                picked[form == k] = np.arange(len(x[-1]))
            if self.forms[k] in self.stale or self.clip or not self.is_fixed:
                self.stale.discard(self.forms[k])
                program.capture(traced.captured)
            width = program.choose_width(self.batch_size)  # equal in all steps, as it decides how sums are rounded
            v = max(v, program.find_memory(width), key=len)
            programs.append(program)
        out = np.empty((max(len(program.rows) for program in programs), len(samples)))
        for inputs, program in zip(x, programs, strict=True):
            width = program.choose_width(self.batch_size)
            instructions.append(program.make_batch(find_rows([inputs])[1], out, 0, 0, width, picked=picked))
        pairs = zip(instructions, programs, strict=True)
        table = np.array([[address_of(one), address_of(program.u)] for one, program in pairs])
        slopes = instruction(
            SLOPES, is_finite=0, begin=0, end=len(parts), parts=parts, programs=table, numbers=self.numbers[0],
            count=len(self.place), step=0, losses=losses,
        )  # fmt: skip
        sums = np.zeros(len(self.place) + len(self.others) + LANES)
        kept = [parts, picked, x, table, instructions]
        begin = np.searchsorted(begins, lanes)
        return _Work(slopes, v, sums, units, lanes, begin, out, order, traces, draws, which, kept)

    def run_all(self, work: _Work, update: Update, settings: Floats, norms: Floats) -> int:
        """Does the steps before the first one whose numbers are not finite, and returns their number."""
        finish, its_v = self.make_finish(update, settings, norms)
        count, its_u = len(self.place), update.program.u
        train = instruction(
            TRAIN, done=0, steps=len(work.units), parts=work.parts, lanes=work.lanes, v=its_v, u=its_u, count=count,
            slopes=work.slopes, finish=finish,
        )  # fmt: skip
        done = run(train, work.v, its_u, work.sums, int(work.lanes[-1]))
        self.side = (self.side + done) % 2
        return done

    def run_clipped(self, work: _Work, update: Update, settings: Floats, norms: Floats) -> int:
        """Does one step and calls ``clip`` in it. Returns 1; or 0 if numbers are not finite and no step was done."""
        size = int(work.lanes[-1])
        if not run(work.slopes, work.v, work.sums, work.sums, size):
            return 0
        numbers, arriving = self.numbers[0], work.sums[: len(self.place)]
        for parameter, data, slope in zip(self.place, numbers.tolist(), (arriving / size).tolist(), strict=True):
            parameter._data, parameter._grad = data, slope
        count = len(self.place)
        its_slopes = self.slopes * self.remain + work.sums[count : count + len(self.others)] / size
        for other, slope in zip(self.others, its_slopes.tolist(), strict=True):
            other._grad = slope
        before = self.flow.norms()
        if not math.isfinite(math.hypot(*before)):
            return 0
        assert self.clip is not None
        try:
            self.clip(self.optimizer.parameters)
        except Exception as error:
            raise _LeftToFloatsError from error
        arriving[:] = [parameter._grad * size for parameter in self.place]
        kept = numbers.copy()
        numbers[:] = [parameter._data for parameter in self.place]
        finish, its_v = self.make_finish(update, settings, norms)
        finish[FINISH.place("samples")] = size
        if not run(finish, its_v, update.program.u, work.sums, len(self.place)):
            numbers[:] = kept
            return 0
        self.side = 1 - self.side
        self.slopes[:] = [other._grad for other in self.others]
        self.flow.add(before)
        norms[0] = math.hypot(*before)
        return 1

    def make_finish(self, update: Update, settings: Floats, norms: Floats) -> tuple[Whole, Floats]:
        """Returns the instruction that updates all parameters, and the rows that it needs."""
        if update not in self.finishes:
            program, count = update.program, len(self.place)
            width, is_reported = program.choose_width(count), not self.clip
            runs, biases, arriving, squares, heard, sums = self.layers
            numbers, after = self.memory[2:], self.memory[1:]
            batch = program.make_batch(find_rows([numbers[::2]])[1], after[::2], 0, count, width)
            finish = instruction(
                FINISH, is_finite=0, batch=batch, numbers=numbers[0], after=after[0],
                to_slopes=2 * self.rows * count, settings=settings, width=settings.shape[1], step=0, norms=norms,
                samples=1, runs=runs, run_count=len(runs) * is_reported, biases=biases,
                bias_count=len(biases) * is_reported, arriving=arriving, squares=squares, heard=heard, layers=sums,
                layer_count=len(sums) * is_reported, others=self.slopes, remain=self.remain,
                other_count=len(self.slopes) * is_reported, is_clipped=int(self.most_norm[0] > 0),
                most_norm=self.most_norm,
            )  # fmt: skip
            self.finishes[update] = finish, program.find_memory(width), batch
        finish, v, _ = self.finishes[update]
        places = self.numbers[0], self.memory[3 - self.side], settings, norms
        finish[_PLACES] = 0, *map(address_of, places)
        return finish, v


_ONE = np.zeros(1, dtype=np.int64)
_PLACES = [FINISH.place(name) for name in ("step", "numbers", "after", "settings", "norms")]


def _find_norm(clip: Any) -> float | None:
    # Returns n of partial(clip_grad_norm_, max_norm=n), None of any other function.
    if type(clip) is partial and clip.func is clip_grad_norm_ and not clip.args and list(clip.keywords) == ["max_norm"]:
        norm = clip.keywords["max_norm"]
        return float(norm) if type(norm) in (int, float) and 0 < norm < math.inf else None
    return None


class _Look(Watcher):
    # Writes the current numbers to the Values before somebody reads a Value or computes with one.

    def __init__(self, write: Callable[[], None]) -> None:
        self.thread, self.write = threading.get_ident(), write

    def make(self) -> Value:
        self.write()
        return super().make()

    def look(self, owner: Any, attribute: str, how: str) -> None:
        self.write()

    def compare(self, compare: Callable[[Any, Any], bool], a: Value, b: Any) -> Any:
        self.write()
        return super().compare(compare, a, b)


class _Fetched(Sequence[Any]):
    # Data some of whose samples were read before, or raised an error. These are not read again.

    def __init__(self, data: Any, fetched: dict[int, Any]) -> None:
        self.data, self.fetched = data, fetched

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, i: Any) -> Any:
        if i not in self.fetched:
            return self.data[i]
        sample = self.fetched.pop(i)
        if isinstance(sample, Exception):
            raise sample
        return sample


class _Work(NamedTuple):
    # The losses and gradients that steps have to compute.

    slopes: Whole  # the instruction
    v: Floats  # its rows
    sums: Floats  # and its sums
    units: Floats  # for each step, the work up to its end
    lanes: Whole  # where each step begins in the lanes
    parts: Whole  # and in the parts
    out: Floats  # the outputs
    order: Whole  # for each lane, which sample it is
    traces: list[Trace | None]  # for each form its trace, if it is used
    draws: list[list[Draw]]  # and what it draws
    which: Whole  # the form of each sample
    kept: list[Any]  # arrays to keep alive while the instruction has their addresses

    def store(self, count: int) -> None:
        # Changes the buffers of modules as the first ``count`` samples do.
        if any(traced and traced.stores for traced in self.traces):
            lane = np.argsort(self.order[:count])
            for form, numbers in zip(self.which[:count].tolist(), self.out[2:, lane].T.tolist(), strict=True):
                traced = self.traces[form]
                assert traced is not None
                traced.store(numbers)
