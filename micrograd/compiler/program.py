"""What a compiled function runs: a program for arguments of one form, with the memory that it works in."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from ..arguments import one_line
from ..engine import Value
from ..watching import resting_collector
from .kernel import Whole, assembled, bound, instruction, run
from .listing import Listing
from .lowering import lower
from .tracing import Trace, TraceError, trace, unchanged, undrawn

__all__ = ["DisagreementError", "Floats", "Program", "made", "threads"]

Floats = npt.NDArray[np.float64]

_TOLERANCE = 1e-9  # between a compiled number and Python's: sums of many products are rounded in another order
_ROUNDING = 1e-13  # and of what cancels is left what was rounded, compared with the largest number
_BLOCK = 1 << 17  # numbers of a block, a megabyte: what stays in a core's own cache
_WORTH_A_THREAD = 2_000_000  # additions and multiplications: to begin takes as long as some 100,000


class DisagreementError(ArithmeticError):
    """A compiled program gave another number than Python's floats."""


class Program:
    """A traced function, compiled.

    Args:
        listing: what it does.
    """

    def __init__(self, listing: Listing) -> None:
        self.listing = listing
        parts = listing.uniform, listing.lanes
        uniform, lanes = (assembled((one.key, one.operands) for one in part) for part in parts)
        self.code, self.ends = np.concatenate([uniform, lanes]), (len(uniform), len(uniform) + len(lanes))
        self.u = np.array(listing.constants, dtype=np.float64)
        self.work = sum(one.work for one in listing.lanes)
        self.rows = np.array([0, *listing.outputs, *listing.gradients], dtype=np.int64)
        self._v: list[Floats] = []

    def _operands(self, x: Floats, out: Floats) -> tuple[Any, ...]:
        return 0, self.code, *self.ends, x, self.listing.inputs, self.rows, len(self.rows), out

    def batch(self, x: Floats, picked: Whole, out: Floats, first: int, last: int, width: int) -> Whole:
        """The instruction that runs lanes, from the first to the last: see :meth:`__call__`."""
        operands = *self._operands(x, out), first, last, width, picked if len(picked) else 0
        return instruction("batch", *operands)

    def width(self, lanes: int) -> int:
        """How many lanes a block takes: as many as stay in the cache, all blocks alike."""
        most = max(8, min(512, _BLOCK // self.listing.rows))
        return math.ceil(lanes / math.ceil(lanes / most))

    def memory(self, width: int, number: int = 0) -> Floats:
        """The rows of a block, for one of the threads."""
        size = self.listing.rows * width
        while len(self._v) <= number:
            self._v.append(np.empty(0))
        if len(self._v[number]) < size:
            self._v[number] = np.zeros(size)
        return self._v[number]

    def __call__(self, x: Floats, picked: Whole) -> tuple[Floats, Floats, bool]:
        """Runs all lanes; the captured numbers are those in ``u``.

        Args:
            x: the inputs: a row for each sample, of which some are picked; or a column for each, if none are.
            picked: rows of ``x``.

        Returns:
            An array with a row for the check (0 where all is finite), for each output and for each gradient, and a
            column a sample; the sums over samples; and whether all numbers are finite.
        """
        assert self.listing.inputs == x.shape[1 if len(picked) else 0], "samples of another form"
        lanes = len(picked) or x.shape[1]
        out, sums = np.empty((len(self.rows), lanes)), np.zeros(self.listing.sums)
        self.u[0] = 0.0
        if self.ends[0]:
            run(instruction("repeat", 1, self.code, 0, self.ends[0]), self.u, self.u, sums, 1)
        count = max(1, min(threads(), self.work * lanes // _WORTH_A_THREAD, lanes // 8))
        width = self.width(-(-lanes // count))
        self.memory(width, count - 1)
        parts = [sums] if count == 1 else [np.zeros_like(sums) for _ in range(count)]

        def work(i: int) -> int:
            batch = self.batch(x, picked, out, lanes * i // count, lanes * (i + 1) // count, width)
            return run(batch, self.memory(width, i), self.u, parts[i], lanes)

        is_finite = all([work(0)] if count == 1 else list(_pool(count).map(work, range(count))))
        if count > 1:
            sums += np.sum(parts, axis=0)
        if math.isnan(self.u[0]):
            out[0] = math.nan
            is_finite = False
        return out, sums, is_finite

    def capture(self, leaves: Sequence[Value]) -> None:
        """Takes the numbers of the captured Values over."""
        if leaves:
            self.u[1 : 1 + len(leaves)] = [leaf._data for leaf in leaves]

    def one(self, inputs: Sequence[float] | Floats) -> tuple[Floats, bool]:
        """A single lane: the check, the outputs and the gradients, until the next; and whether all are finite."""
        x, out, one, _, run_one = self._lane
        x[:] = inputs
        run_one()
        return out, bool(one[2])

    @cached_property
    def _lane(self) -> tuple[Floats, Floats, Whole, Floats, Callable[[], None]]:
        # What a single one is run with: all at their places once and for all.
        x, out, v = np.zeros(self.listing.inputs), np.empty(len(self.rows)), np.zeros(self.listing.rows)
        one = instruction("one", *self._operands(x, out))
        return x, out, one, v, bound(one, v, self.u, self.u, 1)

    def check(self, traced: Trace) -> None:
        """Compares every number of the program with the trace's own, which Python's floats computed.

        Raises:
            DisagreementError: at the first node that differs.
        """
        self.capture(traced.captured)
        x = np.array([[node._data for node in traced.inputs]])
        out, sums, is_finite = self(x, np.zeros(1, dtype=np.int64))
        if not is_finite:
            return  # left to Python's floats anyway
        v, checks = self.memory(1), self.listing.checks
        computed = [v[row] if in_lanes else self.u[row] for _, in_lanes, row in checks]
        expected = np.array([node._data for node, _, _ in checks])
        with np.errstate(invalid="ignore"):
            size = float(np.max(np.abs(expected[np.isfinite(expected)]), initial=0.0))
            differ = ~(np.abs(np.array(computed) - expected) <= _TOLERANCE * np.abs(expected) + _ROUNDING * size)
        for i in np.flatnonzero(differ):
            _compare(checks[i][0], float(computed[i]), size)
        found = sums if self.listing.sums else out[1 + len(self.listing.outputs) :, 0]
        for leaf, slope, number in zip([*traced.captured, *traced.inputs], traced.gradients, found, strict=False):
            _compare(slope, float(number), size, f"the gradient by {one_line(leaf.label) or 'a leaf'}, ")
        for node, number in zip(traced.outputs, out[1:, 0], strict=False):
            _compare(node, float(number), size)


def _compare(node: Value, number: float, size: float, what: str = "") -> None:
    expected = node._data
    if math.isfinite(expected) and not abs(number - expected) <= _TOLERANCE * abs(expected) + _ROUNDING * size:
        operands = ", ".join([repr(parent._data) for parent in node._parents[:4]])
        raise DisagreementError(
            f"the compiled program and Python's floats disagree: {what}{node.op or 'a leaf'}({operands}) is "
            f"{expected!r}, and {number!r} when compiled"
        )


def made(
    function: Callable[..., Any], arguments: Any, differentiate: str, sums: bool, order: Iterable[Value] = ()
) -> tuple[Program, Trace]:
    """The program of a function for arguments of this form: see :func:`~micrograd.compiler.tracing.trace`.

    Raises:
        TraceError: if the function can't be compiled.
        DisagreementError: if the program does not compute what Python does.
    """
    with resting_collector(), undrawn(function):
        with unchanged(function):
            traced = trace(function, arguments, differentiate, order)
        again = trace(function, arguments, order=order)
        _same(traced, again)
        program = Program(lower(traced, sums))
        program.check(traced)
    return program, traced


def _same(traced: Trace, again: Trace) -> None:
    # A function that draws random numbers or counts its calls would be frozen in the state that it had.
    made, remade = ([node._data for node in one.nodes[: one.forward]] for one in (traced, again))
    if not np.array_equal(made, remade, equal_nan=True) or len(traced.outputs) != len(again.outputs):
        raise TraceError(
            "the function is not the same each time it is called: it draws random numbers, as Dropout does, or depends "
            "on something that it changes itself; its program would be frozen in one state"
        )
    known = set(again.captured)
    fresh = {leaf for leaf in traced.captured if leaf not in known}  # made in the function itself: constants
    if fresh:
        count = len(traced.captured)
        keep = [i for i, leaf in enumerate(traced.captured) if leaf not in fresh]
        if traced.gradients:
            by_leaf = len(traced.gradients) // max(len(traced.outputs), 1)
            traced.gradients = [
                slope
                for o in range(len(traced.outputs))
                for i, slope in enumerate(traced.gradients[o * by_leaf : (o + 1) * by_leaf])
                if by_leaf < count or i >= count or i in set(keep)
            ]
        traced.captured = [traced.captured[i] for i in keep]


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
    return ThreadPoolExecutor(count)


if hasattr(os, "register_at_fork"):  # a child has none of its parent's threads
    os.register_at_fork(after_in_child=_pool.cache_clear)
