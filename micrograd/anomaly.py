"""Anomaly detection: finds the first value or gradient that is not finite, and the line of code that made it."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from .arguments import one_line
from .engine import Value, lift
from .scalar import Scalar
from .stepping import contributions
from .watching import Watcher, find_watcher, watch

__all__ = ["AnomalyError", "detect_anomaly"]

_PACKAGE = str(Path(__file__).parent)
_slot: Any = Scalar.__dict__["_data"]


class AnomalyError(ArithmeticError):
    """A value or a gradient that is not finite."""


class _Traced(Value):
    # A node that remembers the line that made it, and refuses a number that is not finite.

    __slots__ = ("origin",)

    origin: str

    @property
    def _data(self) -> float:
        return cast(float, _slot.__get__(self))

    @_data.setter
    def _data(self, number: float) -> None:
        if not math.isfinite(number) and isinstance(find_watcher(), _Detector):  # it may outlive the block
            bad = [i for i, parent in enumerate(self._parents) if not math.isfinite(parent.data)]
            found = [f"operand {i}{_name(self._parents[i])} is {self._parents[i].data}" for i in bad[:3]]
            raise AnomalyError(f"gave {number}, at {self.origin}; {', '.join(found) or 'its operands are finite'}")
        _slot.__set__(self, number)


def _name(node: Value) -> str:
    return f" ({one_line(node.label)})" if node.label else ""


class _Detector(Watcher):
    # Watches all threads.

    def make(self) -> Value:
        frame = sys._getframe(1)
        while frame.f_back and frame.f_code.co_filename.startswith((_PACKAGE, "<rule ")):
            frame = frame.f_back
        node: _Traced = object.__new__(_Traced)
        node.origin = f"{frame.f_code.co_filename}:{frame.f_lineno}"
        return node

    def check(self, root: Value, operations: Sequence[Value]) -> None:
        for node in reversed(operations):
            _check(root, node)


@contextmanager
def detect_anomaly() -> Iterator[None]:
    """Raises an error within the block at the first value or gradient that is not finite.

    The error names the operation, its operands and the line of code that made it; for a gradient, also the path from
    the loss. Each node that is made in the block remembers its file and line. The block applies to all threads. Blocks
    may be nested.

    Raises:
        AnomalyError: at the first nan or infinity. Leaves keep the ``grad`` that they had.

    >>> x = Value(0.0, label="x")
    >>> with detect_anomaly():
    ...     (3 * x.sqrt()).backward()
    Traceback (most recent call last):
        ...
    micrograd.anomaly.AnomalyError: the gradient of sqrt, at <doctest ...>:2, by operand 0 (x) = 0.0 is inf; from the
    loss: * (<doctest ...>:2) → sqrt (<doctest ...>:2)
    """
    with watch(_Detector()):
        yield


def _check(root: Value, node: Value) -> None:
    upstream = lift(node._grad)._data
    if all(map(_is_finite, node._parents)) or not math.isfinite(upstream):
        return
    # A parent's gradient is a sum over all its children. Check whether this node's contribution is not finite.
    for i, (parent, contribution) in enumerate(zip(node.parents, contributions(node, upstream), strict=True)):
        if not math.isfinite(contribution):
            path = " → ".join(f"{step.op} ({_origin(step)})" for step in _path(root, node))
            raise AnomalyError(
                f"the gradient of {node.op}, at {_origin(node)}, by operand {i}{_name(parent)} = {parent.data} is "
                f"{contribution}; from the loss: {path}"
            )


def _is_finite(node: Value) -> bool:
    # Whether the gradient is known to be finite. If gradients are Values, that of a leaf is not summed yet.
    return not isinstance(node._grad, list) and math.isfinite(lift(node._grad)._data)


def _origin(node: Value) -> str:
    return getattr(node, "origin", "made outside the block")


def _path(root: Value, node: Value) -> list[Value]:
    """Finds a shortest path from the root to the node."""
    came_from: dict[Value, Value] = {}
    found = [root]
    for child in found:
        if child is node:
            break
        for parent in child.parents:
            if parent not in came_from:
                came_from[parent] = child
                found.append(parent)
    path = [node]
    while path[-1] is not root:
        path.append(came_from[path[-1]])
    return path[::-1]
