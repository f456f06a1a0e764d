"""Kernels of the fourth stage for sums of products. They are tiled: a number that is loaded once serves several sums.

A sum begins with its start + 0.0, so that sums of -0.0 are 0.0, as in Python.

For ``v``, ``u``, ``g`` and ``c`` see :mod:`micrograd.compiler.emit`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .code import LANES, Function, Number, Pointer
from .emit import find_stride
from .machine import Kernel

__all__ = ["DOT", "LAYER", "OUTER", "TIMES", "TOTAL"]


def _write_dot(f: Function, v: Pointer, u: Pointer, g: Pointer, c: Pointer) -> None:
    # Operands: the number of sums; then for each sum its row, its start in u, the numbers of its products of u and v
    # and of v and v, and the two factors of each product.
    stride, at = find_stride(f), f.variable(1)
    with f.loop(0, c[0]):
        k = at.value
        row, start, mixed, lanes = (c[k + i] for i in range(4))
        first = k + 4
        second = first + mixed * 2
        with f.either(f.lanes > 1) as (many, one):
            with many, f.loop(0, stride, LANES) as lane:
                total = f.variable(f.splat(u[start] + 0.0))
                with f.loop(first, second, 2) as i:
                    w = f.splat(u[c[i]])
                    total.value = f.add_product(w, v.vector(c[i + 1] * stride + lane), total.value)
                with f.loop(second, second + lanes * 2, 2) as i:
                    a, b = (v.vector(c[i + j] * stride + lane) for j in range(2))
                    total.value = f.add_product(a, b, total.value)
                v.put(row * stride + lane, total.value)
            with one:
                single = f.variable(u[start] + 0.0)
                with f.loop(first, second, 2) as i:
                    single.value = f.add_product(u[c[i]], v[c[i + 1]], single.value)
                with f.loop(second, second + lanes * 2, 2) as i:
                    single.value = f.add_product(v[c[i]], v[c[i + 1]], single.value)
                v[row] = single.value
        at.value = second + lanes * 2


def _each_tile(f: Function, stop: Number, sizes: Sequence[int]) -> Iterator[tuple[int, Number]]:
    # Loops over a range in steps of the largest size, then over the rest in steps of the smaller sizes.
    first = f.whole(0)
    for size in sizes:
        last = first + (stop - first) // size * size
        with f.loop(first, last, size) as index:
            yield size, index
        first = last


_GATHERED = 2048  # the most inputs, of all places of a layer of one lane, that are copied together
_PACKED = 512  # the most inputs of a layer of one lane whose weights are copied together


def _write_layer(f: Function, v: Pointer, u: Pointer, g: Pointer, c: Pointer) -> None:
    # Sums of products with the same weights, for the inputs of each of several places. Operands:
    # - the numbers of sums, of inputs and of places; the first row of the results: those of a place follow each other;
    # - whether the weights of an input are adjacent in u, those of a sum, and the inputs of each place in v;
    # - for each sum its start in u; for each sum, and for each input, an offset: a weight is in u at the sum of both;
    # - the rows of each place's inputs.
    sums, inputs, places, first = (c[i] for i in range(4))
    is_columns, is_line, is_given = (c[i] == 1 for i in range(4, 7))
    stride = find_stride(f)
    starts, downs = c + 7, c + (sums + 7)
    rights, rows = downs + sums, downs + (sums + inputs)
    with f.either(f.lanes > 1) as (many, one):
        with many, f.loop(0, places) as p:
            mine, out = rows + p * inputs, first + p * sums
            for height, j in _each_tile(f, sums, (8, 4, 1)):
                for width, chunk in _each_tile(f, stride // LANES, (2, 1) if height == 8 else (1,)):
                    lane = chunk * LANES
                    begins = [f.splat(u[starts[j + r]] + 0.0) for r in range(height)]
                    totals = [[f.variable(begin) for _ in range(width)] for begin in begins]
                    lines = [u + downs[j + r] for r in range(height)]
                    with f.loop(0, inputs) as i:
                        right = rights[i]
                        row = v + (mine[i] * stride + lane)
                        x = [row.vector(LANES * w) for w in range(width)]
                        for r in range(height):
                            weight = f.splat(lines[r][right])
                            for w in range(width):
                                totals[r][w].value = f.add_product(weight, x[w], totals[r][w].value)
                    for r in range(height):
                        for w in range(width):
                            v.put((out + (j + r)) * stride + (lane + LANES * w), totals[r][w].value)
        with one:
            gathered, numbers = f.reals_on_stack(_GATHERED + LANES), f.reals_on_stack(LANES)
            weights = f.reals_on_stack((_PACKED + 1) * LANES)
            is_packed = ~(is_columns | is_line)
            is_quick = (~is_packed | (inputs <= _PACKED)) & (is_given | (places * inputs <= _GATHERED))
            with f.either(is_quick) as (quick, slow):
                with quick:
                    with f.when(~is_given), f.loop(0, places * inputs) as i:
                        gathered[i] = v[rows[i]]

                    def find_inputs(p: Number) -> Pointer:
                        there = f.address(v + rows[p * inputs])
                        return f.reals_at(f.choose_whole(is_given, there, f.address(gathered + p * inputs)))

                    with f.loop(0, sums, LANES) as j:
                        count = f.least(sums - j, LANES)
                        with f.loop(0, count) as k:
                            numbers[k] = u[starts[j + k]] + 0.0
                        start = numbers.vector()
                        with f.either(is_columns) as (columns, lines):
                            with columns:
                                for size, p in _each_tile(f, places, (4, 1)):
                                    given = [find_inputs(p + q) for q in range(size)]
                                    found = _multiply_columns(f, u + downs[j], rights, given, inputs, start)
                                    for q in range(size):
                                        _put_first(v + (first + ((p + q) * sums + j)), found[q], numbers, count)
                            with lines:
                                each = [u + downs[f.least(j + r, sums - 1)] for r in range(LANES)]
                                with f.when(is_packed), f.loop(0, inputs) as i:
                                    for r, line in enumerate(each):
                                        weights[r * inputs + i] = line[rights[i]]
                                for r, line in enumerate(each):
                                    packed = f.address(weights + r * inputs)
                                    each[r] = f.reals_at(f.choose_whole(is_packed, packed, f.address(line)))
                                for size, p in _each_tile(f, places, (2, 1)):
                                    given = [find_inputs(p + q) for q in range(size)]
                                    found = _multiply_lines(f, each, given, inputs)
                                    for q in range(size):
                                        sum_ = found[q] + start
                                        _put_first(v + (first + ((p + q) * sums + j)), sum_, numbers, count)
                with slow, f.loop(0, places) as p, f.loop(0, sums) as j:
                    total = f.variable(u[starts[j]] + 0.0)
                    with f.loop(0, inputs) as i:
                        total.value = f.add_product(u[downs[j] + rights[i]], v[rows[p * inputs + i]], total.value)
                    v[first + (p * sums + j)] = total.value


def _multiply_columns(
    f: Function, weights: Pointer, rights: Pointer, x: Sequence[Pointer], inputs: Number, start: Number
) -> list[Number]:
    # Eight sums of products for each of several places, where the eight weights of an input are adjacent.
    totals = [f.variable(start) for _ in x]
    with f.loop(0, inputs) as i:
        line = weights.vector(rights[i])
        for total, numbers in zip(totals, x, strict=True):
            total.value = f.add_product(line, f.splat(numbers[i]), total.value)
    return [total.value for total in totals]


def _multiply_lines(f: Function, weights: Sequence[Pointer], x: Sequence[Pointer], inputs: Number) -> list[Number]:
    # The same, where the weights of each sum are adjacent.
    totals = [[f.variable(f.reals(0.0)) for _ in weights] for _ in x]

    def add(i: Number, is_in: Number | None) -> None:
        vectors = [numbers.vector(i) for numbers in x]
        if is_in is not None:
            vectors = [f.choose(is_in, vector, 0.0) for vector in vectors]
        for r, line in enumerate(weights):
            weight = line.vector(i) if is_in is None else f.choose(is_in, line.vector(i), 0.0)
            for q, vector in enumerate(vectors):
                totals[q][r].value = f.add_product(weight, vector, totals[q][r].value)

    whole = inputs // LANES * LANES
    with f.loop(0, whole, LANES) as i:
        add(i, None)
    with f.when(whole < inputs):
        add(whole, f.before(inputs - whole))
    return [f.sums([total.value for total in line]) for line in totals]


def _put_first(target: Pointer, vector: Number, numbers: Pointer, count: Number) -> None:
    # Stores the first ``count`` numbers of a vector; ``numbers`` is memory for the whole vector.
    f = target.function
    with f.either(count == LANES) as (whole, part):
        with whole:
            target.put(0, vector)
        with part:
            numbers.put(0, vector)
            with f.loop(0, count) as k:
                target[k] = numbers[k]


_TURNED = 64  # lanes that are transposed at a time


def _write_outer(f: Function, v: Pointer, u: Pointer, g: Pointer, c: Pointer) -> None:
    # Adds to g, over lanes and places, the products of each row i with each row j. Operands:
    # - the numbers of i, of j and of places; whether the rows j are adjacent, and their sums;
    # - an offset for each i and for each j: a sum is in g at the sum of both;
    # - for each eight j, whether there are eight, with adjacent sums;
    # - the rows i of each place; the rows j of each place.
    high, wide, places, follow = (c[i] for i in range(4))
    stride, downs = find_stride(f), c + 4
    rights, chunks = downs + high, (wide + (LANES - 1)) // LANES
    near, rows = rights + wide, rights + (wide + chunks)
    columns = rows + places * high
    with f.either(f.lanes > 1) as (many, one):
        with many:
            # Transposes the rows j of some lanes and places: then a vector holds eight rows of one lane.
            turned, apart = f.reals_on_stack(_TURNED * 2 * LANES), f.reals_on_stack(LANES)

            def add_to_sums(down: Number, chunk: Number, vector: Number) -> None:
                sums, right = g + down, rights + chunk * LANES
                with f.either(near[chunk] == 1) as (whole, part):
                    with whole:
                        line = sums + right[0]
                        line.put(0, line.vector() + vector)
                    with part:
                        apart.put(0, vector)
                        with f.loop(0, f.least(wide - chunk * LANES, LANES)) as k:
                            sums[right[k]] = sums[right[k]] + apart[k]

            with f.loop(0, f.lanes, _TURNED) as begin:
                count = f.least(f.lanes - begin, _TURNED)
                step = (count + (LANES - 1)) // LANES * LANES
                together = f.whole(_TURNED) // step
                with f.loop(0, places, together) as first:
                    here = f.least(places - first, together)

                    def turn(j: Number, w: int, width: int) -> None:
                        each = [f.least(j + k, wide - 1) for k in range(LANES)]
                        with f.loop(0, here) as q:
                            mine = columns + (first + q) * wide
                            lines = [v + (mine[column] * stride + begin) for column in each]
                            with f.loop(0, count, LANES) as lane:
                                for r, vector in enumerate(f.transpose([line.vector(lane) for line in lines])):
                                    turned.put(((q * step + lane + r) * width + w) * LANES, vector)

                    for width, chunk in _each_tile(f, chunks, (2, 1)):
                        for w in range(width):
                            turn((chunk + w) * LANES, w, width)
                        for height, i in _each_tile(f, high, (8, 4, 1)):
                            totals = [[f.variable(f.reals(0.0)) for _ in range(width)] for _ in range(height)]
                            with f.loop(0, here) as q:
                                mine = rows + ((first + q) * high + i)
                                lines = [v + (mine[r] * stride + begin) for r in range(height)]
                                with f.loop(0, count) as lane:
                                    vectors = turned + (q * step + lane) * (width * LANES)
                                    right = [vectors.vector(w * LANES) for w in range(width)]
                                    for r in range(height):
                                        left = f.splat(lines[r][lane])
                                        for w in range(width):
                                            totals[r][w].value = f.add_product(left, right[w], totals[r][w].value)
                            for r in range(height):
                                for w in range(width):
                                    add_to_sums(downs[i + r], chunk + w, totals[r][w].value)
        with one:
            whole_ = f.choose_whole(follow == 1, wide // LANES * LANES, 0)
            for height, i in _each_tile(f, high, (4, 1)):
                lines = [g + (downs[i + r] + rights[0]) for r in range(height)]
                with f.loop(0, whole_, LANES) as j:
                    sums_ = [f.variable(line.vector(j)) for line in lines]
                    with f.loop(0, places) as p:
                        numbers, mine = v.vector(columns[p * wide] + j), rows + (p * high + i)
                        for r, total in enumerate(sums_):
                            total.value = f.add_product(f.splat(v[mine[r]]), numbers, total.value)
                    for line, total in zip(lines, sums_, strict=True):
                        line.put(j, total.value)
            with f.loop(0, places) as p, f.loop(0, high) as i, f.loop(whole_, wide) as j:
                place = downs[i] + rights[j]
                g[place] = f.add_product(v[rows[p * high + i]], v[columns[p * wide + j]], g[place])


def _write_total(f: Function, v: Pointer, u: Pointer, g: Pointer, c: Pointer) -> None:
    # Adds to g sums over the lanes of a row, times a number. Operands: how many; for each its place in g, its row, and
    # the place of the factor in u.
    stride = find_stride(f)
    with f.loop(0, c[0]) as i:
        one = c + (1 + i * 3)
        row, total = v + one[1] * stride, f.variable(0.0)
        with f.either(f.lanes > 1) as (many, single):
            with many:
                vector = f.variable(f.reals(0.0))
                with f.loop(0, stride, LANES) as lane:
                    vector.value = vector.value + f.choose(f.before(f.lanes - lane), row.vector(lane), 0.0)
                total.value = f.sum(vector.value)
            with single:
                total.value = row[0]
        g[one[0]] = f.add_product(total.value, u[one[2]], g[one[0]])


def _write_times(f: Function, v: Pointer, u: Pointer, g: Pointer, c: Pointer) -> None:
    # Adds to g numbers that are the same in all lanes, times the number of lanes. Operands: how many; for each its
    # place in g and in u.
    with f.loop(0, c[0]) as i:
        one = c + (1 + i * 2)
        g[one[0]] = f.add_product(f.lanes.as_real(), u[one[1]], g[one[0]])


DOT, LAYER = Kernel("dot", _write_dot), Kernel("layer", _write_layer)
OUTER, TOTAL, TIMES = Kernel("outer", _write_outer), Kernel("total", _write_total), Kernel("times", _write_times)
