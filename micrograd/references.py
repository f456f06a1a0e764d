"""What an object refers to: items, attributes, and the variables of functions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from types import BuiltinMethodType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

__all__ = ["UNASSIGNED", "find_defaults", "find_names", "find_references", "read_cell"]

UNASSIGNED = object()
"""In place of the content of a variable that has none yet."""


def find_references(holder: Any) -> Iterable[tuple[Any, Any]]:
    """Returns the objects that an object refers to directly, each with the name, key or index that leads there.

    A class, a module, and an object without attributes refer to nothing. Of a function these are the variables of its
    closure, the global variables that it reads, its defaults, and the function that it wraps.

    >>> k = 2.0
    >>> list(find_references(lambda x, y=3.0: k * x))
    [('k', 2.0), ('y', 3.0)]
    >>> find_references({"a": 1.0, "b": [2.0]})
    [('a', 1.0), ('b', [2.0])]
    """
    if isinstance(holder, dict):
        return list(holder.items())
    if isinstance(holder, (list, tuple, set, frozenset)):
        return list(enumerate(holder))
    if isinstance(holder, (type, ModuleType)):
        return ()
    if isinstance(holder, MethodType):
        return [("__self__", holder.__self__), ("__func__", holder.__func__)]
    if isinstance(holder, BuiltinMethodType):  # such as the method random of a generator
        return [("__self__", holder.__self__)]
    if isinstance(holder, partial):
        return [("func", holder.func), ("args", holder.args), ("keywords", holder.keywords)]
    if isinstance(holder, FunctionType):
        return _find_variables(holder)
    return list(getattr(holder, "__dict__", {}).items())


def _find_variables(function: FunctionType) -> Iterator[tuple[str, Any]]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        if (content := read_cell(cell)) is not UNASSIGNED:
            yield name, content
    scope = function.__globals__
    yield from [(name, scope[name]) for name in find_names(function.__code__) if name in scope]
    yield from find_defaults(function)
    if hasattr(function, "__wrapped__"):
        yield "__wrapped__", function.__wrapped__


def find_defaults(function: FunctionType) -> Iterable[tuple[str, Any]]:
    """Returns the parameters that have a default, with the default.

    >>> find_defaults(lambda x, y=3.0, *, z=4.0: x)
    [('y', 3.0), ('z', 4.0)]
    """
    code, defaults = function.__code__, function.__defaults__ or ()
    names = code.co_varnames[code.co_argcount - len(defaults) : code.co_argcount]
    return [*zip(names, defaults, strict=True), *(function.__kwdefaults__ or {}).items()]


def read_cell(cell: Any) -> Any:
    """Returns the content of a closure's variable, or :data:`UNASSIGNED`."""
    try:
        return cell.cell_contents
    except ValueError:
        return UNASSIGNED


def find_names(code: CodeType) -> set[str]:
    """Returns the names in code that are not its own variables, and those in functions that it makes.

    >>> find_names(compile("[print(x) for x in y]", "", "eval")) - {"x"} == {"print", "y"}
    True
    """
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= find_names(constant)
    return names
