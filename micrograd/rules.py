"""The table of calculus: one line for each operation, and nothing else.

A line gives the operation's name, its operands, its value, its local gradients ∂out/∂operand, and the defaults of its
constants. Values are computed on floats. Local gradients use plain operators and the table's own functions only: they
run on floats and on Values, which gives derivatives of derivatives. So a test for zero is ``0 <= a <= 0``: Values order
by their data but equal only themselves. At a kink, and where a gradient does not exist, the value is PyTorch's: 0 for
``abs`` and ``relu`` at 0, one half each for ``maximum`` and ``minimum`` at a tie, ∞ for ``sqrt`` at 0.
"""

from .rule import FLOATS, RULES, VALUES, Rule, constant, leaf, rule

__all__ = ["FLOATS", "RULES", "VALUES", "Rule", "constant", "leaf", "rule"]

# fmt: off
#                 name          operands  value                  local gradients, and further constants
add        = rule("+",          "a, b",   "a + b",               "1.0", "1.0")
subtract   = rule("-",          "a, b",   "a - b",               "1.0", "-1.0")
multiply   = rule("*",          "a, b",   "a * b",               "b", "a")
divide     = rule("/", "a, b", "a / b", "1 / b", "-a / (b * b) if abs(b) < 9 and 0 < abs(out) < 2.3e-308 else -out / b")
negate     = rule("neg",        "a",      "-a",                  "-1.0")
power      = rule("power",      "a",      "real(a ** n)",        "2 * a if n == 2 else n * "
                  "a ** (n - 1) if 1 <= n <= 3 or 0.001 < abs(a) < 1000 and -50 < n - 1 + 1 == n < 50 else inf - out "
                  "if 0 < n < 1 and a <= 0 else power_slope(n, a, n)", n=2.0)
power_of   = rule("**", "a, b", "real(a ** b)", "b * a ** (b - 1) if 1 <= b <= 3 else inf - out if 0 < b < 1 and a <= 0"
                  " else power_slope(b, a, b)", "nan if a < 0 else 0.0 if a <= 0 else out * log(a) if out > 1e-290 "
                  "else a ** (b / 2) * log(a) * a ** (b / 2)")
exp        = rule("exp",        "a",      "exp(a)",              "out")
expm1      = rule("expm1",      "a",      "expm1(a)",            "exp(a)")
log        = rule("log",        "a",      "log(a)",              "1 / a")
log1p      = rule("log1p",      "a",      "log1p(a)",            "1 / (1 + a)")
sqrt       = rule("sqrt",       "a",      "sqrt(a)",             "sqrt_slope(a)")
cbrt       = rule("cbrt",       "a",      "(r := copysign(abs(a) ** (1 / 3), a)) + (a / (r * r) - r) / 3 if 0 < abs(a) "
                                          "< inf else a",        "cbrt_slope(a)")
hypot      = rule("hypot",      "x, y",   "hypot(x, y)",         "hypot_slope(x, y)", "hypot_slope(y, x)")
sin        = rule("sin",        "a",      "sin(a)",              "cos(a)")
cos        = rule("cos",        "a",      "cos(a)",              "-sin(a)")
tan        = rule("tan",        "a",      "tan(a)",              "1 + out * out")
asin       = rule("asin",       "a",      "asin(a)",             "asin_slope(a)")
acos       = rule("acos",       "a",      "acos(a)",             "-asin_slope(a)")
atan       = rule("atan",       "a",      "atan(a)",             "atan_slope(a)")
atan2      = rule("atan2",      "y, x",   "atan2(y, x)",         "atan2_slope(x, y)", "-atan2_slope(y, x)")
sinh       = rule("sinh",       "a",      "sinh(a)",             "cosh(a)")
cosh       = rule("cosh",       "a",      "cosh(a)",             "sinh(a)")
tanh       = rule("tanh",       "a",      "tanh(a)",             "1 - out * out if -0.5 < out < 0.5 else tanh_slope(a)")
sigmoid    = rule("sigmoid", "a", "-(e := exp(-abs(a))) / (1 + e) * (s := 1.0 if a >= 0 else e) + s",
                  "sigmoid_slope(a)")
softplus   = rule("softplus",   "a",      "max(a, 0.0) + log1p(exp(-abs(a)))", "sigmoid(a)")
silu       = rule("silu", "a", "a / (1 + exp(-a)) if a > -700 else a * exp(a / 2) * exp(a / 2)", "silu_slope(a)")
erf        = rule("erf",        "a",      "erf(a)",              "2 / sqrt(pi) * bell_curve(a, 1.0)")
gelu       = rule("gelu",       "a",      "a * normal_cdf(a)",   "gelu_slope(a)")
# with a kink or jumps; the gradients of round (straight-through) and stop_gradient are not their derivatives
absolute   = rule("abs",        "a",      "abs(a)",              "1.0 if a > 0 else -1.0 if a < 0 else 0.0")
relu       = rule("relu",       "a",      "0.0 if a <= 0 else a", "0.0 if a <= 0 else 1.0")
leaky_relu = rule("leaky_relu", "a", "a if a > 0 else negative_slope * a", "1.0 if a > 0 else negative_slope",
                  negative_slope=0.01)
maximum    = rule("maximum",    "a, b",   "a if a >= b or a != a else b", "1.0 if a > b else 0.0 if a < b else 0.5",
                                                                 "1.0 if a < b else 0.0 if a > b else 0.5")
minimum    = rule("minimum",    "a, b",   "a if a <= b or a != a else b", "1.0 if a < b else 0.0 if a > b else 0.5",
                                                                 "1.0 if a > b else 0.0 if a < b else 0.5")
first_maximum = rule("first_maximum", "a, b", "a if a >= b or a != a else b", "0.0 if a < b else 1.0",
                  "1.0 if a < b else 0.0")  # at a tie a has the gradient, as in PyTorch's max pooling
floor      = rule("floor",      "a",      "a // 1 if abs(a) < 2.0 ** 52 else a", "0.0")
rounded    = rule("round",      "a",      "float(round(a)) if abs(a) < 1e16 else a", "1.0")
stop_gradient = rule("stop_gradient", "a", "a",                  "0.0")
# binary cross-entropy, with PyTorch's bounds: no logarithm below −100, that of tiny, no denominator below eps
bce        = rule("bce", "p, t", "-chance(t) * log(max(chance(p), tiny)) - (1 - t) * (log1p(-p) if p < 1 else -100.0)",
                  "bce_slope(p, t)", "-log_odds(p)", tiny=3.720075976020836e-44)  # eps is 1e-12 as a float32
bce_slope  = rule("bce_slope", "p, t", "(p - t) / max(chance(p) * (1 - p), eps)", "((p - t) * (p - t) + t * (1 - t)) / "
                  "maximum(p * (1 - p), eps) ** 2", "-1 / maximum(p * (1 - p), eps)", eps=9.99999996004197e-13)
log_odds   = rule("log_odds",   "p",      "-100.0 if chance(p) < tiny else -log1p((1 - 2 * p) / p) if p < 0.5 else "
                  "log1p((2 * p - 1) / (1 - p)) if p < 1 else 100.0 * chance(p)",
                  "1 / (p * (1 - p)) if tiny < p < 1 else 0.0", tiny=3.720075976020836e-44)
# of any number of operands: dot's are a₁…aₙ b₁…bₙ; weigh is dot with constants x for b; exp_sum's are a₁…aₙ b
total      = rule("sum",        "*a",     "sum(a, 0.0)",         "(1.0,) * len(a)")
dot        = rule("dot", "*ab", "sum(map(mul, ab, ab[len(ab) // 2:]), 0.0)",
                  "ab[len(ab) // 2:] + ab[:len(ab) // 2]")
weigh      = rule("weigh",      "*a",     "sum(map(mul, a, x), 0.0)", "x", x=())
logsumexp  = rule("logsumexp",  "*a",  "m if isinf(m := max(a)) else m + log1p(fsum([-1.0] + [exp(x - m) for x in a]))",
                  "[exp_difference(x, out) / s for s in [exp_sum(*a, out)] for x in a]")
exp_sum    = rule("exp_sum", "*ab", "fsum([exp_difference(x, ab[-1]) for x in ab[:-1]])",
                  "[exp_difference(x, ab[-1]) for x in ab[:-1]] + [-out]")
exp_difference = rule("exp_difference", "a, b", "(g := exp(d := a - b)) + g * (a - (d - (z := d - a)) - (b + z)) if "
                  "abs(a - b) < 1000 else exp(a - b)", "out", "-out")  # d misses what rounding takes from a - b
# slopes whose formula in the books, such as 1 - tanh(a)², loses digits or overflows; power_slope is c aⁿ⁻¹ and its d
# is off by n - d - 1
rule("power_slope", "c, a, n", "0.0 if c == 0 else c * a ** (n - 1) if a == 0 else y if abs(y := (p := (c * abs(a) ** d"
     " if abs(q := (d := n - 1) * (t := log(abs(a)))) < 709.7 or (abs(c) - 1) * q >= 0 else c * (h := abs(a) ** (d / 2)"
     ") * h) * real((s := copysign(1.0, a)) ** n) * s) + p * ((n - (d - (z := d - n)) - (1 + z)) * t)) < inf else "
     "c * a ** (n - 1)", "0.0 if 0 <= a <= 0 and n < 1 else power_slope(1.0, a, n)", "power_slope(c * (n - 1), a, n - 1"
     ") if n <= n - 1 + 1 <= n else (n - 1) * out / a", "out * log(a) if a > 0 else 0.0 if 0 <= a else nan")
rule("sqrt_slope", "a", "0.5 / sqrt(a) if a != 0 else inf", "-0.5 * out / a if not 0 <= a <= 0 else -out")
rule("cbrt_slope", "a", "cbrt(a) / a / 3 if a != 0 else inf", "-2 / 3 * out / a if not 0 <= a <= 0 else nan")
rule("hypot_slope", "x, y", "x * (s := 2.0 ** 600 if abs(x) + abs(y) < 1 else 0.25) / hypot(x * s, y * s) if "
     "x != 0 else 0.0", "hypot_slope(y, x) / hypot(x, y) * hypot_slope(y, x)", "-out / hypot(x, y) * hypot_slope(y, x)")
rule("atan2_slope", "x, y", "(s := 2.0 ** 600 if abs(x) + abs(y) < 1e-150 else 2.0 ** -600 if abs(x) + abs(y) > 1e150 "
     "else 1.0) * x / ((h := hypot(x * s, y * s)) * h) * s if x != 0 else 0.0",
     "(y - x) / hypot(x, y) * ((y + x) / hypot(x, y)) / hypot(x, y) / hypot(x, y)", "-2 * out * atan2_slope(y, x)")
rule("asin_slope", "a", "1 / sqrt(1 - a * a) if abs(a) < 0.8 else 1 / sqrt((1 - a) * (1 + a)) if abs(a) != 1 else inf",
     "a / ((1 - a * a) * sqrt(1 - a * a)) if -0.8 < a < 0.8 else a / ((1 - a) * (1 + a) * sqrt((1 - a) * (1 + a))) if "
     "-1 < a < 1 else a * out")
rule("atan_slope", "a", "(r := 1 / (d := 1 + (q := a * a))) - r * r * (q - (d - 1) if q < 1.5 else 1 - (d - q)) if "
     "abs(a) < 1e8 else 1 / a / a", "-2 * (a * out) * out")
rule("tanh_slope", "a", "4 * sigmoid_slope(2 * a) if abs(a) < 350 else (2 * exp(-abs(a))) ** 2", "-2 * tanh(a) * out")
rule("sigmoid_slope", "a", "(1 - tanh(a / 2) ** 2) / 4 if abs(a) < 1 else (r := (e := exp(-abs(a))) / (d := 1 + (q := "
     "e * (2 + e)))) - r * (q - (d - 1))", "-tanh(a / 2) * out")
rule("silu_slope", "a", "0.5 + (tanh(a / 2) / 2 + a * sigmoid_slope(a)) if -0.3 < a < 700 else 1.0 if a > 0 else (1 + a"
     " + exp(a)) / (exp(a) + (2 + exp(-a))) if a > -700 else (1 + a) * exp(a / 2) * exp(a / 2)", "silu_curvature(a)")
rule("silu_curvature", "a", "(2 - abs(a) + (2 + abs(a)) * exp(-abs(a))) / (1 + exp(-abs(a))) * sigmoid_slope(a) if "
     "abs(a) < 700 else (2 - abs(a)) * exp(-abs(a) / 2) * exp(-abs(a) / 2)",
     "-tanh(a / 2) * out - sigmoid_slope(a) * (tanh(a / 2) + 2 * a * sigmoid_slope(a))")
rule("gelu_slope", "a", "normal_cdf(a) + a * bell_curve(a, 0.5) / sqrt(2 * pi)",
     "(2 - a * a) * bell_curve(a, 0.5) / sqrt(2 * pi) if abs(a) < 40 else 0.0")
rule("normal_cdf", "a", "(p := 0.5 * erfc(z := -a / sqrt(2))) + p * ((b := upper_half(z)) * b - (h := upper_half(a)) * "
     "h / 2 + (z - b) * (z + b) - (a - h) * (a + h) / 2) if -40 < a < -0.2 else 0.5 * erfc(-a / sqrt(2))",
     "bell_curve(a, 0.5) / sqrt(2 * pi)")
rule("bell_curve", "a, k", "(g := exp(-k * (h := upper_half(a)) * h)) + g * expm1(k * (h - a) * (h + a)) if not "
     "k * a * a > 800 else 0.0", "-2 * k * (a * out)", "-a * (a * out)")  # exp(-k * a * a)
rule("upper_half", "a", "134217729 * a - (134217729 * a - a)", "1.0")  # 26 digits, so that a square is exact
RULES.seal()
