"""Update rules against their formulas, on floats and on arrays; schedules, clipping, penalties and states."""

import copy
import inspect
import json
import math
import pickle
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from micrograd import Value, functional, optim
from micrograd.optim.settings import number

MAKERS = {
    "descent": lambda p: optim.SGD(p, lr=0.05),
    "momentum": lambda p: optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.01),
    "dampening": lambda p: optim.SGD(p, lr=0.05, momentum=0.9, dampening=0.5),
    "averaged": lambda p: optim.SGD(p, lr=0.05, momentum=0.9, averaged=True),
    "nesterov": lambda p: optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "adagrad": lambda p: optim.Adagrad(p, lr=1.0),
    "adagrad, as in the documents": lambda p: optim.Adagrad(p, lr=1.0, eps=1e-6, eps_inside_root=True),
    "adagrad with all": lambda p: optim.Adagrad(p, 1.0, lr_decay=1e-3, weight_decay=0.01, initial_accumulator_value=2),
    "rmsprop": lambda p: optim.RMSprop(p, lr=0.02),
    "rmsprop with all": lambda p: optim.RMSprop(p, 0.005, 0.4, weight_decay=0.01, momentum=0.5, centered=True, eps=0.1),
    "adadelta": lambda p: optim.Adadelta(p, eps=1e-2),
    "adadelta with decay": lambda p: optim.Adadelta(p, lr=0.1, rho=0.8, eps=0.1, weight_decay=0.01),
    "adam": lambda p: optim.Adam(p, lr=0.05),
    "adam with decay": lambda p: optim.Adam(p, lr=0.05, betas=(0.8, 0.99), eps=1e-6, weight_decay=0.01),
    "adam without correction": lambda p: optim.Adam(p, lr=0.02, betas=(0.9, 0.99), bias_correction=False),
    "amsgrad": lambda p: optim.Adam(p, lr=0.2, betas=(0.4, 0.9), amsgrad=True),
    "adamw": lambda p: optim.AdamW(p, lr=0.05),
    "nadam": lambda p: optim.NAdam(p, lr=0.05, weight_decay=0.01),
    "nadam, decoupled": lambda p: optim.NAdam(p, 0.05, weight_decay=0.01, decoupled_weight_decay=True),
    "adabelief": lambda p: optim.AdaBelief(p, lr=0.05, weight_decay=0.01),
    "adabelief with a penalty": lambda p: optim.AdaBelief(p, 0.05, weight_decay=0.01, decoupled_weight_decay=False),
    "lookahead": lambda p: optim.Lookahead(optim.SGD(p, lr=0.05, momentum=0.5), k=3, alpha=0.8),
    "lookahead, nadam": lambda p: optim.Lookahead(optim.NAdam(p, lr=0.1)),
    "lookahead twice": lambda p: optim.Lookahead(optim.Lookahead(optim.Adam(p, lr=0.2), 2), 3),
}
every_optimizer = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


def bowl(x, y):
    return (x - 1) ** 2 + 10 * (y + 2) ** 2 + 0.3 * x * y


def descend(optimizer, steps):
    for _ in range(steps):
        optimizer.zero_grad()
        bowl(*optimizer.parameters).backward()
        optimizer.step()
    return [v.data for v in optimizer.parameters]


@every_optimizer
def test_the_minimum_is_found(make):
    x, y = Value(4.0), Value(3.0)
    optimizer = make([x, y])
    first = bowl(x, y).data
    descend(optimizer, 400)
    assert bowl(x, y).data < first / 50
    assert type(x.data) is float


@every_optimizer
def test_an_array_is_updated_as_its_numbers_are(make):
    rng = random.Random(2)
    values = [Value(x) for x in (1.5, -0.3, 0.0, 20.0, 1e-9)]
    one_by_one, at_once = make(values), make(values)
    array, state = np.array([v.data for v in values]), tuple(np.array(at_once.state).T)
    for step in range(200):
        for i, v in enumerate(values):
            v.grad = math.sin(step + i) * (i + 0.1) + rng.gauss(0, 10 ** (i - 3))
        before = [array.copy(), *(s.copy() for s in state)]
        untouched = [array, *state]
        array, state = at_once.update(array, np.array([v.grad for v in values]), state, step + 1)
        assert all(np.array_equal(a, b) for a, b in zip(untouched, before, strict=True))  # the update is pure
        one_by_one.step()
        assert [v.data for v in values] == array.tolist()
        assert [list(s) for s in one_by_one.state] == [
            list(s) for s in zip(*map(np.ndarray.tolist, state), strict=True)
        ]
        assert {type(x) for s in one_by_one.state for x in s} <= {float}


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


def follow(optimizer, gradients):
    """Returns a parameter after each of the gradients."""
    (x,) = optimizer.parameters
    path = []
    for x.grad in gradients:
        optimizer.step()
        path.append(x.data)
    return path


GRADIENTS = [math.cos(t) * (1 + t % 5) for t in range(1, 30)]


def test_both_momentums_of_the_documents():
    beta, lr = 0.9, 0.1
    x, v, y, w = 1.0, 0.0, 1.0, 0.0
    summed, averaged = [], []
    for g in GRADIENTS:
        v = beta * v - lr * g
        x += v
        summed.append(x)
        w = beta * w + (1 - beta) * g
        y -= lr * w
        averaged.append(y)
    assert follow(optim.SGD([Value(1.0)], lr, beta), GRADIENTS) == pytest.approx(summed, rel=1e-13)
    assert follow(optim.SGD([Value(1.0)], lr, beta, averaged=True), GRADIENTS) == pytest.approx(averaged, rel=1e-13)
    # Dampening equal to the momentum gives the same, except that PyTorch takes the first gradient whole.
    dampened = follow(optim.SGD([Value(1.0)], lr, beta, dampening=beta), [0.0, *GRADIENTS])[1:]
    assert dampened == pytest.approx(averaged, rel=1e-13)


def test_nesterov_by_hand():
    x, velocity, path = 1.0, 0.0, []
    for g in GRADIENTS:
        velocity = 0.9 * velocity + g
        x -= 0.1 * (g + 0.9 * velocity)
        path.append(x)
    assert follow(optim.SGD([Value(1.0)], 0.1, 0.9, nesterov=True), GRADIENTS) == pytest.approx(path, rel=1e-13)


def test_dampening_without_momentum_is_nothing():
    assert follow(optim.SGD([Value(1.0)], 0.1, dampening=0.5), GRADIENTS) == follow(
        optim.SGD([Value(1.0)], 0.1), GRADIENTS
    )


@pytest.mark.parametrize("inside", [False, True])
def test_adagrad_by_hand(inside):
    x, total, path = 1.0, 0.0, []
    for g in GRADIENTS:
        total += g * g
        x -= 0.1 * g / (math.sqrt(total + 0.01) if inside else math.sqrt(total) + 0.01)
        path.append(x)
    optimizer = optim.Adagrad([Value(1.0)], lr=0.1, eps=0.01, eps_inside_root=inside)
    assert follow(optimizer, GRADIENTS) == pytest.approx(path, rel=1e-13)


@pytest.mark.parametrize("corrected", [True, False])
def test_adam_by_hand(corrected):
    x, m, v, path = 1.0, 0.0, 0.0, []
    for t, g in enumerate(GRADIENTS, 1):
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        c1, c2 = (1 - 0.9**t, 1 - 0.999**t) if corrected else (1, 1)
        x -= 0.1 * (m / c1) / (math.sqrt(v / c2) + 1e-8)
        path.append(x)
    optimizer = optim.Adam([Value(1.0)], lr=0.1, bias_correction=corrected)
    assert follow(optimizer, GRADIENTS) == pytest.approx(path, rel=1e-12)


@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_rmsprop_by_hand(centered, momentum):
    x, v, m, b, path = 1.0, 0.0, 0.0, 0.0, []
    for g in GRADIENTS:
        v, m = 0.9 * v + 0.1 * g * g, 0.9 * m + 0.1 * g
        b = momentum * b + g / (math.sqrt(v - m * m if centered else v) + 0.01)
        x -= 0.1 * b
        path.append(x)
    optimizer = optim.RMSprop([Value(1.0)], 0.1, alpha=0.9, eps=0.01, momentum=momentum, centered=centered)
    assert follow(optimizer, GRADIENTS) == pytest.approx(path, rel=1e-11)


def test_adadelta_by_hand():
    x, v, u, path = 1.0, 0.0, 0.0, []
    for g in GRADIENTS:
        v = 0.9 * v + 0.1 * g * g
        d = math.sqrt(u + 0.01) / math.sqrt(v + 0.01) * g
        u = 0.9 * u + 0.1 * d * d
        x -= 0.5 * d
        path.append(x)
    assert follow(optim.Adadelta([Value(1.0)], 0.5, eps=0.01), GRADIENTS) == pytest.approx(path, rel=1e-12)


def test_nadam_by_hand():
    def mu(t):
        return 0.9 * (1 - 0.96 ** (t * 0.1) / 2)

    x, m, v, path = 1.0, 0.0, 0.0, []
    for t, g in enumerate(GRADIENTS, 1):
        m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g * g
        product = math.prod(mu(i) for i in range(1, t + 1))
        m_hat = mu(t + 1) * m / (1 - product * mu(t + 1)) + (1 - mu(t)) * g / (1 - product)
        x -= 0.1 * m_hat / (math.sqrt(v / (1 - 0.99**t)) + 0.01)
        path.append(x)
    optimizer = optim.NAdam([Value(1.0)], 0.1, betas=(0.9, 0.99), eps=0.01, momentum_decay=0.1)
    assert follow(optimizer, GRADIENTS) == pytest.approx(path, rel=1e-12)


class Paper:
    """AdaBelief and Lookahead transcribed from their papers, for a list of parameters."""

    @staticmethod
    def adabelief(theta, gradient, steps, alpha, beta1, beta2, eps, decay=0.0):
        m, s = [0.0] * len(theta), [0.0] * len(theta)
        for t in range(1, steps + 1):
            g = gradient(theta)
            m = [beta1 * mi + (1 - beta1) * gi for mi, gi in zip(m, g, strict=True)]
            s = [beta2 * si + (1 - beta2) * (gi - mi) ** 2 + eps for si, gi, mi in zip(s, g, m, strict=True)]
            m_hat = [mi / (1 - beta1**t) for mi in m]
            s_hat = [si / (1 - beta2**t) for si in s]
            theta = [x - alpha * decay * x for x in theta]
            theta = [x - alpha * mi / (math.sqrt(si) + eps) for x, mi, si in zip(theta, m_hat, s_hat, strict=True)]
            yield theta

    @staticmethod
    def lookahead(phi, gradient, outer, inner, alpha, lr):
        for _ in range(outer):
            theta = phi
            for i in range(inner):
                theta = [x - lr * g for x, g in zip(theta, gradient(theta), strict=True)]
                if i == inner - 1:
                    phi = [p + alpha * (x - p) for p, x in zip(phi, theta, strict=True)]
                    theta = phi
                yield theta


def slopes(point):
    x, y = map(Value, point)
    bowl(x, y).backward()
    return [x.grad, y.grad]


@pytest.mark.parametrize(
    ("betas", "eps", "decay"), [((0.9, 0.999), 1e-16, 0.0), ((0.8, 0.99), 1e-8, 0.1), ((0.3, 0.9), 1e-3, 0.0)]
)
def test_adabelief_is_the_papers(betas, eps, decay):
    values = [Value(4.0), Value(3.0)]
    optimizer = optim.AdaBelief(values, lr=0.01, betas=betas, eps=eps, weight_decay=decay)
    for expected in Paper.adabelief([4.0, 3.0], slopes, 200, 0.01, *betas, eps, decay):
        assert descend(optimizer, 1) == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize(("k", "alpha"), [(5, 0.5), (1, 0.8), (7, 1.0), (3, 0.0)])
def test_lookahead_is_the_papers(k, alpha):
    values = [Value(4.0), Value(3.0)]
    optimizer = optim.Lookahead(optim.SGD(values, lr=0.02), k, alpha)
    for expected in Paper.lookahead([4.0, 3.0], slopes, 200 // k, k, alpha, 0.02):
        assert descend(optimizer, 1) == pytest.approx(expected, rel=1e-12)


def test_lookahead_starts_from_the_parameters_of_the_first_step():
    x = Value(100.0)
    optimizer = optim.Lookahead(optim.SGD([x], lr=0.5), k=1, alpha=0.5)
    x.data = 1.0  # as if it had been loaded
    x.grad = 1.0
    optimizer.step()
    assert x.data == 0.75


def test_lookaheads_learning_rate_is_the_others():
    x = Value(1.0)
    inner = optim.SGD([x], lr=0.5)
    optimizer = optim.Lookahead(inner)
    optim.ExponentialLR(optimizer, 0.5).step()
    assert inner.lr == optimizer.lr == 0.25


def test_the_largest_square_is_kept():
    optimizer = optim.Adam([Value(1.0)], betas=(0.5, 0.5), amsgrad=True)
    follow(optimizer, [4.0, 0.0, 0.0, 1.0])
    ((_, v, largest),) = optimizer.state
    assert (v, largest) == (1.5, 8.0)


def test_a_variance_that_rounds_below_0_is_0():
    state = (0.09 * (1 - 1e-15), 0.3, 0.0)
    x, _ = optim.RMSprop([Value(1.0)], alpha=1.0, centered=True).update(1.0, 0.3, state, 5)
    xs, _ = optim.RMSprop([Value(1.0)], alpha=1.0, centered=True).update(np.ones(2), 0.3, state, 5)
    assert xs.tolist() == [x, x]
    assert math.isfinite(x)


def test_the_learning_rate_may_change():
    x = Value(1.0)
    optimizer = optim.SGD([x], lr=0.1)
    x.grad = 1.0
    optimizer.lr = 0.5
    optimizer.step()
    assert x.data == 0.5


@pytest.mark.parametrize("lr", [math.nan, -0.1, math.inf])
@pytest.mark.parametrize("name", ["adam", "lookahead"])
def test_a_setting_that_became_wrong_is_found_before_anything_is_updated(name, lr):
    x = Value(1.0)
    optimizer = MAKERS[name]([x])
    x.grad = 1.0
    optimizer.lr = lr
    with pytest.raises(ValueError, match="lr must be at least 0"):
        optimizer.step()
    assert (x.data, optimizer.steps) == (1.0, 0)


@every_optimizer
@pytest.mark.parametrize("gradient", [math.nan, math.inf, -math.inf])
def test_a_gradient_that_is_not_finite_changes_nothing(make, gradient):
    values = [Value(4.0), Value(3.0, label="y")]
    optimizer = make(values)
    descend(optimizer, 4)
    before = copy.deepcopy(optimizer.state_dict()), [v.data for v in values]
    values[1].grad = gradient
    with pytest.raises(ValueError, match=rf"parameter 1 \(y\) is {gradient}"):
        optimizer.step()
    assert before == (optimizer.state_dict(), [v.data for v in values])


def test_an_optimizer_without_a_rule():
    optimizer = optim.Optimizer([Value(1.0)])
    with pytest.raises(NotImplementedError, match="no update rule"):
        optimizer.step()


def test_an_optimizer_shows_its_settings():
    assert repr(optim.Adadelta([Value(1.0)])) == "Adadelta(lr=1.0, rho=0.9, eps=1e-06, weight_decay=0.0)"


def test_gradients_are_cleared():
    values = [Value(1.0), Value(2.0)]
    functional.sum([v * v for v in values]).backward()
    optim.SGD(values).zero_grad()
    assert [v.grad for v in values] == [0.0, 0.0]


# settings

v = Value(2.0)
sgd = optim.SGD([v], lr=0.1)
WRONG = [
    *[(optimizer, [[v]], "lr", [-1, math.nan, math.inf], "at least 0 and below inf")
      for optimizer in (optim.SGD, optim.Adagrad, optim.RMSprop, optim.Adadelta, optim.Adam, optim.AdamW, optim.NAdam,
                        optim.AdaBelief)],
    *[(optimizer, [[v]], "weight_decay", [-1, math.nan], "at least 0")
      for optimizer in (optim.SGD, optim.Adagrad, optim.RMSprop, optim.Adadelta, optim.Adam, optim.AdamW, optim.NAdam,
                        optim.AdaBelief)],
    *[(optimizer, [[v]], "eps", [-1e-9, math.nan, math.inf], "at least 0")
      for optimizer in (optim.Adagrad, optim.RMSprop, optim.Adadelta, optim.Adam, optim.AdamW, optim.NAdam,
                        optim.AdaBelief)],
    *[(optimizer, [[v]], "betas", [(1, 0), (0, 1), (-0.1, 0), (0.9, math.nan)], "at least 0 and below 1")
      for optimizer in (optim.Adam, optim.AdamW, optim.NAdam, optim.AdaBelief)],
    (optim.Adam, [[v]], "betas", [(0.9,), (0.1, 0.2, 0.3)], "two numbers"),
    (optim.SGD, [[v]], "momentum", [-0.1, math.nan], "at least 0"),
    (optim.SGD, [[v]], "dampening", [-0.1, math.inf], "at least 0"),
    (optim.Adagrad, [[v]], "lr_decay", [-1], "at least 0"),
    (optim.Adagrad, [[v]], "initial_accumulator_value", [-1, math.nan], "at least 0"),
    (optim.RMSprop, [[v]], "alpha", [-0.1, 1.1], "at least 0 and at most 1"),
    (optim.RMSprop, [[v]], "momentum", [-0.1], "at least 0"),
    (optim.Adadelta, [[v]], "rho", [-0.1, 1.1, math.nan], "at least 0 and at most 1"),
    (optim.NAdam, [[v]], "momentum_decay", [-1], "at least 0"),
    (optim.Lookahead, [sgd], "k", [0, -1], "at least 1"),
    (optim.Lookahead, [sgd], "alpha", [-0.1, 1.1, math.nan], "at least 0 and at most 1"),
    (optim.StepLR, [sgd], "step_size", [0], "at least 1"),
    (optim.StepLR, [sgd, 3], "gamma", [-1, math.nan], "at least 0"),
    (optim.MultiStepLR, [sgd], "milestones", [[0]], "at least 1"),
    (optim.MultiStepLR, [sgd], "milestones", [[2, 1], [2, 2]], "must increase"),
    (optim.ExponentialLR, [sgd], "gamma", [-1, math.inf], "at least 0"),
    (optim.LinearLR, [sgd], "start_factor", [0, 1.1], "above 0 and at most 1"),
    (optim.LinearLR, [sgd], "end_factor", [-0.1, 1.1], "at least 0 and at most 1"),
    (optim.LinearLR, [sgd], "total_iters", [0], "at least 1"),
    (optim.CosineAnnealingLR, [sgd], "T_max", [0], "at least 1"),
    (optim.CosineAnnealingLR, [sgd, 5], "eta_min", [-1], "at least 0"),
    (optim.ReduceLROnPlateau, [sgd], "mode", ["less"], "'min' or 'max', not 'less'"),
    (optim.ReduceLROnPlateau, [sgd], "threshold_mode", ["part"], "'rel' or 'abs', not 'part'"),
    (optim.ReduceLROnPlateau, [sgd], "factor", [1, -0.1], "at least 0 and below 1"),
    (optim.ReduceLROnPlateau, [sgd], "patience", [-1], "at least 0"),
    (optim.ReduceLROnPlateau, [sgd], "cooldown", [-1], "at least 0"),
    (optim.ReduceLROnPlateau, [sgd], "threshold", [-1, math.nan], "at least 0"),
    (optim.ReduceLROnPlateau, [sgd], "min_lr", [-1], "at least 0"),
    (optim.clip_grad_norm_, [[v]], "max_norm", [-1, math.nan], "at least 0"),
    (optim.clip_grad_norm_, [[v], 1.0], "norm_type", [0, -1, math.nan], "above 0"),
    (optim.clip_grad_value_, [[v]], "clip_value", [-1, math.nan], "at least 0"),
    (optim.l1_penalty, [[v]], "factor", [-1, math.nan], "at least 0"),
    (optim.l2_penalty, [[v]], "factor", [-1, math.inf], "at least 0"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("make", "arguments", "setting", "value", "message"),
    [(make, args, name, value, message) for make, args, name, values, message in WRONG for value in values],
)
def test_a_wrong_setting_is_an_error(make, arguments, setting, value, message):
    with pytest.raises(ValueError, match=f"{setting}.* {message}"):
        make(*arguments, **{setting: value})
    assert (sgd.lr, v.data, v.grad) == (0.1, 2.0, 0.0)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: optim.SGD([v], momentum="0.9"), TypeError, "momentum is a number, not str '0.9'"),
        (lambda: optim.SGD([v], lr=v), TypeError, "lr is a number, not Value"),
        (lambda: optim.SGD([v], nesterov=1), TypeError, "nesterov is True or False, not int 1"),
        (lambda: optim.SGD([v], momentum=0.9, nesterov=True, averaged=True), ValueError, "no averaging"),
        (lambda: optim.SGD([v], momentum=0.9, dampening=0.9, averaged=True), ValueError, "give no other"),
        (lambda: optim.Adam([v], betas=0.9), TypeError, "betas takes a sequence"),
        (lambda: optim.Lookahead([v]), TypeError, "around an optimizer, not list"),
        (lambda: optim.Lookahead(sgd, k=2.5), TypeError, "k is a whole number, not float 2.5"),
        (lambda: optim.StepLR([v], 3), TypeError, "for an optimizer, not list"),
        (lambda: optim.MultiStepLR(sgd, 3), TypeError, "milestones takes a sequence"),
        (lambda: optim.MultiStepLR(sgd, [1.5]), TypeError, r"milestones\[0\] is a whole number"),
        (lambda: optim.ReduceLROnPlateau(sgd).step("1"), TypeError, "not str '1'"),
        (lambda: optim.clip_grad_norm_([1.0], 1), TypeError, r"clip_grad_norm_\(\) takes Values, not float 1.0"),
        (lambda: optim.clip_grad_value_(None, 1), TypeError, "takes a sequence"),
        (lambda: optim.l2_penalty([1.0], 1), TypeError, "takes Values"),
        (lambda: optim.LRScheduler(sgd).step(), NotImplementedError, "does not say"),
        (lambda: optim.LRScheduler(sgd).formula(0), NotImplementedError, "no formula"),
    ],
)
def test_what_else_is_an_error(make, error, message):
    with pytest.raises(error, match=message):
        make()
    assert (sgd.lr, v.data) == (0.1, 2.0)


class Declared(optim.Optimizer):
    """A user's optimizer, whose alpha may be above 1, unlike that of RMSprop."""

    alpha: float = optim.setting(number(0, 10), default=2.0)
    memory = 1

    def update(self, parameter, gradient, state, step):
        return parameter - self.lr * gradient * self.alpha, state


class Listed(Declared):
    """A user's optimizer with its own constructor, as in version 1.0.0."""

    def __init__(self, params, lr=0.5, alpha=3.0, beta=None):
        super().__init__(params, lr, alpha=alpha, beta=beta)


def test_a_users_optimizer_has_settings_of_its_own():
    x = Value(1.0)
    x.grad = 1.0
    for optimizer in (Declared([x], 0.5, alpha=4), Listed([x], alpha=4)):
        x.data = 1.0
        optimizer.step()
        assert x.data == -1.0
        other = type(optimizer)([x])
        other.load_state_dict(through_json(optimizer.state_dict()))
        assert other.settings == copy.deepcopy(optimizer).settings == optimizer.settings
        assert pickle.loads(pickle.dumps(optimizer)).settings == optimizer.settings
        optimizer.alpha = 10
        with pytest.raises(ValueError, match="alpha must be at least 0 and below 10, not 10"):
            optimizer.step()
        with pytest.raises(ValueError, match="alpha must be at least 0 and below 10, not 10"):
            other.load_state_dict(optimizer.state_dict())
        with pytest.raises(ValueError, match="alpha must be at least 0 and below 10, not 11"):
            type(optimizer)([x], alpha=11)
    assert repr(Declared([x])) == "Declared(lr=0.001, alpha=2.0)"
    assert repr(Listed([x], beta="b")) == "Listed(lr=0.5, alpha=3.0, beta='b')"


def test_a_subclass_may_fix_settings():
    class Nesterov(optim.SGD):
        momentum = 0.5
        nesterov = True

    x = Value(1.0)
    optimizer = Nesterov([x], lr=1.0)
    x.grad = 1.0
    optimizer.step()
    assert (x.data, "momentum" in optimizer.settings) == (-0.5, False)
    with pytest.raises(ValueError, match="no dampening"):
        Nesterov([x], dampening=0.5)


def test_signatures_show_the_settings():
    assert str(inspect.signature(optim.SGD)) == (
        "(params, lr=0.001, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False, *, averaged=False)"
    )
    assert str(inspect.signature(optim.AdamW)) == (
        "(params, lr=0.001, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.01, amsgrad=False, *, bias_correction=True)"
    )
    assert str(inspect.signature(optim.Lookahead)) == "(optimizer, k=5, alpha=0.5)"
    assert str(inspect.signature(optim.StepLR)) == "(optimizer, step_size, gamma=0.1)"
    assert str(inspect.signature(optim.SequentialLR)) == "(optimizer, schedulers, milestones)"
    assert str(inspect.signature(Declared)) == "(params, lr=0.001, alpha=2.0)"
    assert str(inspect.signature(Listed)) == "(params, lr=0.5, alpha=3.0, beta=None)"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optim.Adam([v], beta=1), r"Adam\(params, lr=.*\): got an unexpected keyword argument 'beta'"),
        (lambda: optim.Adam([v], 0.1, lr=0.1), "multiple values for argument 'lr'"),
        (lambda: optim.AdamW([v], decoupled_weight_decay=False), "unexpected keyword argument"),
        (lambda: optim.SGD([v], 0.1, 0, 0, 0, False, True), "too many positional arguments"),
        (lambda: optim.StepLR(sgd), r"StepLR\(.*\): missing a required argument: 'step_size'"),
    ],
)
def test_settings_that_there_are_not(make, message):
    with pytest.raises(TypeError, match=message):
        make()


def test_settings_are_given_in_pytorchs_order():
    assert optim.Adam([v], 0.1, (0.9, 0.99), 1e-6, 0.5, True).settings == {
        "lr": 0.1, "betas": (0.9, 0.99), "eps": 1e-6, "weight_decay": 0.5, "amsgrad": True,
        "decoupled_weight_decay": False, "bias_correction": True,
    }  # fmt: skip
    assert optim.RMSprop([v], 0.1, 0.2, 0.3, 0.4, 0.5, True).centered


def test_lookahead_needs_a_fresh_optimizer():
    inner = optim.SGD([Value(1.0)])
    inner.step()
    with pytest.raises(ValueError, match="has made no steps, not 1"):
        optim.Lookahead(inner)


# schedules

BASE = 0.3
SCHEDULES = {
    "step": lambda o: optim.StepLR(o, 7, gamma=0.9),
    "several steps": lambda o: optim.MultiStepLR(o, [1, 3, 50], gamma=0.3),
    "exponential": lambda o: optim.ExponentialLR(o, 0.97),
    "linear": lambda o: optim.LinearLR(o),
    "linear down": lambda o: optim.LinearLR(o, start_factor=1.0, end_factor=0.1, total_iters=90),
    "cosine": lambda o: optim.CosineAnnealingLR(o, 90, eta_min=0.01),
    "cosine, up and down": lambda o: optim.CosineAnnealingLR(o, 13),
    "sequence": lambda o: optim.SequentialLR(o, [optim.LinearLR(o, 0.1), optim.CosineAnnealingLR(o, 95)], [5]),
    "sequence of sequences": lambda o: optim.SequentialLR(
        o, [optim.ExponentialLR(o, 0.9), SCHEDULES["sequence"](o), optim.StepLR(o, 5)], [10, 40]
    ),
}
every_schedule = pytest.mark.parametrize("make", SCHEDULES.values(), ids=SCHEDULES)


@every_schedule
def test_a_schedule_follows_its_formula(make):
    optimizer = optim.SGD([Value(1.0)], lr=BASE)
    schedule = make(optimizer)
    for epoch in range(100):
        assert schedule.last_epoch == epoch
        assert optimizer.lr == pytest.approx(schedule.formula(epoch), rel=1e-11, abs=1e-15)
        schedule.step()
    schedule.restart()
    assert (optimizer.lr, schedule.last_epoch) == (schedule.formula(0), 0)


def test_the_formulas():
    make = {name: make(optim.SGD([Value(1.0)], lr=BASE)) for name, make in SCHEDULES.items()}
    for e in range(100):
        assert make["step"].formula(e) == pytest.approx(BASE * 0.9 ** (e // 7))
        assert make["several steps"].formula(e) == pytest.approx(BASE * 0.3 ** sum(e >= at for at in (1, 3, 50)))
        assert make["exponential"].formula(e) == pytest.approx(BASE * 0.97**e)
        assert make["linear"].formula(e) == pytest.approx(BASE * (1 if e > 5 else 1 / 3 + e * 2 / 15))
        assert make["linear down"].formula(e) == pytest.approx(BASE * (1 - 0.9 * min(e / 90, 1)))
        assert make["cosine"].formula(e) == pytest.approx(0.01 + (BASE - 0.01) * (1 + math.cos(e * math.pi / 90)) / 2)
        assert make["sequence"].formula(e) == pytest.approx(
            BASE * (0.1 + 0.9 * e / 5 if e < 5 else (1 + math.cos((e - 5) * math.pi / 95)) / 2)
        )


@every_schedule
@pytest.mark.parametrize("resumed", [False, True])
def test_a_learning_rate_of_0_stays_0(make, resumed):
    optimizer = optim.SGD([Value(1.0)], lr=0.0)
    schedule = make(optim.SGD([Value(1.0)], lr=0.0) if resumed else optimizer)
    if resumed:
        state = schedule.state_dict()
        schedule = make(optimizer)
        schedule.load_state_dict(state)
    if "eta_min=0.01" not in repr(schedule):
        for _ in range(200):
            schedule.step()
            assert optimizer.lr == 0.0


@pytest.mark.parametrize(("base", "eta_min"), [(0.0, 0.0), (0.1, 0.1), (0.0, 0.1), (0.1, 0.2)])
def test_a_cosine_from_or_to_its_least(base, eta_min):
    for period in range(1, 9):
        optimizer = optim.SGD([Value(1.0)], lr=base)
        schedule = optim.CosineAnnealingLR(optimizer, period, eta_min)
        for epoch in range(40):
            assert optimizer.lr == pytest.approx(schedule.formula(epoch), abs=1e-15)
            schedule.step()


def test_a_cosine_that_is_so_long_that_its_end_is_rounded():
    optimizer = optim.SGD([Value(1.0)], lr=0.0)
    schedule = optim.CosineAnnealingLR(optimizer, 10**9)
    schedule.load_state_dict({**schedule.state_dict(), "last_epoch": 10**9 - 1})
    for _ in range(3):
        schedule.step()
        assert optimizer.lr == 0.0


@given(st.floats(1e-3, 1.0), st.sampled_from([0.0, 0.5, 1.0]), st.integers(1, 30), st.floats(0, 10))
def test_a_straight_line_is_never_below_0(start, end, total, base):
    optimizer = optim.SGD([Value(1.0)], lr=base)
    schedule = optim.LinearLR(optimizer, start, end, total)
    for epoch in range(total + 3):
        assert optimizer.lr == pytest.approx(schedule.formula(epoch), rel=1e-9, abs=1e-12)
        optimizer.step()  # raises an error if the learning rate is below 0
        schedule.step()


def test_schedules_of_one_optimizer_multiply():
    optimizer = optim.SGD([Value(1.0)], lr=0.5)
    schedules = [optim.LinearLR(optimizer, 0.5, total_iters=4), optim.ExponentialLR(optimizer, 0.5)]
    assert [schedule.base_lr for schedule in schedules] == [0.5, 0.5]
    for epoch in range(8):
        assert optimizer.lr == pytest.approx(0.5 * (0.5 + min(epoch, 4) / 8) * 0.5**epoch)
        for schedule in schedules:
            schedule.step()


def test_what_a_sequence_of_schedules_needs():
    optimizer, other = optim.SGD([Value(1.0)]), optim.SGD([Value(1.0)])
    one, two = optim.ExponentialLR(optimizer, 0.5), optim.ExponentialLR(optimizer, 0.5)
    with pytest.raises(TypeError, match="can restart, not ReduceLROnPlateau"):
        optim.SequentialLR(optimizer, [one, optim.ReduceLROnPlateau(optimizer)], [3])
    with pytest.raises(ValueError, match="for another optimizer"):
        optim.SequentialLR(optimizer, [one, optim.ExponentialLR(other, 0.5)], [3])
    with pytest.raises(ValueError, match="twice"):
        optim.SequentialLR(optimizer, [one, one], [3])
    with pytest.raises(ValueError, match="of 2 schedules needs one milestone fewer, not 2"):
        optim.SequentialLR(optimizer, [one, two], [3, 4])
    with pytest.raises(ValueError, match="of 0 schedules"):
        optim.SequentialLR(optimizer, [], [])


def rates(measures, **settings):
    optimizer = optim.SGD([Value(1.0)], lr=1.0)
    schedule = optim.ReduceLROnPlateau(optimizer, **{"factor": 0.5, "patience": 1, **settings})
    found = []
    for measure in measures:
        schedule.step(measure)
        found.append(optimizer.lr)
    return found


def test_a_plateau():
    assert rates([5, 5, 5, 5, 5, 5, 5]) == [1, 1, 0.5, 0.5, 0.25, 0.25, 0.125]
    assert rates([5, 5, 4, 4, 3, 3, 2]) == [1] * 7
    assert rates([1, 2, 3, 3, 4, 4], mode="max") == [1] * 6
    assert rates([5, 5, 5], mode="max", threshold=0) == rates([5, 5, 5], threshold=0) == [1, 1, 0.5]
    assert rates([5, 5, 5, 5, 5, 5], patience=0) == [1, 0.5, 0.25, 0.125, 0.0625, 0.03125]
    assert rates([5, 5, 5, 5, 5, 5, 5], cooldown=2) == [1, 1, 0.5, 0.5, 0.5, 0.5, 0.25]
    assert rates([5, 5, 5, 5, 5], min_lr=0.4) == [1, 1, 0.5, 0.5, 0.4]
    assert rates([5, 5, 5, 5, 5], eps=0.6) == [1] * 5
    assert rates([100, 95, 91], threshold=0.1) == [1, 1, 0.5]
    assert rates([100, 95, 89], threshold=0.1) == [1, 1, 1]
    assert rates([100, 95, 91], threshold=8, threshold_mode="abs") == [1, 1, 1]
    assert rates([100, 95, 93], threshold=8, threshold_mode="abs") == [1, 1, 0.5]
    assert rates([math.nan, math.nan, math.inf, 1, 1]) == [1, 0.5, 0.5, 0.5, 0.5]
    assert rates([Value(5), Value(5), np.float64(5)]) == [1, 1, 0.5]


# states


def through_json(state):
    return json.loads(json.dumps(state, allow_nan=False))


@every_optimizer
@pytest.mark.parametrize("steps", [0, 1, 7])
def test_an_optimizer_goes_on_from_its_state(make, steps):
    values = [Value(4.0), Value(3.0)]
    optimizer = make(values)
    optimizer.lr *= 0.9
    descend(optimizer, steps)
    copies = [Value(v.data) for v in values]
    other = make([Value(0.0), Value(0.0)])
    descend(other, 2)
    other.parameters[:] = copies
    state = through_json(optimizer.state_dict())
    other.load_state_dict(state)
    assert other.state_dict() == optimizer.state_dict() == state
    assert descend(other, 20) == descend(optimizer, 20)


def test_the_settings_are_loaded_too():
    saved = optim.Adam([Value(1.0)], lr=0.5, betas=(0.1, 0.2), eps=0.3, weight_decay=0.4, bias_correction=False)
    other = optim.Adam([Value(1.0)])
    other.load_state_dict(saved.state_dict())
    assert other.settings == saved.settings
    assert type(other.betas) is tuple


def test_a_saved_state_is_a_copy():
    optimizer = optim.Lookahead(optim.Adam([Value(4.0), Value(3.0)]))
    descend(optimizer, 3)
    state = optimizer.state_dict()
    before = copy.deepcopy(state)
    descend(optimizer, 3)
    assert state == before
    optimizer.load_state_dict(state)
    descend(optimizer, 3)
    assert state == before


@every_schedule
@pytest.mark.parametrize("epochs", [0, 3, 12, 60])
@pytest.mark.parametrize("optimizer_first", [False, True])
def test_a_schedule_goes_on_from_its_state(make, epochs, optimizer_first):
    optimizer, other = optim.SGD([Value(1.0)], lr=BASE), optim.SGD([Value(1.0)], lr=0.7)
    schedule = make(optimizer)
    for _ in range(epochs):
        schedule.step()
    state = through_json(schedule.state_dict())
    if optimizer_first:
        other.load_state_dict(optimizer.state_dict())
    copied = make(other)
    copied.load_state_dict(state)
    assert copied.state_dict() == schedule.state_dict() == state
    for _ in range(50):
        assert other.lr == optimizer.lr
        schedule.step()
        copied.step()


@pytest.mark.parametrize("epochs", [0, 5, 6, 20])
def test_a_plateau_goes_on_from_its_state(epochs):
    measures = [math.cos(t / 3) + 2 for t in range(60)]
    optimizer, other = optim.SGD([Value(1.0)], lr=1.0), optim.SGD([Value(1.0)], lr=0.5)
    settings = {"patience": 2, "cooldown": 2, "factor": 0.7, "mode": "max", "threshold_mode": "abs"}
    schedule, copied = optim.ReduceLROnPlateau(optimizer, **settings), optim.ReduceLROnPlateau(other)
    copied.step(1.0)
    for measure in measures[:epochs]:
        schedule.step(measure)
    copied.load_state_dict(through_json(schedule.state_dict()))
    for measure in measures[epochs:]:
        assert other.lr == optimizer.lr
        schedule.step(measure)
        copied.step(measure)
    assert copied.state_dict() == schedule.state_dict()


def broken(state, changes):
    state = copy.deepcopy(state)
    for *path, last, value in changes:
        part = state
        for key in path:
            part = part[key]
        if value is KeyError:
            del part[last]
        else:
            part[last] = value
    return state


BROKEN = [
    ("adam", [("steps", KeyError)], ["the state has no 'steps'"]),
    ("adam", [("step", 3)], ["the state has an unknown 'step'"]),
    ("adam", [("type", "SGD")], [r"\['type'\] is 'SGD', not 'Adam'"]),
    ("adam", [("steps", -1)], [r"\['steps'\] must be a whole number, at least 0, not -1"]),
    ("adam", [("steps", 1.5)], ["whole number"]),
    ("adam", [("steps", True)], ["not a number but bool"]),
    ("adam", [("state", [[0.0, 0.0]])], [r"\['state'\] has 1 entries, not 2"]),
    ("adam", [("state", 0, [0.0])], [r"\['state'\]\[0\] has 1 entries, not 2"]),
    ("adam", [("state", 1, 0, "0")], [r"\['state'\]\[1\]\[0\] is not a number but str '0'"]),
    ("adam", [("state", 1, 0, None)], ["not a number but NoneType"]),
    ("adam", [("state", 1, 0, 10**400), ("steps", 10**400)], [r"\['steps'\] is beyond", r"\[1\]\[0\] is beyond"]),
    ("adam", [("state", 1, 3.0)], [r"\['state'\]\[1\] is not a list but float"]),
    ("adam", [("settings", [])], ["is not a dict but list"]),
    ("adam", [("settings", "eps", -1)], ["eps must be at least 0"]),
    ("adam", [("settings", "amsgrad", 0)], ["amsgrad is True or False"]),
    (
        "adam",
        [("steps", KeyError), ("more", 1), ("settings", "lr", KeyError), ("settings", "k", 1), ("state", 1, [])],
        ["no 'steps'", "unknown 'more'", "no 'lr'", "unknown 'k'", r"\[1\] has 0 entries"],
    ),
    ("descent", [("settings", "nesterov", True)], ["needs a momentum above 0"]),
    ("lookahead", [("slow", [0.0])], [r"\['slow'\] has 1 entries, not 2"]),
    ("lookahead", [("slow", 0, "a"), ("optimizer", "settings", "lr", -1)], ["not a number but str", "lr must be"]),
    ("lookahead", [("optimizer", "type", "Adam")], [r"\['optimizer'\]\['type'\] is 'Adam', not 'SGD'"]),
    (
        "lookahead",
        [("optimizer", "settings", "dampening", 0.1), ("optimizer", "settings", "averaged", True)],
        ["other"],
    ),
]


@pytest.mark.parametrize(("name", "changes", "messages"), BROKEN)
def test_a_state_that_does_not_fit_changes_nothing(name, changes, messages):
    optimizer = MAKERS[name]([Value(4.0), Value(3.0)])
    descend(optimizer, 4)
    before = copy.deepcopy(optimizer.state_dict())
    other = MAKERS[name]([Value(1.0), Value(2.0)])
    descend(other, 2)
    with pytest.raises(ValueError, match=messages[0]) as caught:
        optimizer.load_state_dict(broken(other.state_dict(), changes))
    for message in messages:
        caught.match(message)
    assert optimizer.state_dict() == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([("base_lr", "a"), ("schedulers", 1, "last_epoch", KeyError)], "base_lr.*last_epoch"),
        ([("schedulers", [])], "0 entries, not 3"),
        ([("settings", "milestones", [3])], "one milestone fewer"),
        ([("schedulers", 1, "settings", "milestones", [3, 4])], "one milestone fewer"),
        ([("schedulers", 0, "type", "StepLR")], "'StepLR', not 'ExponentialLR'"),
    ],
)
def test_a_schedules_state_that_does_not_fit_changes_nothing(changes, message):
    make = SCHEDULES["sequence of sequences"]
    schedule, other = make(optim.SGD([Value(1.0)], lr=0.1)), make(optim.SGD([Value(1.0)], lr=0.2))
    for _ in range(20):
        schedule.step()
    before = copy.deepcopy(schedule.state_dict())
    with pytest.raises(ValueError, match=message):
        schedule.load_state_dict(broken(other.state_dict(), changes))
    assert schedule.state_dict() == before


def test_a_plateaus_state_that_does_not_fit():
    schedule = optim.ReduceLROnPlateau(optim.SGD([Value(1.0)]))
    with pytest.raises(ValueError, match=r"\['best'\] is not a number but str"):
        schedule.load_state_dict({**schedule.state_dict(), "best": "a"})


# clipping and penalties


def with_gradients(*gradients):
    values = [Value(1.0) for _ in gradients]
    for value, gradient in zip(values, gradients, strict=True):
        value.grad = gradient
    return values


@pytest.mark.parametrize(
    ("norm_type", "norm"), [(2, 5.0), (1, 7.0), (math.inf, 4.0), (3, 91 ** (1 / 3)), (0.5, (3**0.5 + 2) ** 2)]
)
def test_a_norm_is_clipped(norm_type, norm):
    values = with_gradients(3.0, -4.0)
    assert optim.clip_grad_norm_(values, 10.0, norm_type) == pytest.approx(norm, rel=1e-14)
    assert [value.grad for value in values] == [3.0, -4.0] or norm > 10
    values = with_gradients(3.0, -4.0)
    optim.clip_grad_norm_(values, 0.1, norm_type)
    assert optim.clip_grad_norm_(values, math.inf, norm_type) == pytest.approx(0.1, rel=1e-5)
    assert values[0].grad / values[1].grad == pytest.approx(-0.75)


@pytest.mark.parametrize("norm_type", [2, 3, math.inf])
def test_a_norm_beyond_a_floats_square(norm_type):
    values = with_gradients(1e300, -1e300)
    assert optim.clip_grad_norm_(values, 1.0, norm_type) == pytest.approx(1e300 * 2 ** (1 / norm_type))
    assert all(0.5 < abs(value.grad) <= 1.0 for value in values)


def test_nothing_and_one_value_are_clipped_too():
    assert optim.clip_grad_norm_([], 1.0) == 0.0
    (value,) = with_gradients(-5.0)
    assert optim.clip_grad_norm_(value, 1.0) == 5.0
    assert value.grad == pytest.approx(-1.0)
    optim.clip_grad_value_(value, 0.25)
    assert value.grad == -0.25


@pytest.mark.parametrize("gradient", [math.nan, math.inf])
def test_a_norm_that_is_not_finite(gradient):
    values = with_gradients(1.0, gradient)
    with pytest.raises(ValueError, match=f"is {gradient}: no gradient was clipped"):
        optim.clip_grad_norm_(values, 1.0, error_if_nonfinite=True)
    assert str([value.grad for value in values]) == str([1.0, gradient])
    optim.clip_grad_norm_(values, 1.0)
    assert math.isnan(values[1].grad)


def test_values_are_clipped():
    values = with_gradients(3.0, -4.0, 0.5, math.inf, math.nan)
    assert optim.clip_grad_value_(values, 1.0) is None
    assert str([value.grad for value in values]) == "[1.0, -1.0, 0.5, 1.0, nan]"


def test_penalties():
    values = [Value(3.0), Value(-4.0), Value(0.0)]
    penalty = optim.l1_penalty(values, 0.5)
    penalty.backward()
    assert (penalty.data, [value.grad for value in values]) == (3.5, [0.5, -0.5, 0.0])
    for value in values:
        value.grad = 0.0
    penalty = optim.l2_penalty(values, 0.5)
    penalty.backward()
    assert (penalty.data, [value.grad for value in values]) == (12.5, [3.0, -4.0, 0.0])
    assert optim.l1_penalty([], 0.5).data == optim.l2_penalty([], 0.5).data == 0.0


def test_weight_decay_is_the_l2_penalty():
    penalised, decayed = [Value(4.0), Value(3.0)], [Value(4.0), Value(3.0)]
    one, other = optim.Adam(penalised, lr=0.1), optim.Adam(decayed, lr=0.1, weight_decay=0.2)
    for _ in range(50):
        one.zero_grad()
        (bowl(*penalised) + optim.l2_penalty(penalised, 0.1)).backward()
        one.step()
        descend(other, 1)
    assert [p.data for p in penalised] == pytest.approx([p.data for p in decayed], rel=1e-9)


MANY = [
    (optim.SGD, {"lr": 0.1, "weight_decay": 0.01}),
    (optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    (optim.SGD, {"lr": 0.1, "momentum": 0.9, "averaged": True}),
    (optim.Adagrad, {"lr_decay": 0.1}),
    (optim.RMSprop, {"centered": True, "momentum": 0.5}),
    (optim.Adadelta, {}),
    (optim.Adam, {"amsgrad": True}),
    (optim.AdamW, {}),
    (optim.NAdam, {}),
    (optim.AdaBelief, {}),
]


def take_steps(make, count, steps=8):
    """Returns the parameters, in groups of their own optimizers, and states after each step."""
    rng = random.Random(3)
    numbers = [rng.gauss(0, 1) for _ in range(96)]
    groups = [[Value(x) for x in numbers[i : i + count]] for i in range(0, 96, count)]
    optimizers, seen = [make(group) for group in groups], []
    for step in range(steps):
        for group in groups:
            for parameter in group:
                parameter.grad = 0.0 if step == 3 else rng.gauss(0, 1) * 10 ** rng.uniform(-9, 9)
        for optimizer in optimizers:
            optimizer.step()
        seen.append([parameter.data for group in groups for parameter in group])
        if step % 3 == 1:
            seen.append([state for optimizer in optimizers for state in optimizer.state])
    return seen


@pytest.mark.parametrize(("optimizer", "settings"), MANY)
@pytest.mark.parametrize("lookahead", [False, True])
def test_many_parameters_are_updated_as_few_are_bit_for_bit(optimizer, settings, lookahead):
    def make(parameters):
        inner = optimizer(parameters, **settings)
        return optim.Lookahead(inner, k=2) if lookahead else inner

    assert take_steps(make, 96) == take_steps(make, 2)


def test_a_step_of_many_parameters_that_fails_changes_nothing():
    parameters = [Value(1.0, label=f"p{i}") for i in range(100)]
    optimizer = optim.Adam(parameters)
    for parameter in parameters:
        parameter.grad = 1.0
    optimizer.step()
    before = [parameter.data for parameter in parameters], optimizer.state, optimizer.steps
    parameters[70].grad = math.inf
    with pytest.raises(ValueError, match=r"the gradient of parameter 70 \(p70\) is inf"):
        optimizer.step()
    assert ([parameter.data for parameter in parameters], optimizer.state, optimizer.steps) == before


def test_many_parameters_have_floats_errors():
    for count in (2, 100):
        parameters = [Value(1.0) for _ in range(count)]
        for parameter in parameters:
            parameter.grad = 0.0
        with pytest.raises(ZeroDivisionError):
            optim.Adam(parameters, eps=0.0).step()
        assert [parameter.data for parameter in parameters] == [1.0] * count


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_the_state_of_many_parameters_is_copied(duplicate):
    parameters = [Value(1.0) for _ in range(100)]
    optimizer = optim.Adam(parameters)
    for parameter in parameters:
        parameter.grad = 1.0
    optimizer.step()
    other = duplicate(optimizer)
    optimizer.step()
    assert other.state[0] == pytest.approx((0.1, 0.001))
    assert optimizer.state[0] == pytest.approx((0.19, 0.001999))


def test_a_rule_of_ones_own_takes_floats():
    class Sign(optim.Optimizer):
        def update(self, parameter, gradient, state, step):
            assert isinstance(parameter, float)
            return parameter - self.lr * ((gradient > 0) - (gradient < 0)), state

    parameters = [Value(1.0) for _ in range(100)]
    parameters[1].grad = -2.0
    Sign(parameters, lr=0.5).step()
    assert [parameter.data for parameter in parameters] == [1.0, 1.5, *[1.0] * 98]
