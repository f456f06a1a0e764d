"""Measures the errors of values and derivatives in units in the last place (ulp), and those of PyTorch and JAX.

    python benchmarks/accuracy.py [--points 100000] [--jobs 2]

The reference is the rule's value text, computed with at least 60 digits on numbers that carry their first two
derivatives: see ``tests/exact.py``. This needs mpmath and numpy. PyTorch and JAX are measured if they are installed,
with doubles.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import multiprocessing
import platform
import random
import sys
from functools import partial
from pathlib import Path
from typing import Any

import mpmath
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from exact import ROUNDED, bounds, condition, list_cases, ours, sample  # noqa: E402

# The names of rules in PyTorch and JAX, where they differ.
TORCH = {"/": "div", "**": "pow", "power": "pow", "neg": "neg", "acos": "acos"}
JAX = {"/": "divide", "**": "power", "neg": "negative", "acos": "arccos", "asin": "arcsin", "atan": "arctan"}
JAX |= {"atan2": "arctan2", "power": "power"}


def torch_function(rule: Any) -> Any:
    import torch

    functional = torch.nn.functional
    special = {
        "bce": partial(functional.binary_cross_entropy, reduction="none"),
        "power": lambda a: a ** rule.constants["n"],
    }
    found = special.get(rule.name) or getattr(torch, TORCH.get(rule.name, rule.name), None)
    found = found or getattr(functional, rule.name, None)
    if found is None:
        return None

    def of_points(points: Any, by: int) -> list[Any]:
        x = [torch.tensor(column, requires_grad=True) for column in points]
        value = found(*x)
        out = [value.numpy(force=True)]
        for _ in range(2):
            if value is not None and value.requires_grad:
                (value,) = torch.autograd.grad(value.sum(), [x[by]], create_graph=True, allow_unused=True)
            else:
                value = None
            out.append(np.zeros(len(points[0])) if value is None else value.numpy(force=True))
        return out

    return of_points


def jax_function(rule: Any) -> Any:
    import jax

    jax.config.update("jax_enable_x64", True)
    special = {
        "power": lambda a: a ** rule.constants["n"],
        "erf": jax.scipy.special.erf,
        "gelu": partial(jax.nn.gelu, approximate=False),
    }
    name = JAX.get(rule.name, rule.name)
    found = special.get(rule.name) or getattr(jax.numpy, name, None) or getattr(jax.nn, name, None)
    if found is None or rule.name in ("floor", "round"):
        return None

    def of_points(points: Any, by: int) -> list[Any]:
        functions = [found, jax.grad(found, by), jax.grad(jax.grad(found, by), by)]
        return [np.asarray(jax.jit(jax.vmap(function))(*points)) for function in functions]

    return of_points


def errors(found: Any, nearest: Any, beyond: Any) -> Any:
    """Returns errors in ulps of the true number, which is ``nearest`` plus the fraction ``beyond`` of an ulp."""
    with np.errstate(all="ignore"):
        ulp = np.array([math.ulp(x) if math.isfinite(x) else math.inf for x in nearest])
        error = np.abs((found - nearest) / ulp - beyond)
        error[~np.isfinite(found) & np.isfinite(nearest)] = math.inf
        error[~np.isfinite(nearest)] = 0.0  # the true number overflows a double
    return error


def worst(error: Any, rule: Any, points: list[Any], by: int, order: int, bound: float | None) -> tuple[float, int]:
    """Returns the largest error, minus the part that rounding of the operand explains, and its index."""
    best, where = 0.0, 0
    for i in np.argsort(-error, kind="stable")[:300]:
        raw = float(error[i])
        if raw <= best:
            break
        if rule.name in ROUNDED and bound is not None and bound < raw < math.inf:
            raw = max(bound, raw - ROUNDED[rule.name] * condition(rule, [float(x[i]) for x in points], by, order))
        if raw > best:
            best, where = raw, int(i)
    return best, where


def row(count: int, number: int) -> str:
    """Returns a line of the table: the largest errors of one rule, by one operand."""
    rule, by = list(list_cases())[number]
    rng = random.Random(f"{rule.name} {by} {count}")
    points, nearest, beyond, found = [], [], [], []
    for _ in range(count):
        at, true = sample(rule, by, rng)
        numbers = [float(x) for x in true]
        points.append(at)
        nearest.append(numbers)
        with mpmath.workdps(60):
            beyond.append(
                [
                    float((x - y) / mpmath.mpf(math.ulp(y))) if math.isfinite(y) else 0.0
                    for x, y in zip(true, numbers, strict=True)
                ]
            )
        mine = ours(rule, at, by)
        for order in range(2):  # a number that overflows has no derivatives
            if not math.isfinite(numbers[order]):
                nearest[-1][order + 1 :] = [math.inf] * (2 - order)
        found.append([math.nan if x is None else x for x in mine])
    columns = [np.array(column) for column in zip(*points, strict=True)]
    true_columns = list(zip(np.array(nearest).T, np.array(beyond).T, strict=True))
    cells, place = [], ""
    largest = -1.0
    limit = bounds(rule)
    for order in range(3):
        error, where = worst(
            errors(np.array(found)[:, order], *true_columns[order]), rule, columns, by, order, limit[order]
        )
        if limit[order] is None:
            cells.append("")
            continue
        cells.append(format_error(error) + (" (!)" if error > limit[order] else ""))
        if error > largest:
            largest, place = error, ", ".join(f"{float(column[where]):.6g}" for column in columns)
    for module, make in (("torch", torch_function), ("jax", jax_function)):
        peer = make(rule) if importlib.util.find_spec(module) else None
        theirs = [""] * 3
        if peer is not None:
            for order, numbers in enumerate(peer(columns, by)):
                if limit[order] is not None:
                    error, _ = worst(errors(numbers, *true_columns[order]), rule, columns, by, order, limit[order])
                    theirs[order] = format_error(error)
        cells += theirs
    name = f"`{rule.name}`" + (f", n = {rule.constants['n']:g}" if rule.name == "power" else "")
    name += f" by {rule.names[by]}" if len(rule.names) > 1 else ""
    return f"| {name} | {' | '.join(cells)} | {place} |"


def format_error(error: float) -> str:
    return "∞" if math.isinf(error) else f"{error:.2f}" if error < 100 else f"{error:.0e}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=100_000, help="points per rule (default 100000)")
    parser.add_argument("--only", nargs="*", help="names of rules (default all)")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default 2)")
    options = parser.parse_args()
    versions = [f"Python {platform.python_version()}", f"mpmath {mpmath.__version__}"]
    for name in ("torch", "jax"):
        if importlib.util.find_spec(name):
            versions.append(f"{name} {importlib.import_module(name).__version__}")
    print(f"{options.points:,} points per rule; {', '.join(versions)}; {' '.join(platform.libc_ver())}\n")
    print("| rule | value | first | second | PyTorch | | | JAX | | | worst point |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|")
    with multiprocessing.get_context("spawn").Pool(options.jobs) as pool:
        chosen = [i for i, (rule, _) in enumerate(list_cases()) if not options.only or rule.name in options.only]
        for line in pool.imap(partial(row, options.points), chosen):
            print(line, flush=True)


if __name__ == "__main__":
    main()
