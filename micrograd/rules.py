"""The table of calculus: one line an operation, and nothing else.

A line gives the operation's name, its operands, its value, and its local gradients ∂out/∂operand. Constants of an
operation, numbers that are not operands, stand behind with their defaults.

The value is computed on floats. The local gradients are written with plain operators and the table's own functions,
because the same text is run on floats and on Values (which gives derivatives of derivatives), and read by people.
That is why a test for zero is written ``0 <= a <= 0``: Values order by their data but equal only themselves.

At a kink, and where a gradient does not exist, the value is PyTorch's: 0 for ``abs`` and ``relu`` at 0, one half each
for ``maximum`` and ``minimum`` at a tie, ∞ for ``sqrt`` at 0 (written ∞ − out, whose own slope is −∞).

A new line is at once an operation like any other, on numbers, on Values and to any order:

>>> softsign = rule("softsign", "x", "x / (1 + abs(x))", "1 / (1 + abs(x)) ** 2")
>>> softsign(1.0)
0.5
>>> from micrograd import Value, grad
>>> x = Value(1.0)
>>> (slope,) = grad(softsign(x), [x], create_graph=True)
>>> slope.data, grad(slope, [x])
(0.25, (-0.25,))
>>> del RULES["softsign"]
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable
from functools import cached_property
from operator import mul
from typing import Any

__all__ = ["RULES", "Rule", "rule"]


class Rule:
    """An operation: its name, and the texts of its value and its local gradients.

    Called with numbers it gives a number; with at least one Value among them, the Value that remembers them.

    Attributes:
        name: what the operation is called in :data:`RULES` and in a node's ``op``.
        operands: their names, separated by commas; ``*a`` for any number of them.
        value: the value, an expression in the operands.
        local: the local gradients, an expression in ``out`` and the operands for each of them; for any number of
            operands one expression, for the sequence of them.
        constants: names and numbers that the expressions use besides.

    >>> exp(0)
    1.0
    >>> tanh.local
    ('1 - out * out',)
    """

    def __init__(self, name: str, operands: str, value: str, local: tuple[str, ...], constants: dict[str, Any]) -> None:
        self.name = name
        self.operands = operands
        self.value = value
        self.local = local
        self.constants = constants

        self.names = [operand.strip() for operand in operands.lstrip("*").split(",")]
        self.variadic = operands.startswith("*")
        self.whole: Rule | None = None  # what it was bound from
        # What the engine keeps here: see engine.operation.
        self.node: Any = None
        self.pull: Any = None
        self.number = ""
        self.with_number: dict[str, Rule] = {}
        self._makers: dict[object, Callable[..., Any]] = {}

    def __repr__(self) -> str:
        return f"<rule {self.name!r}: {self.value}>"

    def __call__(self, *operands: Any, **constants: Any) -> Any:
        bound = self.bind(self.name, **constants) if constants else self
        if not self.variadic and len(operands) != len(self.names):
            raise TypeError(f"{self.name}() takes {len(self.names)} operands ({self.operands}), not {len(operands)}")
        for operand in operands:
            if hasattr(operand, "_apply"):
                return operand._apply(bound, operands)
            if not hasattr(operand, "__float__"):
                raise TypeError(f"{self.name}() takes numbers and Values, not {type(operand).__name__} {operand!r}")
        try:
            return bound.forward(*map(float, operands))
        except (ArithmeticError, ValueError) as error:
            raise bound.explained(error, [repr(float(operand)) for operand in operands]) from None

    def __deepcopy__(self, memo: object) -> Rule:
        return self

    def __reduce__(self) -> Any:
        if self.whole is not None:
            raise TypeError(f"a graph with {self.name!r} in it can't be pickled: take its leaves, or their data")
        return (_named, (self.name,)) if self.name else "leaf" if self is leaf else "constant"

    def explained(self, error: Exception, operands: list[str], where: str = "") -> Exception:
        """The same error with this operation and its operands in the message."""
        shown = operands[:4] + ["…"] * (len(operands) > 4)
        infix = len(shown) == 2 and not self.name.isidentifier()
        text = f" {self.name} ".join(shown) if infix else f"{self.name}({', '.join(shown)})"
        return type(error)(f"{where}{text}: {error.args[-1] if error.args else type(error).__name__}")

    @cached_property
    def forward(self) -> Callable[..., float]:
        """The value as a function of floats."""
        return self.compile("forward", lambda: f"def f({self.operands}): return {self.value}", FLOATS)

    def compile(self, key: object, write: Callable[[], str], names: dict[str, Any], **more: Any) -> Callable[..., Any]:
        """A function that has texts of this rule in it.

        Args:
            key: what the function is for. Its source is written once for all rules bound from this one.
            write: gives the source, a definition of ``f``.
            names: what the names in the texts mean: :data:`FLOATS` or :data:`VALUES`.
            more: further names for the source.
        """
        given = {**self.constants, **more}
        if key not in self._makers:
            definition = write().strip().replace("\n", "\n    ")
            source = f"def make({', '.join(given)}):\n    {definition}\n    return f"
            scope: dict[str, Any] = {}
            exec(compile(source, f"<rule {self.name}>", "exec"), names, scope)
            self._makers[key] = scope["make"]
        function: Callable[..., Any] = self._makers[key](**given)
        return function

    def bind(self, name: str, **constants: Any) -> Rule:
        """This rule under another name, with other constants.

        Raises:
            TypeError: if the rule has no constant of a given name.

        >>> power.bind("**3", n=3.0).forward(2.0)
        8.0
        """
        unknown = constants.keys() - self.constants.keys()
        if unknown:
            known = ", ".join(self.constants) or "none"
            raise TypeError(f"{self.name} has no constant {', '.join(sorted(unknown))}; it has {known}")
        bound = Rule(name, self.operands, self.value, self.local, {**self.constants, **constants})
        bound.whole = self
        bound._makers = self._makers
        return bound


RULES: dict[str, Rule] = {}
"""Every operation, by its name."""


def _real(x: float | complex) -> float:
    if isinstance(x, complex):
        raise ValueError("a negative number has no real power with a fractional exponent")
    return x


def _chance(p: float) -> float:
    if not 0 <= p <= 1:
        raise ValueError(f"a probability is between 0 and 1, not {p}")
    return p


FLOATS: dict[str, Any] = {**vars(math), "real": _real, "chance": _chance, "mul": mul}
"""What the names in the texts mean on floats: the functions of the module math, and every rule."""

VALUES: dict[str, Any] = {name: vars(math)[name] for name in ("e", "inf", "nan", "pi", "tau")}
"""What the names in the local gradients mean on Values: every rule."""


# What the engine calls things around an operand's text.
_TAKEN = {"out", "Value", "explained", "local", "new", "node", "parent", "plain", "rule", "to_float", "upstream"}


def _named(name: str) -> Rule:
    return RULES[name]


def rule(name: str, operands: str, value: str, *local: str, **constants: Any) -> Rule:
    """Adds an operation to the table and returns it; for the arguments see :class:`Rule`.

    Raises:
        ValueError: if the name is no string or empty, or the table has it already; if an operand has no name that can
            be used, or not each has a local gradient.
        SyntaxError: if a text is not an expression.
    """
    if not name or not isinstance(name, str):
        raise ValueError(f"a rule's name is a string that is not empty, not {name!r}")
    if name in RULES:
        raise ValueError(f"the table has a rule {name!r} already: take another name, or delete RULES[{name!r}] first")
    new = Rule(name, operands, value, local, constants)
    for operand in [*new.names, *constants]:
        if not operand.isidentifier() or operand.endswith("_") or operand in _TAKEN:
            taken = ", ".join(sorted(_TAKEN))
            raise ValueError(f"rule {name!r}: {operand!r} can't name an operand; take a word that is none of {taken}")
    if len(local) != len(new.names):
        raise ValueError(
            f"rule {name!r} has operands {operands!r}, and needs a local gradient for each, not {len(local)}"
        )
    for text in (value, *local):
        compile(text, f"<rule {name}>", "eval")
    RULES[name] = new
    if not hasattr(builtins, name):  # abs and sum keep their meaning
        if f"{name}(" not in value:  # and so does a function of math that this rule is made of
            FLOATS[name] = new.forward
        VALUES[name] = new
    return new


# fmt: off
# without operands
leaf       = Rule("", "", "", (), {})
constant   = Rule("", "", "", (), {})

#                 name          operands  value                  local gradients
# arithmetic
add        = rule("+",          "a, b",   "a + b",               "1.0", "1.0")
subtract   = rule("-",          "a, b",   "a - b",               "1.0", "-1.0")
multiply   = rule("*",          "a, b",   "a * b",               "b", "a")
divide     = rule("/",          "a, b",   "a / b",               "1 / b", "-out / b")
negate     = rule("neg",        "a",      "-a",                  "-1.0")
power      = rule("power",      "a",      "real(a ** n)",        "0.0 if n == 0 else n * a ** (n - 1) if n >= 1 or "
                                                                 "not 0 <= a <= 0 else inf - out", n=2.0)
power_of   = rule("**",         "a, b",   "real(a ** b)",        "b * a ** (b - 1) if b >= 1 or not 0 <= a <= 0 else "
                                                                 "inf - out if b > 0 else 0.0",
                                                                 "out * log(a) if a > 0 else 0.0 if 0 <= a else nan")
# functions
exp        = rule("exp",        "a",      "exp(a)",              "out")
log        = rule("log",        "a",      "log(a)",              "1 / a")
sqrt       = rule("sqrt",       "a",      "sqrt(a)",             "inf - out if 0 <= out <= 0 else 0.5 / out")
sin        = rule("sin",        "a",      "sin(a)",              "cos(a)")
cos        = rule("cos",        "a",      "cos(a)",              "-sin(a)")
tanh       = rule("tanh",       "a",      "tanh(a)",             "1 - out * out")
sigmoid    = rule("sigmoid",    "a",      "1 / (1 + exp(-a)) if a >= 0 else exp(a) / (1 + exp(a))",
                                                                 "out * (1 - out)")
softplus   = rule("softplus",   "a",      "max(a, 0.0) + log1p(exp(-abs(a)))",
                                                                 "sigmoid(a)")
# functions with a kink
absolute   = rule("abs",        "a",      "abs(a)",              "1.0 if a > 0 else -1.0 if a < 0 else 0.0")
relu       = rule("relu",       "a",      "0.0 if a <= 0 else a", "0.0 if a <= 0 else 1.0")
leaky_relu = rule("leaky_relu", "a",      "a if a > 0 else negative_slope * a",
                                                                 "1.0 if a > 0 else negative_slope",
                                                                 negative_slope=0.01)
maximum    = rule("maximum",    "a, b",   "a if a >= b or a != a else b",
                                                                 "1.0 if a > b else 0.0 if a < b else 0.5",
                                                                 "1.0 if a < b else 0.0 if a > b else 0.5")
minimum    = rule("minimum",    "a, b",   "a if a <= b or a != a else b",
                                                                 "1.0 if a < b else 0.0 if a > b else 0.5",
                                                                 "1.0 if a > b else 0.0 if a < b else 0.5")
# binary cross-entropy, with PyTorch's bounds: no logarithm below −100 (3.7e-44 is its e⁻¹⁰⁰), no denominator below eps
bce        = rule("bce",        "p, t",   "-chance(t) * log(max(chance(p), tiny)) - (1 - t) * log(max(1 - p, tiny))",
                                                                 "bce_slope(p, t)",
                                                                 "log(maximum(1 - p, tiny)) - log(maximum(p, tiny))",
                                                                 tiny=math.exp(-100))
bce_slope  = rule("bce_slope",  "p, t",   "(p - t) / max(chance(p) * (1 - p), eps)",
                                                                 "(p * p - 2 * p * t + t) / maximum(p * (1 - p), eps)"
                                                                 " ** 2",
                                                                 "-1 / maximum(p * (1 - p), eps)",
                                                                 eps=9.99999996004197e-13)  # 1e-12 as a float32
# of any number of operands: dot's are a₁…aₙ b₁…bₙ; weigh is dot with constants x for b
total      = rule("sum",        "*a",     "sum(a, 0.0)",         "(1.0,) * len(a)")
dot        = rule("dot",        "*ab",    "sum(map(mul, ab[:len(ab) // 2], ab[len(ab) // 2:]), 0.0)",
                                                                 "ab[len(ab) // 2:] + ab[:len(ab) // 2]")
weigh      = rule("weigh",      "*a",     "sum(map(mul, a, x), 0.0)", "x", x=())
logsumexp  = rule("logsumexp",  "*a",     "m if isinf(m := max(a)) else m + log1p(fsum([-1.0] + "
                                                                 "[exp(x - m) for x in a]))",
                                                                 "[exp(x - out) for x in a]")
# fmt: on
