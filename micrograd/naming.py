"""What the nodes of a graph are called, in tables, drawings and the debugger.

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
    """All nodes that ``root`` was made of, in topological order, each with a name of its own.

    A node is called by its variable in ``names``, else by its label on one line. A node that has neither, or shares it
    with another one, has its place in the topological order behind it or instead: ``%3``.

    Args:
        root: the last node.
        names: variables and what they hold, like ``locals()``; what is no Value of the graph is passed over.
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
