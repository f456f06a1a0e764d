"""What a compiled function runs: a program for arguments of one form, with the memory that it works in."""

from __future__ import annotations

import math
import os
import random
import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arguments import one_line
from ..engine import Value
from ..watching import resting_collector
from .code import LANES
from .graph import CAPTURED, INPUT, Graph
from .loops import BATCH, ONE, REPEAT
from .machine import HEAD, Floats, Kernel, Whole, assemble, begin_of, bind, instruction, run
from .plan import Instruction, Plan, make_plan
from .surroundings import Surroundings
from .tracing import Trace, Traced, TraceError, record, refuse_draws, trace

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

__all__ = ["DisagreementError", "Floats", "Program", "UndefinedError", "find_rows", "make_program", "threads"]

_TOLERANCE = 1e-9  # between a compiled number and Python's: sums of many products are rounded in another order
_ROUNDING = 1e-13  # absolute tolerance, for cancellation, relative to the largest number
_BLOCK = 1 << 17  # numbers of a block, a megabyte: what stays in a core's own cache
_COPIED = 4096  # numbers of a row that are copied in less time than it takes to find where they are
_NO_SUMS = np.empty(0)
_X, _STEP = BATCH.place("x"), BATCH.place("x_step")
_WORTH_A_THREAD = 2_000_000  # additions and multiplications: to begin takes as long as some 100,000


class DisagreementError(ArithmeticError):
    """A compiled program gave another number than Python's floats."""


class UndefinedError(Exception):
    """The function raises an error of mathematics, which is the cause of this one."""


_Single = tuple[Floats, Floats, Whole, Floats, Floats, Callable[[], None]]


class Program:
    """A plan, compiled.

    Args:
        plan: what it does.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._codes = [one.expression.code for one in (*plan.uniform, *plan.lanes) if one.expression]
        uniform, lanes = (assemble(map(_resolve, part)) for part in (plan.uniform, plan.lanes))
        self.code, self.ends = np.concatenate([uniform, lanes]), (len(uniform), len(uniform) + len(lanes))
        end = 0
        for one in [*plan.uniform, *plan.lanes]:  # the operands are in the code, and not kept twice
            end += int(self.code[end + 1])
            one.operands = self.code[end - len(one.operands) : end]
        self.u = np.append(plan.constants, np.zeros(LANES))
        plan.constants = self.u[: len(plan.constants)]
        self.work = sum(one.work for one in plan.lanes)
        self.rows = np.array([0, *plan.outputs, *plan.gradients], dtype=np.int64)
        # A fused program has rows for its inputs only, of samples that are picked.
        self.height = 1 + plan.inputs if plan.is_fused else plan.rows
        # It is no cached_property, which has a lock, at which a forked process would hang.
        self._single: _Single | None = None
        self._uniform: tuple[Whole, Callable[[], None]] | None = None
        self._v: list[Floats] = []
        self._places: list[_Place] = []

    def _operands(self, code: Whole, x: int, out: Floats) -> dict[str, Any]:
        begin, end = self.ends
        return {
            "is_finite": 0, "code": code, "begin": begin, "end": end, "x": x, "inputs": self.plan.inputs,
            "rows": self.rows, "outputs": len(self.rows), "out": begin_of(out), "is_fused": int(self.plan.is_fused),
        }  # fmt: skip

    def batch(
        self, x: tuple[int, int], out: Floats, first: int, last: int, width: int, *, picked: Whole | None = None,
        code: Whole | None = None,
    ) -> Whole:  # fmt: skip
        """The instruction that runs lanes, from the first to the last, in blocks of a width.

        Args:
            x: the inputs, as :func:`find_rows` gives them: a column for each lane; a row for each sample if some are
                picked.
            out: where the check and the outputs go, a row each.
            first: the first lane.
            last: the end.
            width: how many lanes a block has.
            picked: rows of ``x``: the lanes are these samples.
            code: the instructions, if they are not the program's own.
        """
        return instruction(
            BATCH, **self._operands(self.code if code is None else code, x[0], out), first=first, last=last,
            width=width, picked=0 if picked is None else picked, x_step=x[1], out_step=out.strides[0] // 8,
        )  # fmt: skip

    def width(self, lanes: int) -> int:
        """How many lanes a block takes: whole vectors, at least two, that stay in the cache; all blocks alike."""
        most = max(2 * LANES, min(512, _BLOCK // self.height // LANES * LANES))
        each = math.ceil(lanes / math.ceil(lanes / most))
        return each if lanes <= most else math.ceil(each / LANES) * LANES

    def memory(self, width: int, number: int = 0) -> Floats:
        """The rows of a block, for one of the threads."""
        size = self.height * (math.ceil(width / LANES) * LANES) + LANES
        while len(self._v) <= number:
            self._v.append(np.empty(0))
        if len(self._v[number]) < size:
            self._v[number] = np.zeros(size)
        return self._v[number]

    def __call__(self, parts: Sequence[Floats]) -> tuple[Floats, Floats, bool]:
        """Runs all lanes; the captured numbers are those in ``u``.

        Args:
            parts: the inputs: arrays, one below the other, with a column for each lane. The numbers of a row follow
                each other in memory.

        Returns:
            An array with a row for the check (0 where all is finite), for each output and for each gradient, and a
            column a sample; the sums over samples; and whether all numbers are finite.
        """
        if self.plan.inputs != sum(map(len, parts)):
            shapes = ", ".join([str(part.shape) for part in parts])
            raise ValueError(f"the program takes {self.plan.inputs} inputs, not arrays of {shapes}")
        lanes = parts[0].shape[1]
        parts, x = find_rows(parts)
        self.begin()
        place = self._find_place(lanes)
        count = min(threads(), self.work * lanes // _WORTH_A_THREAD, lanes // LANES)
        is_finite = place.run(x) if count <= 1 else self._share(count, x, place.out, place.sums)
        if self.ends[0] and math.isnan(self.u[0]):
            place.out[0] = math.nan
            is_finite = False
        if not is_finite:  # the check is 0 in a new place
            self._places.remove(place)
        return place.out, place.sums[: self.plan.sums].copy() if self.plan.sums else _NO_SUMS, is_finite

    def _share(self, count: int, x: tuple[int, int], out: Floats, sums: Floats) -> bool:
        # Runs all lanes in threads, each of which has code, memory and sums of its own.
        lanes = out.shape[1]
        width = self.width(-(-lanes // count))
        self.memory(width, count - 1)
        parts = [np.zeros_like(sums) for _ in range(count)]

        def work(i: int) -> int:
            first, last = lanes * i // count, lanes * (i + 1) // count
            code = self.code.copy()  # kept while it runs
            batch = self.batch(x, out, first, last, width, code=code)
            return run(batch, self.memory(width, i), self.u, parts[i], lanes)

        is_finite = all(list(_pool(count).map(work, range(count))))
        np.sum(parts, axis=0, out=sums)
        return is_finite

    def _find_place(self, lanes: int) -> _Place:
        # Where the outputs go: to the same place as before, if nobody has an array of it any more. New memory would
        # take as long as the program. There are two, for who keeps the outputs of a call until those of the next.
        for place in self._places:
            if place.out.shape[1] == lanes and sys.getrefcount(place.out) == 2:
                return place
        self._places = [_Place(self, lanes), *self._places[:1]]
        return self._places[0]

    def begin(self) -> None:
        """Computes what is the same in all lanes."""
        if self.ends[0]:
            self.u[0] = 0.0
            if self._uniform is None:
                one = instruction(REPEAT, times=1, code=self.code, begin=0, end=self.ends[0])
                self._uniform = one, bind(one, self.u, self.u, self.u, 1)
            self._uniform[1]()

    def capture(self, leaves: Sequence[Value]) -> None:
        """Takes the numbers of the captured Values over."""
        if leaves:
            self.u[1 : 1 + len(leaves)] = [leaf._data for leaf in leaves]

    def one(self, inputs: Sequence[float] | Floats) -> tuple[Floats, bool]:
        """A single lane: the check, the outputs and the gradients, until the next; and whether all are finite."""
        if self._single is None:
            self._single = self._lane()
        x, out, one, _, sums, run_one = self._single
        x[:] = inputs
        if not self.plan.sums:
            run_one()
            return out, bool(one[HEAD])
        sums[:] = 0.0
        run_one()
        slopes = sums[: self.plan.sums]
        return np.concatenate([out, slopes]), bool(one[HEAD]) and bool(np.isfinite(slopes).all())

    def _lane(self) -> _Single:
        # What a single one is run with: all at their places once and for all.
        x, out, v = np.zeros(self.plan.inputs), np.empty(len(self.rows)), np.zeros(self.height + LANES)
        sums = np.zeros(self.plan.sums + LANES)
        one = instruction(ONE, **self._operands(self.code, begin_of(x), out))
        return x, out, one, v, sums, bind(one, v, self.u, sums, 1)

    def check(self, graph: Graph) -> None:
        """Compares every number of the program with the graph's own, which Python's floats computed.

        Args:
            graph: what the program was made of.

        Raises:
            DisagreementError: at the first operation that differs.
        """
        where = np.array([*self.plan.places[:, 0], *graph.outputs], dtype=np.int64)
        numbers = np.array(graph.numbers)
        expected, leaves = np.append(numbers[where], graph.find_gradients()), numbers[list(graph.leaves)]
        captured, inputs = leaves[: graph.captured], leaves[graph.captured :]
        # What cancels on the way is rounded as the largest number is, whether the program has a row for it or not.
        numbers[list(graph.constants)] = 0.0
        size = float(np.abs(numbers[np.isfinite(numbers)]).max())
        with np.errstate(all="ignore"):
            for lanes in (1, 2):
                computed = self._compute(captured, inputs, lanes)
                if computed is None:
                    return  # left to Python's floats anyway
                allowed = _TOLERANCE * np.abs(expected) + _ROUNDING * size
                differ = np.isfinite(lanes * expected) & ~(np.abs(computed - expected) <= allowed)
                if differ.any():
                    # Where numbers cancel, or decide at a kink, the last bits of the arguments change them as much.
                    spread = np.zeros(len(expected))
                    rng = random.Random(0)
                    for _ in range(16):
                        near, its_near = (
                            x * (1 + 2.0**-51 * np.array([rng.randint(-1, 1) for _ in x])) for x in (captured, inputs)
                        )
                        moved = self._compute(near, its_near, lanes)
                        change = np.inf if moved is None else np.abs(moved - computed)
                        spread = np.fmax(spread, change)
                    differ &= ~(np.abs(computed - expected) <= allowed + 16 * spread)
                for k in np.flatnonzero(differ):
                    numbers_ = float(expected[k]), float(computed[k])
                    raise DisagreementError(_explain(graph, where.tolist(), int(k), *numbers_))
        self.u[1 : 1 + len(captured)] = captured
        self.release()

    def _compute(self, captured: Floats, inputs: Floats, lanes: int) -> Floats | None:
        # All numbers that the program has of these arguments; None if one is not finite.
        self.u[1 : 1 + len(captured)] = captured
        out, sums, is_finite = self([np.repeat(inputs[:, None], lanes, axis=1)])
        if not is_finite:
            return None
        _, in_lanes, rows = self.plan.places.T
        found = np.where(in_lanes, 0.0, self.u[rows * (in_lanes == 0)])
        found[in_lanes == 1] = self.memory(lanes)[rows[in_lanes == 1] * (1 if lanes == 1 else LANES)]
        return np.concatenate([found, out[1:, 0], sums / lanes])

    def release(self) -> None:
        """Lets go of what only the check needs: the memory of a block, and where operations are in it."""
        self._v.clear()
        self._places.clear()
        self.plan.places = self.plan.places[:0].copy()


class _Place:
    # Memory for the outputs and the sums of so many lanes, and the instruction that computes them.

    def __init__(self, program: Program, lanes: int) -> None:
        self.out, width = np.zeros((len(program.rows), lanes)), program.width(lanes)
        self.sums, self._v = np.zeros(program.plan.sums + LANES), program.memory(width)
        # A fused program has no rows that a block would keep in the cache.
        self._batch = program.batch((0, 0), self.out, 0, lanes, lanes if program.plan.is_fused else width)
        self._run = bind(self._batch, self._v, program.u, self.sums, lanes)

    def run(self, x: tuple[int, int]) -> bool:
        # Runs all lanes, and tells whether all is finite.
        self._batch[_X], self._batch[_STEP] = x
        self.sums.fill(0.0)
        self._run()
        return bool(self._batch[HEAD])


def find_rows(parts: Sequence[Floats]) -> tuple[Sequence[Floats], tuple[int, int]]:
    """Where the rows of arrays are that stand one below the other.

    Returns:
        The arrays that have to be kept; and the first row's address, and the step from one row to the next.
    """
    if len(parts) > 1:
        lanes = parts[0].shape[1]
        if lanes > _COPIED and len(parts) == 2 and len(parts[0]) == len(parts[1]) == 1:
            begin = begin_of(parts[0])
            step, rest = divmod(begin_of(parts[1]) - begin, 8)
            if not rest:  # two rows are read where they are
                return parts, (begin, step)
        parts = [np.concatenate(parts)]
    return parts, (begin_of(parts[0]), parts[0].strides[0] // 8)


def _resolve(one: Instruction) -> tuple[Kernel, Whole]:
    # An instruction with the address of its expression.
    return one.kernel, np.insert(one.operands, 0, one.expression.code.address) if one.expression else one.operands


def _explain(graph: Graph, where: Sequence[int], k: int, expected: float, number: float) -> str:
    if k >= len(where):
        leaf = graph.sources[(k - len(where)) % len(graph.sources)]
        what = f"the gradient by {one_line(leaf.label) or 'a leaf'}"
    else:
        i = where[k]
        op, args = graph.ops[i], graph.args[i]
        operands = ", ".join([repr(graph.numbers[x]) for x in args[:4]]) if op not in (CAPTURED, INPUT) else ""
        what = f"{op.name}({operands})"
    return f"the compiled program and Python's floats disagree: {what} is {expected!r}, and {number!r} when compiled"


def make_program(
    function: Callable[..., Any], arguments: Any, differentiate: str, sums: bool | None, order: Sequence[Value] = ()
) -> tuple[Program, Trace]:
    """The program of a function for arguments of this form.

    Args:
        function, arguments, differentiate, order: see :func:`~micrograd.compiler.tracing.trace`.
        sums: see :func:`~micrograd.compiler.plan.make_plan`.

    Returns:
        The program, and the trace, whose graph is let go.

    Raises:
        UndefinedError: if the function, or its gradient, raises an error of mathematics for these arguments.
        TraceError: if the function can't be compiled.
        DisagreementError: if the program does not compute what Python does.
    """
    # The graphs are freed while the collector rests: otherwise it would look at all of them once.
    with resting_collector():
        try:
            traced = _trace(function, arguments, differentiate, order)
        except (ArithmeticError, ValueError, IndexError) as error:
            raise UndefinedError from error
        graph = Graph(traced)
        traced.release()
        program = Program(make_plan(graph, sums))
        program.check(graph)
        del graph
    return program, traced


def _trace(function: Callable[..., Any], arguments: Any, differentiate: str, order: Sequence[Value]) -> Trace:
    # Calls the function twice: what it changes, and whatever depends on that, would be frozen.
    before = now = Surroundings(function)
    try:
        with refuse_draws(before):
            call = record(function, arguments)
            changed = before.find_changes()
            now = Surroundings(function) if changed else before
            again = record(function, arguments, call.choices)
            changed = [name for name in now.find_changes() if name in changed]
    finally:
        kept = before.take_back(Traced)
    if changed or kept:
        raise TraceError(
            f"the function changes {', '.join(dict.fromkeys([*changed, *kept]))} each time it is called, which a "
            "program would not do"
        )
    # A function that draws random numbers or counts its calls would be frozen in the state that it had.
    made, remade = ([node._data for node in nodes] for nodes in (call.tracing.made, again.tracing.made))
    if not np.array_equal(made, remade, equal_nan=True) or len(call.outputs) != len(again.outputs):
        raise TraceError(
            "the function is not the same each time it is called, and its program would be frozen in one state: it "
            "depends on something that it changes itself, or draws random numbers in another way than by "
            "micrograd.functional.random() and normal()"
        )
    traced = trace(call, differentiate, order, again)
    traced.surroundings = now
    return traced


@lru_cache
def threads() -> int:
    """How many cores are used at once, where it pays: the environment's MICROGRAD_THREADS, or all there are."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = os.environ.get("MICROGRAD_THREADS") or str(cores)
    if not wanted.isdecimal() or int(wanted) < 1:
        raise ValueError(f"the environment's MICROGRAD_THREADS is a whole number above 0, not {wanted!r}")
    return int(wanted)


@lru_cache
def _pool(count: int) -> ThreadPoolExecutor:
    from concurrent.futures import ThreadPoolExecutor  # takes longer to import than many a process needs

    return ThreadPoolExecutor(count)


if hasattr(os, "register_at_fork"):  # a child has none of its parent's threads
    os.register_at_fork(after_in_child=_pool.cache_clear)
