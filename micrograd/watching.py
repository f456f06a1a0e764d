"""The watchers of the engine: one stack, whose blocks may be entered and left in any order, from any thread.

Anomaly detection and traces are watchers. No class is patched: code that makes a node or reads a number asks here.

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

from .rule import FLOATS, VALUES

if TYPE_CHECKING:
    from .engine import Number, Value
    from .randomness import Kind

__all__ = ["Watcher", "find_watcher", "keep", "read_buffer", "report_look", "resting_collector", "watch", "watchers"]


class Watcher:
    """An observer of the engine within a block of :func:`watch`. Methods that it doesn't override change nothing.

    Attributes:
        thread: the identifier of the only thread that it watches; None to watch all threads.
        is_silent: whether compiled functions run as if nobody watched.
    """

    thread: int | None = None
    is_silent = False

    def make(self) -> Value:
        """Makes an empty node, which the engine then fills."""
        return cast("Value", FLOATS["create_"]())

    def look(self, owner: Any, attribute: str, how: str) -> None:
        """Called before ``data``, ``grad`` or ``training`` is read or set, and before ``backward`` is called."""

    def compare(self, compare: Callable[[Any, Any], bool], a: Value, b: Number) -> Any:
        """Compares a Value with another Value or a number; ``compare`` is a function of two numbers."""
        return compare(a._data, getattr(b, "_data", b))

    def find_largest(self, values: Sequence[Value]) -> Value | None:
        """The largest of some Values as a node without gradient, if their numbers may not be read; otherwise None."""
        return None

    def draw(self, kind: Kind, rng: Any) -> Value | None:
        """A random number as a node, if it is only known when a program runs; otherwise None."""
        return None

    def keep(self, module: Any, store: Callable[..., object], values: Sequence[Value]) -> bool:
        """Takes charge of what :func:`keep` does now, to do it later; returns whether it does."""
        return False

    def read_buffer(self, module: Any, name: str) -> Sequence[Number]:
        """The numbers of a module's buffer."""
        return getattr(module, name)  # type: ignore[no-any-return]

    def call(self, module: Any, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Called for the outputs of a module."""
        return module.forward(*inputs, **options)

    def spread(self, node: Value, local: Sequence[Number], upstream: Number) -> None:
        """Applies the chain rule on Values at a node of many parents: each collects two factors of a product."""
        for parent, slope in zip(node._parents, local, strict=True):
            parent._grad += slope, upstream  # type: ignore[operator]

    def check(self, root: Value, operations: Sequence[Value]) -> None:
        """Called after the chain rule has been applied to all operations in the graph of ``root``."""


_NOBODY = Watcher()

watchers: list[Watcher] = []
"""The present watchers, the most recent one last. Only :func:`watch` changes this list."""

_lock = threading.Lock()


def find_watcher() -> Watcher | None:
    """The watcher of this thread: the last one that watches only it, else the last one that watches all threads."""
    here = threading.get_ident()
    if watchers and watchers[-1].thread == here:  # nearly always
        return watchers[-1]
    newest_first = watchers[::-1]
    for thread in (here, None):
        for watcher in newest_first:
            if watcher.thread == thread:
                return watcher
    return None


def spread(node: Value, local: Sequence[Number], upstream: Number) -> None:
    """Lets the watcher of this thread apply the chain rule on Values at a node of many parents."""
    (find_watcher() or _NOBODY).spread(node, local, upstream)


def report_look(owner: Any, attribute: str, how: str) -> None:
    """Tells the watcher of this thread that an attribute is read, set or called."""
    if watcher := find_watcher():
        watcher.look(owner, attribute, how)


def keep(module: Any, store: Callable[..., object], values: Sequence[Value]) -> None:
    """Calls ``store`` with the numbers of the values, which change the module's buffers.

    In a compiled function, this happens after each run of the program.
    """
    watcher = find_watcher() if watchers else None
    if watcher is None or not watcher.keep(module, store, values):
        store(*[value._data for value in values])


def read_buffer(module: Any, name: str) -> Sequence[Number]:
    """The numbers of a module's buffer; in a trace, Values whose numbers are read when the program runs."""
    watcher = find_watcher() if watchers else None
    return watcher.read_buffer(module, name) if watcher else getattr(module, name)


@contextmanager
def watch(watcher: Watcher) -> Iterator[None]:
    """Lets the watcher watch within the block."""
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
    """Switches the cyclic garbage collector off within the block: graphs have no cycles that it could free."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _choose_maker() -> None:
    FLOATS["new_"] = _find_maker(watchers[-1]) if watchers else FLOATS["create_"]


def _find_maker(newest: Watcher) -> Callable[[], Value]:
    thread, make, get_ident = newest.thread, newest.make, threading.get_ident  # looked up once, not for each node

    def make_watched() -> Value:
        return make() if thread == get_ident() else (find_watcher() or _NOBODY).make()

    return make_watched


def _forget_other_threads() -> None:
    watchers[:] = [watcher for watcher in watchers if watcher.thread in (None, threading.get_ident())]
    _choose_maker()
    _lock.release()


VALUES["spread_"] = spread

if hasattr(os, "register_at_fork"):  # a forked process has only one thread, and another one may have held the lock
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_forget_other_threads)
