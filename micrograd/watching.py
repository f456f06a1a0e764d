"""Who watches the engine: one stack, whose blocks may be entered and left in any order, from any thread.

Anomaly detection and traces watch. Nobody patches a class: whoever makes a node, or shows a number, asks here.

>>> from micrograd import Value
>>> class Counter(Watcher):
...     count = 0
...     def make(self):
...         self.count += 1
...         return super().make()
>>> counter = Counter()
>>> with watch(counter):
...     y = Value(2.0) * 3 + 1
>>> counter.count
2
"""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from .rule import FLOATS

if TYPE_CHECKING:
    from .engine import Number, Value

__all__ = ["Watcher", "find_watcher", "report_look", "resting_collector", "watch", "watchers"]


class Watcher:
    """Somebody who watches the engine while :func:`watch` lets it. What it doesn't override is as without it.

    Attributes:
        thread: the identifier of the only thread that it watches; None for all of them.
    """

    thread: int | None = None

    def make(self) -> Value:
        """Makes a node, whose contents come later."""
        return cast("Value", FLOATS["create_"]())

    def look(self, owner: Any, attribute: str, how: str) -> None:
        """Is called before ``data``, ``grad`` or ``training`` is read or set, and ``backward`` called."""

    def compare(self, compare: Callable[[Any, Any], bool], a: Value, b: Number) -> Any:
        """Compares a Value with another one, or with a number, by a function of their numbers."""
        return compare(a._data, getattr(b, "_data", b))

    def find_largest(self, values: Sequence[Value]) -> Value | None:
        """The largest of some Values, as a node that passes no gradient on, if nobody may look at their numbers."""
        return None

    def check(self, root: Value, operations: Sequence[Value]) -> None:
        """Is called when the chain rule has been applied to all operations that a root was made of."""


watchers: list[Watcher] = []
"""Who watches now, the last one last. Only :func:`watch` changes it."""

_lock = threading.Lock()


def find_watcher() -> Watcher | None:
    """Who watches this thread: the last one that watches it alone, else the last one that watches all threads."""
    here, newest_first = threading.get_ident(), watchers[::-1]
    for thread in (here, None):
        for watcher in newest_first:
            if watcher.thread == thread:
                return watcher
    return None


def report_look(owner: Any, attribute: str, how: str) -> None:
    """Tells who watches this thread that somebody looks at an attribute."""
    if watcher := find_watcher():
        watcher.look(owner, attribute, how)


@contextmanager
def watch(watcher: Watcher) -> Iterator[None]:
    """Within the block the watcher watches."""
    try:
        with _lock:
            watchers.append(watcher)
            _choose_maker()
        yield
    finally:
        with _lock:
            if watcher in watchers:
                watchers.remove(watcher)
            _choose_maker()


@contextmanager
def resting_collector() -> Iterator[None]:
    """The cyclic collector rests within the block: graphs have no cycles, and it would look at all nodes in vain."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _choose_maker() -> None:
    FLOATS["new_"] = _make_watched if watchers else FLOATS["create_"]


def _make_watched() -> Value:
    watcher = find_watcher()
    return watcher.make() if watcher else cast("Value", FLOATS["create_"]())


def _forget_other_threads() -> None:
    watchers[:] = [watcher for watcher in watchers if watcher.thread in (None, threading.get_ident())]
    _choose_maker()
    _lock.release()


if hasattr(os, "register_at_fork"):  # a child process has none of the other threads, one of which may hold the lock
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_forget_other_threads)
