"""A float with a gradient and a label, and how Python and NumPy print, compare, convert and copy it.

:class:`Scalar` is a :class:`~micrograd.Value` without the memory of how it was made. An operation that would silently
lose the gradient raises an error, which names the alternative.
"""

from __future__ import annotations

import operator
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from .arguments import to_float
from .watching import find_watcher, report_look, watchers

if TYPE_CHECKING:
    from .engine import Number, Value

__all__ = ["Scalar", "is_array"]


def is_array(x: Any) -> bool:
    """Whether ``x`` is an array with at least one dimension, of NumPy or of a library with NumPy's interface."""
    return hasattr(x, "__array_ufunc__") and bool(getattr(x, "shape", ()))


def _comparison(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Number], bool]:
    def compare_data(self: Value, other: Number) -> bool:
        if watchers and (watcher := find_watcher()):
            return watcher.compare(compare, self, other)  # type: ignore[no-any-return]
        return compare(self._data, other._data if isinstance(other, Scalar) else other)

    return compare_data


def _refusal(what: str, instead: str) -> Callable[..., NoReturn]:
    def refuse(self: Scalar, *others: object) -> NoReturn:
        raise TypeError(f"{what} forgets its gradient: write {instead}, and v.data where only the number is wanted")

    return refuse


class Scalar:
    """A float with a gradient and a label."""

    __slots__ = ("_data", "_grad", "_label")

    _data: float
    _grad: float
    _label: str

    @property
    def data(self) -> float:
        """The number, a float."""
        if watchers:
            report_look(self, "data", "read")
        return self._data

    @data.setter
    def data(self, number: float) -> None:
        if watchers:
            report_look(self, "data", "set")
        self._data = to_float(number)

    @property
    def grad(self) -> float:
        """The derivative by this Value of the Value on which ``backward()`` was called, a float."""
        if watchers:
            report_look(self, "grad", "read")
        return self._grad

    @grad.setter
    def grad(self, number: float) -> None:
        if watchers:
            report_look(self, "grad", "set")
        self._grad = to_float(number)

    @property
    def label(self) -> str:
        """A name for people: shown in drawings, tables and errors."""
        return self._label

    @label.setter
    def label(self, label: str) -> None:
        if not isinstance(label, str):
            raise TypeError(f"a label is a string, not {type(label).__name__} {label!r}")
        self._label = label

    def item(self) -> float:
        """Returns ``data``, as PyTorch's ``item()`` does."""
        return self.data

    def __format__(self, spec: str) -> str:
        return format(self.data, spec) if spec else str(self)

    __lt__, __le__ = _comparison(operator.lt), _comparison(operator.le)
    __gt__, __ge__ = _comparison(operator.gt), _comparison(operator.ge)

    def __eq__(self, other: object) -> bool:
        if is_array(other) or (hasattr(other, "__float__") and not isinstance(other, Scalar)):
            raise TypeError(f"a Value equals only itself: write v.data == {other!r} to compare its number")
        return self is other if isinstance(other, Scalar) else NotImplemented

    __hash__ = object.__hash__

    __bool__ = _refusal("a Value as a condition", "a comparison, such as v > 0")
    __int__ = _refusal("a Value turned into an int", "v.floor() or v.round()")
    __round__ = _refusal("round(v)", "v.round()")
    __float__ = _refusal("a Value turned into a float", "v.exp(), v.log(), … for math.exp(v), math.log(v), …")

    def __reduce_ex__(self, protocol: Any) -> Any:
        # For copy and pickle: all ancestors are written before the node, parents first, so that nothing is recursive.
        return _make_after, (_Ancestors(self), type(self)), super().__reduce_ex__(2)[2]

    def _find_ancestors(self) -> Sequence[Scalar]:
        return ()

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        # NumPy's functions treat a Value as an array of one object, and call its operators and methods.
        array = sys.modules["numpy"].array
        inputs = tuple([array(x, dtype=object) if isinstance(x, Scalar) else x for x in inputs])
        try:
            return getattr(ufunc, method)(*inputs, **options)
        except (AttributeError, TypeError) as error:
            raise TypeError(f"numpy.{ufunc.__name__} takes no Value: give it v.data ({error})") from None


class _Ancestors:
    # Copied and pickled as the list of a scalar's ancestors, parents before children.

    def __init__(self, scalar: Scalar) -> None:
        self.scalar = scalar

    def __reduce__(self) -> Any:
        return list, (), None, self._each()

    def _each(self) -> Iterator[Scalar]:
        before = getattr(_writing, "ancestors", ())
        if self.scalar in before:  # it is an ancestor itself, and its own are already written
            return
        ancestors = self.scalar._find_ancestors()
        written = _writing.ancestors = frozenset(ancestors)
        try:
            yield from ancestors
        finally:  # runs late, if somebody keeps the error that ended a copy
            if getattr(_writing, "ancestors", ()) is written:
                _writing.ancestors = before


_writing = threading.local()


def _make_after(ancestors: object, kind: type[Scalar]) -> Scalar:
    return object.__new__(kind)
