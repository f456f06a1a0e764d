"""Strategies for Hypothesis: numbers, Values, networks, and random expressions, each with a point at which it is
well defined.

>>> from hypothesis import given
>>> from micrograd.testing import gradcheck
>>> @given(expressions(operations=["*", "tanh"]))
... def test_gradients(expression):
...     gradcheck(expression, expression.point)
>>> test_gradients()
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from itertools import pairwise

from .. import nn
from ..engine import Value, operation
from ..rules import RULES, Rule
from .expression import Expression, Step

try:
    from hypothesis import reject
    from hypothesis import strategies as st
except ImportError as error:
    raise ImportError("micrograd.testing.strategies needs hypothesis: python -m pip install hypothesis") from error

__all__ = ["Expression", "expressions", "finite_floats", "lists", "modules", "values"]


def finite_floats(min_value: float = -1e3, max_value: float = 1e3) -> st.SearchStrategy[float]:
    """Floats between two bounds. Small whole numbers and halves are frequent, because kinks are there.

    >>> from hypothesis import given
    >>> @given(finite_floats(10, 20))
    ... def test_range(x):
    ...     assert 10 <= x <= 20
    >>> test_range()
    """
    low, high = (None if math.isinf(bound) else float(bound) for bound in (min_value, max_value))
    tiny = any(bound is not None and 0 < abs(bound) < 2.0**-1022 for bound in (low, high))
    numbers = st.floats(low, high, allow_nan=False, allow_infinity=False, allow_subnormal=tiny)
    first, last = math.ceil(2 * max(min_value, -8)), math.floor(2 * min(max_value, 8))
    return st.integers(first, last).map(lambda n: n / 2) | numbers if first <= last else numbers


def values(min_value: float = -1e3, max_value: float = 1e3) -> st.SearchStrategy[Value]:
    """Leaf Values with finite data."""
    return finite_floats(min_value, max_value).map(Value)


def lists(
    min_size: int = 0, max_size: int = 8, min_value: float = -1e3, max_value: float = 1e3
) -> st.SearchStrategy[list[Value]]:
    """Lists of leaf Values, such as the input of a network."""
    return st.lists(values(min_value, max_value), min_size=min_size, max_size=max_size)


def modules(nin: int = 2, nout: int = 1, max_layers: int = 3, max_size: int = 4) -> st.SearchStrategy[nn.Module]:
    """Networks of linear layers, normalisations and smooth activations, with random parameters.

    Args:
        nin: the number of their inputs.
        nout: the number of their outputs.
        max_layers: the largest number of linear layers.
        max_size: the largest number of outputs of the layers between.

    >>> from hypothesis import given
    >>> from micrograd.testing import gradcheck
    >>> @given(modules(nin=2, max_layers=2, max_size=2))
    ... def test_gradients(module):
    ...     gradcheck(module, [[0.5, -1.0]])
    >>> test_gradients()
    """
    if not (nin >= 1 and nout >= 1 and max_layers >= 1 and max_size >= 1):
        raise ValueError(f"modules() takes sizes of 1 at least, not {(nin, nout, max_layers, max_size)}")
    return _modules(nin, nout, max_layers, max_size)


@st.composite
def _modules(draw: st.DrawFn, nin: int, nout: int, max_layers: int, max_size: int) -> nn.Module:
    rng = random.Random(draw(st.integers(0, 2**32 - 1)))
    sizes = [nin, *draw(st.lists(st.integers(1, max_size), max_size=max_layers - 1))]
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [
            nn.Linear(before, after, rng=rng),
            nn.Activation(draw(st.sampled_from(("tanh", "sigmoid", "softplus")))),
        ]
        if draw(st.booleans()):
            layers.append(nn.LayerNorm(after))
    return nn.Sequential(*layers, nn.Linear(sizes[-1], nout, rng=rng))


_CHOSEN = ("floor", "round", "stop_gradient", "upper_half")  # their gradients are not their derivatives


def expressions(
    max_leaves: int = 8,
    operations: Sequence[str] | None = None,
    bound: float = 1e3,
    numbers: st.SearchStrategy[float] | None = None,
) -> st.SearchStrategy[Expression]:
    """Random expressions of the operations in the table, including those added at run time.

    An operation is used only if it is defined at the point and around it, and its value and slopes stay within the
    bound. A node may be an operand several times. Expressions shrink to small ones.

    Args:
        max_leaves: the largest number of operations in an expression.
        operations: names in ``RULES``; the default is all operations whose gradient is their derivative.
        bound: the bound of the magnitudes of all values and slopes.
        numbers: the arguments; the default is numbers from −4 to 4.

    Raises:
        ValueError: if an operation is unknown, or there are none.

    >>> from hypothesis import given
    >>> @given(expressions(max_leaves=3))
    ... def test_values_are_floats(expression):
    ...     assert isinstance(expression(*expression.point), float)
    >>> test_values_are_floats()
    """
    chosen = [name for name in RULES if name not in _CHOSEN] if operations is None else list(operations)
    unknown = [name for name in chosen if name not in RULES]
    if not isinstance(max_leaves, int) or not bound > 0:
        raise ValueError(f"max_leaves is a whole number and bound above 0, not {max_leaves!r} and {bound!r}")
    if unknown or not chosen or max_leaves < 1:
        raise ValueError(f"no expressions of at most {max_leaves} operations of {chosen}; unknown are {unknown}")
    return _expressions(max_leaves, chosen, bound, finite_floats(-4, 4) if numbers is None else numbers)


@st.composite
def _expressions(
    draw: st.DrawFn, max_leaves: int, names: list[str], bound: float, arguments: st.SearchStrategy[float]
) -> Expression:
    point = tuple(draw(st.lists(arguments, min_size=1, max_size=3)))
    choices = [None, *(rule for name in names for rule in _with_constants(RULES[name]))]
    picks = st.lists(st.integers(0, 7), min_size=4, max_size=4)
    # Each step is valid without the others, so that shrinking can replace any step by the first choice, no step.
    drawn = draw(st.lists(st.tuples(st.sampled_from(choices), picks), min_size=1, max_size=max_leaves))
    numbers = list(point)
    steps: list[Step] = []
    for rule, picked in drawn:
        if rule is None:
            continue
        count = 4 if rule.variadic else len(rule.names)
        operands = [len(numbers) - 1 - pick % len(numbers) for pick in picked[:count]]
        if steps:  # the last node is always an operand, so that the whole graph is used
            operands[picked[-1] % count] = len(numbers) - 1
        if _is_tame(rule, [numbers[i] for i in operands], bound):
            steps.append(Step(rule, tuple(operands)))
            numbers.append(rule.forward(*[numbers[i] for i in operands]))
    if not steps:
        reject()
    return Expression(point, tuple(steps))


def _with_constants(rule: Rule) -> list[Rule]:
    if rule.name == "power":
        return [rule.bind("power", n=n) for n in (2.0, 3.0, -1.0, 0.5)]
    if rule.name == "weigh":
        return [rule.bind("weigh", x=(0.5, -2.0, 1.0, 3.0))]
    return [rule]


def _is_tame(rule: Rule, point: list[float], bound: float) -> bool:
    # Whether values and slopes are defined and within the bound, at the point and on both sides of it.
    try:
        for shift in (0.0, 0.05, -0.05):
            moved = [Value(x + shift) for x in point]
            out = operation(rule)(*moved)
            out.backward()
            if not all(abs(number) <= bound for number in (out.data, *(x.grad for x in moved))):
                return False
        apart = [x if i % 2 else x + 0.05 for i, x in enumerate(point)]
        return abs(rule.forward(*apart)) <= bound
    except (ArithmeticError, ValueError):
        return False
