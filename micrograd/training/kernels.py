"""Steps of training as machine code: gradients of many samples, the update of all parameters, and many steps at once.

Each is an instruction, as :mod:`micrograd.compiler.machine` describes them. It sets its operand ``is_finite`` to 1 if
all numbers are finite, and else to 0; then it has changed no parameter.
"""

from __future__ import annotations

from ..compiler.code import LANES, Function, Number, Operands, Pointer
from ..compiler.loops import BATCH_OPERANDS
from ..compiler.machine import HEAD, Kernel

__all__ = ["FINISH", "SLOPES", "TRAIN"]

_BLOCK = 1024  # parameters that are updated at a time: they stay in a core's first cache

_SLOPES = ("is_finite", "begin", "end", "parts", "programs", "numbers", "count", "step", "losses")
"""Of the instruction that sums losses and gradients over the samples of a step:

- ``parts``, ``begin``, ``end``: those from ``begin`` to ``end`` are the step's, three numbers each: which program runs,
  its first lane, and its last one;
- ``programs``: for each the addresses of its instruction "batch" and of its numbers ``u``;
- ``numbers``, ``count``: the parameters, and how many there are;
- ``step``, ``losses``: where in the losses of all steps this one's sum is written.
"""


def _write_slopes(f: Function, v: Pointer, u: Pointer, g: Pointer, c: Pointer) -> None:
    o = Operands(c, _SLOPES)
    parts, programs, numbers, losses = f.wholes_at(o.parts), f.wholes_at(o.programs), f.reals_at(o.numbers), o.losses
    total, count = f.variable(0.0), o.count
    o.is_finite = 0
    with f.loop(o.begin, o.end) as i:
        part = parts + i * 3
        program = programs + part[0] * 2
        batch, its_u = f.wholes_at(program[0]), f.reals_at(program[1])
        one = Operands(batch + HEAD, BATCH_OPERANDS)
        whole = count // LANES * LANES
        with f.loop(0, whole, LANES) as k:
            its_u.put(k + 1, numbers.vector(k))
        with f.loop(whole, count) as k:
            its_u[k + 1] = numbers[k]
        one.first, one.last = part[1], part[2]
        f.run(batch[0], [v, its_u, g, batch + HEAD], f.lanes)
        f.leave_when(one.is_finite == 0)
        out = f.reals_at(one.out)
        with f.loop(part[1], part[2]) as lane:
            total.value = total.value + out[f.lanes + lane]
    f.reals_at(losses)[o.step] = total.value
    o.is_finite = 1


def _sum_squares(f: Function, numbers: Pointer, first: Number, last: Number) -> Number:
    squares, middle = f.variable(f.reals(0.0)), first + (last - first) // LANES * LANES
    with f.loop(first, middle, LANES) as k:
        vector = numbers.vector(k)
        squares.value = f.add_product(vector, vector, squares.value)
    total = f.variable(f.sum(squares.value))
    with f.loop(middle, last) as k:
        total.value = f.add_product(numbers[k], numbers[k], total.value)
    return total.value


_FINISH = (
    "is_finite", "batch", "numbers", "after", "to_slopes", "settings", "width", "step", "norms", "samples",
    "runs", "run_count", "biases", "bias_count", "arriving", "squares", "heard", "layers", "layer_count",
    "others", "remain", "other_count", "is_clipped", "most_norm",
)  # fmt: skip
"""Of the instruction that updates all parameters by sums of gradients, which it sets to 0:

- ``batch``: the instruction that runs the optimizer's update;
- ``numbers``, ``after``, ``to_slopes``: the parameters, where the updated ones are written to, and how many numbers
  after the parameters their gradients are. A parameter is a column: itself, what the optimizer remembers, its gradient;
- ``settings``, ``width``, ``step``: the optimizer's settings for all steps, ``width`` for each; which step this is;
- ``norms``: where the gradient's norm is written to, one for each step;
- ``samples``: how many samples the step has;
- ``runs`` (first, last, layer), ``biases`` (parameter, layer): which parameters belong to which layer, for the report
  of the gradient flow; ``arriving``: the number of biases of each layer; ``squares``: place for two numbers for each;
- ``heard``, ``layers``: what the report adds to, for each parameter, and two numbers for each layer;
- ``others``, ``remain``, ``other_count``: gradients of other Values, whose sums follow those of the parameters, and by
  what each is multiplied first, 0 or 1;
- ``is_clipped``, ``most_norm``: whether and at which norm the gradient is clipped, as by ``optim.clip_grad_norm_``.
"""


def _write_finish(f: Function, v: Pointer, u: Pointer, g: Pointer, c: Pointer) -> None:
    o = Operands(c, _FINISH)
    n, samples = f.lanes, o.samples.as_real()
    batch, slopes = f.wholes_at(o.batch), f.reals_at(o.numbers) + o.to_slopes
    scale, before = f.variable(1.0 / samples), f.variable(1.0)  # the norm before clipping, divided by that after it
    with f.when(o.is_clipped == 1):
        bound, norm = f.reals_at(o.most_norm)[0], f.sqrt(_sum_squares(f, g, f.whole(0), n)) * scale.value
        with f.when(bound < norm + 1e-6):
            scale.value = scale.value * (bound / (norm + 1e-6))
            before.value = (norm + 1e-6) / bound
    settings = f.reals_at(o.settings) + o.step * o.width
    with f.loop(0, o.width) as i:
        u[i + 1] = settings[i]
    update = Operands(batch + HEAD, BATCH_OPERANDS)
    update.x, update.out = o.numbers, o.after - update.out_step * 8  # its first row is the check
    o.is_finite = 1
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
        update.first, update.last, update.is_first = first, last, f.choose_whole(first == 0, 1, 0)
        f.run(batch[0], [v, u, u, batch + HEAD], n)
        o.is_finite = f.choose_whole(update.is_finite == 1, o.is_finite, 0)
    is_finite = (square.value < float("inf")) & (before.value < float("inf"))
    o.is_finite = f.choose_whole(is_finite, o.is_finite, 0)
    f.leave_when(o.is_finite == 0)
    others, remain = f.reals_at(o.others), f.reals_at(o.remain)
    with f.loop(0, o.other_count) as k:
        others[k] = others[k] * remain[k] + g[n + k] / samples
        g[n + k] = 0.0
    f.reals_at(o.norms)[o.step] = f.sqrt(square.value) * before.value
    _add_to_report(f, o, slopes, before.value)


def _add_to_report(f: Function, o: Operands, slopes: Pointer, before: Number) -> None:
    # Adds the gradients of a step to the report of the gradient flow.
    runs, biases, arriving = f.wholes_at(o.runs), f.wholes_at(o.biases), f.reals_at(o.arriving)
    squares, heard, layers = f.reals_at(o.squares), f.reals_at(o.heard), f.reals_at(o.layers)
    with f.loop(0, o.layer_count * 2) as i:
        squares[i] = 0.0
    with f.loop(0, o.run_count) as i:
        run = runs + i * 3
        first, last, place = run[0], run[1], run[2] * 2
        middle = first + (last - first) // LANES * LANES
        with f.loop(first, middle, LANES) as k:
            heard.put(k, heard.vector(k) + abs(slopes.vector(k)))
        with f.loop(middle, last) as k:
            heard[k] = heard[k] + abs(slopes[k])
        squares[place] = squares[place] + _sum_squares(f, slopes, first, last)
    with f.loop(0, o.bias_count) as i:
        slope, place = slopes[biases[i * 2]], biases[i * 2 + 1] * 2 + 1
        squares[place] = squares[place] + slope * slope
    with f.loop(0, o.layer_count) as i:
        layers[i * 2] = layers[i * 2] + f.sqrt(squares[i * 2]) * before
        layers[i * 2 + 1] = layers[i * 2 + 1] + f.sqrt(squares[i * 2 + 1] / arriving[i])


_TRAIN = ("done", "steps", "parts", "lanes", "v", "u", "count", "slopes", "finish")
"""Of the instruction that does many steps, until all are done or a number is not finite:

- ``done``: it sets this to the number of steps that it did; ``steps``: how many there are to do;
- ``parts``, ``lanes``: for each step, and behind the last one, the first of its parts and the first of its lanes;
- ``v``, ``u``, ``count``: the rows and the numbers of the optimizer's update, and the number of parameters;
- ``slopes``, ``finish``: the two instructions of a step, whose operands it sets.

The parameters and the updated ones change places: after an odd number of steps, they are where ``after`` was.
"""


def _write_train(f: Function, v: Pointer, u: Pointer, g: Pointer, c: Pointer) -> None:
    o = Operands(c, _TRAIN)
    parts, lanes, its_v, its_u = f.wholes_at(o.parts), f.wholes_at(o.lanes), f.reals_at(o.v), f.reals_at(o.u)
    summing, updating = f.wholes_at(o.slopes), f.wholes_at(o.finish)
    slopes, finish = Operands(summing + HEAD, _SLOPES), Operands(updating + HEAD, _FINISH)
    with f.loop(0, o.steps) as step:
        o.done = step
        slopes.begin, slopes.end, slopes.step = parts[step], parts[step + 1], step
        slopes.numbers = finish.numbers
        f.run(summing[0], [v, u, g, summing + HEAD], f.lanes)
        f.leave_when(slopes.is_finite == 0)
        finish.step, finish.samples = step, lanes[step + 1] - lanes[step]
        f.run(updating[0], [its_v, its_u, g, updating + HEAD], o.count)
        f.leave_when(finish.is_finite == 0)
        finish.numbers, finish.after = finish.after, finish.numbers
    o.done = o.steps


SLOPES, FINISH = Kernel("slopes", _write_slopes, _SLOPES), Kernel("finish", _write_finish, _FINISH)
TRAIN = Kernel("train", _write_train, _TRAIN)
