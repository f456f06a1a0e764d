"""Functions with gradients and the right verdicts on them, for the tests of gradcheck, and for other checkers.

Functions and gradients are of plain numbers, so that any checker can take them.
"""

import functools
import math
import random
import struct
from dataclasses import dataclass

SMOOTH, ANY = {"ok"}, {"ok", "cannot tell"}


@dataclass(frozen=True)
class Case:
    """A function at a point; ``gradient`` returns a tuple, and each row's verdict is one of ``verdicts``."""

    kind: str
    name: str
    f: object
    gradient: object
    point: tuple
    verdicts: frozenset

    def __str__(self):
        return f"{self.kind}: {self.name} at {self.point}"


CASES = []


def add(kind, name, f, gradient, points, verdicts=SMOOTH):
    for point in points:
        point = point if isinstance(point, tuple) else (point,)

        def as_tuple(*x):
            slopes = gradient(*x)
            return slopes if isinstance(slopes, tuple) else (slopes,)

        CASES.append(Case(kind, name, f, as_tuple, tuple(map(float, point)), frozenset(verdicts)))


def sech2(x):
    return 1 / math.cosh(x) ** 2 if abs(x) < 700 else 0.0


def logistic(x):
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


def bell(x):
    return math.exp(-x * x)


def single(x):
    """Rounds to float32."""
    return struct.unpack("f", struct.pack("f", x))[0]


def noise(amplitude, *x):
    return amplitude * random.Random(repr(x)).uniform(-1, 1)


# Smooth functions of one and of several numbers.
for name, f, slope, points in [
    ("sin", math.sin, math.cos, (-7.3, 0.2, 1.1)),
    ("exp", math.exp, math.exp, (-20, -0.4, 3)),
    ("log", math.log, lambda x: 1 / x, (0.01, 2.5, 1e6)),
    ("tanh", math.tanh, sech2, (-0.7, 0.03, 2)),
    ("sigmoid", logistic, lambda x: logistic(x) * (1 - logistic(x)), (-3, 0.5, 6)),
    ("cube", lambda x: x**3, lambda x: 3 * x * x, (-2, 0.7, 11)),
    ("quartic", lambda x: x**4 - 3 * x * x, lambda x: 4 * x**3 - 6 * x, (-1.3, 0.4, 2)),
    ("rational", lambda x: x / (1 + x * x), lambda x: (1 - x * x) / (1 + x * x) ** 2, (-3, 0.2, 1.7)),
    ("erf", math.erf, lambda x: 2 / math.sqrt(math.pi) * bell(x), (-1, 0.1, 2)),
    ("atan", math.atan, lambda x: 1 / (1 + x * x), (-9, 0.6, 40)),
    ("sqrt", math.sqrt, lambda x: 0.5 / math.sqrt(x), (0.03, 2, 1e5)),
    ("gamma", math.lgamma, lambda x: lgamma_slope(x), (1.7, 4.2)),
    ("self-power", lambda x: x**x, lambda x: x**x * (math.log(x) + 1), (0.5, 1.3, 2.4)),
    ("gauss", bell, lambda x: -2 * x * bell(x), (-1.2, 0.3, 2.2)),
]:
    add("smooth", name, f, slope, points)


def lgamma_slope(x):
    """The digamma function, by its recurrence and its asymptotic series."""
    shift = 0.0
    while x < 12:
        shift, x = shift - 1 / x, x + 1
    series = 1 / 12 / x**2 - 1 / 120 / x**4 + 1 / 252 / x**6 - 1 / 240 / x**8 + 1 / 132 / x**10
    return shift + math.log(x) - 0.5 / x - series


for name, f, slope, points in [
    ("product", lambda x, y: x * y, lambda x, y: (y, x), [(0.5, 3), (-2, 7)]),
    ("quotient", lambda x, y: x / y, lambda x, y: (1 / y, -x / y**2), [(0.5, 3), (-2, 0.1)]),
    ("hypot", math.hypot, lambda x, y: (x / math.hypot(x, y), y / math.hypot(x, y)), [(3, 4), (1e-3, 2)]),
    ("atan2", math.atan2, lambda y, x: (x / (x * x + y * y), -y / (x * x + y * y)), [(1, 2), (-3, -0.5)]),
    ("power", math.pow, lambda x, y: (y * x ** (y - 1), x**y * math.log(x)), [(1.5, 2.5), (0.3, -2)]),
    (
        "Rosenbrock",
        lambda x, y: (1 - x) ** 2 + 100 * (y - x * x) ** 2,
        lambda x, y: (-2 * (1 - x) - 400 * x * (y - x * x), 200 * (y - x * x)),
        [(-1.2, 1), (0.3, 0.7)],
    ),
    (
        "softmax",
        lambda x, y, z: math.exp(x) / (math.exp(x) + math.exp(y) + math.exp(z)),
        lambda x, y, z: softmax_slopes(x, y, z),
        [(0.1, 2, -1), (3, 2.5, 2)],
    ),
    (
        "a determinant",
        lambda a, b, c, d: a * d - b * c,
        lambda a, b, c, d: (d, -c, -b, a),
        [(1, 2, 3, 4.5), (-0.3, 2, 7, 1)],
    ),
]:
    add("several inputs", name, f, slope, points)


def softmax_slopes(x, y, z):
    total = math.exp(x) + math.exp(y) + math.exp(z)
    p, q, r = math.exp(x) / total, math.exp(y) / total, math.exp(z) / total
    return p * (1 - p), -p * q, -p * r


# Kinks: at the kink, and beside it.
for name, f, slope in [
    ("relu", lambda x: max(x, 0.0), lambda x: 1.0 if x > 0 else 0.0),
    ("abs", abs, lambda x: float((x > 0) - (x < 0))),
    ("leaky", lambda x: max(x, 0.01 * x), lambda x: 1.0 if x > 0 else 0.01),
    ("bent sine", lambda x: math.sin(x) + 2 * abs(x), lambda x: math.cos(x) + 2 * ((x > 0) - (x < 0))),
    ("bent exp", lambda x: math.exp(abs(x)), lambda x: math.exp(abs(x)) * ((x > 0) - (x < 0))),
    ("hinge", lambda x: max(0.0, 1 - 3 * x) - 1, lambda x: -3.0 if x < 1 / 3 else 0.0),
]:
    where = 1 / 3 if name == "hinge" else 0.0
    if name != "hinge":
        add("kink", name, f, slope, [0.0], {"kink"})
    add("beside a kink", name, f, slope, [where + s * 10.0**-k for k in (1, 2, 3, 5, 7) for s in (1, -1)], SMOOTH)
    add("beside a kink", name, f, slope, [where + 1e-14], {"ok", "kink", "cannot tell"})

# Jumps: at the jump, whose gradient is that of both sides, and beside it.
for name, f, slope in [
    ("step", lambda x: 1.0 if x >= 0 else 0.0, lambda x: 0.0),
    ("open step", lambda x: 1.0 if x > 0 else 0.0, lambda x: 0.0),
    ("a step in a line", lambda x: 3 * x + (x >= 0), lambda x: 3.0),
    ("sign", lambda x: float((x > 0) - (x < 0)), lambda x: 0.0),
    ("a small step", lambda x: math.sin(x) + 1e-3 * (x > 0), math.cos),
    ("a point", lambda x: 0.0 if x == 0 else 1.0, lambda x: 0.0),
]:
    add("jump", name, f, slope, [0.0], {"jump"})
    add("beside a jump", name, f, slope, [1e-2, -1e-2, 1e-4], SMOOTH)

# Edges of a domain: beside them, and at them.
for name, f, slope in [
    ("log(1 - x)", lambda x: math.log(1 - x), lambda x: -1 / (1 - x)),
    ("sqrt(1 - x)", lambda x: math.sqrt(1 - x), lambda x: -0.5 / math.sqrt(1 - x)),
    ("asin", math.asin, lambda x: 1 / math.sqrt((1 - x) * (1 + x))),
    ("(1 - x)**1.5", lambda x: math.pow(1 - x, 1.5), lambda x: -1.5 * math.sqrt(1 - x)),
    ("1 / (1 - x)", lambda x: 1 / (1 - x), lambda x: 1 / (1 - x) ** 2),
    ("atanh", math.atanh, lambda x: 1 / ((1 - x) * (1 + x))),
]:
    add("beside an edge", name, f, slope, [1 - 10.0**-k for k in (1, 3, 5, 7)], SMOOTH)
    add("beside an edge", name, f, slope, [1 - 10.0**-k for k in (10, 13)], ANY)
add("edge", "x**1.5", lambda x: math.pow(x, 1.5), lambda x: 0.0, [0.0], {"edge"})
add("edge", "sqrt", math.sqrt, lambda x: math.inf, [0.0], {"edge"})
add("edge", "x sqrt(x) + x", lambda x: x * math.sqrt(x) + x, lambda x: 1.0, [0.0], {"edge"})
add("edge", "only here", lambda x: 1 / (x == 0.5), lambda x: 3.0, [0.5], {"cannot tell"})
add("vertical", "cbrt", lambda x: math.copysign(abs(x) ** (1 / 3), x), lambda x: math.inf, [0.0], {"kink"})

# Noise, which is estimated. The last digits that the check can tell are those above the noise.
for k in (3, 4, 5, 6, 7, 8, 9, 10, 11, 12):
    a = 10.0**-k
    verdicts = ANY if k > 5 else {"cannot tell"}
    add("noise", f"sin + {a}", functools.partial(lambda a, x: math.sin(x) + noise(a, x), a), math.cos, [0.3], verdicts)
    add("noise", f"exp + {a}", functools.partial(lambda a, x: math.exp(x) + noise(a, x), a), math.exp, [-0.2], verdicts)
    add(
        "noise", f"square + {a}", functools.partial(lambda a, x: x * x + noise(a, x), a), lambda x: 2 * x, [3], verdicts
    )
    add(
        "noise",
        f"product + {a}",
        functools.partial(lambda a, x, y: x * y + noise(a, x, y), a),
        lambda x, y: (y, x),
        [(0.7, 1.6)],
        verdicts,
    )
    rounded = functools.partial(lambda a, x: round(math.sin(x) / a) * a, a)
    add("noise", f"sin rounded to {a}", rounded, math.cos, [0.9], verdicts)

# float32, of the result and of the numbers on the way.
for name, f, slope, points in [
    ("sin", lambda x: single(math.sin(x)), math.cos, (0.3, 1.1)),
    ("exp", lambda x: single(math.exp(x)), math.exp, (-0.5, 2)),
    ("a sum", lambda x: single(single(x * x) + single(3 * x)), lambda x: 2 * x + 3, (0.5, 2)),
    ("of the input", lambda x: math.sin(single(x)), lambda x: math.cos(single(x)), (0.3, 1.1)),
    ("a difference", lambda x: single(single(math.exp(x)) - 1.0), math.exp, (0.01, 1)),
]:
    add("float32", name, f, slope, points, {"cannot tell"})

# Scales.
for k in (-150, -100, -30, -8, 8, 30, 100, 150):
    s = 10.0**k
    add(
        "scale",
        f"{s} sin",
        functools.partial(lambda s, x: s * math.sin(x), s),
        functools.partial(lambda s, x: s * math.cos(x), s),
        [0.4],
    )
    add(
        "scale",
        f"sin(x / {s})",
        functools.partial(lambda s, x: math.sin(x / s), s),
        functools.partial(lambda s, x: math.cos(x / s) / s, s),
        [0.4 * s],
    )
    add(
        "scale",
        f"tanh(x / {s}) at 0",
        functools.partial(lambda s, x: math.tanh(x / s), s),
        functools.partial(lambda s, x: sech2(x / s) / s, s),
        [0.0],
        ANY,
    )
    add("scale", f"log at {s}", math.log, lambda x: 1 / x, [s])
    add("scale", f"square at {s}", lambda x: x * x, lambda x: 2 * x, [s], SMOOTH if k > -150 else ANY)
    add(
        "scale",
        f"mixed {s}",
        functools.partial(lambda s, x, y: x / s + y, s),
        functools.partial(lambda s, x, y: (1 / s, 1.0), s),
        [(0.3 * s, 2)],
    )

# Flat.
for n in (2, 3, 4, 6):
    add("flat", f"x**{n}", functools.partial(lambda n, x: x**n, n), lambda x: 0.0, [0.0], ANY)
    add("flat", f"1 + x**{n}", functools.partial(lambda n, x: 1 + x**n, n), lambda x: 0.0, [0.0], ANY)
for name, f, slope, points in [
    ("constant", lambda x: 5.0, lambda x: 0.0, (-1, 0.0, 3)),
    ("zero", lambda x: 0.0, lambda x: 0.0, (0.0, 2)),
    ("cos at its top", math.cos, lambda x: 0.0, (0.0,)),
    ("tanh far out", math.tanh, sech2, (9, 15)),
    ("bell far out", bell, lambda x: -2 * x * bell(x), (5, 12)),
    ("sigmoid far out", logistic, lambda x: logistic(x) * (1 - logistic(x)), (-30, -100)),
    ("1 + bell far out", lambda x: 1 + bell(x), lambda x: -2 * x * bell(x), (3, 6)),
    ("smooth bump's end", lambda x: math.exp(-1 / x) if x > 0 else 0.0, lambda x: bump_slope(x), (0.0, 0.05, 0.3)),
]:
    add("flat", name, f, slope, points, ANY)


def bump_slope(x):
    return math.exp(-1 / x) / (x * x) if x > 0 else 0.0


# Steep.
for k in (10, 1e3, 1e6, 1e9):
    allowed = SMOOTH if k < 1e6 else ANY
    add(
        "steep",
        f"tanh({k} x)",
        functools.partial(lambda k, x: math.tanh(k * x), k),
        functools.partial(lambda k, x: k * sech2(k * x), k),
        [0.0, 0.3 / k],
        ANY,
    )
    add(
        "steep",
        f"atan({k} x)",
        functools.partial(lambda k, x: math.atan(k * x), k),
        functools.partial(lambda k, x: k / (1 + (k * x) ** 2), k),
        [0.0, 0.7 / k, 0.5],
        ANY,
    )
    add("steep", f"{k} x", functools.partial(lambda k, x: k * x + 1, k), functools.partial(lambda k, x: k, k), [0.4])
    add("steep", f"1 / x at {1 / k}", lambda x: 1 / x, lambda x: -1 / x**2, [1 / k])
add("steep", "exp at 300", math.exp, math.exp, [300])
add("steep", "x**20", lambda x: x**20, lambda x: 20 * x**19, [0.5, 3])

# Oscillating.
for k in (30, 8 * math.pi, 1e3, 2**14 * math.pi, 1e5):
    add(
        "oscillating",
        f"sin({k:.6g} x)",
        functools.partial(lambda k, x: math.sin(k * x), k),
        functools.partial(lambda k, x: k * math.cos(k * x), k),
        [0.05, 0.3, 1.0],
    )
add("oscillating", "sin(1e9 x)", lambda x: math.sin(1e9 * x), lambda x: 1e9 * math.cos(1e9 * x), [0.3], {"cannot tell"})
for name, f, slope, points in [
    ("x + sin(1e4 x) / 1e4", lambda x: x + math.sin(1e4 * x) / 1e4, lambda x: 1 + math.cos(1e4 * x), (0.3, 0.7)),
    ("sin(1 / x)", lambda x: math.sin(1 / x), lambda x: -math.cos(1 / x) / x**2, (0.02, 0.5)),
    ("tan", math.tan, lambda x: 1 + math.tan(x) ** 2, (0.2, 1.5, 20.3)),
    ("sin(exp(x))", lambda x: math.sin(math.exp(x)), lambda x: math.exp(x) * math.cos(math.exp(x)), (0.2, 4, 7)),
    ("cosh(erf(tan(sinh(x))))", lambda x: wild(x), lambda x: wild_slope(x), (1.3, 2.0, 4.36826525442)),
]:
    add("oscillating", name, f, slope, points, ANY)


def wild(x):
    return math.cosh(math.erf(math.tan(math.sinh(x))))


def wild_slope(x):
    t = math.tan(math.sinh(x))
    return math.sinh(math.erf(t)) * 2 / math.sqrt(math.pi) * bell(t) * (1 + t * t) * math.cosh(x)


# Cancelling.
for name, f, slope, points in [
    ("x + 1e6", lambda x: x + 1e6, lambda x: 1.0, (0.3,)),
    ("x + 1e12", lambda x: x + 1e12, lambda x: 1.0, (0.3,)),
    ("1 - cos", lambda x: 1 - math.cos(x), math.sin, (1e-3, 1e-6, 0.5)),
    ("exp - 1 - x", lambda x: math.exp(x) - 1 - x, lambda x: math.expm1(x), (1e-4, 0.1)),
    ("(x + 1e8) - 1e8", lambda x: (x + 1e8) - 1e8, lambda x: 1.0, (0.3, 2)),
    (
        "(1 + x)**9 expanded",
        lambda x: sum(math.comb(9, i) * x**i for i in range(10)),
        lambda x: 9 * (1 + x) ** 8,
        (-0.9, -0.5),
    ),
    ("sqrt(x + 1) - sqrt(x)", lambda x: math.sqrt(x + 1) - math.sqrt(x), lambda x: root_slope(x), (1e3, 1e8)),
    ("x² - y²", lambda x, y: x * x - y * y, lambda x, y: (2 * x, -2 * y), ((1e5, 1e5 + 1e-3),)),
]:
    add("cancelling", name, f, slope, points, ANY)


def root_slope(x):
    a, b = math.sqrt(x + 1), math.sqrt(x)
    return -0.5 / (a * b * (a + b))


def make_random(kind, seed):
    """Returns a function that does not give the same result when it is asked again."""
    rng = random.Random(seed)
    calls = []

    def f(x):
        calls.append(x)
        if kind == "dropout":
            return x * (rng.random() < 0.5) * 2
        if kind == "rare":
            return x * (rng.random() < 0.9)
        if kind == "jitter":
            return math.sin(x) + rng.gauss(0, 1e-9)
        if kind == "global":
            return x + random.random()
        if kind == "warm-up":
            return x * max(1, len(calls) - 3 - seed % 8)
        return x + len(calls) * 1e-12  # a drift

    return f


RANDOM = [(kind, seed) for kind in ("dropout", "rare", "jitter", "global", "warm-up", "drift") for seed in range(8)]


def plant_errors(case):
    """Yields wrong gradients of a case: their name, the input that is wrong, the relative error, and the gradient."""
    right = case.gradient(*case.point)
    for i, slope in enumerate(right):

        def put(number, i=i):
            return (*right[:i], number, *right[i + 1 :])

        yield "nan", i, math.inf, put(math.nan)
        if not math.isfinite(slope) or not case.verdicts <= {"ok", "edge", "cannot tell"}:
            yield "far off", i, math.inf, put(12345.0)
            continue
        if slope:
            for k in (1, 2, 4, 6):
                yield f"1e-{k} off", i, 10.0**-k, put(slope * (1 + 10.0**-k))
            yield "negated", i, 2.0, put(-slope)
            yield "missing", i, 1.0, put(0.0)
            other = right[i - 1]
            if abs(other - slope) > 1e-6 * abs(slope):
                yield "swapped", i, abs(other / slope - 1), put(other)
