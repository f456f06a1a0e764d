"""Layers of sequences and images: formulas, derivatives, compiled functions, training, and shapes that do not fit."""

import copy
import gc
import itertools
import math
import pickle
import random
from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import micrograd
from micrograd import Value, fit, functional, grad, nn, optim
from micrograd.data import TensorDataset
from micrograd.testing import gradcheck, gradgradcheck

needs_llvmlite = pytest.mark.skipif(find_spec("llvmlite") is None, reason="compiling needs llvmlite")


def draw(rng, *shape):
    return [draw(rng, *shape[1:]) for _ in range(shape[0])] if shape else rng.gauss(0, 1)


def flat(tree):
    return [leaf for item in tree for leaf in flat(item)] if isinstance(tree, (list, tuple)) else [tree]


def numbers_of(tree):
    return [x.data for x in flat(tree)]


class Attends(nn.Module):
    def __init__(self):
        self.attention = nn.MultiheadAttention(4, 2, rng=random.Random(0))

    def forward(self, x):
        out, weights = self.attention(x, x, x, is_causal=True)
        return [*flat(out), *flat(weights)]


class Last(nn.Module):
    """The last output of a recurrent layer."""

    def __init__(self, layer):
        self.layer = layer

    def forward(self, x):
        return self.layer(x)[0][-1]


RNG = random.Random(0)
LAYERS = {  # a layer, and the shape of a sample
    "Conv1d": (nn.Conv1d(2, 2, 3, padding=1, rng=RNG), (2, 4)),
    "Conv2d": (nn.Conv2d(2, 3, 2, stride=2, padding=1, rng=RNG), (2, 3, 4)),
    "Conv2d of groups": (nn.Conv2d(2, 2, 2, groups=2, bias=False, rng=RNG), (2, 3, 3)),
    "MaxPool1d": (nn.MaxPool1d(2), (2, 5)),
    "MaxPool2d": (nn.MaxPool2d(2, 1), (1, 3, 4)),
    "AvgPool2d": (nn.AvgPool2d(2, padding=1), (1, 3, 4)),
    "Flatten": (nn.Flatten(), (1, 2, 3)),
    "GroupNorm": (nn.GroupNorm(2, 4), (4, 2, 2)),
    "BatchNorm1d": (nn.BatchNorm1d(2), (3, 2)),
    "BatchNorm2d": (nn.BatchNorm2d(2), (2, 2, 2, 2)),
    "RNN": (Last(nn.RNN(2, 3, num_layers=2, rng=RNG)), (3, 2)),
    "LSTM": (Last(nn.LSTM(2, 3, bidirectional=True, rng=RNG)), (3, 2)),
    "GRU": (Last(nn.GRU(2, 3, rng=RNG)), (3, 2)),
    "MultiheadAttention": (Attends(), (3, 4)),
    "TransformerEncoderLayer": (nn.TransformerEncoderLayer(4, 2, 6, 0.0, "gelu", rng=RNG), (3, 4)),
    "GELU": (nn.GELU("tanh"), (3,)),
    "SiLU": (nn.SiLU(), (3,)),
}
every_layer = pytest.mark.parametrize("name", LAYERS)


def score(out):
    return functional.dot(flat(out), [math.sin(i + 1) for i in range(len(flat(out)))])


def make(name):
    layer, shape = copy.deepcopy(LAYERS[name])
    return layer, draw(random.Random(1), *shape)


@every_layer
def test_derivatives(name):
    layer, x = make(name)
    assert gradcheck(lambda x: score(layer(x)), [x]).ok
    if layer.parameters():
        assert gradcheck(lambda x, layer: score(layer(x)), [x, layer]).ok


@pytest.mark.parametrize("name", ["Conv1d", "GRU", "GroupNorm", "MultiheadAttention"])
def test_second_derivatives(name):
    layer, x = make(name)
    assert gradgradcheck(lambda x: score(layer(x)), [x]).ok


@every_layer
def test_arrays_tuples_and_values_are_inputs_like_lists(name):
    layer, x = make(name)
    layer.eval()

    def change(leaf, kind, tree):
        return kind(change(leaf, kind, item) for item in tree) if isinstance(tree, list) else leaf(tree)

    expected = numbers_of(change(Value, list, x) if name == "Flatten" else layer(x))
    for given_x in (np.array(x), change(float, tuple, x), change(Value, list, x), np.array(change(Value, list, x))):
        out = layer(given_x)
        assert [getattr(y, "data", y) for y in flat(out)] == pytest.approx(expected, rel=1e-14)


@every_layer
def test_copies_and_states(name):
    layer, x = make(name)
    layer.eval()
    expected = [getattr(y, "data", y) for y in flat(layer(x))]
    for again in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert [getattr(y, "data", y) for y in flat(again(x))] == expected
    other = copy.deepcopy(layer)
    for p in other.parameters():
        p.data = 0.25
    other.load_state_dict(layer.state_dict())
    assert [getattr(y, "data", y) for y in flat(other(x))] == expected
    assert str(len(layer.parameters())) in layer.summary().splitlines()[-1]


@every_layer
def test_the_graph_is_freed_as_soon_as_it_is_dropped(name):
    layer, x = make(name)
    inputs = values(x)
    gc.collect()
    gc.disable()
    try:
        score(layer(inputs)).backward()
        assert gc.collect() == 0
    finally:
        gc.enable()


@needs_llvmlite
@every_layer
def test_compiled_layers_are_what_they_are_eagerly(name):
    layer, x = make(name)
    eager = copy.deepcopy(layer)
    compiled = micrograd.compile(lambda x: score(layer(x)))
    for seed in (2, 3):
        x = draw(random.Random(seed), *LAYERS[name][1])
        inputs, others = values(x), values(x)
        found, expected = compiled(inputs), score(eager(others))
        assert found.data == pytest.approx(expected.data, rel=1e-12, abs=1e-12)
        slopes = [grad(out, [*flat(i), *m.parameters()]) for out, i, m in
                  ((found, inputs, layer), (expected, others, eager))]  # fmt: skip
        assert slopes[0] == pytest.approx(slopes[1], rel=1e-10, abs=1e-12)
    if "BatchNorm" in name:
        assert layer.running_mean == pytest.approx(eager.running_mean, rel=1e-12)
        assert layer.running_var == pytest.approx(eager.running_var, rel=1e-12)


def values(tree):
    return [values(item) for item in tree] if isinstance(tree, list) else Value(tree)


def networks():
    rng = random.Random(0)
    cnn = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1, rng=rng), nn.GroupNorm(1, 2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(8, 2, rng=rng),
    )  # fmt: skip
    lstm, head = nn.LSTM(2, 3, rng=rng), nn.Linear(3, 2, rng=rng)
    words = nn.Embedding(5, 4, rng=rng)
    block, top = nn.TransformerEncoderLayer(4, 2, 6, 0.2, norm_first=True, rng=rng), nn.Linear(4, 2, rng=rng)
    return {
        "convolution": (nn.ModuleList([cnn]), cnn, lambda rng: draw(rng, 1, 4, 4)),
        "recurrence": (nn.ModuleList([lstm, head]), lambda x: head(lstm(x)[0][-1]), lambda rng: draw(rng, 4, 2)),
        "attention": (
            nn.ModuleList([words, block, top]),
            lambda x: top(block(words(x))[0]),
            lambda rng: [rng.randrange(5) for _ in range(3)],
        ),
    }


@needs_llvmlite
@pytest.mark.parametrize("name", ["convolution", "recurrence", "attention"])
def test_fit_compiled_gives_the_losses_that_it_gives_eagerly(name):
    losses = []
    for compiled in (False, True):
        model, function, one = networks()[name]
        rng = random.Random(1)
        data = TensorDataset([one(rng) for _ in range(6)], [rng.randrange(2) for _ in range(6)])
        loss = nn.CrossEntropyLoss()
        options = {"epochs": 8, "batch_size": 3, "model": model, "rng": random.Random(2), "progress": False}
        history = fit(
            lambda x, y, f=function, loss=loss: loss(f(x), y), data, optim.Adam(model.parameters(), lr=0.02),
            compile=compiled, **options,
        )  # fmt: skip
        losses.append(history.loss)
    assert losses[1] == pytest.approx(losses[0], rel=1e-9)
    assert sum(losses[0][-4:]) < sum(losses[0][:4])


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_convolutions_are_what_their_formula_says(data):
    small = st.integers(1, 3)
    stride, padding, dilation, groups, each, depth = (data.draw(small) for _ in range(6))
    kernel, size = [data.draw(small) for _ in range(2)], [data.draw(st.integers(3, 5)) for _ in range(2)]
    rng = random.Random(data.draw(st.integers(0, 9)))
    image, weight = draw(rng, depth * groups, *size), draw(rng, each * groups, depth, *kernel)
    bias = data.draw(st.sampled_from([None, draw(rng, each * groups)]))
    counts = [(n + 2 * padding - dilation * (k - 1) - 1) // stride + 1 for n, k in zip(size, kernel, strict=True)]

    def convolve():
        return functional.conv2d(image, weight, bias, stride, padding, dilation, groups)

    if min(counts) < 1:
        with pytest.raises(ValueError, match="does not fit into a map of size"):
            convolve()
        return
    around = np.pad(np.array(image), ((0, 0), (padding, padding), (padding, padding)))
    out = convolve()
    assert np.shape(np.array(out, dtype=object)) == (each * groups, *counts)
    for o, i, j in itertools.product(range(each * groups), *map(range, counts)):
        first = o // each * depth
        expected = (bias[o] if bias else 0.0) + sum(
            weight[o][c][k][m] * around[first + c][i * stride + k * dilation][j * stride + m * dilation]
            for c, k, m in itertools.product(range(depth), *map(range, kernel))
        )
        assert out[o][i][j].data == pytest.approx(expected, rel=1e-12, abs=1e-12)


@given(st.lists(st.lists(st.floats(-9, 9), min_size=4, max_size=4), min_size=4, max_size=4), st.integers(1, 3))
def test_pools_are_the_largest_and_the_mean_of_windows(rows, stride):
    places = range((4 - 2) // stride + 1)
    windows = [[rows[i * stride + k][j * stride + m] for k in (0, 1) for m in (0, 1)] for i in places for j in places]
    assert numbers_of(functional.max_pool2d([rows], 2, stride)) == [max(window) for window in windows]
    expected = [pytest.approx(math.fsum(window) / 4, rel=1e-14, abs=1e-14) for window in windows]
    assert numbers_of(functional.avg_pool2d([rows], 2, stride)) == expected


def test_the_first_of_equal_numbers_has_the_gradient_of_a_pool():
    image = values([[[1.0, 3.0], [3.0, 2.0]]])
    (((out,),),) = functional.max_pool2d(image, 2)
    assert grad(out, flat(image)) == (0.0, 1.0, 0.0, 0.0)


def test_a_hidden_key_does_not_count():
    rng = random.Random(0)
    query, key, value = draw(rng, 2, 4), draw(rng, 3, 4), draw(rng, 3, 2)
    hidden = [[True, True, False]] * 2
    out = functional.attention(query, key, value, attn_mask=hidden)
    assert numbers_of(out) == numbers_of(functional.attention(query, key[:2], value[:2]))
    changed = [*value[:2], [math.inf, math.nan]]
    assert numbers_of(functional.attention(query, [*key[:2], [1e300] * 4], changed, attn_mask=hidden)) == numbers_of(
        out
    )
    assert numbers_of(functional.attention(query[:1], key, value, is_causal=True)) == value[0]
    assert numbers_of(functional.attention(query, key, value, attn_mask=[[False] * 3] * 2)) == [0.0] * 4


def test_dropout_of_attention_draws_for_each_weight():
    layer = nn.MultiheadAttention(4, 2, dropout=0.5, rng=random.Random(0))
    x = draw(random.Random(1), 3, 4)
    _, weights = layer(x, x, x, average_attn_weights=False)
    dropped = sum(w == 0 for w in numbers_of(weights))
    assert 0 < dropped < 18
    _, kept = layer.eval()(x, x, x, average_attn_weights=False)
    for w, whole in zip(numbers_of(weights), numbers_of(kept), strict=True):
        assert w == 0 or w == pytest.approx(2 * whole)


def test_a_list_of_modules():
    layers = nn.ModuleList([nn.Linear(1, 1), nn.ReLU()])
    assert len(layers.append(nn.Linear(1, 2)).extend([nn.Tanh()])) == 4
    assert [type(layer).__name__ for layer in layers[1:3]] == ["ReLU", "Linear"]
    assert isinstance(layers[1:3], nn.ModuleList)
    assert layers[0] in layers
    assert list(layers.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    chain = nn.Sequential(*layers)
    assert isinstance(chain[:2], nn.Sequential)
    assert numbers_of(chain[:3]([2.0])) == numbers_of(chain[2](chain[1](chain[0]([2.0]))))
    assert not chain.eval()[3].training


def test_embeddings_give_the_parameters_themselves():
    words = nn.Embedding(4, 2, rng=random.Random(0))
    assert words([2, 0])[0] == words.weight[2]
    functional.sum(flat(words([2, 2]))).backward()
    assert [p.grad for p in words.parameters()] == [0.0] * 4 + [2.0] * 2 + [0.0] * 2
    assert words(np.array([[1], [2]]))[1][0] == words.weight[2]


@needs_llvmlite
def test_an_index_out_of_range_is_an_error_in_a_compiled_function_too():
    words = nn.Embedding(4, 2, rng=random.Random(0))
    compiled = micrograd.compile(lambda i: functional.sum(words(i)))
    assert compiled(3).data == sum(numbers_of(words(3)))
    for i in (4, -1):
        with pytest.raises(ValueError, match="index"):
            compiled(i)


@needs_llvmlite
def test_a_mask_as_an_argument_of_a_compiled_function():
    x = draw(random.Random(0), 2, 4)
    with pytest.raises(TypeError, match=r"a mask is an argument .* for which True is 1\.0"):
        micrograd.compile(lambda x, mask: score(functional.attention(x, x, x, mask)))(x, [[True, False]] * 2)
    added = [[0.5, -1.0], [0.0, 2.0]]
    compiled = micrograd.compile(
        lambda x, m: score(functional.attention(x, x, x, [[a + 0.0 for a in line] for line in m]))
    )
    assert compiled(x, added).data == pytest.approx(score(functional.attention(x, x, x, added)).data, rel=1e-12)


@pytest.mark.parametrize("hard", [False, True])
def test_a_gumbel_softmax_draws_classes_with_their_probabilities(hard):
    rng, logits = random.Random(0), [0.0, 1.0, 2.0]
    counts = [0] * 3
    for _ in range(3000):
        shares = numbers_of(functional.gumbel_softmax(logits, 0.5, hard, rng))
        assert sum(shares) == pytest.approx(1.0)
        assert not hard or sorted(shares) == [0.0, 0.0, 1.0]
        counts[shares.index(max(shares))] += 1
    for count, p in zip(counts, numbers_of(functional.softmax(logits)), strict=True):
        assert abs(count - 3000 * p) < 4 * math.sqrt(3000 * p * (1 - p))


def test_a_hard_draw_has_the_gradient_of_the_soft_one():
    slopes = []
    for hard in (False, True):
        logits = values([[0.0, 1.0], [3.0, 3.0]])
        out = functional.gumbel_softmax(logits, 0.7, hard, random.Random(5))
        slopes.append(grad(score(out), flat(logits)))
    assert slopes[0] == slopes[1]
    assert any(slopes[0])


@needs_llvmlite
@pytest.mark.parametrize("hard", [False, True])
def test_a_compiled_gumbel_softmax_draws_the_same(hard):
    found = []
    for wrap in (micrograd.compile, lambda f: f):
        rng = random.Random(3)
        function = wrap(lambda x, rng=rng: score(functional.gumbel_softmax(x, 0.5, hard, rng)))
        found.append([function(draw(random.Random(i), 3)).data for i in range(5)])
    assert found[0] == pytest.approx(found[1], rel=1e-12)


@needs_llvmlite
@pytest.mark.parametrize("target", [[0.0, 1.0], [0.3, 0.7], [0.0, 0.0]])
def test_a_target_of_0_adds_no_divergence_in_a_compiled_function_either(target):
    def divergence(p, t):
        return functional.kl_div(functional.log_softmax(p), t, reduction="sum")

    expected = divergence([0.5, -1.0], target).data
    assert micrograd.compile(divergence)([0.5, -1.0], target).data == pytest.approx(expected, rel=1e-14)


def test_similar_vectors():
    x, y = values([1.0, 2.0, 2.0]), values([2.0, 0.0, 0.0])
    assert functional.cosine_similarity(x, y).data == pytest.approx(1 / 3)
    assert gradcheck(functional.cosine_similarity, [[1.0, 2.0, 2.0], [2.0, 1.0, 0.5]]).ok
    assert grad(functional.cosine_similarity(values([0.0, 0.0]), [1.0, 0.0]), values([1.0])) == (0.0,)
    assert [c.data for c in functional.cosine_similarity([[1, 0], [1, 1]], [[0, 1], [2, 2]])] == pytest.approx([0, 1])


def test_the_contrastive_loss_is_its_formula():
    rng = random.Random(0)
    queries, keys = draw(rng, 3, 4), draw(rng, 5, 4)
    similar = [[functional.cosine_similarity(q, k).data / 0.2 for k in keys] for q in queries]
    expected = [math.log(sum(map(math.exp, row))) - row[i] for i, row in enumerate(similar)]
    losses = functional.info_nce(queries, keys, 0.2, reduction="none")
    assert [loss.data for loss in losses] == pytest.approx(expected, rel=1e-12)
    assert functional.info_nce(queries, keys, 0.2).data == pytest.approx(sum(expected) / 3, rel=1e-12)
    assert gradcheck(lambda q, k: functional.info_nce(q, k, 0.5), [queries, keys]).ok


ONES = [[[1.0] * 4] * 4]


@pytest.mark.parametrize(
    ("action", "error", "message"),
    [
        (
            lambda: nn.Conv2d(1, 2, 3)([[1.0] * 4] * 4),
            ValueError,
            r"takes an image \(1, height, width\).* not shape \(4, 4\)",
        ),
        (lambda: nn.Conv2d(3, 2, 3)(ONES), ValueError, r"takes an image \(3, .* not shape \(1, 4, 4\)"),
        (lambda: nn.Conv2d(1, 2, 3)([[[1.0, 2.0], [1.0]]]), ValueError, "not lists that differ in shape"),
        (lambda: nn.Conv2d(1, 2, 5)(ONES), ValueError, r"kernel of size \(5, 5\) .* size \(4, 4\).*: take a smaller"),
        (lambda: nn.Conv2d(1, 2, 3)(2.0), ValueError, "or a batch of them, channels first, not float 2.0"),
        (lambda: nn.Conv2d(1, 2, 3)("image"), ValueError, "or a batch of them, channels first, not str 'image'"),
        (lambda: nn.Conv2d(1, 2, 2)([[["a", 1.0], [1.0, 1.0]]]), TypeError, "not str 'a'"),
        (lambda: nn.Conv1d(1, 2, 3)(ONES), ValueError, r"takes a signal \(1, length\), .* not shape \(1, 4, 4\)"),
        (lambda: nn.Conv2d(1, 2, (3,)), ValueError, r"kernel_size must be one number, or 2, not \(3,\)"),
        (lambda: nn.Conv2d(1, 2, 0), ValueError, "kernel_size must be a whole number, at least 1, not 0"),
        (lambda: nn.Conv2d(1, 2, 3, stride=1.5), ValueError, "stride must be a whole number, at least 1, not 1.5"),
        (lambda: nn.Conv2d(1, 2, 3, padding="full"), ValueError, "'valid' or 'same', not 'full'"),
        (lambda: nn.Conv2d(1, 2, 3, padding=-1), ValueError, "padding must be a whole number, at least 0, not -1"),
        (lambda: nn.Conv2d(1, 2, 3, 2, "same"), ValueError, "keeps the size of the map, which a stride does not"),
        (
            lambda: nn.Conv2d(3, 2, 3, groups=2),
            ValueError,
            "groups must divide in_channels .* 2 does not divide 3 and 2",
        ),
        (lambda: nn.Conv2d(1, 2, 3, padding_mode="reflect"), TypeError, "padding_mode"),
        (lambda: nn.Conv2d(1, 2, 3, init="hee"), ValueError, "no initialisation 'hee'"),
        (lambda: functional.conv2d(ONES, [[[[1.0]]]], bias=[1.0, 2.0]), ValueError, r"bias \(1,\), not shape \(2,\)"),
        (lambda: functional.conv2d(ONES, [[1.0]]), ValueError, r"takes filters \(out, .*\), not shape \(1, 1\)"),
        (lambda: nn.MaxPool2d(5)(ONES), ValueError, "does not fit into a map"),
        (lambda: nn.MaxPool2d(2, padding=2)(ONES), ValueError, r"at most half of kernel_size \(2, 2\), not \(2, 2\)"),
        (lambda: nn.MaxPool2d(2, ceil_mode=True), TypeError, "ceil_mode"),
        (lambda: nn.AvgPool2d(2)([1.0, 2.0]), ValueError, r"takes an image .* not shape \(2,\)"),
        (lambda: nn.AvgPool2d(2, count_include_pad=2), TypeError, "count_include_pad is True or False"),
        (lambda: nn.Flatten(5)(ONES), ValueError, "dimensions 5 to 3, not shape"),
        (lambda: nn.Flatten()([[1.0, 2.0], [1.0]]), ValueError, "lists of one shape, not"),
        (lambda: nn.Flatten(1.5), TypeError, "float"),
        (lambda: nn.GroupNorm(2, 3), ValueError, "num_groups must divide num_channels, but 2 does not divide 3"),
        (lambda: nn.GroupNorm(2, 4)(ONES), ValueError, "samples of 4 numbers, not of 1"),
        (lambda: nn.GroupNorm(1, 1)([[[1.0, 2.0], [1.0]]]), ValueError, "not shape"),
        (
            lambda: nn.BatchNorm2d(1)([ONES, [[[1.0] * 4] * 3]]),
            ValueError,
            r"takes a batch of images \(1, height, width\)",
        ),
        (lambda: nn.BatchNorm2d(2)([ONES]), ValueError, "samples of 2 numbers, not of 1"),
        (lambda: nn.BatchNorm1d(1)([[1.0]]), ValueError, "a batch of two samples at least"),
        (lambda: nn.BatchNorm1d(4)([ONES]), ValueError, "BatchNorm1d"),
        (lambda: nn.LSTM(2, 3)([[1.0]]), ValueError, r"takes a sequence \(length, 2\), .* not shape \(1, 1\)"),
        (lambda: nn.LSTM(2, 3)([]), ValueError, r"takes a sequence \(length, 2\), .* not shape \(0,\)"),
        (lambda: nn.LSTM(2, 3)([[1.0, 2.0], [1.0]]), ValueError, "not lists that differ in shape"),
        (lambda: nn.LSTM(2, 3)([[1.0, 2.0]], [[0.0] * 3]), ValueError, r"is a pair \(h, c\), not list"),
        (lambda: nn.GRU(2, 3)([[1.0, 2.0]], [0.0] * 3), ValueError, r"has the shape \(1, 3\), not shape \(3,\)"),
        (lambda: nn.LSTM(2, 3, proj_size=2), TypeError, "proj_size"),
        (lambda: nn.RNN(2, 3, nonlinearity="sigmoid"), ValueError, "nonlinearity is 'tanh' or 'relu', not 'sigmoid'"),
        (lambda: nn.RNN(2, 0), ValueError, "hidden_size must be a whole number, at least 1, not 0"),
        (lambda: nn.GRU(2, 3, bidirectional="yes"), TypeError, "bidirectional is True or False"),
        (lambda: nn.GRUCell(2, 3)([1.0]), ValueError, r"takes inputs \(2,\), or a batch of them, not shape \(1,\)"),
        (
            lambda: nn.Embedding(3, 2)(3),
            ValueError,
            "an index of Embedding is the index of one of 3 embeddings, 0 to 2, not 3",
        ),
        (lambda: nn.Embedding(3, 2)([-1]), ValueError, "0 to 2, not -1"),
        (lambda: nn.Embedding(3, 2)([1.0]), TypeError, "not float 1.0"),
        (lambda: nn.Embedding(3, 2, padding_idx=0), TypeError, "padding_idx"),
        (lambda: nn.MultiheadAttention(4, 3), ValueError, "num_heads must divide embed_dim, but 3 does not divide 4"),
        (lambda: nn.MultiheadAttention(4, 2, kdim=3), TypeError, "kdim"),
        (lambda: attend([[1.0] * 3]), ValueError, r"takes vectors \(length, 4\), .* not shape \(1, 3\)"),
        (lambda: attend([[1.0] * 4] * 2, [[True] * 2] * 2), ValueError, "query 0 sees no key"),
        (
            lambda: attend([[1.0] * 4] * 2, [[True] * 3] * 2),
            ValueError,
            r"attn_mask has the shape \(2, 2\), not shape \(2, 3\)",
        ),
        (lambda: attend([[1.0] * 4] * 2, [["x"] * 2] * 2), TypeError, "not str 'x'"),
        (
            lambda: functional.attention([[1.0] * 2], [[1.0] * 3], [[1.0]]),
            ValueError,
            r"queries \(L, E\), .* not the shapes \(1, 2\), \(1, 3\) and \(1, 1\)",
        ),
        (lambda: functional.attention([1.0], [1.0], [1.0]), ValueError, r"not the shapes \(1,\), \(1,\) and \(1,\)"),
        (lambda: functional.attention([[1.0]], [[1.0]], [[1.0]], dropout_p=2), ValueError, "between 0 and 1, not 2"),
        (lambda: functional.cosine_similarity([1.0, 2.0], [1.0]), ValueError, r"not \(2,\) and \(1,\)"),
        (lambda: functional.cosine_similarity([1.0], [1.0], eps=0), ValueError, "eps must be above 0, not 0"),
        (
            lambda: functional.info_nce([[1.0]], [[1.0]], temperature=0.0),
            ValueError,
            "temperature must be above 0, not 0.0",
        ),
        (
            lambda: functional.info_nce([[1.0], [2.0]], [[1.0]]),
            ValueError,
            r"a key for each query, .* \(2, 1\) and \(1, 1\)",
        ),
        (lambda: functional.gumbel_softmax([1.0], tau=0), ValueError, "tau must be above 0, not 0"),
        (lambda: functional.gumbel_softmax([]), ValueError, "of no values is not defined"),
        (lambda: nn.GELU("erf"), ValueError, "approximate is 'none' or 'tanh', not 'erf'"),
        (lambda: nn.MSELoss("avg")([1.0], [1.0]), ValueError, "a reduction is .* not 'avg'"),
        (lambda: nn.CrossEntropyLoss(weight=[1.0]), TypeError, "weight"),
        (lambda: nn.ModuleList([nn.ReLU(), 3]), TypeError, "ModuleList is made of modules, .* not of int 3"),
        (lambda: nn.ModuleList()([1.0]), NotImplementedError, "ModuleList has no forward"),
    ],
)
def test_what_does_not_fit_is_told(action, error, message):
    with pytest.raises(error, match=message):
        action()


def attend(x, mask=None):
    return nn.MultiheadAttention(4, 2)(x, x, x, attn_mask=mask)
