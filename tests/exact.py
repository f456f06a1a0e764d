"""The exact derivatives of a rule: its value text on numbers of many digits that carry their first two derivatives.

Nothing here knows the rules' local gradients. The tests and the benchmark of accuracy measure with it.
"""

import contextlib
import math

import mpmath
from mpmath import mpf

from micrograd import Value, grad
from micrograd.rules import RULES

# The derivatives of the functions in the texts: of x and the value y, the first and the second.
SLOPES = {
    "exp": lambda x, y: (y, y),
    "expm1": lambda x, y: (mpmath.exp(x), mpmath.exp(x)),
    "log": lambda x, y: (1 / x, -1 / x**2),
    "log1p": lambda x, y: (1 / (1 + x), -1 / (1 + x) ** 2),
    "sqrt": lambda x, y: (0.5 / y, -0.25 / y**3) if y else (mpmath.inf, -mpmath.inf),
    "sin": lambda x, y: (mpmath.cos(x), -y),
    "cos": lambda x, y: (-mpmath.sin(x), -y),
    "tan": lambda x, y: (1 + y**2, 2 * y * (1 + y**2)),
    "asin": lambda x, y: (1 / mpmath.sqrt(1 - x**2), x / mpmath.sqrt(1 - x**2) ** 3),
    "acos": lambda x, y: (-1 / mpmath.sqrt(1 - x**2), -x / mpmath.sqrt(1 - x**2) ** 3),
    "atan": lambda x, y: (1 / (1 + x**2), -2 * x / (1 + x**2) ** 2),
    "sinh": lambda x, y: (mpmath.cosh(x), y),
    "cosh": lambda x, y: (mpmath.sinh(x), y),
    "tanh": lambda x, y: (mpmath.sech(x) ** 2, -2 * y * mpmath.sech(x) ** 2),
    "erf": lambda x, y: (2 * bell(x), -4 * x * bell(x)),
    "erfc": lambda x, y: (-2 * bell(x), 4 * x * bell(x)),
}
# Beyond these bounds the functions are 0, ±1, ±2 or infinite for any double, and mpmath takes long.
BOUNDS = {"exp": 1e4, "expm1": 1e4, "sinh": 1e4, "cosh": 1e4, "tanh": 1e4, "erf": 100, "erfc": 100}


def bell(x):
    return mpmath.exp(-x * x) / mpmath.sqrt(mpmath.pi)


class Jet:
    """A number with its first two derivatives by one variable: x + b·h + c·h²/2."""

    def __init__(self, x, b=0, c=0):
        self.x, self.b, self.c = mpf(x), mpf(b), mpf(c)

    def through(self, y, slope, curvature):
        """A function of this: its value, and its first two derivatives here."""
        return Jet(y, slope * self.b, curvature * self.b**2 + slope * self.c)

    def __add__(self, other):
        other = lift(other)
        return Jet(self.x + other.x, self.b + other.b, self.c + other.c)

    def __mul__(self, other):
        other = lift(other)
        second = self.c * other.x + 2 * self.b * other.b + self.x * other.c
        return Jet(self.x * other.x, self.b * other.x + self.x * other.b, second)

    def __truediv__(self, other):
        other = lift(other)
        return self * other.through(1 / other.x, -1 / other.x**2, 2 / other.x**3)

    def __pow__(self, other):
        other = lift(other)
        if other.b or other.c:
            return function("exp")(other * function("log")(self))
        n = other.x
        if n == 0:
            return Jet(1)
        if self.x < 0 and n != int(n):
            raise ValueError("a negative number has no real power with a fractional exponent")
        x, sign = self.x, 1 if self.x > 0 or n % 2 == 0 else -1
        power = sign * function("exp")(n * mpmath.log(abs(x))).x if x else x ** int(n)
        if x == 0:
            return self.through(power, mpf(n == 1), 2 * mpf(n == 2))
        return self.through(power, n * power / self.x, n * (n - 1) * power / self.x**2)

    def __floordiv__(self, other):
        return Jet(mpmath.floor(self.x / lift(other).x))

    def __neg__(self):
        return Jet(-self.x, -self.b, -self.c)

    def __abs__(self):
        return -self if self.x < 0 else self

    __radd__, __rmul__ = __add__, __mul__

    def __sub__(self, other):
        return self + -lift(other)

    def __rsub__(self, other):
        return lift(other) - self

    def __rtruediv__(self, other):
        return lift(other) / self

    def __rpow__(self, other):
        return lift(other) ** self

    def __lt__(self, other):
        return self.x < lift(other).x

    def __le__(self, other):
        return self.x <= lift(other).x

    def __gt__(self, other):
        return self.x > lift(other).x

    def __ge__(self, other):
        return self.x >= lift(other).x

    def __eq__(self, other):
        return self.x == lift(other).x

    __hash__ = None


def lift(x):
    return x if isinstance(x, Jet) else Jet(x)


def function(name):
    """A function of the module math on these numbers; one without a line above is differentiated numerically."""
    of_mpmath = getattr(mpmath, name)

    def on_jets(a, *more):
        a, more = lift(a), [lift(b).x for b in more]
        if name in BOUNDS and abs(a.x) > BOUNDS[name]:
            a = Jet(mpmath.sign(a.x) * BOUNDS[name], a.b, a.c)
        y = of_mpmath(a.x, *more)
        if isinstance(y, mpmath.mpc):
            raise ValueError(f"{name}({a.x}) is no real number")
        if name in SLOPES:
            return a.through(y, *SLOPES[name](a.x, y))
        return a.through(y, *[mpmath.diff(lambda x: of_mpmath(x, *more), a.x, n) for n in (1, 2)])

    return on_jets


def with_sign(a, b):
    return abs(lift(a)) if lift(b) >= 0 else -abs(lift(a))


def hypot(a, b):
    return function("sqrt")(lift(a) * a + lift(b) * b)


def atan2(y, x):
    y, x = lift(y), lift(x)
    turned = function("atan")(y / x) if abs(x) > abs(y) else -function("atan")(x / y)
    return Jet(mpmath.atan2(y.x, x.x), turned.b, turned.c)


MEANINGS = {
    "abs": abs,
    "atan2": atan2,
    "chance": lambda p: p,
    "copysign": with_sign,
    "float": lambda a: a,
    "floor": lambda a: Jet(mpmath.floor(a.x)),
    "hypot": hypot,
    "inf": mpmath.inf,
    "isinf": lambda a: mpmath.isinf(lift(a).x),
    "max": max,
    "pi": mpmath.pi,
    "real": lambda a: a,
    "round": lambda a: Jet(mpmath.nint(a.x)),
}
_compiled = {}


def names():
    """What the names in the texts mean on these numbers: the functions of math, and the rules."""
    found = {name: function(name) for name in vars(math) if callable(getattr(mpmath, name, None))}
    for name, rule in RULES.items():
        if name.isidentifier() and f"{name}(" not in rule.value:  # else the function of math that it is made of
            found[name] = lambda *operands, rule=rule: value_of(rule)(*operands)
    return {**found, **MEANINGS}


def value_of(rule):
    """The rule's value text as a function of such numbers."""
    if rule not in _compiled:
        scope = {**names(), **{name: mpf(x) for name, x in rule.constants.items()}}
        _compiled[rule] = eval(f"lambda {rule.operands}: {rule.value}", scope)
    return _compiled[rule]


def exact(rule, operands, by=0):
    """Value, first and second derivative by one operand, to 60 digits or more.

    Near 0 and far out more digits are needed on the way, as many as the operand's exponent has.
    """
    far = max([abs(mpmath.frexp(x)[1]) for x in operands if x], default=0)
    with mpmath.workdps(80 + int(0.302 * min(far, 1100))):
        out = lift(value_of(rule)(*[Jet(x, i == by) for i, x in enumerate(operands)]))
        return [+out.x, +out.b, +out.c]


def ulps(found, true):
    """How far a float is from a number of many digits, in units in the last place of the float nearest to that.

    Infinity is right where the number is beyond the doubles.
    """
    nearest = float(true)
    if found is None or not math.isfinite(nearest):
        return 0.0 if math.isinf(nearest) and found in (None, nearest) else math.inf
    return float(abs(mpf(found) - true) / mpf(math.ulp(nearest))) if math.isfinite(found) else math.inf


def ours(rule, operands, by=0):
    """Value, first and second derivative by one operand, as ``grad`` gives them; None if one overflowed."""
    found = []
    try:
        found.append(rule(*operands))
        values = [Value(x) for x in operands]
        out = rule(*values)
        out.backward()
        found.append(values[by].grad)
        slope = grad(out, values, create_graph=True)[by]
        assert slope.data == found[1] or math.isnan(found[1]), (
            f"{rule} at {operands}: {slope.data} with create_graph, {found[1]} without"
        )
        found.append(grad(slope, values)[by])
    except OverflowError:
        pass
    return found + [None] * (3 - len(found))


def condition(rule, operands, by, order):
    """How much more a derivative changes than the operand, relative to both: the condition number."""
    x, true = operands[by], exact(rule, operands, by)[order]
    with mpmath.workdps(60):
        moved = [mpf(a) * (1 + mpf(10) ** -20 * (i == by)) for i, a in enumerate(operands)]
        return float(abs((exact(rule, moved, by)[order] - true) / true) * mpf(10) ** 20) if x and true else 0.0


# What is measured, and how far it may be off.

CHOSEN = {"floor", "round", "stop_gradient"}  # whose gradient is not that of the text: only their values are measured
EXPONENTS = (-2.0, -1.0, -0.5, 0.5, 1.5, 2.0, 3.0, 10.0)
# Where the operand is rounded on the way, or a derivative crosses 0 between two doubles, so many ulps of the operand
# are allowed for. gelu's slope is a difference of two numbers that are not known better than to 2 ulps.
ROUNDED = {
    "erf": 0.5,
    "gelu": 2.0,
    "silu": 0.5,
    "gelu_slope": 2.0,
    "normal_cdf": 0.5,
    "silu_slope": 0.5,
    "silu_curvature": 0.5,
}


def measured():
    """The rules, with a few exponents of ``power``, and the operand by which each is differentiated."""
    for rule in RULES.values():
        if not rule.variadic and rule.name not in ("power_slope", "upper_half"):
            for by in range(len(rule.names)):
                bound = [rule.bind("power", n=n) for n in EXPONENTS] if rule.name == "power" else [rule]
                yield from ((one, by) for one in bound)


def bounds(rule):
    """The ulps by which value, first and second derivative may be off; None if that is not bounded.

    Of a slope that has a line of its own, the value is a first derivative already.
    """
    if rule.name in CHOSEN:
        return (2, None, None)
    if rule.name.endswith(("_slope", "_curvature")) or rule.name in ("bell_curve", "log_odds", "normal_cdf"):
        return (4 if len(rule.names) > 1 or rule.name == "silu_curvature" else 2, None, None)
    return (2, 2, 4) if len(rule.names) == 1 else (4, 4, None)


def point(rng):
    """A double: of any size, of a usual size, or a neighbour of a number where something may happen."""
    kind = rng.randrange(4)
    if kind == 0:
        return rng.choice((-1, 1)) * math.ldexp(rng.uniform(1, 2), rng.randrange(-1074, 1024))
    if kind == 1:
        return rng.choice((-1, 1)) * 2 ** rng.uniform(-30, 10.5)
    if kind == 2:
        return rng.uniform(-40, 40)
    x = rng.choice((0.25, 0.5, 0.75, 1.0, 1.25, 2.0, 2.4, math.pi / 2, 20.0, 37.0, 350.0, 700.0, 710.0, 740.0, 1e8))
    return rng.choice((-1, 1)) * x * (1 + rng.choice((-1, 1)) * 2 ** -rng.uniform(1, 53))


def sample(rule, by, rng):
    """A point at which a rule is defined, and the exact value and derivatives there.

    ``backward()`` raises if the gradient by any operand overflows: there is nothing to measure by the other one.
    """
    while True:
        at = [point(rng) for _ in rule.names]
        if rule.name.startswith("bce") and not at[0] * (1 - at[0]) > 1e-12:
            continue  # where PyTorch's bounds hold, the slope is not that of the value
        if rule.name == "bell_curve":
            at[1] = rng.choice((0.5, 1.0))
        try:
            with contextlib.suppress(OverflowError):
                rule(*at)
            others = [exact(rule, at, i)[1] for i in range(len(at)) if i != by]
            if all(math.isfinite(float(slope)) for slope in others):
                return at, exact(rule, at, by)
        except (ValueError, ZeroDivisionError):
            continue


def allowed(rule, at, by, order, error, bound):
    """The error without what the rounding of the operand explains, by the condition number."""
    if error <= bound or rule.name not in ROUNDED:
        return error
    return max(float(bound), error - ROUNDED[rule.name] * condition(rule, at, by, order))
