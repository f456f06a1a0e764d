"""Compares values and gradients of other libraries with 50 digits, on random expressions.

``python -m micrograd.testing.conformance torch --seconds 60`` prints what it finds: for each difference the smallest
expression that shows it, as a program that can be sent to the library's authors.
"""

from __future__ import annotations

import argparse
import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from ..arguments import require
from ..engine import Value, grad
from ..rules import RULES
from .expression import Expression, Step
from .strategies import expressions, finite_floats

__all__ = ["LIBRARIES", "Difference", "Library", "compare", "find_differences", "main"]

DIGITS = 50
TOLERANCE = 1e-9  # a larger relative error is a difference
OURS = 1e-12  # only where our own error is smaller, the expression is one that can be computed

# The operations as expressions of Python that all libraries share; {0} and {1} are the operands.
_SHARED = {
    "+": "({0} + {1})",
    "-": "({0} - {1})",
    "*": "({0} * {1})",
    "/": "({0} / {1})",
    "neg": "(-{0})",
    "**": "({0} ** {1})",
    "power": "({0} ** {n})",
    "abs": "abs({0})",
}
_NUMPY = {
    **{name: f"np.{name}({{0}})" for name in ("exp", "expm1", "log", "log1p", "sqrt", "sin", "cos", "tan")},
    **{name: f"np.{name}({{0}})" for name in ("sinh", "cosh", "tanh")},
    **{name: f"np.arc{name[1:]}({{0}})" for name in ("asin", "acos", "atan")},
    "maximum": "np.maximum({0}, {1})",
    "minimum": "np.minimum({0}, {1})",
}


@dataclass(frozen=True)
class Library:
    """How a library writes an expression with its gradient.

    Attributes:
        name: the name of its package.
        texts: an expression of Python for each operation.
        program: lines that print the value and the gradients; ``{names}``, ``{point}`` and ``{text}`` are filled in.
    """

    name: str
    texts: dict[str, str]
    program: Callable[[list[str], list[float], str], list[str]]

    @property
    def version(self) -> str | None:
        """The installed version, if any."""
        try:
            return version(self.name)
        except PackageNotFoundError:
            return None

    def write(self, expression: Expression) -> str:
        """A program of at most five lines that prints the value of the expression and its gradients."""
        names = [f"x{i}" for i in range(len(expression.point))]
        nodes = [*names]
        for step in expression.steps:
            operands = [nodes[i] for i in step.operands]
            nodes.append(self.texts[step.rule.name].format(*operands, **step.rule.constants))
        used = [i for i, name in enumerate(names) if name in nodes[-1]]
        text = nodes[-1].removeprefix("(").removesuffix(")") if _is_wrapped(nodes[-1]) else nodes[-1]
        return "\n".join(self.program([names[i] for i in used], [expression.point[i] for i in used], text))


def _is_wrapped(text: str) -> bool:
    # Whether the first parenthesis is closed by the last one.
    depth = 0
    for i, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return text[0] == "(" and i == len(text) - 1
    return False


def _write_torch(names: list[str], point: list[float], text: str) -> list[str]:
    tensors = ", ".join(f"torch.tensor({x!r}, dtype=torch.float64, requires_grad=True)" for x in point)
    slopes = ", ".join(f"{name}.grad.item()" for name in names)
    return [
        "import torch",
        f"{', '.join(names)} = {tensors}",
        f"y = {text}",
        f"y.backward(); print(y.item(), {slopes})",
    ]


def _write_tinygrad(names: list[str], point: list[float], text: str) -> list[str]:
    return [
        "from tinygrad import Tensor, dtypes",
        f"{', '.join(names)} = {', '.join(f'Tensor([{x!r}], dtype=dtypes.float64)' for x in point)}",
        f"y = {text}",
        f"print(y.item(), *[g.item() for g in y.sum().gradient({', '.join(names)})])",
    ]


def _write_function(imports: list[str], grad: str, names: list[str], point: list[float], text: str) -> list[str]:
    arguments = ", ".join(map(repr, point))
    which = f", {tuple(range(len(names)))}" if len(names) > 1 else ""
    star = "*" if len(names) > 1 else ""
    return [
        *imports,
        f"f = lambda {', '.join(names)}: {text}",
        f"print(f({arguments}), {star}{grad}(f{which})({arguments}))",
    ]


LIBRARIES = {
    library.name: library
    for library in (
        Library(
            "torch",
            {
                **_SHARED,
                **{
                    name: f"torch.{name}({{0}})"
                    for name in (
                        *("exp", "expm1", "log", "log1p", "sqrt", "sin", "cos", "tan", "asin", "acos", "atan"),
                        *("sinh", "cosh", "tanh", "sigmoid", "erf", "relu"),
                    )
                },
                **{f"{name}": f"torch.nn.functional.{name}({{0}})" for name in ("softplus", "silu", "gelu")},
                "hypot": "torch.hypot({0}, {1})",
                "atan2": "torch.atan2({0}, {1})",
                "maximum": "torch.maximum({0}, {1})",
                "minimum": "torch.minimum({0}, {1})",
                "logsumexp": "torch.logsumexp(torch.stack([{0}, {1}, {2}, {3}]), 0)",
            },
            _write_torch,
        ),
        Library(
            "jax",
            {
                **_SHARED,
                **_NUMPY,
                **{f"{name}": f"jax.nn.{name}({{0}})" for name in ("softplus", "silu", "sigmoid", "relu")},
                "gelu": "jax.nn.gelu({0}, approximate=False)",
                "erf": "jax.scipy.special.erf({0})",
                "cbrt": "np.cbrt({0})",
                "hypot": "np.hypot({0}, {1})",
                "atan2": "np.arctan2({0}, {1})",
                "logsumexp": "jax.nn.logsumexp(np.array([{0}, {1}, {2}, {3}]))",
            },
            partial(
                _write_function,
                ['import jax, jax.numpy as np; jax.config.update("jax_enable_x64", True)'],
                "jax.grad",
            ),
        ),
        Library(
            "autograd",
            {
                **_SHARED,
                **_NUMPY,
                "erf": "special.erf({0})",
                "sigmoid": "special.expit({0})",
                "atan2": "np.arctan2({0}, {1})",
                "logsumexp": "special.logsumexp(np.array([{0}, {1}, {2}, {3}]))",
            },
            partial(
                _write_function,
                ["import autograd, autograd.numpy as np, autograd.scipy.special as special"],
                "autograd.elementwise_grad",
            ),
        ),
        Library(
            "tinygrad",
            {
                **_SHARED,
                "abs": "{0}.abs()",
                **{
                    name: f"{{0}}.{name}()"
                    for name in (
                        *("exp", "log", "sqrt", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh"),
                        *("sigmoid", "erf", "relu", "softplus", "silu"),
                    )
                },
                "maximum": "{0}.maximum({1})",
                "minimum": "{0}.minimum({1})",
            },
            _write_tinygrad,
        ),
    )
}


@dataclass(frozen=True)
class Difference:
    """A value or gradient of a library that is not the exact one.

    Attributes:
        library: the library's name and version.
        operations: the operations of the expression.
        program: a program that shows it.
        got: what it prints; a text if it fails.
        exact: the value and the gradients, rounded to floats.
    """

    library: str
    operations: tuple[str, ...]
    program: str
    got: tuple[float, ...] | str
    exact: tuple[float, ...]

    def __str__(self) -> str:
        got = self.got if isinstance(self.got, str) else ", ".join(map(repr, self.got))
        return f"{self.program}\n# {self.library} prints {got}\n# exact:  {', '.join(map(repr, self.exact))}"


def compare(library: Library, expression: Expression) -> Difference | None:
    """Compares a library's value and gradients of an expression with the exact ones; None if they agree.

    They also agree where our own engine is not exact, because the expression itself loses digits, and where the
    gradient does not exist.
    """
    exact = _differentiate_exactly(expression)
    if exact is None:
        return None
    values = [Value(x) for x in expression.point]
    used = {i for step in expression.steps for i in step.operands}
    try:
        out = expression(*values)
        ours = (out.data, *(g for i, g in enumerate(grad(out, values)) if i in used))
    except (ArithmeticError, ValueError):
        return None
    exact = (exact[0], *(g for i, g in enumerate(exact[1:]) if i in used))
    if not all(_is_near(a, b, OURS) for a, b in zip(ours, exact, strict=True)):
        return None
    program = library.write(expression)
    got = _run(program)
    if not isinstance(got, str) and all(_is_near(a, b, TOLERANCE) for a, b in zip(got, exact, strict=True)):
        return None
    operations = tuple(sorted({step.rule.name for step in expression.steps}))
    return Difference(f"{library.name} {library.version}", operations, program, got, exact)


def find_differences(library: Library, seconds: float, max_leaves: int = 4) -> Iterator[Difference]:
    """Yields the differences of a library, each shrunk to a small expression.

    What was found is not looked for again: expressions with all operations of a difference are left out.

    Args:
        library: one of ``LIBRARIES`` that is installed.
        seconds: how long to search.
        max_leaves: the largest number of operations in an expression.
    """
    hypothesis = require("hypothesis", "conformance", "hypothesis")
    require("mpmath", "conformance", "mpmath")
    settings = hypothesis.settings(
        max_examples=2000,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
    )
    far = finite_floats(-4, 4) | finite_floats(-800, 800) | finite_floats(-1e-3, 1e-3) | finite_floats(-1e20, 1e20)
    strategy = expressions(max_leaves, list(library.texts), 1e100, far)
    known: list[set[str]] = []
    end = time.monotonic() + seconds

    def differs(expression: Expression) -> bool:
        names = {step.rule.name for step in expression.steps}
        is_known = any(own <= names for own in known)
        return not is_known and time.monotonic() < end and compare(library, expression) is not None

    while time.monotonic() < end:
        try:
            difference = compare(library, hypothesis.find(strategy, differs, settings=settings))
        except hypothesis.errors.HypothesisException:  # none was found, or the time is over
            continue
        if difference:
            known.append(set(difference.operations))
            yield difference


def _differentiate_exactly(expression: Expression) -> tuple[float, ...] | None:
    # Differences of values of 150 digits; None where both sides differ, at a kink.
    mpmath = require("mpmath", "conformance", "mpmath")
    meanings = _list_meanings(mpmath)

    def evaluate(point: Sequence[Any]) -> Any:
        nodes = list(point)
        for step in expression.steps:
            nodes.append(meanings[step.rule.name](*[nodes[i] for i in step.operands], **step.rule.constants))
            if not isinstance(nodes[-1], mpmath.mpf):
                raise ValueError("the expression is complex")
        return nodes[-1]

    with mpmath.workdps(3 * DIGITS):
        point = [mpmath.mpf(x) for x in expression.point]
        try:
            out = evaluate(point)
            slopes = []
            for i, x in enumerate(point):
                h = mpmath.mpf(10) ** -(DIGITS + 5) * (abs(x) or 1)
                below, above = (evaluate([*point[:i], moved, *point[i + 1 :]]) for moved in (x - h, x + h))
                left, right = (out - below) / h, (above - out) / h
                if not abs(right - left) <= mpmath.mpf(10) ** -20 * (abs(left) + abs(right)) + mpmath.mpf(10) ** -40:
                    return None
                slopes.append((left + right) / 2)
            numbers = tuple(map(float, (out, *slopes)))
        except (ArithmeticError, ValueError, TypeError):
            return None
    # Numbers that are no doubles, or hardly, are left out.
    fine = all(math.isfinite(x) and (abs(x) > 1e-290 or float(x) == 0) for x in numbers)
    return numbers if fine else None


def _list_meanings(mpmath: Any) -> dict[str, Callable[..., Any]]:
    names = ("exp", "expm1", "log", "log1p", "sqrt", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh")
    return {
        **{name: getattr(mpmath, name) for name in (*names, "tanh", "erf", "hypot", "atan2")},
        "+": lambda a, b: a + b,
        "-": lambda a, b: a - b,
        "*": lambda a, b: a * b,
        "/": lambda a, b: a / b,
        "**": lambda a, b: a**b,
        "power": lambda a, n: a ** mpmath.mpf(n),
        "neg": lambda a: -a,
        "abs": abs,
        "relu": lambda a: max(a, mpmath.mpf(0)),
        "maximum": max,
        "minimum": min,
        "cbrt": lambda a: mpmath.sign(a) * mpmath.cbrt(abs(a)),
        "sigmoid": lambda a: 1 / (1 + mpmath.exp(-a)),
        "softplus": lambda a: mpmath.log1p(mpmath.exp(a)),
        "silu": lambda a: a / (1 + mpmath.exp(-a)),
        "gelu": lambda a: a * mpmath.erfc(-a / mpmath.sqrt(2)) / 2,
        "logsumexp": lambda *a: mpmath.log(sum(map(mpmath.exp, a))),
    }


def _is_near(got: float, exact: float, tolerance: float) -> bool:
    return abs(got - exact) <= (tolerance * abs(exact) + 1e-300 if exact else 1e-6)  # terms that cancel leave some


def _run(program: str) -> tuple[float, ...] | str:
    printed: list[Any] = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exec(program, {"print": lambda *numbers: printed.extend(numbers)})
        return tuple(map(float, printed))
    except Exception as error:  # whatever the library raises is what it does
        return f"{type(error).__name__}: {error}".splitlines()[0][:200]


def main(arguments: Sequence[str] | None = None) -> None:
    """Searches for differences in the libraries that are installed, and prints them."""
    parser = argparse.ArgumentParser(prog="python -m micrograd.testing.conformance", description=main.__doc__)
    parser.add_argument(
        "libraries", nargs="*", help=f"some of {', '.join(LIBRARIES)}; all that are installed by default"
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to search in each library")
    options = parser.parse_args(arguments)
    unknown = set(options.libraries) - set(LIBRARIES)
    if unknown:
        parser.error(f"{', '.join(sorted(unknown))}: not one of {', '.join(LIBRARIES)}")
    for name in options.libraries or LIBRARIES:
        library = LIBRARIES[name]
        if library.version is None:
            print(f"{name} is not installed")
            continue
        print(f"{name} {library.version}:")
        failure = compare(library, Expression((0.5,), (Step(RULES["+"], (0, 0)),)))
        if failure and isinstance(failure.got, str):  # a compiler that it needs is missing, for example
            print(f"it can't add two numbers here: {failure.got}")
            continue
        for difference in find_differences(library, options.seconds):
            print(f"\n{difference}", flush=True)


if __name__ == "__main__":
    main()
