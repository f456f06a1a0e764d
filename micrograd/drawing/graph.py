"""Chooses what a drawing shows of a graph: its nodes, modules folded to blocks, or the part that fits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from .. import rules
from ..engine import Value, topological_order
from ..nn import Module, Neuron
from ..nn.activations import activate

__all__ = ["Edge", "Graph", "Item", "Items", "Place"]

Place = tuple[str, ...]  # the path of a module: the names from the root module, which is ("",), to it
Item = Value | Place  # one box of the drawing: a node, or all nodes of a folded module

_EDGES_PER_NODE = 3  # with more edges, the layout takes minutes


@dataclass
class Edge:
    # An edge from an operand to its node. If an end is folded, one edge stands for all edges between the two boxes.
    source: Item
    target: Item
    id: str
    node: Value
    parent: Value
    operand: int  # its index
    count: int = 1
    lit: bool = False


class Items:
    # The boxes to draw, with the nodes in them, and the edges that lead to them from other boxes or from outside.

    def __init__(self, graph: Graph, item: dict[Value, Item], among: set[Item] | None = None) -> None:
        self.graph, self.item = graph, item
        self.nodes: dict[Item, list[Value]] = {}
        for node, box in item.items():
            if among is None or box in among:
                self.nodes.setdefault(box, []).append(node)

    @cached_property
    def edges(self) -> list[Edge]:
        edges: dict[Hashable, Edge] = {}
        for target, nodes in self.nodes.items():
            for node in nodes:
                for k, parent in enumerate(node.parents):
                    source = self.item[parent]
                    if source == target:
                        continue
                    key = (node, k) if target is node and source is parent else (source, target)
                    if key in edges:
                        edges[key].count += 1
                    else:
                        edges[key] = Edge(source, target, f"e{self.graph.index[node]}_{k}", node, parent, k)
                    edges[key].lit |= self.graph.lit == (node, parent)
        return list(edges.values())

    def fit(self, max_nodes: int) -> bool:
        return len(self.nodes) <= max_nodes and len(self.edges) <= max_nodes * _EDGES_PER_NODE

    def cut(self, near: list[Value], max_nodes: int) -> Items:
        # A breadth-first search from ``near`` orders the boxes. The first ones are drawn, as many as fit.
        found = dict.fromkeys(self.item[node] for node in near)
        queue = list(found)
        for box in queue:
            operands = dict.fromkeys(self.item[parent] for node in self.nodes[box] for parent in node.parents)
            queue += [operand for operand in operands if operand not in found]
            found.update(operands)
            if len(found) >= max_nodes:
                break
        place = {box: i for i, box in enumerate(list(found)[:max_nodes])}
        # For each box, count the edges to itself and to earlier boxes: they are complete when this box is drawn.
        inside = [edge for edge in Items(self.graph, self.item, set(place)).edges if edge.source in place]
        complete = Counter(max(place[edge.source], place[edge.target]) for edge in inside)
        edges, kept = 0, 0
        while kept < len(place) and (edges := edges + complete[kept]) <= max_nodes * _EDGES_PER_NODE:
            kept += 1
        return Items(self.graph, self.item, {box for box, i in place.items() if i < kept})


class Graph:
    # The nodes, and the module of each.

    def __init__(self, order: list[Value], module: Module | None, lit: tuple[Value, ...]) -> None:
        self.order = order
        self.index = {node: i for i, node in enumerate(order)}
        self.lit = lit
        self.modules = dict(_modules(module)) if module else {}
        self.parameters: dict[Value, str] = {}  # their names in their modules
        self.places: dict[Value, Place] = {}
        for place, part in self.modules.items():
            for name, parameter in part.named_parameters():
                known = self.places.get(parameter, ())
                if parameter in self.index and place[: len(known)] == known:  # else an earlier module owns it
                    self.places[parameter], self.parameters[parameter] = place, name
        if module:
            self._place_operations()

    def _place_operations(self) -> None:
        # An activation begins with its neuron's sum. For each of its nodes, remember the sum; for each sum, the number
        # of nodes that are still to come.
        below: dict[Value, Value] = {}
        room: Counter[Value] = Counter()
        users: dict[Value, list[Place]] = {}
        for node in self.order:
            parents = node.parents
            owners = [self.places[parent] for parent in parents if parent in self.parameters]
            starts = {below.get(parent) for parent in parents if parent.rule is not rules.constant}
            start = starts.pop() if len(starts) == 1 else None
            if owners:
                self.places[node] = _common(owners)
                below[node], room[node] = node, self._count_activation(node)
            elif start is not None and room[start] and (len(parents) == 1 or self._is_neuron(start)):
                self.places[node] = self.places[start]
                below[node] = start
                room[start] -= 1
            for parent in parents:
                if parent.rule is rules.constant:
                    users.setdefault(parent, []).append(self.places.get(node, ()))
        for constant, places in users.items():
            if common := _common(places):
                self.places[constant] = common

    def _is_neuron(self, node: Value) -> bool:
        return isinstance(self.modules[self.places[node]], Neuron)

    def _count_activation(self, node: Value) -> int:
        # The number of nodes that the activation of its neuron makes from this one.
        owner = self.modules[self.places[node]]
        if not isinstance(owner, Neuron):
            return 1  # an activation module makes one node or none
        if not owner.nonlin or node.op != "dot":  # other uses of weights, like penalties, have none
            return 0
        try:
            return sum(bool(made.op) for made in topological_order(activate(owner.activation, Value(node.data))))
        except (ArithmeticError, ValueError):  # the activation is undefined here
            return 0

    def fold(self, depth: int | None) -> Items:
        """Returns a box for every node: the node itself, or the module at that depth that contains it."""
        item: dict[Value, Item] = {}
        for node in self.order:
            place = self.places.get(node, ())
            item[node] = node if depth is None or len(place) <= depth else place[: depth + 1]
        return Items(self, item)

    def fold_to_fit(self, depth: int | None, max_nodes: int | None) -> tuple[Items, list[str]]:
        """Returns the items to draw, folded or cut if there are too many, and notes that say so."""
        asked = items = self.fold(depth)
        deepest = max(map(len, self.modules), default=0)
        folds = reversed(range(deepest if depth is None else min(depth, deepest)))
        while max_nodes is not None and not items.fit(max_nodes) and (fold := next(folds, None)) is not None:
            items = self.fold(fold)
        notes = []
        blocks = [nodes for box, nodes in items.nodes.items() if isinstance(box, tuple)]
        if items is not asked and blocks:
            inside, total = sum(map(len, blocks)), len(self.order)
            notes.append(f"too many to draw: {inside:,} of {total:,} nodes are folded into blocks")
        if max_nodes is not None and not items.fit(max_nodes):
            everything = len(items.nodes)
            items = items.cut([self.order[-1], *self.lit], max_nodes)
            shown, what = len(items.nodes), "nodes and blocks" if blocks else "nodes"
            where = "the output and to what is highlighted" if self.lit else "the output"
            notes.append(f"cut: of {everything:,} {what}, the {shown:,} nearest to {where}")
            notes.append(f"{everything - shown:,} are left out")
        return items, notes


def _modules(module: Module) -> Iterator[tuple[Place, Module]]:
    # All modules, each once, outer modules before the modules in them.
    seen: set[Module] = set()
    stack: list[tuple[Place, str, Any]] = [((), "", module)]
    while stack:
        place, name, tree = stack.pop()
        if isinstance(tree, Module):
            if tree in seen:
                continue
            seen.add(tree)
            place, name = (*place, name), ""
            yield place, tree
            tree = vars(tree)
        items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, (list, tuple)) else ()
        stack += reversed([(place, f"{name}.{key}" if name else str(key), item) for key, item in items])


def _common(places: list[Place]) -> Place:
    # The innermost module around all places. The smallest and the largest place share exactly what all places share.
    low, high = min(places), max(places)
    shared = 0
    while shared < min(len(low), len(high)) and low[shared] == high[shared]:
        shared += 1
    return low[:shared]
