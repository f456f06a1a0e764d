"""Compares compiled programs with their peers: training steps, derivatives at many points and at one, a Hessian.

    python benchmarks/compiled.py [--rows moons gpt] [--peers PyTorch JAX] [--quick] [--plot FILE] [--markdown]

Everything is in float64. PyTorch, JAX, CasADi, XAD and HIPS autograd take part if they are installed, and so does the
published micrograd 0.1.0, from its own folder; the output names the missing ones. Each peer runs in its own process.
The processes take turns in short rounds, so that other load on the machine affects all of them. The garbage collector
is on. Before the timing, all peers must compute the same numbers.

A training step includes its update, and everything else that ``fit`` does by default, such as a new order of the
samples: it is what a further step takes in a whole call of ``fit``. The time to trace and to compile is reported
separately. PyTorch and JAX shuffle as well; the other peers take the samples as they are.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from eager import OLD, PUBLISHED, ROOT, install_published
from microgpt import WORDS, gpt, words_of_all_lengths
from networks import digits, moons
from peers import (
    ARRAYS,
    CASADI,
    CASADI_C,
    EAGER,
    HIPS,
    JAX,
    JAX_LENGTHS,
    NUMPY,
    OURS,
    PURE,
    STILL,
    TORCH,
    XAD,
    Sides,
    flat,
)  # fmt: skip
from points import hessian, many_points, one_call
from shared import cnn, lstm

MODULES = {
    **dict.fromkeys([OURS, STILL, ARRAYS], "llvmlite"),
    **dict.fromkeys([JAX, JAX_LENGTHS], "jax"),
    **dict.fromkeys([CASADI, CASADI_C], "casadi"),
    **dict(zip([TORCH, HIPS, XAD, NUMPY], ["torch", "autograd", "xad", "numpy"], strict=True)),
}
COMPILERS = (OURS, JAX, JAX_LENGTHS, CASADI, CASADI_C)
TOLERANCE = 1e-6


@dataclass
class Row:
    title: str
    sides: Callable[[], Sides]
    checked: int = 1  # the number of steps or calls after which all peers must agree


ROWS = {
    "moons": Row("moons step: 2→16→16→1, 100 points", moons, 2),
    "digits64": Row("digits step: 64→32→10, batch 64", partial(digits, 64, 32, 10), 2),
    "digits784": Row("digits step: 784→100→10, batch 64", partial(digits, 784, 100, 10), 2),
    "gpt": Row("microgpt step: a word of 3 to 8 letters", lambda: gpt(words_of_all_lengths()), 6),
    "gpt5": Row(
        "microgpt step: a word of 5 letters", lambda: gpt([word for word in WORDS.split() if len(word) == 5]), 6
    ),
    "cnn": Row("CNN step: 16 and 32 channels on 8×8 pixels, batch 32", cnn, 2),
    "lstm": Row("LSTM step: 8 units, 100 steps of time, batch 32", lstm, 2),
    "expression": Row("small expression, 20,000 points", many_points),
    "call": Row("small expression, one call from Python", one_call),
    "hessian": Row("Hessian of Rosenbrock's function, 20 dimensions", hessian),
}


# A worker process: one peer.


def work(name: str, peer: str, threads: int, seconds: float) -> None:
    """Prints the peer's numbers and the time to compute them; then, per line of standard input, the time per step."""
    row = ROWS[name]
    make = row.sides()[peer]
    prepare(peer, threads)
    start = time.perf_counter()
    side = make()
    side.run(row.checked)
    first = time.perf_counter() - start
    numbers = flat(side.result())

    n = side.unit
    if side.begins:  # steps that take as long as what is made before them: the noise of that is small beside them
        seconds = max(seconds, first / 4)
    while True:
        start = time.perf_counter()
        elapsed = side.measure(n)
        if elapsed >= seconds:
            break
        n *= max(2, min(16, round(seconds / max(elapsed, seconds / 16))))
    once = max(0.0, first - row.checked * elapsed / n)
    print(json.dumps({"numbers": numbers, "first": once, "round": time.perf_counter() - start}), flush=True)
    for _ in sys.stdin:
        print(side.measure(n) / n, flush=True)


def prepare(peer: str, threads: int) -> None:
    """Loads the peer, with float64 and the given number of threads."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])
    if peer == OLD:
        sys.path.insert(0, str(PUBLISHED))
    else:
        sys.path.insert(0, str(ROOT))
    if peer in MODULES:
        importlib.import_module(MODULES[peer])
    if peer == TORCH:
        import torch

        torch.set_default_dtype(torch.float64)
        torch.set_num_threads(threads)
    if peer in (JAX, JAX_LENGTHS):
        import jax

        jax.config.update("jax_enable_x64", True)
        jax.numpy.zeros(1).block_until_ready()
    if peer in (OURS, STILL, ARRAYS, EAGER, OLD):
        import micrograd

        home = PUBLISHED if peer == OLD else ROOT
        if not Path(micrograd.__file__).is_relative_to(home):
            raise ImportError(f"{peer} is to be that of {home}, not {micrograd.__file__}")


# The comparison.


@dataclass
class Timing:
    """The times of a peer in a row: seconds per step in each round, and seconds to trace and compile once."""

    seconds: list[float]
    first: float

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def ratio(self, base: Timing) -> float:
        return statistics.median(a / b for a, b in zip(self.seconds, base.seconds, strict=False))


class Worker:
    """A peer in its own process and in an empty folder, which is also its compilation cache."""

    def __init__(self, row: str, peer: str, options: argparse.Namespace, cache: str) -> None:
        command = [sys.executable, __file__, "--worker", row, peer]
        command += ["--threads", str(options.threads), "--seconds", str(options.seconds)]
        threads = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        caches = {} if options.quick else {"XDG_CACHE_HOME": cache}
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=cache,
            env={**os.environ, **dict.fromkeys(threads, str(options.threads)), **caches},
        )
        self.title = f"{peer} in the row {row!r}"

    def answer(self) -> Any:
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.title} failed")
        return json.loads(line)

    def round(self) -> float:
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.answer()

    def end(self) -> None:
        self.process.communicate()


def compare(row: str, peers: list[str], options: argparse.Namespace) -> tuple[dict[str, Timing], float | None]:
    """Returns the timings of a row, and the first time of our program without a cache on disk."""
    timings, workers, rounds, cold = {}, {}, {}, None
    with tempfile.TemporaryDirectory() as cache:
        if OURS in peers and not options.quick:
            worker = Worker(row, OURS, options, cache)
            cold = worker.answer()["first"]
            worker.end()
        for peer in peers:  # one after the other, so that the others are idle
            workers[peer] = Worker(row, peer, options, cache)
            report = workers[peer].answer()
            if peer == peers[0]:
                expected = report["numbers"]
            agree(workers[peer].title, report["numbers"], expected)
            timings[peer] = Timing([], report["first"])
            affordable = 2 * options.rounds * options.seconds / report["round"]
            rounds[peer] = min(options.rounds, max(3, int(affordable)))
        for i in range(options.rounds):
            for peer, worker in workers.items():
                if i < rounds[peer]:
                    timings[peer].seconds.append(worker.round())
        for worker in workers.values():
            worker.end()
    return timings, cold


def agree(title: str, numbers: list[float], expected: list[float]) -> None:
    if len(numbers) != len(expected):
        sys.exit(f"{title} comes to {len(numbers)} numbers, and the first side to {len(expected)}")
    for i, (x, y) in enumerate(zip(numbers, expected, strict=True)):
        if not abs(x - y) <= TOLERANCE * max(1.0, abs(y)):
            sys.exit(f"{title} comes to another number {i}: {x!r}, and the first side to {y!r}")


def format_time(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}" if seconds < 100 * size else f"{seconds / size:.0f} {unit}"
    return f"{seconds * 1e6:.3g} µs"


def format_ratio(ratio: float) -> str:
    return f"{ratio:.2g}×" if ratio < 1 else f"{ratio:.1f}×" if ratio < 10 else f"{ratio:,.0f}×"


def table(header: list[str], lines: list[list[str]]) -> str:
    """Writes a table in Markdown. All columns after the first are aligned to the right."""
    rules = [":--", *["--:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, rules, *lines))


def markdown(results: dict[str, dict[str, Timing]]) -> str:
    peers = list(dict.fromkeys(peer for timings in results.values() for peer in timings))
    lines = []
    for row, timings in results.items():
        base = next(iter(timings.values()))
        cells = {
            peer: format_time(t.median) + (f" ({format_ratio(t.ratio(base))})" if t is not base else "")
            for peer, t in timings.items()
        }
        lines.append([ROWS[row].title, *(cells.get(peer, "") for peer in peers)])
    return table(["", *peers], lines)


def plot(results: dict[str, dict[str, Timing]], file: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    heights = [len(timings) + 1.5 for timings in results.values()]
    figure, axes = plt.subplots(
        len(results),
        sharex=True,
        squeeze=False,
        figsize=(8, 0.24 * sum(heights)),
        height_ratios=heights,
        layout="constrained",
    )
    every = [1.0]
    for axis, (row, timings) in zip(axes[:, 0], results.items(), strict=True):
        base = next(iter(timings.values()))
        ratios = [timing.ratio(base) for timing in timings.values()]
        colors = ["tab:purple" if peer.startswith(OURS) and peer != OLD else "tab:orange" for peer in timings]
        every += ratios
        lefts, widths = [min(ratio, 1.0) for ratio in ratios], [abs(ratio - 1.0) for ratio in ratios]
        bars = axis.barh(list(timings), widths, 0.7, lefts, color=colors)
        labels = [f"{format_time(t.median)}, {format_ratio(r)}" for t, r in zip(timings.values(), ratios, strict=True)]
        axis.bar_label(bars, labels, padding=3, fontsize=8)
        axis.set_title(ROWS[row].title, loc="left", fontsize=10)
        axis.set(xscale="log")
        axis.invert_yaxis()
        axis.axvline(1.0, color="0.5", linewidth=0.8)
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1, 0].set_xlim(min(every) / 2, max(every) * 30)  # leaves room for the labels
    axes[-1, 0].set_xlabel(f"time, as a multiple of that of {next(iter(next(iter(results.values()))))}")
    figure.savefig(file, dpi=120)
    print(f"picture: {file}")


def find_installed() -> dict[str, bool]:
    """Returns, for each peer, whether it is installed."""
    sys.path.insert(0, str(ROOT))
    import micrograd

    found = {peer: importlib.util.find_spec(module) is not None for peer, module in MODULES.items()}
    for peer in (OURS, STILL, ARRAYS):
        found[peer] = found[peer] and hasattr(micrograd, "compile")
    found[CASADI_C] = found[CASADI] and shutil.which("gcc") is not None
    return {**found, EAGER: True, PURE: True, OLD: install_published()}


def versions() -> str:
    modules = sorted({module for module in MODULES.values() if importlib.util.find_spec(module)})
    return ", ".join(f"{module} {importlib.metadata.version(module)}" for module in modules)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rows", nargs="+", choices=ROWS, default=list(ROWS), help=f"of {', '.join(ROWS)}", metavar="ROW"
    )
    peers = [EAGER, *MODULES, CASADI_C, PURE, OLD]
    parser.add_argument("--peers", nargs="+", choices=peers, metavar="PEER", help="who takes part: all, unless given")
    parser.add_argument("--rounds", type=int, default=15, help="how often each side has its turn (default 15)")
    parser.add_argument("--seconds", type=float, default=0.2, help="how long a turn is, at least (default 0.2)")
    parser.add_argument("--threads", type=int, default=2, help="how many threads each side may use (default 2)")
    parser.add_argument(
        "--quick", action="store_true", help="3 rounds of 0.05 seconds, and no start with nothing cached"
    )
    parser.add_argument("--markdown", action="store_true", help="print the table for the README, too")
    parser.add_argument("--plot", metavar="FILE", help="draw the ratios")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(*options.worker, options.threads, options.seconds)
        return
    if options.quick:
        options.rounds, options.seconds = 3, 0.05

    found = find_installed()
    wanted = {peer.lower() for peer in options.peers or found}
    if unknown := wanted - {peer.lower() for peer in found}:
        parser.error(f"there is no peer {', '.join(unknown)}; there are {', '.join(found)}")
    print(f"Python {sys.version.split()[0]}, {options.threads} of {os.cpu_count()} cores; {versions()}")
    print(f"medians of {options.rounds} interleaved rounds")
    if missing := [peer for peer, there in found.items() if not there and peer.lower() in wanted]:
        print(f"not there: {', '.join(missing)}")
    results, firsts = {}, []
    for row in options.rows:
        peers = [peer for peer in ROWS[row].sides() if found[peer] and peer.lower() in wanted]
        if not peers:
            continue
        results[row], cold = compare(row, peers, options)
        print(f"\n{ROWS[row].title:50}{'time':>12}{f'ratio to {peers[0]}':>28}")
        for peer, timing in results[row].items():
            print(
                f"  {peer:48}{format_time(timing.median):>12}{format_ratio(timing.ratio(results[row][peers[0]])):>28}"
            )
        once = {peer: format_time(timing.first) for peer, timing in results[row].items() if peer in COMPILERS}
        if cold is not None:
            once = {f"{OURS}, nothing cached": format_time(cold), **once}
        if once:
            print(f"  once: {', '.join(f'{peer} {time}' for peer, time in once.items())}", flush=True)
        firsts.append([ROWS[row].title, once])
    if options.markdown:
        columns = list(dict.fromkeys(peer for _, once in firsts for peer in once))
        lines = [[title, *(once.get(peer, "") for peer in columns)] for title, once in firsts]
        print(f"\n{markdown(results)}\n\nOnce, to trace and to compile:\n\n{table(['', *columns], lines)}")
    if options.plot:
        plot(results, options.plot)


if __name__ == "__main__":
    main()
