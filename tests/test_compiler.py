"""Compiled functions give what the same functions give when they are not compiled: numbers, gradients and errors."""

import math
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

np = pytest.importorskip("numpy")
pytest.importorskip("numba", reason="compiling needs Numba, which is not installed")

from micrograd import Value, compile, functional, grad, nn, rules
from micrograd.compiler import DisagreementError, TraceError, kernel
from micrograd.rules import RULES, rule
from micrograd.testing.strategies import expressions, finite_floats

TOLERANCE = 1e-12


def outcome(function, *arguments):
    """What a call gives, number and gradients; or its error."""
    inputs = [Value(x) for x in arguments]
    try:
        out = function(*inputs)
        out.backward()
    except (ArithmeticError, ValueError) as error:
        return type(error), str(error)
    return out.data, [x.grad for x in inputs]


def close(ours, expected, size=0.0):
    return ours == expected or abs(ours - expected) <= TOLERANCE * max(abs(expected), size) or (ours != ours and expected != expected)


def agree(expression, lanes):
    rng = random.Random(1)
    points = np.array([[x + rng.uniform(-0.04, 0.04) for x in expression.point] for _ in range(lanes)])
    for i, point in enumerate(points.tolist()):
        if not i or isinstance(outcome(expression, *point)[0], type):
            points[i] = expression.point
    compiled = compile(expression)
    values, slopes = compiled.values_and_gradients(*points.T.copy())
    slopes = np.stack(slopes, axis=1) if isinstance(slopes, tuple) else slopes[:, None]
    for point, value, slope in zip(points, values, slopes, strict=True):
        expected, gradient = outcome(expression, *point.tolist())
        # What cancels is rounded as the numbers that it is a difference of.
        assert close(value, expected, size=1.0)
        largest = max(1.0, *map(abs, gradient)) if all(map(math.isfinite, gradient)) else math.inf
        assert all(close(a, b, largest) for a, b in zip(slope, gradient, strict=True)), (slope, gradient)
    return points, values, slopes, compiled


@settings(max_examples=100)
@given(expressions(), st.sampled_from([1, 7, 64]))
def test_expressions_are_what_they_are_eagerly(expression, lanes):
    agree(expression, lanes)


@pytest.mark.slow
@settings(max_examples=5000, suppress_health_check=list(HealthCheck))
@given(expressions(), st.sampled_from([1, 7, 64]))
def test_thousands_of_expressions_are_what_they_are_eagerly(expression, lanes):
    agree(expression, lanes)


@settings(max_examples=300)
@given(expressions(), st.lists(st.one_of(finite_floats(-5, 5), st.sampled_from([0.0, 1e200, -1e200, 800.0])), min_size=3, max_size=3))
def test_errors_are_the_same(expression, point):
    compiled = compile(expression)
    for arguments in (expression.point, tuple(point[: len(expression.point)])):
        expected, found = outcome(expression, *arguments), outcome(compiled, *arguments)
        if isinstance(expected[0], type):
            assert found == expected
        else:
            assert close(found[0], expected[0], size=1.0)
