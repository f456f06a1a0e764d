"""Counts the mutants of the rules and of the engine that the tests kill: make mutants.

A mutant is a source file with one changed operator, comparison, number or exception, in the code or in a text of the
table. It is killed if a test fails. The survivors are printed; CONTRIBUTING.md explains them.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import itertools
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
FILES = ["micrograd/rules.py", "micrograd/rule.py", "micrograd/engine.py", "micrograd/stepping.py"]
# Without operators that insert or replace variables: they need the name of each variable.
OPERATORS = [get_operator(name) for name in operator_names() if "/Variable" not in name]
PYTEST = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--no-header"]
# Tests that kill many mutants of a file run first; tests that are slow to load or to run come last.
FIRST = {"micrograd/rules.py": ["tests/test_rules.py"], "micrograd/stepping.py": ["tests/test_stepping.py"]}
DERIVATIVES = "tests/test_rules.py::test_first_and_second_derivatives[{}]"  # of a rule
ACCURACY = ["tests/test_accuracy.py", "-k"]  # of a rule with this name
STAGES = [
    ["tests/test_engine.py", "tests/test_errors.py", "-m", "not slow"],
    ["tests/test_rules.py", "tests/test_functional.py", "tests/test_manners.py", "tests/test_watching.py"],
    ["micrograd", "tests", "-m", "not slow"],
    ["tests", "-m", "slow", "--ignore", "tests/test_packaging.py"],
]
LEFT_OUT = [".git", ".venv", ".hypothesis", ".*_cache", "build", "out"]


def mutants(source: str) -> Iterator[tuple[str, str]]:
    """Yields every distinct mutant, and the name of the rule whose text was changed, if any."""
    seen = {meaning(source)}
    for mutant, rule in itertools.chain(((mutant, "") for mutant in changes(source)), changes_in_texts(source)):
        try:
            new = meaning(mutant)
        except SyntaxError:
            continue
        if new not in seen:
            seen.add(new)
            yield mutant, rule


def changes(source: str) -> Iterator[str]:
    for operator in OPERATORS:
        for occurrence in itertools.count():
            mutant = mutate_code(source, operator(), occurrence)
            if mutant is None:
                break
            yield mutant


def changes_in_texts(source: str) -> Iterator[tuple[str, str]]:
    """Yields the same changes in each string that is an expression: the table's formulas, with their rule's name."""
    tree = ast.parse(source)
    rules = {
        text: call.args[0].value
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "rule"
        for text in call.args[1:]
        if isinstance(call.args[0], ast.Constant)
    }
    text = source.encode()  # positions count bytes
    starts = list(itertools.accumulate((len(line) for line in text.splitlines(keepends=True)), initial=0))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and is_expression(node.value):
            before = text[: starts[node.lineno - 1] + node.col_offset].decode()
            after = text[starts[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0) :].decode()
            for changed in changes(node.value):
                yield f"{before}{changed!r}{after}", str(rules.get(node, ""))


def is_expression(text: str) -> bool:
    try:
        ast.parse(text, mode="eval")
    except SyntaxError:
        return False
    return True


def meaning(source: str) -> str:
    """Returns the syntax tree as text, without annotations, because these do not run."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            node.returns = None
        elif isinstance(node, ast.AnnAssign):
            node.annotation = ast.Constant(None)
    return ast.dump(tree)


def survives(copy: Path, patience: list[float], name: str = "", rule: str = "") -> bool:
    quick = [[DERIVATIVES.format(rule)]] * bool(rule) + [[*ACCURACY, rule]] * rule.isidentifier()
    quick += [FIRST[name]] if name in FIRST else []
    for i, stage in enumerate(quick + STAGES, -len(quick)):
        if run_stage(copy, stage, patience[max(i, 0)]) is None:
            return False
    return True


def run_stage(copy: Path, stage: list[str], limit: float | None = None) -> float | None:
    """Runs tests; returns the seconds that they took, or None if a test failed."""
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1", "CI": "1"}
    start = time.perf_counter()
    try:
        tests = subprocess.run([*PYTEST, *stage], cwd=copy, env=environment, capture_output=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return None
    return None if tests.returncode else time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="how many mutants at a time")
    parser.add_argument("--every", type=int, default=1, help="only every n-th mutant")
    parser.add_argument("files", nargs="*", default=FILES)
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        copies: queue.Queue[Path] = queue.Queue()
        for i in range(args.workers):
            copies.put(Path(folder, str(i)))
            shutil.copytree(ROOT, Path(folder, str(i)), ignore=shutil.ignore_patterns(*LEFT_OUT))
        durations = [run_stage(Path(folder, "0"), stage) for stage in STAGES]
        patience = [30 + 5 * seconds for seconds in durations if seconds is not None]
        if None in durations:
            sys.exit("the tests fail as it is: mend that first")

        def survivor(name: str, source: str, mutant: str, rule: str) -> str:
            copy = copies.get()
            try:
                (copy / name).write_text(mutant)
                if not survives(copy, patience, name, rule):
                    return ""
            finally:
                (copy / name).write_text(source)
                copies.put(copy)
            return "".join(difflib.unified_diff(source.splitlines(True), mutant.splitlines(True), name, name, n=0))

        work = []
        for name in args.files:
            source = (ROOT / name).read_text()
            work += [(name, source, mutant, rule) for mutant, rule in mutants(source)]
        work = work[:: args.every]
        with ThreadPoolExecutor(args.workers) as pool:
            alive = [
                tqdm.write(diff) or diff
                for diff in tqdm(pool.map(lambda job: survivor(*job), work), total=len(work))
                if diff
            ]
    print(f"{len(work)} mutants, {len(alive)} survive: score {1 - len(alive) / len(work):.1%}")


if __name__ == "__main__":
    main()
