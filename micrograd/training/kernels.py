"""Steps of training as machine code: gradients of many samples, the update of all parameters, and many steps at once.

Each is an instruction, as :mod:`micrograd.compiler.machine` describes them. The first operand is what comes of it.
"""

from __future__ import annotations

from ..compiler.code import LANES, Function, Number, Pointer
from ..compiler.loops import execute
from ..compiler.machine import Kernel

__all__ = ["FINISH", "FINISH_SAMPLES", "SLOPES", "TRAIN"]

_BLOCK = 1024  # parameters that are updated at a time: what stays in a core's first cache
_OPERANDS = 2  # before an instruction's operands are its address and its length
FINISH_SAMPLES = _OPERANDS + 9  # where in the instruction FINISH the number of samples is


def _write_slopes(f: Function, v: Pointer, u: Pointer, g: Pointer, c: Pointer) -> None:
    # The sums over the samples of a step: whether all is finite; its parts, from which to which; of each part: which
    # program, and the lanes, from the first to the end; of each program: its instruction "batch", and its numbers that
    # are the same in all lanes; the parameters, how many; the step, the losses of all
    parts, programs, numbers, losses = f.wholes_at(c[3]), f.wholes_at(c[4]), f.reals_at(c[5]), f.reals_at(c[8])
    total = f.variable(0.0)
    c[0] = 0
    with f.loop(c[1], c[2]) as i:
        part = parts + i * 3
        program = programs + part[0] * 2
        batch, its_u = f.wholes_at(program[0]), f.reals_at(program[1])
        one = batch + _OPERANDS
        its_u[0] = 0.0
        whole = c[6] // LANES * LANES
        with f.loop(0, whole, LANES) as k:
            its_u.put(k + 1, numbers.vector(k))
        with f.loop(whole, c[6]) as k:
            its_u[k + 1] = numbers[k]
        execute(f, f.wholes_at(one[1]), 0, one[2], (its_u, its_u, g), f.whole(1))
        one[9], one[10] = part[1], part[2]
        f.run(batch[0], [v, its_u, g, one], f.lanes)
        f.leave_when(one[0] == 0)
        f.leave_when(its_u[0] != 0.0)
        out = f.reals_at(one[8])
        with f.loop(part[1], part[2]) as lane:
            total.value = total.value + out[f.lanes + lane]
    losses[c[7]] = total.value
    c[0] = 1


def _sum_squares(f: Function, numbers: Pointer, first: Number, last: Number) -> Number:
    squares, middle = f.variable(f.reals(0.0)), first + (last - first) // LANES * LANES
    with f.loop(first, middle, LANES) as k:
        vector = numbers.vector(k)
        squares.value = f.add_product(vector, vector, squares.value)
    total = f.variable(f.sum(squares.value))
    with f.loop(middle, last) as k:
        total.value = f.add_product(numbers[k], numbers[k], total.value)
    return total.value


def _write_finish(f: Function, v: Pointer, u: Pointer, g: Pointer, c: Pointer) -> None:
    # The update of n parameters by sums over samples, which become 0: whether all is finite; if it is not, the numbers
    # are as before. The instruction "batch" of the update's program; the numbers, what becomes of them, how far after
    # the numbers the gradients are; the settings of each step, how many, the step; the norms of all steps; how many
    # samples the step has; runs of parameters of a layer, how many, biases, how many, of each layer how many, place for
    # two numbers for each layer; and what is added to: for each parameter, for each layer, how many these are.
    # Then the gradients of other Values, which follow in the sums; what remains of each (0 or 1); how many. Last,
    # whether the gradient is clipped, and where the largest norm is, as optim.clip_grad_norm_ takes it.
    # Numbers have a column for each parameter: itself, what the optimizer remembers of it, and its gradient.
    n, batch, settings, slopes = f.lanes, f.wholes_at(c[1]), f.reals_at(c[5]) + c[7] * c[6], f.reals_at(c[2]) + c[4]
    scale, before = f.variable(1.0 / c[9].as_real()), f.variable(1.0)  # the norm before is as many times the one after
    with f.when(c[22] == 1):
        bound, norm = f.reals_at(c[23])[0], f.sqrt(_sum_squares(f, g, f.whole(0), n)) * scale.value
        with f.when(bound < norm + 1e-6):
            scale.value = scale.value * (bound / (norm + 1e-6))
            before.value = (norm + 1e-6) / bound
    with f.loop(0, c[6]) as i:
        u[i + 1] = settings[i]
    one = batch + _OPERANDS
    one[4], one[8] = c[2], c[3] - one[15] * 8  # its first row is the check
    u[0] = 0.0
    execute(f, f.wholes_at(one[1]), 0, one[2], (u, u, u), f.whole(1))
    c[0] = 1
    square = f.variable(0.0)
    with f.loop(0, n, _BLOCK) as first:
        last = f.least(first + _BLOCK, n)
        whole = first + (last - first) // LANES * LANES
        with f.loop(first, whole, LANES) as k:
            slopes.put(k, g.vector(k) * f.splat(scale.value))
            g.put(k, f.reals(0.0))
        with f.loop(whole, last) as k:
            slopes[k] = g[k] * scale.value
            g[k] = 0.0
        square.value = square.value + _sum_squares(f, slopes, first, last)
        one[9], one[10] = first, last
        f.run(batch[0], [v, u, u, one], n)
        c[0] = f.choose_whole(one[0] == 1, c[0], 0)
    is_finite = (square.value < float("inf")) & (before.value < float("inf")) & (u[0] == 0.0)
    c[0] = f.choose_whole(is_finite, c[0], 0)
    f.leave_when(c[0] == 0)
    others, remain = f.reals_at(c[19]), f.reals_at(c[20])
    with f.loop(0, c[21]) as k:
        others[k] = others[k] * remain[k] + g[n + k] / c[9].as_real()
        g[n + k] = 0.0
    norms = f.reals_at(c[8])
    norms[c[7]] = f.sqrt(square.value) * before.value
    # Notes for the report of the gradient flow.
    out, runs, biases, arriving = slopes, f.wholes_at(c[10]), f.wholes_at(c[12]), f.reals_at(c[14])
    sums, heard, layers = f.reals_at(c[15]), f.reals_at(c[16]), f.reals_at(c[17])
    with f.loop(0, c[18] * 2) as i:
        sums[i] = 0.0
    with f.loop(0, c[11]) as i:
        run = runs + i * 3
        first, last, place = run[0], run[1], run[2] * 2
        middle = first + (last - first) // LANES * LANES
        with f.loop(first, middle, LANES) as k:
            heard.put(k, heard.vector(k) + abs(out.vector(k)))
        with f.loop(middle, last) as k:
            heard[k] = heard[k] + abs(out[k])
        sums[place] = sums[place] + _sum_squares(f, out, first, last)
    with f.loop(0, c[13]) as i:
        single, place = out[biases[i * 2]], biases[i * 2 + 1] * 2 + 1
        sums[place] = sums[place] + single * single
    with f.loop(0, c[18]) as i:
        layers[i * 2] = layers[i * 2] + f.sqrt(sums[i * 2]) * before.value
        layers[i * 2 + 1] = layers[i * 2 + 1] + f.sqrt(sums[i * 2 + 1] / arriving[i])


def _write_train(f: Function, v: Pointer, u: Pointer, g: Pointer, c: Pointer) -> None:
    # Steps of training, until all are done or a number is not finite: how many are done; how many to do; where the
    # parts of each begin, and its lanes; the rows of the update, its numbers that are the same in all; how many
    # parameters there are; the instructions slopes and finish, whose operands it changes. Numbers and what becomes of
    # them change places: after an odd number of steps, they are where they became.
    parts, lanes, its_v, its_u = f.wholes_at(c[2]), f.wholes_at(c[3]), f.reals_at(c[4]), f.reals_at(c[5])
    slopes, finish = f.wholes_at(c[7]), f.wholes_at(c[8])
    one, two = slopes + _OPERANDS, finish + _OPERANDS
    with f.loop(0, c[1]) as step:
        c[0] = step
        one[1], one[2], one[5], one[7] = parts[step], parts[step + 1], two[2], step
        f.run(slopes[0], [v, u, g, one], f.lanes)
        f.leave_when(one[0] == 0)
        two[7], two[9] = step, lanes[step + 1] - lanes[step]
        f.run(finish[0], [its_v, its_u, g, two], c[6])
        f.leave_when(two[0] == 0)
        numbers, after = two[2], two[3]
        two[2], two[3] = after, numbers
    c[0] = c[1]


SLOPES, FINISH, TRAIN = Kernel("slopes", _write_slopes), Kernel("finish", _write_finish), Kernel("train", _write_train)
