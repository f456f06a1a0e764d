"""Checks of the arguments of ``fit()``: their types, their ranges, and how they go together."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any

from ..arguments import one_line
from ..data import check_samples, check_whole
from ..nn import Module
from ..optim import Optimizer
from .stopping import StopCondition

__all__ = ["check_arguments", "check_kinds"]


def _is_number(x: Any) -> bool:
    return isinstance(x, Real) and not isinstance(x, bool)


def _is_schedule(x: Any) -> bool:
    return x is None or (callable(getattr(x, "step", None)) and not isinstance(x, (type, Optimizer)))


def _is_metrics(x: Any) -> bool:
    return isinstance(x, Mapping) and all(isinstance(name, str) and callable(x[name]) for name in x)


_KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "loss": (callable, "a function that gives the loss of a sample"),
    "optimizer": (lambda x: isinstance(x, Optimizer), "an optimizer, like optim.SGD(model.parameters(), lr=0.1)"),
    "metrics": (_is_metrics, "a dict of functions by their names"),
    "schedule": (_is_schedule, "a schedule, like optim.StepLR(optimizer, 10), or None"),
    "clip": (lambda x: x is None or callable(x), "a function of the parameters, or None"),
    "model": (lambda x: x is None or isinstance(x, Module), "a Module, or None"),
    "progress": (lambda x: isinstance(x, bool), "True or False"),
    "checkpoint": (lambda x: x is None or isinstance(x, (str, os.PathLike)), "the path of a file, or None"),
    "checkpoint_every": (lambda x: x is None or _is_number(x), "a number of seconds, or None"),
    "shuffle": (lambda x: isinstance(x, bool), "True or False"),
    "rng": (lambda x: callable(getattr(x, "random", None)), "a random.Random, or the module random"),
}


def check_kinds(where: str, given: Mapping[str, Any]) -> None:
    """Checks the types of arguments, given by their names; ``where`` is the name of the function, for the message.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if ``compile`` is not one of its values.
    """
    for name, (is_right, what) in _KINDS.items():
        if name in given and not is_right(given[name]):
            x = given[name]
            raise TypeError(f"{where}: {name} must be {what}, not {type(x).__name__} {one_line(repr(x))}")
    if given["compile"] not in (True, False, "auto"):
        raise ValueError(f"{where}: compile is True, False or 'auto', not {given['compile']!r}")


def check_arguments(given: Mapping[str, Any]) -> None:
    """Checks the arguments of ``fit()``, given by their names.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if an argument is out of its range, or two of them don't go together.
    """
    check_kinds("fit()", given)
    for condition in given["stops"]:
        if not isinstance(condition, StopCondition):
            raise TypeError(f"fit(): stop takes conditions like EarlyStopping(5), not {type(condition).__name__}")
    for callback in given["callbacks"]:
        if not callable(callback):
            raise TypeError(f"fit(): callbacks are functions, not {type(callback).__name__}")
    data, validation, optimizer, every = (
        given[name] for name in ("data", "validation", "optimizer", "checkpoint_every")
    )
    check_samples(data, "fit()")
    if validation is not None:
        check_samples(validation, "fit()")
    check_whole("fit(): epochs", given["epochs"], 0)
    check_whole("fit(): batch_size", given["batch_size"], 1)
    if not len(data):
        raise ValueError("fit(): there is nothing to train on: the data are empty")
    if validation is not None and not len(validation):
        raise ValueError("fit(): the validation set is empty: give samples, or None")
    if given["metrics"] and validation is None:
        names = ", ".join(given["metrics"])
        raise ValueError(f"fit(): metrics are taken over the validation set, and there is none: {names}")
    scheduled = getattr(given["schedule"], "optimizer", optimizer)
    if scheduled not in (optimizer, getattr(optimizer, "optimizer", None)):  # Lookahead wraps an optimizer
        raise ValueError(f"fit(): the schedule is for another optimizer: {scheduled!r}, not {optimizer!r}")
    if given["schedule_every"] not in ("epoch", "step"):
        raise ValueError(f"fit(): schedule_every is 'epoch' or 'step', not {given['schedule_every']!r}")
    if every is not None and not 0 <= every < math.inf:
        raise ValueError(f"fit(): checkpoint_every is a number of seconds, at least 0, not {every}")
