"""What a check of gradients needs to know of a function: its inputs, its outputs, their gradients and their errors."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from ..arguments import to_float
from ..engine import Value, grad, topological_order
from ..nn import Module
from ..stepping import contributions
from .differences import EPSILON, UNDERFLOW
from .inputs import Inputs, flatten, is_array, is_array_of_objects, library_of

__all__ = ["Subject", "find_gradient", "list_outputs", "subject_of_numbers", "subject_of_values"]

Function = Callable[..., Any]


@dataclass
class Subject:
    """A function at a point.

    Attributes:
        inputs: its inputs.
        evaluate: returns its outputs at another point.
        at: its outputs.
        gradients: for each output, the derivatives by all inputs, which are to be checked.
        roundings: bounds of the rounding errors of the gradients.
        epsilon: the relative rounding error of an operation that these are for.
        noises: for each output, a bound of its rounding error as far as it is known.
        roots: what the function may change, to be set back: the function and its arguments.
        explain: the verdict on output i where its gradient is between no slopes: ``kink`` or ``jump``, if that is
            because of operations that have such there; otherwise ``wrong``.
    """

    inputs: Inputs
    evaluate: Callable[[Sequence[float]], list[float]]
    at: list[float]
    gradients: list[Sequence[float]]
    roundings: list[Sequence[float]]
    noises: list[float]
    epsilon: float = EPSILON
    roots: Sequence[Any] = ()
    explain: Callable[[int], str] = lambda i: "wrong"


def subject_of_values(f: Function, arguments: Sequence[Any], names: Sequence[str], check: Function) -> Subject:
    """Returns the subject of a function of Values; their gradients are those of the engine.

    Args:
        f: the function.
        arguments: its arguments; it gets Values for the plain numbers among them.
        names: their names.
        check: gradcheck itself, for the operations of ``f`` alone.
    """
    inputs = Inputs([lift_numbers(argument) for argument in arguments], names)
    inputs.check()
    filled = inputs.fill(inputs.point)
    leaves = inputs.sources

    def evaluate(point: Sequence[float]) -> list[float]:
        for leaf, x in zip(leaves, point, strict=True):
            leaf.data = x
        return [output.data for output in list_outputs(f(*filled))]

    outputs = list_outputs(f(*filled))
    sizes = [_bound_roundings(output) for output in outputs]
    return Subject(
        inputs,
        evaluate,
        [output.data for output in outputs],
        [grad(output, leaves) for output in outputs],
        [[own.get(leaf, 0.0) for leaf in leaves] for own in sizes],
        [_bound_noise(output) for output in outputs],
        explain=lambda i: _judge_operations(outputs[i], check),
    )


def subject_of_numbers(
    f: Function, arguments: Sequence[Any], names: Sequence[str], gradient: Any, library: str | None = None
) -> Subject:
    """Returns the subject of a function of plain numbers and arrays.

    Args:
        f: the function.
        arguments: its arguments. It is called with arguments of the same structure and types.
        names: their names.
        gradient: a function of the same arguments that returns the gradient; for several outputs, a gradient for each.
            True if ``f`` itself returns a pair, of its value and its gradient.
        library: if given, only its arrays are inputs.
    """
    inputs = Inputs(arguments, names, library)
    inputs.check()
    count = len(inputs.point)

    def call(point: Sequence[float]) -> tuple[list[float], Any, Any]:
        filled = inputs.fill(point)
        with _without_warnings():
            result = f(*filled)
        pair = result if gradient is True else (result, None)
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise TypeError(f"with grad=True, the function returns a pair (value, gradient), not {pair!r}")
        return flatten(pair[0], "the function's result"), pair[1], filled

    at, slopes, filled = call(inputs.point)
    if gradient is not True:
        with _without_warnings():
            slopes = gradient(*filled)
    kind = filled if len(filled) != 1 else filled[0]
    several = len(at) > 1 and isinstance(slopes, (list, tuple)) and len(slopes) == len(at)
    slopes = [_order_as(kind, own) for own in slopes] if several else _order_as(kind, slopes)
    numbers = flatten(slopes, "the gradient")
    if len(numbers) != len(at) * count:
        raise ValueError(
            f"the gradient has {len(numbers)} numbers: {len(at)} for the outputs times {count} for the inputs are "
            "needed, in the order of the outputs and then of the inputs"
        )
    gradients = [numbers[i * count : (i + 1) * count] for i in range(len(at))]
    epsilon = max([EPSILON, *(_epsilon(x) for x in (slopes, *filled))])
    return Subject(
        inputs,
        lambda point: call(point)[0],
        at,
        list(gradients),
        [[epsilon * abs(slope) if math.isfinite(slope) else 0.0 for slope in own] for own in gradients],
        [UNDERFLOW for _ in at],
        epsilon,
    )


def lift_numbers(tree: Any) -> Any:
    """The same structure with Values in place of numbers. Values and modules are not copied: ``f`` uses the user's."""
    if isinstance(tree, dict):
        return {key: lift_numbers(item) for key, item in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [lift_numbers(item) for item in tree]
    if isinstance(tree, (Value, Module, bool)):
        return tree
    if is_array(tree) or is_array_of_objects(tree):
        lifted = tree.astype(object)
        lifted.flat = [lift_numbers(item) for item in lifted.flat]
        return lifted
    try:
        return Value(to_float(tree))
    except TypeError:
        return tree


def find_gradient(arguments: Sequence[Any], names: Sequence[str]) -> tuple[Function, str] | None:
    """Returns what differentiates functions of these arguments, and its library: PyTorch or JAX; None for others.

    It takes the function and its arguments, and returns the gradients of all outputs, one after the other.
    """
    libraries = {library_of(source) for source in Inputs(arguments, names).sources if is_array(source)}
    if "torch" in libraries:
        return _differentiate_torch, "torch"
    return (_differentiate_jax, "jax") if "jax" in libraries else None


def list_outputs(out: Any) -> list[Value]:
    """The outputs of a function: a Value, or a list of such."""
    outputs = list(out) if isinstance(out, (list, tuple)) else [out]
    for output in outputs:
        if not isinstance(output, Value):
            raise TypeError(f"the function must give Values, not {type(output).__name__} {output!r}")
    return outputs


def _bound_noise(output: Value) -> float:
    # A bound of the output's rounding error: every operation has a relative error ε, weighted by its gradient.
    nodes = [node for node in topological_order(output) if node.parents]
    parts = [abs(slope * node.data) for slope, node in zip(grad(output, nodes), nodes, strict=True)]
    return EPSILON * math.fsum(part for part in parts if math.isfinite(part)) + UNDERFLOW


def _bound_roundings(output: Value) -> dict[Value, float]:
    # A bound of each gradient's rounding error: ε times the sum of the magnitudes over all paths.
    sizes = {output: EPSILON}
    for node in reversed(topological_order(output)):
        for parent, part in zip(node.parents, contributions(node, sizes[node]), strict=True):
            sizes[parent] = sizes.get(parent, 0.0) + (abs(part) if math.isfinite(part) else 0.0)
    return sizes


def _judge_operations(output: Value, check: Function) -> str:
    # If several operations are at their kinks, the chain rule may not give a subgradient, although each factor is one:
    # x - relu(x) + relu(-x) has slope 1 - 0 + 0 at 0. If one jumps, as atan2 at (0, 0), those after it have other
    # slopes beyond the jump. So each operation is checked alone.
    operations = [node for node in topological_order(output) if node.parents]
    verdicts: set[str] = set()
    for node in operations if len(operations) > 1 else ():
        report = check(lambda *operands, rule=node.rule: rule(*operands), [p.data for p in node.parents], raises=False)
        verdicts.update(row.verdict for row in report.rows)
    return next((v for v in ("wrong", "jump", "kink") if v in verdicts), "wrong")


def _order_as(kind: Any, tree: Any) -> Any:
    # Dicts in the order of the arguments' dicts, whatever order the gradient has.
    if isinstance(kind, dict) and isinstance(tree, dict) and kind.keys() == tree.keys():
        return [_order_as(item, tree[key]) for key, item in kind.items()]
    if isinstance(kind, (list, tuple)) and isinstance(tree, (list, tuple)) and len(kind) == len(tree):
        return [_order_as(item, own) for item, own in zip(kind, tree, strict=True)]
    return tree


def _epsilon(tree: Any) -> float:
    # The relative rounding error of the least exact array in a tree.
    if isinstance(tree, (dict, list, tuple)):
        return max(map(_epsilon, tree.values() if isinstance(tree, dict) else tree), default=0.0)
    return {"float32": 2.0**-23, "bfloat16": 2.0**-7, "float16": 2.0**-10}.get(
        str(getattr(tree, "dtype", "")).rpartition(".")[2], 0.0
    )


def _without_warnings() -> Any:
    numpy = sys.modules.get("numpy")
    return numpy.errstate(all="ignore") if numpy else nullcontext()


def _differentiate_torch(f: Function, *arguments: Any) -> Any:
    torch = sys.modules["torch"]
    leaves = Inputs(arguments, [""] * len(arguments), "torch").sources
    for leaf in leaves:
        leaf.requires_grad_(True)
    rows = []
    for output in _list_arrays(f(*arguments)):
        for number in output.reshape(-1):
            if number.requires_grad:
                gradients = torch.autograd.grad(number, leaves, create_graph=True, allow_unused=True)
            else:  # it depends on no input, as far as PyTorch knows
                gradients = [None] * len(leaves)
            rows += [
                (torch.zeros_like(leaf) if g is None else g).reshape(-1)
                for g, leaf in zip(gradients, leaves, strict=True)
            ]
    return torch.cat(rows)


def _list_arrays(tree: Any) -> list[Any]:
    if isinstance(tree, (dict, list, tuple)):
        return [array for item in (tree.values() if isinstance(tree, dict) else tree) for array in _list_arrays(item)]
    return [tree]


def _differentiate_jax(f: Function, *arguments: Any) -> Any:
    jax, jnp = sys.modules["jax"], sys.modules["jax.numpy"]
    leaves, structure = jax.tree_util.tree_flatten(arguments)
    places = [i for i, leaf in enumerate(leaves) if is_array(leaf) and library_of(leaf) == "jax"]

    def put(arrays: Sequence[Any], others: Sequence[Any]) -> Any:
        # The arguments, or None for each that is no input, with arrays in place of the inputs.
        found = dict(zip(places, arrays, strict=True))
        return structure.unflatten([found.get(i, other) for i, other in enumerate(others)])

    def flat(*arrays: Any) -> Any:
        return jnp.concatenate([jnp.ravel(y) for y in _list_arrays(f(*put(arrays, leaves)))])

    output, pull = jax.vjp(flat, *[leaves[i] for i in places])
    trees = [put(pull(row), [None] * len(leaves)) for row in jnp.eye(output.size, dtype=output.dtype)]
    parts = [part for tree in trees for part in _list_arrays(_order_as(arguments, tree)) if part is not None]
    return jnp.concatenate([jnp.ravel(part) for part in parts])
