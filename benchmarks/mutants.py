"""Counts the mutants of the rules and of the engine that the tests kill: make mutants.

A mutant is a source file with one change, in the code or in a text of the table. It is killed if a test fails. The
survivors are printed; CONTRIBUTING.md explains them. The changes:

- an arithmetic operator, a comparison or an ``and``/``or`` becomes each other one; ``-x`` becomes ``+x``;
- a condition is negated, a number is 1 more or less, True becomes False;
- a loop has nothing to do, ``break`` becomes ``continue``, an exception is not caught, a decorator is taken away.

Not made are changes that no test can notice:

- of annotations, which do not run;
- ``is`` for ``==``: CPython keeps one object of each small number and each name;
- in a text, of a number other than 0 and 1 with which it compares, and ``<`` for ``<=`` beside one: there one formula
  takes over from another, and both hold. (The tests measure points beside each of these numbers.)

Nor are operators on bits made, which floats do not have: any test would notice them.

Each mutant is tested in a process of its own. It is forked from one that has loaded the libraries, but not micrograd.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import difflib
import gc
import multiprocessing
import os
import re
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Set
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import mpmath  # noqa: F401  # loaded before processes are forked
import numpy  # noqa: F401
import pytest
from hypothesis import Phase, settings
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
FILES = ["micrograd/rules.py", "micrograd/rule.py", "micrograd/engine.py", "micrograd/stepping.py"]
LEFT_OUT = [".git", ".venv", ".hypothesis", ".*_cache", "build", "out", "__pycache__"]
PYTEST = ["-x", "-q", "--tb=no", "-m", "not slow", "-o", "addopts=--doctest-modules", "--hypothesis-profile=mutants"]
PYTEST += [f"-pno:{name}" for name in ("cacheprovider", "unraisableexception", "threadexception", "warnings")]
settings.register_profile(
    "mutants", deadline=None, derandomize=True, database=None, phases=[Phase.explicit, Phase.generate]
)
# Tests of a file: first those that are quick.
SLOW = ["last_digit", "first_and_second", "either_side", "word", "long_chain", "without_the_collector", "any_length"]
QUICK = " and ".join(f"not {name}" for name in SLOW)
REST = "micrograd " + " ".join(
    f"tests/test_{name}.py" for name in ("manners", "rules", "errors", "anomaly", "stepping", "engine")
)
STAGES = {
    "micrograd/rules.py": ["tests/test_rules.py tests/test_functional.py tests/test_accuracy.py"],
    "micrograd/rule.py": [
        "tests/test_engine.py",
        "tests/test_rules.py tests/test_manners.py tests/test_accuracy.py",
        REST,
    ],
    "micrograd/engine.py": ["tests/test_engine.py", "tests/test_manners.py tests/test_functional.py", REST],
    "micrograd/stepping.py": ["tests/test_stepping.py", "micrograd/stepping.py tests/test_debugger.py", REST],
}
NO_TESTS = 5  # pytest's code if no test has the name of a rule
LIMIT = 200  # seconds; a stage that takes longer runs in circles, which counts as killed

ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow)
ORDER = (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq)
SAME_FOR_MOST = ({ast.Lt, ast.LtE}, {ast.Gt, ast.GtE})
OPPOSITES = {
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
}


def mutants(source: str) -> Iterator[tuple[str, str]]:
    """Yields every mutant, and the name of the rule whose text was changed, if any."""
    tree = ast.parse(source)
    for node in walk(tree):
        for rule in changes(node):
            yield ast.unparse(tree), rule


def walk(node: ast.AST) -> Iterator[ast.AST]:
    """Yields the nodes of a tree without annotations."""
    yield node
    for name, field in ast.iter_fields(node):
        for child in field if isinstance(field, list) else [field]:
            if isinstance(child, ast.AST) and name not in ("annotation", "returns"):
                yield from walk(child)


def changes(node: ast.AST, thresholds: Set[ast.AST] = frozenset()) -> Iterator[str]:
    """Makes one change of a node after another, and undoes it; yields the name of the rule that it is about."""
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "rule" and len(node.args) > 2:
        for text in node.args[2:]:
            if isinstance(text, ast.Constant):
                yield from changes_of_text(text, str(getattr(node.args[0], "value", "")))
    for name, new in alternatives(node, thresholds):
        old = getattr(node, name)
        setattr(node, name, new)
        yield ""
        setattr(node, name, old)


def changes_of_text(text: ast.Constant, rule: str) -> Iterator[str]:
    old = text.value
    formula = ast.parse(str(old), mode="eval")
    compared = [
        side for node in ast.walk(formula) if isinstance(node, ast.Compare) for side in [node.left, *node.comparators]
    ]
    thresholds = {part for side in compared if is_threshold(side) for part in ast.walk(side)}
    for part in walk(formula):
        for _ in changes(part, thresholds) if part not in thresholds else ():
            text.value = ast.unparse(formula)
            yield rule
    text.value = old


def is_threshold(side: ast.expr) -> bool:
    """Returns whether a side of a comparison is a number where one formula takes over from another."""
    return not any(isinstance(part, ast.Name) for part in ast.walk(side)) and abs(eval(ast.unparse(side))) not in (0, 1)


def alternatives(node: ast.AST, thresholds: Set[ast.AST]) -> Iterator[tuple[str, Any]]:
    """Yields what may stand in place of a field of a node: the field's name, and its new content."""
    if isinstance(node, ast.BinOp):
        yield from (("op", new()) for new in ARITHMETIC if not isinstance(node.op, new))
    elif isinstance(node, ast.BoolOp):
        yield "op", OPPOSITES[type(node.op)]()
    elif isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
        for i, old in enumerate(node.ops):
            is_free = thresholds.isdisjoint(sides[i : i + 2])
            for new in [OPPOSITES[type(old)]] if type(old) in OPPOSITES else ORDER:
                if not isinstance(old, new) and (is_free or {type(old), new} not in SAME_FOR_MOST):
                    yield "ops", [*node.ops[:i], new(), *node.ops[i + 1 :]]
    elif isinstance(node, ast.UnaryOp):
        if isinstance(node.op, ast.USub):
            yield "op", ast.UAdd()
        else:
            yield "operand", ast.UnaryOp(ast.Not(), node.operand)
    elif isinstance(node, (ast.If, ast.IfExp, ast.While, ast.Assert)):
        yield "test", ast.UnaryOp(ast.Not(), node.test)
    elif isinstance(node, ast.comprehension):
        yield from (("ifs", [ast.UnaryOp(ast.Not(), test)]) for test in node.ifs)
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield "value", not node.value
    elif isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        yield from (("value", new) for new in (node.value + 1, node.value - 1) if new != node.value)
    elif isinstance(node, ast.For):
        yield "iter", ast.Tuple([])
    elif isinstance(node, (ast.Break, ast.Continue)):
        yield "__class__", ast.Continue if isinstance(node, ast.Break) else ast.Break
    elif isinstance(node, ast.ExceptHandler):
        names = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type] if node.type else []
        for i in range(len(names)):
            yield "type", ast.Tuple(names[:i] + names[i + 1 :])
    elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        for i in range(len(node.decorator_list)):
            yield "decorator_list", node.decorator_list[:i] + node.decorator_list[i + 1 :]


def list_stages(name: str, rule: str) -> list[list[str]]:
    """Returns the arguments of pytest: first for the tests of the rule and its users, then for those of the file."""
    *quick, last = [stage.split() for stage in STAGES[name]]
    quick = [[*stage, "-k", QUICK] for stage in quick]
    if not rule:
        return [*quick, last]
    own, *others = [
        one.replace("*", "x") for one in (rule, *sorted(find_users()[rule]))
    ]  # as tests/exact.py writes them
    accuracy = ["tests/test_accuracy.py", "-k", f"last_digit and [{own}-"]
    derivatives = ["tests/test_rules.py", "-k", f"first_and_second and [{own}]"]
    users = ["tests/test_accuracy.py", "-k", "last_digit and (" + " or ".join(f"[{one}-" for one in others) + ")"]
    return [accuracy, derivatives, *[users] * bool(others), [*last, "-k", QUICK]]


@cache
def find_users() -> dict[str, set[str]]:
    """Returns for each rule those whose texts use it, by way of others too."""
    tree = ast.parse((ROOT / "micrograd/rules.py").read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and len(node.args) > 2]
    texts = [(ast.literal_eval(call.args[0]), " ".join(map(ast.unparse, call.args[2:]))) for call in calls]
    users = {
        name: {other for other, text in texts if other != name and f"{name}(" in re.findall(r"\w+\(", text)}
        for name, _ in texts
    }
    for _ in users:
        users = {name: some.union(*(users[other] for other in some)) - {name} for name, some in users.items()}
    return users


def run_tests(stage: list[str], keep_compiled: bool = False) -> bool:
    """Runs tests of the project in the current folder, in a forked process; returns whether they pass."""
    process = os.fork()
    if not process:
        os.setsid()
        signal.alarm(LIMIT)
        sys.dont_write_bytecode = not keep_compiled
        sys.path.insert(0, os.getcwd())
        os.environ.update(PYTHONPATH=os.getcwd(), PYTHONDONTWRITEBYTECODE="1", CI="1")
        for output in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), output)
        with contextlib.suppress(BaseException):
            os._exit(pytest.main([*PYTEST, *stage]))
        os._exit(1)
    _, status = os.waitpid(process, 0)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process, signal.SIGKILL)  # what the tests have started
    return os.waitstatus_to_exitcode(status) in (0, NO_TESTS)


def survives(job: tuple[str, str, str]) -> bool:
    name, mutant, rule = job
    original = Path(name).read_text()
    Path(name).write_text(mutant)
    try:
        return all(map(run_tests, list_stages(name, rule)))
    finally:
        Path(name).write_text(original)


def enter_copy(project: Path) -> None:
    os.chdir(shutil.copytree(project, project.with_name(str(os.getpid()))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="how many mutants at a time")
    parser.add_argument("--every", type=int, default=1, help="only every n-th mutant")
    parser.add_argument("files", nargs="*", default=FILES)
    args = parser.parse_args()

    gc.freeze()  # in forked processes, the collector leaves alone what is loaded here
    originals = {name: ast.unparse(ast.parse((ROOT / name).read_text())) for name in args.files}
    work = [(name, *found) for name in args.files for found in dict(mutants(originals[name])).items()][:: args.every]
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder, "project")
        os.chdir(shutil.copytree(ROOT, project, ignore=shutil.ignore_patterns(*LEFT_OUT)))
        for name, source in originals.items():
            Path(name).write_text(source)
        for stage in {stage for name in originals for stage in STAGES[name]}:
            if not run_tests(stage.split(), keep_compiled=True):
                sys.exit(f"the tests fail as it is, mend that first: pytest {stage}")
        for compiled in [path for name in FILES for path in Path("micrograd/__pycache__").glob(f"{Path(name).stem}.*")]:
            compiled.unlink()  # Python would take it for that of a mutant of the same second
        alive: Counter[str] = Counter()
        context = multiprocessing.get_context("fork")
        with ProcessPoolExecutor(args.workers, context, enter_copy, (project,)) as pool:
            found = tqdm(pool.map(survives, work), total=len(work))
            for (name, mutant, _), survived in zip(work, found, strict=True):
                if survived:
                    alive[name] += 1
                    lines = originals[name].splitlines(), mutant.splitlines()
                    tqdm.write("\n".join(difflib.unified_diff(*lines, name, name, n=0, lineterm="")))
    for name, count in [*Counter(job[0] for job in work).items(), ("all", len(work))]:
        survivors = alive.total() if name == "all" else alive[name]
        print(f"{name}: {count} mutants, {survivors} survive: score {1 - survivors / count:.1%}")


if __name__ == "__main__":
    main()
