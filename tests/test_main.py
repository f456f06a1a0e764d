"""The command line: its output and its errors."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import micrograd
from micrograd.__main__ import main

NEURON = ["tanh(x1*w1 + x2*w2 + b)", "x1=2", "x2=0", "w1=-3", "w2=1", "b=6.8813735870195432"]


def test_a_neuron(capsys):
    assert main(NEURON) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["name", "operation", "data", "grad"]
    assert lines[1].split() == ["x1", "2", "-1.5"]
    assert lines[-1].split() == ["%9", "tanh(%8)", "0.7071067812", "1"]


def test_as_a_command():
    done = subprocess.run([sys.executable, "-m", "micrograd", "-x**2", "x=3"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1].split() == ["x", "3", "-6"]
    done = subprocess.run([sys.executable, "-m", "micrograd", "x.y", "x=3"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.parametrize(
    ("called", "name"),
    [
        ("/somewhere/micrograd", "micrograd"),
        ("micrograd.exe", "micrograd"),
        ("/somewhere/micrograd/__main__.py", "python -m micrograd"),
    ],
)
def test_help_and_version_fit_how_the_command_was_called(called, name, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", [called, "--help"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: {name} [-h]")
    monkeypatch.setattr(sys, "argv", [called, "--version"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"micrograd {micrograd.__version__}\n"


def test_steps_and_check(capsys):
    assert main(["relu(x) * 2 + abs(y)", "x=3", "y=0", "--steps", "--check"]) == 0
    out = capsys.readouterr().out
    assert "%1 = relu(x) = relu(3) = 3\n" in out
    assert "%1 = relu(x): ∂%1/∂x = 1; times %1.grad, 2, is 2; x.grad: 0 → 2\n" in out
    rows = {line.split()[0]: line.split() for line in out.splitlines() if line}
    assert rows["x"][:4] == ["x", "3", "2", "2"]
    assert rows["x"][-1] == "ok"
    assert rows["y"][-1] == "kink"


def test_without_graphviz_a_drawing_is_refused_in_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "wasmtime", None)
    monkeypatch.setattr("micrograd.drawing.rendering._backend", None)
    assert main(["x", "x=1", "--svg", str(tmp_path / "x.svg")]) == 2
    assert re.fullmatch(r"micrograd: a drawing needs .*python -m pip install .*\n", capsys.readouterr().err)
    assert list(tmp_path.iterdir()) == []


def test_files_and_debugger(tmp_path, capsys, monkeypatch):
    import io

    monkeypatch.setattr(sys, "stdin", io.StringIO("c\nwhy x\nq\n"))
    svg, html = tmp_path / "x.svg", tmp_path / "x.html"
    assert main(["x*x", "x=3", "--svg", str(svg), "--html", str(html), "--debug"]) == 0
    assert "<svg" in svg.read_text(encoding="utf-8")
    assert "<html" in html.read_text(encoding="utf-8")
    assert capsys.readouterr().out.rstrip().endswith("x.grad = 6\n(micrograd) q")


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        (["2*3 - 1"], "5"),
        (["-2**2"], "-4"),
        (["+x / 4", "x=2"], "0.5"),
        (["maximum(x, 3) + sum(x, x, 1)", "x=2"], "8"),
        (["leaky_relu(-x, negative_slope=0.5)", "x=2"], "-1"),
        (["cos(pi) + x", "x=2"], "1"),
        (["2 ** x ** 2", "x=2"], "16"),
        (["abs(-x) + power(x, n=3)", "x=2"], "10"),
        (["e", "e=2"], "2"),
    ],
)
def test_expressions(arguments, value, capsys):
    assert main(arguments) == 0
    assert capsys.readouterr().out.splitlines()[-1].split()[-2] == value


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["__import__('os').system('x')"], "is no part of an expression"),
        (["x.__class__", "x=1"], "is no part"),
        (["lambda: 1"], "is no part"),
        (["[x for x in y]", "y=1"], "is no part"),
        (["x if x else 2", "x=1"], "is no part"),
        (["(x := 2)"], "is no part"),
        (["x @ x", "x=1"], "is no part"),
        (["x[0]", "x=1"], "is no part"),
        (["'a' * 3"], "is no part"),
        (["True + 1"], "is no part"),
        (["1j"], "is no part"),
        (["f'{x}'", "x=1"], "is no part"),
        (["tanh(*x)", "x=1"], "is no part"),
        (["eval(x)", "x=1"], "there is no function 'eval'; there are neg, power"),
        (["open(x)", "x=1"], "there is no function 'open'"),
        (["tanh(x)(x)", "x=1"], "is no part"),
        (["tanh(x, n=2)", "x=1"], "tanh() has the constants none"),
        (["power(x, n=y)", "x=1", "y=2"], "n of power() is a constant"),
        (["tanh(x, x)", "x=1"], "takes 1 operands"),
        (["tanh + 1", "tanh="], "'tanh=' is no variable"),
        (["9**9**9**9"], "Numerical result out of range"),
        (["1" + "0" * 400 + "*x", "x=1"], "too large"),
        (["(-8) ** 0.5"], "no real power"),
        (["1/x", "x=0"], "1.0 / x=0.0"),
        (["log(x)", "x=-1"], "log(x=-1.0)"),
        (["x*y", "x=1"], "no number is given for y: add y="),
        (["x", "x=1", "y=2"], "y is not in the expression"),
        (["x", "x=1", "x=2"], "x is given twice"),
        (["x", "x"], "'x' is no variable: write name=number"),
        (["x", "x=a"], "'x=a' is no variable"),
        (["x +", "x=1"], "is not an expression"),
        ([""], "is not an expression"),
        (["x\0", "x=1"], "is not an expression"),
        (["(" * 3000 + "x" + ")" * 3000, "x=1"], "…"),
        (["+".join(["x"] * 20_000), "x=1"], "too deeply"),
        (["x", "x=1", "--svg", "nowhere/at/all.svg"], "nowhere"),
        (["x", "x=1", "--svg", "x.bmp"], "bmp"),
    ],
)
def test_refusals_take_one_line(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("micrograd: ")
    assert error.count("\n") == 1
    assert len(error) < 400
    assert list(Path(tmp_path).iterdir()) == []


@given(st.text(max_size=30), st.text(max_size=10))
def test_any_text_is_an_answer_or_one_line(expression, variable):
    import contextlib
    import io

    out, error = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        try:
            code = main([f" {expression}", f" {variable}"])
        except SystemExit as exit_:  # of argparse
            code = exit_.code
    assert code in (0, 2)
    assert code == 0 or error.getvalue().count("\n") == 1
