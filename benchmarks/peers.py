"""Who takes part in the comparison of compiled programs, what each of them does in a row, and what several need."""

from __future__ import annotations

import time
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

    run: Callable[[int], float | None]  # makes so many steps or calls, waits for the last one, and may give the seconds
    result: Callable[[], Any]  # the numbers that it then has, in any nested lists and arrays
    unit: int = 1  # it makes a multiple of so many at a time
    least: int = 1  # nor fewer than so many, when it is timed


Sides = dict[str, Callable[[], Side]]


def trained(first: int, *arguments: Any, **options: Any) -> tuple[list[float], float]:
    """The losses of a compiled ``fit``, and the seconds that so many steps take when its programs are made.

    Args:
        first: in how many steps they are made.
    """
    from micrograd import fit
    from micrograd.training.resuming import RunState

    record, done = RunState.record, [(0, time.perf_counter())]

    def noted(run: Any, batches: Any, losses: Any, norms: Any) -> None:
        record(run, batches, losses, norms)
        done.append((len(run.history.loss), time.perf_counter()))

    RunState.record = noted
    try:
        history = fit(*arguments, compile=True, **options)
    finally:
        RunState.record = record
    begin = next((mark for mark in done if mark[0] >= first), done[0])
    begin, end = done[0] if begin is done[-1] else begin, done[-1]
    return history.loss, (end[1] - begin[1]) / (end[0] - begin[0]) * end[0]


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
