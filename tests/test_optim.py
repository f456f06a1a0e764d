"""Update rules, against their formulas written out, and on arrays."""

import math

import numpy as np
import pytest

from micrograd import Value, optim
from micrograd.functional import sum as total

MAKERS = {
    "descent": lambda p: optim.SGD(p, lr=0.05),
    "momentum": lambda p: optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.01),
    "dampening": lambda p: optim.SGD(p, lr=0.05, momentum=0.9, dampening=0.5),
    "nesterov": lambda p: optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "adam": lambda p: optim.Adam(p, lr=0.05),
    "adam with decay": lambda p: optim.Adam(p, lr=0.05, betas=(0.8, 0.99), eps=1e-6, weight_decay=0.1),
}
every_optimizer = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


def bowl(x, y):
    return (x - 1) ** 2 + 10 * (y + 2) ** 2 + 0.3 * x * y


@every_optimizer
def test_the_minimum_is_found(make):
    x, y = Value(4.0), Value(3.0)
    optimizer = make([x, y])
    first = bowl(x, y).data
    for _ in range(400):
        optimizer.zero_grad()
        bowl(x, y).backward()
        optimizer.step()
    assert bowl(x, y).data < first / 50
    assert type(x.data) is float


@every_optimizer
def test_an_array_is_updated_as_its_numbers_are(make):
    values = [Value(x) for x in (1.5, -0.3, 0.0, 20.0)]
    one_by_one, at_once = make(values), make(values)
    array, state = np.array([v.data for v in values]), (np.zeros(4),) * at_once.state_size
    for step in range(50):
        for i, v in enumerate(values):
            v.grad = math.sin(step + i) * (i + 0.1)
        array, state = at_once.update(array, np.array([v.grad for v in values]), state, step + 1)
        one_by_one.step()
        assert [v.data for v in values] == array.tolist()


def test_descent_and_momentum_by_hand():
    x = Value(1.0)
    plain = optim.SGD([x], lr=0.1)
    x.grad = 2.0
    plain.step()
    assert x.data == 0.8
    heavy = optim.SGD([x], lr=0.1, momentum=0.5)
    heavy.step()
    heavy.step()
    assert x.data == pytest.approx(0.8 - 0.1 * 2 - 0.1 * 3)


def test_adam_by_hand():
    x, m, v = 1.0, 0.0, 0.0
    value = Value(x)
    optimizer = optim.Adam([value], lr=0.1)
    for t in range(1, 20):
        value.grad = g = math.cos(t)
        optimizer.step()
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        x -= 0.1 * (m / (1 - 0.9**t)) / (math.sqrt(v / (1 - 0.999**t)) + 1e-8)
        assert value.data == pytest.approx(x, rel=1e-13)


def test_the_learning_rate_may_change():
    x = Value(1.0)
    optimizer = optim.SGD([x], lr=0.1)
    x.grad = 1.0
    optimizer.lr = 0.5
    optimizer.step()
    assert x.data == 0.5


def test_an_optimizer_without_a_rule():
    optimizer = optim.Optimizer([Value(1.0)])
    with pytest.raises(NotImplementedError, match="no update rule"):
        optimizer.step()


def test_gradients_are_cleared():
    values = [Value(1.0), Value(2.0)]
    total([v * v for v in values]).backward()
    optim.SGD(values).zero_grad()
    assert [v.grad for v in values] == [0.0, 0.0]
