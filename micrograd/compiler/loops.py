"""The loops that run programs: instructions themselves, whose operands may be addresses.

The first operand is what comes of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from .code import LANES, Function, Number, Pointer
from .emit import find_stride
from .machine import Kernel

__all__ = ["BATCH", "ONE", "REPEAT", "execute"]


def execute(
    f: Function, code: Pointer, start: Number | int, stop: Number, pointers: Sequence[Pointer], n: Number
) -> None:
    """Runs the instructions between two places of a program: each an address, a length, and operands."""
    place = f.variable(start)
    test, body, end = (f.ir.append_basic_block(name) for name in ("more", "instruction", "done"))
    f.builder.branch(test)
    f.builder.position_at_end(test)
    f.builder.cbranch((place.value < stop).register, body, end)
    f.builder.position_at_end(body)
    k = place.value
    f.run(code[k], [*pointers, code + (k + 2)], n)
    place.value = k + code[k + 1]
    f.builder.branch(test)
    f.builder.position_at_end(end)


def _write_repeat(f: Function, v: Pointer, u: Pointer, g: Pointer, c: Pointer) -> None:
    # again and again: how often; the program, where to start, where to stop
    with f.loop(0, c[0]):
        execute(f, f.wholes_at(c[1]), c[2], c[3], (v, u, g), f.lanes)


def _write_one(f: Function, v: Pointer, u: Pointer, g: Pointer, c: Pointer) -> None:
    # a single lane, of the uniform part of the program, too: whether all is finite; the program, the end of its uniform
    # part, its end; inputs, how many; the rows that are asked for, how many, where to; whether the program is fused
    code, x, rows, out = f.wholes_at(c[1]), f.reals_at(c[4]), f.wholes_at(c[6]), f.reals_at(c[8])
    one = f.whole(1)
    with f.either(c[9] == 1) as (fused, many):
        with fused:
            head = code + 2
            head[1], head[2], head[3], head[4] = c[4], 1, c[8], 1
            f.run(code[0], [v, u, g, head], one)
            c[0] = head[5]
        with many:
            u[0] = 0.0
            execute(f, code, 0, c[2], (u, u, u), one)
            check = f.variable(u[0])
            v[0] = check.value
            with f.loop(0, c[5]) as i:
                v[i + 1] = x[i]
            execute(f, code, c[2], c[3], (v, u, g), one)
            with f.loop(0, c[7]) as i:
                number = v[rows[i]]
                out[i] = number
                check.value = check.value + number * 0.0
            c[0] = f.choose_whole(check.value == 0.0, 1, 0)


def _fill(f: Function, v: Pointer, m: Number, stride: Number, start: Number, n: Number, c: Pointer) -> None:
    # The inputs of a block. What is left of a vector is filled with the last lane.
    x, inputs, picked, step = f.reals_at(c[4]), c[5], f.wholes_at(c[12]), c[14]
    with f.either(c[12] == 0) as (columns, rows):
        with columns, f.loop(0, inputs) as i:
            row, column = v + (i + 1) * stride, x + (i * step + start)
            with f.loop(0, m) as lane:
                row[lane] = column[lane]
        with rows:
            whole = m // LANES * LANES
            with (
                f.loop(0, whole, LANES) as first,
                f.loop(0, inputs) as i,
            ):  # so many are a line of the cache in each row
                for k in range(LANES):
                    v[(i + 1) * stride + first + k] = x[picked[start + first + k] * inputs + i]
            with f.loop(whole, m) as lane, f.loop(0, inputs) as i:
                v[(i + 1) * stride + lane] = x[picked[start + lane] * inputs + i]
    with f.loop(0, inputs) as i, f.loop(m, stride) as lane:
        row = v + (i + 1) * stride
        row[lane] = row[m - 1]


def _write_batch(f: Function, v: Pointer, u: Pointer, g: Pointer, c: Pointer) -> None:
    # n lanes, or some of them, in blocks: whether all is finite; the program, where it starts, its end; inputs, how
    # many; the rows that are asked for, how many, where to; the first lane, the end, a block's width; the samples that
    # are picked; whether the program is fused. Inputs have a row for each sample, and those picked are taken; or a
    # column, and none are picked. Last, the steps from a row of inputs, and of outputs, to the next one.
    code, begin, end, rows, outputs, out = f.wholes_at(c[1]), c[2], c[3], f.wholes_at(c[6]), c[7], f.reals_at(c[8])
    n, check = f.lanes, f.variable(f.reals(0.0))
    with f.loop(c[9], c[10], c[11]) as start:
        m = f.least(c[11], c[10] - start)
        stride = find_stride(f, m)
        with f.either(c[13] == 1) as (fused, many):
            with fused:
                head = code + 2
                with f.either(c[12] == 0) as (columns, picked):
                    with columns:
                        head[1], head[2] = f.address(f.reals_at(c[4]) + start), c[14]
                    with picked:
                        _fill(f, v, m, stride, start, n, c)
                        head[1], head[2] = f.address(v + stride), stride
                head[3], head[4] = f.address(out + start), c[15]
                f.run(code[0], [v, u, g, head], m)
                with f.when(head[5] == 0):
                    check.value = f.reals(1.0)
            with many:
                with f.loop(0, stride) as lane:
                    v[lane] = 0.0
                _fill(f, v, m, stride, start, n, c)
                execute(f, code, begin, end, (v, u, g), m)
                with f.loop(0, outputs) as i:
                    row, column = v + rows[i] * stride, out + (i * c[15] + start)
                    whole = m // LANES * LANES
                    with f.loop(0, whole, LANES) as lane:
                        numbers = row.vector(lane)
                        column.put(lane, numbers)
                        check.value = check.value + numbers * 0.0
                    with f.loop(whole, m) as lane:
                        column[lane] = row[lane]
                        check.value = check.value + f.splat(row[lane]) * 0.0
    c[0] = f.choose_whole(f.sum(check.value) == 0.0, 1, 0)


REPEAT, ONE, BATCH = Kernel("repeat", _write_repeat), Kernel("one", _write_one), Kernel("batch", _write_batch)
