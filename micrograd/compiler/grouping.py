"""Part of the third stage: which sums of products stand together. All is plain data: numbers of operations and of rows.

- Sums of products that share their inputs are a :class:`Layer`.
- Products that are summed over samples are a :class:`Tile`: each of some rows times each of some others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .graph import DOT, Graph
from .machine import Whole

__all__ = ["Layer", "Steps", "Term", "Tile", "find_layers", "find_steps", "find_tiles", "split_terms"]

_LEAST = 8  # weights of a layer

Term = tuple[int, int]  # a product of two operations; a single one is a product with the constant 1
Steps = tuple[int, int, int]  # numbers in a grid: the first, the step down, the step to the right


@dataclass
class Layer:
    """Sums of products of the same inputs, with one weight for each.

    Attributes:
        inputs: the operations that differ between lanes, the same for all sums.
        members: the sums.
        weights: for each sum, a weight for each input.
        rests: for each sum, its products that are the same in all lanes.
    """

    inputs: tuple[int, ...]
    members: list[int]
    weights: list[tuple[int, ...]]
    rests: list[list[Term]]


def find_layers(graph: Graph, live: Iterable[int]) -> list[Layer]:
    """The layers among these operations."""
    varying, found = graph.varying, dict[tuple[int, ...], Layer]()
    for i in live:
        if graph.ops[i] is not DOT or i not in varying:
            continue
        args, rest = graph.args[i], list[Term]()
        a, b = args[::2], args[1::2]
        if varying.isdisjoint(a) and varying.issuperset(b):
            weights, inputs = a, b
        elif varying.isdisjoint(b) and varying.issuperset(a):
            weights, inputs = b, a
        elif varying.issuperset(args):
            continue
        else:
            terms, rest = split_terms(graph, i)
            if any(x in varying and y in varying for x, y in terms):
                continue
            weights = tuple([y if x in varying else x for x, y in terms])
            inputs = tuple([x if x in varying else y for x, y in terms])
        layer = found.get(inputs)
        if layer is None:
            layer = found[inputs] = Layer(inputs, [], [], [])
        layer.members.append(i)
        layer.weights.append(weights)
        layer.rests.append(rest)
    return [
        layer for layer in found.values() if len(layer.members) > 1 and len(layer.members) * len(layer.inputs) >= _LEAST
    ]


def split_terms(graph: Graph, i: int) -> tuple[list[Term], list[Term]]:
    """The products that an operation is the sum of: those that differ between lanes, and the others."""
    varying, terms = graph.varying, graph.terms(i)
    rest = [(a, b) for a, b in terms if a not in varying and b not in varying]
    return ([(a, b) for a, b in terms if a in varying or b in varying], rest) if rest else (terms, rest)


def find_steps(grid: Sequence[Sequence[int]]) -> Steps | None:
    """The steps of a grid of numbers, if they are the same everywhere.

    >>> find_steps([[5, 6, 7], [15, 16, 17]])
    (5, 10, 1)
    """
    first = grid[0][0]
    down = grid[1][0] - first if len(grid) > 1 else 0
    right = grid[0][1] - first if len(grid[0]) > 1 else 0
    for j, line in enumerate(grid):
        start = first + j * down
        if list(line) != (list(range(start, start + len(line) * right, right)) if right else [start] * len(line)):
            return None
    return first, down, right


@dataclass
class Tile:
    """Products of each of some rows with each of some columns, which are rows of numbers too.

    Attributes:
        rows: the first factors.
        columns: the second factors.
        steps: where the sum of each product goes.
    """

    rows: list[int]
    columns: list[int]
    steps: Steps


def find_tiles(places: Whole, rows: Whole, columns: Whole) -> list[Tile]:
    """Puts products together that share their factors, so that the places of their sums are in even steps.

    Args:
        places: where the sum of each product goes.
        rows: the first factor of each.
        columns: the second factor of each.

    >>> import numpy as np
    >>> find_tiles(np.array([10, 11, 12, 20, 21, 22]), np.array([1, 1, 1, 2, 2, 2]), np.array([5, 6, 7, 5, 6, 7]))
    [Tile(rows=[1, 2], columns=[5, 6, 7], steps=(10, 10, 1))]
    """
    if not len(places):
        return []
    # A product that occurs again, for another place, belongs to another turn.
    order = np.lexsort((places, columns, rows))
    places, rows, columns = places[order], rows[order], columns[order]
    turns = _count_repeats(rows, columns)
    order = np.lexsort((places, turns, rows))
    places, rows, columns, turns = places[order], rows[order], columns[order], turns[order]
    # Rows that are multiplied with the same columns, in the same order of places, stand together.
    begins = np.flatnonzero(np.append(True, _differ(rows) | _differ(turns))).tolist()
    together: dict[bytes, list[slice]] = defaultdict(list)
    for begin, end in zip(begins, [*begins[1:], len(places)], strict=True):
        together[columns[begin:end].tobytes()].append(slice(begin, end))
    tiles: list[Tile] = []
    for lines in together.values():
        lines.sort(key=lambda line: places[line.start])
        grid = np.stack([places[line] for line in lines])
        tiles += _cut(grid, [int(rows[line.start]) for line in lines], columns[lines[0]].tolist())
    return tiles


def _differ(numbers: Whole) -> npt.NDArray[np.bool_]:
    return np.asarray(numbers[1:] != numbers[:-1])


def _count_repeats(rows: Whole, columns: Whole) -> Whole:
    # Of pairs in order: how often each occurred before.
    begins = np.flatnonzero(np.append(True, _differ(rows) | _differ(columns)))
    return np.arange(len(rows)) - np.repeat(begins, np.diff(np.append(begins, len(rows))))


def _cut(grid: Whole, rows: list[int], columns: list[int]) -> Iterator[Tile]:
    # Cuts a grid of places into tiles of even steps.
    steps = np.diff(grid, axis=1)
    is_even = (steps == steps[:1]).all(axis=0)  # whether a step to the right is the same in all rows
    for left, right in _find_runs(grid[0].tolist(), is_even.tolist()):
        begins = grid[:, left].tolist()
        for top, bottom in _find_runs(begins, [True] * (len(begins) - 1)):
            down = begins[top + 1] - begins[top] if bottom - top > 1 else 0
            across = int(steps[0, left]) if right - left > 1 else 0
            yield Tile(rows[top:bottom], columns[left:right], (begins[top], down, across))


def _find_runs(numbers: list[int], may_follow: list[bool]) -> Iterator[tuple[int, int]]:
    # From where to where numbers are in even steps, of those that may follow the one before.
    begin = 0
    for k in range(1, len(numbers)):
        is_second = k == begin + 1
        if not may_follow[k - 1] or not (is_second or numbers[k] - numbers[k - 1] == numbers[k - 1] - numbers[k - 2]):
            yield begin, k
            begin = k
    yield begin, len(numbers)
