"""Settings, which are checked wherever they come from, and states that are saved and loaded.

What a setting must be depends on its name alone, and is said once, in the table :data:`CHECKS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ..arguments import sequence, to_float

__all__ = ["CHECKS", "Configured", "checked"]

Check = Callable[[str, Any], Any]


def _number(low: float = 0.0, high: float = math.inf, ends: str = "[)") -> Check:
    left = "at least" if ends[0] == "[" else "above"
    right = "at most" if ends[1] == "]" else "below"

    def check(name: str, value: Any) -> float:
        try:
            number = to_float(value)
        except TypeError:
            raise TypeError(f"{name} is a number, not {type(value).__name__} {value!r}") from None
        inside = low < number < high or (number == low and ends[0] == "[") or (number == high and ends[1] == "]")
        if not inside:
            raise ValueError(f"{name} must be {left} {low:g} and {right} {high:g}, not {number}")
        return number

    return check


def _whole(low: int) -> Check:
    def check(name: str, value: Any) -> int:
        if not hasattr(value, "__index__"):
            raise TypeError(f"{name} is a whole number, not {type(value).__name__} {value!r}")
        if value < low:
            raise ValueError(f"{name} must be at least {low}, not {value}")
        return int(value)

    return check


def _one_of(*choices: str) -> Check:
    def check(name: str, value: Any) -> Any:
        if value not in choices:
            raise ValueError(f"{name} must be {' or '.join(map(repr, choices))}, not {value!r}")
        return value

    return check


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name} is True or False, not {type(value).__name__} {value!r}")
    return value


def _betas(name: str, value: Any) -> tuple[float, ...]:
    betas = sequence(value, name)
    if len(betas) != 2:
        raise ValueError(f"{name} are two numbers, not {value!r}")
    return tuple(_number(high=1.0)(f"{name}[{i}]", beta) for i, beta in enumerate(betas))


def _milestones(name: str, value: Any) -> list[int]:
    milestones = [_whole(1)(f"{name}[{i}]", epoch) for i, epoch in enumerate(sequence(value, name))]
    if sorted(set(milestones)) != milestones:
        raise ValueError(f"{name} must increase, unlike {milestones}")
    return milestones


_FLAGS = ["nesterov", "averaged", "eps_inside_root", "centered", "bias_correction", "amsgrad", "decoupled_weight_decay"]

CHECKS: dict[str, Check] = {
    "lr": _number(),
    "betas": _betas,
    "milestones": _milestones,
    "mode": _one_of("min", "max"),
    "threshold_mode": _one_of("rel", "abs"),
    "start_factor": _number(high=1.0, ends="(]"),
    "factor": _number(high=1.0),
    "norm_type": _number(ends="(]"),
    **dict.fromkeys(["max_norm", "clip_value"], _number(ends="[]")),
    **dict.fromkeys(["alpha", "rho", "end_factor"], _number(high=1.0, ends="[]")),
    **dict.fromkeys(["k", "step_size", "total_iters", "T_max"], _whole(1)),
    **dict.fromkeys(["patience", "cooldown"], _whole(0)),
    **dict.fromkeys(_FLAGS, _flag),
}
"""By the name of a setting, what turns a value into the setting or says what is wrong with it.

A setting without an entry is a number that is at least 0, and finite.
"""


def checked(name: str, value: Any) -> Any:
    """The value as the setting ``name`` holds it.

    Raises:
        TypeError: if it is not of the setting's kind.
        ValueError: if it is out of the setting's range.

    >>> checked("betas", [0, 0.5])
    (0.0, 0.5)
    >>> checked("betas", [0, 1])
    Traceback (most recent call last):
    ValueError: betas[1] must be at least 0 and below 1, not 1.0
    """
    return CHECKS.get(name, CHECKS["lr"])(name, value)


class Configured:
    """Something with settings, which are attributes, and with a state to save."""

    setting_names: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.settings.items())})"

    @property
    def settings(self) -> dict[str, Any]:
        """The settings by their names, as they are now."""
        return {name: getattr(self, name) for name in self.setting_names}

    def check(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The settings as they are held. An override checks what single ones can't show: how they go together.

        Raises:
            TypeError, ValueError: if one is wrong; see :func:`checked`.
        """
        return {name: checked(name, value) for name, value in settings.items()}

    def _configure(self, **settings: Any) -> None:
        settings = self.check(settings)
        vars(self).update(settings)
        self.setting_names = tuple(settings)

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to go on from here: a copy, of dicts, lists, numbers, strings and None, as JSON has."""
        settings = {name: list(x) if isinstance(x, tuple) else x for name, x in self.settings.items()}
        return {"type": type(self).__name__, "settings": settings, **self._progress()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Goes on from where :meth:`state_dict` was called; the settings become those of that time, too.

        Raises:
            ValueError: if anything in it is missing, unknown, or not what it must be; the message lists all that is.
                Nothing is then changed.
        """
        problems = list(_problems(self._pattern(), state_dict, "the state"))
        if problems:
            raise ValueError(f"this is not a state of {type(self).__name__}: {'; '.join(problems)}")
        self._verify(state_dict)
        self._adopt(state_dict)

    def _progress(self) -> dict[str, Any]:
        # What the state has besides the settings.
        raise NotImplementedError

    def _pattern(self) -> dict[str, Any]:
        # A state that shows what there must be, with None where None may be.
        return self.state_dict()

    def _verify(self, state: Mapping[str, Any]) -> None:
        # Raises what is wrong beyond the pattern, before _adopt() changes anything.
        self.check(state["settings"])

    def _adopt(self, state: Mapping[str, Any]) -> None:
        vars(self).update(self.check(state["settings"]))


def _problems(expected: Any, given: Any, where: str) -> Iterator[str]:
    # What is wrong with a state, compared with a pattern.
    if isinstance(expected, dict):
        if not isinstance(given, Mapping):
            yield f"{where} is not a dict but {type(given).__name__} {given!r}"
            return
        yield from (f"{where} has no {name!r}" for name in expected if name not in given)
        yield from (f"{where} has an unknown {name!r}" for name in given if name not in expected)
        for name in expected:
            if name in given and where.endswith("['settings']"):
                try:
                    checked(name, given[name])
                except (TypeError, ValueError, OverflowError) as error:
                    yield f"{where}: {error}"
            elif name in given:
                yield from _problems(expected[name], given[name], f"{where}[{name!r}]")
    elif isinstance(expected, list):
        if not isinstance(given, (list, tuple)):
            yield f"{where} is not a list but {type(given).__name__} {given!r}"
        elif len(given) != len(expected):
            yield f"{where} has {len(given)} entries, not {len(expected)}"
        else:
            for i, (e, g) in enumerate(zip(expected, given, strict=True)):
                yield from _problems(e, g, f"{where}[{i}]")
    elif isinstance(expected, str):
        if given != expected:
            yield f"{where} is {given!r}, not {expected!r}"
    elif isinstance(given, bool) or not isinstance(given, (int, float)):
        if not (expected is None and given is None):
            yield f"{where} is not a number but {type(given).__name__} {given!r}"
    elif isinstance(expected, int) and (not isinstance(given, int) or given < 0):
        yield f"{where} must be a whole number, at least 0, not {given!r}"
