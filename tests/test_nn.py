"""Layers, and the functions that they and the losses are made of."""

import math
import random
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from micrograd import Value, functional, grad, nn

numbers = st.floats(-3, 3)


def test_the_published_signature_draws_the_published_weights():
    random.seed(1337)
    drawn = [random.uniform(-1, 1) for _ in range(6)]
    random.seed(1337)
    layer = nn.Layer(3, 2)
    assert [w.data for neuron in layer.neurons for w in neuron.w] == drawn
    assert [neuron.b.data for neuron in layer.neurons] == [0.0, 0.0]


def test_a_seed_makes_a_network_reproducible():
    models = [nn.MLP(4, [5, 2], activation="tanh", rng=random.Random(7)) for _ in range(2)]
    first, second = ([p.data for p in model.parameters()] for model in models)
    assert first == second


@pytest.mark.parametrize(
    ("options", "deviation"),
    [
        ({"activation": "relu"}, math.sqrt(2 / 200)),
        ({"activation": "leaky_relu"}, math.sqrt(2 / (1 + 0.01**2) / 200)),
        ({"activation": "tanh"}, 5 / 3 * math.sqrt(2 / 300)),
        ({"activation": "sigmoid"}, math.sqrt(2 / 300)),
        ({"activation": "relu", "init": "xavier"}, math.sqrt(2) * math.sqrt(2 / 300)),
        ({"activation": "tanh", "init": "he"}, 5 / 3 / math.sqrt(200)),
        ({"activation": "relu", "nonlin": False}, math.sqrt(1 / 200)),
        ({}, math.sqrt(1 / 3)),
        ({"activation": "relu", "init": "uniform"}, math.sqrt(1 / 3)),
    ],
)
def test_initialisation_fits_the_activation(options, deviation):
    layer = nn.Layer(200, 100, rng=random.Random(0), **options)
    weights = [w.data for neuron in layer.neurons for w in neuron.w]
    assert statistics.pstdev(weights) == pytest.approx(deviation, rel=0.02)
    assert statistics.fmean(weights) == pytest.approx(0, abs=4 * deviation / math.sqrt(len(weights)))


def test_numbers_and_values_as_inputs_give_the_same():
    model = nn.MLP(3, [4, 2], activation="tanh", rng=random.Random(0))
    x = [0.5, -1.0, 2.0]
    results = []
    for inputs in (x, tuple(x), [Value(xi) for xi in x], [0.5, Value(-1.0), 2.0], np.array(x)):
        model.zero_grad()
        out = model(inputs)
        functional.sum(out).backward()
        results.append(([o.data for o in out], [p.grad for p in model.parameters()]))
    assert all(result == results[0] for result in results)


def test_a_layer_is_what_its_formula_says():
    layer = nn.Layer(2, 3, activation="sigmoid", rng=random.Random(1))
    for neuron, out in zip(layer.neurons, layer([2.0, -1.0]), strict=True):
        neuron.b.data = 0.0
        assert out.data == pytest.approx(1 / (1 + math.exp(-(2 * neuron.w[0].data - neuron.w[1].data))))
        assert (out.op, out.parents[0].op) == ("sigmoid", "dot")


def test_a_hidden_layer_of_one_neuron():
    assert len(nn.MLP(2, [1, 3])([1.0, 2.0])) == 3


def test_parameters_are_found_wherever_they_are_and_once():
    class Model(nn.Module):
        def __init__(self):
            self.shared = Value(1.0)
            self.things = {"a": [self.shared, Value(2.0)], "b": (nn.Neuron(1), "text", 3)}
            self.seen = self.shared * 2

    model = Model()
    names = [name for name, _ in model.named_parameters()]
    assert names == ["shared", "things.a.1", "things.b.0.w.0", "things.b.0.b"]
    assert len(model.parameters()) == 4
    for p in model.parameters():
        p.grad = 1.0
    model.zero_grad()
    assert {p.grad for p in model.parameters()} == {0.0}


def test_modules_that_refer_to_each_other_and_arrays_of_values():
    class Child(nn.Module):
        def __init__(self, parent):
            self.parent, self.w = parent, np.array([Value(1.0), Value(2.0)], dtype=object)

    class Parent(nn.Module):
        def __init__(self):
            self.child = Child(self)

    assert [name for name, _ in Parent().named_parameters()] == ["child.w.0", "child.w.1"]


def test_losses_of_large_logits_are_exact():
    logits = [Value(1e16), Value(1e16)]
    loss = functional.cross_entropy(logits, 0)
    assert (loss.data, grad(loss, logits)) == (math.log(2), (-0.5, 0.5))
    assert [p.data for p in functional.softmax(logits)] == [0.5, 0.5]


def test_a_module_that_lists_its_own_parameters():
    class Published(nn.Module):
        def __init__(self):
            self.p = [Value(1.0), Value(2.0)]

        def parameters(self):
            return self.p[:1]

    model = Published()
    model.p[0].grad = model.p[1].grad = 1.0
    model.zero_grad()
    assert [p.grad for p in model.p] == [0.0, 1.0]


@given(st.lists(numbers, min_size=1, max_size=6), st.data())
def test_cross_entropy_is_the_log_of_softmax(points, data):
    target = data.draw(st.integers(0, len(points) - 1))
    logits = [Value(x) for x in points]
    loss = functional.cross_entropy(logits, target)
    assert loss.data == pytest.approx(-functional.log_softmax(logits)[target].data, abs=1e-14)
    probabilities = [p.data for p in functional.softmax(logits)]
    assert sum(probabilities) == pytest.approx(1.0)
    expected = [p - (i == target) for i, p in enumerate(probabilities)]
    assert grad(loss, logits) == pytest.approx(expected, abs=1e-14)


@pytest.mark.parametrize("size", [1000.0, -1000.0])
def test_losses_are_stable_far_out(size):
    logits = [Value(size), Value(0.0), Value(-size)]
    best = 0 if size > 0 else 2
    assert functional.cross_entropy(logits, best).data == pytest.approx(0.0, abs=1e-12)
    assert functional.cross_entropy(logits, 2 - best).data == 2000.0
    assert [p.data for p in functional.softmax(logits)] == [float(i == best) for i in range(3)]
    assert grad(functional.cross_entropy(logits, 1), logits) == (float(best == 0), -1.0, float(best == 2))


@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=6))
def test_sums_means_and_dots(pairs):
    a, b = [Value(x) for x, _ in pairs], [Value(y) for _, y in pairs]
    numbers_of_b = [y for _, y in pairs]
    assert functional.sum(a).data == pytest.approx(math.fsum(x for x, _ in pairs), abs=1e-12)
    assert functional.mean(v for v in a).data == pytest.approx(statistics.fmean(x for x, _ in pairs), abs=1e-12)
    expected = pytest.approx(math.fsum(x * y for x, y in pairs), abs=1e-12)
    for dot in (functional.dot(a, b), functional.dot(a, numbers_of_b), functional.dot(numbers_of_b, a)):
        assert dot.data == expected
        assert grad(dot, a) == tuple(numbers_of_b)
    assert functional.mse_loss(a, b).data == pytest.approx(statistics.fmean((x - y) ** 2 for x, y in pairs), abs=1e-12)


def test_the_sum_of_nothing():
    assert functional.sum([]).data == 0.0
    assert functional.dot([], []).data == 0.0
    functional.sum([]).backward()


def test_a_loss_of_two_numbers():
    assert functional.mse_loss(Value(3.0), 1).data == 4.0
