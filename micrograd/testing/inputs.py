"""The numbers among a function's arguments: as a flat list, with their paths, and back in the arguments' structure."""

from __future__ import annotations

import math
import sys
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

from ..arguments import to_float
from ..engine import Value
from ..nn import Module

__all__ = ["Inputs", "flatten", "is_array", "is_array_of_objects", "is_torch_module", "library_of"]

LARGE = 1000  # more numbers than this are kept in an array, if NumPy is there


@dataclass
class _Block:
    path: str
    source: Any
    numbers: Sequence[float]
    shape: tuple[int, ...] = ()


class Inputs:
    """The numbers of some arguments.

    Args:
        arguments: the arguments.
        names: their names.
        library: if given, only arrays of this library are inputs; all else is passed on.

    Attributes:
        point: the numbers, in the order of the arguments.
        sources: the Values, numbers, arrays and parameters that hold them.

    >>> inputs = Inputs([{"a": [1, 2.0]}, "text"], ["x", "y"])
    >>> inputs.point, inputs.name(1), inputs.fill([5.0, 6.0])
    ([1.0, 2.0], 'x.a.1', [{'a': [5.0, 6.0]}, 'text'])
    """

    def __init__(self, arguments: Sequence[Any], names: Sequence[str], library: str | None = None) -> None:
        self._arguments = arguments
        self._library = library
        seen: set[int] = set()
        self._blocks = [
            block
            for name, argument in zip(names, arguments, strict=True)
            for block in self._list_blocks(argument, name, seen)
        ]
        self._starts = [0, *accumulate(len(block.numbers) for block in self._blocks)]
        self.sources = [block.source for block in self._blocks]
        point = [x for block in self._blocks for x in block.numbers]
        numpy = sys.modules.get("numpy")
        self.point: Any = numpy.array(point) if numpy and len(point) > LARGE else point

    def check(self) -> None:
        """Raises a ValueError if there are no numbers, or one is not finite."""
        if not len(self.point):
            raise ValueError("there is nothing to check: the inputs hold neither a Value nor a number")
        for i, x in enumerate(self.point):
            if not math.isfinite(x):
                raise ValueError(f"{self.name(i)} is {x}: there are no differences to compare with")

    def name(self, i: int) -> str:
        """The path of number ``i``."""
        block, i = self._find(i)
        index: list[int] = []
        for size in reversed(block.shape):
            index.insert(0, i % size)
            i //= size
        return ".".join([block.path, *map(str, index)])

    def settle(self, i: int, number: float) -> float:
        """What the function gets if number ``i`` becomes ``number``: an array of float32 rounds it."""
        source = self._find(i)[0].source
        return flatten(_like(source, [number], (1,)))[0] if is_array(source) else number

    def fill(self, numbers: Sequence[float]) -> list[Any]:
        """The arguments with other numbers. Values and modules are changed, all else is made anew."""
        rest = iter([numbers[a:b] for a, b in pairwise(self._starts)])
        seen: set[int] = set()
        return [self._fill(argument, rest, seen) for argument in self._arguments]

    def _find(self, i: int) -> tuple[_Block, int]:
        k = bisect_right(self._starts, i) - 1
        return self._blocks[k], i - self._starts[k]

    def _list_blocks(self, tree: Any, path: str, seen: set[int]) -> Iterator[_Block]:
        _check_is_real(tree, path)
        if is_array_of_objects(tree):
            tree = tree.tolist()
        if isinstance(tree, (dict, list, tuple)):
            for key, item in tree.items() if isinstance(tree, dict) else enumerate(tree):
                yield from self._list_blocks(item, f"{path}.{key}", seen)
        elif isinstance(tree, Module) or is_torch_module(tree):
            for name, parameter in tree.named_parameters():
                yield from self._list_blocks(parameter, f"{path}.{name}", seen)
        elif isinstance(tree, Value):
            if id(tree) not in seen:  # a Value that is there twice is one input
                seen.add(id(tree))
                yield _Block(path, tree, [tree.data])
        elif self._is_input(tree):
            yield _Block(path, tree, flatten(tree), tuple(getattr(tree, "shape", ())))

    def _fill(self, tree: Any, rest: Iterator[Sequence[float]], seen: set[int]) -> Any:
        if isinstance(tree, dict):
            return {key: self._fill(item, rest, seen) for key, item in tree.items()}
        if isinstance(tree, (list, tuple)):
            items = [self._fill(item, rest, seen) for item in tree]
            return tuple(items) if isinstance(tree, tuple) else items
        if is_array_of_objects(tree):
            filled = tree.copy()
            filled.flat = [self._fill(item, rest, seen) for item in tree.flat]
            return filled
        if isinstance(tree, Module):
            for _, parameter in tree.named_parameters():
                self._fill(parameter, rest, seen)
        elif is_torch_module(tree):
            for _, parameter in tree.named_parameters():
                parameter.data.copy_(_like(parameter, next(rest), parameter.shape))
        elif isinstance(tree, Value):
            if id(tree) not in seen:
                seen.add(id(tree))
                tree.data = next(rest)[0]
        elif self._is_input(tree):
            return _like(tree, next(rest), tree.shape) if is_array(tree) else float(next(rest)[0])
        return tree

    def _is_input(self, x: Any) -> bool:
        return (is_array(x) or _is_number(x)) and self._library in (None, library_of(x))


def library_of(x: Any) -> str:
    """The library whose type ``x`` has: ``torch``, ``jax``, ``numpy``."""
    module = type(x).__module__
    return "jax" if module.startswith("jax") else module.partition(".")[0]


def is_array(x: Any) -> bool:
    """Whether ``x`` is an array of real numbers, of NumPy, PyTorch or JAX."""
    if library_of(x) == "numpy":
        return bool(getattr(x, "shape", ())) and x.dtype.kind in "iuf"
    return library_of(x) in ("torch", "jax") and "float" in str(getattr(x, "dtype", ""))


def is_array_of_objects(x: Any) -> bool:
    """Whether ``x`` is a NumPy array of objects, such as Values."""
    return library_of(x) == "numpy" and bool(getattr(x, "shape", ())) and x.dtype.kind == "O"


def is_torch_module(x: Any) -> bool:
    """Whether ``x`` is a module of PyTorch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.nn.Module)


def _check_is_real(x: Any, path: str) -> None:
    if isinstance(x, complex) or "complex" in str(getattr(x, "dtype", "")):
        raise TypeError(f"{path} is complex: gradients are checked for real numbers; pass its real and imaginary parts")


def flatten(tree: Any, path: str = "a result") -> list[float]:
    """The numbers of a tree of numbers, Values and arrays.

    >>> flatten({"a": [1, 2.0], "b": 3})
    [1.0, 2.0, 3.0]
    """
    _check_is_real(tree, path)
    if isinstance(tree, Value):
        return [tree.data]
    if library_of(tree) == "torch":
        tree = tree.detach()
    if getattr(tree, "shape", ()):
        return list(map(to_float, tree.reshape(-1).tolist()))
    if hasattr(tree, "tolist"):
        tree = tree.tolist()
    if isinstance(tree, dict):
        tree = list(tree.values())
    if isinstance(tree, (list, tuple)):
        return [number for item in tree for number in flatten(item, path)]
    return [to_float(tree)]


def _is_number(x: Any) -> bool:
    if isinstance(x, bool):
        return False
    try:
        to_float(x)
    except TypeError:
        return False
    return True


def _like(array: Any, numbers: Sequence[float], shape: Sequence[int]) -> Any:
    # An array of the same library and type; whole numbers become doubles.
    name = library_of(array)
    library = sys.modules["jax.numpy" if name == "jax" else name]
    make = library.tensor if name == "torch" else library.array
    return make(numbers, dtype=array.dtype if "float" in str(array.dtype) else library.float64).reshape(tuple(shape))
