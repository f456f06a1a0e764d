"""Optimizers: a small state for each parameter, and one pure update rule.

``update`` maps (parameter, gradient, state) to (parameter, state) in elementwise arithmetic, so that the same text
updates one Value's float, or a whole array of them at once.

>>> x = Value(5.0)
>>> optimizer = SGD([x], lr=0.1)
>>> for step in range(100):
...     optimizer.zero_grad()
...     ((x - 3) ** 2).backward()
...     optimizer.step()
>>> round(x.data, 6)
3.0
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from .engine import Value, one_line, sequence, to_float

__all__ = ["SGD", "Adam", "Optimizer"]

State = tuple[Any, ...]


class Optimizer:
    """What all optimizers share. A new one gives the size of its state and its update rule.

    Args:
        params: the Values to train.
        lr: the learning rate, at least 0. It is an attribute, and may be changed between steps.

    Raises:
        TypeError: if a parameter is not a Value.
        ValueError: if there are no parameters, one is given twice or is not a leaf, or a setting is out of its range.

    >>> class SignDescent(Optimizer):
    ...     def update(self, parameter, gradient, state, step):
    ...         return parameter - self.lr * (gradient > 0) + self.lr * (gradient < 0), state
    >>> x = Value(1.0)
    >>> (x * x).backward()
    >>> SignDescent([x], lr=0.5).step()
    >>> x.data
    0.5
    """

    state_size = 0
    """How many numbers, at first 0, are remembered for each parameter."""

    def __init__(self, params: Iterable[Value], lr: float = 1e-3) -> None:
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
        self.lr = _within("lr", lr)
        self.steps = 0
        self.state: list[State] = [(0.0,) * self.state_size for _ in self.parameters]

    def update(self, parameter: Any, gradient: Any, state: State, step: int) -> tuple[Any, State]:
        """The parameter and its state after a step, whose number is 1 for the first."""
        raise NotImplementedError(f"{type(self).__name__} has no update rule")

    def step(self) -> None:
        """Updates every parameter by its ``grad``.

        Raises:
            ValueError: if a gradient is not finite; then nothing is updated.
        """
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

    def zero_grad(self) -> None:
        """Sets the gradients of all parameters to 0."""
        for parameter in self.parameters:
            parameter.grad = 0.0


class SGD(Optimizer):
    """Gradient descent, with momentum.

    g ← g + weight_decay·θ;  v ← momentum·v + (1 − dampening)·g, at first g;
    θ ← θ − lr·v, or with Nesterov's momentum θ − lr·(g + momentum·v)

    Args:
        params: the Values to train.
        lr: the learning rate.
        momentum: how much of the previous step is kept (Polyak, 1964).
        dampening: how much of the gradient is left out.
        weight_decay: the L2 penalty's factor.
        nesterov: look ahead along the momentum (Sutskever et al., *On the importance of initialization and momentum
            in deep learning*, 2013).

    Raises:
        ValueError: if a setting is out of its range, or Nesterov's momentum is wanted without momentum or
            with dampening.
    """

    state_size = 1

    def __init__(
        self,
        params: Iterable[Value],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        super().__init__(params, lr)
        self.momentum = _within("momentum", momentum)
        self.dampening = _within("dampening", dampening)
        self.weight_decay = _within("weight_decay", weight_decay)
        self.nesterov = nesterov
        if nesterov and (not momentum or dampening):
            raise ValueError("Nesterov's momentum needs a momentum above 0, and no dampening")

    def update(self, parameter: Any, gradient: Any, state: State, step: int) -> tuple[Any, State]:
        (velocity,) = state
        gradient = gradient + self.weight_decay * parameter
        velocity = gradient if step == 1 else self.momentum * velocity + (1 - self.dampening) * gradient
        direction = gradient + self.momentum * velocity if self.nesterov else velocity
        return parameter - self.lr * direction, (velocity,)


class Adam(Optimizer):
    """Adam (Kingma and Ba, *Adam: a method for stochastic optimization*, 2015).

    g ← g + weight_decay·θ;  m ← β₁m + (1 − β₁)g;  v ← β₂v + (1 − β₂)g²;
    θ ← θ − lr · m/(1 − β₁ᵗ) / (√(v/(1 − β₂ᵗ)) + eps)

    Args:
        params: the Values to train.
        lr: the learning rate.
        betas: (β₁, β₂), what is kept of the running means of g and g².
        eps: added to the root.
        weight_decay: the L2 penalty's factor.

    Raises:
        ValueError: if a setting is out of its range.
    """

    state_size = 2

    def __init__(
        self,
        params: Iterable[Value],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, lr)
        if len(sequence(betas, "betas")) != 2:
            raise ValueError(f"betas are two numbers, not {betas!r}")
        self.betas = _within("betas[0]", betas[0], below=1.0), _within("betas[1]", betas[1], below=1.0)
        self.eps = _within("eps", eps)
        self.weight_decay = _within("weight_decay", weight_decay)

    def update(self, parameter: Any, gradient: Any, state: State, step: int) -> tuple[Any, State]:
        (beta1, beta2), (m, v) = self.betas, state
        gradient = gradient + self.weight_decay * parameter
        m = beta1 * m + (1 - beta1) * gradient
        v = beta2 * v + (1 - beta2) * gradient * gradient
        denominator = _sqrt(v) / math.sqrt(1 - beta2**step) + self.eps
        return parameter - self.lr / (1 - beta1**step) * m / denominator, (m, v)


def _sqrt(x: Any) -> Any:
    return math.sqrt(x) if isinstance(x, float) else x**0.5  # exact on both: a float's x**0.5 is not


def _within(name: str, value: float, below: float = math.inf) -> float:
    try:
        value = to_float(value)
    except TypeError:
        raise TypeError(f"{name} is a number, not {type(value).__name__} {value!r}") from None
    if not 0 <= value < below:
        raise ValueError(f"{name} must be at least 0 and below {below}, not {value}")
    return value
