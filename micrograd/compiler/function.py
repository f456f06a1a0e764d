"""Compiled functions: the same scalar graph, at machine speed.

:func:`compile` calls a function once on Values in place of its arguments, and turns the graph that it makes, its
gradients included, into machine code. Nothing else changes: what comes back is a ``Value``.

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

__all__ = ["Compiled", "compile", "stack_samples"]

_all: weakref.WeakSet[Compiled] = weakref.WeakSet()
_KEPT = 64  # programs, of as many forms of arguments: those that were used last


def compile(function: Callable[..., Any]) -> Compiled:  # noqa: A001
    """The function, compiled; see :class:`Compiled`.

    Args:
        function: takes numbers and Values, alone or in lists, tuples, dicts and arrays, and gives a Value, or Values in
            lists, tuples and dicts. It may use other Values, its parameters. Each call must build the same graph for
            arguments of the same form: it does not branch on a Value, or read ``.data``. It may draw random numbers by
            :func:`micrograd.functional.random` and ``normal``, as ``nn.Dropout`` does: they are drawn for each run of
            the program. What it reads elsewhere (variables, attributes, lists, dicts, sets, arrays below a megabyte)
            may change between calls: then another program is made, except for the data of Values, which a program reads
            each time. It must not change any of this itself.

    Raises:
        TypeError: if it is not a function.

    It compiles methods too; each instance has programs of its own, and keeps them:

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
    """A compiled function. A program is made when it is first called with arguments of a new form, and kept.

    Called, it gives what the function gives; ``backward()`` adds to the gradients of its parameters, and of the Values
    among the arguments. Where a number is not finite, the function is called itself, so that its errors are Python's;
    so it is within :func:`micrograd.detect_anomaly`. Threads that call it take turns.

    Raises:
        TraceError: if the function does not build the same graph for all arguments of one form.
        DisagreementError: if a program does not compute what Python's floats do, which is tried when it is made.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self._programs: dict[Any, list[tuple[Program, Trace]]] = {}
        self._lock = threading.RLock()
        _all.add(self)
        self._last: Program | None = None
        self._by_names: dict[tuple[str, ...], Compiled] = {}
        self._attribute = ""
        self.name = getattr(function, "__name__", type(function).__name__)
        update_wrapper(self, function, updated=())  # its attributes may have the names of ours

    def __repr__(self) -> str:
        return f"<compiled {getattr(self.function, '__qualname__', self.function)!s}>"

    def __reduce__(self) -> tuple[Any, ...]:  # a copy makes programs of its own
        return Compiled, (self.function,)

    def __set_name__(self, owner: type, name: str) -> None:
        self._attribute = name

    def __get__(self, instance: Any, owner: type | None = None) -> Compiled:
        # As an attribute of a class it is a method: each instance has programs of its own.
        if instance is None:
            return self
        if is_watched():  # whoever watches sees no new attribute
            return Compiled(MethodType(self.function, instance))
        key = f"_compiled_{self._attribute}"
        kept = vars(instance).get(key)
        if not kept or kept.compiled.function.__self__ is not instance:
            kept = vars(instance)[key] = _Kept(Compiled(MethodType(self.function, instance)))
        return cast(Compiled, kept.compiled)

    def _with_names(self, method: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        # A call with keywords. Those that the function also takes by position are given by position.
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
        """The listing of the program that ran last: it prints, and ``draw()`` draws it.

        Raises:
            ValueError: if none has run.
        """
        if self._last is None:
            raise ValueError("there is no program yet: call the function first")
        return self._last.plan

    def profile(self, samples: int = 1024) -> Profile:
        """Where the time goes in the program that ran last, in a block of these samples, beside the machine's limits.

        A block has as many of the samples as stay in the processor's cache.

        Raises:
            ValueError: if none has run, or there is no sample.
        """
        from .profiling import profile

        if not hasattr(samples, "__index__") or samples < 1:
            raise ValueError(f"samples must be a whole number from 1 on, not {samples!r}")
        if self._last is None:
            raise ValueError("there is no program yet: call the function first")
        return profile(self._last, samples)

    def _of(self, form: Any, arguments: Any, differentiate: str, sums: bool | None) -> tuple[Program, Trace] | None:
        # The program for arguments of a form; None if these are such that the function fails.
        key = form, differentiate, sums
        found = self._kept(key)
        if found is None:
            try:
                found = make_program(self.function, arguments, differentiate, sums)
            except UndefinedError:
                return None
            self._programs[key] = [found, *self._programs.pop(key, [])[:1]]  # a module may go back to its other mode
            while len(self._programs) > _KEPT:
                del self._programs[next(iter(self._programs))]
        self._last = found[0]
        return found

    def _kept(self, key: Any) -> tuple[Program, Trace] | None:
        for found in self._programs.get(key, ()):
            if found[1].is_current():
                if self._last is not found[0]:
                    self._last = found[0]
                    self._programs[key] = self._programs.pop(key)  # the one that was used last is the last one
                return found
        return None

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        if named:
            return self._with_names("__call__", arguments, named)
        if is_watched():  # which it is in a trace, too
            return self._eagerly(arguments)[0]
        leaves, form = flatten(arguments)
        found = self._of(form, arguments, "captured inputs", None)
        if found is None:
            return self._eagerly(arguments)[0]
        program, traced = found
        captured = traced.captured
        inputs = [leaf._data if isinstance(leaf, Value) else to_float(leaf) for leaf in leaves]
        with self._lock:
            draws = draw_for([traced.draws], _ONE)[0][0].tolist() if traced.draws else []
            program.capture(captured)
            numbers, is_finite = program.one([*inputs, *draws])
            out = numbers.tolist()
        if not is_finite:
            return self._eagerly(arguments, draws=draws)[0]
        traced.store(out[1 + traced.count :])
        places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Value)]
        parents = (*captured, *[leaves[i] for i in places])
        count, size, first = traced.count, len(captured) + len(leaves), len(captured)
        results = []
        for which in range(count):
            k = 1 + len(program.plan.outputs) + which * size
            slopes = [*out[k : k + first], *[out[k + first + i] for i in places]]
            again = partial(self._again, leaves, form, places, which, draws)
            results.append(_node(self.name, out[1 + which], slopes, parents, again, first))
        return results[0] if traced.structure is None else unflatten(traced.structure, iter(results))

    def _eagerly(
        self, arguments: Any, make: Callable[[Any], Value] = lift, draws: Sequence[float] | None = None,
        keeps: bool = True,
    ) -> tuple[Any, Any]:  # fmt: skip
        # What the function gives without a program, and the arguments as it got them. It takes the random numbers that
        # were drawn for it, if they were.
        def call(values: Any) -> Any:
            if draws is None and keeps:
                return self.function(*values)
            with watch(Replay(draws or (), keeps)):
                return self.function(*values)

        values = as_values(arguments, make)
        try:
            return call(values), values
        except TypeError:  # a whole number may be an index, which a Value can't be
            values = as_values(arguments, make, but_indexes=True)
            return call(values), values

    def _again(
        self, leaves: list[Any], form: Any, places: list[int], which: int, draws: list[float], given: Sequence[Any]
    ) -> Value:
        leaves = leaves.copy()
        for place, value in zip(places, given, strict=True):
            leaves[place] = value
        result = self._eagerly(unflatten(form, iter(leaves)), draws=draws, keeps=False)[0]
        return cast(Value, flatten(result, lift)[0][which])

    def batch(self, *arrays: Any, **named: Any) -> Value:
        """The mean of the function over samples, a Value.

        Args:
            arrays: for each argument a sequence or an array, whose first axis is that of the samples.
            named: the same for arguments that are given by name.

        >>> w = Value(1.0)
        >>> out = compile(lambda x: (w * x) ** 2).batch([1.0, 3.0])
        >>> out.backward()
        >>> out.data, w.grad
        (5.0, 10.0)
        """
        if named:
            return cast(Value, self._with_names("batch", arrays, named))
        x, form, sample = _samples(arrays)
        count = x[0].shape[1]
        found = None if is_watched() else self._of(form, sample(0), "captured", True)
        if found is None:
            return self._mean(sample, count)
        program, traced = found
        self._single(traced, "batch()")
        with self._lock:
            x, draws = _with_draws(x, traced)
            program.capture(traced.captured)
            out, sums, is_finite = program(x)
        if not (is_finite and np.isfinite(sums).all()):
            return self._mean(sample, count, draws)
        for numbers in out[2:].T if traced.stores else ():
            traced.store(numbers.tolist())
        mean, slopes = float(out[1].sum()) / count, (sums / count).tolist()
        parents = tuple(traced.captured)
        again = partial(self._mean, sample, count, draws, False)
        return _node(f"mean of {self.name}", mean, slopes, parents, lambda _: again(), len(parents))

    def _mean(
        self, sample: Callable[[int], Any], count: int, draws: list[list[float]] | None = None, keeps: bool = True
    ) -> Value:
        from ..functional import mean

        rows: Sequence[list[float] | None] = draws or [None] * count
        return mean([self._eagerly(sample(i), draws=row, keeps=keeps)[0] for i, row in enumerate(rows)])

    def _single(self, traced: Trace, where: str) -> None:
        if traced.structure is not None:
            raise TypeError(f"{where} is for functions that give one Value")

    def values(self, *arrays: Any, **named: Any) -> Any:
        """What the function gives for each sample: an array, of which the first axis is that of the samples.

        Of dicts, and of lists whose items differ in length, it is such dicts and lists, of an array each.

        >>> compile(lambda x: x**2).values([1.0, 3.0])
        array([1., 9.])
        """
        if named:
            return cast(Floats, self._with_names("values", arrays, named))
        return self._arrays(arrays, "")[0]

    def gradients(self, *arrays: Any, **named: Any) -> Any:
        """The function's derivatives by its arguments for each sample: for each argument an array formed as it is.

        Those of dicts, and of lists whose items differ in length, are such dicts and lists, of an array each.

        >>> compile(lambda x: x**2).gradients([1.0, 3.0])
        array([2., 6.])
        """
        return self.values_and_gradients(*arrays, **named)[1]

    def values_and_gradients(self, *arrays: Any, **named: Any) -> tuple[Any, Any]:
        """Both at once.

        >>> compile(lambda x, y: x * y).values_and_gradients([2.0], [5.0])
        (array([10.]), (array([5.]), array([2.])))
        """
        if named:
            return cast("tuple[Floats, Any]", self._with_names("values_and_gradients", arrays, named))
        values, slopes = self._arrays(arrays, "inputs")
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
        """What a function of one argument gives for each sample, computed at once.

        Returns:
            A function of the sample's index; its Values compute their gradients when somebody asks for them. None if
            the function draws random numbers, or changes buffers of modules, which belongs to each call.
        """
        x, form, sample = _samples([samples])
        found = self._find(x, form, sample, "")
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
                return _node(self.name, number, partial(slopes, k), parents, lambda _: call(k), len(parents))

            return unflatten(traced.structure, iter([make(k, number) for k, number in enumerate(numbers[i])]))

        return give

    def _find(self, x: _Parts, form: Any, sample: Callable[[int], Any], differentiate: str) -> tuple[Program, Trace]:
        # The program for samples, made of the first one for which the function does not fail.
        found = self._kept((form, differentiate, False)) or next(
            filter(None, (self._of(form, sample(i), differentiate, False) for i in range(x[0].shape[1]))), None
        )
        if found is None:
            self._eagerly(sample(0))
            raise TraceError("the function could be called, and not be traced, at any of the samples")
        return found

    def _arrays(self, arrays: Sequence[Any], differentiate: str) -> tuple[Any, Floats]:
        x, form, sample = _samples(arrays)
        if is_watched():
            rows = [self._row(sample(i), differentiate) for i in range(x[0].shape[1])]
            structure = flatten(self._eagerly(sample(0))[0])[1]
            columns = np.array([row[0] for row in rows]).T
            return _stack(structure, find_shape(structure), columns), np.array([row[1] for row in rows]).T
        found = self._find(x, form, sample, differentiate)
        traced = found[1]
        if differentiate:
            self._single(traced, "gradients()")
        values, slopes = self._run(found, x, sample, differentiate)
        return _stack(traced.structure, traced.shape, values), slopes

    def _run(
        self, found: tuple[Program, Trace], x: _Parts, sample: Callable[[int], Any], differentiate: str
    ) -> tuple[Floats, Floats]:
        # The outputs and the gradients of all samples, a row each.
        program, traced = found
        count, lanes = traced.count, x[0].shape[1]
        with self._lock:
            x, draws = _with_draws(x, traced)
            program.capture(traced.captured)
            if lanes == 1:
                out, is_finite = program.one(x[0][:, 0] if len(x) == 1 else np.concatenate(x)[:, 0])
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
            values, row = self._row(sample(int(i)), differentiate, draws[i] if draws else None)
            out[1 : 1 + count, i], slopes[:, i] = values, row
        return out[1 : 1 + count], slopes

    def _row(
        self, arguments: Any, differentiate: str, draws: Sequence[float] | None = None
    ) -> tuple[list[float], Sequence[float]]:
        # What a program gives for a sample, without one.
        result, arguments = self._eagerly(arguments, Value, draws)
        values = flatten(result, lift)[0]
        inputs = map(lift, flatten(arguments)[0])  # indexes among them are constants
        slopes = grad(values[0], inputs) if differentiate else ()
        return [value.data for value in values], slopes


class _Kept(Hidden):
    # The compiled method of an instance, in a place of the instance's own. A copy of the instance makes its own.

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
    # What made the Value that a call gave: its local gradients are known. Where they are to be differentiated
    # themselves, the function is called again, as a graph.

    def __init__(self, name: str, slopes: _Slopes, again: Callable[[Sequence[Any]], Value], captured: int) -> None:
        self.name, self.slopes, self.again, self.captured = name, slopes, again, captured  # the rest: see below

    def forward(self, *operands: Any) -> float:
        return self.again(operands[self.captured :]).data

    def local_of(self, a: list[Any]) -> Any:
        if not a or not isinstance(a[0], Value):
            if callable(self.slopes):
                self.slopes = self.slopes()
            return self.slopes
        # By leaves in place of the arguments, which may be made of each other; afterwards they are what they stand for.
        # So are the captured Values that are made of others.
        given, captured = a[self.captured :], a[: self.captured]
        leaves = [Value(x._data) for x in given]
        out = self.again(leaves)
        stands = cut(_made(out, captured), [x for x in captured if x._parents])
        wanted = [*[stands.get(x, x) for x in captured], *leaves]
        slopes = grad(stands.get(out, out), wanted, create_graph=True)
        for leaf, x in [*zip(leaves, given, strict=True), *[(stand, x) for x, stand in stands.items()]]:
            same = x * 1.0
            leaf._parents, leaf.rule, leaf._number = same._parents, same.rule, same._number
        return slopes


def _made(out: Value, leaves: Sequence[Value]) -> list[Value]:
    # The operations of a graph down to these leaves.
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


_Parts = Sequence[Floats]  # the numbers of all samples: arrays, one below the other, with a column for each sample


def _with_draws(x: _Parts, traced: Trace) -> tuple[_Parts, list[list[float]] | None]:
    # The inputs of all samples, with the random numbers that are drawn for them; these also as a list for each sample.
    if not traced.draws:
        return x, None
    draws = draw_for([traced.draws], np.zeros(x[0].shape[1], dtype=np.int64))[0]
    return [*x, np.ascontiguousarray(draws.T)], draws.tolist()


def _node(
    name: str, data: float, slopes: _Slopes, parents: tuple[Value, ...], again: Callable[[Sequence[Any]], Value],
    captured: int,
) -> Value:  # fmt: skip
    node = Value(data)
    if parents:
        node._parents, node.rule = parents, _Call(name, slopes, again, captured)
    return node


def _samples(arrays: Sequence[Any]) -> tuple[_Parts, Any, Callable[[int], Any]]:
    # The numbers of all samples; the form of one; and a function that gives one.
    if not arrays:
        raise TypeError("there are no samples: give an array for each argument")
    try:
        lengths = list(map(len, arrays))
    except TypeError:  # of a number, or an array without dimensions
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

    if all(map(_is_plain, arrays)):
        forms: list[Any] = [tuple]
        parts = []
        for array in arrays:
            is_flat = array.ndim == 1
            forms.append(None if is_flat else (ARRAY, *array.shape[1:]))
            part = array[None] if is_flat else array.reshape(count, -1).T
            parts.append(np.ascontiguousarray(part, np.float64))
        return parts, tuple(forms), sample
    stacked = stack_samples(list(zip(*arrays, strict=True)))
    if stacked is not None:
        return [np.ascontiguousarray(stacked[0].T)], stacked[1], sample
    first = flatten(sample(0))[1]
    lines = []
    for i in range(count):
        numbers, form = flatten(sample(i), _plain)
        if form != first:
            raise ValueError(f"sample {i} is of another form than sample 0: {form} and {first}")
        lines.append(numbers)
    return [np.array(lines, dtype=np.float64).reshape(count, -1).T.copy()], first, sample


def stack_samples(samples: Sequence[tuple[Any, ...]]) -> tuple[Floats, Any] | None:
    """The numbers of samples, a row each, and the form that they all have.

    None if their forms differ, or are not simple: a sample has floats and ints, alone and in lists and tuples.

    >>> stack_samples([([1.0, 2.0], 3), ([4.0, 5.0], 6)])
    (array([[1., 2., 3.],
           [4., 5., 6.]]), (<class 'tuple'>, (<class 'list'>, None, None), None))
    """
    forms: list[Any] = [tuple]
    parts = []
    for column in zip(*samples, strict=True) if len({*map(len, samples)}) == 1 else ():
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
        parts.append(np.array(column, np.float64).reshape(len(samples), -1))
    return (np.concatenate(parts, axis=1), tuple(forms)) if parts else None


def _is_plain(array: Any) -> bool:
    return isinstance(array, np.ndarray) and array.dtype.kind in "fiub"


def _plain(x: Any) -> float:
    if isinstance(x, Value):
        raise TypeError(f"samples are plain numbers, not {x!r}: gradients by Values are for a single call")
    return to_float(x)


def _is_nested(x: Any) -> bool:
    return isinstance(x, (list, tuple, dict)) or hasattr(x, "__array__")


def _stack(form: Any, shape: tuple[int, ...] | None, rows: Floats) -> Any:
    # Rows, of one leaf of all samples each, as an array whose first axis is that of the samples. Dicts, and lists whose
    # items differ in length, stay what they are: of an array each.
    if shape is not None:
        # A row is not copied: the program leaves its memory alone while somebody has it.
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


if hasattr(os, "register_at_fork"):  # a child has none of the other threads, one of which may hold a lock
    os.register_at_fork(after_in_child=_make_locks)
