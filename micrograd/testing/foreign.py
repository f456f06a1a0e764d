"""Functions of plain numbers, or of another library's arrays, as functions of Values: for :func:`gradcheck`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any

from ..arguments import to_float
from ..engine import Value
from ..rules import RULES

__all__ = ["find_gradient", "is_foreign", "take_values"]

Gradient = Callable[..., Any]


def is_foreign(x: Any) -> bool:
    """Whether ``x`` is a tensor of PyTorch or an array of JAX, of floating-point numbers."""
    return _library(x) in ("torch", "jaxlib") and "float" in str(getattr(x, "dtype", ""))


def find_gradient(inputs: Sequence[Any]) -> Gradient | None:
    """Returns the function that differentiates a function of these inputs: PyTorch's or JAX's; None for others.

    It takes the function and its arguments, and returns the gradients of all outputs, one after the other.
    """
    libraries = {_library(leaf) for leaf in _leaves(list(inputs)) if is_foreign(leaf)}
    return _differentiate_torch if "torch" in libraries else _differentiate_jax if libraries else None


def _library(x: Any) -> str:
    return type(x).__module__.partition(".")[0]


def take_values(f: Callable[..., Any], inputs: Sequence[Any], gradient: Any) -> Callable[..., list[Value]]:
    """Returns a function that calls ``f``, and whose arguments and results are Values.

    Args:
        f: the function.
        inputs: its arguments. It is called with arguments of the same structure and types.
        gradient: a function of the same arguments that returns the gradient; for several outputs, a gradient for each.
            True if ``f`` itself returns a pair, of its value and its gradient.
    """
    slopes: list[float] = []

    def call(*arguments: Any) -> list[Value]:
        leaves = [leaf for leaf in _leaves(list(arguments)) if isinstance(leaf, Value)]
        plain = [_fill(kind, argument) for kind, argument in zip(inputs, arguments, strict=True)]
        with _quiet():
            result = f(*plain)
            value, slope = result if gradient is True else (result, None)
            outputs = _numbers(value)
            if not slopes:  # the first call is at the point itself
                slopes[:] = _numbers(gradient(*plain) if slope is None else slope)
        if len(slopes) != len(outputs) * len(leaves):
            raise ValueError(
                f"the gradient has {len(slopes)} numbers: {len(outputs)} for the outputs times {len(leaves)} for the "
                "inputs are needed, in the order of the outputs and then of the inputs"
            )
        return [
            _make_output(number, leaves, slopes[i * len(leaves) : (i + 1) * len(leaves)])
            for i, number in enumerate(outputs)
        ]

    return call


def _make_output(number: float, leaves: Sequence[Value], slopes: Sequence[float]) -> Value:
    # A weighted sum of the inputs has the weights as its gradient; its value is then replaced.
    output: Value = RULES["weigh"].bind("gradient", x=tuple(slopes))(*leaves)
    output.data = number
    return output


def _leaves(tree: Any) -> Iterator[Any]:
    if isinstance(tree, dict):
        tree = list(tree.values())
    if isinstance(tree, (list, tuple)):
        for item in tree:
            yield from _leaves(item)
    elif type(tree).__module__ == "numpy" and tree.shape:
        yield from tree.flat
    elif not isinstance(tree, (bool, str, type(None))):
        yield tree


def _fill(kind: Any, tree: Any) -> Any:
    # The numbers of the Values in ``tree``, in the structure and with the types of ``kind``.
    if isinstance(kind, dict):
        return {key: _fill(item, tree[key]) for key, item in kind.items()}
    if isinstance(kind, (list, tuple)):
        items = [_fill(item, own) for item, own in zip(kind, tree, strict=True)]
        return tuple(items) if isinstance(kind, tuple) else items
    if not hasattr(kind, "dtype") or kind is tree:
        return tree.data if isinstance(tree, Value) else tree
    name = _library(kind)
    library = sys.modules["jax.numpy" if name == "jaxlib" else name]
    make = library.tensor if name == "torch" else library.asarray
    return make(_numbers(tree), dtype=kind.dtype if "float" in str(kind.dtype) else library.float64).reshape(kind.shape)


def _numbers(tree: Any) -> list[float]:
    if isinstance(tree, Value):
        return [tree.data]
    if hasattr(tree, "tolist"):
        tree = tree.tolist()
    if isinstance(tree, dict):
        tree = list(tree.values())
    if isinstance(tree, (list, tuple)):
        return [number for item in tree for number in _numbers(item)]
    return [to_float(tree)]


def _quiet() -> Any:
    numpy = sys.modules.get("numpy")
    return numpy.errstate(all="ignore") if numpy else nullcontext()


def _differentiate_torch(f: Callable[..., Any], *arguments: Any) -> list[float]:
    torch = sys.modules["torch"]
    leaves = [leaf for leaf in _leaves(list(arguments)) if is_foreign(leaf)]
    for leaf in leaves:
        leaf.requires_grad_(True)
    slopes: list[float] = []
    for output in _leaves(f(*arguments)):
        for number in output.reshape(-1):
            gradients = torch.autograd.grad(number, leaves, retain_graph=True, allow_unused=True)
            zeros = [torch.zeros_like(leaf) if g is None else g for g, leaf in zip(gradients, leaves, strict=True)]
            slopes += _numbers(zeros)
    return slopes


def _differentiate_jax(f: Callable[..., Any], *arguments: Any) -> list[float]:
    jax, jnp = sys.modules["jax"], sys.modules["jax.numpy"]
    if any(not isinstance(leaf, jax.Array) for leaf in _leaves(list(arguments))):
        raise TypeError("all inputs must be arrays of JAX: let the function itself bring all else")
    output, pull = jax.vjp(lambda *x: jnp.ravel(jnp.asarray(f(*x))), *arguments)
    return [
        number
        for row in jnp.eye(output.size, dtype=output.dtype)
        for kind, own in zip(arguments, pull(row), strict=True)
        for number in _numbers(_in_order(kind, own))
    ]


def _in_order(kind: Any, tree: Any) -> Any:
    # JAX sorts dicts by their keys; here they are in the order of ``kind``.
    if isinstance(kind, dict):
        return [_in_order(item, tree[key]) for key, item in kind.items()]
    if isinstance(kind, (list, tuple)):
        return [_in_order(item, own) for item, own in zip(kind, tree, strict=True)]
    return tree
