"""Random expressions: gradients against dual numbers and PyTorch, and values against 50 digits.

PyTorch is not required: test_gradcheck.py checks the same with finite differences.
"""

import math

import mpmath
import pytest
from hypothesis import HealthCheck, given, settings

from micrograd import Value, grad
from micrograd.rules import RULES
from micrograd.testing.strategies import expressions

# The rules that dual_of defines.
SMOOTH = ["+", "-", "neg", "*", "/", "power", "**", "exp", "log", "sqrt", "sin", "cos", "tanh", "sigmoid", "softplus"]
SMOOTH += ["bce", "bce_slope", "sum", "dot", "weigh", "logsumexp"]


class Dual:
    """a + bε with ε² = 0: forward-mode differentiation, which shares nothing with the chain rule of the engine."""

    def __init__(self, a, b=0.0):
        self.a, self.b = a, b


def dual_of(rule, operands):
    """Returns a rule on dual numbers, written by hand."""
    a, b = [x.a for x in operands], [x.b for x in operands]
    name, n = rule.name, len(operands) // 2
    value = rule.forward(*a)
    if name in ("+", "sum"):
        return Dual(value, sum(b))
    if name == "-":
        return Dual(value, b[0] - b[1])
    if name == "*":
        return Dual(value, b[0] * a[1] + a[0] * b[1])
    if name == "/":
        return Dual(value, (b[0] * a[1] - a[0] * b[1]) / a[1] ** 2)
    if name == "**":
        return Dual(value, value * (b[1] * math.log(a[0]) + a[1] * b[0] / a[0]) if a[0] > 0 else b[0] * a[1])
    if name == "dot":
        return Dual(value, sum(b[i] * a[i + n] + a[i] * b[i + n] for i in range(n)))
    if name == "weigh":
        return Dual(value, sum(x * bi for x, bi in zip(rule.constants["x"], b, strict=True)))
    if name == "logsumexp":
        return Dual(value, sum(math.exp(x) * bi for x, bi in zip(a, b, strict=True)) / sum(map(math.exp, a)))
    if name == "bce":
        p, t = a
        return Dual(value, ((1 - t) / (1 - p) - t / p) * b[0] + math.log(1 / p - 1) * b[1])
    if name == "bce_slope":
        p, t = a
        return Dual(value, (t / p**2 + (1 - t) / (1 - p) ** 2) * b[0] - b[1] / (p * (1 - p)))
    slopes = {
        "neg": lambda x: -1.0,
        "power": lambda x: rule.constants["n"] * x ** (rule.constants["n"] - 1),
        "exp": math.exp,
        "log": lambda x: 1 / x,
        "sqrt": lambda x: 1 / (2 * math.sqrt(x)),
        "sin": math.cos,
        "cos": lambda x: -math.sin(x),
        "tanh": lambda x: 1 / math.cosh(x) ** 2,
        "sigmoid": lambda x: 1 / (2 + math.exp(x) + math.exp(-x)),
        "softplus": lambda x: 1 / (1 + math.exp(-x)),
    }
    return Dual(value, slopes[name](a[0]) * b[0])


@settings(max_examples=300, suppress_health_check=list(HealthCheck), deadline=None)
@given(expressions(operations=[name for name in SMOOTH if name != "**"], bound=50.0))
def test_gradients_are_those_of_dual_numbers(expression):
    values = [Value(x) for x in expression.point]
    gradients = grad(expression(*values), values)
    scale = max(1.0, *map(abs, gradients))
    for i in range(len(values)):
        nodes = [Dual(x, float(i == j)) for j, x in enumerate(expression.point)]
        for step in expression.steps:
            nodes.append(dual_of(step.rule, [nodes[k] for k in step.operands]))
        assert gradients[i] == pytest.approx(nodes[-1].b, rel=1e-7, abs=1e-9 * scale)


EXACT = {
    "exp": mpmath.exp, "log": mpmath.log, "sqrt": mpmath.sqrt, "sin": mpmath.sin, "cos": mpmath.cos,
    "tanh": mpmath.tanh, "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
    "softplus": lambda x: mpmath.log1p(mpmath.exp(x)),
}  # fmt: skip


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("x", [-700.0, -40.0, -1.5, -1e-9, 1e-300, 0.25, 1.0, 36.5, 700.0])
def test_values_are_exact_to_the_last_digits(name, x):
    if x < 0 and name in ("log", "sqrt"):
        return
    with mpmath.workdps(50):
        exact = EXACT[name](mpmath.mpf(x))
        assert abs(RULES[name](x) - exact) <= 4 * 2.0**-52 * abs(exact)


def test_second_derivative_by_an_exponent_of_zero():
    x = Value(0.0)
    (slope,) = grad(x.exp() ** x, [x], create_graph=True)
    assert grad(slope, [x]) == (2.0,)


LEFT_OUT = ("round", "floor", "hypot")  # without derivatives; and PyTorch's hypot has a slope of nan at 0


def on_tensors(torch, rule):
    """Returns PyTorch's function for a rule of the table."""
    special = {
        "power": lambda a: a ** rule.constants["n"],
        "neg": torch.neg,
        "leaky_relu": torch.nn.functional.leaky_relu,
        "softplus": lambda a: torch.logaddexp(a, torch.zeros_like(a)),  # torch's softplus is x itself above 20
        "maximum": torch.maximum,
        "minimum": torch.minimum,
        "sum": lambda *a: torch.stack(a).sum(),
        "dot": lambda *ab: torch.stack(ab[: len(ab) // 2]) @ torch.stack(ab[len(ab) // 2 :]),
        "weigh": lambda *a: torch.stack(a) @ torch.tensor(rule.constants["x"], dtype=torch.float64),
        "logsumexp": lambda *a: torch.logsumexp(torch.stack(a), 0),
        "bce": lambda p, t: -t * torch.log(p) - (1 - t) * torch.log(1 - p),
        "bce_slope": lambda p, t: (p - t) / (p * (1 - p)),
        "gelu": torch.nn.functional.gelu, "silu": torch.nn.functional.silu,
        "+": torch.add, "-": torch.sub, "*": torch.mul, "/": torch.div, "**": torch.pow,
    }  # fmt: skip
    return special.get(rule.name) or getattr(torch, rule.name, None)


def test_gradients_and_second_derivatives_are_those_of_pytorch():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed; finite differences check the same")

    known = [name for name, rule in RULES.items() if on_tensors(torch, rule) and name not in LEFT_OUT]
    assert len(known) > 35  # the slopes that have a rule of their own are no functions of PyTorch's

    @settings(max_examples=2000, suppress_health_check=list(HealthCheck), deadline=None, database=None)
    @given(expressions(operations=known))
    def same(expression):
        values = [Value(x) for x in expression.point]
        tensors = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in expression.point]
        nodes = list(tensors)
        for step in expression.steps:
            nodes.append(on_tensors(torch, step.rule)(*[nodes[i] for i in step.operands]))
        ours = grad(expression(*values), values, create_graph=True)
        theirs = torch.autograd.grad(nodes[-1], tensors, create_graph=True, allow_unused=True)
        # Large terms may cancel and leave their rounding errors: the tolerance is relative to the terms.
        scale = max(1.0, *(abs(node.item()) for node in nodes))
        for i, (our, their) in enumerate(zip(ours, theirs, strict=True)):
            theirs_first = 0.0 if their is None else their.item()
            assert our.data == pytest.approx(theirs_first, rel=1e-9, abs=1e-12 * scale**2)
            second = 0.0
            if their is not None and their.requires_grad:
                (derivative,) = torch.autograd.grad(their, [tensors[i]], retain_graph=True, allow_unused=True)
                second = 0.0 if derivative is None else derivative.item()
            # PyTorch cuts the graph where an exponent is 0, and so gives 1 for the second derivative of exp(x)ˣ at 0,
            # which is that of exp(x²), 2.
            cut = any(s.rule.name == "**" and nodes[s.operands[1]].item() == 0 for s in expression.steps)
            if math.isfinite(second) and not cut:
                assert grad(our, [values[i]])[0] == pytest.approx(second, rel=1e-7, abs=1e-10 * scale**3)

    same()
