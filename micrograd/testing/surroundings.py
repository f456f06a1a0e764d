"""What a function may change when it is called: gradients, labels, buffers of modules, generators of random numbers.

They are found by following the function's variables and its arguments, and can be set back.
"""

from __future__ import annotations

import pickle
import random
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from ..engine import Value
from ..nn import Module
from ..references import find_defaults, find_references, read_cell

__all__ = ["Surroundings"]


class Surroundings:
    """All that can be reached from some objects, with its state when this was made.

    >>> from micrograd import nn
    >>> norm = nn.BatchNorm(1)
    >>> with Surroundings([norm]).restore():
    ...     out = norm([[1.0], [3.0]])
    >>> norm.running_mean
    [0.0]
    """

    def __init__(self, roots: Iterable[Any]) -> None:
        self._restorers: list[Callable[[], object]] = []
        self._generators: list[Callable[[], Any]] = []
        self._add_generator(random.getstate, random.setstate)
        if numpy := sys.modules.get("numpy"):
            self._add_generator(numpy.random.get_state, numpy.random.set_state)
        if torch := sys.modules.get("torch"):
            self._add_generator(
                lambda: torch.get_rng_state().tolist(), lambda state: torch.set_rng_state(torch.tensor(state).byte())
            )
        for thing in _reach(roots):
            self._add(thing)

    @contextmanager
    def restore(self) -> Iterator[None]:
        """Sets everything back at the end of the block."""
        try:
            yield
        finally:
            for restore in self._restorers:
                restore()

    def read_generators(self) -> bytes:
        """The states of all generators of random numbers: they differ if numbers were drawn in between."""
        return pickle.dumps([read() for read in self._generators])

    def _add(self, thing: Any) -> None:
        torch = sys.modules.get("torch")
        if isinstance(thing, Value):
            self._restorers.append(partial(_set_attributes, thing, data=thing.data, grad=thing.grad, label=thing.label))
        elif isinstance(thing, Module):
            self._restorers.append(partial(_set_state, vars(thing), vars(thing).copy()))
            self._restorers += [partial(_set_items, x, x.copy()) for x in vars(thing).values() if isinstance(x, list)]
        elif torch and isinstance(thing, torch.nn.Module):
            for tensor in (*thing.parameters(recurse=False), *thing.buffers(recurse=False)):
                self._add_tensor(tensor)
        elif torch and isinstance(thing, torch.Tensor) and thing.is_leaf:
            self._add_tensor(thing)
        elif isinstance(thing, random.Random) and not isinstance(thing, random.SystemRandom):
            self._add_generator(thing.getstate, thing.setstate)
        elif hasattr(thing, "bit_generator"):  # NumPy's
            bits = thing.bit_generator
            self._add_generator(lambda: bits.state, lambda state: setattr(bits, "state", state))

    def _add_tensor(self, tensor: Any) -> None:
        grad = None if tensor.grad is None else tensor.grad.clone()
        self._restorers.append(partial(_set_numbers, tensor.detach(), tensor.detach().clone()))
        self._restorers.append(partial(_set_attributes, tensor, requires_grad=tensor.requires_grad, grad=grad))

    def _add_generator(self, read: Callable[[], Any], write: Callable[[Any], object]) -> None:
        self._generators.append(read)
        self._restorers.append(partial(write, read()))


def _set_attributes(thing: Any, **attributes: Any) -> None:
    for name, value in attributes.items():
        setattr(thing, name, value)


def _set_numbers(tensor: Any, before: Any) -> None:
    if not tensor.equal(before):  # an expanded tensor can't be written to
        tensor.copy_(before)


def _set_state(state: dict[str, Any], before: dict[str, Any]) -> None:
    state.clear()
    state.update(before)


def _set_items(items: list[Any], before: list[Any]) -> None:
    items[:] = before


def _reach(roots: Iterable[Any]) -> Iterator[Any]:
    seen: dict[int, Any] = {}
    stack = list(roots)
    own = {getattr(getattr(root, "__func__", root), "__module__", None) for root in stack}
    while stack:
        thing = stack.pop()
        if id(thing) not in seen:
            seen[id(thing)] = thing  # kept, so that no other object gets the same id
            yield thing
            stack += _look_into(thing, own)


def _look_into(thing: Any, own: set[Any]) -> Iterable[Any]:
    if isinstance(thing, random.Random):
        return ()
    if isinstance(thing, Value):
        return thing.parents
    if isinstance(thing, types.FunctionType) and thing.__module__ not in own:  # what a library's functions use is its
        return [*map(read_cell, thing.__closure__ or ()), *[default for _, default in find_defaults(thing)]]
    if getattr(getattr(thing, "dtype", None), "kind", "") == "O":  # an array of Values
        return list(thing.flat)
    return [item for _, item in find_references(thing)]
