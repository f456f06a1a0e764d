"""The losses: their formulas, their derivatives, their reductions, and their errors."""

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from micrograd import Value, functional, grad
from micrograd.testing import gradcheck, gradgradcheck

v = Value(2.0, label="v")
nan = math.nan
ELEMENTWISE = {  # a loss: predictions, targets, and its formula
    "mse_loss": ([0.5, -1.0, 3.0], [1.0, 2.0, 3.5], lambda p, t: (p - t) ** 2),
    "l1_loss": ([0.5, -1.0, 3.0], [1.0, 2.0, 3.5], lambda p, t: abs(p - t)),
    "huber_loss": (
        [0.5, -1.0, 3.0],
        [1.0, 2.0, 3.5],
        lambda p, t: (p - t) ** 2 / 2 if abs(p - t) < 1 else abs(p - t) - 0.5,
    ),
    "hinge_loss": ([0.5, -1.0, 3.0], [1.0, -1.0, -1.0], lambda s, t: max(0.0, 1 - s * t)),
    "binary_cross_entropy": (
        [0.1, 0.5, 0.9],
        [1.0, 0.0, 0.3],
        lambda p, t: -t * math.log(p) - (1 - t) * math.log(1 - p),
    ),
    "binary_cross_entropy_with_logits": (
        [0.5, -1.0, 3.0],
        [1.0, 0.0, 0.3],
        lambda z, t: t * math.log1p(math.exp(-z)) + (1 - t) * math.log1p(math.exp(z)),
    ),
    "kl_div": ([-0.5, -1.0, -3.0], [0.5, 0.0, 0.3], lambda p, t: t * (math.log(t) - p) if t else 0.0),
}
SMOOTH = [name for name in ELEMENTWISE if name not in ("l1_loss", "hinge_loss", "huber_loss")]


def data(values):
    return [data(item) for item in values] if isinstance(values, list) else values.data


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_losses_are_what_their_formulas_say(name):
    predictions, targets, formula = ELEMENTWISE[name]
    loss = getattr(functional, name)
    terms = [formula(p, t) for p, t in zip(predictions, targets, strict=True)]
    for p in (predictions, tuple(predictions), np.array(predictions), [Value(x) for x in predictions]):
        assert data(loss(p, targets, reduction="none")) == pytest.approx(terms, rel=1e-14)
        assert loss(p, targets).data == pytest.approx(sum(terms) / 3, rel=1e-14)
        assert loss(p, targets, reduction="sum").data == pytest.approx(sum(terms), rel=1e-14)
    assert loss(predictions[0], targets[0], reduction="none").data == pytest.approx(terms[0], rel=1e-14)
    nested = [[predictions[:1]], [predictions[1:]]], [[targets[:1]], [targets[1:]]]
    assert data(loss(*nested, reduction="none")) == [
        [pytest.approx(terms[:1], rel=1e-14)],
        [pytest.approx(terms[1:], rel=1e-14)],
    ]
    assert loss(*nested).data == pytest.approx(sum(terms) / 3, rel=1e-14)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_derivatives_of_losses(name):
    predictions, targets, _ = ELEMENTWISE[name]
    assert gradcheck(lambda p: getattr(functional, name)(p, targets), [predictions]).ok
    if name in SMOOTH:
        assert gradgradcheck(lambda p: getattr(functional, name)(p, targets), [predictions]).ok


@pytest.mark.parametrize("name", SMOOTH)
def test_derivatives_by_the_targets(name):
    predictions, targets, _ = ELEMENTWISE[name]
    targets = [min(max(t, 0.1), 0.9) for t in targets]
    assert gradcheck(getattr(functional, name), [predictions, targets]).ok


def test_the_huber_loss_goes_from_a_parabola_to_its_tangent():
    def derivatives(x, delta):
        p = Value(x)
        loss = functional.huber_loss(p, 0.0, delta=delta)
        (slope,) = grad(loss, [p], create_graph=True)
        return loss.data, slope.data, grad(slope, [p])[0]

    assert derivatives(1.0, 2.0) == (0.5, 1.0, 1.0)
    assert derivatives(2.0, 2.0) == (2.0, 2.0, 0.0)
    assert derivatives(-5.0, 2.0) == (8.0, -2.0, 0.0)
    assert derivatives(-5.0, math.inf) == (12.5, -5.0, 1.0)


@pytest.mark.parametrize(
    ("p", "t", "loss", "slope"), [(0, 1, 100, -1e12), (1, 0, 100, 1e12), (0, 0, 0, 0), (1, 1, 0, 0)]
)
def test_binary_cross_entropy_of_certainty(p, t, loss, slope):
    p = Value(p)
    out = functional.binary_cross_entropy(p, t)
    assert out.data == loss
    assert grad(out, [p])[0] == pytest.approx(slope, rel=1e-8)  # PyTorch's bound is a float32


@pytest.mark.parametrize("p", [1e-12, 2e-12, 1e-13, 1e-50, 1e-300, 1 - 1e-13])
@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
def test_binary_cross_entropy_near_certainty(p, t):
    expected = -t * max(math.log(p), -100) - (1 - t) * max(math.log(1 - p), -100)
    assert functional.binary_cross_entropy(p, t).data == pytest.approx(expected, rel=1e-12, abs=1e-15)


@given(st.floats(-700, 700), st.floats(0, 1))
def test_cross_entropy_with_logits_is_that_of_their_sigmoid(z, t):
    z = Value(z)
    loss = functional.binary_cross_entropy_with_logits(z, t)
    assert loss.data >= 0
    yes, no = (math.log1p(math.exp(-abs(z.data))) + max(sign * z.data, 0.0) for sign in (-1, 1))
    exact = t * yes + (1 - t) * no
    assert loss.data == pytest.approx(exact, rel=1e-12, abs=1e-300)
    assert grad(loss, [z])[0] == pytest.approx(z.sigmoid().data - t, abs=1e-15)


@pytest.mark.parametrize(("t", "loss"), [(1.0, 2000.0), (0.0, 0.0)])
def test_losses_of_logits_far_out(t, loss):
    z = Value(-2000.0)
    out = functional.binary_cross_entropy_with_logits(z, t)
    assert (out.data, grad(out, [z])) == (loss, (-t,))


def test_a_batch_of_logits_is_the_mean_of_its_samples():
    rng = random.Random(0)
    logits = [[Value(rng.gauss(0, 1)) for _ in range(3)] for _ in range(4)]
    targets = [0, 2, 1, 1]
    each = [functional.cross_entropy(x, t).data for x, t in zip(logits, targets, strict=True)]
    logs = [functional.log_softmax(x) for x in logits]
    for loss, inputs in ((functional.cross_entropy, logits), (functional.nll_loss, logs)):
        for batch in (targets, tuple(targets), np.array(targets)):
            assert data(loss(inputs, batch, reduction="none")) == pytest.approx(each, rel=1e-14)
            assert loss(inputs, batch).data == pytest.approx(sum(each) / 4, rel=1e-14)
            assert loss(inputs, batch, reduction="sum").data == pytest.approx(sum(each), rel=1e-14)
        assert loss(inputs[0], np.int64(0), reduction="none").data == pytest.approx(each[0], rel=1e-14)
    assert functional.cross_entropy(np.zeros((2, 4)), [0, 1]).data == pytest.approx(math.log(4))
    assert gradcheck(lambda x: functional.cross_entropy(x, [0, 2]), [[[0.5, 1.0, -1.0], [0.0, 2.0, 0.3]]]).ok
    assert gradgradcheck(lambda x: functional.cross_entropy(x, [0, 1]), [[[0.5, 1.0], [0.0, 2.0]]]).ok


def test_the_divergence_of_distributions():
    p, t = [0.2, 0.3, 0.5], [0.1, 0.0, 0.9]
    divergence = sum(ti * math.log(ti / pi) for ti, pi in zip(t, p, strict=True) if ti)
    logs = [Value(pi).log() for pi in p]
    kl_div = functional.kl_div
    assert kl_div(logs, t, reduction="sum").data == pytest.approx(divergence, rel=1e-14)
    assert kl_div([logs, logs], [t, t], reduction="batchmean").data == pytest.approx(divergence, rel=1e-14)
    assert kl_div([logs, logs], [t, t]).data == pytest.approx(divergence / 3, rel=1e-14)
    same = kl_div(logs, [math.log(pi) for pi in p], reduction="none", log_target=True)
    assert data(same) == pytest.approx([0.0] * 3, abs=1e-15)
    assert gradcheck(lambda a, b: kl_div(a, b, log_target=True), [[-1.0, -0.5], [-0.3, -2.0]]).ok
    logit = Value(0.3)
    (slope,) = grad(kl_div(functional.log_softmax([logit, 0.0]), [0.25, 0.75], reduction="sum"), [logit])
    assert slope == pytest.approx(logit.sigmoid().data - 0.25, rel=1e-14)  # softmax minus target


def test_one_hot_vectors():
    assert functional.one_hot(1, 3) == [0.0, 1.0, 0.0]
    assert functional.one_hot(np.array([1, 0]), classes=np.int64(2)) == [[0.0, 1.0], [1.0, 0.0]]
    assert functional.one_hot([], 2) == []
    logits = [Value(0.3), Value(-1.0), Value(2.0)]
    by_hand = -functional.dot(functional.log_softmax(logits), functional.one_hot(2, 3))
    assert functional.cross_entropy(logits, 2).data == pytest.approx(by_hand.data, rel=1e-14)


def test_the_sum_of_no_losses_is_0_and_their_mean_is_not_defined():
    for name in ELEMENTWISE:
        loss = getattr(functional, name)
        assert loss([], [], reduction="sum").data == 0.0
        assert loss([], [], reduction="none") == []
        with pytest.raises(ValueError, match="no values"):
            loss([], [])


ERRORS = [
    *[
        row
        for name in ELEMENTWISE
        for loss in [getattr(functional, name)]
        for row in (
            (lambda loss=loss: loss([1, 1], [1]), ValueError, "2 predictions and 1 targets"),
            (lambda loss=loss: loss([[1], [1]], [1, [1, 1]]), ValueError, "1 predictions and 2 targets"),
            (lambda loss=loss: loss(1, 1, reduction="avg"), ValueError, "'mean', 'sum', 'none'.*, not 'avg'"),
            (lambda loss=loss: loss(1, 1, reduction=None), ValueError, "not None"),
            (lambda loss=loss: loss(1, 1, reduction=["sum"]), ValueError, r"not \['sum'\]"),
            (lambda loss=loss: loss("a", 1), TypeError, "not str 'a'|str"),
            (lambda loss=loss: loss([v], ["a"]), TypeError, "not str 'a'|str"),
            (lambda loss=loss: loss(None, 1), TypeError, "not NoneType"),
        )
    ],
    (lambda: functional.huber_loss(1, 1, delta=0), ValueError, "delta must be above 0, not 0.0"),
    (lambda: functional.huber_loss(1, 1, delta=nan), ValueError, "delta must be above 0, not nan"),
    (lambda: functional.huber_loss(1, 1, delta="a"), TypeError, "not str 'a'"),
    (lambda: functional.hinge_loss([v], [0]), ValueError, r"hinge_loss\(\) is -1 or 1, not 0.0"),
    (lambda: functional.hinge_loss([v], [nan]), ValueError, "not nan"),
    (lambda: functional.binary_cross_entropy([v], [1]), ValueError, "a probability .* between 0 and 1, not 2.0"),
    (lambda: functional.binary_cross_entropy([-0.1], [1]), ValueError, "not -0.1"),
    (lambda: functional.binary_cross_entropy([nan], [1]), ValueError, "not nan"),
    (lambda: functional.binary_cross_entropy([0.5], [1.5]), ValueError, "a probability .* between 0 and 1, not 1.5"),
    (lambda: functional.binary_cross_entropy([0.5], [nan]), ValueError, "a probability .* not nan"),
    (lambda: functional.kl_div([v], [-0.5]), ValueError, r"log\(-0.5\)"),
    (lambda: functional.kl_div([v], [Value(0.0)]), ValueError, r"log\(0.0\)"),
    (lambda: functional.kl_div(v, 0.5, reduction="batchmean"), ValueError, "the mean over samples"),
    (lambda: functional.kl_div([], [], reduction="batchmean"), ValueError, "the mean over samples"),
    (lambda: functional.kl_div([v], [0.5], reduction="a"), ValueError, "'none', 'batchmean', not 'a'"),
    (lambda: functional.mse_loss([v], [1], reduction="batchmean"), ValueError, "not 'batchmean'"),
    *[
        row
        for loss in (functional.cross_entropy, functional.nll_loss)
        for row in (
            (lambda loss=loss: loss([v, v], 2), ValueError, "0 to 1, not 2"),
            (lambda loss=loss: loss([v, v], 1.0), TypeError, "the index of one of the .*, not float 1.0"),
            (lambda loss=loss: loss([], 0), ValueError, "no values"),
            (lambda loss=loss: loss([v, v], 0, reduction="avg"), ValueError, "not 'avg'"),
            (lambda loss=loss: loss([[v, v]], [0, 1]), ValueError, "1 samples and 2"),
            (lambda loss=loss: loss([[v, v]], [2]), ValueError, "0 to 1, not 2"),
            (lambda loss=loss: loss([[v, v]], [0.5]), TypeError, "not float 0.5"),
            (lambda loss=loss: loss([v, v], [0, 1]), TypeError, "takes a sequence, not Value"),
            (lambda loss=loss: loss([[v, v]], 0), TypeError, "not list"),
            (lambda loss=loss: loss([[]], [0]), ValueError, "no values"),
            (lambda loss=loss: loss([], []), ValueError, "no values"),
            (lambda loss=loss: loss([[v, v]], "0"), TypeError, "not str '0'"),
        )
    ],
    (lambda: functional.one_hot(3, 3), ValueError, "one of 3 classes, 0 to 2, not 3"),
    (lambda: functional.one_hot(-1, 3), ValueError, "not -1"),
    (lambda: functional.one_hot(0.0, 3), TypeError, "not float 0.0"),
    (lambda: functional.one_hot([0, "a"], 3), TypeError, "not str 'a'"),
    (lambda: functional.one_hot(0, 0), ValueError, "classes must be a whole number, at least 1, not 0"),
    (lambda: functional.one_hot(0, 2.0), ValueError, "not 2.0"),
]


@pytest.mark.parametrize(("action", "error", "message"), ERRORS)
def test_bad_input(action, error, message):
    with pytest.raises(error, match=message):
        action()
    assert (v.data, v.grad) == (2.0, 0.0)


trees = st.recursive(st.floats(-10, 10), lambda inner: st.lists(inner, min_size=1, max_size=3), max_leaves=8)


def flat(tree):
    return [leaf for item in tree for leaf in flat(item)] if isinstance(tree, list) else [tree]


def map_leaves(function, tree):
    return [map_leaves(function, item) for item in tree] if isinstance(tree, list) else function(tree)


@given(trees, st.floats(-10, 10))
def test_add_adds_number_by_number(tree, shift):
    x = map_leaves(Value, tree)
    total = functional.add(x, map_leaves(lambda number: number * shift, tree))
    assert map_leaves(lambda out: out.data, total) == map_leaves(lambda number: number + number * shift, tree)
    assert grad(functional.sum(flat(total)), flat(x)) == (1.0,) * len(flat(x))


def test_plus_between_lists_joins_them_and_add_does_not():
    x, y = [Value(1.0), Value(2.0)], [Value(3.0), Value(4.0)]
    assert x + y == [*x, *y]
    assert [total.data for total in functional.add(x, y)] == [4.0, 6.0]
    assert [total.data for total in functional.add(np.array([1.0, 2.0]), (3, 4))] == [4.0, 6.0]
