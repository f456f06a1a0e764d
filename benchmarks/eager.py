"""Compares this engine with its peers as scalar Python: time, memory, and their ratios.

    python benchmarks/eager.py [--rounds 60]

The published micrograd 0.1.0 is installed into its own folder, because it has the same import name. PyTorch and HIPS
autograd take part if they are installed. Each engine runs in its own process. The processes take turns in short rounds,
so that other load on the machine affects all of them. The garbage collector is on.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PUBLISHED = ROOT / "build" / "micrograd-0.1.0"
OURS, OLD, TORCH, HIPS = "micrograd", "micrograd 0.1.0", "PyTorch", "HIPS autograd"
CHAINS = (10**3, 10**4, 10**5, 10**6, 3 * 10**6)


# The work of a worker process: task(engine) returns a function, and the number of calls per round.


def more_ops(a, b, relu):
    """The expression of the published package's own test, test_more_ops."""
    c = a + b
    d = a * b + b**3
    c += c + 1
    c += 1 + c + (-a)
    d += d * 2 + relu(b + a)
    d += 3 * d + relu(b - a)
    e = c - d
    f = e**2
    g = f / 2.0
    g += 10.0 / f
    return g


def expression(engine: str) -> tuple[Callable[[], object], int]:
    if engine == HIPS:
        from autograd import numpy, value_and_grad

        derivatives = value_and_grad(lambda ab: more_ops(*ab, lambda x: numpy.maximum(0.0, x)))
        return lambda: derivatives((-4.0, 2.0)), 4
    if engine == TORCH:
        import torch

        def once():
            a, b = (torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (-4.0, 2.0))
            more_ops(a, b, torch.relu).backward()

        return once, 10
    from micrograd.engine import Value

    def once():
        more_ops(Value(-4.0), Value(2.0), Value.relu).backward()

    return once, 50


def two_moons(n: int = 100, noise: float = 0.1):
    rng = random.Random(1337)
    points, labels = [], []
    for i in range(n):
        angle = math.pi * i / n
        upper = i % 2 == 0
        x, y = (math.cos(angle), math.sin(angle)) if upper else (1 - math.cos(angle), 0.5 - math.sin(angle))
        points.append([x + rng.gauss(0, noise), y + rng.gauss(0, noise)])
        labels.append(-1 if upper else 1)
    return points, labels


def moons_step(engine: str) -> tuple[Callable[[], object], int]:
    """One step of the published package's moons notebook: 100 points, 2→16→16→1, max-margin loss, L2, descent."""
    points, labels = two_moons()
    random.seed(1337)
    if engine == TORCH:
        import torch

        torch.set_default_dtype(torch.float64)
        relu_, linear = torch.nn.ReLU, torch.nn.Linear
        net = torch.nn.Sequential(linear(2, 16), relu_(), linear(16, 16), relu_(), linear(16, 1))
        inputs, targets = torch.tensor(points), torch.tensor(labels)
        descent = torch.optim.SGD(net.parameters(), lr=0.1)

        def once():
            margin = torch.relu(1 - targets * net(inputs)[:, 0]).mean()
            loss = margin + 1e-4 * sum((p * p).sum() for p in net.parameters())
            descent.zero_grad()
            loss.backward()
            descent.step()

        return once, 5
    from micrograd.engine import Value
    from micrograd.nn import MLP

    model = MLP(2, [16, 16, 1])

    def once():
        inputs = [list(map(Value, point)) for point in points]
        scores = list(map(model, inputs))
        losses = [(1 + -label * score).relu() for label, score in zip(labels, scores, strict=True)]
        data_loss = sum(losses) * (1.0 / len(losses))
        total_loss = data_loss + 1e-4 * sum(p * p for p in model.parameters())
        model.zero_grad()
        total_loss.backward()
        for p in model.parameters():
            p.data -= 0.1 * p.grad

    return once, 1


def chain(n: int, value: type):
    x = out = value(1.0)
    for _ in range(n):
        out = out * x
    return out


def memory(engine: str) -> float:
    """Returns the bytes per node of a chain of multiplications."""
    from micrograd.engine import Value

    gc.collect()
    tracemalloc.start()
    out = chain(20_000, Value)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert out.data == 1.0
    return size / 20_000


def depth(n: int) -> float:
    """Returns the nanoseconds per node to build a chain of n multiplications, run backward and free it."""
    from micrograd.engine import Value

    start = time.perf_counter()
    out = chain(n, Value)
    out.backward()
    del out
    return (time.perf_counter() - start) / n * 1e9


def work(task: str, engine: str) -> None:
    """Runs as a worker: for each line of standard input, does one round and prints the seconds per call."""
    if engine == OLD:
        sys.path.insert(0, str(PUBLISHED))
    elif engine == OURS:
        sys.path.insert(0, str(ROOT))
    if task == "memory":
        print(memory(engine))
        return
    if task.startswith("depth"):
        print(depth(int(task.removeprefix("depth"))))
        return
    once, repeats = {"expression": expression, "moons": moons_step}[task](engine)
    once()
    for _ in sys.stdin:
        start = time.perf_counter()
        for _ in range(repeats):
            once()
        print((time.perf_counter() - start) / repeats, flush=True)


# The comparison, in the parent process.


def start(task: str, engine: str) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, "--worker", task, engine]
    elsewhere = {"cwd": tempfile.gettempdir(), "env": {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""}}
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **elsewhere)


def run_interleaved(task: str, engines: list[str], rounds: int) -> dict[str, list[float]]:
    """Measures the seconds per call in each round, for every engine. The engines take turns."""
    workers = {engine: start(task, engine) for engine in engines}
    seconds: dict[str, list[float]] = {engine: [] for engine in engines}
    for i in range(rounds + 2):  # two rounds to warm up
        for engine, worker in workers.items():
            worker.stdin.write("\n")
            worker.stdin.flush()
            line = worker.stdout.readline()
            if i >= 2:
                seconds[engine].append(float(line))
    for worker in workers.values():
        worker.communicate()
    return seconds


def once(task: str, engine: str) -> float:
    return float(start(task, engine).communicate()[0])


def install_published() -> bool:
    """Installs micrograd 0.1.0 into its folder if it is missing, and returns whether it is there."""
    if not PUBLISHED.exists():
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(PUBLISHED)]
        subprocess.run([*command, "micrograd==0.1.0"], check=False)
    return PUBLISHED.exists()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60, help="how often each engine has its turn (default 60)")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(*options.worker)
        return

    peers = [OLD] * install_published()
    peers += [name for name, module in ((TORCH, "torch"), (HIPS, "autograd")) if importlib.util.find_spec(module)]
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores; medians of {options.rounds} interleaved rounds")
    print(f"{'':34}{'time':>12}{'ratio to micrograd':>22}")
    for task, title, able in (
        ("expression", "test_more_ops, build + backward", peers),
        ("moons", "moons step, 100 points", [peer for peer in peers if peer != HIPS]),
    ):
        seconds = run_interleaved(task, [OURS, *able], options.rounds)
        print(title)
        for engine, times in seconds.items():
            ratio = statistics.median(theirs / ours for theirs, ours in zip(times, seconds[OURS], strict=True))
            print(f"  {engine:32}{statistics.median(times) * 1e6:>9.1f} µs{ratio:>21.2f}×")
    print("memory of a multiplication")
    for engine in [OURS, *peers[:1]] if OLD in peers else [OURS]:
        print(f"  {engine:32}{once('memory', engine):>6.0f} bytes")
    print("chain of multiplications: build, backward, free")
    for n in CHAINS:
        print(f"  {n:<32,}{once(f'depth{n}', OURS):>9.0f} ns a node")


if __name__ == "__main__":
    main()
