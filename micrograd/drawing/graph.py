"""What a drawing shows of a graph: nodes, modules that they are folded to, or those for which there is room."""

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

Place = tuple[str, ...]  # of a module: the names on the way to it from the root module, which is ("",)
Item = Value | Place  # what is one box of the drawing: a node, or all nodes of a folded module

_EDGES_PER_NODE = 3  # more of them, and the layout takes minutes


@dataclass
class Edge:
    # From an operand to the node that it is an operand of; where one end is folded, all such edges in one.
    source: Item
    target: Item
    id: str
    node: Value
    parent: Value
    operand: int  # its number
    count: int = 1
    lit: bool = False


class Items:
    # What is drawn: the boxes, with the nodes in them, and the edges that lead to them, from others or from outside.

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
        # The boxes that are found first from those to which they are to be near, breadth first; as many as fit.
        found = dict.fromkeys(self.item[node] for node in near)
        queue = list(found)
        for box in queue:
            operands = dict.fromkeys(self.item[parent] for node in self.nodes[box] for parent in node.parents)
            queue += [operand for operand in operands if operand not in found]
            found.update(operands)
            if len(found) >= max_nodes:
                break
        place = {box: i for i, box in enumerate(list(found)[:max_nodes])}
        # How many edges there are among the first boxes: each counts where the later one of its ends comes in.
        inside = [edge for edge in Items(self.graph, self.item, set(place)).edges if edge.source in place]
        complete = Counter(max(place[edge.source], place[edge.target]) for edge in inside)
        edges, kept = 0, 0
        while kept < len(place) and (edges := edges + complete[kept]) <= max_nodes * _EDGES_PER_NODE:
            kept += 1
        return Items(self.graph, self.item, {box for box, i in place.items() if i < kept})


class Graph:
    # The nodes, and the modules that they belong to.

    def __init__(self, order: list[Value], module: Module | None, lit: tuple[Value, ...]) -> None:
        self.order = order
        self.index = {node: i for i, node in enumerate(order)}
        self.lit = lit
        self.modules = dict(_modules(module)) if module else {}
        self.parameters: dict[Value, str] = {}  # by what their module calls them
        self.places: dict[Value, Place] = {}
        for place, part in self.modules.items():
            for name, parameter in part.named_parameters():
                known = self.places.get(parameter, ())
                if parameter in self.index and place[: len(known)] == known:  # else it is shared, and the first's
                    self.places[parameter], self.parameters[parameter] = place, name
        if module:
            self._place_operations()

    def _place_operations(self) -> None:
        # An activation begins with its neuron's sum. By each of its nodes: that sum; by the sum: how many are to come.
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
        # How many nodes the activation of its neuron makes of this one.
        owner = self.modules[self.places[node]]
        if not isinstance(owner, Neuron):
            return 1  # what an activation module makes, or nothing
        if not owner.nonlin or node.op != "dot":  # of other operations on weights, as in penalties, nothing follows
            return 0
        try:
            return sum(bool(made.op) for made in topological_order(activate(owner.activation, Value(node.data))))
        except (ArithmeticError, ValueError):  # it is not defined there
            return 0

    def folded(self, depth: int | None) -> Items:
        """Every node, or the module at that depth that it is in."""
        item: dict[Value, Item] = {}
        for node in self.order:
            place = self.places.get(node, ())
            item[node] = node if depth is None or len(place) <= depth else place[: depth + 1]
        return Items(self, item)

    def fitted(self, depth: int | None, max_nodes: int | None) -> tuple[Items, list[str]]:
        """What is drawn, folded or cut where it is too large, and what is to be said of that."""
        asked = items = self.folded(depth)
        deepest = max(map(len, self.modules), default=0)
        folds = reversed(range(deepest if depth is None else min(depth, deepest)))
        while max_nodes is not None and not items.fit(max_nodes) and (fold := next(folds, None)) is not None:
            items = self.folded(fold)
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
    # Each once, outer ones before those in them.
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
    # The module around all of them. The first and the last in order share what all share.
    low, high = min(places), max(places)
    shared = 0
    while shared < min(len(low), len(high)) and low[shared] == high[shared]:
        shared += 1
    return low[:shared]
