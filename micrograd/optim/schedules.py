"""Schedules of the learning rate. Call their ``step`` once an epoch, after the optimizer's steps.

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

In the formulas, base is the learning rate that the optimizer had when its first schedule was made, and e the number of
epochs since. As in PyTorch, a step changes the learning rate that it finds: several schedules may share an optimizer,
and multiply. A warm-up is a :class:`LinearLR`; :class:`SequentialLR` lets others follow it.
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
    # What has an optimizer whose learning rate it sets, and counts epochs.

    optimizer: Optimizer

    def __init__(self, optimizer: Optimizer, *values: Any, **named: Any) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"a schedule is for an optimizer, not {type(optimizer).__name__} {optimizer!r}")
        self._configure(values, named)
        self.optimizer = optimizer
        self.last_epoch = 0
        self._start()

    def _start(self) -> None:
        # Makes what a schedule needs besides its settings.
        raise NotImplementedError

    def _progress(self) -> dict[str, Any]:
        return {"lr": self.optimizer.lr, "last_epoch": self.last_epoch}

    def _adopt(self, state: Mapping[str, Any]) -> None:
        super()._adopt(state)
        self.last_epoch = state["last_epoch"]
        # So that it doesn't matter whether the optimizer was loaded first, or even before the schedule was made.
        self.optimizer.lr = float(state["lr"])


class LRScheduler(_Schedule):
    """What schedules share that know the learning rate beforehand. A new one says how the rate follows from the last.

    It declares its settings, as a new optimizer does: see :class:`~micrograd.optim.Optimizer`.

    Args:
        optimizer: whose learning rate is set.

    Raises:
        TypeError: if it is not an optimizer, or a setting not of its kind.
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
        """The learning rate in an epoch, 0 being the first, if nothing else changes it."""
        raise NotImplementedError(f"{type(self).__name__} has no formula")

    def following(self, lr: float) -> float:
        """The learning rate in the epoch ``last_epoch``, from that of the epoch before."""
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
    """base · gamma^⌊e/step_size⌋: multiplied by gamma every ``step_size`` epochs.

    Args:
        optimizer: whose learning rate is set.
        step_size: the number of epochs between changes.
        gamma: what it is multiplied by.

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
    """base · gamma^(the number of milestones up to e): multiplied by gamma at every milestone.

    Args:
        optimizer: whose learning rate is set.
        milestones: epochs, from 1, that increase.
        gamma: what it is multiplied by.

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
    """base · gamma^e: multiplied by gamma every epoch.

    Args:
        optimizer: whose learning rate is set.
        gamma: what it is multiplied by.

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
        optimizer: whose learning rate is set, already by this constructor.
        start_factor: what base is multiplied by in the first epoch, above 0 and at most 1.
        end_factor: and from the epoch ``total_iters`` on, from 0 to 1.
        total_iters: the number of epochs from one to the other.

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
        return lr * max(factor, 0.0)  # on the way to 0, rounding may leave it just below


class CosineAnnealingLR(LRScheduler):
    """eta_min + (base − eta_min) · (1 + cos(π·e/T_max))/2: down half a wave of the cosine, and up again.

    (Loshchilov and Hutter, *SGDR: stochastic gradient descent with warm restarts*, 2017, without the restarts.)

    Args:
        optimizer: whose learning rate is set.
        T_max: the number of epochs down to the least.
        eta_min: the least learning rate.

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
        if before == 0 or (self.last_epoch - 1 - self.T_max) % (2 * self.T_max) == 0:  # from the least: 0/0
            return lr + (self.base_lr - self.eta_min) * (1 - math.cos(math.pi / self.T_max)) / 2
        return self._wave(self.last_epoch) / before * (lr - self.eta_min) + self.eta_min

    def _wave(self, epoch: int) -> float:
        return 1 + math.cos(math.pi * epoch / self.T_max)


class SequentialLR(LRScheduler):
    """Schedules one after the other: from each milestone on the next one, which starts there from its first epoch.

    Args:
        optimizer: whose learning rate is set.
        schedulers: the schedules, made for the same optimizer.
        milestones: the epochs, from 1 and increasing, at which the second and later ones start.

    Raises:
        TypeError: if one is not a schedule that can restart, like :class:`ReduceLROnPlateau`.
        ValueError: if a schedule is given twice or is for another optimizer, or there are not as many milestones as
            schedules that follow another.

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
    """Multiplies the learning rate by ``factor`` when a measure, like the validation loss, no longer improves.

    Args:
        optimizer: whose learning rate is set.
        mode: ``"min"`` if less is better, ``"max"`` if more is.
        factor: what it is multiplied by, below 1.
        patience: how many epochs without an improvement are let pass; after one more, the learning rate is reduced.
        threshold: how much better than the best so far counts as an improvement.
        threshold_mode: ``"rel"`` if the threshold is a part of the best, ``"abs"`` if it is a difference.
        cooldown: how many epochs after a reduction are not counted.
        min_lr: the least learning rate.
        eps: a reduction by no more than this is not made.

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
        """Takes note of an epoch's measure; one that is nan is no improvement.

        Raises:
            TypeError: if it is not a number.
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
