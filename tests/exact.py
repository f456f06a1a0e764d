"""Exact derivatives of a rule: runs its value text on numbers of many digits that carry their first two derivatives.

This file does not use the rules' local gradients. The tests and the benchmark of accuracy compare with its results.
"""

import ast
import contextlib
import math

import mpmath
from mpmath import mpf

from micrograd import Value, grad
from micrograd.rules import RULES

# The first and second derivatives of the functions in the texts, as functions of x and the value y.
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
# Beyond these bounds the functions are 0, ±1, ±2 or infinite for any double, and mpmath is slow.
BOUNDS = {"exp": 1e4, "expm1": 1e4, "sinh": 1e4, "cosh": 1e4, "tanh": 1e4, "erf": 100, "erfc": 100}


def bell(x):
    return mpmath.exp(-x * x) / mpmath.sqrt(mpmath.pi)


class Jet:
    """A number with its first two derivatives by one variable: x + b·h + c·h²/2."""

    def __init__(self, x, b=0, c=0):
        self.x, self.b, self.c = mpf(x), mpf(b), mpf(c)

    def through(self, y, slope, curvature):
        """Applies a function, given its value and its first two derivatives at this number."""
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
    """Returns a function of the module math on these numbers. Without derivatives above, mpmath computes them."""
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
# The formulas of the books for rules whose own texts are arranged so that floats lose no digits.
BOOKS = {
    "bell_curve": "exp(-k * a * a)",
    "exp_difference": "exp(a - b)",
    "floor": "floor(a)",
    "log_odds": "-100.0 if p < tiny else log(p) - log1p(-p) if p < 1 else 100.0",
    "normal_cdf": "erfc(-a / sqrt(2)) / 2",
    "power_slope": "c * a ** (n - 1)",
    "sigmoid": "1 / (1 + exp(-a))",
    "silu": "a / (1 + exp(-a))",
}
# Slopes are derivatives of other rules: of which, by which operand, and of which order.
SLOPES_OF = {name: (name.removesuffix("_slope"), 0, 1) for name in RULES if name.removesuffix("_slope") in RULES}
SLOPES_OF = {name: of for name, of in SLOPES_OF.items() if name != of[0] and name != "power_slope"}
SLOPES_OF |= {"silu_curvature": ("silu", 0, 2)}
_compiled = {}


def names():
    """Returns the names in the texts, defined on these numbers: the functions of math, and the rules."""
    found = {name: function(name) for name in vars(math) if callable(getattr(mpmath, name, None))}
    for name, rule in RULES.items():
        if name.isidentifier() and name not in SLOPES:
            found[name] = lambda *operands, rule=rule: value_of(rule)(*operands)
    return {**found, **MEANINGS}


def value_of(rule):
    """Compiles the rule's value text to a function of these numbers; a function of math is that of mpmath."""
    if rule not in _compiled:
        scope = {**names(), **{name: mpf(x) for name, x in rule.constants.items()}}
        text = BOOKS.get(rule.name, rule.value)
        is_known = RULES.get(rule.name) is rule and rule.name in SLOPES  # its text may be an approximation
        _compiled[rule] = scope[rule.name] if is_known else eval(f"lambda {rule.operands}: {text}", scope)
    return _compiled[rule]


def exact(rule, operands, by=0):
    """Returns the value and the first and second derivative by one operand, to 60 digits or more.

    Of a rule that is the slope of another one, it returns that one's derivatives: nan in place of the third.

    Very small and very large operands need more digits in between, as many as their exponent.
    """
    far = max([abs(mpmath.frexp(x)[1]) for x in operands if x], default=0)
    with mpmath.workdps(80 + int(0.302 * min(far, 1100))):
        name, of, order = SLOPES_OF.get(rule.name, (rule.name, by, 0))
        operands = operands[::-1] if rule.name == "atan2_slope" else operands
        meant = RULES[name] if order else rule
        out = lift(value_of(meant)(*[Jet(x, i == of) for i, x in enumerate(operands)]))
        return [+x for x in (out.x, out.b, out.c, mpmath.nan, mpmath.nan)[order : order + 3]]


def ulps(found, true):
    """Returns the distance of a float from an exact number, in units in the last place of the nearest float.

    Infinity is correct if the exact number overflows a double.
    """
    nearest = float(true)
    if found is None or not math.isfinite(nearest):
        return 0.0 if math.isinf(nearest) and found in (None, nearest) else math.inf
    return float(abs(mpf(found) - true) / mpf(math.ulp(nearest))) if math.isfinite(found) else math.inf


def ours(rule, operands, by=0):
    """Returns the value and the derivatives by one operand that ``grad`` computes; None if one overflowed."""
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
    """Returns a derivative's condition number: its relative change per relative change of the operand."""
    x, true = operands[by], exact(rule, operands, by)[order]
    with mpmath.workdps(60):
        moved = [mpf(a) * (1 + mpf(10) ** -20 * (i == by)) for i, a in enumerate(operands)]
        return float(abs((exact(rule, moved, by)[order] - true) / true) * mpf(10) ** 20) if x and true else 0.0


# The rules to measure, and the bounds of their errors.

CHOSEN = {"floor", "round", "stop_gradient"}  # gradients not of the text: only values are measured
EXPONENTS = (-2.0, -1.0, -0.5, 0.5, 1.5, 2.0, 3.0, 10.0, 1 / 3, -0.3, 0.1)
# The ulps of the operand that are tolerated, because the operand is rounded in between, or a derivative crosses 0
# between two doubles. The slope of gelu is a difference of two numbers with errors of up to 2 ulps.
ROUNDED = {
    "erf": 0.5,
    "gelu": 2.0,
    "silu": 0.5,
    "gelu_slope": 2.0,
    "normal_cdf": 0.5,
    "silu_slope": 0.5,
    "silu_curvature": 0.5,
}


def write_id(rule):
    """Returns the name of a rule for a test's name; pytest -k can't select an asterisk."""
    return rule.name.replace("*", "x")


def list_cases():
    """Yields each rule with each operand to differentiate by; ``power`` with several exponents."""
    for rule in RULES.values():
        if not rule.variadic and rule.name != "upper_half":
            for by in range(len(rule.names)):
                bound = [rule.bind("power", n=n) for n in EXPONENTS] if rule.name == "power" else [rule]
                yield from ((one, by) for one in bound)


def bounds(rule):
    """Returns the largest errors of the value and the derivatives, in ulps; None for no bound.

    The value of a slope's own rule is already a first derivative.
    """
    if rule.name in CHOSEN:
        return (2, None, None)
    if rule.name.endswith(("_slope", "_curvature")) or rule.name in ("bell_curve", "log_odds", "normal_cdf"):
        return (4 if len(rule.names) > 1 or rule.name == "silu_curvature" else 2, None, None)
    return (2, 2, 4) if len(rule.names) == 1 else (4, 4, None)


def point(rng):
    """Draws a double: of any magnitude, of a usual one, or near a number where formulas change or overflow."""
    kind = rng.randrange(4)
    if kind == 0:
        return rng.choice((-1, 1)) * math.ldexp(rng.uniform(1, 2), rng.randrange(-1074, 1024))
    if kind == 1:
        return rng.choice((-1, 1)) * 2 ** rng.uniform(-30, 10.5)
    if kind == 2:
        return rng.uniform(-40, 40)
    x = rng.choice((0.25, 0.5, 0.75, 1.0, 1.25, 2.0, 2.4, math.pi / 2, 20.0, 37.0, 350.0, 700.0, 710.0, 740.0, 1e8))
    return rng.choice((-1, 1)) * x * (1 + rng.choice((-1, 1)) * 2 ** -rng.uniform(1, 53))


def thresholds(rule):
    """Returns the numbers with which a rule's texts compare operands: there, one formula takes over from another."""
    numbers = set()
    for text in (rule.value, *rule.local):
        for node in ast.walk(ast.parse(text.strip(), mode="eval")):
            if isinstance(node, ast.Compare) and not names_in(node) <= {*rule.constants, "out"}:
                sides = [side for side in (node.left, *node.comparators) if not names_in(side)]
                numbers.update(abs(eval(ast.unparse(side))) for side in sides)
    return sorted(numbers)


def names_in(text):
    return {node.id for node in ast.walk(text) if isinstance(node, ast.Name)}


def beside(x, rng):
    """Draws a double that is ±x, is very close to one of them, or not more than 1 away; never 0, where kinks are."""
    near = rng.choice((x, x * (1 + rng.choice((-1, 1)) * 2 ** -rng.uniform(1, 53)), x + rng.uniform(-1, 1)))
    return rng.choice((-1, 1)) * (near or math.ulp(0.0))


def sample(rule, by, rng, near=()):
    """Draws a point at which a rule is defined, and returns the exact value and derivatives there, too.

    If there are numbers ``near``, some operand is beside one of them. ``backward()`` raises an error if the gradient by
    any operand overflows. Such points are skipped.
    """
    for _ in range(10_000):
        at = [point(rng) for _ in rule.names]
        if near:
            at[rng.randrange(len(at))] = beside(rng.choice(near), rng)
        if rule.name.startswith("bce") and not at[0] * (1 - at[0]) > 1e-12:
            continue  # within PyTorch's bounds, the slope is not that of the value
        if rule.name == "bell_curve":
            at[1] = rng.choice((0.5, 1.0))
        if rule.name == "power_slope":
            at[0], at[2] = rng.choice((0.0, 1.0, -0.3, 2.0)), rng.choice((*EXPONENTS, 4.0, -5.0, 60.0, 70.0))
            if at[1] and at[2] * math.log(abs(at[1])) > 709:
                continue  # the power itself overflows, and so nothing asks for its slope
        try:
            with contextlib.suppress(OverflowError):
                rule(*at)
            others = [exact(rule, at, i)[1] for i in range(len(at)) if i != by and rule.name not in SLOPES_OF]
            if all(math.isfinite(float(slope)) for slope in others):
                return at, exact(rule, at, by)
        except (ValueError, ZeroDivisionError):
            continue
    raise AssertionError(f"{rule} is defined nowhere: the last point was {at}")


def subtract_rounding(rule, at, by, order, error, bound):
    """Subtracts the part of an error that rounding of the operand explains, by the condition number."""
    if error <= bound or rule.name not in ROUNDED:
        return error
    return max(float(bound), error - ROUNDED[rule.name] * condition(rule, at, by, order))
