"""Who takes part in the comparison of compiled programs, what each of them does in a row, and what several need."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

OURS, ARRAYS, EAGER = "micrograd", "micrograd, arrays", "micrograd, eager"
TORCH, HIPS, XAD, NUMPY, PURE = "PyTorch", "HIPS autograd", "XAD", "NumPy by hand", "pure Python"
JAX, JAX_LENGTHS = "JAX", "JAX, by length"
CASADI, CASADI_C = "CasADi", "CasADi in C"  # its virtual machine; the C that it writes, compiled by gcc


@dataclass
class Side:
    """What a peer does in a row."""

    run: Callable[[int], None]  # makes so many steps or calls, and waits for the last one
    result: Callable[[], Any]  # the numbers that it then has, in any nested lists and arrays
    unit: int = 1  # it makes a multiple of so many at a time
    fixed: int = 0  # the cost of a run of so many is taken off, for it has a part that comes once a run


Sides = dict[str, Callable[[], Side]]


def calls(once: Callable[[], Any], result: Callable[[Any], Any] = lambda out: out) -> Side:
    """The side that makes one call, over and over."""
    out: Any = None

    def run(n: int) -> None:
        nonlocal out
        for _ in range(n):
            out = once()

    return Side(run, lambda: result(out))


def flat(tree: Any) -> list[float]:
    """The numbers in nested lists, arrays, tensors and Values."""
    if hasattr(tree, "tolist"):
        tree = tree.tolist()
    if isinstance(tree, (list, tuple)):
        return [x for part in tree for x in flat(part)]
    return [float(getattr(tree, "data", tree))]


def casadi_function(inputs: list[Any], outputs: list[Any], in_c: bool) -> Any:
    import casadi

    options = {"jit": True, "compiler": "shell", "jit_options": {"flags": ["-O3", "-march=native"]}} if in_c else {}
    return casadi.Function("f", inputs, outputs, options)


def xad_value_and_grad(f: Callable[..., Any]) -> Callable[..., tuple[float, list[float]]]:
    """The function that gives f of a list of numbers, and what it may take besides, with its gradient by the list."""
    from xad.adj_1st import Real, Tape

    tape = Tape()

    def derive(numbers: Iterable[float], *more: Any) -> tuple[float, list[float]]:
        with tape:
            inputs = [Real(x) for x in numbers]
            tape.registerInputs(inputs)
            tape.newRecording()
            out = f(inputs, *more)
            tape.registerOutput(out)
            out.setDerivative(1.0)
            tape.computeAdjoints()
            derived = out.getValue(), [x.getDerivative() for x in inputs]
            tape.clearAll()
        return derived

    return derive
