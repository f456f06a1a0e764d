"""Programs: a compiled function has one for each form of its arguments, with the memory that it works in."""

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
from .loops import BATCH
from .machine import HEAD, Floats, Kernel, Whole, assemble, begin_of, bind, instruction, run
from .plan import Instruction, Plan, make_plan
from .surroundings import Surroundings
from .tracing import Trace, Traced, TraceError, record, refuse_draws, trace

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

__all__ = ["DisagreementError", "Floats", "Program", "UndefinedError", "count_threads", "find_rows", "make_program"]

_TOLERANCE = 1e-9  # between a compiled number and Python's: sums of many products are rounded in another order
_ROUNDING = 1e-13  # absolute tolerance, for cancellation, relative to the largest number
_BLOCK = 1 << 17  # numbers of a block: a megabyte, which stays in a core's own cache
_COPIED = 4096  # a row of so many numbers is copied in less time than it takes to find its address
_NO_SUMS = np.empty(0)
_X, _STEP = BATCH.place("x"), BATCH.place("x_step")
_WORTH_A_THREAD = 2_000_000  # operations per thread, at least: starting one takes as long as some 100,000


class DisagreementError(ArithmeticError):
    """A compiled program computed another number than Python's floats."""


class UndefinedError(Exception):
    """The function raises an arithmetic error for these arguments; it is this error's ``__cause__``."""


class Program:
    """A compiled plan.

    Args:
        plan: the instructions to compile.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._codes = [one.expression.code for one in (*plan.uniform, *plan.lanes) if one.expression]
        uniform, lanes = (assemble(map(_resolve, part)) for part in (plan.uniform, plan.lanes))
        self.code, self.ends = np.concatenate([uniform, lanes]), (len(uniform), len(uniform) + len(lanes))
        end = 0
        for one in [*plan.uniform, *plan.lanes]:  # operands become views of the code, so that they are kept once
            end += int(self.code[end + 1])
            one.operands = self.code[end - len(one.operands) : end]
        self.u = np.append(plan.constants, np.zeros(LANES))
        plan.constants = self.u[: len(plan.constants)]
        self.work = sum(one.work for one in plan.lanes)
        self.rows = np.array([0, *plan.outputs, *plan.gradients], dtype=np.int64)
        # A fused program has rows for its inputs only, and needs them only if samples are picked.
        self.height = 1 + plan.inputs if plan.is_fused else plan.rows
        # Not a cached_property: on Python 3.11 it has a lock, which would block a forked process.
        self._single: tuple[Floats, _Place, Floats] | None = None  # of one lane: its inputs, its place, its outputs
        self._v: list[Floats] = []
        self._places: list[_Place] = []

    def make_batch(
        self, x: tuple[int, int], out: Floats, first: int, last: int, width: int, *, picked: Whole | None = None,
        code: Whole | None = None,
    ) -> Whole:  # fmt: skip
        """Returns the instruction that runs lanes, from the first to the last, in blocks of a width.

        Args:
            x: the inputs, as :func:`find_rows` returns them: a column per lane, or a row per sample if ``picked`` is
                given.
            out: an array for the check and the outputs, a row each.
            first: the first lane.
            last: the lane after the last one.
            width: how many lanes a block has.
            picked: the samples that are the lanes, as rows of ``x``.
            code: a copy of the program's instructions, for another thread. Then what is the same in all lanes is not
                computed again.
        """
        begin, end = self.ends
        return instruction(
            BATCH, is_finite=0, code=self.code if code is None else code, is_first=int(code is None), begin=begin,
            end=end, x=x[0], x_step=x[1], inputs=self.plan.inputs, rows=self.rows, outputs=len(self.rows),
            out=begin_of(out), out_step=out.strides[0] // 8, first=first, last=last, width=width,
            picked=0 if picked is None else picked, is_fused=int(self.plan.is_fused),
        )  # fmt: skip

    def choose_width(self, lanes: int) -> int:
        """Returns how many lanes a block has: equal blocks of whole vectors, at least two, that fit into the cache."""
        most = max(2 * LANES, min(512, _BLOCK // self.height // LANES * LANES))
        each = math.ceil(lanes / math.ceil(lanes / most))
        return each if lanes <= most else math.ceil(each / LANES) * LANES

    def find_memory(self, width: int, number: int = 0) -> Floats:
        """Returns memory for the rows of a block. Each thread has its own, by its number."""
        size = self.height * (math.ceil(width / LANES) * LANES) + LANES
        while len(self._v) <= number:
            self._v.append(np.empty(0))
        if len(self._v[number]) < size:
            self._v[number] = np.zeros(size)
        return self._v[number]

    def __call__(self, parts: Sequence[Floats]) -> tuple[Floats, Floats, bool]:
        """Runs all lanes, with the captured numbers that are in ``u``.

        Args:
            parts: the inputs: arrays with a column per lane, which are stacked vertically. Rows are contiguous.

        Returns:
            An array with a column per lane, and a row for the check (0 if all is finite), for each output and for each
            gradient; the sums over lanes; and whether all numbers are finite.
        """
        if self.plan.inputs != sum(map(len, parts)):
            shapes = ", ".join([str(part.shape) for part in parts])
            raise ValueError(f"the program takes {self.plan.inputs} inputs, not arrays of {shapes}")
        lanes = parts[0].shape[1]
        parts, x = find_rows(parts)
        place = self._find_place(lanes)
        count = min(count_threads(), self.work * lanes // _WORTH_A_THREAD, lanes // LANES)
        is_finite = place.run(x) if count <= 1 else self._share(count, x, place.out, place.sums)
        if not is_finite:  # the next run needs a check that is 0, as it is in a new place
            self._places.remove(place)
        return place.out, place.sums[: self.plan.sums].copy() if self.plan.sums else _NO_SUMS, is_finite

    def _share(self, count: int, x: tuple[int, int], out: Floats, sums: Floats) -> bool:
        # Runs all lanes in threads. Each has code, memory and sums of its own.
        lanes = out.shape[1]
        width = self.choose_width(-(-lanes // count))
        self.find_memory(width, count - 1)
        # No lanes: it runs only what is the same in all lanes.
        run(self.make_batch(x, out, 0, 0, width), self.find_memory(width), self.u, sums, 0)
        parts = [np.zeros_like(sums) for _ in range(count)]

        def work(i: int) -> int:
            first, last = lanes * i // count, lanes * (i + 1) // count
            code = self.code.copy()  # kept while it runs
            batch = self.make_batch(x, out, first, last, width, code=code)
            return run(batch, self.find_memory(width, i), self.u, parts[i], lanes)

        is_finite = all(list(_find_pool(count).map(work, range(count))))
        np.sum(parts, axis=0, out=sums)
        return is_finite

    def _find_place(self, lanes: int) -> _Place:
        # Finds memory for the outputs. New memory would take as long as the program, so a place is used again when
        # nobody refers to its array any more. Two are kept, for callers that keep the outputs of the last call.
        for place in self._places:
            if place.out.shape[1] == lanes and sys.getrefcount(place.out) == 2:
                return place
        self._places = [_Place(self, lanes), *self._places[:1]]
        return self._places[0]

    def capture(self, leaves: Sequence[Value]) -> None:
        """Copies the numbers of the captured Values to ``u``."""
        if leaves:
            self.u[1 : 1 + len(leaves)] = [leaf._data for leaf in leaves]

    def run_one(self, inputs: Sequence[float] | Floats) -> tuple[Floats, bool]:
        """Runs a single lane.

        Returns:
            The check, the outputs and the gradients, in an array that the next call changes; and whether all are
            finite.
        """
        if self._single is None:
            x = np.zeros(self.plan.inputs)
            place = _Place(self, 1, (begin_of(x), 1))
            self._single = x, place, place.out[:, 0]
        x, place, out = self._single
        x[:] = inputs
        is_finite = place.run()
        if not self.plan.sums:
            return out, is_finite
        slopes = place.sums[: self.plan.sums]
        return np.concatenate([out, slopes]), is_finite and bool(np.isfinite(slopes).all())

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
        # Rounding errors are relative to the largest number on the way, as it may cancel.
        numbers[list(graph.constants)] = 0.0
        size = float(np.abs(numbers[np.isfinite(numbers)]).max())
        with np.errstate(all="ignore"):
            for lanes in (1, 2):
                computed = self._compute(captured, inputs, lanes)
                if computed is None:
                    return  # a call with these arguments goes to Python's floats anyway
                allowed = _TOLERANCE * np.abs(expected) + _ROUNDING * size
                differ = np.isfinite(lanes * expected) & ~(np.abs(computed - expected) <= allowed)
                if differ.any():
                    # At a kink, or where numbers cancel, changes in the arguments' last bits may change them as much.
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
        # Computes all numbers of the program for these arguments. None if one is not finite.
        self.u[1 : 1 + len(captured)] = captured
        out, sums, is_finite = self([np.repeat(inputs[:, None], lanes, axis=1)])
        if not is_finite:
            return None
        _, in_lanes, rows = self.plan.places.T
        found = np.where(in_lanes, 0.0, self.u[rows * (in_lanes == 0)])
        found[in_lanes == 1] = self.find_memory(lanes)[rows[in_lanes == 1] * (1 if lanes == 1 else LANES)]
        return np.concatenate([found, out[1:, 0], sums / lanes])

    def release(self) -> None:
        """Frees what only the check needs: the memory of a block, and the places of operations in it."""
        self._v.clear()
        self._places.clear()
        self.plan.places = self.plan.places[:0].copy()


class _Place:
    # Memory for the outputs and sums of a number of lanes, with the instruction that computes them.

    def __init__(self, program: Program, lanes: int, x: tuple[int, int] = (0, 0)) -> None:
        self.out, width = np.zeros((len(program.rows), lanes)), program.choose_width(lanes)
        self.sums, self._v = np.zeros(program.plan.sums + LANES), program.find_memory(width)
        self._has_sums = program.plan.sums > 0
        # A fused program has no rows that a block would keep in the cache.
        self._batch = program.make_batch(x, self.out, 0, lanes, lanes if program.plan.is_fused else width)
        self._run = bind(self._batch, self._v, program.u, self.sums, lanes)

    def run(self, x: tuple[int, int] | None = None) -> bool:
        # Runs all lanes, by default on the same inputs as before. Returns whether all numbers are finite.
        if x is not None:
            self._batch[_X], self._batch[_STEP] = x
        if self._has_sums:
            self.sums.fill(0.0)
        self._run()
        return bool(self._batch[HEAD])


def find_rows(parts: Sequence[Floats]) -> tuple[Sequence[Floats], tuple[int, int]]:
    """Finds the addresses of the rows of stacked arrays. Copies them into one array if their distances differ.

    Returns:
        The arrays to keep alive; and the first row's address with the step from row to row, in numbers.
    """
    if len(parts) > 1:
        lanes = parts[0].shape[1]
        if lanes > _COPIED and len(parts) == 2 and len(parts[0]) == len(parts[1]) == 1:
            begin = begin_of(parts[0])
            step, rest = divmod(begin_of(parts[1]) - begin, 8)
            if not rest:  # two rows have one distance: no copy is needed
                return parts, (begin, step)
        parts = [np.concatenate(parts)]
    return parts, (begin_of(parts[0]), parts[0].strides[0] // 8)


def _resolve(one: Instruction) -> tuple[Kernel, Whole]:
    # Returns an instruction's kernel and its operands, with the address of its expression in front.
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
    """Makes the program of a function for arguments of this form, and checks it.

    Args:
        function, arguments: see :func:`~micrograd.compiler.tracing.record`.
        differentiate, order: see :func:`~micrograd.compiler.tracing.trace`.
        sums: see :func:`~micrograd.compiler.plan.make_plan`.

    Returns:
        The program, and the trace without its graph.

    Raises:
        UndefinedError: if the function, or its gradient, raises an arithmetic error for these arguments.
        TraceError: if the function can't be compiled.
        DisagreementError: if the program does not compute the numbers that Python's floats give.
    """
    # The collector rests until the graphs are freed: otherwise it would visit every node.
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
    # Calls the function twice, and raises an error if the calls differ or if they change something.
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
def count_threads() -> int:
    """Returns how many threads run a large program: the environment's MICROGRAD_THREADS, or the number of cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = os.environ.get("MICROGRAD_THREADS") or str(cores)
    if not wanted.isdecimal() or int(wanted) < 1:
        raise ValueError(f"the environment's MICROGRAD_THREADS is a whole number above 0, not {wanted!r}")
    return int(wanted)


@lru_cache
def _find_pool(count: int) -> ThreadPoolExecutor:
    from concurrent.futures import ThreadPoolExecutor  # imported late: few processes need it

    return ThreadPoolExecutor(count)


if hasattr(os, "register_at_fork"):  # a child process has none of its parent's threads
    os.register_at_fork(after_in_child=_find_pool.cache_clear)
