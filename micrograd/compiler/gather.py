"""Arguments that are indexes: ``embedding[i]`` in a function becomes a choice among all items of ``embedding``.

A Python list takes an index as a plain number, so a trace only holds the Values at the indexes of its sample. Therefore
the function is called with other indexes as well. If these calls differ only in the Values that they read, and each
such Value is the item of a list at an index, the graph reads it as a dot product: that of the whole list with a vector
that is 1 at the index. The function may make the list itself, as in ``softmax(scores)[i]``. Then another index reads
another node of the same graph.
"""

from __future__ import annotations

import random
from bisect import bisect
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from .. import rules
from ..engine import Value, lift, operation
from ..functional import where
from ..references import find_references

if TYPE_CHECKING:
    from .tracing import Call

__all__ = ["Choices", "TraceError", "find_choices", "gather"]

_PROBES = 32  # calls with other indexes, at most; of a list that is no longer, each item is read once
_MOST_MADE = 256  # items of a list that the function makes, at most; each item is read once
_DEPTH = 12  # steps to a Value, at most: items of items, attributes of attributes
_MADE = "made by the function"

Path = tuple[Any, ...]
"""The way to a Value: names, keys and indexes. For a list that the function makes: the numbers of its nodes."""

Lines = list[tuple[Any, list[Any]]]
Step = tuple[int, list[int], int]
"""A step of a path that is an index: the number of the step, the index's place among the inputs, and the list's length.

If several indexes were equal in all calls so far, there are several places.
"""
Choice = tuple[Path, list[Step]]
"""A path, and its steps that are indexes."""
Choices = tuple[dict[tuple[int, int], Choice], dict[Path, list[Any]]]
"""A choice for each operand that was read at an index, by operation and operand; and the lists, by their paths."""


class TraceError(TypeError):
    """The function can't be compiled: its graph is not the same for all arguments of one form."""


def find_choices(function: Callable[..., Any], call: Call, again: Callable[[dict[int, float]], Call]) -> Choices:
    """Finds the Values that a call read at indexes.

    Args:
        function: the function that was called.
        call: the call.
        again: calls the function again, with other numbers at some places among the numbers of the arguments.

    Raises:
        TraceError: if an index decides more than which Values are read.
    """
    lines = _describe(call)
    place_of = {leaf: i for i, leaf in enumerate(call.inputs)}
    indexes = {place_of[node]: int(node._data) for node in call.tracing.indexed if node in place_of}
    if len(indexes) < len(call.tracing.indexed):
        raise TraceError("an index is computed from arguments: give it as an argument of its own")
    where_is = _Addresses(function, call, partial(_measure, again, indexes))
    probes = [(lines, indexes)]

    def probe(numbers: dict[int, int]) -> None:
        try:
            other = _describe(again({place: float(k) for place, k in numbers.items()}))
        except IndexError as error:
            raise TraceError(f"a list has a single item, or its length depends on an index: {error}") from None
        if [line for line, _ in lines] != [line for line, _ in other] or any(
            len(a) != len(b) for (_, a), (_, b) in zip(lines, other, strict=True)
        ):
            raise TraceError("an index decides more than which Values are read from a list of Values")
        probes.append((other, numbers))

    probe({place: k - 1 if k > 0 else 1 if k == 0 else k + 1 for place, k in indexes.items()})
    rng, known = random.Random(0), dict[int, int]()
    while True:
        choices, sizes = _find(probes, where_is), dict[int, int]()
        for _, steps in choices.values():
            for _, places, size in steps:  # if two indexes were equal so far, it may be either
                sizes |= {place: min(size, sizes.get(place, size)) for place in places}
        if len(sizes) < len(indexes):
            raise TraceError("an index reads nothing from a list of Values")
        if sizes == known:
            return choices, where_is.lists
        whole = [len(path) - 1 for path, _ in choices.values() if path[0] == _MADE]
        known, count = sizes, max([min(_PROBES, max(sizes.values())), *whole])
        orders = {
            place: [rng.sample(range(size), size) for _ in range(0, count, size)] for place, size in sizes.items()
        }
        for t in range(count):
            probe({place: orders[place][t // size][t % size] for place, size in sizes.items()})


def _measure(again: Callable[[dict[int, float]], Call], indexes: dict[int, int], place: int) -> int:
    # Finds the length of the shortest list that is read at an index.
    numbers = {other: float(k) for other, k in indexes.items()}

    def is_outside(k: int) -> bool:
        try:
            again({**numbers, place: float(k)})
        except IndexError:
            return True
        return False

    size = bisect(range(_MOST_MADE + 1), False, key=is_outside)
    if size <= _MOST_MADE:
        return size
    raise TraceError(
        f"a list that the function makes, and reads at an index, has more than {_MOST_MADE} items: use "
        "dot(values, one_hot(index, len(values))) of micrograd.functional"
    )


def _describe(call: Call) -> Lines:
    # Describes each operation of a call and its operands. An operand that was read elsewhere is the Value itself.
    places: dict[Value, Any] = {node: ("node", i) for i, node in enumerate(call.tracing.made)}
    places |= {leaf: ("input", i) for i, leaf in enumerate(call.inputs)}
    places |= {leaf: ("draw", i) for i, leaf in enumerate(call.tracing.draws)}

    def mark(x: Value) -> Any:
        return places[x] if x in places else ("constant", repr(x._data)) if x.rule is rules.constant else x

    lines: Lines = []
    for node in call.tracing.made:
        rule = node.rule
        what = rule.whole.name, *rule.constants.items(), rule.number, repr(node._number) if rule.number else ""
        lines.append((what, [mark(parent) for parent in node._parents]))
    return [*lines, (("results",), [mark(out) for out in call.outputs])]


class _Addresses:
    # The paths to all Values that a function can reach, its arguments included; and the lists on the way.

    def __init__(self, function: Any, call: Call, measure: Callable[[int], int]) -> None:
        self.measure = cache(measure)
        self.paths: dict[Any, list[Path]] = {}
        self.lists: dict[Path, list[Any]] = {}
        self._marks = {leaf: ("input", i) for i, leaf in enumerate(call.inputs)}
        self._walk(function, ("function",), frozenset())
        self._walk(call.given, ("arguments",), frozenset())

    def _walk(self, tree: Any, path: Path, around: frozenset[int]) -> None:
        if isinstance(tree, Value):
            self.paths.setdefault(self._marks.get(tree, tree), []).append(path)
            return
        if id(tree) in around or len(path) > _DEPTH:
            return
        if getattr(getattr(tree, "dtype", None), "kind", "") == "O":
            tree = tree.tolist()
        if isinstance(tree, (list, tuple)):
            self.lists[path] = list(tree)
        for step, item in find_references(tree):
            self._walk(item, (*path, step), around | {id(tree)})


def _find(probes: Sequence[tuple[Lines, dict[int, int]]], where_is: _Addresses) -> dict[tuple[int, int], Choice]:
    # Finds the operands that differ between the calls, as (operation, operand), and what chooses each.
    found = {}
    for m, (_, marks) in enumerate(probes[0][0]):
        for q in range(len(marks)):
            seen = [lines[m][1][q] for lines, _ in probes]
            if any(other is not seen[0] and other != seen[0] for other in seen):
                found[m, q] = _choose(seen, [numbers for _, numbers in probes], where_is)
    return found


def _choose(seen: Sequence[Any], numbers: Sequence[dict[int, int]], where_is: _Addresses) -> Choice:
    for path in where_is.paths.get(seen[0], ()):
        paths = [path]
        for other in seen[1:]:
            paths += [its for its in where_is.paths.get(other, ()) if _is_alike(path, its)][:1]
        if len(paths) == len(seen):
            steps = []
            for step in range(len(path)):
                if any(its[step] != path[step] for its in paths):
                    steps.append(_index(step, paths, numbers, where_is))
            if all(places for _, places, _ in steps):
                return path, steps
    nodes = [mark[1] for mark in seen if isinstance(mark, tuple) and mark[0] == "node"]
    tables: dict[int, Path] = {}
    for place in numbers[0] if len(nodes) == len(seen) else ():
        size, table = where_is.measure(place), dict[int, int]()
        calls = [(node, its[place]) for node, its in zip(nodes, numbers, strict=True)]
        if all(-size <= k < size and table.setdefault(k % size, node) == node for node, k in calls):
            tables[place] = tuple([table.get(k) for k in range(size)])
    if tables:
        path = min(tables.values(), key=len)
        return (_MADE, *path), [(0, list(tables), len(path))]
    raise TraceError(
        "what is read at an index lies in no list of Values that the function can reach or makes: use "
        "dot(values, one_hot(index, len(values))) of micrograd.functional"
    )


def _is_alike(path: Path, other: Path) -> bool:
    return len(path) == len(other) and all(
        a == b or type(a) is type(b) is int for a, b in zip(path, other, strict=True)
    )


def _index(step: int, paths: Sequence[Path], numbers: Sequence[dict[int, int]], where_is: _Addresses) -> Step:
    sizes = [len(where_is.lists.get(path[:step], ())) for path in paths]
    calls = list(zip(paths, numbers, sizes, strict=True))
    places = [
        place
        for place in numbers[0]
        if all(-size <= its[place] < size and its[place] % size == path[step] for path, its, size in calls)
    ]
    return step, places, min(sizes)


def gather(call: Call, choices: Choices) -> None:
    """Replaces each Value that a call read at indexes by a choice for any indexes."""
    found, lists = choices
    made, hot, gathered = call.tracing.made, {}, {}
    nodes = made.copy()
    made.clear()  # refilled so that each node follows its operands

    def take(path: Path, steps: list[Step]) -> Value:
        if not steps:
            return lift(lists[path[:-1]][path[-1]])
        key = path, *[(step, place) for step, (place, *_), _ in steps]
        if key not in gathered:
            (step, (place, *_), size), *rest = steps
            size = size if path[0] == _MADE else len(lists[path[:step]])
            if (place, size) not in hot:
                i = call.inputs[place]
                hot[place, size] = where(i < 0, i + float(size), i)._one_hot(size)  # type: ignore[attr-defined]
            if path[0] == _MADE:
                items = [nodes[k] for k in path[1:]]
            else:
                items = [take((*path[:step], k, *path[step + 1 :]), rest) for k in range(size)]
            gathered[key] = operation(rules.dot)(*items, *hot[place, size])
        return gathered[key]

    for m, node in enumerate(nodes):
        parents = list(node._parents)
        for q in range(len(parents)):
            if (m, q) in found:
                parents[q] = take(*found[m, q])
        node._parents = tuple(parents)
        made.append(node)
    for q in range(len(call.outputs)):
        if (len(nodes), q) in found:
            call.outputs[q] = take(*found[len(nodes), q])
