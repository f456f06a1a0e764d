"""Compiled functions: the same scalar graph at machine speed.

:func:`compile` calls a function on Values in place of its arguments, records the graph with its gradients, and turns it
into machine code. The compiled function still returns a ``Value``.

>>> from micrograd import Value, compile
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

import inspect
import math
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from functools import partial, update_wrapper, wraps
from itertools import chain
from types import MethodType
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ..arguments import to_float
from ..engine import Value, grad, lift
from ..rule import Rule
from ..watching import watch
from .draws import Replay, draw_for
from .machine import Floats
from .plan import Plan
from .program import Program, UndefinedError, make_program
from .surroundings import Hidden
from .tracing import (
    ARRAY,
    Trace,
    TraceError,
    as_values,
    build,
    count_leaves,
    cut,
    find_shape,
    flatten,
    is_watched,
    unflatten,
)

if TYPE_CHECKING:
    from .profiling import Profile

__all__ = ["Compiled", "compile", "stack_columns"]

_all: weakref.WeakSet[Compiled] = weakref.WeakSet()
_Found = tuple[Program, Trace]
_KEPT = 64  # forms of arguments whose programs are kept: the least recently used one is dropped


def compile(function: Callable[..., Any]) -> Compiled:  # noqa: A001
    """Compiles a function; see :class:`Compiled`.

    Args:
        function: takes numbers and Values, alone or in lists, tuples, dicts and arrays. Returns a Value, or Values in
            lists, tuples and dicts. It may use other Values, its parameters. For arguments of the same form it must
            build the same graph: it may not branch on a Value or read ``.data``. It may draw random numbers with
            :func:`micrograd.functional.random` and ``normal``, as ``nn.Dropout`` does: each run of the program draws
            new ones. It may read variables, attributes, lists, dicts, sets and arrays below a megabyte. If these change
            between calls, a new program is made. The data of Values may change without that, as a program reads them at
            each call. The function must not change any of this itself.

    Raises:
        TypeError: if ``function`` can't be called.

    Methods compile, too. Each instance keeps programs of its own:

    >>> class Line:
    ...     def __init__(self, slope):
    ...         self.slope = Value(slope)
    ...
    ...     @compile
    ...     def at(self, x, *, shift=0.0):
    ...         return self.slope * x + shift
    >>> Line(2.0).at(1.0).data, Line(3.0).at(1.0, shift=0.5).data
    (2.0, 3.5)
    """
    if not callable(function):
        raise TypeError(f"compile() takes a function, not {type(function).__name__} {function!r}")
    return Compiled(function)


class Compiled:
    """A compiled function. The first call with arguments of a new form makes a program, and later calls use it.

    A call returns what the function returns. ``backward()`` on the result adds to the gradients of the parameters and
    of the Values among the arguments. If a number is not finite, the original function is called, so that errors are
    Python's. It is also called within :func:`micrograd.detect_anomaly`. Threads that call it take turns.

    Raises:
        TraceError: if the function does not build the same graph for all arguments of one form.
        DisagreementError: if a new program does not compute the numbers that Python's floats give.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self._programs: dict[Any, list[_Found]] = {}
        self._lock = threading.RLock()
        _all.add(self)
        self._last: Program | None = None
        self._by_names: dict[tuple[str, ...], Compiled] = {}
        self._attribute = ""
        self.name = getattr(function, "__name__", type(function).__name__)
        update_wrapper(self, function, updated=())  # without the function's attributes, whose names may be ours

    def __repr__(self) -> str:
        return f"<compiled {getattr(self.function, '__qualname__', self.function)!s}>"

    def __reduce__(self) -> tuple[Any, ...]:  # a copy makes programs of its own
        return Compiled, (self.function,)

    def __set_name__(self, owner: type, name: str) -> None:
        self._attribute = name

    def __get__(self, instance: Any, owner: type | None = None) -> Compiled:
        # In a class it is a method: each instance gets a compiled function of its own, kept in an attribute.
        if instance is None:
            return self
        if is_watched():  # a trace must not see a new attribute
            return Compiled(MethodType(self.function, instance))
        key = f"_compiled_{self._attribute}"
        kept = vars(instance).get(key)
        if not kept or kept.compiled.function.__self__ is not instance:
            kept = vars(instance)[key] = _Kept(Compiled(MethodType(self.function, instance)))
        return cast(Compiled, kept.compiled)

    def _call_with_names(self, method: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        # Calls with keywords. Arguments that the function also takes by position are passed by position.
        bound = inspect.signature(self.function).bind(*arguments, **named)
        if not bound.kwargs:
            return getattr(self, method)(*bound.args)
        names = tuple(bound.kwargs)
        if names not in self._by_names:
            self._by_names[names] = Compiled(_take_by_position(self.function, names))
        compiled = self._by_names[names]
        try:
            return getattr(compiled, method)(*bound.args, *bound.kwargs.values())
        finally:
            self._last = compiled._last or self._last

    @property
    def program(self) -> Plan:
        """The listing of the program that ran last. It prints, and its method ``draw()`` draws it.

        Raises:
            ValueError: if no program has run.
        """
        if self._last is None:
            raise ValueError("there is no program yet: call the function first")
        return self._last.plan

    def profile(self, samples: int = 1024) -> Profile:
        """Measures the program that ran last: the time of each instruction, beside the machine's limits.

        Args:
            samples: how many samples there are. One block of them is measured: as many as fit into the cache.

        Raises:
            ValueError: if no program has run, or ``samples`` is less than 1.
        """
        from .profiling import profile

        if not hasattr(samples, "__index__") or samples < 1:
            raise ValueError(f"samples must be a whole number from 1 on, not {samples!r}")
        if self._last is None:
            raise ValueError("there is no program yet: call the function first")
        return profile(self._last, samples)

    def _find_or_make(self, form: Any, arguments: Any, differentiate: str, sums: bool | None) -> _Found | None:
        # Finds or makes the program for arguments of a form. None if the function raises an error for these arguments.
        key = form, differentiate, sums
        found = self._find_kept(key)
        if found is None:
            try:
                found = make_program(self.function, arguments, differentiate, sums)
            except UndefinedError:
                return None
            self._programs[key] = [found, *self._programs.pop(key, [])[:1]]  # two, for a module's two modes
            while len(self._programs) > _KEPT:
                del self._programs[next(iter(self._programs))]
        self._last = found[0]
        return found

    def _find_kept(self, key: Any) -> _Found | None:
        for found in self._programs.get(key, ()):
            if found[1].is_current():
                if self._last is not found[0]:
                    self._last = found[0]
                    self._programs[key] = self._programs.pop(key)  # moves it to the end: it was used last
                return found
        return None

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        if named:
            return self._call_with_names("__call__", arguments, named)
        if is_watched():  # by anomaly detection, or by a trace
            return self._call_eagerly(arguments)[0]
        leaves, form = flatten(arguments)
        found = self._find_or_make(form, arguments, "captured inputs", None)
        if found is None:
            return self._call_eagerly(arguments)[0]
        program, traced = found
        captured = traced.captured
        inputs = [leaf._data if isinstance(leaf, Value) else to_float(leaf) for leaf in leaves]
        with self._lock:
            draws = draw_for([traced.draws], _ONE)[0][0].tolist() if traced.draws else []
            program.capture(captured)
            numbers, is_finite = program.run_one([*inputs, *draws])
            out = numbers.tolist()
        if not is_finite:
            return self._call_eagerly(arguments, draws=draws)[0]
        traced.store(out[1 + traced.count :])
        places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Value)]
        parents = (*captured, *[leaves[i] for i in places])
        count, size, first = traced.count, len(captured) + len(leaves), len(captured)
        results = []
        for which in range(count):
            k = 1 + len(program.plan.outputs) + which * size
            slopes = [*out[k : k + first], *[out[k + first + i] for i in places]]
            again = partial(self._call_again, leaves, form, places, which, draws)
            results.append(_make_node(self.name, out[1 + which], slopes, parents, again, first))
        return results[0] if traced.structure is None else unflatten(traced.structure, iter(results))

    def _call_eagerly(
        self, arguments: Any, make: Callable[[Any], Value] = lift, draws: Sequence[float] | None = None,
        keeps: bool = True,
    ) -> tuple[Any, Any]:  # fmt: skip
        # Calls the function without a program. Returns its result, and the arguments that it got. If ``draws`` are
        # given, they replace the random numbers that the function draws.
        def call(values: Any) -> Any:
            if draws is None and keeps:
                return self.function(*values)
            with watch(Replay(draws or (), keeps)):
                return self.function(*values)

        values = as_values(arguments, make)
        try:
            return call(values), values
        except TypeError:  # a Value can't be an index: pass whole numbers as they are
            values = as_values(arguments, make, but_indexes=True)
            return call(values), values

    def _call_again(
        self, leaves: list[Any], form: Any, places: list[int], which: int, draws: list[float], given: Sequence[Any]
    ) -> Value:
        leaves = leaves.copy()
        for place, value in zip(places, given, strict=True):
            leaves[place] = value
        result = self._call_eagerly(unflatten(form, iter(leaves)), draws=draws, keeps=False)[0]
        return cast(Value, flatten(result, lift)[0][which])

    def batch(self, *arrays: Any, **named: Any) -> Value:
        """Returns the mean of the function over samples, as a Value.

        Args:
            arrays: for each argument a sequence or an array, whose first axis is the sample.
            named: the same for keyword arguments.

        >>> w = Value(1.0)
        >>> out = compile(lambda x: (w * x) ** 2).batch([1.0, 3.0])
        >>> out.backward()
        >>> out.data, w.grad
        (5.0, 10.0)
        """
        if named:
            return cast(Value, self._call_with_names("batch", arrays, named))
        x, form, sample = _read_samples(arrays)
        count = x[0].shape[1]
        found = None if is_watched() else self._find_or_make(form, sample(0), "captured", True)
        if found is None:
            return self._compute_mean(sample, count)
        program, traced = found
        self._require_single(traced, "batch()")
        with self._lock:
            x, draws = _add_draws(x, traced)
            program.capture(traced.captured)
            out, sums, is_finite = program(x)
        if not (is_finite and np.isfinite(sums).all()):
            return self._compute_mean(sample, count, draws)
        for numbers in out[2:].T if traced.stores else ():
            traced.store(numbers.tolist())
        mean, slopes = float(out[1].sum()) / count, (sums / count).tolist()
        parents = tuple(traced.captured)
        again = partial(self._compute_mean, sample, count, draws, False)
        return _make_node(f"mean of {self.name}", mean, slopes, parents, lambda _: again(), len(parents))

    def _compute_mean(
        self, sample: Callable[[int], Any], count: int, draws: list[list[float]] | None = None, keeps: bool = True
    ) -> Value:
        from ..functional import mean

        rows: Sequence[list[float] | None] = draws or [None] * count
        return mean([self._call_eagerly(sample(i), draws=row, keeps=keeps)[0] for i, row in enumerate(rows)])

    def _require_single(self, traced: Trace, where: str) -> None:
        if traced.structure is not None:
            raise TypeError(f"{where} is for functions that give one Value")

    def values(self, *arrays: Any, **named: Any) -> Any:
        """Returns the results of all samples as an array, whose first axis is the sample.

        If the function returns dicts, or lists whose items differ in length, the result is such a dict or list, with an
        array for each item.

        >>> compile(lambda x: x**2).values([1.0, 3.0])
        array([1., 9.])
        """
        if named:
            return cast(Floats, self._call_with_names("values", arrays, named))
        return self._compute_arrays(arrays, "")[0]

    def gradients(self, *arrays: Any, **named: Any) -> Any:
        """Returns the derivatives by each argument at all samples: arrays of the same shapes as the arguments.

        If an argument is a dict, or a list whose items differ in length, so is its derivative, with an array per item.

        >>> compile(lambda x: x**2).gradients([1.0, 3.0])
        array([2., 6.])
        """
        return self.values_and_gradients(*arrays, **named)[1]

    def values_and_gradients(self, *arrays: Any, **named: Any) -> tuple[Any, Any]:
        """Returns what :meth:`values` and :meth:`gradients` return, from one run.

        >>> compile(lambda x, y: x * y).values_and_gradients([2.0], [5.0])
        (array([10.]), (array([5.]), array([2.])))
        """
        if named:
            return cast("tuple[Floats, Any]", self._call_with_names("values_and_gradients", arrays, named))
        values, slopes = self._compute_arrays(arrays, "inputs")
        parts: list[Any] = []
        k = 0
        for array in arrays:
            if isinstance(array, np.ndarray) or not _is_nested(array[0]):
                shape = array.shape if isinstance(array, np.ndarray) else (len(array),)
                size = math.prod(shape[1:])
                parts.append(slopes[k] if len(shape) == 1 else slopes[k : k + size].T.reshape(shape))
            else:
                leaves, form = flatten(array[0])
                size = len(leaves)
                parts.append(_stack(form, find_shape(form), slopes[k : k + size]))
            k += size
        return values, parts[0] if len(parts) == 1 else tuple(parts)

    def foresee(self, samples: Sequence[Any]) -> Callable[[int], Any] | None:
        """Computes the results of a function of one argument for all samples in one run.

        Returns:
            A function that takes a sample's index and returns its result, as Values that compute their gradients on
            demand. None if the function draws random numbers or changes buffers, because each call must do that.
        """
        x, form, sample = _read_samples([samples])
        found = self._find_for_samples(x, form, sample, "")
        traced = found[1]
        if traced.draws or traced.stores:
            return None
        numbers = self._run(found, x, sample, "")[0].T.tolist()
        parents = tuple(traced.captured)

        def give(i: int) -> Any:
            def call(k: int) -> Value:
                return cast(Value, flatten(self.function(samples[i]), lift)[0][k])

            def slopes(k: int) -> list[float]:
                return list(grad(call(k), parents))

            def make(k: int, number: float) -> Value:
                return _make_node(self.name, number, partial(slopes, k), parents, lambda _: call(k), len(parents))

            return unflatten(traced.structure, iter([make(k, number) for k, number in enumerate(numbers[i])]))

        return give

    def _find_for_samples(self, x: _Parts, form: Any, sample: Callable[[int], Any], differentiate: str) -> _Found:
        # Finds the program for samples. If there is none, makes it from the first sample at which the function works.
        found = self._find_kept((form, differentiate, False)) or next(
            filter(None, (self._find_or_make(form, sample(i), differentiate, False) for i in range(x[0].shape[1]))),
            None,
        )
        if found is None:
            self._call_eagerly(sample(0))
            raise TraceError("the function could be called at the samples, but could not be traced at any of them")
        return found

    def _compute_arrays(self, arrays: Sequence[Any], differentiate: str) -> tuple[Any, Floats]:
        x, form, sample = _read_samples(arrays)
        if is_watched():
            rows = [self._compute_one(sample(i), differentiate) for i in range(x[0].shape[1])]
            structure = flatten(self._call_eagerly(sample(0))[0])[1]
            columns = np.array([row[0] for row in rows]).T
            return _stack(structure, find_shape(structure), columns), np.array([row[1] for row in rows]).T
        found = self._find_for_samples(x, form, sample, differentiate)
        traced = found[1]
        if differentiate:
            self._require_single(traced, "gradients()")
        values, slopes = self._run(found, x, sample, differentiate)
        return _stack(traced.structure, traced.shape, values), slopes

    def _run(self, found: _Found, x: _Parts, sample: Callable[[int], Any], differentiate: str) -> tuple[Floats, Floats]:
        # Runs a program. Returns the outputs and the gradients, with a column per sample.
        program, traced = found
        count, lanes = traced.count, x[0].shape[1]
        with self._lock:
            x, draws = _add_draws(x, traced)
            program.capture(traced.captured)
            if lanes == 1:
                out, is_finite = program.run_one(x[0][:, 0] if len(x) == 1 else np.concatenate(x)[:, 0])
                out = out.copy()[:, None]
            else:
                out, _, is_finite = program(x)
        slopes = out[1 + len(program.plan.outputs) :]
        if is_finite and not traced.stores:
            return out[1 : 1 + count], slopes
        bad: Any = () if is_finite else np.flatnonzero(~np.isfinite(out).all(axis=0))
        for i in range(lanes) if traced.stores else bad:
            if is_finite or i not in bad:
                traced.store(out[1 + count : 1 + count + traced.stored_count, i].tolist())
                continue
            values, row = self._compute_one(sample(int(i)), differentiate, draws[i] if draws else None)
            out[1 : 1 + count, i], slopes[:, i] = values, row
        return out[1 : 1 + count], slopes

    def _compute_one(
        self, arguments: Any, differentiate: str, draws: Sequence[float] | None = None
    ) -> tuple[list[float], Sequence[float]]:
        # Computes the outputs and gradients of one sample without a program.
        result, arguments = self._call_eagerly(arguments, Value, draws)
        values = flatten(result, lift)[0]
        inputs = map(lift, flatten(arguments)[0])  # an index becomes a constant, whose gradient is 0
        slopes = grad(values[0], inputs) if differentiate else ()
        return [value.data for value in values], slopes


class _Kept(Hidden):
    # Holds the compiled method of an instance, as one of its attributes. A copy of the instance gets an empty one.

    def __init__(self, compiled: Compiled | None = None) -> None:
        self.compiled = compiled

    def __bool__(self) -> bool:
        return self.compiled is not None

    def __reduce__(self) -> Any:
        return _Kept, ()


def _take_by_position(function: Callable[..., Any], names: tuple[str, ...]) -> Callable[..., Any]:
    @wraps(function)
    def call(*arguments: Any) -> Any:
        plain, named = arguments[: -len(names)], arguments[-len(names) :]
        return function(*plain, **dict(zip(names, named, strict=True)))

    return call


_Slopes = list[float] | Callable[[], list[float]]


class _Call(Rule):
    # The rule of a Value that a compiled call returned. Its local gradients are known numbers. To differentiate them
    # themselves, ``again`` calls the function on Values.

    def __init__(self, name: str, slopes: _Slopes, again: Callable[[Sequence[Any]], Value], captured: int) -> None:
        self.name, self.slopes, self.again, self.captured = name, slopes, again, captured  # the rest: see below

    def forward(self, *operands: Any) -> float:
        return self.again(operands[self.captured :]).data

    def local_of(self, a: list[Any]) -> Any:
        if not a or not isinstance(a[0], Value):
            if callable(self.slopes):
                self.slopes = self.slopes()
            return self.slopes
        # The arguments may depend on each other, and so may captured Values. New leaves replace them while the
        # gradients are computed; afterwards each leaf becomes the Value that it replaced, times 1.
        given, captured = a[self.captured :], a[: self.captured]
        leaves = [Value(x._data) for x in given]
        out = self.again(leaves)
        stands = cut(_list_operations(out, captured), [x for x in captured if x._parents])
        wanted = [*[stands.get(x, x) for x in captured], *leaves]
        slopes = grad(stands.get(out, out), wanted, create_graph=True)
        for leaf, x in [*zip(leaves, given, strict=True), *[(stand, x) for x, stand in stands.items()]]:
            same = x * 1.0
            leaf._parents, leaf.rule, leaf._number = same._parents, same.rule, same._number
        return slopes


def _list_operations(out: Value, leaves: Sequence[Value]) -> list[Value]:
    # Lists the operations of a graph between its output and these leaves.
    seen, waiting = set(leaves), [out]
    made = []
    while waiting:
        node = waiting.pop()
        if node not in seen and node._parents:
            seen.add(node)
            made.append(node)
            waiting += node._parents
    return made


_RULE = Rule("compiled", "*a", "nan", ("node_.rule.local_of(a)",), {})
for _name, _part in {
    **vars(_RULE),
    "pull": staticmethod(_RULE.make_pull()),
    "pull_values": staticmethod(_RULE.pull_values),
}.items():
    setattr(_Call, _name, _part)
_ONE = np.zeros(1, dtype=np.int64)


_Parts = Sequence[Floats]  # the numbers of all samples: arrays with a column per sample, to be stacked vertically


def _add_draws(x: _Parts, traced: Trace) -> tuple[_Parts, list[list[float]] | None]:
    # Draws the random numbers of all samples. Returns the inputs with these as further rows, and a list per sample.
    if not traced.draws:
        return x, None
    draws = draw_for([traced.draws], np.zeros(x[0].shape[1], dtype=np.int64))[0]
    return [*x, np.ascontiguousarray(draws.T)], draws.tolist()


def _make_node(
    name: str, data: float, slopes: _Slopes, parents: tuple[Value, ...], again: Callable[[Sequence[Any]], Value],
    captured: int,
) -> Value:  # fmt: skip
    node = Value(data)
    if parents:
        node._parents, node.rule = parents, _Call(name, slopes, again, captured)
    return node


def _read_samples(arrays: Sequence[Any]) -> tuple[_Parts, Any, Callable[[int], Any]]:
    # Returns the numbers of all samples, the form of a sample, and a function that returns the sample at an index.
    if not arrays:
        raise TypeError("there are no samples: give an array for each argument")
    try:
        lengths = list(map(len, arrays))
    except TypeError:  # a number, or an array without dimensions
        lengths = [0]
    count = lengths[0]
    if count < 1 or lengths.count(count) < len(lengths):
        sized = [hasattr(array, "__len__") and getattr(array, "shape", True) for array in arrays]
        shown = ", ".join(str(len(array)) if it else repr(array) for array, it in zip(arrays, sized, strict=True))
        raise ValueError(
            f"each argument takes a sequence of samples, as many as the others and at least one, not {shown}"
        )

    def sample(i: int) -> Any:
        return tuple([array[i] for array in arrays])

    stacked = stack_columns(arrays)
    if stacked is not None:
        return *stacked, sample
    first = flatten(sample(0))[1]
    lines = []
    for i in range(count):
        numbers, form = flatten(sample(i), _require_plain)
        if form != first:
            raise ValueError(f"sample {i} is of another form than sample 0: {form} and {first}")
        lines.append(numbers)
    return [np.array(lines, dtype=np.float64).reshape(count, -1).T.copy()], first, sample


def stack_columns(columns: Sequence[Any]) -> tuple[_Parts, Any] | None:
    """Returns the numbers of samples, and the form of a sample.

    Args:
        columns: for each argument a sequence of its values, one per sample. There is at least one sample.

    Returns:
        For each argument an array with a row for each of its numbers and a column per sample; and the form. None if the
        forms of samples differ, or are not simple: arrays, floats and ints, and lists and tuples of floats and ints.

    >>> stack_columns([[[1.0, 2.0], [4.0, 5.0]], [3, 6]])
    ([array([[1., 4.],
           [2., 5.]]), array([[3., 6.]])], (<class 'tuple'>, (<class 'list'>, None, None), None))
    """
    parts: list[Floats] = []
    forms: list[Any] = [tuple]
    for column in columns:
        if isinstance(column, np.ndarray) and column.dtype.kind in "fiub":
            is_flat = column.ndim == 1
            forms.append(None if is_flat else (ARRAY, *column.shape[1:]))
            part = column[None] if is_flat else column.reshape(len(column), -1).T
            parts.append(np.ascontiguousarray(part, np.float64))
            continue
        if type(column) in (list, tuple):
            kinds = {*map(type, column)}
            if kinds == {list} or kinds == {tuple}:
                if len({*map(len, column)}) > 1:
                    return None
                forms.append((*kinds, *[None] * len(column[0])))
                kinds = {*map(type, chain.from_iterable(column))}
            else:
                forms.append(None)
            if not kinds <= {float, int}:
                return None
        else:
            return None
        part = np.asarray(column, np.float64).reshape(len(column), -1)
        parts.append(np.ascontiguousarray(part.T))
    return parts, tuple(forms)


def _require_plain(x: Any) -> float:
    if isinstance(x, Value):
        raise TypeError(f"samples are plain numbers, not {x!r}: gradients by Values are for a single call")
    return to_float(x)


def _is_nested(x: Any) -> bool:
    return isinstance(x, (list, tuple, dict)) or hasattr(x, "__array__")


def _stack(form: Any, shape: tuple[int, ...] | None, rows: Floats) -> Any:
    # Turns rows, one per leaf, into an array whose first axis is the sample. A dict, or a list whose items differ in
    # length, becomes such a dict or list of arrays.
    if shape is not None:
        # A single row is returned without a copy: the program does not reuse memory that somebody refers to.
        return np.ascontiguousarray(rows.T).reshape(rows.shape[1], *shape) if shape else rows[0]
    kind, *items = form
    parts, first = [], 0
    for item in items[1::2] if issubclass(kind, dict) else items:
        size = count_leaves(item)
        shape = find_shape(item) if item is None or item[0] is ARRAY else None
        parts.append(_stack(item, shape, rows[first : first + size]))
        first += size
    return build(kind, dict(zip(items[::2], parts, strict=True)) if issubclass(kind, dict) else parts)


def _make_locks() -> None:
    for compiled in list(_all):
        compiled._lock = threading.RLock()


if hasattr(os, "register_at_fork"):  # a lock may be held by a thread that the child process does not have
    os.register_at_fork(after_in_child=_make_locks)
