"""Sessions at the debugger's prompt."""

import io
import math
import random
import subprocess
import sys

import pytest

from micrograd import Value, debug, nn
from micrograd.debugger import Debugger


def neuron():
    x, w, b = Value(2.0, label="x"), Value(-3.0, label="w"), Value(7.0, label="b")
    n = w * x + b
    return {"x": x, "w": w, "b": b, "n": n, "y": n.tanh() * x}


def session(names, *commands, root="y"):
    """Returns the answer to each command, and the text before the first and after the last one."""
    out = io.StringIO()
    debug(names[root], names, stdin=io.StringIO("\n".join(commands) + "\n"), stdout=out)
    return [part.partition("\n")[2].strip("\n") for part in ("\n" + out.getvalue()).split("(micrograd) ")]


def test_a_session_with_every_command(tmp_path):
    names = neuron()
    answers = dict(
        enumerate(
            session(
                names,
                "n",  # 1
                "next 2",  # 2
                "l",  # 3
                "w",  # 4
                "why x",  # 5
                "b 2",  # 6
                "break x",  # 7
                "break if |grad| > 1",  # 8
                "break",  # 9
                "c",  # 10
                "c",  # 11
                "clear x",  # 12
                "clear",  # 13
                "c",  # 14
                "why x",  # 15
                "p n",  # 16
                "l x",  # 17
                "where b",  # 18
                f"graph {tmp_path / 'now.svg'}",  # 19
                "forward",  # 20
                "h why",  # 21
                "q",  # 22
            )
        )
    )
    assert answers[0].startswith("A backward pass of 7 steps from y = 1.52319.")
    assert answers[1].splitlines() == [
        "y = %5 * x: ∂y/∂%5 = x = 2; times y.grad, 1, is 2; %5.grad: 0 → 2",
        "next: y = %5 * x, by x",
    ]
    assert "n.grad: 0 → 0.839949" in answers[2]
    assert answers[3].splitlines() == [
        "  ┌ %5 = tanh(n)  data 0.761594  grad 2",
        "→ n = %2 + b  data 1  grad 0.839949",
        "  ├ %2 = w * x  data -6  grad 0",
        "  │ ├ w  data -3  grad 0",
        "  │ └ x  data 2  grad 0.761594",
        "  └ b  data 7  grad 0",
    ]
    assert answers[4].splitlines() == [
        "y = %5 * x     ∂y/∂%5 = x               2",
        "%5 = tanh(n)   ∂%5/∂n = tanh_slope(n)   0.419974",
        "multiplied out: ∂y/∂n = 0.839949",
    ]
    assert answers[5].endswith("x.grad = 0.761594; 1 of its 2 parts are still to come")
    assert answers[6].splitlines() == [
        "took back %5 = tanh(n): n.grad is 0 again",
        "took back y = %5 * x: x.grad is 0 again",
        "next: y = %5 * x, by x",
    ]
    assert answers[9].splitlines() == ["stops at x", "stops at if |grad| > 1"]
    assert "stopped at x\n" in answers[10]
    assert "w.grad: 0 → 1.6799\nstopped at if |grad| > 1\n" in answers[11]
    assert answers[12] == "no longer stops at x"
    assert answers[13] == "no longer stops at if |grad| > 1"
    assert answers[14].endswith("the pass is complete: all gradients are those of backward()")
    assert answers[15].splitlines() == [
        "from y = %5 * x   0.761594 × 1    = 0.761594",
        "from %2 = w * x   -3 × 0.839949   = -2.51985",
        "x.grad = -1.75825",
    ]
    assert answers[16] == "n = %2 + b  data 1.0  grad 0.8399486832280522"
    assert answers[17].splitlines()[-1] == "→ x  data 2  grad -1.75825"
    assert answers[18].endswith("multiplied out: ∂y/∂b = 0.839949")
    assert (tmp_path / "now.svg").read_text(encoding="utf-8").count("<svg") == 1
    assert answers[20].splitlines()[:2] == ["%2 = w * x = -6", "n = %2 + b = 1"]
    assert answers[20].endswith("next: y = %5 * x, by %5")
    assert answers[21] == "why NODE: its gradient as the sum of what its children handed it so far."


def test_forth_and_back_at_random_ends_where_backward_does():
    names, whole = neuron(), neuron()
    rng = random.Random(0)
    session(names, *(rng.choice(["n", "n 2", "b", "b 3"]) for _ in range(50)), "c", "q")
    whole["y"].backward()
    assert [node.grad for node in names.values()] == [node.grad for node in whole.values()]


def test_gradients_from_before_come_back_at_the_end():
    names = neuron()
    names["x"].grad = 10.0
    session(names, "n", "q")
    assert names["x"].grad == 10.0
    session(names, "c")  # ended by the end of the input
    assert names["x"].grad == pytest.approx(10.0 - 1.7582515)


def test_mistakes_are_told_and_the_session_goes_on():
    answers = session(
        neuron(), "foo", "p foo", "p", "n a", "break if x", "break if grad > x", "clear y", "graph", "graph a.bmp",
        "h foo", "b", "n", "q",
    )  # fmt: skip
    for answer, text in zip(
        answers[1:],
        [
            "*** there is no command 'foo'; help lists them",
            "*** there is no node 'foo'; there are w, x, %2, b, n, %5, y",
            "*** there is no node ''",
            "*** a number of steps, not 'a'",
            "*** no condition 'x'",
            "*** no condition 'grad > x'",
            "*** there is no breakpoint 'y'",
            "*** graph needs the name of a file",
            "*** ",
            "*** there is no command 'foo'",
            "this is the beginning of the pass",
            "y = %5 * x: ∂y",
        ],
        strict=False,
    ):
        assert answer.startswith(text)


def test_a_gradient_that_does_not_exist_stops_the_pass_and_not_the_session():
    x = Value(2.0, "x")
    y = 1 / x + x
    x.data = 0.0
    answers = session({"y": y}, "n 5", "b", "n", "q")
    assert answers[1].splitlines()[-1].startswith("*** in the gradient of 1.0 / x=0.0")
    assert "y.grad" in answers[3]


def test_break_if_not_finite():
    x = Value(0.0, "x")
    y = x.sqrt() * 2
    answers = session({"y": y, "x": x}, "break if not finite", "c", "q")
    assert "x.grad: 0 → inf\nstopped at if not finite" in answers[2]


def test_an_inner_breakpoint_stops_when_its_gradient_is_complete():
    names = neuron()
    answers = session(names, "break n", "c", "p n", "c", "q")
    assert answers[2].endswith("stopped at n\nnext: n = %2 + b, by %2")
    assert answers[3] == "n = %2 + b  data 1.0  grad 0.8399486832280522"
    assert answers[4].startswith("the pass is complete")


def test_help_knows_every_command_and_an_empty_line_repeats():
    names = neuron()
    answers = session(names, "help", "n", "", "c", "", "l", "q")
    assert len(answers[1].splitlines()) == 13
    assert "n.grad" not in answers[2] + answers[3]
    assert "x.grad: 0 → 0.761594" in answers[3]
    assert answers[5] == "the pass is complete: all gradients are those of backward()"


def test_completion():
    names = neuron()
    prompt = Debugger(names["y"], names, io.StringIO(), io.StringIO())
    assert prompt.completenames("w") == ["where", "why"]
    assert prompt.complete_why("", "why ", 4, 4) == sorted(["w", "x", "b", "n", "y", *(f"%{i}" for i in range(7))])
    assert prompt.complete_p("%", "p %", 2, 3) == [f"%{i}" for i in range(7)]


def test_the_root_and_a_leaf_alone():
    x = Value(1.0, "x")
    answers = session({"x": x}, "n", "w", "why x", "l", "c", "b", "q", root="x")
    assert answers[1] == "the pass is complete: all gradients are those of backward()"
    assert answers[2] == "x is the root: its gradient is 1"
    assert x.grad == 1.0


def test_a_network():
    model = nn.MLP(2, [3, 1], activation="tanh", rng=random.Random(0))
    out = model([1.0, -2.0])
    answers = session({"out": out, "w": model.layers[0].neurons[1].w[0]}, "c", "where w", "why w", "q", root="out")
    product = float(answers[2].split("multiplied out: ∂out/∂w = ")[1])
    assert product == pytest.approx(model.layers[0].neurons[1].w[0].grad, rel=1e-5)
    assert math.isfinite(product)


def test_piped_input_is_shown_behind_the_prompt():
    code = "from micrograd import Value, debug\nx = Value(3.0, label='x')\ndebug(x * x)"
    out = subprocess.run(
        [sys.executable, "-c", code], input="n\nq\n", capture_output=True, text=True, check=True
    ).stdout  # fmt: skip
    assert "(micrograd) n\n%1 = x * x: ∂%1/∂x = x = 3" in out


def test_what_is_no_value():
    with pytest.raises(TypeError, match=r"debug\(\) takes Values, not float"):
        debug(3.0)
