"""Anomaly detection: the origin of a nan or an infinity."""

import math
import random

import pytest

from micrograd import Value, detect_anomaly, functional, grad, nn, rules
from micrograd.anomaly import AnomalyError
from micrograd.watching import watchers

HERE = __file__


def line_of(text):
    return next(i for i, line in enumerate(open(HERE, encoding="utf-8"), 1) if text in line and "line_of" not in line)


def test_a_poisoned_weight_in_a_network():
    model = nn.MLP(64, [32, 10], activation="relu", rng=random.Random(0))
    model.layers[1].neurons[3].w[7].data = math.nan
    model.layers[1].neurons[3].w[7].label = "poisoned"
    x = [random.Random(i).random() for i in range(64)]
    assert math.isnan(functional.cross_entropy(model(x), 1).data)
    with detect_anomaly(), pytest.raises(AnomalyError) as caught:
        functional.cross_entropy(model(x), 1)  # the line that made it
    message = str(caught.value)
    assert message.startswith("dot(")
    assert f"gave nan, at {HERE}:{line_of('# the line that made it')}" in message
    assert "operand 8 (poisoned) is nan" in message


def test_an_infinity_from_finite_operands():
    with detect_anomaly(), pytest.raises(AnomalyError, match=r"a=1e\+200 \* 1e\+200: gave inf, .*operands are finite"):
        Value(1e200, "a") * 1e200


def test_a_gradient_and_its_path():
    x, y = Value(0.0, label="x"), Value(2.0)
    x.grad = 5.0
    with detect_anomaly():
        root = x.sqrt()  # made here
        loss = functional.sum([y * root, y, x * 3]).tanh()
        with pytest.raises(AnomalyError) as caught:
            loss.backward()
    message = str(caught.value)
    assert f"the gradient of sqrt, at {HERE}:{line_of('# made here')}, by operand 0 (x) = 0.0 is inf" in message
    path = message.split("from the loss: ")[1]
    assert [step.split(" ")[0] for step in path.split(" → ")] == ["tanh", "sum", "*", "sqrt"]
    assert (x.grad, y.grad) == (5.0, 0.0)


@pytest.mark.parametrize("create_graph", [False, True])
def test_grad_is_watched_too(create_graph):
    x = Value(0.0)
    with detect_anomaly(), pytest.raises(AnomalyError, match="gradient of sqrt"):
        grad(x.sqrt() * 2, [x], create_graph=create_graph)


def test_what_is_finite_is_the_same_within_and_without():
    def run():
        x, y = Value(0.5), Value(-1.0)
        out = (x * y + 2 / x).tanh() ** 2 - functional.logsumexp([x, y, 1.0])
        out.backward()
        return out.data, x.grad, y.grad, grad(grad(out, [x], create_graph=True)[0], [x, y])

    without = run()
    with detect_anomaly():
        assert run() == without
        with detect_anomaly():
            assert run() == without
        assert run() == without


def test_nodes_from_outside_the_block():
    x = Value(0.0)
    root = x.sqrt()
    with detect_anomaly(), pytest.raises(AnomalyError, match="sqrt, at made outside the block"):
        (root * 2).backward()


def test_nothing_is_left_behind():
    before = rules.FLOATS["new_"]
    with pytest.raises(KeyError), detect_anomaly():
        raise KeyError
    assert (rules.FLOATS["new_"], watchers) == (before, [])
    assert type(Value(1.0) + 1) is Value
    assert (Value(1e200) * 1e200).data == math.inf


def test_nodes_that_outlive_the_block_take_any_number():
    x = Value(1.0)
    with detect_anomaly():
        y = x * 1e300
    x.data = 1e10
    assert [step.node.data for step in y.forward_steps()] == [math.inf]
    with pytest.raises(AnomalyError, match="gave inf"), detect_anomaly():
        list(y.forward_steps())
