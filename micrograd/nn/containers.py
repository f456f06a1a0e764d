"""Modules that are made of modules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from ..arguments import is_nested, sequence, shape_of, to_lists
from ..functional import add
from .module import Module

__all__ = ["ModuleList", "Residual", "Sequential"]

Self = TypeVar("Self", bound="ModuleList")


class ModuleList(Module):
    """A list of modules, whose parameters belong to the module that has it as an attribute. It can't be called.

    It has an index, slices, a length and ``in``, and grows by ``append`` and ``extend``.

    Args:
        modules: the modules; none at first, by default.

    Raises:
        TypeError: if an item is not a module.

    >>> from micrograd.nn import Linear
    >>> layers = ModuleList(Linear(2, 2) for _ in range(3))
    >>> layers.append(Linear(2, 1))
    ModuleList(Linear(2, 2), Linear(2, 2), Linear(2, 2), Linear(2, 1)) with 21 parameters
    >>> [name for name in layers.state_dict()][-2:], layers[-1], len(layers)
    (['3.weight', '3.bias'], Linear(2, 1) with 3 parameters, 4)
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        self.layers: list[Module] = []
        self.extend(modules)

    def append(self: Self, module: Module) -> Self:
        """Adds a module at the end, and returns the list.

        Raises:
            TypeError: if it is not a module.
        """
        return self.extend([module])

    def extend(self: Self, modules: Iterable[Module]) -> Self:
        """Adds modules at the end, and returns the list.

        Raises:
            TypeError: if one is not a module.
        """
        name = type(self).__name__
        self.layers += [a_module(module, name) for module in sequence(modules, name)]
        return self

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Module]:
        return iter(self.layers)

    def __getitem__(self, i: Any) -> Any:
        """The module at an index; for a slice, a list of the modules there."""
        return type(self)(self.layers[i]) if isinstance(i, slice) else self.layers[i]

    def _title(self) -> str:
        return f"{type(self).__name__}({', '.join(module._title() for module in self.layers)})"

    def _state(self) -> dict[str, Any]:
        return {str(i): module for i, module in enumerate(self.layers)}


class Sequential(ModuleList):
    """A chain of modules. Each one is called with the output of the one before it.

    For a sample, which is a list of numbers, it returns the outputs; for a batch, which is a list of samples, the
    outputs for each sample. Use :class:`Linear` for its linear layers.

    Raises:
        TypeError: if an argument is not a module.

    >>> from micrograd.nn import BatchNorm, Linear, ReLU
    >>> model = Sequential(Linear(2, 4), BatchNorm(4), ReLU(), Linear(4, 1))
    >>> model
    Sequential(Linear(2, 4), BatchNorm(4), ReLU(), Linear(4, 1)) with 25 parameters
    >>> len(model([[0.5, 1.0], [1.5, -1.0], [0.0, 0.0]]))
    3
    >>> len(model.eval()([0.5, 1.0]))
    1
    """

    def __init__(self, *modules: Module) -> None:
        super().__init__(modules)

    def __getitem__(self, i: Any) -> Any:
        """The module at an index; for a slice, the chain of the modules there."""
        return type(self)(*self.layers[i]) if isinstance(i, slice) else self.layers[i]

    def forward(self, x: Any) -> Any:
        """Returns the output of the last module."""
        for module in self.layers:
            x = module(x)
        return x


class Residual(Module):
    """x + module(x): a skip connection. The gradient passes through it unchanged.

    It makes very deep networks trainable (He et al., *Deep residual learning for image recognition*, 2016).

    Raises:
        TypeError: if the argument is not a module.

    >>> from micrograd.nn import Linear
    >>> block = Residual(Sequential(Linear(2, 8), Linear(8, 2)))
    >>> len(block([1.0, 2.0]))
    2
    """

    def __init__(self, module: Module) -> None:
        self.module = a_module(module, "Residual")

    def forward(self, x: Any) -> Any:
        """Returns the sums for a sample, or for each sample of a batch.

        Raises:
            ValueError: if the outputs have not the shape of the inputs.
        """
        x = sequence(x, "Residual")
        out = self.module(x)
        out = to_lists(out) if is_nested(out) else [out]  # a Layer of one neuron returns no list
        if (before := shape_of(to_lists(x))) != (after := shape_of(out)):
            raise ValueError(
                f"Residual adds a module's outputs to its inputs, but their shapes are {before} in and {after} out"
            )
        return add(x, out)

    def _title(self) -> str:
        return f"{type(self).__name__}({self.module._title()})"


def a_module(module: Any, where: str) -> Module:
    """Returns the module itself.

    Raises:
        TypeError: if it is not a module.
    """
    if not isinstance(module, Module):
        is_function = callable(module) and not isinstance(module, type)
        hint = ": nn.Activation(function) is a module that calls a function on each number" if is_function else ""
        raise TypeError(
            f"{where} is made of modules, one argument each, not of {type(module).__name__} {module!r}{hint}"
        )
    return module
