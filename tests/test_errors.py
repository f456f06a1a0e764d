"""Bad input: the error that it raises, and that nothing is changed in part.

The table covers the public interface with wrong input: types, lengths, numbers that are not finite, empty input, Values
of another graph, cycles, labels, and data changed between forward and backward.
"""

import math
import os
import re
import subprocess
import sys

import numpy as np
import pytest

import micrograd
from micrograd import Value, debug, draw, explore, functional, grad, nn, optim, rules
from micrograd.data import DataLoader, split
from micrograd.derivatives import hessian, jacobian, jvp, vjp
from micrograd.engine import topological_order
from micrograd.naming import name_nodes
from micrograd.testing import gradcheck, gradgradcheck
from micrograd.testing.strategies import expressions

v = Value(2.0, label="v")
nan, inf = Value(math.nan, "nan"), Value(math.inf, "inf")


def cycle():
    """Makes a graph with a cycle, by hand."""
    inner = v * v
    outer = inner + v
    inner._parents = (outer, v)
    return outer


ERRORS = [
    # a Value: what is not a number
    (lambda: Value("2"), TypeError, "one real number, not str '2'"),
    (lambda: Value(None), TypeError, "not NoneType None"),
    (lambda: Value(1j), TypeError, "not complex 1j"),
    (lambda: Value(np.complex128(1j)), TypeError, "not complex128"),
    (lambda: Value([1.0]), TypeError, r"not list \[1.0\]"),
    (lambda: Value(np.array([1.0])), TypeError, "not ndarray"),
    (lambda: Value(v), TypeError, "not Value"),
    (lambda: Value(10**400), OverflowError, "too large"),
    (lambda: Value(1.0, label=3), TypeError, "a label is a string, not int 3"),
    (lambda: setattr(Value(1.0), "data", v), TypeError, "one real number, not Value"),
    (lambda: setattr(Value(1.0), "data", "1"), TypeError, "not str '1'"),
    (lambda: setattr(Value(1.0), "grad", None), TypeError, "not NoneType None"),
    (lambda: setattr(Value(1.0), "parents", (v,)), AttributeError, "parents|set"),
    (lambda: setattr(Value(1.0), "lable", "a"), AttributeError, "lable"),
    # its operations
    (lambda: v + "a", TypeError, "not str 'a'"),
    (lambda: "a" + v, TypeError, "str"),
    (lambda: v * None, TypeError, "not NoneType"),
    (lambda: v - [1.0], TypeError, "not list"),
    (lambda: v ** "a", TypeError, "not str 'a'"),
    (lambda: v**1j, TypeError, "not complex"),
    (lambda: v.maximum("a"), TypeError, "not str 'a'"),
    (lambda: v.leaky_relu("a"), TypeError, "not str 'a'"),
    (lambda: v < "a", TypeError, "<"),
    (lambda: v // 2, TypeError, "//"),
    (lambda: v[0], TypeError, "subscript"),
    # undefined mathematics: what Python's float raises, with the operation and the operands
    (lambda: Value(-1.0, "x").log(), ValueError, r"log\(x=-1.0\): .*(domain|positive)"),
    (lambda: Value(0.0).log(), ValueError, r"log\(0.0\)"),
    (lambda: Value(-1.0).sqrt(), ValueError, r"sqrt\(-1.0\)"),
    (lambda: v / 0, ZeroDivisionError, r"v=2.0 / 0.0: .*zero"),
    (lambda: 1 / Value(0.0, "y"), ZeroDivisionError, r"1.0 / y=0.0"),
    (lambda: v / Value(0.0, "y"), ZeroDivisionError, r"v=2.0 / y=0.0"),
    (lambda: Value(0.0) ** -1, ZeroDivisionError, r"\*\*-1\(0.0\)"),
    (lambda: Value(0.0) ** Value(-1.0), ZeroDivisionError, r"0.0 \*\* -1.0"),
    (lambda: Value(-8.0) ** (1 / 3), ValueError, "no real power"),
    (lambda: Value(-8.0) ** Value(0.5), ValueError, "no real power"),
    (lambda: Value(1000.0, "x").exp(), OverflowError, r"exp\(x=1000.0\): math range error"),
    (lambda: Value(1e200) ** 2, OverflowError, r"\*\*2\(1e\+200\): Numerical result out of range"),
    (lambda: inf.sin(), ValueError, r"sin\(inf=inf\)"),
    # labels are shown on one line
    (lambda: Value(-1.0, "a\nb").log(), ValueError, r"log\(a\\nb=-1.0\)"),
    (lambda: Value(-1.0, "'\"<b>").log(), ValueError, r"log\(\\'\"<b>=-1.0\)"),
    (lambda: Value(-1.0, "x" * 10_000).log(), ValueError, r"log\(x{59}…=-1.0\)"),
    # what would lose a gradient
    (lambda: float(v), TypeError, r"v\.data"),
    (lambda: math.exp(v), TypeError, r"v\.exp\(\)"),
    (lambda: math.floor(v), TypeError, r"v\.data"),
    # graphs: not of Values, or changed by hand
    (lambda: grad(v * v, [2.0]), TypeError, r"grad\(\) takes Values, not float 2.0"),
    (lambda: grad(2.0, [v]), TypeError, r"grad\(\) takes Values, not float 2.0"),
    (lambda: grad(v * v, 2.0), TypeError, r"grad\(\) takes a sequence, not float 2.0"),
    (lambda: grad(v * v, None), TypeError, r"grad\(\) takes a sequence, not NoneType"),
    (lambda: topological_order(2.0), TypeError, r"topological_order\(\) takes Values, not float"),
    (lambda: cycle().backward(), ValueError, r"cycle: Value\(data=6.0, .*'\+'\) is made of itself"),
    (lambda: grad(cycle(), [v]), ValueError, "cycle"),
    (lambda: topological_order(cycle()), ValueError, "cycle"),
    # rules
    (lambda: rules.rule("tanh", "a", "a", "1.0"), ValueError, "has a rule 'tanh' already"),
    (lambda: rules.rule("", "a", "a", "1.0"), ValueError, "name is a string that is not empty, not ''"),
    (lambda: rules.rule(3, "a", "a", "1.0"), ValueError, "not 3"),
    (lambda: rules.rule("new", "out", "out", "1.0"), ValueError, "'out' can't name an operand"),
    (lambda: rules.rule("new", "a, a", "a", "1.0", "0.0"), ValueError, "two operands or constants have one name"),
    (lambda: rules.rule("new", "a", "a", "1.0", a=2.0), ValueError, "two operands or constants have one name"),
    (lambda: rules.rule("new", "lambda", "1.0", "0.0"), ValueError, "'lambda' can't name an operand"),
    (lambda: rules.rule("new", "a, float", "a", "1.0", "0.0"), ValueError, "'float' can't name an operand"),
    (lambda: rules.rule("new", "a b", "a", "1.0"), ValueError, "'a b' can't name an operand"),
    (lambda: rules.rule("new", "a", "a * c_", "c_", c_=1.0), ValueError, "'c_' can't name an operand"),
    (lambda: rules.rule("new", "a, b", "a", "1.0"), ValueError, "'a, b', and needs a local gradient for each, not 1"),
    (lambda: rules.rule("new", "a", "a", "1.0", "1.0"), ValueError, "for each, not 2"),
    (lambda: rules.rule("new", "a", "a +", "1.0"), SyntaxError, "invalid syntax"),
    (lambda: rules.power.bind("cube", m=3.0), TypeError, "power has no constant m; it has n"),
    (lambda: rules.tanh.bind("t", m=3.0), TypeError, "tanh has no constant m; it has none"),
    # functions
    (lambda: functional.tanh("0.5"), TypeError, r"tanh\(\) takes numbers and Values, not str '0.5'"),
    (lambda: functional.tanh(), TypeError, r"tanh\(\) takes 1 operands \(a\), not 0"),
    (lambda: functional.tanh(v, v), TypeError, r"tanh\(\) takes 1 operands \(a\), not 2"),
    (lambda: functional.maximum(v), TypeError, r"maximum\(\) takes 2 operands \(a, b\), not 1"),
    (lambda: functional.log(-1), ValueError, r"log\(-1.0\): "),
    (lambda: functional.exp(1000), OverflowError, r"exp\(1000.0\): math range error"),
    (lambda: functional.leaky_relu(v, "a"), TypeError, "not str 'a'"),
    (lambda: functional.sum(v), TypeError, r"sum\(\) takes a sequence, not Value Value\(data=2.0"),
    (lambda: functional.sum(["a"]), TypeError, "not str 'a'"),
    (lambda: functional.mean([]), ValueError, r"mean\(\) of no values"),
    (lambda: functional.mean(2), TypeError, r"mean\(\) takes a sequence, not int 2"),
    (lambda: functional.softmax([]), ValueError, "no values"),
    (lambda: functional.softmax(v), TypeError, r"^softmax\(\) takes a sequence, not Value"),
    (lambda: functional.log_softmax(v), TypeError, r"^log_softmax\(\) takes a sequence, not Value"),
    (lambda: functional.logsumexp(2.0), TypeError, r"^logsumexp\(\) takes a sequence, not float 2.0"),
    (lambda: functional.add([v], [v, v]), ValueError, r"add\(\) takes two lists of one length, not of 1 and 2"),
    (lambda: functional.add([[v], [v]], [[v], [v, v]]), ValueError, r"one length, not of 1 and 2"),
    (lambda: functional.add([v], 2.0), TypeError, r"add\(\) takes two numbers or two lists, not a list and float 2.0"),
    (lambda: functional.add(v, [v]), TypeError, r"not a list and Value"),
    (lambda: functional.add("a", "b"), TypeError, "not str 'a'"),
    (lambda: functional.log_softmax([]), ValueError, "no values"),
    (lambda: functional.logsumexp([]), ValueError, "no values"),
    (lambda: functional.dot([v], [v, v]), ValueError, "1 and 2"),
    (lambda: functional.dot(v, v), TypeError, r"dot\(\) takes a sequence, not Value"),
    (lambda: functional.dot([v], ["a"]), TypeError, "not str 'a'"),
    (lambda: functional.weighted_sums([2, 3])([v]), ValueError, "1 and 2"),
    (lambda: functional.weighted_sums([v])([v, v]), ValueError, "2 and 1"),
    (lambda: functional.weighted_sums(2), TypeError, "takes a sequence, not int 2"),
    (lambda: functional.mse_loss([v], [1, 2]), ValueError, "1 predictions and 2 targets"),
    (lambda: functional.mse_loss([], []), ValueError, "no values"),
    (lambda: functional.mse_loss([v], ["a"]), TypeError, "not str 'a'"),
    (lambda: functional.cross_entropy([v, v], 2), ValueError, "0 to 1, not 2"),
    (lambda: functional.cross_entropy([v, v], -1), ValueError, "not -1"),
    (lambda: functional.cross_entropy([v, v], 1.0), TypeError, "the index of one of the logits, not float 1.0"),
    (lambda: functional.cross_entropy([v, v], v), TypeError, "the index of one of the logits, not Value"),
    (lambda: functional.cross_entropy([], 0), ValueError, "no values"),
    # readers of the graph
    (lambda: draw(2.0), TypeError, r"draw\(\) takes Values, not float 2.0"),
    (lambda: draw([v]), TypeError, r"draw\(\) takes Values, not list"),
    (lambda: draw(v, names=[1]), TypeError, r"draw\(…, names=\) takes a mapping, .* not list \[1\]"),
    (lambda: draw(v, module=3), TypeError, r"draw\(…, module=\) takes a Module, not int 3"),
    (lambda: debug(2.0), TypeError, r"debug\(\) takes Values, not float 2.0"),
    (lambda: debug(v, names=3), TypeError, "names= takes a mapping, .* not int 3"),
    (lambda: explore(2.0, "x.html"), TypeError, r"explore\(\) takes Values, not float 2.0"),
    (lambda: explore(v, "x.html", names=3), TypeError, "names= takes a mapping, .* not int 3"),
    (lambda: name_nodes(2.0), TypeError, r"name_nodes\(\) takes Values, not float 2.0"),
    (lambda: list(v.steps(3)), TypeError, "names= takes a mapping, .* not int 3"),
    # derivatives
    (lambda: jacobian(v, [1.0]), TypeError, r"jacobian\(\) takes a function, and Value Value.* is not callable"),
    (lambda: hessian(2.0, [1.0]), TypeError, r"hessian\(\) takes a function, and float 2.0 is not callable"),
    (lambda: jvp(v, [1.0], [1.0]), TypeError, r"jvp\(\) takes a function"),
    (lambda: vjp(v, [1.0], [1.0]), TypeError, r"vjp\(\) takes a function"),
    (lambda: jacobian(lambda x: x[0], 3.0), TypeError, "the point of a derivative takes a sequence, not float 3.0"),
    (lambda: jacobian(lambda x: x[0], ["a"]), TypeError, "not str 'a'"),
    (lambda: jacobian(lambda x: "a", [1.0]), TypeError, "not str 'a'"),
    (lambda: jacobian(lambda x: None, [1.0]), TypeError, "not NoneType"),
    (lambda: hessian(lambda x: x, [1.0]), TypeError, "gives one Value, not list"),
    (lambda: hessian(lambda x: 3.0, [1.0]), TypeError, "gives one Value, not float"),
    (lambda: hessian(lambda x: x[0].log(), [0.0]), ValueError, r"log\(0.0\)"),
    (lambda: vjp(lambda x: x, [1.0, 2.0], [1.0]), ValueError, "2 and 1"),
    (lambda: vjp(lambda x: x, [1.0], 1.0), TypeError, "takes a sequence, not float 1.0"),
    (lambda: jvp(lambda x: x, [1.0, 2.0], [1.0]), ValueError, "2 and 1"),
    (lambda: jvp(lambda x: x, [1.0], ["a"]), TypeError, "not str 'a'"),
    # testing
    (lambda: gradcheck(3, [1.0]), TypeError, r"gradcheck\(\) takes a function, and int 3 is not callable"),
    (lambda: gradgradcheck(3, [1.0]), TypeError, r"gradgradcheck\(\) takes a function, and int 3 is not callable"),
    (lambda: gradcheck(lambda x: x, []), ValueError, "nothing to check: the inputs"),
    (lambda: gradcheck(lambda x: v * 3, [True]), ValueError, "neither a Value nor a number"),
    (lambda: gradcheck(lambda x: [], [1.0]), ValueError, "gives no output"),
    (lambda: gradcheck(lambda x: 3.0, [1.0]), TypeError, "must give Values, not float 3.0"),
    (lambda: gradcheck(lambda x: {"a": x}, [1.0]), TypeError, "must give Values, not dict"),
    (lambda: gradcheck(lambda x: x, [math.nan]), ValueError, "x is nan"),
    (lambda: gradcheck(lambda x: x, [{"a": math.inf}]), ValueError, "x.a is inf"),
    (lambda: gradcheck(lambda x: x * nan, [1.0]), ValueError, "gives nan"),
    (lambda: gradcheck(lambda x: x.log(), [-1.0]), ValueError, r"log\(-1.0\)"),
    (lambda: gradgradcheck(lambda x: 3.0, [1.0]), TypeError, "must give Values, not float 3.0"),
    (lambda: expressions(max_leaves=0), ValueError, "at most 0"),
    (lambda: expressions(max_leaves="a"), ValueError, "max_leaves is a whole number .* not 'a'"),
    (lambda: expressions(bound=math.nan), ValueError, "bound above 0, not 8 and nan"),
    (lambda: expressions(operations=["cot"]), ValueError, r"unknown are \['cot'\]"),
    (lambda: expressions(operations=[]), ValueError, r"of \[\]"),
    # networks
    (lambda: nn.MLP(1, [1])(0.5), TypeError, "MLP of 1 inputs takes a sequence, not float 0.5"),
    (lambda: nn.MLP(1, [1])(v), TypeError, "MLP of 1 inputs takes a sequence, not Value"),
    (lambda: nn.Linear(1, 1)(2.0), TypeError, "Linear of 1 inputs takes a sequence, not float 2.0"),
    (lambda: nn.LayerNorm(1)(2.0), TypeError, r"LayerNorm\(1\) takes a sequence, not float 2.0"),
    (lambda: nn.MLP(2, [1])(None), TypeError, "takes a sequence, not NoneType"),
    (lambda: nn.MLP(2, [1])("ab"), TypeError, "takes a sequence, not str"),
    (lambda: nn.MLP(2, [1])(["a", 1]), TypeError, "not str 'a'"),
    (lambda: nn.Neuron(3)([1, 2]), ValueError, "Neuron takes 3 inputs, not 2"),
    (lambda: nn.Layer(3, 2)([1, 2, 3, 4]), ValueError, "Layer takes 3 inputs, not 4"),
    (lambda: nn.MLP(3, [2])([v]), ValueError, "3 inputs, not 1"),
    (lambda: nn.MLP(3, []), ValueError, "nouts is empty"),
    (lambda: nn.MLP(3, 2), TypeError, "nouts takes a sequence, not int 2"),
    (lambda: nn.MLP(0, [1]), ValueError, "nin must be a whole number, at least 1, not 0"),
    (lambda: nn.MLP(2.5, [1]), ValueError, "nin must be a whole number, at least 1, not 2.5"),
    (lambda: nn.Layer(1, 0), ValueError, "nout must be a whole number, at least 1, not 0"),
    (lambda: nn.Neuron(1, activation="rellu"), ValueError, "no activation 'rellu'; there are .*relu"),
    (lambda: nn.Neuron(1, activation="maximum"), ValueError, "no activation"),
    (lambda: nn.Neuron(1, activation="logsumexp"), ValueError, "no activation"),
    (lambda: nn.Neuron(1, init="hee"), ValueError, "no initialisation 'hee'; there are uniform, he, xavier"),
    # optimizers
    (lambda: optim.SGD([]), ValueError, "empty"),
    (lambda: optim.SGD(v), TypeError, "an optimizer takes a sequence, not Value"),
    (lambda: optim.SGD(nn.MLP(1, [1])), TypeError, "an optimizer takes a sequence, not MLP"),
    (lambda: optim.SGD([1.0]), TypeError, "not float 1.0"),
    (lambda: optim.SGD([v, v]), ValueError, "twice"),
    (lambda: optim.SGD([v * v]), ValueError, r"trains leaves, and Value\(.*\) is computed"),
    (lambda: optim.SGD([v], lr="0.1"), TypeError, "lr is a number, not str '0.1'"),
    (lambda: optim.SGD([v], lr=-1), ValueError, "lr must be at least 0 .* not -1"),
    (lambda: optim.SGD([v], lr=math.nan), ValueError, "lr"),
    (lambda: optim.SGD([v], lr=math.inf), ValueError, "lr"),
    (lambda: optim.SGD([v], nesterov=True), ValueError, "momentum"),
    (lambda: optim.SGD([v], momentum=0.9, dampening=0.1, nesterov=True), ValueError, "dampening"),
    (lambda: optim.Adam([v], betas=(0.9, 1.0)), ValueError, r"betas\[1\]"),
    (lambda: optim.Adam([v], betas=0.9), TypeError, "betas takes a sequence"),
    (lambda: optim.Adam([v], betas=(0.9,)), ValueError, "betas are two numbers"),
    (lambda: optim.Optimizer([v]).step(), NotImplementedError, "Optimizer has no update rule"),
    # data
    (lambda: DataLoader([1], batch_size=0), ValueError, "batch_size must be a whole number, at least 1, not 0"),
    (lambda: DataLoader([1], batch_size="2"), TypeError, "not str '2'"),
    (lambda: DataLoader(3), TypeError, "the data are a sequence of samples, not int"),
    (lambda: DataLoader({"a": 1}), TypeError, "not dict"),
    (lambda: split([1], 1.5), ValueError, "between 0 and 1, not 1.5"),
    (lambda: split([1], math.nan), ValueError, "between 0 and 1, not nan"),
    (lambda: split([1], "a"), TypeError, "not str 'a'"),
    (lambda: split(iter([1]), 0.5), TypeError, "a sequence of samples, not list_iterator"),
    (lambda: micrograd.nothing, AttributeError, "no attribute 'nothing'"),
]


@pytest.mark.parametrize(("action", "error", "message"), ERRORS)
def test_bad_input(action, error, message):
    before = v.data, v.grad, v.label, dict(rules.RULES)
    with pytest.raises(error, match=message):
        action()
    assert (v.data, v.grad, v.label, dict(rules.RULES)) == before


@pytest.mark.parametrize("module", ["arrays", "tensors"])
def test_what_only_looks_like_an_array_is_no_number(module):
    class Array:
        shape, dtype = (), np.dtype(float)

        def __float__(self):
            return 1.0

    Array.__module__ = module
    with pytest.raises(TypeError, match="one real number, not Array"):
        Value(Array())


# These calls look wrong, but have a correct result: that of mathematics, or of Python.
ANSWERS = [
    (lambda: functional.sum([]).data, 0.0),
    (lambda: functional.dot([], []).data, 0.0),
    (lambda: type(functional.sum([]).data), float),
    (lambda: functional.logsumexp([inf, v]).data, math.inf),
    (lambda: math.isnan(functional.logsumexp([v, nan]).data), True),
    (lambda: math.isnan(functional.logsumexp([nan, v]).data), True),
    (lambda: math.isnan(functional.logsumexp([1000.0, nan, v]).data), True),
    (lambda: math.isnan(functional.cross_entropy([v, nan], 0).data), True),
    (lambda: functional.logsumexp([-math.inf, -inf]).data, -math.inf),
    (lambda: (inf + 1).data, math.inf),
    (lambda: inf.tanh().data, 1.0),
    (lambda: (1 / inf).data, 0.0),
    (lambda: math.isnan((nan * 2).data), True),
    (lambda: math.isnan(nan.relu().data), True),
    (lambda: math.isnan(v.maximum(math.nan).data), True),
    (lambda: nan < v, False),
    (lambda: grad(v * v, []), ()),
    (lambda: grad(v * v, [Value(2.0)]), (0.0,)),  # of another graph
    (lambda: jacobian(lambda x: [], [1.0]), []),
    (lambda: jacobian(lambda x: v * 3, [1.0]), [[0.0]]),
    (lambda: jacobian(lambda x: 3.0, [1.0]), [[0.0]]),
    (lambda: gradcheck(lambda x: v * 3, [1.0]).ok, True),
    (lambda: list(DataLoader([], batch_size=2)), []),
    (lambda: split([], 0.5), ([], [])),
    (lambda: repr(Value(1.0, "a\n'b\"")), "Value(data=1.0, grad=0.0, label='a\\n\\'b\"')"),
]


@pytest.mark.parametrize(("question", "answer"), ANSWERS)
def test_what_is_no_mistake(question, answer):
    assert question() == answer


def test_an_error_shows_up_to_four_operands():
    harmonic = rules.rule("harmonic", "*a", "1 / sum(a)", "[-out * out for _ in a]")
    choose = rules.rule("?:", "a, b, c", "b / c if a > 0 else c / b", "0.0", "1.0", "1.0")
    try:
        with pytest.raises(ZeroDivisionError, match=r"harmonic\(0.0, 0.0, 0.0, 0.0\): "):
            harmonic(*[Value(0.0)] * 4)
        with pytest.raises(ZeroDivisionError, match=r"harmonic\(0.0, 0.0, 0.0, 0.0, …\): "):
            harmonic(*[Value(0.0)] * 5)
        with pytest.raises(ZeroDivisionError, match=r"\?:\(1.0, 2.0, 0.0\): "):
            choose(1.0, 2.0, 0.0)
    finally:
        del rules.RULES["harmonic"], rules.RULES["?:"]


def test_data_changed_between_forward_and_backward_count_in_backward():
    x, y = Value(2.0), Value(3.0)
    out = x * y
    x.data = 5.0
    out.backward()  # local gradients use the present numbers of the parents
    assert (out.data, x.grad, y.grad) == (6.0, 3.0, 5.0)


def test_data_and_grad_set_by_hand_are_floats():
    x = Value(1.0)
    x.data, x.grad = np.float32(0.5), 2
    assert (type(x.data), x.data, type(x.grad), x.grad) == (float, 0.5, float, 2.0)


def test_a_backward_that_fails_leaves_the_leaves_as_they_were():
    a, b, c = Value(1.0, "a"), Value(2.0, "b"), Value(3.0)
    out = a * c + (a / b) * (a + b)
    a.grad, b.grad = 5.0, 7.0
    b.data = 0.0  # changed between forward and backward
    with pytest.raises(ZeroDivisionError):
        out.backward()
    with pytest.raises(ZeroDivisionError):
        micrograd.grad(out, [a])
    assert (a.grad, b.grad, c.grad) == (5.0, 7.0, 0.0)


def test_a_gradient_that_overflows_names_the_operation():
    x = Value(1e-200, label="x")
    with pytest.raises(OverflowError, match=r"in the gradient of \*\*-1\(x=1e-200\)"):
        (x**-1).backward()
    assert x.grad == 0.0


def test_an_optimizer_updates_nothing_if_a_gradient_is_not_finite():
    a, b = Value(1.0), Value(2.0, label="b")
    a.grad, b.grad = 1.0, math.nan
    for optimizer in (optim.SGD([a, b]), optim.Adam([a, b])):
        with pytest.raises(ValueError, match=r"parameter 1 \(b\) is nan"):
            optimizer.step()
        assert (a.data, b.data, optimizer.steps) == (1.0, 2.0, 0)


def test_a_step_that_fails_updates_nothing():
    a, b = Value(1.0), Value(2.0)
    a.grad = 1.0
    optimizer = optim.Adam([a, b], eps=0)
    with pytest.raises(ZeroDivisionError):
        optimizer.step()
    assert (a.data, b.data, optimizer.steps, optimizer.state[0]) == (1.0, 2.0, 0, (0.0, 0.0))


def test_parameters_in_a_set_are_an_error():
    class Model(nn.Module):
        def __init__(self):
            self.w = {Value(1.0)}

    with pytest.raises(TypeError, match="w is a set"):
        Model().parameters()


def test_a_failed_backward_leaves_no_gradient_at_the_root():
    x = Value(1e-200)
    out = x**-1
    with pytest.raises(OverflowError):
        out.backward()
    assert out.grad == 0.0


def test_an_error_in_a_gradient_shows_the_number_too():
    x = Value(2.0, "x")
    y = 3 / x
    x.data = 0.0
    with pytest.raises(ZeroDivisionError, match=r"in the gradient of 3.0 / x=0.0"):
        y.backward()


# The error of a feature whose library is missing. It names the library itself, because micrograd[…] on the package
# index is another package.
MISSING = [
    ("graphviz", "micrograd.draw(v)"),
    ("graphviz", "micrograd.explore(v, 'x.html')"),
    ("numpy", "micrograd.compile(lambda x: x)(1.0)"),
    ("matplotlib", "fit(progress=False).plot()"),
    ("tqdm", "sys.stderr.isatty = lambda: True; fit()"),
    ("numpy", "training.save_parameters(model, 'x.safetensors')"),
    ("safetensors", "training.save_parameters(model, 'x.safetensors')"),
    ("safetensors", "fit(progress=False, checkpoint='x.safetensors')"),
    ("hypothesis", "import micrograd.testing.strategies"),
    ("wasmtime", "os.environ.update(PATH=''); micrograd.draw(v).svg()"),
    ("resvg_py", "os.environ.update(PATH=''); micrograd.draw(v).save('x.png')"),
]
SETTING = """
import os, sys
sys.modules[{library!r}] = None
import micrograd
from micrograd import Value, nn, optim, training
v, model = Value(1.0), nn.Linear(1, 1)

def fit(**options):
    loss = lambda x: model([x])[0] ** 2
    return micrograd.fit(loss, [1.0], optim.SGD(model.parameters(), lr=0.1), epochs=1, compile=False, **options)

try:
    {feature}
except (ImportError, RuntimeError) as error:
    print(error)
"""


@pytest.mark.parametrize(("library", "feature"), MISSING)
def test_a_missing_library_is_named_by_its_own_name(library, feature, tmp_path):
    code = SETTING.format(library=library, feature=feature)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment)
    name = library.replace("_", "-")
    assert re.search(rf"needs .*python -m pip install [\w -]*\b{name}\b", done.stdout), done.stdout + done.stderr
    assert "micrograd[" not in done.stdout
    assert list(tmp_path.iterdir()) == []
