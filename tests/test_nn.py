"""Layers, and the functions that layers and losses use."""

import copy
import functools
import math
import pickle
import random
import re
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from micrograd import Value, draw, fit, functional, grad, nn, optim
from micrograd.testing import gradcheck, gradgradcheck

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


BATCH = [[0.5, -1.0], [2.0, 0.3], [-0.7, 1.2]]


def numbers_of(tree):
    return [numbers_of(item) for item in tree] if isinstance(tree, list) else tree.data


def classifier(seed=0):
    rng = random.Random(seed)
    return nn.Sequential(nn.Linear(2, 3, rng=rng), nn.BatchNorm(3), nn.ReLU(), nn.Linear(3, 1, rng=rng))


def test_a_linear_layer_is_a_layer_without_activation_that_gives_a_list():
    linear, layer = (kind(2, 1, rng=random.Random(3)) for kind in (nn.Linear, nn.Layer))
    assert isinstance(linear, nn.Layer)
    layer.neurons[0].w, layer.neurons[0].nonlin = linear.neurons[0].w, False
    assert numbers_of(linear([1.0, 2.0])) == [layer([1.0, 2.0]).data]
    assert [w.data for w in nn.Linear(2, 1, init=None, rng=random.Random(3)).neurons[0].w] == [
        w.data for w in linear.neurons[0].w
    ]
    without = nn.Linear(2, 3, bias=False, rng=random.Random(0))
    assert len(without.parameters()) == 6
    assert numbers_of(without([0.0, 0.0])) == [0.0] * 3
    assert len(nn.MLP(2, [3, 1], bias=False).parameters()) == 9


@pytest.mark.parametrize(
    ("init", "gain", "variance"),
    [
        ("he", math.sqrt(2), 2 / 250),
        ("he_normal", math.sqrt(2), 2 / 250),
        ("he_uniform", math.sqrt(2), 2 / 250),
        ("xavier", 1.0, 2 / 650),
        ("xavier_normal", 1.0, 2 / 650),
        ("xavier_uniform", 1.0, 2 / 650),
    ],
)
def test_a_hundred_thousand_draws(init, gain, variance):
    rng = random.Random(0)
    drawn = [nn.INITIALISERS[init](rng, 250, 400, gain) for _ in range(100_000)]
    assert abs(statistics.fmean(drawn)) < 3 * math.sqrt(variance / 1e5)
    kurtosis = 1.8 if init.endswith("uniform") else 3.0
    error = variance * math.sqrt((kurtosis - 1) / 1e5)
    assert abs(statistics.fmean(x * x for x in drawn) - variance) < 3 * error
    if init.endswith("uniform"):
        assert max(map(abs, drawn)) <= math.sqrt(3 * variance)
    weights = [w.data for neuron in nn.Linear(250, 4, init=init, rng=random.Random(1)).neurons for w in neuron.w]
    variance = 2 / 254 if "xavier" in init else 2 / 250
    assert statistics.fmean(w * w for w in weights) == pytest.approx(variance, rel=0.2)


@pytest.mark.parametrize(
    ("module", "function"),
    [
        (nn.ReLU(), lambda x: max(x, 0.0)),
        (nn.LeakyReLU(0.2), lambda x: x if x > 0 else 0.2 * x),
        (nn.Tanh(), math.tanh),
        (nn.Sigmoid(), lambda x: 1 / (1 + math.exp(-x))),
        (nn.Softplus(), lambda x: math.log1p(math.exp(x))),
        (nn.Dropout(0.5).eval(), lambda x: x),
        (nn.Dropout(0), lambda x: x),
        (nn.Dropout(1), lambda x: 0.0),
    ],
)
def test_modules_that_work_on_each_number(module, function):
    expected = [[pytest.approx(function(x), rel=1e-14) for x in sample] for sample in BATCH]
    for batch in (BATCH, np.array(BATCH), [[Value(x) for x in sample] for sample in BATCH]):
        assert numbers_of(module(batch)) == expected
        assert numbers_of(module(batch[0])) == expected[0]
        assert module(batch[0][0]).data == expected[0][0]


def test_softmax_is_of_each_sample():
    assert [sum(sample) for sample in numbers_of(nn.Softmax()(BATCH))] == pytest.approx([1.0] * 3)
    assert numbers_of(nn.Softmax()(BATCH))[1] == numbers_of(functional.softmax(BATCH[1]))


def test_dropout_keeps_the_mean_and_drops_gradients_too():
    dropout = nn.Dropout(0.25, random.Random(0))
    x = [Value(3.0) for _ in range(20_000)]
    out = dropout(x)
    dropped = sum(y.data == 0 for y in out)
    assert abs(dropped - 5000) < 3 * math.sqrt(20_000 * 0.25 * 0.75)
    assert {y.data for y in out} == {0.0, 4.0}
    assert grad(functional.sum(out), x) == tuple(y.data / 3 for y in out)
    first, second = (numbers_of(nn.Dropout(0.5, random.Random(9))(x[:50])) for _ in range(2))
    assert first == second
    for again in (copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))):
        assert again(nn.Sequential(nn.Dropout(0.5))).eval()([1.0])[0].data == 1.0


def test_batch_normalisation_is_what_its_formula_says():
    norm = nn.BatchNorm(2, eps=0.1, momentum=0.3)
    norm.weight[0].data, norm.bias[1].data = 2.0, -1.0
    out = numbers_of(norm(BATCH))
    for i in range(2):
        column = [sample[i] for sample in BATCH]
        mean, variance = statistics.fmean(column), statistics.pvariance(column)
        expected = [(x - mean) / math.sqrt(variance + 0.1) * (2.0, 1.0)[i] + (0.0, -1.0)[i] for x in column]
        assert [sample[i] for sample in out] == pytest.approx(expected, rel=1e-14)
        assert norm.running_mean[i] == pytest.approx(0.3 * mean, rel=1e-14)
        assert norm.running_var[i] == pytest.approx(0.7 + 0.3 * statistics.variance(column), rel=1e-14)
    assert norm.num_batches_tracked == 1
    before = norm.state_dict()
    norm.eval()
    out = numbers_of(norm(BATCH))
    assert out[1] == numbers_of(norm(BATCH[1]))
    expected = [
        (x - m) / math.sqrt(v + 0.1) * w + b
        for x, m, v, w, b in zip(BATCH[1], norm.running_mean, norm.running_var, (2, 1), (0, -1), strict=True)
    ]
    assert out[1] == pytest.approx(expected, rel=1e-14)
    assert norm.state_dict() == before


def test_batch_normalisation_without_momentum_counts_all_batches_the_same():
    norm = nn.BatchNorm(1, momentum=None, affine=False)
    for batch in ([[1.0], [3.0]], [[5.0], [5.0]], [[0.0], [6.0]]):
        norm(batch)
    assert norm.running_mean == pytest.approx([10 / 3])
    assert norm.running_var == pytest.approx([(2 + 0 + 18) / 3])
    assert norm.parameters() == []


def test_a_batch_that_fails_leaves_no_trace():
    norm = nn.BatchNorm(2, eps=0)
    before = norm.state_dict()
    with pytest.raises(ZeroDivisionError):  # a constant column has no deviation to be divided by
        norm([[1.0, 2.0], [1.0, 3.0]])
    with pytest.raises(ValueError, match="2 numbers, not of 1"):
        norm([[1.0, 2.0], [1.0]])
    assert norm.state_dict() == before


def test_layer_normalisation_is_what_its_formula_says():
    x = [1.0, 2.0, 4.0]
    norm = nn.LayerNorm(3, eps=0.1)
    norm.weight[0].data, norm.bias[2].data = 3.0, 1.0
    mean, scale = statistics.fmean(x), 1 / math.sqrt(statistics.pvariance(x) + 0.1)
    expected = [3 * (1 - mean) * scale, (2 - mean) * scale, (4 - mean) * scale + 1]
    assert numbers_of(norm(x)) == pytest.approx(expected, rel=1e-14)
    assert numbers_of(norm([x, x]))[1] == numbers_of(norm(x))
    plain = nn.LayerNorm(3, elementwise_affine=False)
    assert plain.parameters() == []
    assert sum(numbers_of(plain(x))) == pytest.approx(0.0, abs=1e-14)


@pytest.mark.parametrize(
    "norm", [nn.BatchNorm(2), nn.BatchNorm(2).eval(), nn.LayerNorm(2), nn.BatchNorm(2, affine=False)]
)
def test_derivatives_of_normalisations(norm):
    def loss(x, norm):
        return functional.sum([y**3 for sample in norm(x) for y in sample])

    if norm.parameters():
        norm.weight[0].data, norm.bias[0].data = 1.5, 0.5
    assert gradcheck(loss, [BATCH, norm]).ok
    assert gradgradcheck(loss, [BATCH[:2], norm]).ok


def test_a_residual_block_adds_its_inputs():
    linear = nn.Linear(2, 2, rng=random.Random(0))
    for x in (BATCH[0], np.array(BATCH[0]), tuple(BATCH[0])):
        expected = [a + b for a, b in zip(x, numbers_of(linear(x)), strict=True)]
        assert numbers_of(nn.Residual(linear)(x)) == expected
    assert numbers_of(nn.Residual(linear)(BATCH))[0] == numbers_of(nn.Residual(linear)(BATCH[0]))
    assert len(nn.Residual(nn.MLP(1, [4, 1]))([2.0])) == 1
    norm = nn.Residual(nn.BatchNorm(2))(BATCH)
    assert len(norm) == 3


def test_a_sequence_learns_from_batches():
    model, targets = classifier(), [[1.0], [0.0], [1.0]]
    losses = []
    for _ in range(60):
        loss = functional.binary_cross_entropy_with_logits(model(BATCH), targets)
        model.zero_grad()
        loss.backward()
        for p in model.parameters():
            p.data -= 0.5 * p.grad
        losses.append(loss.data)
    assert losses[-1] < 0.2 < losses[0]
    model.eval()
    assert [model(x)[0].data for x in BATCH] == [y for (y,) in numbers_of(model(BATCH))]
    assert nn.Sequential()([1.0]) == [1.0]


def test_training_is_set_in_all_modules():
    class Model(nn.Module):
        def __init__(self):
            self.parts = {"a": [nn.Dropout(0.5)], "b": nn.Residual(nn.Sequential(nn.Dropout(0.1)))}
            self.self = self

    model = Model()
    inner = model.parts["b"].module.layers[0]
    assert model.training
    assert inner.training
    assert model.eval() is model
    assert (model.training, model.parts["a"][0].training, inner.training) == (False, False, False)
    assert model.train() is model
    assert (model.training, model.parts["a"][0].training, inner.training) == (True, True, True)


def test_the_state_has_the_names_and_shapes_of_pytorch():
    state = classifier().state_dict()
    assert list(state) == [
        "0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked",
        "3.weight", "3.bias",
    ]  # fmt: skip
    assert [np.shape(entry) for entry in state.values()] == [(3, 2), (3,), (3,), (3,), (3,), (3,), (), (1, 3), (1,)]
    assert all(type(x) is float for entry in state.values() for x in np.ravel(np.array(entry, dtype=object)))
    mlp = nn.MLP(2, [4, 3, 1])
    assert list(mlp.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias", "4.weight", "4.bias"]
    assert mlp.state_dict()["2.weight"][1][3] == mlp.layers[1].neurons[1].w[3].data
    assert list(nn.Linear(2, 1, bias=False).state_dict()) == ["weight"]
    assert list(nn.LayerNorm(2).state_dict()) == ["weight", "bias"]
    assert list(nn.Residual(nn.Linear(1, 1)).state_dict()) == ["module.weight", "module.bias"]
    assert list(nn.Neuron(2).state_dict()) == ["w", "b"]


class Own(nn.Module):
    buffers = ("steps", "history")

    def __init__(self):
        self.scale = Value(1.5)
        self.table = [[Value(1.0), Value(2.0)], [Value(3.0)]]
        self.array = np.array([Value(7.0), Value(8.0)], dtype=object)
        self.net = {"head": nn.Linear(1, 1), "rest": [nn.LayerNorm(1), "text", self.scale]}
        self.computed = self.scale * 2
        self.steps, self.history, self.lr, self.empty = 3, [0.5, 1], 0.1, []
        self.itself = self


def test_the_state_of_a_module_of_ones_own():
    state = Own().state_dict()
    assert {key: entry for key, entry in state.items() if "head" not in key} == {
        "scale": 1.5,
        "table": [[1.0, 2.0], [3.0]],
        "array": [7.0, 8.0],
        "net.rest.0.weight": [1.0],
        "net.rest.0.bias": [0.0],
        "net.rest.2": 1.5,
        "steps": 3.0,
        "history": [0.5, 1.0],
    }
    other = Own()
    other.load_state_dict(
        {**state, "scale": 9, "net.rest.2": 9.0, "table": ((5, 6), (7,)), "history": np.array([2, 3])}
    )
    assert (other.scale.data, numbers_of(other.table), other.history) == (9.0, [[5.0, 6.0], [7.0]], [2.0, 3.0])


def test_a_state_is_a_copy_and_loading_keeps_the_parameters_themselves():
    model, other = classifier(0), classifier(1)
    model(BATCH)
    state = model.state_dict()
    parameters = other.parameters()
    other.load_state_dict({key: np.array(entry) for key, entry in state.items()})
    assert other.state_dict() == state
    assert all(p is q for p, q in zip(parameters, other.parameters(), strict=True))
    state["0.weight"][0][0] = state["1.running_mean"][0] = 77.0
    assert other.state_dict()["0.weight"][0][0] != 77.0
    assert model.state_dict()["1.running_mean"][0] != 77.0
    other(BATCH)
    assert other.layers[1].num_batches_tracked == 2
    diverged = nn.Linear(1, 1)
    diverged.neurons[0].b.data = math.nan
    diverged.load_state_dict(diverged.state_dict())  # what was saved can be loaded
    tied = nn.Sequential(diverged, diverged)
    tied.load_state_dict(tied.state_dict())


def test_all_that_is_wrong_with_a_state_is_told_and_nothing_changed():
    model = classifier()
    before = model.state_dict()
    state = {**classifier(1).state_dict(), "0.weight": [[1.0, 2.0]], "4.weight": [[1.0]], "x": 1.0}
    state.update({"1.running_mean": [1.0, 2.0], "1.bias": [1.0, "a", 2.0], "1.num_batches_tracked": [1.0]})
    state.update({"3.weight": [[1.0, 2.0], [3.0]]})
    del state["0.bias"], state["3.bias"]
    with pytest.raises(ValueError, match="nothing was changed") as caught:
        model.load_state_dict(state)
    assert str(caught.value).splitlines() == [
        f"this state does not fit {str(model).partition(' with ')[0]}, and nothing was changed:",
        "  missing: 0.bias, 3.bias",
        "  unknown: 4.weight, x",
        "  0.weight: shape (3, 2) is needed, not (1, 2)",
        "  1.bias: a Value holds one real number, not str 'a'",
        "  1.running_mean: shape (3,) is needed, not (2,)",
        "  1.num_batches_tracked: shape () is needed, not (1,)",
        "  3.weight: shape (1, 3) is needed, not [(2,), (1,)]",
    ]
    assert model.state_dict() == before


def test_reprs_and_summaries_count_parameters():
    assert repr(classifier()) == "Sequential(Linear(2, 3), BatchNorm(3), ReLU(), Linear(3, 1)) with 19 parameters"
    assert repr(nn.Linear(1, 1, bias=False)) == "Linear(1, 1, bias=False) with 1 parameter"
    assert repr(nn.Residual(nn.MLP(2, [3, 2]))) == "Residual(MLP(2, [3, 2])) with 17 parameters"
    modules = nn.Sequential(
        nn.Dropout(0.5), nn.LeakyReLU(0.1), nn.Softmax(), nn.LayerNorm(2), nn.Neuron(2), nn.Layer(1, 1)
    )
    assert repr(modules) == (
        "Sequential(Dropout(0.5), LeakyReLU(0.1), Softmax(), LayerNorm(2), ReLUNeuron(2), Layer(1, 1, relu))"
        " with 9 parameters"
    )
    assert repr(nn.MLP(1, [1])) == "MLP of [Layer of [LinearNeuron(1)]]"
    assert [line.split() for line in Own().summary().splitlines()] == [
        ["name", "module", "parameters"],
        ["Own", "6"],
        ["net.head", "Linear(1,", "1)", "2"],
        ["net.rest.0", "LayerNorm(1)", "2"],
        ["total", "10"],
    ]
    tied = nn.Linear(1, 1)
    assert nn.Sequential(tied, nn.ReLU(), tied).summary().splitlines()[-1].split() == ["total", "2"]
    assert nn.Linear(1, 1).summary().splitlines()[1].split() == ["Linear(1,", "1)", "2"]


def test_a_rule_of_ones_own_as_a_module():
    class Sine(nn.Activation):
        activation = "sin"

    assert numbers_of(Sine()([0.5])) == [math.sin(0.5)]


def swish(x):
    return x * x.sigmoid()


class Scaled(nn.Module):
    """An activation with its own parameter."""

    def __init__(self):
        self.slope = Value(0.5)

    def forward(self, x):
        return x.maximum(self.slope * x)


RULES_AS_FUNCTIONS = [
    ("tanh", Value.tanh),
    ("tanh", functional.tanh),
    ("tanh", nn.Tanh()),
    ("relu", Value.relu),
    ("relu", nn.ReLU()),
    ("leaky_relu", Value.leaky_relu),
    ("leaky_relu", functional.leaky_relu),
    ("sin", nn.Activation(Value.sin)),
]


@pytest.mark.parametrize(("name", "function"), RULES_AS_FUNCTIONS)
def test_a_function_that_is_a_rule_is_the_same_activation_as_its_name(name, function):
    by_name, by_function = (
        nn.MLP(2, [3, 1], activation=activation, rng=random.Random(0)) for activation in (name, function)
    )
    assert [p.data for p in by_function.parameters()] == [p.data for p in by_name.parameters()]  # as initialised
    assert (repr(by_function), by_function.summary()) == (repr(by_name), by_name.summary())
    assert by_function([0.5, -1.0]).data == by_name([0.5, -1.0]).data
    assert by_function.layers[0].neurons[0].activation == name


@pytest.mark.parametrize("function", [swish, lambda x: x * x.sigmoid(), functools.partial(swish), nn.Activation(swish)])
@given(x=st.lists(numbers, min_size=2, max_size=2))
def test_any_function_of_a_value_is_an_activation(function, x):
    neuron = nn.Neuron(2, activation=function, rng=random.Random(0))
    plain = nn.Neuron(2, nonlin=False, activation="sigmoid", rng=random.Random(0))
    out, expected = neuron(x), swish(plain(x))
    assert out.data == pytest.approx(expected.data, rel=1e-14)
    assert grad(out, neuron.parameters()) == pytest.approx(grad(expected, plain.parameters()), rel=1e-14)
    assert numbers_of(nn.Activation(function)([x]))[0] == [pytest.approx(swish(Value(xi)).data) for xi in x]
    for again in (copy.deepcopy(neuron), copy.deepcopy(nn.MLP(2, [1, 1], activation=function))):
        assert gradcheck(again, [x]).ok


def test_activations_have_names():
    named = [nn.Layer(2, 1, activation=f) for f in (swish, lambda x: x, functools.partial(swish), nn.LeakyReLU(0.1))]
    assert [repr(layer) for layer in named] == [
        "Layer of [SwishNeuron(2)]",
        "Layer of [LambdaNeuron(2)]",
        "Layer of [PartialNeuron(2)]",
        "Layer of [LeakyReLUNeuron(2)]",
    ]
    assert [layer.summary().splitlines()[1].strip() for layer in named[:2]] == [
        "Layer(2, 1, swish)           3",
        "Layer(2, 1, lambda)           3",
    ]
    assert [repr(nn.Activation(f)) for f in (swish, "tanh", Value.sin)] == [
        f"Activation({name}) with 0 parameters" for name in ("swish", "tanh", "sin")
    ]


def test_a_network_with_functions_can_be_pickled():
    model = nn.Sequential(nn.Layer(2, 2, activation=swish), nn.Layer(2, 2, activation=Value.tanh), nn.Activation(swish))
    again = pickle.loads(pickle.dumps(model))
    assert numbers_of(again([1.0, 2.0])) == numbers_of(model([1.0, 2.0]))


def test_an_activation_may_have_parameters_of_its_own():
    model = nn.MLP(2, [3, 1], activation=Scaled(), rng=random.Random(0))
    assert len(model.parameters()) == 3 * 3 + 4 + 1
    assert gradcheck(model, [[1.0, -2.0]]).ok
    state = model.state_dict()
    assert state["0.activation.slope"] == 0.5
    model.parameters()[3].data = 7.0
    assert "layers.0.neurons.0.activation.slope" in dict(model.named_parameters())
    model.load_state_dict(state)
    assert model.state_dict() == state
    assert model.summary().splitlines()[-1].split() == ["total", "14"]


def test_a_module_that_defines_forward_is_called_as_in_pytorch():
    class Scale(nn.Module):
        def __init__(self):
            self.factor = Value(3.0)

        def forward(self, x, power=1):
            return [self.factor * xi**power for xi in x]

    class Direct(Scale):
        def __call__(self, x):
            return super().__call__(x, power=2)

    class Shifted(nn.Linear):
        def forward(self, x):
            return functional.add(super().forward(x), [1.0] * 2)

    assert numbers_of(Scale()([1.0, 2.0])) == [3.0, 6.0]
    assert numbers_of(Scale()([2.0], power=2)) == [12.0]
    assert numbers_of(Direct()([2.0])) == [12.0]
    assert numbers_of(nn.Sequential(Scale(), Direct())([1.0])) == [27.0]
    shifted, linear = Shifted(2, 2, rng=random.Random(0)), nn.Linear(2, 2, rng=random.Random(0))
    assert numbers_of(shifted([1.0, 2.0])) == [y + 1 for y in numbers_of(linear([1.0, 2.0]))]
    assert numbers_of(linear.forward([1.0, 2.0])) == numbers_of(linear([1.0, 2.0]))


class Nested(nn.Module):
    def __init__(self):
        self.body = nn.Sequential(
            nn.Linear(2, 3), nn.Tanh(), nn.Residual(nn.Linear(3, 3)), nn.LayerNorm(3), nn.MLP(3, [2, 1])
        )
        self.heads = {"a": nn.Linear(1, 1), "b": [nn.Layer(1, 2)]}

    def forward(self, x):
        h = self.body(x)
        return functional.sum([*self.heads["a"]([h]), *self.heads["b"][0]([h])])


@pytest.mark.parametrize(
    "model",
    [nn.MLP(2, [3, 1]), nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3), nn.ReLU(), nn.Linear(3, 1)), Nested()],
    ids=["MLP", "Sequential", "Nested"],
)
def test_summaries_reports_drawings_and_paths_have_the_same_names(model):
    rows = [line.split() for line in model.summary().splitlines()[1:-1]]
    names = {row[0] for row in rows if row[-1] != "0"}
    assert {re.sub(r"\.(neurons|weight|bias)\..*", "", path) for path, _ in model.named_parameters()} == names
    history = fit(
        lambda x: functional.sum(y if isinstance(y := model(x), list) else [y]),
        [([0.5, -1.0],)],
        optim.SGD(model.parameters(), lr=0.0),
        epochs=1,
        model=model,
        progress=False,
        compile=False,
    )
    assert {layer.name for layer in history.gradient_flow().layers} == names
    out = model([0.5, -1.0])
    source = draw(out if isinstance(out, Value) else functional.sum(out), module=model).source
    boxes = re.findall(r'label="(\S+) (?:Linear|Layer|LayerNorm|Residual|MLP|Sequential)"', source)
    assert all(any(f".{box}." in f".{name}." for name in names) for box in boxes)
    assert len(boxes) >= len(names)


v = Value(2.0)


class Colliding(nn.Module):
    def __init__(self):
        self.a = {1: v, "1": Value(1.0)}


@pytest.mark.parametrize(
    ("action", "error", "message"),
    [
        (lambda: nn.Linear(0, 1), ValueError, "nin must be a whole number, at least 1, not 0"),
        (lambda: nn.Linear(1, 1.5), ValueError, "nout must be a whole number, at least 1, not 1.5"),
        (lambda: nn.Linear(1, 1, init="hee"), ValueError, "no initialisation 'hee'; .* xavier_uniform"),
        (lambda: nn.Linear(2, 1)([1]), ValueError, "Linear takes 2 inputs, not 1"),
        (lambda: nn.Linear(2, 1)([[1, 2], [1]]), ValueError, "Linear takes 2 inputs, not 1"),
        (lambda: nn.Linear(2, 1)([[1, 2], 3]), TypeError, "2 inputs takes a sequence, not int 3"),
        (lambda: nn.Linear(2, 1)([]), ValueError, "Linear takes 2 inputs, not 0"),
        (lambda: nn.Linear(2, 1)(v), TypeError, "takes a sequence, not Value"),
        (lambda: nn.Linear(2, 1)("ab"), TypeError, "takes a sequence, not str"),
        (lambda: nn.Linear(2, 1)(["a", 1]), TypeError, "not str 'a'"),
        (lambda: nn.ReLU()("ab"), TypeError, "ReLU takes a sequence, not str 'ab'"),
        (lambda: nn.ReLU()(None), TypeError, "not NoneType"),
        (lambda: nn.ReLU()([None]), TypeError, "not NoneType"),
        (lambda: nn.Activation(), ValueError, "no activation ''; there are .*relu"),
        (lambda: nn.LeakyReLU("a"), TypeError, "not str 'a'"),
        (lambda: nn.Softmax()([]), ValueError, "no values"),
        (lambda: nn.Softmax()(v), TypeError, "Softmax takes a sequence, not Value"),
        (lambda: nn.Softmax()(2.0), TypeError, "Softmax takes a sequence, not float 2.0"),
        (lambda: nn.Linear(2, 1)([1, 2, 3, 4]), ValueError, r"Linear takes 2 inputs, not 4\. .*functional\.add"),
        (lambda: nn.LayerNorm(2)([1, 2, 3, 4]), ValueError, r"samples of 2 numbers, not of 4\. .*functional\.add"),
        (lambda: nn.BatchNorm(2)([1, 2, 3, 4]), ValueError, r"samples of 2 numbers, not of 4\. .*functional\.add"),
        (lambda: nn.Residual(nn.Softmax())([[1, 2], 3]), TypeError, "Softmax takes a sequence, not int 3"),
        (lambda: nn.Residual(nn.Layer(2, 1))([1, 2]), ValueError, r"shapes are \(2,\) in and \(1,\) out"),
        (lambda: nn.MLP(2, [1])([[1, 2], [3, 4]]), TypeError, "MLP takes one sample, a list of 2 numbers, not a batch"),
        (lambda: nn.Layer(2, 1)([[1, 2], [3, 4]]), TypeError, "Layer takes one sample"),
        (lambda: nn.Neuron(2)([[1, 2], [3, 4]]), TypeError, "Neuron takes one sample"),
        (lambda: nn.Sequential(nn.ReLU())(None), TypeError, "ReLU takes numbers and Values, .* not NoneType None"),
        (lambda: nn.Module()(1.0), NotImplementedError, r"Module has no forward\(self, x\)"),
        (lambda: nn.Sequential(nn.Module())(1.0), NotImplementedError, r"Module has no forward\(self, x\)"),
        (lambda: nn.Neuron(2, activation=3), TypeError, "a function of a Value, such as Value.tanh, not int 3"),
        (lambda: nn.Neuron(2, activation=nn.ReLU), TypeError, "such as Value.tanh, not type <class"),
        (lambda: nn.Neuron(2, activation=""), ValueError, "no activation ''"),
        (lambda: nn.Neuron(2, activation=lambda x: x.data)([1, 2]), TypeError, "gives a Value, and lambda gave float"),
        (lambda: nn.Activation(lambda x: 3)([1, 2]), TypeError, "gives a Value, and lambda gave int 3"),
        (lambda: nn.ReLU(True), TypeError, r"ReLU\(\) takes no activation"),
        (lambda: nn.Layer(2, 1, "tanh"), TypeError, "nonlin is True or False, not str 'tanh'"),
        (lambda: nn.Linear(2, 1, "he"), TypeError, "bias is True or False, not str 'he'"),
        (lambda: nn.Linear(2, 1, rng=0), TypeError, r"rng is a random.Random, .* which int 0 has not"),
        (lambda: nn.Neuron(2, gain="a"), TypeError, "gain is a number, not str 'a'"),
        (lambda: nn.Neuron(2, init=[]), ValueError, r"no initialisation \[\]"),
        (lambda: nn.Dropout(1.5), ValueError, "dropout must be between 0 and 1, not 1.5"),
        (lambda: nn.Dropout(-0.1), ValueError, "not -0.1"),
        (lambda: nn.Dropout(math.nan), ValueError, "not nan"),
        (lambda: nn.Dropout("0.5"), TypeError, "not str '0.5'"),
        (
            lambda: nn.Dropout(0.5, rng=3),
            TypeError,
            r"rng is a random.Random, .* needs a method random\(\), which int 3",
        ),
        (lambda: nn.BatchNorm(0), ValueError, "size must be a whole number, at least 1, not 0"),
        (lambda: nn.BatchNorm(2, eps=-1), ValueError, "eps must be at least 0, not -1"),
        (lambda: nn.BatchNorm(2, eps="a"), TypeError, "eps is a number, not str 'a'"),
        (lambda: nn.BatchNorm(2, momentum=1.5), ValueError, "momentum must be at most 1, not 1.5"),
        (lambda: nn.BatchNorm(2, momentum=math.nan), ValueError, "momentum must be at least 0, not nan"),
        (lambda: nn.BatchNorm(2)([[1, 2]]), ValueError, "a batch of two samples at least"),
        (lambda: nn.BatchNorm(2)([1, 2]), ValueError, "a batch of two samples at least"),
        (lambda: nn.BatchNorm(2)([]), ValueError, "samples of 2 numbers, not of 0"),
        (lambda: nn.BatchNorm(2)([[1, 2], [1, 2, 3]]), ValueError, "samples of 2 numbers, not of 3"),
        (lambda: nn.BatchNorm(2)(v), TypeError, r"BatchNorm\(2\) takes a sequence, not Value"),
        (lambda: nn.BatchNorm(2).eval()([1]), ValueError, "samples of 2 numbers, not of 1"),
        (lambda: nn.LayerNorm(2.5), ValueError, "size must be a whole number, at least 1, not 2.5"),
        (lambda: nn.LayerNorm(2, eps=math.nan), ValueError, "eps must be at least 0, not nan"),
        (lambda: nn.LayerNorm(2)([1]), ValueError, "samples of 2 numbers, not of 1"),
        (lambda: nn.LayerNorm(2)([[1, 2], ["a", 1]]), TypeError, "not str 'a'"),
        (lambda: nn.LayerNorm(2, eps=0)([1, 1]), ZeroDivisionError, "-0.5"),
        (lambda: nn.Sequential([nn.ReLU()]), TypeError, "modules, one argument each, not of list"),
        (lambda: nn.Sequential(math.tanh), TypeError, "modules, .* not of builtin_function"),
        (lambda: nn.Sequential(Value.tanh), TypeError, r"of function .*: nn\.Activation\(function\) is a module"),
        (lambda: nn.Sequential(nn.ReLU), TypeError, "modules, .* not of type"),
        (lambda: nn.Sequential(nn.Linear(2, 3), nn.Linear(2, 1))([1, 2]), ValueError, "takes 2 inputs, not 3"),
        (lambda: nn.Residual(3), TypeError, "modules, .* not of int 3"),
        (lambda: nn.Residual(nn.Linear(2, 3))([1, 2]), ValueError, r"shapes are \(2,\) in and \(3,\) out"),
        (lambda: nn.Residual(nn.Linear(2, 3))([[1, 2]]), ValueError, r"shapes are \(1, 2\) in and \(1, 3\) out"),
        (lambda: nn.Residual(nn.Linear(2, 2))(v), TypeError, "Residual takes a sequence, not Value"),
        (lambda: nn.ReLU().train("yes"), TypeError, "takes True or False, not str 'yes'"),
        (lambda: nn.ReLU().train(None), TypeError, "takes True or False, not NoneType"),
        (lambda: nn.Linear(1, 1).load_state_dict([1.0]), TypeError, "a state is a dictionary, .* not list"),
        (lambda: nn.Linear(1, 1).load_state_dict({}), ValueError, "missing: weight, bias"),
        (lambda: nn.Linear(1, 1).load_state_dict({"weight": [[v]], "bias": [0]}), ValueError, "weight: .* not Value"),
        (lambda: nn.Linear(1, 1).load_state_dict({"weight": [[10**400]], "bias": [0]}), ValueError, "too large"),
        (lambda: nn.ReLU().load_state_dict({3: 1.0}), ValueError, "unknown: 3"),
        (lambda: Colliding().state_dict(), ValueError, "two entries of the state are called 'a.1'"),
    ],
)
def test_bad_input(action, error, message):
    with pytest.raises(error, match=message):
        action()
    assert (v.data, v.grad) == (2.0, 0.0)


def test_a_parameter_in_two_places_has_one_number():
    layer = nn.Linear(1, 1)
    tied = nn.Sequential(layer, nn.Tanh(), layer)
    state = tied.state_dict()
    assert list(state) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    with pytest.raises(ValueError, match=r"2\.weight: shared with an entry above, and different from it"):
        tied.load_state_dict({**state, "2.weight": [[77.0]]})
    assert tied.state_dict() == state


def test_parameters_in_a_set_have_no_state():
    class Model(nn.Module):
        def __init__(self):
            self.w = {Value(1.0)}

    with pytest.raises(TypeError, match="w is a set"):
        Model().state_dict()
