"""Anomaly detection: finds the first value or gradient that is not finite, the line of code that made it, and why."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, cast, overload

from .arguments import one_line
from .digits import Digits
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

    __slots__ = ("exact", "origin")

    origin: str
    exact: Any

    @property
    def _data(self) -> float:
        return cast(float, _slot.__get__(self))

    @_data.setter
    def _data(self, number: float) -> None:
        if not math.isfinite(number) and isinstance(find_watcher(), _Detector):  # it may outlive the block
            raise AnomalyError(f"gave {number}, at {self.origin}; {_explain_value(self, number)}")
        _slot.__set__(self, number)
        watcher = find_watcher()
        if isinstance(watcher, _Detector) and watcher.digits is not None:
            watcher.digits.replay(self, self.origin)


def _name(node: Value) -> str:
    return f" ({one_line(node.label)})" if node.label else ""


class _Detector(Watcher):
    # Watches all threads.

    def __init__(self, digits: Digits | None) -> None:
        self.digits = digits

    def make(self) -> Value:
        frame = sys._getframe(1)
        while frame.f_back and frame.f_code.co_filename.startswith((_PACKAGE, "<rule ")):
            frame = frame.f_back
        node: _Traced = object.__new__(_Traced)
        node.origin = f"{frame.f_code.co_filename}:{frame.f_lineno}"
        return node

    def check(self, root: Value, operations: Sequence[Value]) -> None:
        backwards = operations[::-1]
        if not all(_is_finite(parent) for node in operations for parent in node._parents):
            sums: dict[Value, float] = {}
            for node in backwards:
                _check(root, node, sums)
        if self.digits is not None:
            steps = ((node, _origin(node), contributions(node, lift(node._grad)._data)) for node in backwards)
            self.digits.replay_backward(root, steps)


@overload
def detect_anomaly(digits: Literal[False] = False) -> AbstractContextManager[None]: ...
@overload
def detect_anomaly(digits: Literal[True]) -> AbstractContextManager[Digits]: ...
def detect_anomaly(digits: bool = False) -> AbstractContextManager[Digits | None]:
    """Raises an error within the block at the first value or gradient that is not finite.

    The error names the operation, its operands, the line of code that made it, and why: a number that is too large, a
    slope that is infinite, 0·∞. For a gradient it also names the path from the loss, and says where the nan comes from
    a branch whose value is masked by a factor of 0. Each node that is made in the block remembers its file and line.
    The block applies to all threads. Blocks may be nested.

    Args:
        digits: also compute each value and each gradient with 50 digits (by mpmath), and yield a table of the
            operations and lines where most digits are lost. This is slow.

    Raises:
        AnomalyError: at the first nan or infinity. Leaves keep the ``grad`` that they had.
        ImportError: if ``digits`` is wanted and mpmath is not installed.

    >>> x = Value(0.0, label="x")
    >>> with detect_anomaly():
    ...     (3 * x.sqrt()).backward()
    Traceback (most recent call last):
        ...
    micrograd.anomaly.AnomalyError: the gradient of sqrt, at <doctest ...>:2, by operand 0 (x) = 0.0 is inf: the slope
    there is inf; from the loss: * (<doctest ...>:2) → sqrt (<doctest ...>:2)
    >>> x = Value(1e-7)
    >>> with detect_anomaly(digits=True) as digits:
    ...     y = (1 - x.cos()) / x**2
    ...     y.backward()
    >>> print(digits)
    operation        lost  right  times  value              with 50 digits      line
    -                12.9    3.1      1  4.99600361081e-15  5e-15               <doctest ...>:2
    gradient of cos   3.1    0.0      1  7992.77837357      -8.33333333333e-09  <doctest ...>:2
    ...
    """
    return _detect(Digits() if digits else None)


@contextmanager
def _detect(digits: Digits | None) -> Iterator[Digits | None]:
    with watch(_Detector(digits)):
        yield digits


def _explain_value(node: Value, number: float) -> str:
    # Why the value of a node is not finite.
    operands = [parent.data for parent in node.parents]
    bad = [i for i, x in enumerate(operands) if not math.isfinite(x)]
    found = ", ".join(f"operand {i}{_name(node.parents[i])} is {operands[i]}" for i in bad[:3])
    if not bad:
        return f"its operands are finite{': the number is too large for a float' * math.isinf(number)}"
    if math.isnan(number) and not any(map(math.isnan, operands)):
        form = {"*": "0·∞", "/": "∞/∞"}.get(node.op, "∞ - ∞")
        return f"{found}: {form} is not defined"
    return f"{found}: it was so before"


def _check(root: Value, node: Value, sums: dict[Value, float]) -> None:
    # Raises an error if all that arrives at a node is finite, and something that it hands on is not. ``sums`` collects
    # what arrived at each node.
    upstream = lift(node._grad)._data
    if not math.isfinite(upstream):
        return
    for i, (parent, given) in enumerate(zip(node.parents, contributions(node, upstream), strict=True)):
        before = sums.get(parent, 0.0)
        sums[parent] = before + given
        if math.isfinite(sums[parent]) or not math.isfinite(before):
            continue
        by = f"by operand {i}{_name(parent)} = {parent.data} is {given}"
        path = _path(root, node)
        if math.isfinite(given):
            reason = f"which is too large to add to {before:.6g}, the gradient that arrived there before"
        else:
            reason = _explain_slope(node, i, upstream, path)
        steps = " → ".join(f"{step.op} ({_origin(step)})" for step in path)
        raise AnomalyError(f"the gradient of {node.op}, at {_origin(node)}, {by}: {reason}; from the loss: {steps}")


def _explain_slope(node: Value, operand: int, upstream: float, path: list[Value]) -> str:
    # Why what a node hands on is not finite.
    slope = contributions(node)[operand]
    if math.isfinite(slope):
        return f"the slope {slope:.6g} times {upstream:.6g}, the gradient of the result, is too large for a float"
    if upstream:
        return f"the slope there is {slope}"
    text = f"the slope there is {slope}, the gradient of the result is 0, and their product is not defined"
    for child, following in pairwise(path):
        given = contributions(child, lift(child._grad)._data)
        if not any(x for x, parent in zip(given, child.parents, strict=True) if parent is following):
            return (
                f"{text}. This branch is masked: {child.op} at {_origin(child)} hands 0 on to it, so that its value "
                f"does not count, but its slope does. Mask the operand as well as the result: where(condition, x, 1.0) "
                f"in place of x keeps {node.op} where its slope is finite"
            )
    return text


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
