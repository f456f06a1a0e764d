"""The names of a graph's nodes in tables, drawings and the debugger.

>>> from micrograd import Value
>>> w, x = Value(-3.0, label="w"), Value(2.0)
>>> y = w * x + 1
>>> list(name_nodes(y).values())
['w', '%1', '%2', '%3', '%4']
>>> list(name_nodes(y, locals()).values())
['w', 'x', '%2', '%3', 'y']
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from .arguments import check_type, one_line
from .engine import Value, topological_order

__all__ = ["name_nodes"]


def name_nodes(root: Value, names: Mapping[str, Any] | None = None) -> dict[Value, str]:
    """All nodes of the graph of ``root``, in topological order, each with a unique name.

    A node's name is its variable in ``names``, otherwise its label, on one line. If it has neither, the name is its
    place in the topological order, ``%3``. If two nodes share a name, their places are appended: ``x%3``.

    Args:
        root: the last node.
        names: variables and their objects, like ``locals()``. Objects that are not Values of the graph are ignored.

    Raises:
        TypeError: if ``root`` is not a Value, or ``names`` not a mapping.

    >>> from micrograd import Value
    >>> x = Value(2.0, label="x")
    >>> list(name_nodes(x * x).values())
    ['x', '%1']
    """
    check_type(root, Value, "name_nodes() takes Values")
    check_type(names or {}, Mapping, "names= takes a mapping, such as locals()")
    nodes = topological_order(root)
    called = {node: one_line(node.label) for node in nodes}
    for name, value in (names or {}).items():
        if isinstance(value, Value) and value in called and not name.startswith("_"):
            called[value] = name
    uses = Counter(called.values())
    return {
        node: name if name and uses[name] == 1 and "%" not in name else f"{name}%{i}"
        for i, (node, name) in enumerate(called.items())
    }
