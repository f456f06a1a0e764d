"""Kernels of the fourth stage: sums of products, tiled so that what is loaded once serves several sums.

For ``v``, ``u``, ``g`` and ``c`` see :mod:`micrograd.compiler.emit`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .code import LANES, Function, Number, Pointer
from .emit import find_stride
from .machine import Kernel

__all__ = ["DOT", "LAYER", "OUTER", "TIMES", "TOTAL"]


def _write_dot(f: Function, v: Pointer, u: Pointer, g: Pointer, c: Pointer) -> None:
    # sums: (row, start in u, how many products of u and v, of v and v, the products…)…
    stride, at = find_stride(f), f.variable(1)
    with f.loop(0, c[0]):
        k = at.value
        row, start, mixed, lanes = (c[k + i] for i in range(4))
        first = k + 4
        second = first + mixed * 2
        with f.either(f.lanes > 1) as (many, one):
            with many, f.loop(0, stride, LANES) as lane:
                total = f.variable(f.splat(u[start]))
                with f.loop(first, second, 2) as i:
                    w = f.splat(u[c[i]])
                    total.value = f.add_product(w, v.vector(c[i + 1] * stride + lane), total.value)
                with f.loop(second, second + lanes * 2, 2) as i:
                    a, b = (v.vector(c[i + j] * stride + lane) for j in range(2))
                    total.value = f.add_product(a, b, total.value)
                v.put(row * stride + lane, total.value)
            with one:
                single = f.variable(u[start])
                with f.loop(first, second, 2) as i:
                    single.value = f.add_product(u[c[i]], v[c[i + 1]], single.value)
                with f.loop(second, second + lanes * 2, 2) as i:
                    single.value = f.add_product(v[c[i]], v[c[i + 1]], single.value)
                v[row] = single.value
        at.value = second + lanes * 2


def _each_tile(f: Function, stop: Number, sizes: Sequence[int]) -> Iterator[tuple[int, Number]]:
    # Loops over a range in steps of the largest size, then over what is left in smaller ones.
    first = f.whole(0)
    for size in sizes:
        last = first + (stop - first) // size * size
        with f.loop(first, last, size) as index:
            yield size, index
        first = last


def _write_layer(f: Function, v: Pointer, u: Pointer, g: Pointer, c: Pointer) -> None:
    # The same sums of products of the inputs of several places: how many sums, inputs, places; the weight of sum j and
    # input i is u[w0 + j wj + i wi]; the first row, of all places' sums; a start in u for each sum; the inputs of each
    # place.
    sums, inputs, places, w0, wj, wi, first = (c[i] for i in range(7))
    stride = find_stride(f)
    starts = c + 7
    with f.either(f.lanes > 1) as (many, one):
        with many, f.loop(0, places) as p:
            rows = starts + (sums + p * inputs)
            out = first + p * sums
            for height, j in _each_tile(f, sums, (8, 4, 1)):
                for width, chunk in _each_tile(f, stride // LANES, (2, 1) if height == 8 else (1,)):
                    lane = chunk * LANES
                    totals = [[f.variable(f.splat(u[starts[j + r]])) for _ in range(width)] for r in range(height)]
                    weights = [u + (w0 + (j + r) * wj) for r in range(height)]
                    with f.loop(0, inputs) as i:
                        row = v + (rows[i] * stride + lane)
                        x = [row.vector(LANES * w) for w in range(width)]
                        for r in range(height):
                            weight = f.splat(weights[r][i * wi])
                            for w in range(width):
                                totals[r][w].value = f.add_product(weight, x[w], totals[r][w].value)
                    for r in range(height):
                        for w in range(width):
                            v.put((out + (j + r)) * stride + (lane + LANES * w), totals[r][w].value)
        with one:
            begins, ends = f.reals_on_stack(LANES), f.reals_on_stack(LANES)
            with f.loop(0, sums, LANES) as j:
                count = f.least(sums - j, LANES)
                with f.loop(0, count) as k:
                    begins[k] = u[starts[j + k]]
                for size, p in _each_tile(f, places, (4, 1)):
                    totals_ = [f.variable(begins.vector()) for _ in range(size)]
                    rows_ = [starts + (sums + (p + q) * inputs) for q in range(size)]
                    with f.loop(0, inputs) as i:
                        at = u + (w0 + j * wj + i * wi)
                        with f.either(wj == 1) as (near, far):
                            with near:
                                ends.put(0, at.vector())
                            with far, f.loop(0, LANES) as k:
                                ends[k] = at[wj * f.least(k, count - 1)]
                        weights_ = ends.vector()
                        for q in range(size):
                            number = f.splat(v[rows_[q][i]])
                            totals_[q].value = f.add_product(weights_, number, totals_[q].value)
                    for q in range(size):
                        ends.put(0, totals_[q].value)
                        with f.loop(0, count) as k:
                            v[first + ((p + q) * sums + j + k)] = ends[k]


def _write_outer(f: Function, v: Pointer, u: Pointer, g: Pointer, c: Pointer) -> None:
    # Sums over lanes, and over places, of products: g[g0 + i gi + j gj] += row i × row j. How many i, j, places; g0,
    # gi, gj; whether the rows j follow each other, as their sums do; each place's rows i; each place's rows j.
    high, wide, places, g0, gi, gj, follow = (c[i] for i in range(7))
    stride, rows = find_stride(f), c + 7
    columns, apart = rows + places * high, f.reals_on_stack(LANES)
    with f.either(f.lanes > 1) as (many, one):
        with many:
            for height, i in _each_tile(f, high, (3, 1)):
                for width, j in _each_tile(f, wide, (LANES, 1)):
                    totals = [[f.variable(f.reals(0.0)) for _ in range(width)] for _ in range(height)]
                    with f.loop(0, places) as p:
                        a = [v + rows[p * high + i + r] * stride for r in range(height)]
                        b = [v + columns[p * wide + j + w] * stride for w in range(width)]
                        with f.loop(0, stride, LANES) as lane:
                            is_lane = f.before(f.lanes - lane)
                            left = [f.choose(is_lane, x.vector(lane), 0.0) for x in a]
                            right = [x.vector(lane) for x in b]
                            for r in range(height):
                                for w in range(width):
                                    totals[r][w].value = f.add_product(left[r], right[w], totals[r][w].value)
                    for r in range(height):
                        line, found = g + (g0 + (i + r) * gi + j * gj), [total.value for total in totals[r]]
                        if width == 1:
                            line[0] = line[0] + f.sum(found[0])
                            continue
                        sums = f.sums(found)
                        with f.either(gj == 1) as (near, far):
                            with near:
                                line.put(0, line.vector() + sums)
                            with far:
                                apart.put(0, sums)
                                with f.loop(0, LANES) as k:
                                    line[k * gj] = line[k * gj] + apart[k]
        with one, f.loop(0, places) as p, f.loop(0, high) as i:
            x, line = v[rows[p * high + i]], g + (g0 + i * gi)
            mine = columns + p * wide
            whole = f.choose_whole(follow == 1, wide // LANES * LANES, 0)
            with f.loop(0, whole, LANES) as j:
                line.put(j, f.add_product(f.splat(x), v.vector(mine[0] + j), line.vector(j)))
            with f.loop(whole, wide) as j:
                line[j * gj] = f.add_product(x, v[mine[j]], line[j * gj])


def _write_total(f: Function, v: Pointer, u: Pointer, g: Pointer, c: Pointer) -> None:
    # Sums over lanes of rows, each times a number: (place in g, row, factor in u)…
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
    # What is the same in all lanes, as often as there are lanes: (place in g, number in u)…
    with f.loop(0, c[0]) as i:
        one = c + (1 + i * 2)
        g[one[0]] = f.add_product(f.lanes.as_real(), u[one[1]], g[one[0]])


DOT, LAYER = Kernel("dot", _write_dot), Kernel("layer", _write_layer)
OUTER, TOTAL, TIMES = Kernel("outer", _write_outer), Kernel("total", _write_total), Kernel("times", _write_times)
