"""Gradient descent, along the gradient or along its momentum.

In the formulas θ is a parameter, g its gradient and t the number of the step, from 1. All other state starts at 0.
The order of operations is PyTorch's, so that both round in the same way and take the same path.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .optimizer import Optimizer, State
from .settings import flag, setting

__all__ = ["SGD"]


class SGD(Optimizer):
    """Gradient descent, with momentum.

    g ← g + weight_decay·θ;  v ← momentum·v + (1 − dampening)·g, and in the first step v ← g;
    θ ← θ − lr·v, or with Nesterov's momentum θ − lr·(g + momentum·v)

    At a constant learning rate, this is the same method as v ← momentum·v − lr·g;  θ ← θ + v.
    If ``averaged``, v is a running mean of the gradients, which starts at 0: v ← momentum·v + (1 − momentum)·g.

    Args:
        params: the Values to train.
        lr: the learning rate.
        momentum: the decay factor of v (Polyak, *Some methods of speeding up the convergence of iteration methods*,
            1964).
        dampening: the part of the gradient that is not added to v.
        weight_decay: the L2 penalty's factor.
        nesterov: look ahead along the momentum (Sutskever et al., *On the importance of initialization and momentum
            in deep learning*, 2013).
        averaged: step along the running mean of the gradients.

    Raises:
        ValueError: if a setting is out of its range; if ``nesterov`` comes without momentum, or with dampening or
            averaging; or if ``averaged`` comes with dampening.

    >>> from micrograd import Value
    >>> x = Value(1.0)
    >>> optimizer = SGD([x], lr=0.5, momentum=0.75, averaged=True)
    >>> x.grad = 1.0
    >>> optimizer.step()
    >>> x.data
    0.875
    """

    state_size = 1
    momentum: float = setting(default=0.0)
    dampening: float = setting(default=0.0)
    weight_decay: float = setting(default=0.0)
    nesterov: bool = setting(flag, default=False)
    averaged: bool = setting(flag, default=False, kw_only=True)

    def check(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        settings = super().check(settings)
        momentum, dampening, nesterov, averaged = (  # a subclass may have fixed some, which are then no settings
            settings.get(name, getattr(self, name)) for name in ("momentum", "dampening", "nesterov", "averaged")
        )
        if nesterov and (not momentum or dampening or averaged):
            raise ValueError("Nesterov's momentum needs a momentum above 0, no dampening and no averaging")
        if averaged and dampening:
            raise ValueError("averaged momentum has its own dampening, which is the momentum: give no other")
        return settings

    def update(self, parameter: Any, gradient: Any, state: State, step: int) -> tuple[Any, State]:
        (velocity,) = state
        parameter, gradient = self._decay(parameter, gradient)
        dampening = self.momentum if self.averaged else self.dampening
        if not self.momentum or (step == 1 and not self.averaged):
            velocity = gradient
        else:
            velocity = self.momentum * velocity + (1 - dampening) * gradient
        direction = gradient + self.momentum * velocity if self.nesterov else velocity
        return parameter - self.lr * direction, (velocity,)
