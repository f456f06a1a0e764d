"""The sources that are compiled: the instructions, and the loops that run them.

Rows are given by their number. ``v`` are the rows of a block of lanes, ``u`` the numbers that are the same in all
lanes, ``g`` the sums over lanes, ``c`` the instruction's operands and ``n`` the number of lanes. Row 0 of ``v`` is 0 in
the lanes where each operation gave something finite, and nan in the others.
"""

from __future__ import annotations

__all__ = ["ADDS_IN_ANY_ORDER", "ELEMENTWISE", "FIXED", "HEAD", "HELPERS", "LIMITS", "RUN"]

HEAD = """
import math
from math import *
from numba import cfunc, njit, types

f8, i8 = types.CPointer(types.float64), types.CPointer(types.int64)
settings = dict(nopython=True, nogil=True, cache={cache}, error_model="numpy", fastmath={fastmath})
"""
# What stands for a helper of the table. Where the helper raises, the number is nan, and its lane is left to Python.
HELPERS = {
    "real": "def real(x): return x",
    "chance": "def chance(p): return p if 0 <= p <= 1 else nan",
    # x³, with what the two products lose in rounding (Dekker, A floating-point technique for extending the available
    # precision, 1971)
    "cubed": """
def cubed(x):
    p, e = product(x, x)
    r, f = product(p, x)
    return r + (e * x + f)
""",
    "product": """
def product(a, b):
    p = a * b
    c, d = 134217729.0 * a, 134217729.0 * b
    a1, b1 = c - (c - a), d - (d - b)
    a2, b2 = a - a1, b - b1
    return p, a2 * b2 - (((p - a1 * b1) - a2 * b1) - a1 * b2)
""",
    "index": "def index(i, count): return i if 0 <= i < count and i == floor(i) else nan",
}
# A text has names of its own: those of the loop end in a line.
ELEMENTWISE = """
@cfunc(types.void(f8, f8, f8, i8, types.int64), **settings)
def run(v_, u_, g_, c_, n_):
    k_ = 1
    for _ in range(c_[0]):
        {rows}
        k_ += {width}
        if n_ == 1:
            {firsts}
            out_ = {value}
            v_[row_] = out_{check_one}
        else:
            for l_ in range(n_):
                {lanes}
                out_ = {value}
                v_[row_ + l_] = out_{check}
"""


def _sums(many: int) -> str:
    # The loops of a layer for so many sums at a time, and four inputs: what was loaded once serves them all.
    def each(text: str, separator: str = "\n") -> str:
        return separator.join([text.replace("#", str(i)) for i in range(many)])

    return f"""
    while j + {many} <= m:
        w, i = w0 + j * wj, 0
        {each("o# = (first + j + #) * n", "; ")}
        while i + 4 <= count:
            k = 6 + m + i
            a, b, d, e = c[k] * n, c[k + 1] * n, c[k + 2] * n, c[k + 3] * n
{each("            p# = w + # * wj; q#, r#, s#, t# = u[p#], u[p# + wi], u[p# + 2 * wi], u[p# + 3 * wi]")}
            for l in range(n):
                x, y, z, h = v[a + l], v[b + l], v[d + l], v[e + l]
{each("                v[o# + l] = v[o# + l] + q# * x + r# * y + s# * z + t# * h")}
            w += 4 * wi
            i += 4
        while i < count:
            a = c[6 + m + i] * n
            {each("q# = u[w + # * wj]", "; ")}
            for l in range(n):
                x = v[a + l]
{each("                v[o# + l] += q# * x")}
            w += wi
            i += 1
        j += {many}
"""


# Instructions that are not rules but ways to run many sums of products at once.
FIXED = {
    # the same number in all lanes: (row, number)…
    "fill": """
    for i in range(c[0]):
        o = c[1 + 2 * i] * n
        x = u[c[2 + 2 * i]]
        for l in range(n):
            v[o + l] = x
""",
    # sums: (row, start in u, how many products of u and v, of v and v, the products…)…
    "dot": """
    k = 1
    for _ in range(c[0]):
        o = c[k] * n
        start, uv, vv = u[c[k + 1]], c[k + 2], c[k + 3]
        k += 4
        if n == 1:
            total = start
            for i in range(uv):
                total += u[c[k]] * v[c[k + 1]]
                k += 2
            for i in range(vv):
                total += v[c[k]] * v[c[k + 1]]
                k += 2
            v[o] = total
        else:
            for l in range(n):
                v[o + l] = start
            for i in range(uv):
                w, a = u[c[k]], c[k + 1] * n
                k += 2
                for l in range(n):
                    v[o + l] += w * v[a + l]
            for i in range(vv):
                a, b = c[k] * n, c[k + 1] * n
                k += 2
                for l in range(n):
                    v[o + l] += v[a + l] * v[b + l]
""",
    # sums with the same inputs: how many sums, of how many inputs; weight of sum j and input i is u[w0 + j wj + i wi];
    # the first row; a start for each in u; the inputs
    "layer": """
    m, count, w0, wj, wi, first = c[0], c[1], c[2], c[3], c[4], c[5]
    if n == 1:
        if wi == 1:
            for j in range(m):
                total = u[c[6 + j]]
                w = w0 + j * wj
                for i in range(count):
                    total += u[w + i] * v[c[6 + m + i]]
                v[first + j] = total
        else:
            for j in range(m):
                total = u[c[6 + j]]
                w = w0 + j * wj
                for i in range(count):
                    total += u[w + i * wi] * v[c[6 + m + i]]
                v[first + j] = total
        return
    for j in range(m):
        o, start = (first + j) * n, u[c[6 + j]]
        for l in range(n):
            v[o + l] = start
    j = 0
"""
    + _sums(4)
    + _sums(1),
    # sums over lanes of products: g[g0 + i gi + j gj] += row i × row j: how many i, j; g0, gi, gj; rows i; rows j
    "outer": """
    m, count, g0, gi, gj = c[0], c[1], c[2], c[3], c[4]
    if n == 1:
        for i in range(m):
            x, k = v[c[5 + i]], g0 + i * gi
            for j in range(count):
                g[k] += x * v[c[5 + m + j]]
                k += gj
        return
    tiles = m - m % 4
    for i in range(0, tiles, 4):
        a0, a1, a2, a3 = c[5 + i] * n, c[6 + i] * n, c[7 + i] * n, c[8 + i] * n
        k = g0 + i * gi
        j = 0
        while j + 4 <= count:
            q = 5 + m + j
            b0, b1, b2, b3 = c[q] * n, c[q + 1] * n, c[q + 2] * n, c[q + 3] * n
            s00 = s01 = s02 = s03 = s10 = s11 = s12 = s13 = 0.0
            s20 = s21 = s22 = s23 = s30 = s31 = s32 = s33 = 0.0
            for l in range(n):
                x0, x1, x2, x3 = v[a0 + l], v[a1 + l], v[a2 + l], v[a3 + l]
                y0, y1, y2, y3 = v[b0 + l], v[b1 + l], v[b2 + l], v[b3 + l]
                s00 += x0 * y0; s01 += x0 * y1; s02 += x0 * y2; s03 += x0 * y3
                s10 += x1 * y0; s11 += x1 * y1; s12 += x1 * y2; s13 += x1 * y3
                s20 += x2 * y0; s21 += x2 * y1; s22 += x2 * y2; s23 += x2 * y3
                s30 += x3 * y0; s31 += x3 * y1; s32 += x3 * y2; s33 += x3 * y3
            g[k] += s00; g[k + gj] += s01; g[k + 2 * gj] += s02; g[k + 3 * gj] += s03
            h = k + gi
            g[h] += s10; g[h + gj] += s11; g[h + 2 * gj] += s12; g[h + 3 * gj] += s13
            h += gi
            g[h] += s20; g[h + gj] += s21; g[h + 2 * gj] += s22; g[h + 3 * gj] += s23
            h += gi
            g[h] += s30; g[h + gj] += s31; g[h + 2 * gj] += s32; g[h + 3 * gj] += s33
            k += 4 * gj
            j += 4
        while j < count:
            b = c[5 + m + j] * n
            t0 = t1 = t2 = t3 = 0.0
            for l in range(n):
                y = v[b + l]
                t0 += v[a0 + l] * y
                t1 += v[a1 + l] * y
                t2 += v[a2 + l] * y
                t3 += v[a3 + l] * y
            g[k] += t0
            g[k + gi] += t1
            g[k + 2 * gi] += t2
            g[k + 3 * gi] += t3
            k += gj
            j += 1
    for i in range(tiles, m):
        a, k = c[5 + i] * n, g0 + i * gi
        for j in range(count):
            b, t = c[5 + m + j] * n, 0.0
            for l in range(n):
                t += v[a + l] * v[b + l]
            g[k] += t
            k += gj
""",
    # sums over lanes of rows, each times a number: (place in g, row, factor in u)…
    "total": """
    for i in range(c[0]):
        a, t = c[2 + 3 * i] * n, 0.0
        for l in range(n):
            t += v[a + l]
        g[c[1 + 3 * i]] += t * u[c[3 + 3 * i]]
""",
    # what is the same in all lanes, as often as there are lanes: (place in g, number in u)…
    "times": """
    for i in range(c[0]):
        g[c[1 + 2 * i]] += n * u[c[2 + 2 * i]]
""",
}
ADDS_IN_ANY_ORDER = {"layer": {"contract"}, "outer": {"contract", "reassoc"}, "total": {"reassoc"}}

RUN = """
from llvmlite import ir
from numba.extending import intrinsic


@intrinsic
def call(typing, address, v, u, g, c, n):
    def generate(context, builder, signature, arguments):
        number, real, integer = ir.IntType(64), ir.DoubleType().as_pointer(), ir.IntType(64).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [real, real, real, integer, number])
        function, v, u, g, c, n = arguments
        pointers = [builder.inttoptr(x, real) for x in (v, u, g)]
        builder.call(builder.inttoptr(function, kind.as_pointer()), [*pointers, builder.inttoptr(c, integer), n])
        return context.get_dummy_value()
    return types.void(*[types.int64] * 6), generate


@intrinsic
def pointer(typing, address):
    # An array's numbers without Python's negative indexes, which keep loops from being vectorised.
    def generate(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], ir.DoubleType().as_pointer())
    return types.CPointer(types.float64)(types.int64), generate


whole, real = types.int64, types.float64
wholes, reals, table = types.int64[::1], types.float64[::1], types.float64[:, ::1]
whole_table = types.int64[:, ::1]
options = dict(nogil=True, cache={cache})


@njit(types.void(wholes, whole, whole, whole, whole, whole, whole), **options)
def run(code, start, stop, v, u, g, lanes):
    base = code.ctypes.data
    k = start
    while k < stop:
        call(code[k], v, u, g, base + 8 * (k + 2), lanes)
        k += code[k + 1]


@njit(types.void(whole, wholes, whole, whole, whole, whole, whole, whole), **options)
def repeat(times, code, start, stop, v, u, g, lanes):
    for _ in range(times):
        run(code, start, stop, v, u, g, lanes)


@njit(real(wholes, wholes, table, wholes, whole, whole, whole, reals, reals, reals, wholes, table),
      fastmath={"reassoc"}, **options)
def batch(code, ends, x, picked, first, last, width, v, u, g, rows, out):
    # Lanes first to last, in blocks; out gets the rows asked for, of each lane. The result is 0 if all is finite.
    # x has a row for each sample, and those picked are taken; if there are none picked, it has a column for each.
    in_columns = picked.shape[0] == 0
    inputs, lanes, check = x.shape[0] if in_columns else x.shape[1], out.shape[1], 0.0
    p, q, r = pointer(v.ctypes.data), pointer(x.ctypes.data), pointer(out.ctypes.data)
    for start in range(first, last, width):
        n = min(width, last - start)
        for l in range(n):
            p[l] = 0.0
        if in_columns:
            for i in range(inputs):
                for l in range(n):
                    p[(1 + i) * n + l] = q[i * lanes + start + l]
        else:
            for l in range(0, n, 8):  # so many samples are a line of the cache in each of the rows
                for i in range(inputs):
                    for k in range(l, min(l + 8, n)):
                        p[(1 + i) * n + k] = q[picked[start + k] * inputs + i]
        run(code, ends[0], ends[1], v.ctypes.data, u.ctypes.data, g.ctypes.data, n)
        for i in range(rows.shape[0]):
            row, o = rows[i] * n, i * lanes + start
            for l in range(n):
                r[o + l] = p[row + l]
                check += 0.0 * p[row + l]
    return check


@njit(types.void(wholes, wholes, reals, reals), **options)
def uniform(code, ends, u, g):
    u[0] = 0.0
    run(code, 0, ends[0], u.ctypes.data, u.ctypes.data, g.ctypes.data, 1)


@njit(real(wholes, wholes, reals, reals, reals, wholes, reals), **options)
def one(code, ends, x, v, u, rows, out):
    # A single lane; out gets the rows asked for. The result is 0 if all is finite.
    uniform(code, ends, u, u)
    v[0] = check = u[0]
    for i in range(x.shape[0]):
        v[1 + i] = x[i]
    run(code, ends[0], ends[1], v.ctypes.data, u.ctypes.data, u.ctypes.data, 1)
    for i in range(rows.shape[0]):
        out[i] = v[rows[i]]
        check += 0.0 * out[i]
    return check


@njit(whole(reals, wholes, real, table, wholes, wholes, reals, reals, whole, wholes, table, table, whole, reals,
            whole_table, whole_table, reals, table, reals, table), fastmath={"reassoc"}, **options)
def finish(sums, places, scale, numbers, code, ends, u, v, width, rows, out, settings, step, norms,
           runs, biases, arriving, squares, heard, layers):
    # The update of all parameters by the sums over a batch, which become 0: 1, and out is what numbers have to be; or
    # 0, if a number is not finite. Both have a column for each parameter: itself, its gradient, and what the optimizer
    # remembers of it. Its gradient is at its place among the sums, or 0; without places, they are in the same order.
    kinds, count = numbers.shape
    p, q = pointer(v.ctypes.data), pointer(numbers.ctypes.data)
    r, s = pointer(out.ctypes.data), pointer(sums.ctypes.data)
    for k in range(settings.shape[1]):
        u[1 + k] = settings[step, k]
    uniform(code, ends, u, u)
    square, check = 0.0, u[0]
    for start in range(0, count, width):
        n, slopes = min(width, count - start), 2 * min(width, count - start)
        if places.shape[0] == 0:
            for l in range(n):
                p[slopes + l] = s[start + l] * scale
                s[start + l] = 0.0
        else:
            for l in range(n):
                place = places[start + l]
                p[slopes + l] = 0.0
                if place >= 0:
                    p[slopes + l] = s[place] * scale
                    s[place] = 0.0
        for l in range(n):
            p[l] = 0.0
            p[n + l] = q[start + l]
            r[count + start + l] = p[slopes + l]
            square += p[slopes + l] * p[slopes + l]
        for k in range(2, kinds):
            for l in range(n):
                p[(1 + k) * n + l] = q[k * count + start + l]
        run(code, ends[0], ends[1], v.ctypes.data, u.ctypes.data, u.ctypes.data, n)
        for l in range(n):
            check += p[l]
        for k in range(1, rows.shape[0]):
            row, o = rows[k] * n, (k if k > 1 else 0) * count + start
            for l in range(n):
                r[o + l] = p[row + l]
                check += 0.0 * p[row + l]
    if check != 0.0 or not square < math.inf:
        return 0
    norms[step] = math.sqrt(square)
    # Notes for the report of the gradient flow.
    for k in range(layers.shape[1]):
        squares[0, k] = squares[1, k] = 0.0
    h, g = pointer(heard.ctypes.data), pointer(out[1].ctypes.data)
    for i in range(runs.shape[0]):
        total = 0.0
        for j in range(runs[i, 0], runs[i, 1]):
            total += g[j] * g[j]
            h[j] += abs(g[j])
        squares[0, runs[i, 2]] += total
    for i in range(biases.shape[0]):
        slope = g[biases[i, 0]]
        squares[1, biases[i, 1]] += slope * slope
    for k in range(layers.shape[1]):
        layers[0, k] += math.sqrt(squares[0, k])
        layers[1, k] += math.sqrt(squares[1, k] / arriving[k])
    return 1


@njit(whole(wholes, wholes, table, wholes, wholes, whole, reals, reals, reals, wholes, table, wholes, table,
            wholes, wholes, reals, reals, whole, wholes, table, table, reals, reals,
            whole_table, whole_table, reals, table, reals, table), **options)
def train(code, ends, x, picked, batches, width, v, u, sums, rows, out, places, numbers,
          its_code, its_ends, its_u, its_v, its_width, its_rows, its_out, settings, losses, norms,
          runs, biases, arriving, squares, heard, layers):
    # Steps of training, each on its own batch, until all are done or a number is not finite.
    # The numbers change places with what becomes of them: after an odd number of steps, its_out is what holds.
    count, p = numbers.shape[1], pointer(u.ctypes.data)
    for step in range(batches.shape[0] - 1):
        first, last = batches[step], batches[step + 1]
        uniform(code, ends, u, sums)
        check = u[0] + batch(code, ends, x, picked, first, last, width, v, u, sums, rows, out)
        if check != 0.0:
            return step
        total = 0.0
        for l in range(first, last):
            total += out[1, l]
        if not finish(sums, places, 1.0 / (last - first), numbers, its_code, its_ends, its_u, its_v, its_width,
                      its_rows, its_out, settings, step, norms, runs, biases, arriving, squares, heard, layers):
            return step
        numbers, its_out = its_out, numbers
        q = pointer(numbers.ctypes.data)
        if places.shape[0] == 0:
            for i in range(count):
                p[1 + i] = q[i]
        else:
            for i in range(count):
                if places[i] >= 0:
                    p[1 + places[i]] = q[i]
        losses[step] = total
    return batches.shape[0] - 1
"""

LIMITS = """
@njit(types.void(types.int64, types.float64[::1], types.float64[::1]), nogil=True, cache={cache})
def copy(times, a, b):
    for k in range(times):
        for i in range(a.shape[0]):
            b[i] = a[i]
        a[k % a.shape[0]] = k


@njit(types.void(types.int64, types.float64[::1], types.float64[::1]), nogil=True, cache={cache}, fastmath=True)
def multiply_add(times, a, b):
    for k in range(times):
        w = 1.0 / (k + 1)
        for i in range(a.shape[0]):
            b[i] = b[i] * w + a[i]
"""
