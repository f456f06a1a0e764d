"""Kernels of the fourth stage for sums of products. They are tiled: a number that is loaded once serves several sums.

A sum begins with its start + 0.0, so that sums of -0.0 are 0.0, as in Python.

For ``v``, ``u``, ``g`` and ``c`` see :mod:`micrograd.compiler.emit`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .code import LANES, Function, Number, Operands, Pointer
from .emit import find_stride
from .machine import Kernel

__all__ = ["DOT", "LAYER", "OUTER", "TIMES", "TOTAL"]


def _write_dot(f: Function, v: Pointer, u: Pointer, g: Pointer, c: Pointer) -> None:
    # Computes sums of products. Operands: how many sums; then for each its row, its start in u, how many products have
    # one factor in u and one in v, how many have both in v, and the two factors of each product.
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
    # Cuts a range into tiles of the largest size, and the rest into tiles of smaller sizes. Yields once per size, in
    # the loop over its tiles: the size, and where a tile begins.
    first = f.whole(0)
    for size in sizes:
        last = first + (stop - first) // size * size
        with f.loop(first, last, size) as index:
            yield size, index
        first = last


_GATHERED = 2048  # inputs of a layer of one lane, of all places together, that are copied side by side, at most
_PACKED = 512  # inputs of a layer of one lane whose weights are copied side by side, at most
_LAYER = ("sums", "inputs", "places", "first", "is_columns", "is_lines", "is_given")


def _write_layer(f: Function, v: Pointer, u: Pointer, g: Pointer, c: Pointer) -> None:
    # Computes sums of products with the same weights at several places, each with its own inputs. Operands:
    # - ``sums``, ``inputs``, ``places``: how many there are;
    # - ``first``: the row of the first result; all results are adjacent, place by place;
    # - ``is_columns``, ``is_lines``: whether the weights of each input, or those of each sum, are adjacent in u;
    # - ``is_given``: whether the inputs of each place are adjacent in v;
    # - then the start of each sum in u; an offset for each sum and for each input, so that a weight is in u at the sum
    #   of both; and the row of each place's inputs.
    o = Operands(c, _LAYER)
    with f.either(f.lanes > 1) as (many, one):
        with many:
            _multiply_blocks(f, v, u, o, c + len(_LAYER))
        with one:
            _multiply_vectors(f, v, u, o, c + len(_LAYER))


def _multiply_blocks(f: Function, v: Pointer, u: Pointer, o: Operands, starts: Pointer) -> None:
    # A layer of several lanes. A tile is some sums of one or two vectors of lanes.
    sums, inputs, first, stride = o.sums, o.inputs, o.first, find_stride(f)
    downs, rights, rows = starts + sums, starts + sums * 2, starts + (sums * 2 + inputs)
    with f.loop(0, o.places) as p:
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


def _multiply_vectors(f: Function, v: Pointer, u: Pointer, o: Operands, starts: Pointer) -> None:
    # A layer of one lane. A vector is eight sums of a place, or eight inputs; a tile is several places.
    sums, inputs, places, first = o.sums, o.inputs, o.places, o.first
    is_columns, is_given = o.is_columns == 1, o.is_given == 1
    downs, rights, rows = starts + sums, starts + sums * 2, starts + (sums * 2 + inputs)
    gathered, numbers = f.reals_on_stack(_GATHERED + LANES), f.reals_on_stack(LANES)
    weights = f.reals_on_stack((_PACKED + 1) * LANES)
    is_packed = ~(is_columns | (o.is_lines == 1))
    is_quick = (~is_packed | (inputs <= _PACKED)) & (is_given | (places * inputs <= _GATHERED))

    def find_inputs(p: Number) -> Pointer:
        there = f.address(v + rows[p * inputs])
        return f.reals_at(f.choose_whole(is_given, there, f.address(gathered + p * inputs)))

    with f.either(is_quick) as (quick, slow):
        with quick:
            with f.when(~is_given), f.loop(0, places * inputs) as i:
                gathered[i] = v[rows[i]]
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
                                _put_first(v + (first + ((p + q) * sums + j)), found[q] + start, numbers, count)
        with slow, f.loop(0, places) as p, f.loop(0, sums) as j:
            total = f.variable(u[starts[j]] + 0.0)
            with f.loop(0, inputs) as i:
                total.value = f.add_product(u[downs[j] + rights[i]], v[rows[p * inputs + i]], total.value)
            v[first + (p * sums + j)] = total.value


def _multiply_columns(
    f: Function, weights: Pointer, rights: Pointer, x: Sequence[Pointer], inputs: Number, start: Number
) -> list[Number]:
    # Computes eight sums of products at several places. The eight weights of an input are adjacent.
    totals = [f.variable(start) for _ in x]
    with f.loop(0, inputs) as i:
        line = weights.vector(rights[i])
        for total, numbers in zip(totals, x, strict=True):
            total.value = f.add_product(line, f.splat(numbers[i]), total.value)
    return [total.value for total in totals]


def _multiply_lines(f: Function, weights: Sequence[Pointer], x: Sequence[Pointer], inputs: Number) -> list[Number]:
    # Computes the same. The weights of each sum are adjacent, and so are the inputs.
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
_OUTER = ("high", "wide", "places", "is_adjacent")


def _write_outer(f: Function, v: Pointer, u: Pointer, g: Pointer, c: Pointer) -> None:
    # Adds the products of each row i with each row j to sums in g, over all lanes and places. Operands:
    # - ``high``, ``wide``, ``places``: how many i, j and places there are;
    # - ``is_adjacent``: whether the rows j of each place are adjacent, and so are the sums of an i;
    # - then an offset for each i and for each j, so that a sum is in g at the sum of both;
    # - for each eight j, whether there are eight and their sums are adjacent;
    # - the rows i of each place; the rows j of each place.
    o = Operands(c, _OUTER)
    with f.either(f.lanes > 1) as (many, one):
        with many:
            _add_products_of_blocks(f, v, g, o, c + len(_OUTER))
        with one:
            _add_products_of_numbers(f, v, g, o, c + len(_OUTER))


def _add_products_of_blocks(f: Function, v: Pointer, g: Pointer, o: Operands, downs: Pointer) -> None:
    # Outer products of several lanes. Eight rows j are transposed first: then a vector has all eight numbers of a lane.
    high, wide, places, stride = o.high, o.wide, o.places, find_stride(f)
    rights, chunks = downs + high, (wide + (LANES - 1)) // LANES
    near, rows = rights + wide, rights + (wide + chunks)
    columns = rows + places * high
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


def _add_products_of_numbers(f: Function, v: Pointer, g: Pointer, o: Operands, downs: Pointer) -> None:
    # Outer products of one lane. If rows j and sums are adjacent, a vector has eight of them.
    high, wide, places = o.high, o.wide, o.places
    rights, chunks = downs + high, (wide + (LANES - 1)) // LANES
    rows = rights + (wide + chunks)
    columns = rows + places * high
    whole = f.choose_whole(o.is_adjacent == 1, wide // LANES * LANES, 0)
    for height, i in _each_tile(f, high, (4, 1)):
        lines = [g + (downs[i + r] + rights[0]) for r in range(height)]
        with f.loop(0, whole, LANES) as j:
            sums = [f.variable(line.vector(j)) for line in lines]
            with f.loop(0, places) as p:
                numbers, mine = v.vector(columns[p * wide] + j), rows + (p * high + i)
                for r, total in enumerate(sums):
                    total.value = f.add_product(f.splat(v[mine[r]]), numbers, total.value)
            for line, total in zip(lines, sums, strict=True):
                line.put(j, total.value)
    with f.loop(0, places) as p, f.loop(0, high) as i, f.loop(whole, wide) as j:
        place = downs[i] + rights[j]
        g[place] = f.add_product(v[rows[p * high + i]], v[columns[p * wide + j]], g[place])


def _write_total(f: Function, v: Pointer, u: Pointer, g: Pointer, c: Pointer) -> None:
    # Adds sums over the lanes of a row, times a number of u, to g. Operands: how many sums; then for each its place in
    # g, the row, and the number's place in u.
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
    # Adds numbers of u, times the number of lanes, to g. Operands: how many; then for each its place in g and in u.
    with f.loop(0, c[0]) as i:
        one = c + (1 + i * 2)
        g[one[0]] = f.add_product(f.lanes.as_real(), u[one[1]], g[one[0]])


DOT, LAYER = Kernel("dot", _write_dot), Kernel("layer", _write_layer, _LAYER)
OUTER = Kernel("outer", _write_outer, _OUTER)
TOTAL, TIMES = Kernel("total", _write_total), Kernel("times", _write_times)
