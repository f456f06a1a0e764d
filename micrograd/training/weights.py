"""The parameters, buffers and random generators of a run."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from typing import Any

from ..engine import Value
from ..nn import Module
from ..nn.module import modules

__all__ = ["Weights", "generators"]

_OTHERS = "parameters"  # the name of the parameters that are not in the model

_data, _grad = attrgetter("_data"), attrgetter("_grad")


class Weights:
    """The numbers of a model, and of trained parameters that are not in the model.

    Args:
        parameters: the Values that the optimizer trains.
        model: their model, if there is one.

    >>> Weights([Value(1.0), Value(2.0)]).state_dict()
    {'parameters': [1.0, 2.0]}
    """

    def __init__(self, parameters: Iterable[Value], model: Module | None = None) -> None:
        self.model = model
        in_model = model.parameters() if model else []
        known = set(in_model)
        self._others = [parameter for parameter in parameters if parameter not in known]
        self.values = [*in_model, *self._others]
        self._buffers = [(module, name) for module in modules(model) for name in module.buffers]

    def state_dict(self) -> dict[str, Any]:
        """Returns plain numbers: the model's state, and ``"parameters"`` for those that are not in the model."""
        state = self.model.state_dict() if self.model else {}
        return {**state, _OTHERS: [value.data for value in self._others]} if self._others else state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Sets the numbers to those of a :meth:`state_dict`.

        Raises:
            ValueError: if it belongs to another model; nothing is then changed.
        """
        others = state.get(_OTHERS, []) if self._others else []
        if not isinstance(others, list) or len(others) != len(self._others):
            raise ValueError(f"there must be {len(self._others)} parameters beside the model, not {others!r:.60}")
        numbers = [Value(number).data for number in others]
        rest = {name: entry for name, entry in state.items() if not (self._others and name == _OTHERS)}
        if self.model:
            self.model.load_state_dict(rest)
        elif rest:
            raise ValueError(f"these belong to a model, which was not given: {', '.join(rest)}")
        for value, number in zip(self._others, numbers, strict=True):
            value.data = number

    def zero_grad(self) -> None:
        """Sets all gradients to 0, including those of parameters that are not trained."""
        for value in self.values:
            value._grad = 0.0

    def snapshot(self, generators: Iterable[Any]) -> Callable[[], None]:
        """Returns a function that restores the present parameters, gradients, buffers and random generators."""
        data, grads = list(map(_data, self.values)), list(map(_grad, self.values))
        buffers = [(module, name, copy.deepcopy(getattr(module, name))) for module, name in self._buffers]
        states = [(generator, generator.getstate()) for generator in generators]

        def restore() -> None:
            for value, number, grad in zip(self.values, data, grads, strict=True):
                value._data, value._grad = number, grad
            for module, name, buffer in buffers:
                setattr(module, name, buffer)
            for generator, state in states:
                generator.setstate(state)

        return restore


def generators(rng: Any, model: Module | None) -> list[Any]:
    """Returns the random generators of a run: ``rng``, that of the module ``random``, and those in the model.

    Raises:
        TypeError: if ``rng`` has no state to save.
    """
    try:
        rng.getstate()
    except (AttributeError, NotImplementedError):
        what = f"{type(rng).__name__} {rng!r}"
        raise TypeError(f"fit(): rng must have a state: a random.Random, or the module random, not {what}") from None
    # A module holds a generator or, like Dropout, a method of one. The functions of the module random are methods too.
    attributes = [attribute for module in modules(model) for attribute in vars(module).values()]
    owners = [getattr(held, "__self__", held) for held in (random.getstate, *attributes)]
    found = [x for x in owners if isinstance(x, random.Random) and not isinstance(x, random.SystemRandom)]
    return list({id(x): x for x in (getattr(rng.getstate, "__self__", rng), *found)}.values())
