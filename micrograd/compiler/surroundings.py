"""What a function reads besides its arguments: variables, attributes, and the items of lists, dicts, sets and arrays.

A program is made for their contents at the time of tracing. Each call compares them with the present contents, and if
they differ, another program is made. The caller's objects are not restored, as another thread may have changed them:
only the placeholders of a trace are taken out again.
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

_MOST = 1_000_000  # items that are visited, at most
_ARRAY = 1 << 20  # bytes of an array that is compared, at most
_PLAIN = {bool, int, float, complex, str, bytes, type(None), Value}
# Modules whose functions are not looked into.
_OTHERS = {*sys.stdlib_module_names, "numpy", __name__.partition(".")[0]} - {"__main__"}


class Hidden:
    """Base class of what the compiler keeps in an attribute of an object. It is never compared."""


class Surroundings:
    """All objects that a function can reach, with their present contents.

    Args:
        function: any callable. The mode and the buffers of modules of :mod:`micrograd.nn` are left out, because a
            :class:`~micrograd.compiler.tracing.Trace` compares these itself.

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
        self._variables: list[tuple[str, Any, Any]] = []  # variables of closures: name, cell, content
        self._globals: list[tuple[str, dict[str, Any], Any]] = []  # global variables: name, namespace, value
        self._items: list[tuple[str, Any, Any]] = []  # a name; a list, dict, set or array; and a copy of it
        self._hidden: dict[int, set[str]] = {}  # by id of a module's attributes: those that are not compared
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
        # To compare all lists, dicts and sets at once takes half the time of a comparison for each.
        self._arrays = [(held, copy) for _, held, copy in self._items if hasattr(type(held), "__array__")]
        plain = [(held, copy) for _, held, copy in self._items if not hasattr(type(held), "__array__")]
        self._now, self._before = [held for held, _ in plain], [copy for _, copy in plain]

    @property
    def generators(self) -> list[Any]:
        """The random generators of Python and NumPy that the function reaches, and that of the module ``random``."""
        getstate: Any = random.getstate
        reached = [getstate.__self__, *self.reached]
        return [x for x in {id(x): x for x in reached}.values() if _is_generator(x)]

    def _look(self, name: str, held: Any) -> Iterable[tuple[str, Any]]:
        # Keeps the contents of an object for comparison. Returns what to visit next, with names.
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
        # Keeps a copy of an object that may change.
        self._count += len(held) + 1
        if isinstance(held, (list, dict, set)):
            self._items.append((name, held, held.copy()))

    def _look_into(self, function: types.FunctionType) -> Iterator[tuple[str, Any]]:
        # Keeps the variables of a function. Yields them and its defaults.
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
        # Keeps the attributes of an object. Yields them and the methods of its class.
        if isinstance(own, dict):
            self._note("", own)
            if hasattr(held, "buffers") and hasattr(held, "parameters"):  # a module
                self._hidden[id(own)] = {"training", *held.buffers}
            yield from list(own.items())
        for kind in type(held).__mro__:
            module = kind.__module__  # a type that Cython made may have a descriptor here
            if isinstance(module, str) and module.partition(".")[0] not in _OTHERS:
                yield from [(name, x) for name, x in vars(kind).items() if isinstance(x, types.FunctionType)]
                for name in getattr(kind, "__slots__", ()):
                    yield name, getattr(held, name, None)

    def is_current(self) -> bool:
        """Returns whether all contents are the same as before."""
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
        except (KeyError, ValueError, TypeError):  # a variable was deleted; an array or a Value replaced a number
            pass
        return not self.find_changes()

    def find_changes(self) -> list[str]:
        """Returns the names of variables and attributes that changed, or whose list, dict, set or array did."""
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
        """Removes Values of this type from all places where the function put them.

        A variable or item gets its earlier value, or is deleted if it had none. Everything else stays as it is.

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
                for i in reversed(range(len(held))):  # from the end, as another thread may append meanwhile
                    if holds(held[i]):
                        del held[i]
        return list(dict.fromkeys(found))


def _is_generator(x: Any) -> bool:
    return isinstance(x, random.Random) or hasattr(type(x), "bit_generator")


def _is_foreign(x: Any) -> bool:
    # Whether it is a module that the caller wrote.
    return isinstance(x, types.ModuleType) and x.__name__.partition(".")[0] not in _OTHERS
