"""What a function reads besides its arguments: variables, attributes, and what is in lists, dicts and sets.

A program is made of their contents. So they are looked at again at each call, and a program for other contents is
another program. Nothing of the caller's is ever set back, as another thread may have changed it.
"""

from __future__ import annotations

import random
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from ..engine import Value
from ..references import UNASSIGNED, find_defaults, find_names, find_references, read_cell

__all__ = ["Hidden", "Surroundings"]

_MOST = 1_000_000  # items that are looked at
_ARRAY = 1 << 20  # bytes of an array that is looked at, at most
_PLAIN = {bool, int, float, complex, str, bytes, type(None), Value}
_OTHERS = {*sys.stdlib_module_names, "numpy", __name__.partition(".")[0]} - {"__main__"}  # whose functions don't change


class Hidden:
    """What the compiler keeps among an object's attributes, which the function does not read."""


class Surroundings:
    """All that a function can reach, as it is now.

    Args:
        function: any callable. Of a module of :mod:`micrograd.nn`, the mode and the buffers are left out: see
            :class:`~micrograd.compiler.tracing.Trace`.

    Attributes:
        reached: the functions and objects that it can reach, itself included.

    >>> class Scale:
    ...     factor = 1.0
    >>> scale = Scale()
    >>> now = Surroundings(scale)
    >>> scale.factor = 3.0
    >>> now.find_changes()
    ['factor']
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.reached: list[Any] = []
        self._variables: list[tuple[str, Any, Any]] = []  # of closures: name, cell, contents
        self._globals: list[tuple[str, dict[str, Any], Any]] = []  # name, where, value
        self._items: list[tuple[str, Any, Any]] = []  # name, a list, dict, set or array, and a copy
        self._hidden: dict[int, set[str]] = {}  # by attributes of a module: those that are left out
        self._count = 0
        seen: set[int] = set()
        waiting: list[tuple[str, Any]] = [("", function)]
        while waiting and self._count < _MOST:
            name, held = waiting.pop()
            kind = type(held)
            if kind in _PLAIN or id(held) in seen or isinstance(held, (type, types.ModuleType, Value, Hidden)):
                continue
            seen.add(id(held))
            self.reached.append(held)
            waiting += self._look(name, held)
        # One comparison of all lists, dicts and sets takes half the time of one for each.
        self._arrays = [(held, copy) for _, held, copy in self._items if hasattr(type(held), "__array__")]
        plain = [(held, copy) for _, held, copy in self._items if not hasattr(type(held), "__array__")]
        self._now, self._before = [held for held, _ in plain], [copy for _, copy in plain]

    @property
    def generators(self) -> list[Any]:
        """The random generators among them, Python's and NumPy's; and that of the module ``random``."""
        getstate: Any = random.getstate
        reached = [getstate.__self__, *self.reached]
        return [x for x in {id(x): x for x in reached}.values() if _is_generator(x)]

    def _look(self, name: str, held: Any) -> Iterable[tuple[str, Any]]:
        # Notes what is in an object, and gives what is to be looked at next.
        own = getattr(held, "__dict__", None)
        if isinstance(own, dict) and "__wrapped__" in own:
            return [(name, own["__wrapped__"])]
        if isinstance(held, types.FunctionType):
            return self._look_into(held)
        if _is_generator(held):
            return []
        if isinstance(held, (list, tuple, dict, set, frozenset)):
            self._note(name, held)
            items = held.values() if isinstance(held, dict) else held
            return () if {*map(type, items)} <= _PLAIN else [(name, item) for item in items]
        if hasattr(type(held), "__array__"):
            if getattr(held, "nbytes", _ARRAY) < _ARRAY:
                self._items.append((name, held, held.copy()))
            return [(name, held.tolist())] if held.dtype.kind == "O" else ()
        if isinstance(held, (types.MethodType, types.BuiltinMethodType, partial)):
            return [(name, item) for _, item in find_references(held)]
        return self._look_at(held, own)

    def _note(self, name: str, held: Any) -> None:
        # Keeps a copy of what may change.
        self._count += len(held) + 1
        if isinstance(held, (list, dict, set)):
            self._items.append((name, held, held.copy()))

    def _look_into(self, function: types.FunctionType) -> Iterator[tuple[str, Any]]:
        # The variables of a function, and its defaults.
        if (function.__module__ or "").partition(".")[0] in _OTHERS:
            return
        self._note("", function.__dict__)
        names, scope = find_names(function.__code__), function.__globals__
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            value = read_cell(cell)
            self._variables.append((name, cell, value))
            yield name, value
        scopes = [scope, *[vars(x) for name in names if _is_foreign(x := scope.get(name))]]
        for place in scopes:
            for name in names & place.keys():
                self._globals.append((name, place, place[name]))
                yield name, place[name]
        yield from find_defaults(function)

    def _look_at(self, held: Any, own: Any) -> Iterator[tuple[str, Any]]:
        # The attributes of an object, and the methods of its class.
        if isinstance(own, dict):
            self._note("", own)
            if hasattr(held, "buffers") and hasattr(held, "parameters"):  # a module
                self._hidden[id(own)] = {"training", *held.buffers}
            yield from list(own.items())
        for kind in type(held).__mro__:
            module = kind.__module__  # of a type that Cython made it may be a descriptor
            if isinstance(module, str) and module.partition(".")[0] not in _OTHERS:
                yield from [(name, x) for name, x in vars(kind).items() if isinstance(x, types.FunctionType)]
                for name in getattr(kind, "__slots__", ()):
                    yield name, getattr(held, name, None)

    def is_current(self) -> bool:
        """Whether all is as it was."""
        try:
            for _, cell, value in self._variables:
                if cell.cell_contents is not value:
                    return False
            for name, scope, value in self._globals:
                if scope[name] is not value:
                    return False
            for held, copy in self._arrays:
                if held.tobytes() != copy.tobytes():
                    return False
            if self._now == self._before:
                return True
        except (KeyError, ValueError, TypeError):  # a variable is gone; an array, a Value where a number was
            pass
        return not self.find_changes()

    def find_changes(self) -> list[str]:
        """The names of what is not as it was: variables, attributes, and lists, dicts and sets by such a name."""
        changed = [name for name, cell, value in self._variables if read_cell(cell) is not value]
        changed += [name for name, scope, value in self._globals if scope.get(name, UNASSIGNED) is not value]
        for name, held, copy in self._items:
            if hasattr(type(held), "__array__"):
                changed += [name] * (held.tobytes() != copy.tobytes())
            elif isinstance(held, dict):
                hidden = self._hidden.get(id(held), set())
                differ = [key for key in {**copy, **held} if held.get(key, UNASSIGNED) is not copy.get(key, UNASSIGNED)]
                changed += [
                    name or str(key) for key in differ if key not in hidden and not isinstance(held.get(key), Hidden)
                ]
            elif len(held) != len(copy) or any(x is not y for x, y in zip(held, copy, strict=False)):
                changed.append(name)
        return list(dict.fromkeys(changed))

    def take_back(self, kind: type[Value]) -> list[str]:
        """Takes Values of this kind out of all places where they are now; what else is there stays as it is.

        Returns:
            The names of these places.
        """

        def holds(x: Any) -> bool:
            items = x.values() if isinstance(x, dict) else x if isinstance(x, (list, tuple, set)) else ()
            return isinstance(x, kind) or (not {*map(type, items)} <= _PLAIN and any(map(holds, items)))

        found = []
        for name, cell, value in self._variables:
            if holds(read_cell(cell)):
                found.append(name)
                cell.cell_contents = value
        for name, scope, value in self._globals:
            if holds(scope.get(name)):
                found.append(name)
                scope[name] = value
        for name, held, before in self._items:
            if isinstance(held, dict):
                for key in [key for key, x in held.items() if holds(x)]:
                    found.append(name or str(key))
                    if key in before:
                        held[key] = before[key]
                    else:
                        del held[key]
            elif isinstance(held, set) and holds(held):
                found.append(name)
                held.difference_update([x for x in held if holds(x)])
            elif isinstance(held, list) and holds(held):
                found.append(name)
                for i in reversed(range(len(held))):  # another thread may append
                    if holds(held[i]):
                        del held[i]
        return list(dict.fromkeys(found))


def _is_generator(x: Any) -> bool:
    return isinstance(x, random.Random) or hasattr(type(x), "bit_generator")


def _is_foreign(x: Any) -> bool:
    # Whether it is a module of the caller's.
    return isinstance(x, types.ModuleType) and x.__name__.partition(".")[0] not in _OTHERS
