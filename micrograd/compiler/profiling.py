"""Where the time of a program goes, beside what the machine can do at best."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from .kernel import Whole, bound, instruction, limits
from .listing import Instruction
from .program import Program

__all__ = ["Profile", "profile"]

_REPEATS = 5
_SECONDS = 2e-3  # that a measurement takes, at least


@dataclass
class Profile:
    """What a program's instructions take. It prints as a table.

    Attributes:
        lanes: how many samples a block has.
        instructions: each with its seconds for the block, arithmetic operations and bytes moved.
        copying: bytes a second that a plain copy moves, of rows like these.
        adding: arithmetic operations a second of a plain loop of multiplications and additions.
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
    """Measures each instruction of a program on a block of as many samples as it takes at a time."""
    lanes = program.width(samples)
    memory, sums = np.full(program.listing.rows * lanes, 0.5), np.zeros(max(program.listing.sums, 1))
    kept = program.u.copy()
    found, at = [], int(program.ends[0])
    for one in program.listing.lanes:
        end = at + len(one.operands) + 2
        again = instruction("repeat", 1, program.code, at, end)
        call = bound(again, memory, program.u, sums, lanes)
        seconds = _seconds(partial(_repeated, again, call))
        reads, writes = one.rows()
        found.append((one, seconds, one.work * lanes, 8 * lanes * (len(reads) + len(writes))))
        at = end
    program.u[:] = kept
    rows = max(2, program.listing.rows // 2) * lanes
    source, target = np.ones(rows), np.empty(rows)
    copying = 16 * rows / _seconds(limits().copy, source, target)
    adding = 2 * len(source[:1024]) / _seconds(limits().multiply_add, source[:1024].copy(), target[:1024].copy())
    return Profile(lanes, found, copying, adding)


def _repeated(again: Whole, call: Callable[[], None], times: int) -> None:
    again[2] = times
    call()


def _seconds(function: Callable[..., Any], *arguments: Any) -> float:
    # Of one time; the function takes how often, first.
    times, best = 1, float("inf")
    for _ in range(_REPEATS):
        while True:
            begin = time.perf_counter()
            function(times, *arguments)
            seconds = time.perf_counter() - begin
            if seconds >= _SECONDS:
                break
            times *= 2
        best = min(best, seconds / times)
    return best
