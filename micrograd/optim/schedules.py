"""Schedules of the learning rate. Call ``step`` once per epoch, after the optimizer's steps.

>>> from micrograd import Value
>>> from micrograd.optim import SGD
>>> optimizer = SGD([Value(1.0)], lr=0.8)
>>> schedule = StepLR(optimizer, step_size=2, gamma=0.5)
>>> rates = []
>>> for epoch in range(6):
...     optimizer.step()  # as often as there are batches
...     rates.append(optimizer.lr)
...     schedule.step()
>>> rates
[0.8, 0.8, 0.4, 0.4, 0.2, 0.2]

In the formulas, base is the optimizer's learning rate when its first schedule was made, and e is the number of epochs
since then. As in PyTorch, a step multiplies the current learning rate, so the effects of several schedules on one
optimizer multiply. A warm-up is a :class:`LinearLR`; :class:`SequentialLR` runs other schedules after it.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..arguments import sequence, to_float
from ..engine import Value
from .optimizer import Optimizer
from .settings import Configured, increasing, number, one_of, setting, whole

__all__ = [
    "CosineAnnealingLR", "ExponentialLR", "LRScheduler", "LinearLR", "MultiStepLR", "ReduceLROnPlateau",
    "SequentialLR", "StepLR",
]  # fmt: skip


class _Schedule(Configured):
    # The base class of schedules: it sets the learning rate of an optimizer, and counts epochs.

    optimizer: Optimizer

    def __init__(self, optimizer: Optimizer, *values: Any, **named: Any) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"a schedule is for an optimizer, not {type(optimizer).__name__} {optimizer!r}")
        self._configure(values, named)
        self.optimizer = optimizer
        self.last_epoch = 0
        self._start()

    def _start(self) -> None:
        # Sets the attributes that a schedule needs besides its settings.
        raise NotImplementedError

    def _progress(self) -> dict[str, Any]:
        return {"lr": self.optimizer.lr, "last_epoch": self.last_epoch}

    def _adopt(self, state: Mapping[str, Any]) -> None:
        super()._adopt(state)
        self.last_epoch = state["last_epoch"]
        # Sets the learning rate too, so that optimizer and schedule can be loaded in either order.
        self.optimizer.lr = float(state["lr"])


class LRScheduler(_Schedule):
    """The base class of schedules whose learning rate depends on the epoch alone.

    A subclass defines :meth:`formula` and :meth:`following`, and declares its settings as an
    :class:`~micrograd.optim.Optimizer` does.

    Args:
        optimizer: the optimizer whose learning rate is set.

    Raises:
        TypeError: if ``optimizer`` is not an optimizer, or a setting has the wrong type.
        ValueError: if a setting is out of its range.

    >>> from micrograd.optim import SGD
    >>> class Division(LRScheduler):
    ...     by: float = setting(default=2.0)
    ...
    ...     def formula(self, epoch):
    ...         return self.base_lr / self.by**epoch
    ...
    ...     def following(self, lr):
    ...         return lr / self.by
    >>> optimizer = SGD([Value(1.0)], lr=0.8)
    >>> Division(optimizer, by=4).step()
    >>> optimizer.lr
    0.2
    """

    def _start(self) -> None:
        if self.optimizer.initial_lr is None:
            self.optimizer.initial_lr = self.optimizer.lr
        self.base_lr: float = self.optimizer.initial_lr

    def formula(self, epoch: int) -> float:
        """Returns the learning rate in an epoch, counted from 0, if nothing else changes it."""
        raise NotImplementedError(f"{type(self).__name__} has no formula")

    def following(self, lr: float) -> float:
        """Returns the learning rate in epoch ``last_epoch``, given the learning rate of the epoch before it."""
        raise NotImplementedError(f"{type(self).__name__} does not say how the learning rate goes on")

    def step(self) -> None:
        """Sets the optimizer's learning rate to that of the next epoch."""
        self.last_epoch += 1
        self.optimizer.lr = self.following(self.optimizer.lr)

    def restart(self) -> None:
        """Sets the optimizer's learning rate to that of the first epoch."""
        self.last_epoch = 0
        self.optimizer.lr = self.formula(0)

    def _progress(self) -> dict[str, Any]:
        return {**super()._progress(), "base_lr": self.base_lr}

    def _adopt(self, state: Mapping[str, Any]) -> None:
        super()._adopt(state)
        self.base_lr = float(state["base_lr"])


class StepLR(LRScheduler):
    """base · gamma^⌊e/step_size⌋: multiplies the learning rate by gamma every ``step_size`` epochs.

    Args:
        optimizer: the optimizer whose learning rate is set.
        step_size: the number of epochs between changes.
        gamma: the factor.

    Raises:
        ValueError: if a setting is out of its range.

    >>> from micrograd.optim import SGD
    >>> [round(StepLR(SGD([Value(1.0)], lr=1.0), 2).formula(epoch), 6) for epoch in range(5)]
    [1.0, 1.0, 0.1, 0.1, 0.01]
    """

    step_size: int = setting(whole(1))
    gamma: float = setting(default=0.1)

    def formula(self, epoch: int) -> float:
        return self.base_lr * self.gamma ** (epoch // self.step_size)

    def following(self, lr: float) -> float:
        return lr if self.last_epoch % self.step_size else lr * self.gamma


class MultiStepLR(LRScheduler):
    """base · gamma^(the number of milestones ≤ e): multiplies the learning rate by gamma at every milestone.

    Args:
        optimizer: the optimizer whose learning rate is set.
        milestones: epochs, at least 1, in increasing order.
        gamma: the factor.

    Raises:
        ValueError: if a setting is out of its range.

    >>> from micrograd.optim import SGD
    >>> [MultiStepLR(SGD([Value(1.0)], lr=1.0), [1, 3], 0.5).formula(epoch) for epoch in range(5)]
    [1.0, 0.5, 0.5, 0.25, 0.25]
    """

    milestones: Sequence[int] = setting(increasing)
    gamma: float = setting(default=0.1)

    def formula(self, epoch: int) -> float:
        return self.base_lr * self.gamma ** bisect_right(self.milestones, epoch)

    def following(self, lr: float) -> float:
        return lr * self.gamma if self.last_epoch in self.milestones else lr


class ExponentialLR(LRScheduler):
    """base · gamma^e: multiplies the learning rate by gamma every epoch.

    Args:
        optimizer: the optimizer whose learning rate is set.
        gamma: the factor.

    Raises:
        ValueError: if a setting is out of its range.

    >>> from micrograd.optim import SGD
    >>> [ExponentialLR(SGD([Value(1.0)], lr=1.0), 0.5).formula(epoch) for epoch in range(3)]
    [1.0, 0.5, 0.25]
    """

    gamma: float = setting()

    def formula(self, epoch: int) -> float:
        return self.base_lr * self.gamma**epoch

    def following(self, lr: float) -> float:
        return lr * self.gamma


class LinearLR(LRScheduler):
    """base · (start_factor + (end_factor − start_factor) · min(e, total_iters)/total_iters): a straight line.

    The defaults make it a warm-up, from a third of the learning rate to all of it.

    Args:
        optimizer: the optimizer whose learning rate is set; this constructor sets it for the first epoch.
        start_factor: the factor in the first epoch, above 0 and at most 1.
        end_factor: the factor from epoch ``total_iters`` on, from 0 to 1.
        total_iters: the number of epochs from the first factor to the last.

    Raises:
        ValueError: if a setting is out of its range.

    >>> from micrograd.optim import SGD
    >>> [LinearLR(SGD([Value(1.0)], lr=1.0), 0.5, total_iters=2).formula(epoch) for epoch in range(4)]
    [0.5, 0.75, 1.0, 1.0]
    """

    start_factor: float = setting(number(high=1.0, ends="(]"), default=1 / 3)
    end_factor: float = setting(number(high=1.0, ends="[]"), default=1.0)
    total_iters: int = setting(whole(1), default=5)

    def _start(self) -> None:
        super()._start()
        self.optimizer.lr *= self.start_factor

    def formula(self, epoch: int) -> float:
        rise = (self.end_factor - self.start_factor) * min(self.total_iters, epoch) / self.total_iters
        return self.base_lr * (self.start_factor + rise)

    def following(self, lr: float) -> float:
        if self.last_epoch > self.total_iters:
            return lr
        rise = self.end_factor - self.start_factor
        factor = 1 + rise / (self.total_iters * self.start_factor + (self.last_epoch - 1) * rise)
        return lr * max(factor, 0.0)  # near 0, rounding may give a number just below 0


class CosineAnnealingLR(LRScheduler):
    """eta_min + (base − eta_min) · (1 + cos(π·e/T_max))/2: a cosine, down for ``T_max`` epochs, then up again.

    Source: Loshchilov and Hutter, *SGDR: stochastic gradient descent with warm restarts*, 2017, without the restarts.

    Args:
        optimizer: the optimizer whose learning rate is set.
        T_max: the number of epochs down to ``eta_min``.
        eta_min: the lowest learning rate.

    Raises:
        ValueError: if a setting is out of its range.

    >>> from micrograd.optim import SGD
    >>> [round(CosineAnnealingLR(SGD([Value(1.0)], lr=1.0), 4).formula(epoch), 3) for epoch in range(5)]
    [1.0, 0.854, 0.5, 0.146, 0.0]
    """

    T_max: int = setting(whole(1))
    eta_min: float = setting(default=0.0)

    def formula(self, epoch: int) -> float:
        return self.eta_min + (self.base_lr - self.eta_min) * self._wave(epoch) / 2

    def following(self, lr: float) -> float:
        before = self._wave(self.last_epoch - 1)
        if before == 0 or (self.last_epoch - 1 - self.T_max) % (2 * self.T_max) == 0:  # at eta_min the ratio is 0/0
            return lr + (self.base_lr - self.eta_min) * (1 - math.cos(math.pi / self.T_max)) / 2
        return self._wave(self.last_epoch) / before * (lr - self.eta_min) + self.eta_min

    def _wave(self, epoch: int) -> float:
        return 1 + math.cos(math.pi * epoch / self.T_max)


class SequentialLR(LRScheduler):
    """Runs schedules one after the other. At each milestone the next schedule starts, with its first epoch.

    Args:
        optimizer: the optimizer whose learning rate is set.
        schedulers: the schedules, made for the same optimizer.
        milestones: the epochs at which the second and later schedules start: at least 1, in increasing order.

    Raises:
        TypeError: if a schedule can't restart, like :class:`ReduceLROnPlateau`.
        ValueError: if a schedule is given twice or belongs to another optimizer; or if the number of milestones is not
            one less than the number of schedules.

    >>> from micrograd.optim import SGD
    >>> optimizer = SGD([Value(1.0)], lr=1.0)
    >>> warm_up = LinearLR(optimizer, 0.25, total_iters=3)
    >>> schedule = SequentialLR(optimizer, [warm_up, ExponentialLR(optimizer, 0.5)], milestones=[3])
    >>> [schedule.formula(epoch) for epoch in range(6)]
    [0.25, 0.5, 0.75, 1.0, 0.5, 0.25]
    """

    milestones: Sequence[int] = setting(increasing)

    def __init__(self, optimizer: Optimizer, schedulers: Iterable[LRScheduler], *values: Any, **named: Any) -> None:
        self.schedulers: list[LRScheduler] = sequence(schedulers, "SequentialLR")
        for schedule in self.schedulers:
            if not isinstance(schedule, LRScheduler):
                raise TypeError(f"SequentialLR takes schedules that can restart, not {schedule!r}")
            if schedule.optimizer is not optimizer:
                raise ValueError(f"{schedule!r} is for another optimizer")
        if len(set(self.schedulers)) < len(self.schedulers):
            raise ValueError("a schedule was given to SequentialLR twice")
        super().__init__(optimizer, *values, **named)
        self.restart()

    def check(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        settings = super().check(settings)
        if len(settings["milestones"]) != len(self.schedulers) - 1:
            raise ValueError(
                f"SequentialLR of {len(self.schedulers)} schedules needs one milestone fewer, "
                f"not {len(settings['milestones'])}"
            )
        return settings

    def formula(self, epoch: int) -> float:
        i = bisect_right(self.milestones, epoch)
        return self.schedulers[i].formula(epoch - [0, *self.milestones][i])

    def step(self) -> None:
        self.last_epoch += 1
        schedule = self.schedulers[bisect_right(self.milestones, self.last_epoch)]
        if self.last_epoch in self.milestones:
            schedule.restart()
        else:
            schedule.step()

    def restart(self) -> None:
        self.last_epoch = 0
        self.schedulers[0].restart()

    def _progress(self) -> dict[str, Any]:
        return {**super()._progress(), "schedulers": [schedule.state_dict() for schedule in self.schedulers]}

    def _pattern(self) -> dict[str, Any]:
        return {**super()._pattern(), "schedulers": [schedule._pattern() for schedule in self.schedulers]}

    def _verify(self, state: Mapping[str, Any]) -> None:
        super()._verify(state)
        for schedule, its_state in zip(self.schedulers, state["schedulers"], strict=True):
            schedule._verify(its_state)

    def _adopt(self, state: Mapping[str, Any]) -> None:
        for schedule, its_state in zip(self.schedulers, state["schedulers"], strict=True):
            schedule._adopt(its_state)
        super()._adopt(state)


class ReduceLROnPlateau(_Schedule):
    """Multiplies the learning rate by ``factor`` when a measure, like the validation loss, stops improving.

    Args:
        optimizer: the optimizer whose learning rate is set.
        mode: ``"min"`` if a lower measure is better, ``"max"`` if a higher one is.
        factor: the factor, below 1.
        patience: the number of epochs without improvement that are tolerated; one more reduces the learning rate.
        threshold: the smallest change that counts as an improvement over the best measure so far.
        threshold_mode: ``"rel"`` for a threshold relative to the best measure, ``"abs"`` for a difference.
        cooldown: the number of epochs after a reduction that are not counted.
        min_lr: the lowest learning rate.
        eps: reductions by no more than this are skipped.

    Raises:
        ValueError: if a setting is out of its range.

    >>> from micrograd.optim import SGD
    >>> optimizer = SGD([Value(1.0)], lr=1.0)
    >>> schedule = ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
    >>> for loss in [3.0, 2.0, 2.0, 2.0, 1.0]:
    ...     schedule.step(loss)
    ...     optimizer.lr
    1.0
    1.0
    1.0
    0.5
    0.5
    """

    mode: str = setting(one_of("min", "max"), default="min")
    factor: float = setting(number(high=1.0), default=0.1)
    patience: int = setting(whole(0), default=10)
    threshold: float = setting(default=1e-4)
    threshold_mode: str = setting(one_of("rel", "abs"), default="rel")
    cooldown: int = setting(whole(0), default=0)
    min_lr: float = setting(default=0.0)
    eps: float = setting(default=1e-8)

    def _start(self) -> None:
        self.best: float | None = None
        self.num_bad_epochs = 0
        self.cooldown_counter = 0

    def step(self, metrics: float | Value) -> None:
        """Records an epoch's measure, and reduces the learning rate if it is time. A nan is no improvement.

        Raises:
            TypeError: if the measure is not a number.
        """
        measure = metrics.data if isinstance(metrics, Value) else to_float(metrics)
        self.last_epoch += 1
        if self._is_better(measure):
            self.best, self.num_bad_epochs = measure, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            lr = max(self.optimizer.lr * self.factor, self.min_lr)
            if self.optimizer.lr - lr > self.eps:
                self.optimizer.lr = lr
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0

    def _is_better(self, measure: float) -> bool:
        sign = 1 if self.mode == "max" else -1
        best = -sign * math.inf if self.best is None else self.best
        bar = best * (1 + sign * self.threshold) if self.threshold_mode == "rel" else best + sign * self.threshold
        return measure > bar if sign == 1 else measure < bar

    def _progress(self) -> dict[str, Any]:
        names = ("best", "num_bad_epochs", "cooldown_counter")
        return {**super()._progress(), **{name: getattr(self, name) for name in names}}

    def _pattern(self) -> dict[str, Any]:
        return {**super()._pattern(), "best": None}

    def _adopt(self, state: Mapping[str, Any]) -> None:
        super()._adopt(state)
        self.best = None if state["best"] is None else float(state["best"])
        self.num_bad_epochs, self.cooldown_counter = state["num_bad_epochs"], state["cooldown_counter"]
