"""The base class of optimizers: a small state per parameter, and one pure update rule.

``update`` maps (parameter, gradient, state) to (parameter, state) in elementwise arithmetic. So the same code updates
one float or a whole array, with the same bits; and it can be traced and compiled.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import InitVar
from operator import attrgetter
from typing import Any, cast

from .. import functional
from ..arguments import one_line, sequence
from ..engine import Value
from ..watching import watchers
from .settings import Configured, setting

__all__ = ["Optimizer", "State", "lerp", "maximum", "sqrt"]

State = tuple[Any, ...]
_MANY = 32  # parameters for which NumPy is faster
_data, _grad = attrgetter("_data"), attrgetter("_grad")


class Optimizer(Configured):
    """The base class of optimizers. A subclass declares its settings, the size of its state and its update rule.

    Settings are attributes. They may be changed between steps; the next step checks them again.

    Args:
        params: the Values to train.
        lr: the learning rate, at least 0.

    Raises:
        TypeError: if a parameter is not a Value, or a setting has the wrong type.
        ValueError: if there are no parameters; if a parameter is given twice or is not a leaf; or if a setting is out
            of its range.

    >>> class SignDescent(Optimizer):
    ...     margin: float = setting(default=0.0)  # a number that is at least 0; setting() takes other checks
    ...
    ...     def update(self, parameter, gradient, state, step):
    ...         return parameter - self.lr * ((gradient > self.margin) - (gradient < -self.margin)), state
    >>> x = Value(1.0)
    >>> (x * x).backward()
    >>> SignDescent([x], lr=0.5, margin=0.1).step()
    >>> x.data
    0.5
    >>> SignDescent([x], margin=-1)
    Traceback (most recent call last):
    ValueError: margin must be at least 0 and below inf, not -1.0
    """

    params: InitVar[Iterable[Value]]
    lr: float = setting(default=1e-3)
    weight_decay = 0.0
    decoupled_weight_decay = False

    _rows = cast(Any, None)  # the state as an array; if there is one, it is the current state

    state_size = 0
    """The number of zeros in each parameter's first state, unless ``first_state`` is overridden."""

    def __init__(self, params: Iterable[Value], *values: Any, **named: Any) -> None:
        self.parameters = sequence(params, "an optimizer")
        for parameter in self.parameters:
            if not isinstance(parameter, Value):
                raise TypeError(f"an optimizer trains Values, not {type(parameter).__name__} {parameter!r}")
            if parameter.op:
                raise ValueError(f"an optimizer trains leaves, and {parameter!r} is computed from others")
        if not self.parameters:
            raise ValueError("an optimizer needs parameters: the list is empty")
        if len(set(self.parameters)) < len(self.parameters):
            raise ValueError("a parameter was given to the optimizer twice")
        self._configure(values, named)
        self.initial_lr: float | None = None  # lr when the first schedule was made: schedules start from it
        self.steps = 0
        self.state = [self.first_state(parameter.data) for parameter in self.parameters]

    @property
    def state(self) -> list[State]:
        """What is remembered of each parameter: a tuple of numbers."""
        if self._rows is not None:
            self._state, self._rows = list(map(tuple, self._rows.T.tolist())), None
        return self._state

    @state.setter
    def state(self, state: list[State]) -> None:
        self._state, self._rows = state, None

    def read_rows(self) -> Any:
        """Returns the state as an array, which must not be changed: a row for each of its numbers."""
        import numpy

        if self._rows is not None:
            return self._rows
        return numpy.array(self.state, dtype=numpy.float64).reshape(len(self.parameters), -1).T

    def write_rows(self, rows: Any) -> None:
        """Sets the state to an array such as that of :meth:`read_rows`. It is kept until the state is read."""
        self._rows = rows

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_state": self.state, "_rows": None}

    def first_state(self, parameter: float) -> State:
        """Returns a parameter's state before the first step: zeros, unless a subclass overrides it."""
        return (0.0,) * self.state_size

    def update(self, parameter: Any, gradient: Any, state: State, step: int) -> tuple[Any, State]:
        """Returns the parameter and its state after a step. Steps are counted from 1."""
        raise NotImplementedError(f"{type(self).__name__} has no update rule")

    def step(self) -> None:
        """Updates every parameter by its ``grad``.

        Raises:
            TypeError, ValueError, ArithmeticError: if a gradient is not finite, a changed setting is out of its range,
                or the update is undefined, like a division by 0. Then nothing is updated.
        """
        self.check(self.settings)
        if self._step_on_arrays():
            return
        for i, parameter in enumerate(self.parameters):
            if not math.isfinite(parameter.grad):
                name = f" ({one_line(parameter.label)})" if parameter.label else ""
                raise ValueError(f"the gradient of parameter {i}{name} is {parameter.grad}: no parameter was updated")
        step = self.steps + 1
        updated = [self.update(p.data, p.grad, s, step) for p, s in zip(self.parameters, self.state, strict=True)]
        for parameter, (data, _) in zip(self.parameters, updated, strict=True):
            parameter.data = float(data)
        self.state = [state for _, state in updated]
        self.steps = step

    def _step_on_arrays(self) -> bool:
        # Updates all parameters at once, if this gives the same bits. If not, or if anything is undefined, there is no
        # step.
        numpy = sys.modules.get("numpy")
        is_own = type(self).update.__module__.startswith(__name__.rpartition(".")[0])
        if numpy is None or not is_own or watchers or len(self.parameters) < _MANY:
            return False
        count = len(self.parameters)
        numbers = numpy.empty((2, count))
        numbers[0], numbers[1] = list(map(_data, self.parameters)), list(map(_grad, self.parameters))
        if not numpy.isfinite(numbers[1]).all():
            return False
        before = self.read_rows()
        try:
            with numpy.errstate(all="raise", under="ignore"):
                data, state = self.update(numbers[0], numbers[1], tuple(before), self.steps + 1)
        except FloatingPointError:
            return False
        rows = numpy.empty((len(state), count))
        for row, new in zip(rows, state, strict=True):
            row[:] = new
        for parameter, number in zip(self.parameters, data.tolist(), strict=True):
            parameter._data = number
        self.write_rows(rows)
        self.steps += 1
        return True

    def zero_grad(self) -> None:
        """Sets the gradients of all parameters to 0."""
        for parameter in self.parameters:
            parameter.grad = 0.0

    def _decay(self, parameter: Any, gradient: Any) -> tuple[Any, Any]:
        # Adds the gradient of the L2 penalty; or, if decoupled, shrinks the parameter instead.
        if not self.weight_decay:
            return parameter, gradient
        if self.decoupled_weight_decay:
            return parameter * (1 - self.lr * self.weight_decay), gradient
        return parameter, gradient + self.weight_decay * parameter

    def _progress(self) -> dict[str, Any]:
        return {"steps": self.steps, "state": [[float(x) for x in state] for state in self.state]}

    def _adopt(self, state: Mapping[str, Any]) -> None:
        super()._adopt(state)
        self.steps = state["steps"]
        self.state = [tuple(float(x) for x in numbers) for numbers in state["state"]]


# Functions of floats and of arrays. They take an array's library from the array, so nothing is imported here.


def sqrt(x: Any) -> Any:
    """√x, correctly rounded for floats and arrays, unlike x**0.5.

    >>> sqrt(2.0)
    1.4142135623730951
    """
    return math.sqrt(x) if isinstance(x, float) else _library(x).sqrt(x)


def maximum(a: Any, b: float) -> Any:
    """The larger of ``a`` and ``b``, for each element of ``a``. If ``a`` is an array, ``b`` may be one too.

    >>> maximum(-1.0, 0.0)
    0.0
    """
    return max(a, b) if isinstance(a, float) else _library(a).maximum(a, b)


def lerp(start: Any, end: Any, weight: float) -> Any:
    """start + weight·(end − start), computed from the nearer end, as PyTorch does.

    >>> lerp(1.0, 2.0, 0.25), lerp(1e20, 1.0, 1.0)
    (1.25, 1.0)
    """
    return start + weight * (end - start) if weight < 0.5 else end - (end - start) * (1 - weight)


def _library(array: Any) -> Any:
    return functional if isinstance(array, Value) else sys.modules[type(array).__module__]
