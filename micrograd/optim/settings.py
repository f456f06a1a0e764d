"""Settings, each declared once with its check; and states that can be saved and loaded.

A setting is an attribute of a class. Its line declares its check and its default. No constructor lists it again, and
no other code checks it.

>>> class Thermostat(Configured):
...     rooms: int = setting(whole(1))
...     degrees: float = setting(number(5, 30), default=20.0)
>>> Thermostat(2)
Thermostat(rooms=2, degrees=20.0)
>>> Thermostat(2, degrees=31)
Traceback (most recent call last):
ValueError: degrees must be at least 5 and below 30, not 31.0
"""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..arguments import sequence, to_float

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform
else:

    def dataclass_transform(**_: Any) -> Callable[[type], type]:
        return lambda decorated: decorated


__all__ = ["Configured", "flag", "increasing", "number", "one_of", "pair", "setting", "whole"]

Check = Callable[[str, Any], Any]
"""A check takes a setting's name and a value. It returns the value to store, or raises an error."""


def number(low: float = 0.0, high: float = math.inf, ends: str = "[)") -> Check:
    """Returns a check for a number in an interval. ``ends`` says which ends belong to it: ``"[)"``, ``"(]"`` and so on.

    >>> number(high=1.0)("momentum", 0)
    0.0
    """
    left = "at least" if ends[0] == "[" else "above"
    right = "at most" if ends[1] == "]" else "below"

    def check(name: str, value: Any) -> float:
        try:
            found = to_float(value)
        except TypeError:
            raise TypeError(f"{name} is a number, not {type(value).__name__} {value!r}") from None
        inside = low < found < high or (found == low and ends[0] == "[") or (found == high and ends[1] == "]")
        if not inside:
            raise ValueError(f"{name} must be {left} {low:g} and {right} {high:g}, not {found}")
        return found

    return check


def whole(low: int) -> Check:
    """Returns a check for a whole number that is at least ``low``.

    >>> whole(1)("k", 5)
    5
    """

    def check(name: str, value: Any) -> int:
        if not hasattr(value, "__index__"):
            raise TypeError(f"{name} is a whole number, not {type(value).__name__} {value!r}")
        if value < low:
            raise ValueError(f"{name} must be at least {low}, not {value}")
        return int(value)

    return check


def one_of(*choices: str) -> Check:
    """Returns a check for a string that is one of ``choices``.

    >>> one_of("min", "max")("mode", "max")
    'max'
    """

    def check(name: str, value: Any) -> Any:
        if value not in choices:
            raise ValueError(f"{name} must be {' or '.join(map(repr, choices))}, not {value!r}")
        return value

    return check


def flag(name: str, value: Any) -> bool:
    """Checks that a value is True or False.

    >>> flag("nesterov", True)
    True
    """
    if not isinstance(value, bool):
        raise TypeError(f"{name} is True or False, not {type(value).__name__} {value!r}")
    return value


def pair(check: Check) -> Check:
    """Returns a check for two values, each with the given check.

    >>> pair(number(high=1.0))("betas", [0, 1])
    Traceback (most recent call last):
    ValueError: betas[1] must be at least 0 and below 1, not 1.0
    """

    def check_both(name: str, value: Any) -> tuple[Any, ...]:
        found = sequence(value, name)
        if len(found) != 2:
            raise ValueError(f"{name} are two numbers, not {value!r}")
        return tuple(check(f"{name}[{i}]", x) for i, x in enumerate(found))

    return check_both


def increasing(name: str, value: Any) -> list[int]:
    """Checks that a value is a sequence of whole numbers, at least 1, in increasing order.

    >>> increasing("milestones", (1, 3))
    [1, 3]
    """
    found = [whole(1)(f"{name}[{i}]", epoch) for i, epoch in enumerate(sequence(value, name))]
    if sorted(set(found)) != found:
        raise ValueError(f"{name} must increase, unlike {found}")
    return found


_PLAIN, _NAMED = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
_EMPTY = inspect.Parameter.empty


@dataclass(frozen=True)
class _Setting:
    check: Check
    default: Any
    kind: Any


def setting(check: Check | None = None, *, default: Any = _EMPTY, kw_only: bool = False) -> Any:
    """Declares a setting of an optimizer or a schedule, as an attribute of its class.

    Args:
        check: a check from :mod:`micrograd.optim.settings`, or a function that takes the setting's name and a value and
            returns the value to store or raises an error. The default is a finite number that is at least 0.
        default: the setting's default value; without it, the setting is required.
        kw_only: whether the setting is a keyword-only argument.

    >>> class Decay(Configured):
    ...     rate: float = setting(number(high=1.0), default=0.5)
    >>> Decay(rate=0.25).rate
    0.25
    """
    return _Setting(check or number(), default, _NAMED if kw_only else _PLAIN)


@dataclass_transform(eq_default=False, field_specifiers=(setting,))
class Configured:
    """An object with settings, which are attributes, and with a state to save.

    A subclass declares its settings, which follow the inherited ones. It may declare one again, with another default.
    The constructor takes the settings. If it takes other arguments before them, the subclass defines ``__init__`` with
    ``*values`` and ``**named``, and passes these to :meth:`_configure`. A subclass whose ``__init__`` lists the
    settings itself may have settings that are not declared.
    """

    _declared: ClassVar[dict[str, _Setting]] = {}
    _undeclared: tuple[str, ...] = ()
    _lists_settings: ClassVar[bool] = False
    __signature__: ClassVar[inspect.Signature]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        lines = [vars(base).items() for base in reversed(cls.__mro__)]
        names = [name for line in lines for name, part in line if isinstance(part, _Setting)]
        # A subclass may have replaced a setting by another attribute.
        found = {name: inspect.getattr_static(cls, name) for name in names}
        cls._declared = {name: part for name, part in found.items() if isinstance(part, _Setting)}
        _, *own = inspect.signature(cls.__init__).parameters.values()
        cls._lists_settings = not any(parameter.kind is parameter.VAR_POSITIONAL for parameter in own)
        if not cls._lists_settings:
            own = [parameter.replace(annotation=_EMPTY) for parameter in own if parameter.kind in (_PLAIN, _NAMED)]
            own = sorted([*own, *_parameters(cls._declared)], key=lambda parameter: parameter.kind)
        cls.__signature__ = inspect.Signature(own)

    def __init__(self, *values: Any, **named: Any) -> None:
        self._configure(values, named)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.settings.items())})"

    @property
    def _known(self) -> dict[str, _Setting]:
        # The declarations of its settings, those included that its constructor alone knows.
        return {**self._declared, **dict.fromkeys(self._undeclared, _Setting(_anything, None, _NAMED))}

    @property
    def settings(self) -> dict[str, Any]:
        """The present values of the settings, by their names."""
        return {name: getattr(self, name) for name in self._known}

    def check(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Checks the settings and returns the values to store. Override it to check how settings go together.

        Raises:
            TypeError, ValueError: if a setting is wrong; the message has its name, its value and its range.
        """
        known = self._known
        return {name: known[name].check(name, value) for name, value in settings.items()}

    def _configure(self, values: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        if self._lists_settings:  # a constructor of its own may have settings that it alone knows
            self._undeclared = tuple([name for name in named if name not in self._declared])
        try:
            bound = inspect.Signature(_parameters(self._known)).bind(*values, **named)
        except TypeError as error:
            raise TypeError(f"{type(self).__name__}{self.__signature__}: {error}") from None
        bound.apply_defaults()
        vars(self).update(self.check(bound.arguments))

    def state_dict(self) -> dict[str, Any]:
        """Returns a copy of the state: all that is needed to continue from here, in types that JSON has."""
        settings = {name: list(x) if isinstance(x, tuple) else x for name, x in self.settings.items()}
        return {"type": type(self).__name__, "settings": settings, **self._progress()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restores the state, settings included, from a :meth:`state_dict`.

        Raises:
            ValueError: if an entry is missing, unknown or wrong; the message lists all such entries. Nothing is then
                changed.
        """
        problems = list(_problems(self._pattern(), state_dict, "the state"))
        if problems:
            raise ValueError(f"this is not a state of {type(self).__name__}: {'; '.join(problems)}")
        self._verify(state_dict)
        self._adopt(state_dict)

    def _progress(self) -> dict[str, Any]:
        # The part of the state that is not settings.
        raise NotImplementedError

    def _pattern(self) -> dict[str, Any]:
        # A state of the expected form: None where None is allowed, and each setting's declaration.
        return {**self.state_dict(), "settings": self._known}

    def _verify(self, state: Mapping[str, Any]) -> None:
        # Raises an error if the state fits the pattern but is wrong. It runs before _adopt() changes anything.
        self.check(state["settings"])

    def _adopt(self, state: Mapping[str, Any]) -> None:
        vars(self).update(self.check(state["settings"]))


def _anything(name: str, value: Any) -> Any:
    return value


def _parameters(declared: Mapping[str, _Setting]) -> list[inspect.Parameter]:
    both = [inspect.Parameter(name, part.kind, default=part.default) for name, part in declared.items()]
    return sorted(both, key=lambda parameter: parameter.kind)


def _problems(expected: Any, given: Any, where: str) -> Iterator[str]:
    # Describes where a state differs from a pattern.
    if isinstance(expected, dict):
        if not isinstance(given, Mapping):
            yield f"{where} is not a dict but {type(given).__name__} {given!r}"
            return
        yield from (f"{where} has no {name!r}" for name in expected if name not in given)
        yield from (f"{where} has an unknown {name!r}" for name in given if name not in expected)
        for name in expected:
            if name not in given:
                continue
            if not isinstance(expected[name], _Setting):
                yield from _problems(expected[name], given[name], f"{where}[{name!r}]")
                continue
            try:
                expected[name].check(name, given[name])
            except (TypeError, ValueError, OverflowError) as error:
                yield f"{where}: {error}"
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
    elif isinstance(given, int) and abs(given) > sys.float_info.max:
        yield f"{where} is beyond the numbers of a float"
    elif isinstance(expected, int) and (not isinstance(given, int) or given < 0):
        yield f"{where} must be a whole number, at least 0, not {given!r}"
