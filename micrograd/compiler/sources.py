"""The sources that are compiled: the instructions, and the loops that run them.

Rows are given by their number. ``v`` are the rows of a block of lanes, ``u`` the numbers that are the same in all
lanes, ``g`` the sums over lanes, ``c`` the instruction's operands and ``n`` the number of lanes. Row 0 of ``v`` is 0 in
the lanes where each operation gave something finite, and nan in the others.
"""

from __future__ import annotations

__all__ = ["CUBED", "ELEMENTWISE", "FASTMATH", "FIXED", "HEAD", "HELPERS", "LIMITS", "LOOPS", "LOOP_HEAD"]

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
    "index_": "def index_(i, count): return i if 0 <= i < count and i == floor(i) else nan",
}
# x³, with what its two products lose in rounding: a fused multiply-add gives that exactly.
CUBED = """
from numba.extending import intrinsic

@intrinsic
def fused(typing, a, b, c):
    def generate(context, builder, signature, arguments):
        return builder.fma(*arguments)
    return types.float64(types.float64, types.float64, types.float64), generate

@njit(error_model="numpy")
def cubed_(x):
    square = x * x
    cube = square * x
    return cube - (fused(-x, x, square) * x + fused(-square, x, cube))  # so that -0 stays that
"""
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


def _four(text: str, separator: str = "\n") -> str:
    # The text for the sums 0 to 3: what was loaded once serves them all.
    return separator.join([text.replace("#", str(i)) for i in range(4)])


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
            if uv % 2:
                w, a = u[c[k]], c[k + 1] * n
                for l in range(n):
                    v[o + l] = start + w * v[a + l]
                k += 2
            else:
                for l in range(n):
                    v[o + l] = start
            for i in range(uv // 2):
                w, a, x, b = u[c[k]], c[k + 1] * n, u[c[k + 2]], c[k + 3] * n
                for l in range(n):
                    v[o + l] = v[o + l] + w * v[a + l] + x * v[b + l]
                k += 4
            for i in range(vv):
                a, b = c[k] * n, c[k + 1] * n
                k += 2
                for l in range(n):
                    v[o + l] += v[a + l] * v[b + l]
""",
    # sums with the same inputs: how many sums, of how many inputs; weight of sum j and input i is u[w0 + j wj + i wi];
    # the first row; a start for each in u; the inputs
    "layer": f"""
    m, count, w0, wj, wi, first = c[0], c[1], c[2], c[3], c[4], c[5]
    if n == 1:
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
    fours = m - m % 4
    for j in range(0, fours, 4):
        w, i = w0 + j * wj, 0
        {_four("o# = (first + j + #) * n", "; ")}
        while i + 4 <= count:
            k = 6 + m + i
            a, b, d, e = c[k] * n, c[k + 1] * n, c[k + 2] * n, c[k + 3] * n
{_four("            p# = w + # * wj; q#, r#, s#, t# = u[p#], u[p# + wi], u[p# + 2 * wi], u[p# + 3 * wi]")}
            for l in range(n):
                x, y, z, h = v[a + l], v[b + l], v[d + l], v[e + l]
{_four("                v[o# + l] = v[o# + l] + q# * x + r# * y + s# * z + t# * h")}
            w += 4 * wi
            i += 4
        while i < count:
            a = c[6 + m + i] * n
            {_four("q# = u[w + # * wj]", "; ")}
            for l in range(n):
                x = v[a + l]
{_four("                v[o# + l] += q# * x")}
            w += wi
            i += 1
    for j in range(fours, m):
        o, w = (first + j) * n, w0 + j * wj
        for i in range(count):
            a, q = c[6 + m + i] * n, u[w]
            for l in range(n):
                v[o + l] += q * v[a + l]
            w += wi
""",
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
# What the loops below need: numbers at an address, and how instructions are run.
LOOP_HEAD = """
from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic


def _pointer(kind):
    @intrinsic
    def pointer(typing, address):
        def generate(context, builder, signature, arguments):
            return builder.inttoptr(arguments[0], context.get_value_type(kind))
        return kind(types.int64), generate
    return pointer


reals, wholes = _pointer(f8), _pointer(i8)


@intrinsic
def execute(typing, code, start, stop, v, u, g, n):
    # The instructions between two places of a program: each the address of a function, a length, and operands.
    def generate(context, builder, signature, arguments):
        code, start, stop, v, u, g, n = arguments
        kind = ir.FunctionType(ir.VoidType(), [v.type, u.type, g.type, code.type, n.type])
        place = cgutils.alloca_once_value(builder, start)
        test, body, end = map(builder.append_basic_block, ("test", "body", "end"))
        builder.branch(test)
        builder.position_at_end(test)
        k = builder.load(place)
        builder.cbranch(builder.icmp_signed("<", k, stop), body, end)
        builder.position_at_end(body)
        function = builder.inttoptr(builder.load(builder.gep(code, [k])), kind.as_pointer())
        builder.call(function, [v, u, g, builder.gep(code, [builder.add(k, k.type(2))]), n])
        builder.store(builder.add(k, builder.load(builder.gep(code, [builder.add(k, k.type(1))]))), place)
        builder.branch(test)
        builder.position_at_end(end)
        return context.get_dummy_value()
    return types.void(i8, types.int64, types.int64, f8, f8, f8, types.int64), generate
"""

# The loops that run programs are instructions, too. Their operands may be addresses, and the first is what comes of it.
LOOPS = {
    # again and again: how often; the program, where to start, where to stop
    "repeat": """
    code = wholes(c[1])
    for _ in range(c[0]):
        execute(code, c[2], c[3], v, u, g, n)
""",
    # a single lane, of the uniform part of the program, too: whether all is finite; the program, the end of its uniform
    # part, its end; inputs, how many; the rows that are asked for, how many, where to
    "one": """
    code, x, rows, out = wholes(c[1]), reals(c[4]), wholes(c[6]), reals(c[8])
    u[0] = 0.0
    execute(code, 0, c[2], u, u, u, 1)
    v[0] = check = u[0]
    for i in range(c[5]):
        v[1 + i] = x[i]
    execute(code, c[2], c[3], v, u, u, 1)
    for i in range(c[7]):
        out[i] = v[rows[i]]
        check += 0.0 * out[i]
    c[0] = check == 0.0
""",
    # n lanes, or some of them, in blocks: whether all is finite; the program, where it starts, its end; inputs, how
    # many; the rows that are asked for, how many, where to; the first lane, the end, a block's width; the samples that
    # are picked. Inputs have a row for each sample, and those picked are taken; or a column, and none are picked.
    "batch": """
    code, begin, end, x, inputs = wholes(c[1]), c[2], c[3], reals(c[4]), c[5]
    rows, outputs, out, first, last, width, picked = wholes(c[6]), c[7], reals(c[8]), c[9], c[10], c[11], wholes(c[12])
    check = 0.0
    for start in range(first, last, width):
        m = min(width, last - start)
        for l in range(m):
            v[l] = 0.0
        if c[12] == 0:
            for i in range(inputs):
                for l in range(m):
                    v[(1 + i) * m + l] = x[i * n + start + l]
        else:
            lines = m - m % 8
            for l in range(0, lines, 8):  # so many samples are a line of the cache in each of the rows
                for i in range(inputs):
                    for k in range(8):
                        v[(1 + i) * m + l + k] = x[picked[start + l + k] * inputs + i]
            for l in range(lines, m):
                for i in range(inputs):
                    v[(1 + i) * m + l] = x[picked[start + l] * inputs + i]
        execute(code, begin, end, v, u, g, m)
        for i in range(outputs):
            row, o = rows[i] * m, i * n + start
            for l in range(m):
                out[o + l] = v[row + l]
                check += 0.0 * v[row + l]
    c[0] = check == 0.0
""",
    # the update of n parameters by sums over samples, which become 0: whether all is finite, or else nothing is worth
    # anything; the program, the end of its uniform part, its end; the numbers, how many of each parameter; the rows
    # that they become; where to; the block's width; the settings of each step, how many, the step, its norms, how many
    # samples it has; runs of parameters of a layer, how many, biases, how many, of each layer how many, place for two
    # numbers for each layer; and what is added to: for each parameter, for each layer, how many these are.
    # Numbers have a column for each parameter: itself, its gradient, and what the optimizer remembers of it.
    "finish": """
    code, numbers, kinds, rows, out, width = wholes(c[1]), reals(c[4]), c[5], wholes(c[6]), reals(c[7]), c[8]
    settings, step = reals(c[9]), c[11]
    scale = 1.0 / c[13]
    for i in range(c[10]):
        u[1 + i] = settings[step * c[10] + i]
    u[0] = square = 0.0
    execute(code, 0, c[2], u, u, u, 1)
    check = u[0]
    for start in range(0, n, width):
        m = min(width, n - start)
        for l in range(m):
            slope = g[start + l] * scale
            g[start + l] = 0.0
            v[l] = 0.0
            v[m + l] = numbers[start + l]
            v[2 * m + l] = slope
            out[n + start + l] = slope
            square += slope * slope
        for i in range(2, kinds):
            for l in range(m):
                v[(1 + i) * m + l] = numbers[i * n + start + l]
        execute(code, c[2], c[3], v, u, u, m)
        for l in range(m):
            check += v[l]
        for i in range(1, kinds):
            row, o = rows[i] * m, (i if i > 1 else 0) * n + start
            for l in range(m):
                out[o + l] = v[row + l]
                check += 0.0 * v[row + l]
    c[0] = check == 0.0 and square < math.inf
    if c[0] == 0:
        return
    norms = reals(c[12])
    norms[step] = math.sqrt(square)
    # Notes for the report of the gradient flow.
    runs, biases, arriving, squares, heard, layers = (
        wholes(c[14]), wholes(c[16]), reals(c[18]), reals(c[19]), reals(c[20]), reals(c[21])
    )
    for i in range(2 * c[22]):
        squares[i] = 0.0
    for i in range(c[15]):
        total = 0.0
        for j in range(runs[3 * i], runs[3 * i + 1]):
            slope = out[n + j]
            total += slope * slope
            heard[j] += abs(slope)
        squares[2 * runs[3 * i + 2]] += total
    for i in range(c[17]):
        slope = out[n + biases[2 * i]]
        squares[2 * biases[2 * i + 1] + 1] += slope * slope
    for i in range(c[22]):
        layers[2 * i] += math.sqrt(squares[2 * i])
        layers[2 * i + 1] += math.sqrt(squares[2 * i + 1] / arriving[i])
""",
    # the sums over the samples of a step: whether all is finite; its parts, from which to which; of each part: which
    # program, and the lanes, from the first to the end; of each program: its instruction "batch", and its numbers that
    # are the same in all lanes; the parameters, how many; the step, the losses of all
    "slopes": """
    parts, programs, numbers, losses = wholes(c[3]), wholes(c[4]), reals(c[5]), reals(c[8])
    c[0], total = 0, 0.0
    for i in range(3 * c[1], 3 * c[2], 3):
        batch, its_u = wholes(programs[2 * parts[i]]), reals(programs[2 * parts[i] + 1])
        its_u[0] = 0.0
        for k in range(c[6]):
            its_u[1 + k] = numbers[k]
        execute(wholes(batch[3]), 0, batch[4], its_u, its_u, g, 1)
        batch[11], batch[12] = parts[i + 1], parts[i + 2]
        execute(batch, 0, 1, v, its_u, g, n)
        if batch[2] == 0 or its_u[0] != 0.0:
            return
        out = reals(batch[10])
        for l in range(parts[i + 1], parts[i + 2]):
            total += out[n + l]
    losses[c[7]] = total
    c[0] = 1
""",
    # steps of training, until all are done or a number is not finite: how many are done; how many to do; where the
    # parts of each begin, and its lanes; the rows of the update, its numbers that are the same in all; how many
    # parameters there are; the instructions slopes and finish, whose operands it changes. Numbers and what becomes of
    # them change places: after an odd number of steps, they are where they became.
    "train": """
    parts, lanes, its_v, its_u = wholes(c[2]), wholes(c[3]), reals(c[4]), reals(c[5])
    slopes, finish = wholes(c[7]), wholes(c[8])
    for step in range(c[1]):
        c[0] = step
        slopes[3], slopes[4], slopes[7], slopes[9] = parts[step], parts[step + 1], finish[6], step
        execute(slopes, 0, 1, v, u, g, n)
        if slopes[2] == 0:
            return
        finish[13], finish[15] = step, lanes[step + 1] - lanes[step]
        execute(finish, 0, 1, its_v, its_u, g, c[6])
        if finish[2] == 0:
            return
        finish[6], finish[9] = finish[9], finish[6]
    c[0] = c[1]
""",
}

# Where products and sums may be rounded as one, or sums be added in another order.
FASTMATH = {
    "layer": {"contract"}, "outer": {"contract", "reassoc"}, "total": {"reassoc"}, "batch": {"reassoc"},
    "finish": {"reassoc"},
}  # fmt: skip

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
