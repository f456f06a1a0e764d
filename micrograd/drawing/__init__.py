"""Drawings of a graph: what each node is and holds, how large its gradient is, and which module it belongs to.

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

In a notebook a drawing shows itself; elsewhere ``drawing.save("y.svg")``. A network's neurons and layers are boxes
around their nodes, or boxes instead of them: ``draw(loss, module=model, depth=1)``.
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
    """A graph drawn, as :func:`draw` returns it; notebooks show it by themselves.

    Attributes:
        source: the drawing in Graphviz's language, DOT.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self._svg = ""

    def svg(self) -> str:
        """The drawing as SVG: the node i of ``topological_order(root)`` has the id ``n{i}``, the edge from its k-th
        operand ``e{i}_{k}``.

        Raises:
            RuntimeError: if there is no Graphviz: what to install.
        """
        if not self._svg:
            self._svg = run_graphviz(self.source, "svg").decode()
        return self._svg

    def _repr_svg_(self) -> str:
        return self.svg()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the drawing to a file; one that exists is kept if that fails.

        Args:
            path: ends in ``.svg``, ``.dot`` or ``.gv``; in ``.png``, with Graphviz or ``resvg-py`` installed; or
                in ``.pdf``, with Graphviz installed.

        Raises:
            ValueError: if the name ends otherwise.
            OSError: if it can't be written, or what stands there is no regular file.
            RuntimeError: if something isn't installed: what to install.
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
    """The graph of everything that ``root`` was made of, drawn.

    To a module belong its parameters, each operation that has one of them as an operand, and the activation on top of
    such an operation: one of that single operand, and for a :class:`~micrograd.nn.Neuron` all that its own is made of.
    An operation on parameters of several modules belongs to the module around them, and so does a constant that is
    used by modules alone. All else stands outside.

    Args:
        root: the last node.
        names: variables by which the nodes are called, like ``locals()``.
        module: a network in the graph. Its modules are drawn around their nodes, with their names.
        depth: from which depth on modules are folded, each to one block: 0 for all of ``module``, 1 for the modules
            in it (the layers of an MLP), 2 for those in them (its neurons).
        local_gradients: write at each edge the local gradient, ∂node/∂operand.
        highlight: a node that is lit, or the edge of a node and one of its operands: ``(node, operand)``.
        direction: where the graph runs from the leaves: ``"LR"`` to the right, ``"TB"`` down, ``"RL"``, ``"BT"``.
        max_nodes: a larger graph, or one with over three times as many edges, is folded, or cut to what is nearest to
            ``root`` and ``highlight``; the drawing says so. None draws everything, however long it takes.

    Raises:
        TypeError: if ``root`` is not a Value, ``module`` not a Module, or ``highlight`` neither a Value nor a pair.
        ValueError: if what is highlighted is not in the graph, ``depth`` comes without a module or is negative, or a
            further argument is none of those above.

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
    lit = _lit(highlight, set(order))
    graph = Graph(order, module, lit)
    items, notes = graph.fitted(depth, max_nodes)
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


def _lit(highlight: Any, nodes: set[Value]) -> tuple[Value, ...]:
    # A node alone, or the two ends of an edge, the operand last.
    lit = () if highlight is None else highlight if isinstance(highlight, tuple) else (highlight,)
    if len(lit) not in (0, 1, 2) or not all(isinstance(end, Value) for end in lit):
        raise TypeError(f"highlight takes a Value, or a pair of a node and its operand, not {highlight!r}")
    for end in lit:
        if end not in nodes:
            raise ValueError(f"highlight: {end!r} is not in the graph that is drawn")
    if len(lit) == 2 and lit[1] not in lit[0].parents:
        raise ValueError(f"highlight: {lit[1]!r} is no operand of {lit[0]!r}; give the node first, then its operand")
    return lit
