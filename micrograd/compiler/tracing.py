"""The first stage: call the function once on Values in place of its arguments, and record the graph that it makes.

The arguments' numbers are those of one sample, so each node of the trace holds the number that Python's floats give for
it. If the function reads such a number, or branches on it, its program would repeat this sample's choice for all
samples. Such a function is refused.
"""

from __future__ import annotations

import copy
import math
import operator
import random
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain, islice
from typing import Any, NoReturn

from .. import rules
from ..arguments import to_float
from ..engine import Number, Value, lift, operation, run_chain_rule
from ..randomness import Kind
from ..rule import FLOATS, Rule
from ..watching import Watcher, find_watcher, watch, watchers
from .draws import Draw
from .gather import Choices, TraceError, find_choices, gather
from .surroundings import Surroundings

__all__ = [
    "ARRAY",
    "Trace",
    "TraceError",
    "Traced",
    "as_values",
    "build",
    "combine",
    "count_leaves",
    "cut",
    "find_shape",
    "flatten",
    "is_watched",
    "record",
    "refuse_draws",
    "trace",
    "unflatten",
]


# Operations that only traces have: comparisons, a choice between two Values, and a check of an index.
_LESS = Rule("less", "a, b", "1.0 if a < b else 0.0", ("0.0", "0.0"), {})
_LESS_EQUAL = Rule("less_equal", "a, b", "1.0 if a <= b else 0.0", ("0.0", "0.0"), {})
WHERE = Rule("where", "c, a, b", "a if c > 0 else b", ("0.0", "c", "1 - c"), {})
_INDEX = Rule("index", "i, count", "index_(i, count)", ("0.0", "0.0"), {})
_EQUAL = Rule("equal", "a, b", "1.0 if a == b else 0.0", ("0.0", "0.0"), {})


_MOST = 16  # operands of one operation


def combine(name: str, values: Sequence[Value], function: str) -> Value:
    """Applies a function such as ``max`` to a list, by nodes of at most 16 operands. Their gradients are 0.

    Args:
        name: the name of the nodes' rule.
        values: the list, with at least one Value.
        function: the function's name in the texts of rules. It is applied to parts of the list, then to their results.
    """
    while len(values) > 1:
        parts = [values[i : i + _MOST] for i in range(0, len(values), _MOST)]
        values = [operation(_make_rule(name, len(part), function))(*part) for part in parts]
    return values[0]


@cache
def _make_rule(name: str, count: int, function: str) -> Rule:
    operands = ", ".join([f"a{i}" for i in range(count)])
    return Rule(name, operands, f"{function}([{operands}])", ("0.0",) * count, {})


def _checked_index(i: float, count: float) -> float:
    if not 0 <= i < count or i != int(i):
        raise ValueError(f"an index of one of {count:.0f} is a whole number from 0 to {count - 1:.0f}, not {i}")
    return i


FLOATS["index_"] = _checked_index


def _refuse(what: str) -> NoReturn:
    raise TraceError(
        f"{what} in a function that is being compiled, and would be the same for all its arguments: use relu(), "
        "maximum(), minimum() or where(x > 0, a, b) of micrograd.functional instead of branching on a Value, "
        "operations of Values instead of their .data, and grad(…, create_graph=True) instead of backward() and .grad"
    )


class Traced(Value):
    """A node of a trace. Its number is known only when the program runs, so reading it is an error."""

    __slots__ = ()

    @property
    def data(self) -> float:
        _refuse("the data of a Value are read")

    @data.setter
    def data(self, number: float) -> None:
        _refuse("the data of a Value are set")

    def __bool__(self) -> NoReturn:
        _refuse("a Value decides what is done")

    def __float__(self) -> NoReturn:
        _refuse("a Value is turned into a float")

    def __eq__(self, other: object) -> bool:
        return self is other or _refuse("a Value is compared by == or !=")

    __hash__ = Value.__hash__

    def __index__(self) -> int:
        watcher = find_watcher()
        if not isinstance(watcher, Tracing) or self._data != self._data // 1:
            _refuse("a Value is used as an index")
        watcher.indexed[self] = None
        return int(self._data)

    __int__ = __index__  # type: ignore[assignment]

    def _choose(self, a: Number, b: Number) -> Value:
        return operation(WHERE)(self, lift(a), lift(b))

    def _one_hot(self, classes: int) -> list[Value]:
        index = operation(_INDEX)(self, lift(float(classes)))
        return [operation(_EQUAL)(index, lift(float(k))) for k in range(classes)]


def is_watched() -> bool:
    """Whether somebody watches this thread, as :func:`micrograd.detect_anomaly` and traces do."""
    watcher = find_watcher() if watchers else None
    return watcher is not None and not watcher.is_silent


class Tracing(Watcher):
    """Records the nodes that this thread makes. Reading a number that the program would freeze is an error.

    Attributes:
        made: the nodes, in order.
        draws: by leaf, the random number that it stands for.
        indexed: the Values that were used as an index.
        kept: functions that the program calls after each run, and the Values whose numbers it passes to them.
        leaves: the leaves of the graph, while the chain rule runs.
        rows: for each dot product with leaves on one side: the product, that side, and its upstream gradient. They
            stand for the factors that these leaves would collect.
    """

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.made: list[Value] = []
        self.draws: dict[Value, Draw] = {}
        self.indexed: dict[Value, None] = {}
        self.kept: list[tuple[Callable[..., object], Sequence[Value]]] = []
        self.leaves: frozenset[Value] = frozenset()
        self.rows: list[tuple[Value, slice, Number]] = []
        self._looked: dict[int, Any] = {}
        self._followed: set[int] = set()  # modules whose buffers the program reads and changes itself
        self._rng = random.Random(0)

    @property
    def modes(self) -> list[Mode]:
        """The modules whose ``training`` was read, each with its state."""
        named = [(module, () if key in self._followed else module.buffers) for key, module in self._looked.items()]
        return [(module, names, _mode(module, names)) for module, names in named]

    def make(self) -> Value:
        node: Value = object.__new__(Traced)
        self.made.append(node)
        return node

    def spread(self, node: Value, local: Sequence[Number], upstream: Number) -> None:
        parents, half = node._parents, len(node._parents) // 2
        if not self.leaves or node.rule is not rules.dot:
            super().spread(node, local, upstream)
            return
        for side in (slice(half), slice(half, None)):
            if self.leaves.issuperset(parents[side]):  # the weights of a layer, or its inputs
                self.rows.append((node, side, upstream))
            else:
                for parent, slope in zip(parents[side], local[side], strict=True):
                    parent._grad += slope, upstream  # type: ignore[operator]

    def look(self, owner: Any, attribute: str, how: str) -> None:
        if attribute == "training":
            self._looked[id(owner)] = owner
        elif attribute == "backward":
            _refuse("grad() without create_graph=True or backward() is called")
        elif attribute == "grad":
            _refuse(f"the gradient of a Value is {how}")
        elif owner.rule is rules.leaf or how == "set":
            _refuse(f"the data of a parameter are {how}")

    def compare(self, compare: Callable[[Any, Any], bool], a: Value, b: Number) -> Any:
        if _is_constant(a) and (not isinstance(b, Value) or _is_constant(b)):
            return super().compare(compare, a, b)
        if compare in (operator.gt, operator.ge):
            return operation(_LESS if compare is operator.gt else _LESS_EQUAL)(lift(b), a)
        return operation(_LESS if compare is operator.lt else _LESS_EQUAL)(a, lift(b))

    def draw(self, kind: Kind, rng: Any) -> Value:
        # Any number will do for a trace, so the function's own generator is not used.
        owner = getattr(rng.random, "__self__", None)
        leaf = Traced(kind.draw(self._rng))
        self.draws[leaf] = kind, owner if isinstance(owner, random.Random) else rng
        return leaf

    def keep(self, module: Any, store: Callable[..., object], values: Sequence[Value]) -> bool:
        self._followed.add(id(module))
        self.kept.append((store, values))
        return True

    def read_buffer(self, module: Any, name: str) -> list[Value]:
        self._followed.add(id(module))
        leaves = _buffered.setdefault(module, {})
        count = len(getattr(module, name))
        return [leaves.setdefault((name, i), Buffered(module, name, i)) for i in range(count)]

    def find_largest(self, values: Sequence[Value]) -> Value:
        return combine("largest", values, "max")


class Buffered(Value):
    """A number in a module's buffer. The program reads it at each run."""

    __slots__ = ("_place",)

    def __init__(self, module: Any, name: str, i: int) -> None:
        self._place = weakref.ref(module), name, i
        self._grad, self._parents, self.rule, self._label = 0.0, (), rules.leaf, ""

    @property
    def _data(self) -> float:  # type: ignore[override]
        module, name, i = self._place
        return float(getattr(module(), name)[i])


_buffered: weakref.WeakKeyDictionary[Any, dict[tuple[str, int], Buffered]] = weakref.WeakKeyDictionary()


Mode = tuple[Any, Sequence[str], Any]
"""A module, the names of the buffers that are part of its state, and the state."""


def _mode(module: Any, names: Sequence[str]) -> Any:
    # The state of a module besides its parameters: whether it is in training, and its buffers.
    return vars(module).get("training"), [copy.copy(getattr(module, name, None)) for name in names]


@contextmanager
def refuse_draws(surroundings: Surroundings) -> Iterator[None]:
    """Checks that no random numbers are drawn within the block; otherwise it restores the generators' states.

    Raises:
        TraceError: if numbers are drawn.
    """
    before: list[tuple[Callable[[], Any], Callable[[Any], object], Any]] = []
    for owner in surroundings.generators:
        if isinstance(owner, random.Random) and not isinstance(owner, random.SystemRandom):
            before.append((owner.getstate, owner.setstate, owner.getstate()))
        elif hasattr(owner, "bit_generator"):  # NumPy's
            bits = owner.bit_generator
            before.append((partial(getattr, bits, "state"), partial(setattr, bits, "state"), bits.state))
    has_drawn = False
    try:
        yield
    finally:
        for read, write, state in before:
            if repr(read()) != repr(state):
                has_drawn = True
                write(state)
    if has_drawn:
        raise TraceError(
            "the function draws random numbers, which would be the same each time that its program runs: draw them by "
            "micrograd.functional.random() or normal()"
        )


@dataclass(eq=False, repr=False)
class Trace:
    """The graph of a call of the function, with that of its gradients.

    Attributes:
        inputs: a leaf for each number among the arguments, in order.
        outputs: the Values that the function returned, as a flat list.
        structure: the form of its result, as :func:`flatten` gives it.
        nodes: all operations, parents before children; those of the gradients come last.
        forward: the number of operations that do not belong to gradients.
        captured: the Values that the function reads besides its arguments: the parameters.
        gradients: for each output, the derivatives by the wanted leaves. A derivative is a sum of products of two
            factors, and is given as the flat list of all its factors.
        rows: further such products, for leaves that are one side of a dot product: the output's index, the dot
            product, the side of the leaves, and the upstream gradient. Each leaf's derivative gets the product of the
            upstream gradient and of the leaf's partner on the other side.
        wanted: the indexes of the leaves by which derivatives are wanted, among the captured Values and the inputs.
        modes: the modules whose ``training`` was read, each with its state.
        stands: by captured Value, its stand-in: a leaf of this graph alone, as other threads may use the Value.
        surroundings: what the function can reach besides its arguments, in the state in which it was traced.
        draws: for each random number that the function draws, its kind and its generator.
        drawn: for each of them, its leaf.
        stores: functions to call after each run of the program, and how many numbers each takes.
        stored: the Values of these numbers, which are further outputs of the program.
        count: the number of outputs.
        is_constant: whether all outputs are plain numbers.
        shape: the shape of the array that a sample's outputs form; None if they form no array.
    """

    inputs: list[Value]
    outputs: list[Value]
    structure: Any
    nodes: list[Value]
    forward: int
    captured: list[Value]
    gradients: list[list[Number]]
    rows: list[tuple[int, Value, slice, Number]]
    wanted: range
    modes: list[Mode]
    stands: dict[Value, Value]
    draws: list[Draw]
    drawn: list[Value]
    stores: list[tuple[Callable[..., object], int]]
    stored: list[Value]
    surroundings: Surroundings | None = None

    def __post_init__(self) -> None:
        self.shape, self.count = find_shape(self.structure), len(self.outputs)
        self.is_constant = all(map(_is_constant, self.outputs))

    def release(self) -> None:
        """Frees the graph. What the function needs at each run remains."""
        self.stands.clear()
        for values in (self.inputs, self.outputs, self.nodes, self.gradients, self.rows, self.drawn, self.stored):
            values.clear()

    @property
    def stored_count(self) -> int:
        """The number of further outputs, which are stored."""
        return sum([count for _, count in self.stores])

    def store(self, numbers: Sequence[float]) -> None:
        """Changes the modules' buffers after a run, whose further outputs are ``numbers``."""
        rest = iter(numbers)
        for store, count in self.stores:
            store(*islice(rest, count))

    def is_current(self) -> bool:
        """Whether everything that the function reads is still in the state in which it was traced."""
        if self.surroundings is not None and not self.surroundings.is_current():
            return False
        return not self.modes or all(_mode(module, names) == mode for module, names, mode in self.modes)


@dataclass(eq=False, repr=False)
class Call:
    """A call of the function on Values.

    Attributes:
        given: the arguments.
        inputs: a leaf for each number among the arguments, in order.
        tracing: the record of what the function did.
        outputs: the Values that it returned, as a flat list.
        structure: the form of its result.
        choices: what it read at indexes.
    """

    given: Any
    inputs: list[Value]
    tracing: Tracing
    outputs: list[Value]
    structure: Any
    choices: Choices | None = None

    def find_operands(self) -> dict[Value, None]:
        """The parents of all operations, the outputs and the stored Values: each once, in order."""
        tracing = self.tracing
        stored = chain.from_iterable([values for _, values in tracing.kept])
        parents = chain.from_iterable(map(operator.attrgetter("_parents"), tracing.made))
        return dict.fromkeys(chain(parents, self.outputs, stored))


def record(function: Callable[..., Any], arguments: Any, choices: Choices | None = None) -> Call:
    """Calls the function on Values in place of the numbers in its arguments.

    Args:
        function: takes and returns Values, numbers, or lists, tuples and dicts of them.
        arguments: a tuple of arguments, with numbers in them.
        choices: what the function reads at indexes, if it is known from another call.

    Raises:
        TraceError: if the function branches on a Value or reads its data.
    """
    call = _call(function, arguments)
    if call.tracing.indexed:
        call.choices = choices or find_choices(function, call, partial(_call, function, arguments))
        with watch(call.tracing):
            gather(call, call.choices)
        _finish(call.tracing.made)
    return call


def trace(call: Call, differentiate: str = "", order: Sequence[Value] = (), again: Call | None = None) -> Trace:
    """Adds the graph of the gradients to the graph of a call.

    Args:
        call: the result of :func:`record`.
        differentiate: ``"captured"``, ``"inputs"``, both, or nothing.
        order: Values that come first among the captured ones, in this order, even if the function reads none of them.
        again: a second call. A leaf that only one of the calls reads was made by the function: it is a constant.

    Raises:
        TraceError: if the gradient of an operation can't be computed without its number.
    """
    inputs, outputs, tracing = call.inputs, call.outputs, call.tracing
    made, forward = tracing.made, len(tracing.made)
    with watch(tracing):
        known = {*inputs, *tracing.draws, *made}
        known |= {*order}
        found = [x for x in call.find_operands() if x not in known and not _is_constant(x)]
        kept = again.find_operands() if again and found else found
        captured = [*dict.fromkeys(order), *[x for x in found if x in kept]]
        stands = cut(made, captured) if differentiate else {}
        stored = [value for _, values in tracing.kept for value in values]
        outputs, stored = ([stands.get(out, out) for out in outs] for outs in (outputs, stored))
        first, end = 0 if "captured" in differentiate else len(captured), len(captured)
        wanted = range(first, end + len(inputs) if "inputs" in differentiate else end)
        gradients: list[list[Number]] = []
        rows: list[tuple[int, Value, slice, Number]] = []
        if wanted:
            leaves = [*[stands.get(x, x) for x in captured], *inputs]
            tracing.leaves = frozenset([*leaves, *tracing.draws])
            for i, out in enumerate(outputs):
                arriving = run_chain_rule(out, leaves[wanted.start : wanted.stop], lambda factors: factors)
                gradients += [factors if isinstance(factors, list) else [1.0, factors] for factors in arriving]
                rows += [(i, *row) for row in tracing.rows]
                tracing.rows.clear()
            _finish(made)
    draws, drawn = list(tracing.draws.values()), list(tracing.draws)
    stores = [(store, len(values)) for store, values in tracing.kept]
    return Trace(
        inputs, outputs, call.structure, made, forward, captured, gradients, rows, wanted, tracing.modes, stands,
        draws, drawn, stores, stored,
    )  # fmt: skip


def _call(function: Callable[..., Any], arguments: Any, others: dict[int, float] | None = None) -> Call:
    # Calls the function; ``others`` replace numbers of the arguments, by their index.
    inputs: list[Value] = []

    def placeholder(number: Any) -> Value:
        own = to_float(number._data if isinstance(number, Value) else number)
        inputs.append(Traced(others.get(len(inputs), own) if others else own))
        return inputs[-1]

    tracing = Tracing()
    with watch(tracing):
        given = _map(placeholder, arguments, True)
        try:
            result = function(*given)
        except IndexError as error:
            if tracing.indexed:
                raise
            raise TraceError(f"{type(error).__name__}: {error}") from error
        except TypeError as error:
            if "Traced" not in str(error):
                raise
            raise TraceError(
                f"{str(error).replace('Traced', 'a Value')}: in a function that is being compiled, each number among "
                "the arguments is a Value"
            ) from error
        try:
            outputs, structure = flatten(result, lift)
        except TypeError as error:
            raise TypeError(f"a compiled function gives Values, alone or in lists, tuples and dicts: {error}") from None
    _finish(tracing.made)
    return Call(given, inputs, tracing, outputs, structure)


def cut(nodes: Iterable[Value], values: Iterable[Value]) -> dict[Value, Value]:
    """Replaces Values by stand-ins: new leaves, so that no gradient reaches or passes the Values.

    Args:
        nodes: the nodes whose parents are replaced.
        values: the parents to be replaced.

    Returns:
        By Value, its stand-in.
    """
    stands = {x: Value(x._data) for x in values}
    for node in nodes if stands else ():
        if not stands.keys().isdisjoint(node._parents):
            node._parents = tuple(map(stands.get, node._parents, node._parents))
    return stands


def _finish(made: list[Value]) -> None:
    # Removes the nodes whose number could not be computed, on the side of a choice that is not taken.
    made[:] = [node for node in made if hasattr(node, "_data")]


def _is_constant(node: Value) -> bool:
    return node.rule is rules.constant


def _map(function: Callable[[Any], Any], tree: Any, arrays: bool = False) -> Any:
    # Returns the same lists, tuples and dicts, with function(number) in place of each number.
    if isinstance(tree, (list, tuple)):
        return build(type(tree), [_map(function, item, arrays) for item in tree])
    if isinstance(tree, dict):
        return build(type(tree), {name: _map(function, item, arrays) for name, item in tree.items()})
    if arrays and _is_array(tree):
        import numpy

        out: Any = numpy.empty(tree.shape, dtype=object)
        out.flat = [function(number) for number in tree.flat]
        return out
    return function(tree)


def build(kind: type, items: Any) -> Any:
    """Makes a list, tuple or dict of this type, without calling its class, which may take other arguments."""
    if issubclass(kind, tuple):
        return tuple.__new__(kind, items)
    out: Any = kind.__new__(kind)
    (out.extend if issubclass(kind, list) else out.update)(items)
    return out


ARRAY = "array"  # the kind of an array, in a form


def _is_array(x: Any) -> bool:
    return hasattr(x, "__array__") and bool(x.shape)


def as_values(arguments: Any, make: Callable[[Any], Value], but_indexes: bool = False) -> Any:
    """The arguments with a Value in place of each number; whole numbers stay if ``but_indexes``."""
    return _map(
        lambda x: x if isinstance(x, Value) or (but_indexes and hasattr(x, "__index__")) else make(x), arguments, True
    )


def _same(x: Any) -> Any:
    return x


def flatten(tree: Any, function: Callable[[Any], Any] = _same) -> tuple[list[Any], Any]:
    """Returns the leaves of lists, tuples, dicts and arrays, and their form, which can be compared and hashed.

    >>> flatten(([1, 2], {"x": 3}))
    ([1, 2, 3], (<class 'tuple'>, (<class 'list'>, None, None), (<class 'dict'>, 'x', None)))
    """
    leaves: list[Any] = []
    return leaves, _take_leaves(tree, function, leaves)


def _take_leaves(tree: Any, function: Callable[[Any], Any], leaves: list[Any]) -> Any:
    # Appends the leaves to a list, and returns the form. As a function inside flatten(), it would be a reference cycle.
    if isinstance(tree, (Value, float)):  # the usual case
        leaves.append(function(tree))
        return None
    if isinstance(tree, (list, tuple)):
        if (function is _same or function is to_float) and {*map(type, tree)} == {float}:
            leaves.extend(tree)
            return (type(tree), *[None] * len(tree))
        return (type(tree), *[_take_leaves(item, function, leaves) for item in tree])
    if isinstance(tree, dict):
        items = [x for name, item in tree.items() for x in (name, _take_leaves(item, function, leaves))]
        return (type(tree), *items)
    if _is_array(tree):
        leaves.extend(map(function, tree.flat))
        return (ARRAY, *tree.shape)
    leaves.append(function(tree))
    return None


def unflatten(structure: Any, leaves: Iterator[Any]) -> Any:
    """Returns lists, tuples and dicts of this form, with these leaves.

    >>> unflatten((tuple, (list, None, None), (dict, "x", None)), iter([1, 2, 3]))
    ([1, 2], {'x': 3})
    """
    if structure is None:
        return next(leaves)
    kind, *rest = structure
    if kind is ARRAY:
        import numpy

        out = numpy.empty(tuple(rest), dtype=object)
        for i in numpy.ndindex(out.shape):
            out[i] = next(leaves)
        return out
    if issubclass(kind, dict):
        return build(kind, {rest[i]: unflatten(rest[i + 1], leaves) for i in range(0, len(rest), 2)})
    return build(kind, [unflatten(item, leaves) for item in rest])


def count_leaves(form: Any) -> int:
    """The number of leaves of a form.

    >>> count_leaves(flatten(([1, 2], {"x": 3}))[1])
    3
    """
    if form is None:
        return 1
    kind, *items = form
    if kind is ARRAY:
        return math.prod(items)
    return sum(map(count_leaves, items[1::2] if issubclass(kind, dict) else items))


def find_shape(form: Any) -> tuple[int, ...] | None:
    """The shape of the array that nested lists of numbers form; None if lengths differ or if there is a dict.

    >>> find_shape(flatten([[1, 2, 3], [4, 5, 6]])[1])
    (2, 3)
    """
    if form is None:
        return ()
    kind, *items = form
    if kind is ARRAY:
        return tuple(items)
    shapes = set() if issubclass(kind, dict) else {find_shape(item) for item in items}
    inner = shapes.pop() if len(shapes) == 1 else None
    return None if inner is None else (len(items), *inner)
