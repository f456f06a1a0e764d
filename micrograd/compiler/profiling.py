"""Measures how long each instruction of a program takes, and compares it with the machine's limits."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from .code import LANES, Function, Operands, Pointer
from .emit import FUSED
from .loops import execute
from .machine import Floats, Kernel, Whole, bind, instruction, run
from .plan import Instruction
from .program import Program

__all__ = ["Profile", "profile"]

_MEASUREMENTS = 5  # of each instruction; the shortest one counts
_SECONDS = 2e-3  # that a measurement takes, at least


@dataclass
class Profile:
    """The time of each instruction of a program. It prints as a table.

    Attributes:
        lanes: the number of samples of the block.
        instructions: each with its time for the block in seconds, its arithmetic operations, and the bytes it moves.
        copying: bytes per second of a plain copy of as many rows.
        adding: arithmetic operations per second of a plain loop of multiplications and additions.
    """

    lanes: int
    instructions: list[tuple[Instruction, float, int, int]]
    copying: float
    adding: float

    def __str__(self) -> str:
        total = sum([seconds for _, seconds, _, _ in self.instructions]) or 1e-12
        lines = [f"{self.lanes} samples in {total * 1e6:.1f} µs: {total / self.lanes * 1e9:.0f} ns each"]
        lines.append(f"{'':28}{'µs':>9}{'%':>5}{'Gflop/s':>10}{'GB/s':>8}")
        for one, seconds, work, moved in sorted(self.instructions, key=lambda line: -line[1]):
            name = f"{one.count} × {one.name} {one.note}"[:27]
            share, rate, bandwidth = seconds / total * 100, work / seconds / 1e9, moved / seconds / 1e9
            lines.append(f"{name:28}{seconds * 1e6:9.2f}{share:5.0f}{rate:10.2f}{bandwidth:8.1f}")
        lines.append(f"{'a plain multiply-add loop':28}{'':14}{self.adding / 1e9:10.2f}")
        lines.append(f"{'a plain copy':28}{'':24}{self.copying / 1e9:8.1f}")
        return "\n".join(lines)


def profile(program: Program, samples: int) -> Profile:
    """Measures each instruction of a program on one block of samples."""
    lanes = program.choose_width(samples)
    plan, kept = program.plan, program.u.copy()
    memory, sums = np.full(max(plan.rows, 1 + plan.inputs) * (lanes + LANES) + LANES, 0.5), np.zeros(plan.sums + LANES)
    found, code = [], program.code.copy()
    at = int(program.ends[0])
    outputs = np.empty((len(program.rows), lanes + LANES))
    for one in plan.lanes:
        end = at + int(code[at + 1])
        if plan.is_fused:
            where = at + FUSED.place("x")
            code[where : where + 4] = memory.ctypes.data, lanes, outputs.ctypes.data, lanes
        again = instruction(_REPEAT, times=1, code=code, begin=at, end=end)
        call = bind(again, memory, program.u, sums, lanes)
        seconds = _seconds(partial(_repeat, again, call))
        found.append((one, seconds, one.work * lanes, 8 * lanes * (len(one.reads) + len(one.writes))))
        at = end
    program.u[:] = kept
    rows = max(2, plan.rows // 2) * lanes
    source, target = np.ones(rows), np.empty(rows)
    copying = 16 * rows / _seconds(partial(_loop, _COPY, source, target))
    adding = 2 * 1024 / _seconds(partial(_loop, _MULTIPLY_ADD, source[:1024].copy(), np.empty(1024)))
    return Profile(lanes, found, copying, adding)


def _write_loop(is_sum: bool, f: Function, v: Pointer, u: Pointer, g: Pointer, c: Pointer) -> None:
    # Copies n numbers, or adds multiples of them, ``times`` times.
    with f.loop(0, c[0]) as k:
        weight = f.splat(1.0 / (k + 1).as_real())
        with f.loop(0, f.lanes // LANES * LANES, LANES) as lane:
            numbers = v.vector(lane)
            u.put(lane, f.add_product(u.vector(lane), weight, numbers) if is_sum else numbers)
        v[k % f.lanes] = k.as_real()


def _write_repeat(f: Function, v: Pointer, u: Pointer, g: Pointer, c: Pointer) -> None:
    # Runs the instructions between two places of a program several times.
    o = Operands(c, _REPEAT.operands)
    with f.loop(0, o.times):
        execute(f, f.wholes_at(o.code), o.begin, o.end, (v, u, g), f.lanes)


_REPEAT = Kernel("repeat", _write_repeat, ("times", "code", "begin", "end"))
_COPY = Kernel("copy loop", partial(_write_loop, False), ("times",))
_MULTIPLY_ADD = Kernel("multiply-add loop", partial(_write_loop, True), ("times",))


def _loop(kernel: Kernel, source: Floats, target: Floats, times: int) -> None:
    run(instruction(kernel, times=times), source, target, target, len(source))


def _repeat(again: Whole, call: Callable[[], None], times: int) -> None:
    again[_REPEAT.place("times")] = times
    call()


def _seconds(function: Callable[..., Any], *arguments: Any) -> float:
    # Measures the time of one repetition. The function's first argument is the number of repetitions.
    times, best = 1, float("inf")
    for _ in range(_MEASUREMENTS):
        while True:
            begin = time.perf_counter()
            function(times, *arguments)
            seconds = time.perf_counter() - begin
            if seconds >= _SECONDS:
                break
            times *= 2
        best = min(best, seconds / times)
    return best
