"""Reads what callers pass in, strictly: numbers, sequences and labels. Imports libraries that only a feature needs."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from numbers import Real
from typing import Any, TypeGuard

__all__ = [
    "check_callable", "check_rng", "check_type", "is_nested", "one_line", "read_lists", "require", "sequence",
    "shape_of", "to_float", "to_lists",
]  # fmt: skip


def to_float(x: Any) -> float:
    """Converts a plain number to a float: an int, a float, a bool, a fraction or a NumPy scalar.

    Raises:
        TypeError: if ``x`` is none of these.

    >>> to_float(2), to_float(True)
    (2.0, 1.0)
    """
    if x.__class__ is float:
        return x
    if isinstance(x, (int, float, Real)):
        return float(x)
    if type(x).__module__.startswith("numpy") and not getattr(x, "shape", True) and x.dtype.kind in "biuf":
        return float(x)  # numpy.bool_, or an array without dimensions
    raise TypeError(f"a Value holds one real number, not {type(x).__name__} {x!r}")


def sequence(xs: Iterable[Any], where: str) -> list[Any]:
    """Converts ``xs`` to a list; ``where`` is the name of the calling function, for the message.

    Raises:
        TypeError: if ``xs`` is not iterable, or a string.

    >>> sequence((1, 2), "sum()")
    [1, 2]
    """
    if isinstance(xs, str) or not (hasattr(xs, "__iter__") or hasattr(xs, "__getitem__")):
        raise TypeError(f"{where} takes a sequence, not {type(xs).__name__} {xs!r}")
    return list(xs)


def is_nested(x: Any) -> TypeGuard[Iterable[Any]]:
    """Whether ``x`` is a list or another iterable, not a single number or Value.

    >>> is_nested([]), is_nested(1.0)
    (True, False)
    """
    return hasattr(x, "__iter__") and not isinstance(x, str) and getattr(x, "shape", None) != ()


def to_lists(x: Any) -> Any:
    """Converts tuples, arrays and other iterables, nested to any depth, to lists.

    >>> to_lists(((1, 2), range(2)))
    [[1, 2], [0, 1]]
    """
    if hasattr(x, "tolist"):
        return x.tolist()
    return [to_lists(item) for item in x] if is_nested(x) else x


def shape_of(lists: Any) -> Any:
    """The shape of nested lists, as NumPy gives it. If the lists in a list differ in shape, the list of their shapes.

    >>> shape_of([[1, 2, 3], [4, 5, 6]]), shape_of([[1], [2, 3]]), shape_of(1)
    ((2, 3), [(1,), (2,)], ())
    """
    if not isinstance(lists, list):
        return ()
    if list not in {*map(type, lists)}:  # most lists hold only numbers
        return (len(lists),)
    shapes = [shape_of(item) for item in lists]
    regular = all(shape == shapes[0] and isinstance(shape, tuple) for shape in shapes)
    return (len(lists), *(shapes[0] if shapes else ())) if regular else shapes


def read_lists(x: Any, takes: str, *shapes: tuple[int | None, ...]) -> list[Any]:
    """Converts ``x`` to nested lists, which must have one of the shapes; None is any length, 1 or more.

    Raises:
        ValueError: if it has another shape; the message is ``takes``, the names of the shapes included, and its shape.

    >>> read_lists(((1, 2), (3, 4)), "max_pool2d() takes a map (height, width)", (None, None))
    [[1, 2], [3, 4]]
    >>> read_lists([1, 2], "max_pool2d() takes a map (height, width)", (None, None))
    Traceback (most recent call last):
        ...
    ValueError: max_pool2d() takes a map (height, width), not shape (2,)
    """
    lists = to_lists(x)
    found = shape_of(lists)
    if isinstance(found, list):
        raise ValueError(f"{takes}, not lists that differ in shape: {one_line(str(found))}")
    for shape in (shape for shape in shapes if len(shape) == len(found)):
        if all(n == wanted or (wanted is None and n) for n, wanted in zip(found, shape, strict=True)):
            return lists  # type: ignore[no-any-return]
    raise ValueError(f"{takes}, not {f'shape {found}' if found else one_line(f'{type(x).__name__} {x!r}')}")


def check_type(x: Any, kind: type, takes: str) -> None:
    """Raises a TypeError if ``x`` is not of type ``kind``; its message is ``takes`` and what was given instead.

    >>> check_type(2.0, str, "save() takes the name of a file")
    Traceback (most recent call last):
        ...
    TypeError: save() takes the name of a file, not float 2.0
    """
    if not isinstance(x, kind):
        raise TypeError(f"{takes}, not {type(x).__name__} {x!r}")


def check_callable(x: Any, where: str) -> None:
    """Raises a TypeError if ``x`` can't be called; ``where`` is the name of the calling function, for the message.

    >>> check_callable(2.0, "jacobian()")
    Traceback (most recent call last):
        ...
    TypeError: jacobian() takes a function, and float 2.0 is not callable
    """
    if not callable(x):
        raise TypeError(f"{where} takes a function, and {type(x).__name__} {x!r} is not callable")


def one_line(label: str, width: int = 60) -> str:
    """Writes a label on one line, for a message, and cuts it to ``width`` characters.

    >>> one_line("abcde", width=4), one_line("abcd", width=4)
    ('abc…', 'abcd')
    """
    text = repr(label)[1:-1]
    return text if len(text) <= width else f"{text[: width - 1]}…"


def require(module: str, purpose: str, *libraries: str) -> Any:
    """Imports a library that only some features need.

    Args:
        module: the name of the module to import.
        purpose: the feature, for the message.
        libraries: the names with which pip installs what the feature needs; the default is the module's name.

    Raises:
        ImportError: if the module can't be imported; the message says what to install.

    >>> require("no_such_library", "a picture")
    Traceback (most recent call last):
        ...
    ImportError: a picture needs no_such_library: python -m pip install no_such_library
    """
    try:
        return import_module(module)
    except ImportError as error:
        names = libraries or (module.partition(".")[0],)
        raise ImportError(f"{purpose} needs {' and '.join(names)}: python -m pip install {' '.join(names)}") from error


def check_rng(rng: Any, *methods: str) -> None:
    """Raises a TypeError if ``rng`` lacks one of the methods."""
    for method in methods:
        if not callable(getattr(rng, method, None)):
            raise TypeError(
                f"rng is a random.Random, or the module random: it needs a method {method}(), which "
                f"{type(rng).__name__} {rng!r} has not"
            )
