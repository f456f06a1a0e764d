"""Functions of math in machine code: how exact, and how fast beside NumPy and JAX.

    python benchmarks/elementary.py [--points 1000000] [--numbers 20000] [exp tanh …]

The points are those of tests/test_elementary.py, more of them: of all sizes, and where a formula changes. Where NumPy
has the function, its long double (64 bits) finds the 200 worst points, which mpmath then measures; the others mpmath
measures all, which takes minutes. The times are medians of interleaved rounds on one core. JAX takes part where it
is installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from test_elementary import DOMAINS, EXACT, TWO, call_of, draw_points, error_in_ulp, evaluate, mp

from micrograd.tables import lay_out

NUMPY = {"acos": "arccos", "asin": "arcsin", "atan": "arctan", "atan2": "arctan2", "pow": "power", "round": "rint"}
ROUNDS = 300


def find_worst(name: str, count: int) -> tuple[float, tuple[float, ...]]:
    """The largest error in ulp, and where."""
    columns = [np.array(column) for column in draw_points(name, count)]
    found = evaluate(name, columns)
    suspects = range(count)
    peer = getattr(np, NUMPY.get(name, name), None)
    if peer and np.finfo(np.longdouble).nmant > 60:
        with np.errstate(all="ignore"):
            exact = peer(*(column.astype(np.longdouble) for column in columns))
            unit = np.spacing(np.minimum(abs(exact.astype(float)), np.finfo(float).max)).astype(np.longdouble)
            suspects = np.argsort(np.nan_to_num(abs(found - exact) / unit, nan=0.0))[-200:]
    rows = [(tuple(float(column[i]) for column in columns), found[i]) for i in suspects]
    return max((error_in_ulp(y, EXACT[name](*map(mp.mpf, row))), row) for row, y in rows)


def jax_call(name: str, columns: list[np.ndarray]) -> Callable[[], object]:
    import jax

    jax.config.update("jax_enable_x64", True)
    place = jax.scipy.special if name in ("erf", "erfc") else jax.numpy
    function, arrays = jax.jit(getattr(place, NUMPY.get(name, name))), [jax.numpy.array(x) for x in columns]
    return lambda: function(*arrays).block_until_ready()


def take_times(name: str, size: int) -> dict[str, float]:
    """Microseconds for so many moderate numbers: ours, and each peer's."""
    low, high = DOMAINS.get(name, (-3.0, 3.0))
    rng = np.random.default_rng(0)
    columns = [rng.uniform(max(low, -3.0), min(high, 3.0), size) for _ in range(1 + (name in TWO))]
    if name == "pow":
        columns[0] = abs(columns[0])
    out = np.empty(size)
    calls: dict[str, Callable[[], object]] = {"micrograd": call_of(name, "host", columns, out)}
    peer = getattr(np, NUMPY.get(name, name), None)
    if peer:
        calls["NumPy"] = lambda: peer(*columns, out=out)
    if importlib.util.find_spec("jax"):
        calls["JAX"] = jax_call(name, columns)
    seconds: dict[str, list[float]] = {who: [] for who in calls}
    for _ in range(ROUNDS):
        for who, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[who].append(time.perf_counter() - start)
    return {who: statistics.median(times) * 1e6 for who, times in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="the functions (default: all)")
    parser.add_argument("--points", type=int, default=10**6, help="where the error is measured (default 1,000,000)")
    parser.add_argument(
        "--numbers", type=int, default=20_000, help="how many are timed, a multiple of 8 (default 20,000)"
    )
    options = parser.parse_args()
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    rows = [("function", "worst, ulp", "at", "micrograd, µs", "NumPy", "JAX")]
    for name in options.names or sorted(EXACT):
        worst, where = find_worst(name, options.points)
        times = take_times(name, options.numbers)
        numbers = [f"{times[who]:.1f}" if who in times else "" for who in ("micrograd", "NumPy", "JAX")]
        rows.append((name, f"{worst:.3f}", ", ".join(f"{x:.6g}" for x in where), *numbers))
        print(f"measured {name}", file=sys.stderr)
    print(lay_out(rows, right=(1, 3, 4, 5)))


if __name__ == "__main__":
    main()
