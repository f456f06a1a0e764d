"""Steps of both passes: one application of the chain rule at a time, and their sum."""

import math
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from micrograd import Value, detect_anomaly, functional, rules
from micrograd.engine import operation, topological_order
from micrograd.naming import name_nodes
from micrograd.rules import RULES
from micrograd.stepping import BackwardPass, contributions, write_expression
from micrograd.testing.strategies import expressions


def bits(numbers):
    return [struct.pack("d", x) for x in numbers]


def graph(expression, earlier):
    """Returns the nodes of an expression at its point. Its arguments have gradients from before."""
    out = expression(*map(Value, expression.point))
    nodes = topological_order(out)
    for i, node in enumerate(node for node in nodes if not node.parents):
        node.grad = earlier * (i + 0.1)
    return nodes


@settings(max_examples=1000)
@given(expressions())
def test_steps_leave_what_backward_leaves(expression):
    for earlier in (0.0, 0.7):
        stepped, whole = graph(expression, earlier), graph(expression, earlier)
        steps = list(stepped[-1].steps())
        whole[-1].backward()
        assert bits(node.grad for node in stepped) == bits(node.grad for node in whole)
        assert len(steps) == sum(len(node.parents) for node in stepped)


@given(expressions())
def test_each_step_is_the_chain_rule(expression):
    nodes = graph(expression, 0.0)
    for step in nodes[-1].steps():
        assert step.parent is step.node.parents[step.operand]
        assert step.contribution == step.local * step.upstream
        assert step.after == step.before + step.contribution == step.parent.grad
        assert step.upstream == step.node.grad
        assert "\n" not in str(step)


@given(expressions(max_leaves=4))
def test_a_formula_is_the_local_gradient(expression):
    names = {"inf": math.inf, "nan": math.nan, "abs": abs}
    names |= {name: rule.forward for name, rule in RULES.items() if name not in ("abs", "sum")}
    nodes = graph(expression, 0.0)
    variables = {f"x{i}": node for i, node in enumerate(nodes)}
    for step in nodes[-1].steps(variables):
        numbers = {name: node.data for name, node in variables.items()}
        assert eval(step.formula, names, numbers) == pytest.approx(step.local, rel=1e-4, abs=1e-4), step.formula


@given(st.lists(st.sampled_from(["", "x", "x%3", "%1", "a\nb"]) | st.text(max_size=70), min_size=1, max_size=6))
def test_every_node_has_a_name_of_its_own_on_one_line(labels):
    leaves = [Value(1.0, label) for label in labels]
    out = functional.sum([leaf * 2 for leaf in leaves])
    names = name_nodes(out, {"first": leaves[0], "_hidden": out, "number": 3})
    assert list(names) == topological_order(out)
    assert len(set(names.values())) == len(names)
    assert names[leaves[0]].startswith("first")
    assert not any("\n" in name or len(name) > 70 for name in names.values())


def test_back_is_the_way_forth():
    x, y = Value(0.5, "x"), Value(-2.0, "y")
    out = (x * y + x).tanh() * y
    nodes = topological_order(out)
    walk = BackwardPass(out)
    states = []
    for _ in walk.edges:
        states.append([node.grad for node in nodes])
        walk.forth()
    with pytest.raises(IndexError):
        walk.forth()
    for state in reversed(states):
        walk.back()
        assert [node.grad for node in nodes] == state
    with pytest.raises(IndexError):
        walk.back()


def test_a_pass_that_is_left_gives_leaves_their_gradients_back():
    x = Value(3.0)
    x.grad = 10.0
    steps = (x * x).steps()
    next(steps)
    assert x.grad == 3.0
    steps.close()
    assert x.grad == 13.0


def test_a_pass_that_fails_leaves_the_leaves_as_they_were():
    x, y = Value(2.0, "x"), Value(3.0, "y")
    out = y / x + x
    x.grad = 7.0
    x.data = 0.0
    with pytest.raises(ZeroDivisionError, match=r"in the gradient of y=3.0 / x=0.0"):
        list(out.steps())
    assert (x.grad, y.grad, out.grad) == (7.0, 0.0, 0.0)


def test_formulas():
    x, y, n = Value(-0.5), Value(2.0), 3
    nodes = [x * y, x - (y - 1), (x + y) ** 2, abs(x), x.relu(), x / y, -(x**2), y**x, functional.sum([x, y, 5])]
    nodes += [functional.dot([x, y], [y, n]), functional.logsumexp([x, y]), x.maximum(y), x.leaky_relu(0.1)]
    for node, formulas in zip(
        nodes,
        [
            ["y", "x"],
            ["1", "-1"],
            ["2 * s"],
            ["-1"],
            ["0"],
            ["1 / y", "-out / y"],
            ["-1"],
            ["power_slope(x, y, x)", "out * log(y)"],
            ["1", "1", "1"],
            ["y", "%2", "x", "y"],
            [f"exp_difference({a}, out) / exp_sum(x, y, out)" for a in "xy"],
            ["0", "1"],
            ["0.1"],
        ],
        strict=True,
    ):
        variables = {"x": x, "y": y, "out": node, "s": node.parents[0]} if node.op == "**2" else None
        variables = variables or {"x": x, "y": y, "out": node}
        steps = [step for step in node.steps(variables) if step.node is node]
        assert [step.formula for step in steps] == formulas


def test_expressions_keep_their_brackets():
    x, y = Value(2.0, "x"), Value(-3.0, "y")
    for node, text in [
        (x - (x - y), "x - %2 = 2 - 5 = -3"),
        (y**2, "y**2 = (-3)**2 = 9"),
        (-y, "-y = -(-3) = 3"),
        (functional.sum([x] * 8), "sum(x, x, x, x, x, x, …) = sum(2, 2, 2, 2, 2, 2, …) = 16"),
        (x ** Value(-1.0, "e"), "x**e = 2**(-1) = 0.5"),
        (x * y, "x * y = 2 * -3 = -6"),
    ]:
        *_, step = node.forward_steps()
        assert str(step).split(" = ", 1)[1] == text


def test_a_local_gradient_outside_its_domain_is_named():
    root = rules.rule("root", "a", "a", "sqrt(a)")
    try:
        x = Value(-2.0, "x")
        out = root(x) + x
        x.grad = 7.0
        with pytest.raises(ValueError, match=r"in the gradient of root\(x=-2.0\)"):
            list(out.steps())
        assert (x.grad, out.grad) == (7.0, 0.0)
        with pytest.raises(ValueError, match=r"in the gradient of root\(x=-2.0\)"):
            contributions(root(x))
    finally:
        del rules.RULES["root"]


def test_steps_after_backward_leave_each_gradient_as_backward_does():
    x = Value(3.0)
    inner = x * x
    out = inner + x
    out.backward()
    steps = list(out.steps())
    assert (x.grad, inner.grad, out.grad) == (14.0, 1.0, 1.0)
    assert "names" not in repr(steps[0])


@pytest.mark.parametrize("make", [Value.steps, Value.forward_steps])
def test_a_step_cannot_be_changed(make):
    (step,) = make(Value(3.0).exp())
    with pytest.raises(AttributeError, match="cannot assign"):
        step.node = step.names


def test_forward_again_after_a_leaf_was_changed():
    x = Value(3.0, "x")
    inner = x * 2
    out = inner + 1
    x.data = 5.0
    steps = list(out.forward_steps())
    assert "names" not in repr(steps[0])
    assert [(step.node, step.before, step.value) for step in steps] == [(inner, 6.0, 10.0), (out, 7.0, 11.0)]
    assert out.data == 11.0


@pytest.mark.parametrize(
    ("number", "error", "message"),
    [(0.0, ValueError, r"log\(-1.0\)"), (1.0, ValueError, r"log\(0.0\)"), (1e200, OverflowError, "1e[+]?200")],
)
def test_a_forward_pass_that_fails_changes_nothing(number, error, message):
    x = Value(3.0, "x")
    inner = x - 1
    out = inner.log() + inner**2
    before = [node.data for node in topological_order(out)[1:]]
    x.data = number
    with pytest.raises(error, match=message):
        list(out.forward_steps())
    assert [node.data for node in topological_order(out)[1:]] == before


def test_an_operation_added_at_run_time_is_stepped():
    try:
        softsign = rules.rule("softsign", "x", "x / (1 + abs(x))", "1 / (1 + abs(x)) ** 2")
        (step,) = softsign(Value(1.0, "x")).steps()
        assert step.formula == "1 / (1 + abs(x))**2"
        assert step.after == 0.25
    finally:
        del rules.RULES["softsign"]


@pytest.mark.parametrize(
    ("operands", "value", "local"),
    [
        ("a, b", "a % b", ["1.0", "-(a // b)"]),
        ("a, b", "a * b", ["lgamma(b)", "erfc(a)"]),
        ("*a", "sum(a)", ["[fsum(a)] * 2"]),
    ],
)
def test_a_local_gradient_for_floats_only_is_shown_as_it_is_written(operands, value, local):
    wrap = rules.rule("wrap", operands, value, *local)
    try:
        (x, y), texts = (Value(7.0), Value(2.0)), local if len(local) > 1 else local * 2
        assert [step.formula for step in operation(wrap)(x, y).steps()] == texts
    finally:
        del rules.RULES["wrap"]


def test_the_steps_of_a_leaf():
    x = Value(2.0)
    assert list(x.steps()) == []
    assert x.grad == 1.0


def test_steps_of_traced_values():
    with detect_anomaly():
        x = Value(2.0)
        assert [step.after for step in (x * x).steps()] == [2.0, 4.0]


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda x: (-2) ** x, "(-2)**x"),
        (lambda x: 2**x, "2**x"),
        (lambda x: -2 * x, "-2 * x"),
        (lambda x: x - (-2), "x - -2"),
        (lambda x: x / -2, "x / -2"),
        (lambda x: (x**x) ** x, "(x**x)**x"),
        (lambda x: x**0.5, "x**0.5"),
        (lambda x: x**-2, "x**(-2)"),
    ],
)
def test_numbers_in_an_expression_keep_their_brackets(make, expected):
    x = Value(2.0)
    assert write_expression(make(x), {x: "x"}) == expected
