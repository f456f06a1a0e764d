"""The ways to write each operation that a ``Value`` class may have, and the points at which it is examined."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..rules import RULES, Rule
from .expression import Step
from .probes import Probe, find_method

__all__ = ["METHODS", "PAIRS", "POWERS", "REQUIRED", "Form", "list_forms"]


@dataclass(frozen=True)
class Form:
    """One way to write an operation: with Values, or with a plain number on one side."""

    name: str
    rule: Rule
    points: tuple[tuple[float, ...], ...]
    plain: frozenset[int] = frozenset()

    def make(self, point: tuple[float, ...], *more: Step) -> Probe:
        """The operation on arguments of its own, and further steps."""
        step = Step(self.rule, tuple(range(len(point))))
        return Probe(point, (step, *more), self.plain)


PAIRS = ((3.0, 2.0), (-1.5, 2.5), (0.5, -4.0))
_NUMBERS = (0.5, -1.25, 2.0, -0.25, 3.0)
# What others may be made of comes first, so that it is blamed first: a quotient may be a product with a power, and a
# method may be made of all operators.
REQUIRED = ("+", "*", "neg", "-", "**", "/")
METHODS = (
    "exp", "log", "relu", "tanh", "sigmoid", "sqrt", "sin", "cos", "abs", "expm1", "log1p", "cbrt", "tan", "asin",
    "acos", "atan", "sinh", "cosh", "softplus", "silu", "erf",
)  # fmt: skip
POWERS = (2.0, 3.0, -1.0)


def list_forms(engine: Any) -> Iterator[Form]:
    """The forms of the operations that a class has, those that others may be made of first."""
    for name in ("+", "*"):
        yield Form(name, RULES[name], PAIRS)
    yield from _list_plain_forms("+")
    yield from _list_plain_forms("*")
    for name in REQUIRED[2:]:
        if name == "neg":
            yield Form(name, RULES["neg"], tuple((x,) for x in _NUMBERS))
        elif name == "**":
            for n in POWERS:
                yield Form(name, RULES["power"].bind("power", n=n), ((1.5,), (-2.0,), (0.5,)))
        else:
            yield Form(name, RULES[name], PAIRS)
            yield from _list_plain_forms(name)
    for name in METHODS:
        if find_method(engine, name):
            points = tuple((x,) for x in _NUMBERS if _is_defined(RULES[name], x))
            yield Form(name, RULES[name], (*points, (0.0,)) if name == "relu" else points)


def _list_plain_forms(name: str) -> Iterator[Form]:
    for side in (1, 0):
        yield Form(name, RULES[name], PAIRS, frozenset([side]))


def _is_defined(rule: Rule, x: float) -> bool:
    try:
        return math.isfinite(rule(x)) and abs(x) < {"asin": 1, "acos": 1}.get(rule.name, math.inf)
    except (ArithmeticError, ValueError):
        return False
