"""Part of the third stage: group sums of products. All data are plain: operations and rows are whole numbers.

- Sums of products of the same inputs form a :class:`Layer`.
- Products that are summed over samples form a :class:`Tile`: each of some operations times each of some others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, compress, pairwise

import numpy as np
import numpy.typing as npt

from .graph import DOT, Graph, Row
from .machine import Whole

__all__ = ["Layer", "Offsets", "Term", "Tile", "find_layers", "find_offsets", "find_rows", "find_tiles", "split_terms"]

_LEAST = 8  # the smallest number of weights of a layer

Term = tuple[int, int]  # a product of two operations; a single operation is its product with the constant 1
Offsets = tuple[list[int], list[int]]  # a grid of numbers: each is the sum of its line's and its column's number


@dataclass(eq=False, repr=False)
class Layer:
    """Sums of products of the same inputs with weights.

    Attributes:
        inputs: the inputs, operations that differ between lanes.
        members: the sums.
        weights: for each sum, a weight for each input. Weights are the same in all lanes.
    """

    inputs: tuple[int, ...]
    members: list[int]
    weights: list[tuple[int, ...]]


def find_layers(graph: Graph, live: Iterable[int], rests: dict[int, list[Term]]) -> list[Layer]:
    """Finds the layers among some operations.

    Args:
        graph: the graph of the operations.
        live: the operations.
        rests: for each sum, the products that are the same in all lanes. Such products of layers are moved here.
    """
    varying, found, moved = graph.varying, dict[tuple[int, ...], Layer](), dict[int, list[Term]]()
    in_lanes: dict[tuple[int, ...], list[bool]] = {}  # by inputs, whether each differs between lanes
    for i in live:
        if graph.ops[i] is not DOT or i not in varying:
            continue
        args = graph.args[i]
        weights, inputs = args[: len(args) // 2], args[len(args) // 2 :]
        if varying.isdisjoint(inputs):
            weights, inputs = inputs, weights
        if varying.issuperset(weights):
            continue
        if not varying.isdisjoint(weights):
            pairs = list(zip(weights, inputs, strict=True))
            if any(a in varying and b in varying for a, b in pairs):
                continue
            weights, inputs = zip(*[(b, a) if a in varying else (a, b) for a, b in pairs], strict=True)
        if not varying.issuperset(inputs):
            is_in = in_lanes.get(inputs) or in_lanes.setdefault(inputs, [x in varying for x in inputs])
            moved[i] = [(a, b) for a, b, differs in zip(weights, inputs, is_in, strict=True) if not differs]
            weights, inputs = tuple(compress(weights, is_in)), tuple(compress(inputs, is_in))
        layer = found.get(inputs)
        if layer is None:
            layer = found[inputs] = Layer(inputs, [], [])
        layer.members.append(i)
        layer.weights.append(weights)
    layers = [
        layer for layer in found.values() if len(layer.members) > 1 and len(layer.members) * len(layer.inputs) >= _LEAST
    ]
    for i in moved.keys() & chain.from_iterable([layer.members for layer in layers]):
        rests[i] = moved[i] + rests.get(i, [])
    return layers


def split_terms(graph: Graph, i: int) -> tuple[list[Term], list[Term]]:
    """Returns the products whose sum an operation is: those that differ between lanes, and the others."""
    varying, terms = graph.varying, graph.terms(i)
    rest = [(a, b) for a, b in terms if a not in varying and b not in varying]
    return ([(a, b) for a, b in terms if a in varying or b in varying], rest) if rest else (terms, rest)


def find_offsets(grid: Sequence[Sequence[int]]) -> Offsets | None:
    """Finds numbers for the lines and the columns of a grid, whose sums are its numbers; None if there are none.

    >>> find_offsets([[5, 6, 9], [15, 16, 19]])
    ([5, 15], [0, 1, 4])
    """
    numbers = np.array(grid)
    lines, columns = numbers[:, 0], numbers[0] - numbers[0, 0]
    return (lines.tolist(), columns.tolist()) if (numbers == lines[:, None] + columns).all() else None


@dataclass(eq=False)
class Tile:
    """Products of each of some operations, the rows, with each of some others, the columns.

    Attributes:
        rows: the first factors.
        columns: the second factors.
        places: the index of the derivative that each product is part of.
    """

    rows: list[int]
    columns: list[int]
    places: Offsets

    def turn(self) -> Tile:
        """Returns the same products with rows and columns exchanged."""
        return Tile(self.columns, self.rows, self.places[::-1])


def find_rows(products: Whole) -> list[Row]:
    """Groups products by their second factor.

    Args:
        products: three lines, with the index of the derivative and the two factors of each product.

    >>> import numpy as np
    >>> find_rows(np.array([[10, 11, 20, 21], [5, 6, 5, 6], [1, 1, 2, 2]]))
    [Row(places=(10, 11), others=(5, 6), factor=1), Row(places=(20, 21), others=(5, 6), factor=2)]
    """
    places, others, factors = products[:, np.lexsort(products)]
    # A product may occur several times, for other derivatives: then it is part of other rows.
    turns = _count_repeats(factors, others)
    order = np.lexsort((places, turns, factors))
    places, others, factors, turns = places[order], others[order], factors[order], turns[order]
    ends = np.flatnonzero(_differ(factors) | _differ(turns)) + 1
    return [
        Row(tuple(places[begin:end].tolist()), tuple(others[begin:end].tolist()), int(factors[begin]))
        for begin, end in pairwise([0, *ends.tolist(), len(places)])
        if begin < end
    ]


def find_tiles(rows: Iterable[Row]) -> list[Tile]:
    """Groups rows of products by their first factors, and cuts them so that their places are grids of offsets.

    >>> find_tiles([Row((10, 11, 12), (5, 6, 7), 1), Row((20, 21, 22), (5, 6, 7), 2)])
    [Tile(rows=[1, 2], columns=[5, 6, 7], places=([10, 20], [0, 1, 2]))]
    """
    together: dict[tuple[int, ...], list[Row]] = defaultdict(list)
    for row in rows:
        together[row.others].append(row)
    tiles: list[Tile] = []
    for others, lines in together.items():
        lines.sort(key=lambda row: row.places[0])
        tiles += _cut(np.array([row.places for row in lines]), [row.factor for row in lines], list(others))
    return tiles


def _differ(numbers: Whole) -> npt.NDArray[np.bool_]:
    return np.asarray(numbers[1:] != numbers[:-1])


def _count_repeats(rows: Whole, columns: Whole) -> Whole:
    # For each pair of a sorted list, how many equal pairs come before it.
    begins = np.flatnonzero(np.append(True, _differ(rows) | _differ(columns)))
    return np.arange(len(rows)) - np.repeat(begins, np.diff(np.append(begins, len(rows))))


def _cut(grid: Whole, rows: list[int], columns: list[int]) -> Iterator[Tile]:
    # Cuts a grid of places between two columns whose distance is not the same in all rows.
    steps = np.diff(grid, axis=1)
    cuts = np.flatnonzero((steps != steps[:1]).any(axis=0)) + 1
    for left, right in pairwise([0, *cuts.tolist(), len(columns)]):
        part = grid[:, left:right]
        yield Tile(rows, columns[left:right], (part[:, 0].tolist(), (part[0] - part[0, 0]).tolist()))
