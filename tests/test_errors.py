"""Bad input: what each gets, and that nothing is half-changed."""

import math

import numpy as np
import pytest

import micrograd
from micrograd import Value, functional, nn, optim
from micrograd.data import DataLoader, split

v = Value(2.0, label="v")


@pytest.mark.parametrize(
    ("action", "error", "message"),
    [
        # what is not a number
        (lambda: Value("2"), TypeError, "one real number, not str '2'"),
        (lambda: Value(None), TypeError, "not NoneType None"),
        (lambda: Value(1j), TypeError, "not complex 1j"),
        (lambda: Value(np.complex128(1j)), TypeError, "not complex128"),
        (lambda: Value([1.0]), TypeError, r"not list \[1.0\]"),
        (lambda: Value(np.array([1.0])), TypeError, "not ndarray"),
        (lambda: Value(v), TypeError, "not Value"),
        (lambda: Value(10**400), OverflowError, "too large"),
        (lambda: Value(1.0, label=3), TypeError, "a label is a string, not int 3"),
        (lambda: v + "a", TypeError, "not str 'a'"),
        (lambda: "a" + v, TypeError, "str"),
        (lambda: v * None, TypeError, "not NoneType"),
        (lambda: v ** "a", TypeError, "not str 'a'"),
        (lambda: v**1j, TypeError, "not complex"),
        (lambda: v.maximum("a"), TypeError, "not str 'a'"),
        (lambda: v.leaky_relu("a"), TypeError, "not str 'a'"),
        (lambda: v < "a", TypeError, "<"),
        (lambda: functional.tanh("0.5"), TypeError, r"tanh\(\) takes numbers and Values, not str '0.5'"),
        (lambda: functional.log(-1), ValueError, r"log\(-1.0\): "),
        (lambda: functional.exp(1000), OverflowError, r"exp\(1000.0\): math range error"),
        (lambda: functional.weighted_sums([2, 3])([v]), ValueError, "1 and 2"),
        (lambda: functional.weighted_sums([v])([v, v]), ValueError, "2 and 1"),
        (lambda: micrograd.grad(v * v, [2.0]), TypeError, r"grad\(\) takes Values, not float 2.0"),
        (lambda: micrograd.grad(2.0, [v]), TypeError, r"grad\(\) takes Values, not float 2.0"),
        (lambda: nn.MLP(1, [1])(0.5), TypeError, "takes a sequence of 1 inputs, not 0.5"),
        (lambda: optim.SGD([v], lr="0.1"), TypeError, "lr is a number, not str '0.1'"),
        (lambda: optim.SGD([v], momentum=0.9, dampening=0.1, nesterov=True), ValueError, "dampening"),
        # what would lose a gradient
        (lambda: float(v), TypeError, r"v\.data"),
        (lambda: math.exp(v), TypeError, r"v\.exp\(\)"),
        (lambda: math.floor(v), TypeError, r"v\.data"),
        # undefined mathematics
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
        (lambda: Value(math.inf).sin(), ValueError, r"sin\(inf\)"),
        # lengths
        (lambda: functional.dot([v], [v, v]), ValueError, "1 and 2"),
        (lambda: functional.mse_loss([v], [1, 2]), ValueError, "1 predictions and 2 targets"),
        (lambda: functional.mean([]), ValueError, r"mean\(\) of no values"),
        (lambda: functional.softmax([]), ValueError, "no values"),
        (lambda: functional.logsumexp([]), ValueError, "no values"),
        (lambda: functional.cross_entropy([v, v], 2), ValueError, "0 to 1, not 2"),
        (lambda: functional.cross_entropy([v, v], -1), ValueError, "not -1"),
        (lambda: nn.Neuron(3)([1, 2]), ValueError, "Neuron takes 3 inputs, not 2"),
        (lambda: nn.Layer(3, 2)([1, 2, 3, 4]), ValueError, "Layer takes 3 inputs, not 4"),
        (lambda: nn.MLP(3, [2])([v]), ValueError, "3 inputs, not 1"),
        (lambda: nn.MLP(3, []), ValueError, "nouts is empty"),
        (lambda: nn.MLP(0, [1]), ValueError, "nin must be at least 1, not 0"),
        (lambda: nn.Layer(1, 0), ValueError, "nout must be at least 1, not 0"),
        (lambda: nn.Neuron(1, activation="rellu"), ValueError, "no activation 'rellu'; there are .*relu"),
        (lambda: nn.Neuron(1, activation="maximum"), ValueError, "no activation"),
        (lambda: nn.Neuron(1, init="hee"), ValueError, "no initialisation 'hee'; there are uniform, he, xavier"),
        (lambda: optim.SGD([]), ValueError, "empty"),
        (lambda: optim.SGD([1.0]), TypeError, "not float 1.0"),
        (lambda: optim.SGD([v, v]), ValueError, "twice"),
        (lambda: optim.SGD([v], lr=-1), ValueError, "lr must be at least 0 .* not -1"),
        (lambda: optim.SGD([v], lr=math.nan), ValueError, "lr"),
        (lambda: optim.SGD([v], nesterov=True), ValueError, "momentum"),
        (lambda: optim.Adam([v], betas=(0.9, 1.0)), ValueError, r"betas\[1\]"),
        (lambda: DataLoader([1], batch_size=0), ValueError, "batch_size must be at least 1, not 0"),
        (lambda: split([1], 1.5), ValueError, "between 0 and 1, not 1.5"),
        (lambda: micrograd.nothing, AttributeError, "no attribute 'nothing'"),
    ],
)
def test_bad_input(action, error, message):
    with pytest.raises(error, match=message):
        action()


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (lambda b: setattr(b, "data", 0.0), ZeroDivisionError),  # data changed between forward and backward
        (lambda b: setattr(b, "data", "x"), TypeError),
    ],
)
def test_a_backward_that_fails_leaves_the_leaves_as_they_were(spoil, error):
    a, b, c = Value(1.0, "a"), Value(2.0, "b"), Value(3.0)
    out = a * c + (a / b) * (a + b)
    a.grad, b.grad = 5.0, 7.0
    spoil(b)
    with pytest.raises(error):
        out.backward()
    with pytest.raises(error):
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
