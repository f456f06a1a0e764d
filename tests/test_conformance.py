"""Comparing other libraries with 50 digits: differences are found, shrunk, and shown by programs that run."""

import contextlib
import io
import math

import pytest

pytest.importorskip("mpmath", reason="mpmath is not installed")

from micrograd.rules import RULES
from micrograd.testing import conformance
from micrograd.testing.conformance import LIBRARIES, Library, compare, find_differences
from micrograd.testing.expression import Expression, Step


class Number:
    """A library of its own for these tests: forward mode, with a tanh whose slope is wrong far out."""

    def __init__(self, x, slope=0.0):
        self.x, self.slope = x, slope

    def __add__(self, other):
        return Number(self.x + other.x, self.slope + other.slope)

    def __mul__(self, other):
        return Number(self.x * other.x, self.x * other.slope + self.slope * other.x)

    def tanh(self):
        y = math.tanh(self.x)
        return Number(y, (1 - y * y) * self.slope)


def write(names, point, text):
    runs = [", ".join(f"Number({x!r}, {float(i == j)})" for i, x in enumerate(point)) for j in range(len(point))]
    return [
        "from test_conformance import Number",
        f"f = lambda {', '.join(names)}: {text}",
        f"print(f({runs[0]}).x, {', '.join(f'f({run}).slope' for run in runs)})",
    ]


TEXTS = {"+": "({0} + {1})", "*": "({0} * {1})", "tanh": "({0}).tanh()"}


@pytest.fixture
def library(monkeypatch):
    monkeypatch.syspath_prepend(__file__.rpartition("/")[0])
    return Library("pytest", TEXTS, write)


def test_a_difference_is_found_and_shrunk(library):
    found = list(find_differences(library, seconds=5))
    assert all("tanh" in difference.operations and len(difference.operations) <= 2 for difference in found)
    difference = found[0]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(difference.program, {})
    assert tuple(map(float, printed.getvalue().split())) == difference.got != difference.exact
    assert len(difference.program.splitlines()) <= 5
    assert str(difference).splitlines()[-1].startswith("# exact:  ")


def test_right_expressions_and_kinks_and_lost_digits_are_no_differences(library):
    product = Expression((3.0, 0.5), (Step(RULES["*"], (0, 1)), Step(RULES["+"], (2, 2))))
    assert compare(library, product) is None
    kink = Expression((0.0,), (Step(RULES["abs"], (0,)),))
    assert compare(LIBRARIES["torch"], kink) is None
    lost = Expression((1e8, 0.3), (Step(RULES["+"], (0, 1)), Step(RULES["-"], (2, 0)), Step(RULES["log"], (3,))))
    assert compare(LIBRARIES["torch"], lost) is None


def test_a_program_that_fails_is_a_difference():
    broken = Library("pytest", {"tanh": "{0}.no_such_method()"}, write)
    difference = compare(broken, Expression((0.5,), (Step(RULES["tanh"], (0,)),)))
    assert difference.got.startswith(("ModuleNotFoundError", "AttributeError"))


@pytest.mark.parametrize("name", LIBRARIES)
def test_libraries_compute_what_they_are_said_to(name):
    """Each operation of each library that is installed, at a point where all are exact."""
    library = LIBRARIES[name]
    pytest.importorskip(name, reason=f"{name} is not installed")
    for operation in library.texts:
        rule = RULES[operation].bind("power", n=3.0) if operation == "power" else RULES[operation]
        point = tuple((0.3, 0.7, 0.2, 0.6)[: 4 if rule.variadic else len(rule.names)])
        assert compare(library, Expression(point, (Step(rule, tuple(range(len(point)))),))) is None


def test_the_command_says_what_is_missing(capsys):
    with pytest.raises(SystemExit):
        conformance.main(["numpy"])
    assert "numpy: not one of torch, jax, autograd, tinygrad" in capsys.readouterr().err
    missing = next((name for name, library in LIBRARIES.items() if library.version is None), None)
    if missing:
        conformance.main([missing, "--seconds", "1"])
        assert f"{missing} is not installed" in capsys.readouterr().out


def test_a_library_that_cannot_run_is_no_list_of_differences(library, monkeypatch, capsys):
    broken = Library("pytest", TEXTS, lambda names, point, text: ["import a_compiler_that_is_missing"])
    monkeypatch.setitem(LIBRARIES, "tinygrad", broken)
    conformance.main(["tinygrad", "--seconds", "1"])
    _, line = capsys.readouterr().out.splitlines()
    assert line.startswith("it can't add two numbers here: ModuleNotFoundError")
