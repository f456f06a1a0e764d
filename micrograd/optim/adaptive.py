"""Optimizers with a learning rate per parameter: they divide by the size of the past gradients.

The symbols and the order of operations are those of :mod:`micrograd.optim.descent`.
"""

from __future__ import annotations

from typing import Any

from .optimizer import Optimizer, State, lerp, maximum, sqrt
from .settings import flag, number, setting

__all__ = ["Adadelta", "Adagrad", "RMSprop"]


class Adagrad(Optimizer):
    """Adagrad (Duchi et al., *Adaptive subgradient methods for online learning and stochastic optimization*, 2011).

    g ← g + weight_decay·θ;  G ← G + g², which starts at initial_accumulator_value;
    θ ← θ − lr/(1 + (t − 1)·lr_decay) · g/(√G + eps), or with eps_inside_root g/√(G + eps)

    Args:
        params: the Values to train.
        lr: the learning rate.
        lr_decay: how fast the learning rate falls.
        weight_decay: the L2 penalty's factor.
        initial_accumulator_value: the initial G.
        eps: added to the root.
        eps_inside_root: add eps under the root instead.

    Raises:
        ValueError: if a setting is out of its range.

    >>> from micrograd import Value
    >>> x = Value(1.0)
    >>> optimizer = Adagrad([x], lr=0.5, eps=16, eps_inside_root=True)
    >>> x.grad = 3.0
    >>> optimizer.step()
    >>> x.data
    0.7
    """

    lr: float = setting(default=1e-2)
    lr_decay: float = setting(default=0.0)
    weight_decay: float = setting(default=0.0)
    initial_accumulator_value: float = setting(default=0.0)
    eps: float = setting(default=1e-10)
    eps_inside_root: bool = setting(flag, default=False, kw_only=True)

    def first_state(self, parameter: float) -> State:
        return (self.initial_accumulator_value,)

    def update(self, parameter: Any, gradient: Any, state: State, step: int) -> tuple[Any, State]:
        (total,) = state
        parameter, gradient = self._decay(parameter, gradient)
        total = total + gradient * gradient
        denominator = sqrt(total + self.eps) if self.eps_inside_root else sqrt(total) + self.eps
        return parameter - self.lr / (1 + (step - 1) * self.lr_decay) * gradient / denominator, (total,)


class RMSprop(Optimizer):
    """RMSprop (Tieleman and Hinton, *Lecture 6.5: rmsprop*, 2012), with Graves's centring and momentum (*Generating
    sequences with recurrent neural networks*, 2013).

    g ← g + weight_decay·θ;  v ← alpha·v + (1 − alpha)·g²;  m ← alpha·m + (1 − alpha)·g;
    d = g/(√v + eps), or if centered g/(√(v − m²) + eps);  b ← momentum·b + d;  θ ← θ − lr·b

    Args:
        params: the Values to train.
        lr: the learning rate.
        alpha: the decay factor of the running means.
        eps: added to the root.
        weight_decay: the L2 penalty's factor.
        momentum: the decay factor of b.
        centered: divide by the gradient's standard deviation instead of its root mean square.

    Raises:
        ValueError: if a setting is out of its range.

    >>> from micrograd import Value
    >>> x = Value(1.0)
    >>> optimizer = RMSprop([x], lr=0.5, alpha=0.75, eps=0)
    >>> x.grad = 3.0
    >>> optimizer.step()
    >>> x.data
    0.0
    """

    state_size = 3
    lr: float = setting(default=1e-2)
    alpha: float = setting(number(high=1.0, ends="[]"), default=0.99)
    eps: float = setting(default=1e-8)
    weight_decay: float = setting(default=0.0)
    momentum: float = setting(default=0.0)
    centered: bool = setting(flag, default=False)

    def update(self, parameter: Any, gradient: Any, state: State, step: int) -> tuple[Any, State]:
        v, m, velocity = state
        parameter, gradient = self._decay(parameter, gradient)
        v = self.alpha * v + (1 - self.alpha) * gradient * gradient
        if self.centered:
            m = lerp(m, gradient, 1 - self.alpha)
            deviation = sqrt(maximum(v - m * m, 0.0))  # rounding may give a number just below 0
        else:
            deviation = sqrt(v)
        if not self.momentum:
            return parameter - self.lr * gradient / (deviation + self.eps), (v, m, velocity)
        velocity = self.momentum * velocity + gradient / (deviation + self.eps)
        return parameter - self.lr * velocity, (v, m, velocity)


class Adadelta(Optimizer):
    """Adadelta (Zeiler, *ADADELTA: an adaptive learning rate method*, 2012).

    g ← g + weight_decay·θ;  v ← rho·v + (1 − rho)·g²;  d = √(u + eps)/√(v + eps)·g;
    u ← rho·u + (1 − rho)·d²;  θ ← θ − lr·d

    Args:
        params: the Values to train.
        lr: the learning rate.
        rho: the decay factor of the running means.
        eps: added under the roots.
        weight_decay: the L2 penalty's factor.

    Raises:
        ValueError: if a setting is out of its range.

    >>> from micrograd import Value
    >>> x = Value(1.0)
    >>> optimizer = Adadelta([x], rho=0.5, eps=4.5)
    >>> x.grad = 3.0
    >>> optimizer.step()
    >>> round(x.data, 6)
    -1.12132
    """

    state_size = 2
    lr: float = setting(default=1.0)
    rho: float = setting(number(high=1.0, ends="[]"), default=0.9)
    eps: float = setting(default=1e-6)
    weight_decay: float = setting(default=0.0)

    def update(self, parameter: Any, gradient: Any, state: State, step: int) -> tuple[Any, State]:
        v, u = state
        parameter, gradient = self._decay(parameter, gradient)
        v = self.rho * v + (1 - self.rho) * gradient * gradient
        delta = sqrt(u + self.eps) / sqrt(v + self.eps) * gradient
        u = self.rho * u + (1 - self.rho) * delta * delta
        return parameter - self.lr * delta, (v, u)
