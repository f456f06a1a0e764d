"""The plugin of pytest and the entry point of Hypothesis."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("micrograd_pytest", reason="the plugin is not installed, and is not beside the tests")

CHECKS = """
def test_right(gradcheck):
    assert gradcheck(lambda x: x.tanh(), [0.5]).ok

def test_wrong(gradcheck):
    gradcheck(lambda x: x * x, [3.0], grad=lambda x: x)
"""


def run_python(*arguments, folder):
    import micrograd_pytest

    root = str(Path(micrograd_pytest.__file__).parent)
    environment = {**os.environ, "PYTHONPATH": root + os.pathsep + os.environ.get("PYTHONPATH", "")}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


def test_the_fixture_checks_and_the_option_prints_the_reports(tmp_path):
    (tmp_path / "test_it.py").write_text(CHECKS)
    command = ["-m", "pytest", "-p", "micrograd_pytest", "-p", "no:cacheprovider"]
    out = run_python(*command, "--gradcheck-report", folder=tmp_path)
    assert "1 failed, 1 passed" in out
    assert "test_it.py::test_right\ninput  analytic        numeric" in out
    assert "test_it.py::test_wrong\ninput  analytic  numeric" in out
    assert "GradcheckError: wrong by x" in out
    assert "micrograd/testing/" not in out  # no source of the library in the traceback
    assert " gradients " not in run_python(*command, folder=tmp_path)


def test_importing_the_plugin_is_fast(tmp_path):
    program = (
        "import pytest, time; start = time.perf_counter(); import micrograd_pytest, sys; "
        "print(time.perf_counter() - start); assert 'micrograd' not in sys.modules"
    )
    assert min(float(run_python("-c", program, folder=tmp_path)) for _ in range(5)) < 0.02


def test_hypothesis_finds_the_strategy_of_value_by_its_type(tmp_path):
    program = (
        "from micrograd.testing.registration import register_strategies; register_strategies()\n"
        "from hypothesis import given, strategies as st\n"
        "from micrograd import Value\n"
        "given(st.from_type(Value), st.builds(list, st.lists(st.from_type(Value))))("
        "lambda value, more: print(type(value).__name__))()"
    )
    assert run_python("-c", program, folder=tmp_path).split()[0] == "Value"


def test_the_entry_points_are_declared():
    tomllib = pytest.importorskip("tomllib")
    declared = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]["entry-points"]
    assert declared == {
        "pytest11": {"micrograd_pytest": "micrograd_pytest"},
        "hypothesis": {"micrograd": "micrograd.testing.registration:register_strategies"},
    }
