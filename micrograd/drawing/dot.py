"""Writes a drawing in DOT, Graphviz's language."""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Mapping
from typing import Any

try:
    import graphviz  # type: ignore[import-untyped]
except ImportError as error:
    raise ImportError("a drawing needs graphviz: python -m pip install graphviz") from error

from .. import rules
from ..engine import Value
from ..naming import name_nodes
from ..stepping import contributions
from .graph import Graph, Item, Items, Place

__all__ = ["Writer"]

# Blue and orange differ for every kind of colour vision, and both are light enough for black text. The other colours,
# of lines and text, are visible on white and on black.
_NEGATIVE, _POSITIVE, _NOT_FINITE = (91, 155, 213), (244, 150, 60), "#f4a6d7"
_INK, _GREY = "#111111", "#808080"
_HIGHLIGHT = {"color": "#e0007a", "penwidth": "4"}

_FONT_SIZE, _SMALL = 12, 10
_LONGEST = 40  # the most characters of a name
_STRIPES = 21  # the stripes of the legend's colour scale
_MANY_EDGES = 500  # with more edges, the layout takes fewer rounds, which saves nine tenths of the time

_KINDS = {  # the kinds of boxes: the text of the legend, and the style
    "operation": ("round corners: operation", {"style": "rounded,filled"}),
    "parameter": ("double border: parameter", {"peripheries": "2"}),
    "input": ("square corners: input", {}),
    "constant": ("turned corner: constant", {"shape": "note"}),
    "block": ("block: folded module", {"shape": "box3d"}),
}


class Writer:
    """Writes the source of a drawing.

    Args:
        graph: all nodes.
        items: the nodes and blocks to draw.
        names: variables that name nodes.
        local_gradients: whether to write local gradients at the edges.
    """

    def __init__(self, graph: Graph, items: Items, names: Mapping[str, Any] | None, local_gradients: bool) -> None:
        self.graph, self.items, self.local_gradients = graph, items, local_gradients
        paths = {
            ".".join([*graph.places[parameter][1:], name]): parameter
            for parameter, name in graph.parameters.items()
            if not parameter.label
        }
        self.called = name_nodes(graph.order[-1], {**paths, **(names or {})})
        for path, parameter in paths.items():
            if self.called[parameter] == path:  # its path is clear from the boxes around it
                self.called[parameter] = graph.parameters[parameter]
        self.numbers = {place: i for i, place in enumerate(graph.modules)}
        drawn = [node.grad for nodes in items.nodes.values() for node in nodes]
        self.largest = max((abs(grad) for grad in drawn if math.isfinite(grad)), default=0.0)
        self.all_finite = all(map(math.isfinite, drawn))

    def source(self, direction: str, notes: list[str]) -> str:
        """Returns the source.

        Args:
            direction: Graphviz's ``rankdir``.
            notes: lines of text below the drawing.
        """
        font = {"fontname": "Helvetica", "fontsize": str(_FONT_SIZE)}
        small = {**font, "fontsize": str(_SMALL), "fontcolor": _GREY}
        dot = graphviz.Digraph(
            graph_attr={**small, "rankdir": direction, "bgcolor": "transparent", "labelloc": "b", "ranksep": "0.4"},
            node_attr={
                **font,
                "fontcolor": _INK,
                "color": _GREY,
                "shape": "box",
                "style": "filled",
                "margin": ".15,.07",
            },
            edge_attr={**small, "color": _GREY, "arrowsize": "0.7"},
        )
        kinds = {self._kind(item) for item in self.items.nodes}
        notes = [*notes, "     ".join(text for kind, (text, _) in _KINDS.items() if kind in kinds)]
        if not self.all_finite:
            notes.append("pink: the gradient is not finite")
        if not self.largest:
            notes.append("all gradients are 0")
        dot.attr(label=_label(*notes))
        if len(self.items.edges) > _MANY_EDGES:
            dot.attr(nslimit="0.5", nslimit1="0.5", mclimit="0.1")
        self._write_items(dot)
        self._write_edges(dot)
        self._write_legend(dot)
        written: str = dot.source
        return written

    def _write_items(self, dot: graphviz.Digraph) -> None:
        inside: dict[Place, list[Item]] = {(): []}  # the items in each module
        modules: dict[Place, dict[Place, None]] = {}
        for item in self.items.nodes:
            place = item[:-1] if isinstance(item, tuple) else self.graph.places.get(item, ())
            inside.setdefault(place, []).append(item)
            for depth in range(len(place)):
                modules.setdefault(place[:depth], {})[place[: depth + 1]] = None
        self._write_module(dot, (), inside, modules)

    def _write_module(
        self,
        dot: graphviz.Digraph,
        place: Place,
        inside: dict[Place, list[Item]],
        modules: dict[Place, dict[Place, None]],
    ) -> None:
        for item in inside.get(place, ()):
            if isinstance(item, tuple):
                self._write_block(dot, item)
            else:
                self._write_node(dot, item)
        for part in modules.get(place, ()):
            with dot.subgraph(name=f"cluster_{self.numbers[part]}") as cluster:
                # Place the title where the fewest edges cross it: edges enter blocks, and leave neurons at the end.
                side = "r" if any(isinstance(item, tuple) for item in self.items.nodes) else "l"
                cluster.attr(
                    label=_label(self._title(part)), labelloc="t", labeljust=side, style="rounded", color=_GREY
                )
                self._write_module(cluster, part, inside, modules)

    def _title(self, place: Place) -> str:
        return f"{_shorten(place[-1])} {type(self.graph.modules[place]).__name__}".strip()

    def _kind(self, item: Item) -> str:
        if isinstance(item, tuple):
            return "block"
        if item.parents:
            return "operation"
        return "parameter" if item in self.graph.parameters else "constant" if item.rule is rules.constant else "input"

    def _write_node(self, dot: graphviz.Digraph, node: Value) -> None:
        kind, name = self._kind(node), _shorten(self.called[node])
        if node.op:
            name = f"{name} = {_shorten(node.op)}"
        elif kind == "constant" and name.startswith("%"):
            name = kind
        self._write_box(dot, node, node.grad, name, f"data {node.data:.6g}", f"grad {node.grad:.6g}")

    def _write_block(self, dot: graphviz.Digraph, place: Place) -> None:
        nodes = self.items.nodes[place]
        parameters = sum(node in self.graph.parameters for node in nodes)
        gradients = sorted((node.grad for node in nodes), key=lambda grad: (math.isnan(grad), grad))
        low, high = gradients[0], gradients[-1]
        extreme = max(gradients, key=lambda grad: abs(grad) if math.isfinite(grad) else math.inf)
        parts = f"{parameters:,} of {len(nodes):,} nodes are parameters"
        self._write_box(dot, place, extreme, self._title(place), parts, f"grad {low:.6g} … {high:.6g}")

    def _write_box(self, dot: graphviz.Digraph, item: Item, gradient: float, *lines: str) -> None:
        attributes = {"fillcolor": self._colour(gradient), **_KINDS[self._kind(item)][1]}
        if len(self.graph.lit) == 1 and self.graph.lit[0] in self.items.nodes[item]:
            attributes |= _HIGHLIGHT
        if any(map(_is_wide, "".join(lines))):  # Graphviz computes too small a width for them
            widths = [sum(1.2 if _is_wide(c) else 0.6 for c in line) for line in lines]
            attributes["width"] = f"{max(widths) * _FONT_SIZE / 72 + 0.3:.2f}"
        dot.node(self._id(item), _label(*lines), id=self._id(item), **attributes)

    def _id(self, item: Item) -> str:
        kind = "f" if isinstance(item, tuple) else "n"
        return f"{kind}{self.graph.index[self.items.nodes[item][-1]]}"

    def _colour(self, gradient: float) -> str:
        if not math.isfinite(gradient):
            return _NOT_FINITE
        share = abs(gradient) / self.largest if self.largest else 0.0
        return _shade(math.copysign(math.sqrt(share), gradient))  # √ makes small gradients visible

    def _write_edges(self, dot: graphviz.Digraph) -> None:
        left_out: Counter[Item] = Counter()
        local: dict[Value, list[str]] = {}
        for edge in self.items.edges:
            if edge.source not in self.items.nodes:
                left_out[edge.target] += edge.count
                continue
            attributes = {"id": edge.id, **(_HIGHLIGHT if edge.lit else {})}
            if edge.count > 1:
                attributes["label"] = f"×{edge.count:,}"
            elif self.local_gradients and edge.source is edge.parent and edge.target is edge.node:
                if edge.node not in local:
                    local[edge.node] = _local_gradients(edge.node)
                attributes["label"] = local[edge.node][edge.operand]
            dot.edge(self._id(edge.source), self._id(edge.target), **attributes)
        for item, count in left_out.items():
            name = f"{self._id(item)}-operands"
            dot.node(name, f"{count:,} more", shape="plaintext", style="", fontcolor=_GREY, fontsize=str(_SMALL))
            dot.edge(name, self._id(item), style="dashed")

    def _write_legend(self, dot: graphviz.Digraph) -> None:
        if not self.largest:
            return
        stripes = ":".join(self._colour(self.largest * ((2 * i + 1) / _STRIPES - 1)) for i in range(_STRIPES))
        ends = f"{-self.largest:.3g}        0        {self.largest:.3g}"
        dot.node(
            "legend",
            _label("grad", ends),
            id="legend",
            style="striped",
            fillcolor=stripes,
            color="transparent",
            fontsize=str(_SMALL),
            margin=".1,.03",
            height="0",
        )


def _local_gradients(node: Value) -> list[str]:
    try:
        return [f"{gradient:.6g}" for gradient in contributions(node)]
    except (ArithmeticError, ValueError):
        return ["undefined"] * len(node.parents)


def _shade(share: float) -> str:
    end = _NEGATIVE if share < 0 else _POSITIVE
    return "#" + "".join(f"{round(255 + (channel - 255) * abs(share)):02x}" for channel in end)


def _label(*lines: str) -> str:
    # Escapes text so that Graphviz shows it as it is: no escapes like \\N, entities, markup or control characters.
    plain = ["".join(c if c.isprintable() else "\ufffd" for c in line) for line in lines]
    label: str = graphviz.nohtml(r"\n".join(line.replace("&", "&amp;").replace("\\", r"\\") for line in plain))
    return label


def _shorten(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _is_wide(character: str) -> bool:
    return unicodedata.east_asian_width(character) in "WF"
