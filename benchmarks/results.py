"""Compares the time to a result: whole processes, from their start to their end, with an empty cache and a full one.

    python benchmarks/results.py [--rows moons100 digits] [--peers PyTorch JAX] [--rounds N] [--markdown]

A process imports what it needs, makes the data, trains, and prints what it reached. Everything is in float64 and on one
thread. The processes of all peers take turns, so that other load on the machine affects all of them; the time is their
median. Each round has another seed. "cold" is the first start ever: the cache of compiled code is empty. PyTorch keeps
no such cache, and JAX only if it is told to.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial

import lessons
from compiled import MODULES, format_ratio, format_time, prepare, table
from microgpt import gpt, words_of_all_lengths
from networks import moons
from peers import EAGER, JAX, OURS, TORCH, Sides, flat
from shared import lstm

PEERS = [OURS, EAGER, TORCH, JAX]


def steps(sides: Callable[[], Sides], count: int, jax: str = JAX) -> lessons.Lesson:
    """Makes whole trainings of a number of steps from a row of the steady comparison."""

    def train(peer: str, seed: int) -> str:
        side = sides()[jax if peer == JAX else peer]()
        side.run(count)
        return f"loss {flat(side.result())[0]:.6g} after {count:,} steps"

    return {peer: partial(train, peer) for peer in PEERS}


def gpt_words() -> Sides:
    return gpt(words_of_all_lengths())


ROWS: dict[str, tuple[str, Callable[[], lessons.Lesson]]] = {
    "moons100": ("moons, 100 steps", lambda: steps(moons, 100)),
    "moons10000": ("moons, 10,000 steps", lambda: steps(moons, 10_000)),
    "digits": ("digits, until 97 % of those never seen are right", lessons.digits),
    "gpt": ("microgpt, 1,000 words", lambda: steps(gpt_words, 1000)),
    "lstm": ("LSTM of 8 units over 100 steps of time, 300 batches", lambda: steps(lstm, 300)),
    "reinforce": ("REINFORCE on a cart-pole, 150 episodes", lessons.reinforce),
}
SLOW = {("moons10000", EAGER), ("gpt", EAGER), ("lstm", EAGER)}  # minutes: only with --all


def work(row: str, peer: str, seed: str) -> None:
    prepare(peer, 1)
    print(ROWS[row][1]()[peer](int(seed)))


def start(row: str, peer: str, seed: int, cache: str) -> tuple[float, str]:
    """Runs a peer's process; returns its seconds and what it printed last."""
    threads = dict.fromkeys(["OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"], "1")
    command = [sys.executable, __file__, "--worker", row, peer, str(seed)]
    begin = time.perf_counter()
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **threads, "XDG_CACHE_HOME": cache}, cwd=cache
    )
    seconds = time.perf_counter() - begin
    if done.returncode:
        sys.exit(f"{peer} in the row {row!r} failed:\n{done.stderr}")
    return seconds, done.stdout.strip().splitlines()[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=PEERS, metavar="PEER", help=", ".join(PEERS))
    parser.add_argument("--rounds", type=int, default=5, help="how often each peer starts, warm (default 5)")
    parser.add_argument("--all", action="store_true", help="eager runs too that take minutes")
    parser.add_argument("--markdown", action="store_true", help="print the table for the README, too")
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(*options.worker)
        return
    there = [peer for peer in options.peers if peer == EAGER or importlib.util.find_spec(MODULES[peer])]
    lines = []
    for row in options.rows:
        title = ROWS[row][0]
        peers = [peer for peer in there if options.all or (row, peer) not in SLOW]
        seconds: dict[str, list[float]] = {peer: [] for peer in peers}
        cold: list[float] = []
        print(f"\n{title}")
        with tempfile.TemporaryDirectory() as cache:
            for seed in range(options.rounds):
                for peer in peers:
                    if peer == OURS:
                        with tempfile.TemporaryDirectory() as empty:
                            cold.append(start(row, peer, seed, empty)[0])
                        if not seconds[peer]:
                            start(row, peer, seed, cache)
                    elapsed, reached = start(row, peer, seed, cache)
                    seconds[peer].append(elapsed)
                    print(f"  seed {seed}: {peer:24}{reached}", flush=True)
        medians = {peer: statistics.median(times) for peer, times in seconds.items()}
        if cold:
            medians = {f"{OURS}, cold": statistics.median(cold), **medians}
        base = medians.get(OURS, next(iter(medians.values())))
        cells = {peer: f"{format_time(m)} ({format_ratio(m / base)})" for peer, m in medians.items()}
        for peer, cell in cells.items():
            print(f"  {peer:24}{cell}", flush=True)
        lines.append([title, *(cells.get(peer, "") for peer in (f"{OURS}, cold", *there))])
    if options.markdown:
        print(f"\n{table(['', f'{OURS}, cold', *there], lines)}")


if __name__ == "__main__":
    main()
