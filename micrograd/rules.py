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

import math

from .rule import FLOATS, RULES, VALUES, Rule, constant, leaf, rule

__all__ = ["FLOATS", "RULES", "VALUES", "Rule", "constant", "leaf", "rule"]

# fmt: off
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
RULES.seal()
