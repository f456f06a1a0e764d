"""Drawings of a graph: each node with its operation, its data, its gradient and its module.

>>> from micrograd import Value
>>> x, w = Value(2.0, label="x"), Value(-3.0, label="w")
>>> y = (w * x).tanh()
>>> y.backward()
>>> drawing = draw(y, names=locals())
>>> print(drawing.source)
digraph {
...
    n0 [label="w\\ndata -3\\ngrad 4.91531e-05" fillcolor="#fffefe" id=n0]
...
    n2 -> n3 [id=e3_0]
...

A notebook shows a drawing by itself; elsewhere call ``drawing.save("y.svg")``. Neurons and layers of a network are
boxes around their nodes, or boxes that replace their nodes: ``draw(loss, module=model, depth=1)``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..arguments import check_type
from ..engine import Value, topological_order
from ..files import write_file
from ..nn import Module
from .dot import Writer
from .graph import Graph
from .rendering import png, run_graphviz

__all__ = ["Drawing", "draw"]


class Drawing:
    """The drawing that :func:`draw` returns. Notebooks show it by themselves.

    Attributes:
        source: the drawing in Graphviz's language, DOT.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self._svg = ""

    def svg(self) -> str:
        """Returns the drawing as SVG.

        Node i of ``topological_order(root)`` has the id ``n{i}``; the edge from its k-th operand has ``e{i}_{k}``.

        Raises:
            RuntimeError: if Graphviz is missing; the message says what to install.
        """
        if not self._svg:
            self._svg = run_graphviz(self.source, "svg").decode()
        return self._svg

    def _repr_svg_(self) -> str:
        return self.svg()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the drawing to a file. If this fails, an existing file is unchanged.

        Args:
            path: a path that ends in ``.svg``, ``.dot`` or ``.gv``; in ``.png``, which needs Graphviz or ``resvg-py``;
                or in ``.pdf``, which needs Graphviz.

        Raises:
            ValueError: if the path has another ending.
            OSError: if the file can't be written, or is not a regular file.
            RuntimeError: if a library is missing; the message says what to install.
        """
        written = {
            ".svg": lambda: self.svg().encode(),
            ".png": lambda: png(self.source, self.svg),
            ".pdf": lambda: run_graphviz(self.source, "pdf"),
            ".dot": lambda: self.source.encode(),
            ".gv": lambda: self.source.encode(),
        }
        suffix = Path(path).suffix.lower()
        if suffix not in written:
            raise ValueError(
                f"a drawing is saved as {', '.join(written)}, not as {suffix or 'a file without suffix'!r}"
            )
        write_file(path, written[suffix]())


def draw(
    root: Value,
    *,
    names: Mapping[str, Any] | None = None,
    module: Module | None = None,
    depth: int | None = None,
    local_gradients: bool = False,
    highlight: Value | tuple[Value, Value] | None = None,
    direction: str = "LR",
    max_nodes: int | None = 500,
) -> Drawing:
    """Draws the graph of ``root``.

    A module contains its parameters, each operation with one of them as an operand, and the activation that is applied
    to such an operation. The activation is an operation with that single operand; for a
    :class:`~micrograd.nn.Neuron`, it is all operations of its own activation. An operation on parameters of several
    modules belongs to the module around them. So does a constant that only modules use. All other nodes stand outside.

    Args:
        root: the last node.
        names: variables that name nodes, like ``locals()``.
        module: a network in the graph. Its modules are drawn as boxes around their nodes, with their names.
        depth: fold the modules at this depth, each to one block: 0 folds ``module`` itself, 1 the modules in it (the
            layers of an MLP), 2 the modules in those (its neurons). None folds none.
        local_gradients: write the local gradient ∂node/∂operand at each edge.
        highlight: a node to highlight, or a pair ``(node, operand)`` for an edge.
        direction: the direction from the leaves to the root: ``"LR"`` to the right, ``"TB"`` down, ``"RL"``, ``"BT"``.
        max_nodes: the most nodes to draw. A larger graph, or one with more than three edges per allowed node, is folded
            or cut to the nodes nearest to ``root`` and ``highlight``; the drawing says so. None draws everything,
            however long it takes.

    Raises:
        TypeError: if ``root`` is not a Value, ``module`` not a Module, or ``highlight`` neither a Value nor a pair.
        ValueError: if ``highlight`` is not in the graph, ``depth`` is negative or comes without a module, or another
            argument has none of the values above.

    >>> from micrograd.nn import MLP
    >>> model = MLP(2, [3, 1])
    >>> x = [Value(1.0), Value(2.0)]
    >>> for depth in (0, 1, 2, None):
    ...     print(draw(model(x), module=model, depth=depth).source.count("data "), "nodes are not folded")
    2 nodes are not folded
    2 nodes are not folded
    3 nodes are not folded
    24 nodes are not folded
    """
    check_type(root, Value, "draw() takes Values")
    check_type(names or {}, Mapping, "draw(…, names=) takes a mapping, such as locals()")
    order = topological_order(root)
    _check(module, depth, direction, max_nodes)
    lit = _read_highlight(highlight, set(order))
    graph = Graph(order, module, lit)
    items, notes = graph.fold_to_fit(depth, max_nodes)
    return Drawing(Writer(graph, items, names, local_gradients).source(direction, notes))


def _check(module: Any, depth: Any, direction: str, max_nodes: Any) -> None:
    if module is not None:
        check_type(module, Module, "draw(…, module=) takes a Module")
    if depth is not None and module is None:
        raise ValueError(f"depth={depth!r} folds a module: say which, with module=")
    for name, number, least in (("depth", depth, 0), ("max_nodes", max_nodes, 1)):
        if number is not None and (not isinstance(number, int) or number < least):
            raise ValueError(f"{name} is a whole number, at least {least}, or None, not {number!r}")
    if direction not in ("LR", "RL", "TB", "BT"):
        raise ValueError(f"direction is LR, RL, TB or BT, not {direction!r}")


def _read_highlight(highlight: Any, nodes: set[Value]) -> tuple[Value, ...]:
    # The nodes to highlight: one node, or the two ends of an edge, the operand last.
    lit = () if highlight is None else highlight if isinstance(highlight, tuple) else (highlight,)
    if len(lit) not in (0, 1, 2) or not all(isinstance(end, Value) for end in lit):
        raise TypeError(f"highlight takes a Value, or a pair of a node and its operand, not {highlight!r}")
    for end in lit:
        if end not in nodes:
            raise ValueError(f"highlight: {end!r} is not in the graph that is drawn")
    if len(lit) == 2 and lit[1] not in lit[0].parents:
        raise ValueError(f"highlight: {lit[1]!r} is no operand of {lit[0]!r}; give the node first, then its operand")
    return lit
