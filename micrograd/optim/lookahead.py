"""Lookahead, an optimizer that wraps another one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .optimizer import Optimizer, State
from .settings import Configured, number, setting, whole

__all__ = ["Lookahead"]


def _delegate(name: str) -> Any:
    return property(lambda self: getattr(self.optimizer, name), lambda self, x: setattr(self.optimizer, name, x))


class Lookahead(Optimizer):
    """Lookahead, which wraps an optimizer (Zhang et al., *Lookahead optimizer: k steps forward, 1 step back*, 2019).

    θ ← a step of the inner optimizer; after every k steps φ ← φ + alpha·(θ − φ);  θ ← φ

    φ, the slow weight, starts at θ. ``lr`` is the inner optimizer's. The inner state is kept when θ is set to φ.

    Args:
        optimizer: the inner optimizer, new. Afterwards call only Lookahead's ``step``.
        k: the number of fast steps per slow step.
        alpha: the step of the slow weights, as a part of the way to the fast ones.

    Raises:
        TypeError: if ``optimizer`` is not an optimizer.
        ValueError: if a setting is out of its range, or the inner optimizer has made steps.

    >>> from micrograd import Value
    >>> from micrograd.optim import SGD
    >>> x = Value(1.0)
    >>> optimizer = Lookahead(SGD([x], lr=0.25), k=2, alpha=0.5)
    >>> x.grad = 1.0
    >>> for _ in range(4):
    ...     optimizer.step()
    ...     x.data
    0.75
    0.75
    0.5
    0.5
    """

    k: int = setting(whole(1), default=5)
    alpha: float = setting(number(high=1.0, ends="[]"), default=0.5)

    def __init__(self, optimizer: Optimizer, *values: Any, **named: Any) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"Lookahead is around an optimizer, not {type(optimizer).__name__} {optimizer!r}")
        if optimizer.steps:
            raise ValueError(f"Lookahead is around an optimizer that has made no steps, not {optimizer.steps}")
        self.optimizer = optimizer
        self._configure(values, named)
        self.parameters = optimizer.parameters
        self.initial_lr = optimizer.initial_lr
        self.slow: list[Any] = [parameter.data for parameter in self.parameters]

    # The inner optimizer owns lr, steps and its part of each state. These attributes read and write them there.

    lr: float = _delegate("lr")
    steps: int = _delegate("steps")

    @property
    def state(self) -> list[State]:
        return [(*state, slow) for state, slow in zip(self.optimizer.state, self.slow, strict=True)]

    @state.setter
    def state(self, state: list[State]) -> None:
        self.optimizer.state = [tuple(inner) for *inner, _ in state]
        self.slow = [slow for *_, slow in state]

    def write_rows(self, rows: Any) -> None:
        self.state = list(map(tuple, rows.T.tolist()))

    def check(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        self.optimizer.check(self.optimizer.settings)  # they may have changed since it was made
        return super().check(settings)

    def first_state(self, parameter: float) -> State:
        return (*self.optimizer.first_state(parameter), parameter)

    def update(self, parameter: Any, gradient: Any, state: State, step: int) -> tuple[Any, State]:
        *inner, slow = state
        if step == 1:
            slow = parameter  # the parameter may have been set since the optimizer was made
        parameter, inner_state = self.optimizer.update(parameter, gradient, tuple(inner), step)
        if step % self.k == 0:
            parameter = slow = slow + self.alpha * (parameter - slow)
        return parameter, (*inner_state, slow)

    def _progress(self) -> dict[str, Any]:
        return {"slow": [float(x) for x in self.slow], "optimizer": self.optimizer.state_dict()}

    def _pattern(self) -> dict[str, Any]:
        return {**super()._pattern(), "optimizer": self.optimizer._pattern()}

    def _verify(self, state: Mapping[str, Any]) -> None:
        super()._verify(state)
        self.optimizer._verify(state["optimizer"])

    def _adopt(self, state: Mapping[str, Any]) -> None:
        Configured._adopt(self, state)
        self.optimizer._adopt(state["optimizer"])
        self.slow = [float(x) for x in state["slow"]]
