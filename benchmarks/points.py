"""Derivatives of small functions, written for each peer: at many points, at one point, and a Hessian."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any

from eager import more_ops
from peers import (
    ARRAYS,
    CASADI,
    CASADI_C,
    EAGER,
    HIPS,
    JAX,
    NUMPY,
    OURS,
    TORCH,
    XAD,
    Side,
    Sides,
    calls,
    casadi_function,
    flat,
    xad_value_and_grad,
)

# The expression of test_more_ops: its value and derivatives, at many points and at one.


def by_hand(a: Any, b: Any) -> tuple[Any, Any, Any]:
    import numpy

    up, down = a + b > 0, b - a > 0
    e = 3 * a + 4 * b + 3 - 12 * b * (a + b * b) - 4 * numpy.maximum(a + b, 0) - numpy.maximum(b - a, 0)
    f = e * e
    slope = e - 20 / (f * e)
    return f / 2 + 10 / f, slope * (3 - 12 * b - 4 * up + down), slope * (4 - 12 * a - 36 * b * b - 4 * up - down)


def expression(xs: list[float], ys: list[float]) -> Sides:
    def ours() -> Side:
        import numpy

        import micrograd

        compiled = micrograd.compile(lambda a, b: more_ops(a, b, micrograd.Value.relu))
        a, b = numpy.array(xs), numpy.array(ys)
        return calls(lambda: compiled.values_and_gradients(a, b))

    def eager() -> Side:
        from micrograd import Value

        def once() -> list[list[float]]:
            rows = []
            for x, y in zip(xs, ys, strict=True):
                a, b = Value(x), Value(y)
                out = more_ops(a, b, Value.relu)
                out.backward()
                rows.append((out.data, a.grad, b.grad))
            return rows

        return calls(once, lambda rows: list(zip(*rows, strict=True)))

    def numpy_by_hand() -> Side:
        import numpy

        a, b = numpy.array(xs), numpy.array(ys)
        return calls(lambda: by_hand(a, b))

    def jax() -> Side:
        import jax

        derivatives = jax.jit(jax.vmap(jax.value_and_grad(lambda a, b: more_ops(a, b, jax.nn.relu), (0, 1))))
        a, b = jax.numpy.array(xs), jax.numpy.array(ys)
        return calls(lambda: jax.block_until_ready(derivatives(a, b)))

    def torch() -> Side:
        import torch

        a, b = (torch.tensor(x, requires_grad=True) for x in (xs, ys))

        def once() -> list[Any]:
            out = more_ops(a, b, torch.relu)
            return [out, *torch.autograd.grad(out, (a, b), torch.ones_like(out))]

        return calls(once)

    def casadi(in_c: bool) -> Side:
        import casadi

        batch = casadi_expression(in_c).map(len(xs))
        a, b = casadi.DM(xs).T, casadi.DM(ys).T
        return calls(lambda: batch(a, b), lambda out: [part.full() for part in out])

    def autograd() -> Side:
        from autograd import make_vjp, numpy

        derivatives = make_vjp(lambda a, b: more_ops(a, b, lambda x: numpy.maximum(x, 0.0)), (0, 1))
        a, b = numpy.array(xs), numpy.array(ys)

        def once() -> list[Any]:
            vjp, out = derivatives(a, b)
            return [out, vjp(numpy.ones_like(out))]

        return calls(once)

    def xad() -> Side:
        from xad import math as xad_math

        derivatives = xad_value_and_grad(lambda ab: more_ops(*ab, lambda x: xad_math.max(x, 0.0)))
        return calls(
            lambda: list(map(derivatives, zip(xs, ys, strict=True))),
            lambda rows: list(zip(*map(flat, rows), strict=True)),
        )

    return {
        OURS: ours,
        EAGER: eager,
        NUMPY: numpy_by_hand,
        TORCH: torch,
        JAX: jax,
        CASADI: lambda: casadi(False),
        CASADI_C: lambda: casadi(True),
        HIPS: autograd,
        XAD: xad,
    }


def casadi_expression(in_c: bool) -> Any:
    import casadi

    a, b = casadi.SX.sym("a"), casadi.SX.sym("b")
    out = more_ops(a, b, lambda x: casadi.fmax(x, 0))
    return casadi_function([a, b], [out, casadi.gradient(out, a), casadi.gradient(out, b)], in_c)


def many_points(count: int = 20_000) -> Sides:
    rng = random.Random(1337)
    return expression(*([rng.uniform(-4, 4) for _ in range(count)] for _ in "ab"))


def one_call(x: float = -4.0, y: float = 2.0) -> Sides:
    def ours(compiled: bool) -> Side:
        import micrograd
        from micrograd import Value

        def eager(a: Value, b: Value) -> Value:
            return more_ops(a, b, Value.relu)

        function = micrograd.compile(eager) if compiled else eager

        def once() -> tuple[Value, Value, Value]:
            a, b = Value(x), Value(y)
            out = function(a, b)
            out.backward()
            return out, a, b

        return calls(once, lambda values: [values[0].data, values[1].grad, values[2].grad])

    def torch() -> Side:
        import torch

        def once() -> list[Any]:
            a, b = (torch.tensor(number, requires_grad=True) for number in (x, y))
            out = more_ops(a, b, torch.relu)
            out.backward()
            return [out, a.grad, b.grad]

        return calls(once)

    def jax() -> Side:
        import jax

        derivatives = jax.jit(jax.value_and_grad(lambda a, b: more_ops(a, b, jax.nn.relu), (0, 1)))
        return calls(lambda: jax.block_until_ready(derivatives(x, y)))

    def casadi(in_c: bool) -> Side:
        function = casadi_expression(in_c)
        return calls(lambda: function(x, y), lambda out: [part.full() for part in out])

    def autograd() -> Side:
        from autograd import numpy, value_and_grad

        derivatives = value_and_grad(lambda a, b: more_ops(a, b, lambda x: numpy.maximum(x, 0.0)), (0, 1))
        return calls(lambda: derivatives(x, y))

    of_arrays = expression([x], [y])
    return {
        OURS: lambda: ours(True),
        ARRAYS: of_arrays[OURS],
        EAGER: lambda: ours(False),
        TORCH: torch,
        JAX: jax,
        CASADI: lambda: casadi(False),
        CASADI_C: lambda: casadi(True),
        HIPS: autograd,
        XAD: of_arrays[XAD],
    }


# The Hessian of Rosenbrock's function.


def rosenbrock(x: Any, total: Callable[[Any], Any]) -> Any:
    """Rosenbrock's function of an array."""
    return total(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def hessian(size: int = 20) -> Sides:
    rng = random.Random(1337)
    point = [rng.uniform(-2, 2) for _ in range(size)]

    def scalar_hessian(x: list[Any]) -> list[list[Any]]:
        from micrograd import functional, grad

        terms = [100 * (b - a**2) ** 2 + (1 - a) ** 2 for a, b in itertools.pairwise(x)]
        slopes = grad(functional.sum(terms), x, create_graph=True)
        return [list(grad(slope, x, create_graph=True)) for slope in slopes]

    def ours() -> Side:
        import numpy

        import micrograd

        compiled = micrograd.compile(scalar_hessian)
        x = numpy.array([point])
        return calls(lambda: compiled.values(x))

    def eager() -> Side:
        from micrograd import Value

        return calls(lambda: scalar_hessian(list(map(Value, point))))

    def torch() -> Side:
        import torch

        x = torch.tensor(point)
        return calls(lambda: torch.autograd.functional.hessian(lambda x: rosenbrock(x, torch.sum), x, vectorize=True))

    def jax() -> Side:
        import jax

        derivatives = jax.jit(jax.hessian(lambda x: rosenbrock(x, jax.numpy.sum)))
        x = jax.numpy.array(point)
        return calls(lambda: jax.block_until_ready(derivatives(x)))

    def casadi(in_c: bool) -> Side:
        import casadi

        x = casadi.SX.sym("x", size)
        function = casadi_function([x], [casadi.hessian(rosenbrock(x, casadi.sum1), x)[0]], in_c)
        at = casadi.DM(point)
        return calls(lambda: function(at), lambda out: out.full())

    def autograd() -> Side:
        from autograd import hessian, numpy

        derivatives = hessian(lambda x: rosenbrock(x, numpy.sum))
        x = numpy.array(point)
        return calls(lambda: derivatives(x))

    return {
        OURS: ours,
        EAGER: eager,
        TORCH: torch,
        JAX: jax,
        CASADI: lambda: casadi(False),
        CASADI_C: lambda: casadi(True),
        HIPS: autograd,
    }
