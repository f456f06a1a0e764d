"""The peers in the comparison of compiled programs, the work of a peer in a row, and helpers that several peers use."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

OURS, STILL, ARRAYS, EAGER = "micrograd", "micrograd, no shuffle", "micrograd, arrays", "micrograd, eager"
TORCH, HIPS, XAD, NUMPY, PURE = "PyTorch", "HIPS autograd", "XAD", "NumPy by hand", "pure Python"
JAX, JAX_LENGTHS = "JAX", "JAX, by length"
CASADI, CASADI_C = "CasADi", "CasADi in C"  # CasADi's virtual machine; its C code, compiled by gcc


@dataclass
class Side:
    """The work of a peer in a row."""

    run: Callable[[int], object]  # does n steps or calls, and waits for the last
    result: Callable[[], Any]  # the numbers afterwards, as nested lists or arrays
    unit: int = 1  # n must be a multiple of this
    begins: bool = False  # whether each run is a whole call, which makes its programs before the first step

    def measure(self, n: int) -> float:
        """Returns the seconds for n steps. If each run begins anew, that is what n further steps take."""
        start = time.perf_counter()
        self.run(n)
        seconds = time.perf_counter() - start
        if not self.begins:
            return seconds
        start = time.perf_counter()
        self.run(5 * n)
        return max(1e-9, time.perf_counter() - start - seconds) / 4


Sides = dict[str, Callable[[], Side]]


def calls(once: Callable[[], Any], result: Callable[[Any], Any] = lambda out: out) -> Side:
    """Makes a side that repeats one call."""
    out: Any = None

    def run(n: int) -> None:
        nonlocal out
        for _ in range(n):
            out = once()

    return Side(run, lambda: result(out))


def flat(tree: Any) -> list[float]:
    """Returns the numbers in nested lists, arrays, tensors and Values."""
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
    """Returns a function that computes f of a list of numbers, and the gradient by that list."""
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
