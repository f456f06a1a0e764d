"""The loop that runs programs. It is an instruction itself; some of its operands are addresses."""

from __future__ import annotations

from collections.abc import Sequence

from .code import LANES, Function, Number, Operands, Pointer
from .emit import FUSED_OPERANDS, find_stride
from .machine import HEAD, Kernel

__all__ = ["BATCH", "BATCH_OPERANDS", "execute"]


def execute(
    f: Function, code: Pointer, start: Number | int, stop: Number, pointers: Sequence[Pointer], n: Number
) -> None:
    """Emits a loop that runs the instructions between two places of a program."""
    place = f.variable(start)
    test, body, end = (f.ir.append_basic_block(name) for name in ("more", "instruction", "done"))
    f.builder.branch(test)
    f.builder.position_at_end(test)
    f.builder.cbranch((place.value < stop).register, body, end)
    f.builder.position_at_end(body)
    k = place.value
    f.run(code[k], [*pointers, code + (k + HEAD)], n)
    place.value = k + code[k + 1]
    f.builder.branch(test)
    f.builder.position_at_end(end)


def _run_fused(
    f: Function, code: Pointer, pointers: Sequence[Pointer], x: Number, x_step: Number, out: Number, out_step: Number,
    lanes: Number,
) -> None:  # fmt: skip
    # Emits a call of the only instruction of a fused program, with inputs and outputs at these addresses.
    head = Operands(code + HEAD, FUSED_OPERANDS)
    head.x, head.x_step, head.out, head.out_step = x, x_step, out, out_step
    f.run(code[0], [*pointers, code + HEAD], lanes)


BATCH_OPERANDS = (
    "is_finite", "code", "is_first", "begin", "end", "x", "x_step", "inputs", "rows", "outputs", "out", "out_step",
    "first", "last", "width", "picked", "is_fused",
)  # fmt: skip
"""Of the instruction that runs a program, its lanes in blocks:

- ``is_finite``: it sets this to 1 if all numbers are finite, else to 0;
- ``code``: the program; the part that is the same in all lanes ends at ``begin``, the other part at ``end``;
- ``is_first``: whether it runs the first part, too;
- ``x``, ``inputs``: the inputs, and their number;
- ``rows``, ``outputs``, ``out``: the rows of the outputs, their number, and where they are written to;
- ``x_step``, ``out_step``: numbers from a row of the inputs, or of the outputs, to the next row;
- ``first``, ``last``, ``width``: the first lane, the end, and how many lanes a block has;
- ``picked``: the samples that are the lanes: the inputs have a row for each sample. Or 0: they have a column for each
  lane;
- ``is_fused``: whether the program is a single kernel.

The inputs' first row is 1, that of the outputs is 0.
"""


def _fill(f: Function, v: Pointer, m: Number, stride: Number, start: Number, o: Operands) -> None:
    # Copies the inputs of a block of m lanes. The last lane fills the rest of its vector.
    x, inputs, picked = f.reals_at(o.x), o.inputs, f.wholes_at(o.picked)
    with f.either(o.picked == 0) as (columns, rows):
        with columns, f.loop(0, inputs) as i:
            row, column = v + (i + 1) * stride, x + (i * o.x_step + start)
            with f.loop(0, m) as lane:
                row[lane] = column[lane]
        with rows:
            whole = m // LANES * LANES
            with (
                f.loop(0, whole, LANES) as first,
                f.loop(0, inputs) as i,
            ):  # eight numbers of a row are a line of the cache
                for k in range(LANES):
                    v[(i + 1) * stride + first + k] = x[picked[start + first + k] * inputs + i]
            with f.loop(whole, m) as lane, f.loop(0, inputs) as i:
                v[(i + 1) * stride + lane] = x[picked[start + lane] * inputs + i]
    with f.loop(0, inputs) as i, f.loop(m, stride) as lane:
        row = v + (i + 1) * stride
        row[lane] = row[m - 1]


def _write_batch(f: Function, v: Pointer, u: Pointer, g: Pointer, c: Pointer) -> None:
    o = Operands(c, BATCH_OPERANDS)
    code, rows, out = f.wholes_at(o.code), f.wholes_at(o.rows), f.reals_at(o.out)
    check = f.variable(f.reals(0.0))
    with f.when(o.is_first == 1):
        u[0] = 0.0
        execute(f, code, 0, o.begin, (u, u, u), f.whole(1))
    with f.loop(o.first, o.last, o.width) as start:
        m = f.least(o.width, o.last - start)
        stride = find_stride(f, m)
        with f.either(o.is_fused == 1) as (fused, many):
            with fused:
                target = f.address(out + start)
                with f.either(o.picked == 0) as (columns, picked):
                    with columns:
                        source = f.address(f.reals_at(o.x) + start)
                        _run_fused(f, code, (v, u, g), source, o.x_step, target, o.out_step, m)
                    with picked:
                        _fill(f, v, m, stride, start, o)
                        source = f.address(v + stride)
                        _run_fused(f, code, (v, u, g), source, stride, target, o.out_step, m)
                with f.when(Operands(code + HEAD, FUSED_OPERANDS).is_finite == 0):
                    check.value = f.reals(1.0)
            with many:
                with f.loop(0, stride) as lane:
                    v[lane] = u[0]
                _fill(f, v, m, stride, start, o)
                execute(f, code, o.begin, o.end, (v, u, g), m)
                with f.either(stride == 1) as (one, block):
                    with one:
                        check.value = check.value + f.splat(_write_outputs_of_one(f, v, rows, out + start, o)) * 0.0
                    with block, f.loop(0, o.outputs) as i:
                        row, column = v + rows[i] * stride, out + (i * o.out_step + start)
                        whole = m // LANES * LANES
                        with f.loop(0, whole, LANES) as lane:
                            numbers = row.vector(lane)
                            column.put(lane, numbers)
                            check.value = check.value + numbers * 0.0
                        with f.loop(whole, m) as lane:
                            column[lane] = row[lane]
                            check.value = check.value + f.splat(row[lane]) * 0.0
    o.is_finite = f.choose_whole(f.sum(check.value) == 0.0, 1, 0)


def _write_outputs_of_one(f: Function, v: Pointer, rows: Pointer, out: Pointer, o: Operands) -> Number:
    # Copies the outputs of a single lane. Returns a number that is finite if they are.
    check, step = f.variable(f.real(0.0)), o.out_step
    with f.loop(0, o.outputs) as i:
        number = v[rows[i]]
        out[i * step] = number
        check.value = check.value + number * 0.0
    return check.value


BATCH = Kernel("batch", _write_batch, BATCH_OPERANDS)
