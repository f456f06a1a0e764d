"""Compiled functions: the same scalar graph, at machine speed.

:func:`compile` calls a function once on Values in place of its arguments, and turns the graph that it makes, its
gradients included, into a program for Numba. Nothing else changes: what comes back is a ``Value``.

>>> from micrograd import Value
>>> w = Value(3.0, label="w")
>>> @compile
... def loss(x, y):
...     return (w * x - y) ** 2
>>> out = loss(2.0, 5.0)
>>> out.backward()
>>> out.data, w.grad
(1.0, 4.0)
>>> loss.values([1.0, 2.0], [0.0, 0.0])
array([ 9., 36.])
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ..engine import Value, grad, lift, to_float
from ..operations import puller
from ..rules import Rule
from .kernel import needed_numba
from .listing import Listing
from .program import DisagreementError, Floats, Program, made
from .tracing import Trace, TraceError, as_values, flatten, is_watched, unflatten

if TYPE_CHECKING:
    from .profiling import Profile

__all__ = ["Compiled", "DisagreementError", "TraceError", "compile"]


def compile(function: Callable[..., Any]) -> Compiled:  # noqa: A001
    """The function, compiled; see :class:`Compiled`.

    Args:
        function: takes numbers and Values, alone or in lists, tuples, dicts and arrays, and gives a Value, or Values in
            lists, tuples and dicts. It may use other Values, its parameters. Each call must build the same graph for
            arguments of the same form: it does not branch on a Value, read ``.data``, or draw random numbers. Plain
            numbers that it reads elsewhere are constants of the program.

    Raises:
        TypeError: if it is not a function.
        ImportError: if Numba is not installed, with what to install.
    """
    if not callable(function):
        raise TypeError(f"compile() takes a function, not {type(function).__name__} {function!r}")
    needed_numba()
    return Compiled(function)


class Compiled:
    """A compiled function. A program is made when it is first called with arguments of a new form, and kept.

    Called, it gives what the function gives; ``backward()`` adds to the gradients of its parameters, and of the Values
    among the arguments. Where a number is not finite, the function is called itself, so that its errors are Python's;
    so it is within :func:`micrograd.detect_anomaly`. A program works in memory of its own: no two threads may call it.

    Raises:
        TraceError: if the function does not build the same graph for all arguments of one form.
        DisagreementError: if a program does not compute what Python's floats do, which is tried when it is made.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self._programs: dict[Any, tuple[Program, Trace]] = {}
        self._last: Program | None = None
        self.name = getattr(function, "__name__", type(function).__name__)
        update_wrapper(self, function)

    def __repr__(self) -> str:
        return f"<compiled {getattr(self.function, '__qualname__', self.function)!s}>"

    @property
    def program(self) -> Listing:
        """The listing of the program that ran last: it prints, and ``draw()`` draws it.

        Raises:
            ValueError: if none has run.
        """
        if self._last is None:
            raise ValueError("there is no program yet: call the function first")
        return self._last.listing

    def profile(self, samples: int = 1024) -> Profile:
        """Where the time goes in the program that ran last, with as many samples, beside the machine's limits.

        Raises:
            ValueError: if none has run.
        """
        from .profiling import profile

        if self._last is None:
            raise ValueError("there is no program yet: call the function first")
        return profile(self._last, samples)

    def _of(self, form: Any, arguments: Any, differentiate: str, sums: bool) -> tuple[Program, Trace] | None:
        # The program for arguments of a form; None if these are such that the function fails.
        key = form, differentiate, sums
        found = self._programs.get(key)
        if found is None:
            try:
                found = made(self.function, arguments, differentiate, sums)
            except DisagreementError:
                raise
            except (ArithmeticError, ValueError):
                return None
            found[1].nodes.clear()  # the program is what is left of them
            self._programs[key] = found
        self._last = found[0]
        return found

    def __call__(self, *arguments: Any) -> Any:
        if is_watched():  # which it is in a trace, too
            return self.function(*arguments)
        leaves, form = flatten(arguments)
        found = self._of(form, arguments, "captured inputs", False)
        if found is None:
            return self._eagerly(arguments)
        program, traced = found
        captured = traced.captured
        inputs = [leaf._data if isinstance(leaf, Value) else to_float(leaf) for leaf in leaves]
        program.capture(captured)
        numbers, is_finite = program.one(np.array(inputs, np.float64))
        if not is_finite:
            return self._eagerly(arguments)
        out = numbers.tolist()
        places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Value)]
        parents = (*captured, *[leaves[i] for i in places])
        count, size, first = len(traced.outputs), len(captured) + len(leaves), len(captured)
        results = []
        for which in range(count):
            k = 1 + count + which * size
            slopes = [*out[k : k + first], *[out[k + first + i] for i in places]]
            results.append(_node(self.name, out[1 + which], slopes, parents, self._again(arguments, which)))
        return results[0] if traced.structure is None else unflatten(traced.structure, iter(results))

    def _eagerly(self, arguments: Any) -> Any:
        return self.function(*as_values(arguments, lift))

    def _again(self, arguments: Any, which: int) -> Callable[[], Value]:
        return lambda: cast(Value, flatten(self._eagerly(arguments), lift)[0][which])

    def batch(self, *arrays: Any) -> Value:
        """The mean of the function over samples, a Value.

        Args:
            arrays: for each argument a sequence or an array, whose first axis is that of the samples.

        >>> w = Value(1.0)
        >>> out = compile(lambda x: (w * x) ** 2).batch([1.0, 3.0])
        >>> out.backward()
        >>> out.data, w.grad
        (5.0, 10.0)
        """
        x, form, sample = _samples(arrays)
        found = self._of(form, sample(0), "captured", True)
        if found is None:
            return self._mean(x.shape[1], sample)
        program, traced = found
        self._single(traced, "batch()")
        program.capture(traced.captured)
        out, sums, is_finite = program(x, _ALL)
        count = x.shape[1]
        if not (is_finite and np.isfinite(sums).all()):
            return self._mean(count, sample)
        mean, slopes = float(out[1].sum()) / count, (sums / count).tolist()
        return _node(f"mean of {self.name}", mean, slopes, tuple(traced.captured), lambda: self._mean(count, sample))

    def _mean(self, count: int, sample: Callable[[int], Any]) -> Value:
        from ..functional import mean

        return mean([self._eagerly(sample(i)) for i in range(count)])

    def _single(self, traced: Trace, where: str) -> None:
        if traced.structure is not None:
            raise TypeError(f"{where} is for functions that give one Value")

    def values(self, *arrays: Any) -> Floats:
        """What the function gives for each sample: an array, of which the first axis is that of the samples.

        >>> compile(lambda x: x**2).values([1.0, 3.0])
        array([1., 9.])
        """
        return self._arrays(arrays, "")[0]

    def gradients(self, *arrays: Any) -> Any:
        """The function's derivatives by its arguments for each sample: for each argument an array formed as it is.

        >>> compile(lambda x: x**2).gradients([1.0, 3.0])
        array([2., 6.])
        """
        return self.values_and_gradients(*arrays)[1]

    def values_and_gradients(self, *arrays: Any) -> tuple[Floats, Any]:
        """Both at once.

        >>> compile(lambda x, y: x * y).values_and_gradients([2.0], [5.0])
        (array([10.]), (array([5.]), array([2.])))
        """
        values, slopes = self._arrays(arrays, "inputs")
        parts, k = [], 0
        for array in arrays:
            shape = np.shape(array)
            size = math.prod(shape[1:])
            parts.append(slopes[k : k + size].T.reshape(shape))
            k += size
        return values, parts[0] if len(parts) == 1 else tuple(parts)

    def _arrays(self, arrays: Sequence[Any], differentiate: str) -> tuple[Floats, Floats]:
        x, form, sample = _samples(arrays)
        found = self._programs.get((form, differentiate, False)) or next(
            filter(None, (self._of(form, sample(i), differentiate, False) for i in range(x.shape[1]))), None
        )
        if found is None:
            self._eagerly(sample(0))
            raise TraceError("the function could be called, and not be traced, at any of the samples")
        program, traced = found
        if differentiate:
            self._single(traced, "gradients()")
        program.capture(traced.captured)
        count, lanes = len(traced.outputs), x.shape[1]
        if lanes == 1:
            out, is_finite = program.one(x.ravel())
            out = out[:, None]
        else:
            out, _, is_finite = program(x, _ALL)
        bad: Any = () if is_finite else np.flatnonzero(~np.isfinite(out).all(axis=0))
        for i in bad:
            arguments = as_values(sample(int(i)), Value)
            values = flatten(self.function(*arguments), lift)[0]
            inputs = map(lift, flatten(arguments)[0])  # the constants among them are not part of the graph
            slopes = grad(values[0], inputs) if differentiate else ()
            out[1:, i] = [*[value.data for value in values], *slopes]
        if traced.shape is None:
            traced.shape = _shape(traced.structure)
        return out[1 : 1 + count].T.reshape(lanes, *traced.shape), out[1 + count :]


class _Call(Rule):
    # What made the Value that a call gave: its local gradients are known. Where they are to be differentiated
    # themselves, the function is called again, as a graph.

    def __init__(self, name: str, slopes: list[float], again: Callable[[], Value]) -> None:
        self.name, self.slopes, self.again = name, slopes, again  # the rest is the same for all: see below

    def local_of(self, a: list[Any]) -> Any:
        return grad(self.again(), a, create_graph=True) if a and isinstance(a[0], Value) else self.slopes


_RULE = Rule("compiled", "*a", "nan", ("node_.rule.local_of(a)",), {})
for _name, _part in (vars(_RULE) | {"pull": staticmethod(puller(_RULE)), "whole": _RULE}).items():
    setattr(_Call, _name, _part)
_ALL = np.empty(0, dtype=np.int64)


def _node(name: str, data: float, slopes: list[float], parents: tuple[Value, ...], again: Callable[[], Value]) -> Value:
    node = Value(data)
    if parents:
        node._parents, node.rule = parents, _Call(name, slopes, again)
    return node


def _samples(arrays: Sequence[Any]) -> tuple[Floats, Any, Callable[[int], Any]]:
    # The numbers of all samples, a column a sample; the form of one; and a function that gives one.
    if not arrays:
        raise TypeError("there are no samples: give an array for each argument")
    lengths = [len(array) if hasattr(array, "__len__") else -1 for array in arrays]
    count = lengths[0]
    if count < 1 or lengths.count(count) < len(lengths):
        shown = ", ".join(str(len(array)) if hasattr(array, "__len__") else repr(array) for array in arrays)
        raise ValueError(
            f"each argument takes a sequence of samples, as many as the others and at least one, not {shown}"
        )

    def sample(i: int) -> Any:
        return tuple([array[i] for array in arrays])

    if all(isinstance(array, np.ndarray) for array in arrays):
        form = ("tuple", *[("array", *array.shape[1:]) if array.ndim > 1 else None for array in arrays])
        columns = [array.reshape(count, -1).T for array in arrays]
        if len(columns) == 1:
            return np.array(columns[0], np.float64, order="C"), form, sample
        return np.ascontiguousarray(np.concatenate(columns, dtype=np.float64)), form, sample
    first = flatten(sample(0))[1]
    rows = []
    for i in range(count):
        numbers, form = flatten(sample(i), to_float)
        if form != first:
            raise ValueError(f"sample {i} is of another form than sample 0: {form} and {first}")
        rows.append(numbers)
    return np.array(rows, dtype=np.float64).reshape(len(rows), -1).T.copy(), first, sample


def _shape(structure: Any) -> tuple[int, ...]:
    # That of the array that nested lists of numbers become.
    if structure is None:
        return ()
    kind, *items = structure
    if kind == "array":
        return tuple(items)
    shapes = {_shape(item) for item in (items[1::2] if kind == "dict" else items)}
    if len(shapes) != 1:
        raise TypeError("values() is for functions that give a number, or lists of numbers of equal lengths")
    return (len(items), *shapes.pop())
