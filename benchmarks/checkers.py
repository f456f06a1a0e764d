"""Runs the corpus of tests/corpus.py through the gradient checkers of several libraries.

    python benchmarks/checkers.py              # tables; needs torch, jax and scipy
    python benchmarks/checkers.py --every 4    # every fourth function, and every fourth wrong gradient of these

Each checker gets each right gradient and each wrong one, with its own defaults. Functions are those of plain floats;
for PyTorch and JAX they are wrapped as functions with a gradient of their own.
"""

import argparse
import sys
import warnings
from collections import Counter, defaultdict
from importlib.metadata import version
from pathlib import Path

import jax
import numpy as np
import scipy.optimize
import torch
from jax.test_util import check_grads

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from corpus import CASES, plant_errors

from micrograd.testing import gradcheck

jax.config.update("jax_enable_x64", True)
SCIPY_BOUND = 1e-5  # check_grad returns a distance; this is a usual bound of it, relative to gradients above 1


def by_micrograd(f, gradient, point):
    verdicts = [row.verdict for row in gradcheck(f, list(point), grad=gradient, raises=False).rows]
    return "wrong" if "wrong" in verdicts else "cannot tell" if "cannot tell" in verdicts else "ok"


def by_torch(f, gradient, point):
    class Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *xs):
            return torch.tensor(f(*(x.item() for x in xs)), dtype=torch.float64)

        @staticmethod
        def backward(ctx, upstream):
            return tuple(upstream * slope for slope in gradient(*point))

    inputs = tuple(torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in point)
    return "ok" if torch.autograd.gradcheck(Function.apply, inputs, raise_exception=False) else "wrong"


def by_jax(f, gradient, point):
    shape = jax.ShapeDtypeStruct((), np.float64)

    @jax.custom_vjp
    def function(*xs):
        return jax.pure_callback(lambda *xs: np.float64(f(*map(float, xs))), shape, *xs)

    def back(_, upstream):
        return tuple(upstream * slope for slope in gradient(*point))

    function.defvjp(lambda *xs: (function(*xs), ()), back)
    try:
        check_grads(function, tuple(map(np.float64, point)), order=1, modes=["rev"])
    except AssertionError:
        return "wrong"
    return "ok"


def by_scipy(f, gradient, point):
    slopes = np.array(gradient(*point), float)
    distance = scipy.optimize.check_grad(lambda x: f(*x.tolist()), lambda x: slopes, list(point))
    return "ok" if distance <= SCIPY_BOUND * max(1.0, float(np.linalg.norm(slopes))) else "wrong"


CHECKERS = {
    "micrograd": by_micrograd,
    f"torch {version('torch').partition('+')[0]}": by_torch,
    f"jax {version('jax')}": by_jax,
    f"scipy {version('scipy')}": by_scipy,
}


def ask(checker, f, gradient, point):
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            return checker(f, gradient, point)
    except Exception:  # a checker that fails, as beside the edge of a domain
        return "fails"


def show(counts, what):
    total = sum(counts.values())
    return f"{100 * counts[what] / total:.0f} %" if total else ""


def main():
    right = defaultdict(Counter)
    wrong = defaultdict(Counter)
    sizes = defaultdict(Counter)
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser()
    parser.add_argument("--every", type=int, default=1)
    every = parser.parse_args().every
    cases = CASES[::every]
    for number, case in enumerate(cases):
        for name, checker in CHECKERS.items():
            right[case.kind, name][ask(checker, case.f, case.gradient, case.point)] += 1
        for kind, _, _, gradient in list(plant_errors(case))[number % every :: every]:
            for name, checker in CHECKERS.items():
                answer = ask(checker, case.f, lambda *x, g=gradient: g, case.point)
                wrong[case.kind, name][answer] += 1
                sizes[kind, name][answer] += 1
    kinds = dict.fromkeys(case.kind for case in cases)
    print("Right gradients that are accused, of all (and those on which the checker fails):\n")
    print("|", " | ".join(["function", "number", *CHECKERS]), "|\n|---|---|" + "---|" * len(CHECKERS))
    for kind in kinds:
        cells = []
        for name in CHECKERS:
            counts = right[kind, name]
            cells.append(str(counts["wrong"]) + (f" ({counts['fails']})" if counts["fails"] else ""))
        print("|", " | ".join([kind, str(sum(right[kind, "micrograd"].values())), *cells]), "|")
    for title, table, rows in (("function", wrong, kinds), ("error", sizes, dict.fromkeys(k for k, _ in sizes))):
        print(f"\nWrong gradients that are found, by {title}:\n")
        print("|", " | ".join([title, "number", *CHECKERS, "micrograd can't tell"]), "|")
        print("|---|---|" + "---|" * (len(CHECKERS) + 1))
        for row in rows:
            cells = [show(table[row, name], "wrong") for name in CHECKERS]
            number = str(sum(table[row, "micrograd"].values()))
            print("|", " | ".join([row, number, *cells, show(table[row, "micrograd"], "cannot tell")]), "|")


if __name__ == "__main__":
    main()
