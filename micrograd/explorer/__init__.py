"""A web page to step through both passes of a graph, and to change its numbers.

>>> from micrograd import Value
>>> w, x = Value(-3.0, label="w"), Value(2.0, label="x")
>>> loss = (w * x + 1).tanh()
>>> from pathlib import Path
>>> from tempfile import TemporaryDirectory
>>> with TemporaryDirectory() as folder:
...     explore(loss, f"{folder}/loss.html", names=locals())
...     Path(folder, "loss.html").read_text(encoding="utf-8").splitlines()[0]
'<!doctype html>'

The page is one file, and needs no network. Python computes its first numbers. When a leaf is edited, the page computes
both passes itself, with the rules of :mod:`micrograd.rules`, translated by :mod:`micrograd.explorer.translation`.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
import re
import sys
from collections.abc import Mapping
from importlib.resources import files
from typing import Any
from xml.etree import ElementTree

from .. import rules
from ..arguments import check_type
from ..drawing import draw
from ..engine import Value, topological_order
from ..files import write_file
from ..naming import name_nodes
from ..rule import CHAIN_RULE, Rule
from ..stepping import BackwardStep, backward_steps, forward_steps, write_expression
from .translation import Translation, branches, depends, number, translate

__all__ = ["explore"]

_MOST_NODES, _MOST_EDGES = 1_000, 4_000  # a larger graph is unreadable, and its layout takes minutes


def explore(root: Value, path: str | os.PathLike[str], names: Mapping[str, Any] | None = None) -> None:
    """Writes a page that steps through the graph of ``root``: the forward pass, then the backward pass.

    Both passes start from the present data of the leaves, and from gradients of 0, as after ``zero_grad()``. The
    Values are not changed.

    Args:
        root: the last node.
        path: the file to write, like ``"x.html"``.
        names: variables that name nodes, like ``locals()``.

    Raises:
        TypeError: if ``root`` is not a Value.
        ValueError, ArithmeticError: if the graph is too large, a rule in it can't be translated to JavaScript, or
            Python's float raises it in one of the passes.
        OSError: if the file can't be written, or is not a regular file; an existing file is then unchanged.
        RuntimeError: if Graphviz is missing; the message says what to install.
    """
    check_type(root, Value, "explore() takes Values")
    write_file(path, _page(root, names).encode())


def _page(root: Value, names: Mapping[str, Any] | None) -> str:
    nodes = topological_order(root)
    edges = sum(len(node.parents) for node in nodes)
    if len(nodes) > _MOST_NODES or edges > _MOST_EDGES:
        raise ValueError(
            f"explore() shows up to {_MOST_NODES:,} nodes and {_MOST_EDGES:,} edges, and this graph has {len(nodes):,} "
            f"and {edges:,}: take a part of it, the loss of one example or of a smaller network; "
            "draw(loss) folds what is too large, and loss.steps() walks through any graph"
        )
    compiled = next((node for node in nodes if hasattr(node.rule, "slopes")), None)
    if compiled is not None:
        raise ValueError(
            f"{compiled!r} was made by a compiled function, of which a page can't show more: call the plain one"
        )
    translation = translate(node.rule for node in nodes if node.parents)
    before = [(node, node.data, node.grad) for node in nodes]
    try:
        data = _data(root, nodes, names, translation)
        svg = _inline(draw(root, names=names, local_gradients=True, max_nodes=None).svg())
    finally:
        for node, number_, gradient in before:
            node.data, node.grad = number_, gradient
    constants = (
        f"const RULES = {translation.source};\nconst COMPENSATED_SUM = {json.dumps(sys.version_info >= (3, 12))};"
    )
    chain_rule = (
        f"const chainRule = (parent, local, upstream_) => {{ {CHAIN_RULE.format(parent='parent', local='local')}; }};"
    )
    script = "\n".join([_file("python.js"), constants, chain_rule, _file("page.js")])
    called = name_nodes(root, names)
    name = called[root]
    parts = {
        "title": html.escape(f"{name} · micrograd"),
        "name": html.escape(name),
        "formula": html.escape(f" = {write_expression(root, called)}" if root.parents else ""),
        "hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "style": _file("page.css"),
        "svg": svg,
        "data": json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"),
        "script": script,
    }
    # One pass replaces all placeholders, because the inserted text may look like a placeholder.
    return re.sub(r"\{\{(\w+)\}\}", lambda place: parts[place[1]], _file("page.html"))


def _file(name: str) -> str:
    return (files(__name__) / name).read_text(encoding="utf-8")


def _data(root: Value, nodes: list[Value], names: Mapping[str, Any] | None, translation: Translation) -> dict[str, Any]:
    # The data of the page. Afterwards the nodes have the data and gradients of the two passes.
    called, index = name_nodes(root, names), {node: i for i, node in enumerate(nodes)}
    forward = [[index[step.node], number(step.value, ""), step.formula] for step in forward_steps(root, names)]
    backward = []
    for node in nodes:
        node.grad = 0.0
    for step in backward_steps(root, names):
        numbers = [number(x, "") for x in (step.local, step.contribution, step.after)]
        backward.append([index[step.node], step.operand, *numbers, _write_gradient(step), _formulas(step)])
    return {
        "nodes": [
            {
                "name": called[node],
                "kind": "operation" if node.parents else "constant" if node.rule is rules.constant else "leaf",
                "op": node.op,
                "data": number(node.data, ""),
                "parents": [index[parent] for parent in node.parents],
            }
            | _of_operation(node.rule, translation)
            for node in nodes
        ],
        "forward": forward,
        "backward": backward,
        "rules": [
            {"operands": rule.operands, "variadic": rule.variadic, "value": rule.value, "local": rule.local}
            for rule in translation.rules
        ],
    }


def _of_operation(rule: Rule, translation: Translation) -> dict[str, Any]:
    if not rule.operands:
        return {}
    constants = {name: number(x, f"rule {rule.name!r}: the constant {name}") for name, x in rule.constants.items()}
    return {"rule": translation.rules.index(rule.whole), "constants": constants}


def _write_gradient(step: BackwardStep) -> str:
    # The local gradient as a formula; empty if the rule's text runs on floats only, for example if it has a remainder.
    try:
        return step.formula
    except (ArithmeticError, ValueError, TypeError, NameError):
        return ""


def _formulas(step: BackwardStep) -> list[str] | None:
    # The local gradient as a formula, for each branch that other numbers may take; None if there is only one branch.
    rule = step.node.rule
    if rule.variadic:
        return [""] if depends(rule.local[0]) else None
    texts = branches(rule.local[step.operand])
    if len(texts) == 1 and not depends(texts[0]):
        return None
    return [_formula(step, text) for text in texts]


def _formula(step: BackwardStep, text: str) -> str:
    # The formula of a branch; empty if the formula depends on the numbers.
    if depends(text):
        return ""
    rule = step.node.rule
    local = [text if k == step.operand else "0.0" for k in range(len(rule.local))]
    alone = Value(1.0)
    alone._parents = tuple([Value(1.0) for _ in step.node.parents])
    alone.rule = Rule(rule.name, rule.operands, rule.value, tuple(local), rule.constants)
    called = {stand_in: step.names[parent] for stand_in, parent in zip(alone._parents, step.node.parents, strict=True)}
    names = {**called, alone: step.names[step.node]}
    return _write_gradient(BackwardStep(alone, alone._parents[step.operand], step.operand, 0, 0, 0, 0, 0, names))


def _inline(svg: str) -> str:
    # The nodes and edges of a drawing, to embed in a page: without namespaces, comments and titles, which browsers show
    # as tooltips.
    root = ElementTree.fromstring(svg)
    for element in list(root.iter()):
        element.tag = element.tag.rpartition("}")[2]
        element.attrib = {key: value for key, value in element.attrib.items() if not key.startswith("{")}
        for child in list(element):
            drawn = element.get("class") != "graph" or re.fullmatch(r"n\d+|e\d+_\d+", child.get("id", ""))
            if child.tag.endswith("}title") or not drawn:
                element.remove(child)
    root.attrib = {"id": "drawing"}
    return ElementTree.tostring(root, encoding="unicode")
