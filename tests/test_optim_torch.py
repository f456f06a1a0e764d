"""Compares optimizers, schedules and clipping with PyTorch, step by step.

Both sides get their gradients from micrograd, so only the update rules can differ. Both do the same operations in the
same order. PyTorch runs without fused multiply-add (see conftest.py), which rounds once instead of twice: some paths
are chaotic, and there a difference in the last bit doubles with every step.
"""

import inspect
import math
import random

import pytest

from micrograd import Value, functional, nn, optim

torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")

STEPS = 200
TOLERANCE = 1e-12


def rosenbrock(p):
    return (1 - p[0]) ** 2 + 100 * (p[1] - p[0] ** 2) ** 2


def valley(p):
    return functional.sum([c * (x - 1) ** 2 for c, x in zip((0.01, 1.0, 100.0, 1000.0), p, strict=True)])


def network():
    """Returns the loss of a small network as a function of its parameters, and their initial numbers."""
    rng = random.Random(1)
    model = nn.MLP(2, [3, 1], activation="tanh", rng=rng)
    points = [(rng.gauss(0, 1), rng.gauss(0, 1)) for _ in range(8)]
    parameters = model.parameters()

    def loss(p):
        for parameter, value in zip(parameters, p, strict=True):
            parameter.data, parameter.grad = value.data, 0.0
        total = functional.mean([(model(x) * (-1 if x[0] * x[1] > 0 else 1)).softplus() for x in points])
        total.backward()  # to the model's own parameters; from there, linearly, to those asked for
        return functional.dot(p, [parameter.grad for parameter in parameters])

    return loss, [parameter.data for parameter in parameters]


PROBLEMS = {
    "rosenbrock": (rosenbrock, [-1.2, 1.0]),
    "valley": (valley, [3.0, -2.0, 0.5, 1.5]),
    "network": network(),
}


def gradient(loss, point):
    values = [Value(x) for x in point]
    loss(values).backward()
    return [v.grad for v in values]


OPTIMIZERS = [
    ("SGD", {"lr": 2e-4}),
    ("SGD", {"lr": 2e-4, "momentum": 0.9}),
    ("SGD", {"lr": 2e-4, "momentum": 0.9, "dampening": 0.5, "weight_decay": 0.1}),
    ("SGD", {"lr": 2e-4, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    ("SGD", {"lr": 2e-4, "dampening": 0.5}),
    ("Adagrad", {}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.01, "weight_decay": 0.1, "initial_accumulator_value": 0.5, "eps": 1e-6}),
    ("RMSprop", {}),
    ("RMSprop", {"lr": 1e-3, "centered": True}),
    ("RMSprop", {"lr": 1e-3, "alpha": 0.9, "momentum": 0.9, "weight_decay": 0.1}),
    ("RMSprop", {"lr": 1e-3, "alpha": 0.7, "centered": True, "momentum": 0.5, "weight_decay": 0.1, "eps": 1.0}),
    ("RMSprop", {"lr": 1e-3, "alpha": 0.4, "centered": True, "momentum": 0.5}),
    ("Adadelta", {}),
    ("Adadelta", {"lr": 0.5, "rho": 0.8, "eps": 1e-4, "weight_decay": 0.1}),
    ("Adam", {}),
    ("Adam", {"lr": 0.05, "betas": (0.8, 0.99), "eps": 1e-6, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.05, "amsgrad": True}),
    ("Adam", {"lr": 1e-3, "betas": (0.3, 0.9)}),
    ("Adam", {"lr": 0.05, "betas": (0.3, 0.9)}),
    ("Adam", {"lr": 0.05, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.05, "weight_decay": 0.5, "amsgrad": True}),
    ("NAdam", {}),
    ("NAdam", {"lr": 0.05}),
    ("NAdam", {"lr": 0.05, "betas": (0.8, 0.99), "weight_decay": 0.1}),
    ("NAdam", {"lr": 0.01, "betas": (0.8, 0.99), "weight_decay": 0.1, "momentum_decay": 0.1}),
    ("NAdam", {"lr": 0.01, "weight_decay": 0.1, "decoupled_weight_decay": True}),
]


@pytest.mark.parametrize(
    ("name", "theirs"),
    [(n, torch.optim) for n in ("SGD", "Adagrad", "RMSprop", "Adadelta", "Adam", "AdamW", "NAdam")]
    + [(n, torch.optim.lr_scheduler) for n in ("StepLR", "MultiStepLR", "ExponentialLR", "LinearLR", "SequentialLR",
                                               "CosineAnnealingLR", "ReduceLROnPlateau")],
)  # fmt: skip
def test_settings_are_called_and_ordered_alike_and_have_the_same_defaults(name, theirs):
    ours = list(inspect.signature(getattr(optim, name)).parameters.values())
    reference = list(inspect.signature(getattr(theirs, name)).parameters.values())
    plain = [(p.name, p.default) for p in ours if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert plain == [(p.name, p.default) for p in reference][: len(plain)]


SMALL = {
    "cosine": lambda m, o: m.CosineAnnealingLR(o, 5),
    "cosine to the base": lambda m, o: m.CosineAnnealingLR(o, 5, eta_min=0.1),
    "cosine above the base": lambda m, o: m.CosineAnnealingLR(o, 5, eta_min=0.2),
    "linear": lambda m, o: m.LinearLR(o),
    "sequence": lambda m, o: m.SequentialLR(o, [m.LinearLR(o, 0.1), m.CosineAnnealingLR(o, 4)], [5]),
}


@pytest.mark.parametrize("base", [0.0, 0.1])
@pytest.mark.parametrize("make", SMALL.values(), ids=SMALL)
def test_a_schedule_from_0_or_from_its_least_sets_the_same_rates(make, base):
    mine, reference = optim.SGD([Value(1.0)], lr=base), torch.optim.SGD([torch.ones(1)], lr=base)
    my_schedule, its_schedule = make(optim, mine), make(torch.optim.lr_scheduler, reference)
    for _ in range(50):
        assert mine.lr == reference.param_groups[0]["lr"]
        reference.step()
        my_schedule.step()
        its_schedule.step()


@pytest.fixture(autouse=True)
def _double_precision():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)  # of NAdam's running product, too, which is of the default type
    yield
    torch.set_default_dtype(before)


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize(("name", "settings"), OPTIMIZERS, ids=lambda x: str(x))
def test_an_optimizer_takes_the_same_path(name, settings, problem):
    """Each of 200 updates agrees. On the network a last bit's difference doubles with every step, and a few processors
    give one: there PyTorch goes on from our parameters after each step."""
    loss, start = PROBLEMS[problem]
    ours, theirs = [Value(x) for x in start], torch.tensor(start)
    mine = getattr(optim, name)(ours, **settings)
    reference = getattr(torch.optim, name)([theirs], **settings, foreach=False)
    for _ in range(STEPS):
        for value, slope in zip(ours, gradient(loss, [v.data for v in ours]), strict=True):
            value.grad = slope
        theirs.grad = torch.tensor(gradient(loss, theirs.tolist()))
        mine.step()
        reference.step()
        assert deviation([v.data for v in ours], theirs.tolist()) <= TOLERANCE
        if problem == "network":
            theirs.copy_(torch.tensor([v.data for v in ours]))
    assert [v.data for v in ours] != start


def deviation(ours, theirs):
    """Returns the largest difference, relative to the largest number."""
    return max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) / max(map(abs, theirs))


SCHEDULES = {
    "step": lambda m, o: m.StepLR(o, 7, gamma=0.9),
    "several steps": lambda m, o: m.MultiStepLR(o, [1, 3, 50], gamma=0.3),
    "exponential": lambda m, o: m.ExponentialLR(o, 0.97),
    "linear": lambda m, o: m.LinearLR(o),
    "linear down": lambda m, o: m.LinearLR(o, start_factor=1.0, end_factor=0.1, total_iters=90),
    "linear to 0": lambda m, o: m.LinearLR(o, start_factor=0.5, end_factor=0.0, total_iters=30),
    "cosine": lambda m, o: m.CosineAnnealingLR(o, 200),
    "cosine, up and down": lambda m, o: m.CosineAnnealingLR(o, 13, eta_min=0.01),
    "warm-up, cosine": lambda m, o: m.SequentialLR(o, [m.LinearLR(o, 0.1), m.CosineAnnealingLR(o, 95)], [5]),
    "three": lambda m, o: m.SequentialLR(
        o, [m.LinearLR(o), m.ExponentialLR(o, 0.9), m.StepLR(o, 4, 0.5)], milestones=[10, 100]
    ),
}


@pytest.mark.parametrize("make", SCHEDULES.values(), ids=SCHEDULES)
def test_a_schedule_sets_the_same_rates(make):
    mine, reference = optim.SGD([Value(1.0)], lr=0.3), torch.optim.SGD([torch.ones(1)], lr=0.3)
    my_schedule, its_schedule = make(optim, mine), make(torch.optim.lr_scheduler, reference)
    for _ in range(STEPS):
        assert mine.lr == reference.param_groups[0]["lr"]
        reference.step()
        my_schedule.step()
        its_schedule.step()


def test_schedules_of_one_optimizer_multiply_alike():
    def make(m, o):
        return [m.LinearLR(o, 0.2, total_iters=10), m.ExponentialLR(o, 0.95), m.CosineAnnealingLR(o, 60)]

    mine, reference = optim.SGD([Value(1.0)], lr=0.3), torch.optim.SGD([torch.ones(1)], lr=0.3)
    my_schedules, its_schedules = make(optim, mine), make(torch.optim.lr_scheduler, reference)
    reference.step()
    for _ in range(STEPS):
        assert mine.lr == reference.param_groups[0]["lr"]
        for schedule in (*my_schedules, *its_schedules):
            schedule.step()


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("threshold_mode", ["rel", "abs"])
@pytest.mark.parametrize("settings", [{}, {"patience": 2, "cooldown": 3, "factor": 0.7, "min_lr": 0.01}], ids=str)
def test_a_plateau_is_seen_alike(mode, threshold_mode, settings):
    settings = {"mode": mode, "threshold_mode": threshold_mode, "threshold": 0.01, **settings}
    rng = random.Random(3)
    mine, reference = optim.SGD([Value(1.0)], lr=0.3), torch.optim.SGD([torch.ones(1)], lr=0.3)
    my_schedule = optim.ReduceLROnPlateau(mine, **settings)
    its_schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(reference, **settings)
    for epoch in range(STEPS):
        measure = math.nan if epoch % 17 == 5 else math.exp(-epoch / 40) + rng.gauss(0, 0.05)
        my_schedule.step(measure)
        its_schedule.step(measure)
        assert mine.lr == reference.param_groups[0]["lr"]
    assert mine.lr < 0.3


@pytest.mark.parametrize("schedule", ["step", "cosine", "warm-up, cosine"])
@pytest.mark.parametrize("name", ["SGD", "Adam", "NAdam"])
def test_a_scheduled_optimizer_takes_the_same_path(name, schedule):
    loss, start = PROBLEMS["rosenbrock"]
    ours, theirs = [Value(x) for x in start], torch.tensor(start)
    mine, reference = getattr(optim, name)(ours, lr=1e-4), getattr(torch.optim, name)([theirs], lr=1e-4, foreach=False)
    schedules = SCHEDULES[schedule](optim, mine), SCHEDULES[schedule](torch.optim.lr_scheduler, reference)
    for _ in range(STEPS):
        for value, slope in zip(ours, gradient(loss, [v.data for v in ours]), strict=True):
            value.grad = slope
        theirs.grad = torch.tensor(gradient(loss, theirs.tolist()))
        for stepping in (mine, reference, *schedules):
            stepping.step()
        assert deviation([v.data for v in ours], theirs.tolist()) <= TOLERANCE


GRADIENTS = [[3.0, -4.0], [0.1, 0.2, -0.3], [0.0, 0.0], [1e-9], [], [1.0, math.inf, -2.0], [math.nan, 1.0, math.inf]]


@pytest.mark.parametrize("norm_type", [1, 2, 2.5, 0.5, 3, math.inf])
@pytest.mark.parametrize("max_norm", [0.0, 0.5, 1e3, math.inf])
@pytest.mark.parametrize("gradients", GRADIENTS, ids=str)
def test_norms_are_clipped_alike(gradients, max_norm, norm_type):
    ours, theirs = [Value(0.0) for _ in gradients], [torch.zeros(()) for _ in gradients]
    for value, tensor, g in zip(ours, theirs, gradients, strict=True):
        value.grad, tensor.grad = g, torch.tensor(g)
    mine = optim.clip_grad_norm_(ours, max_norm, norm_type)
    reference = torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type)
    assert mine == pytest.approx(reference.item(), rel=TOLERANCE, abs=0, nan_ok=True)
    for value, tensor in zip(ours, theirs, strict=True):
        assert value.grad == pytest.approx(tensor.grad.item(), rel=TOLERANCE, abs=0, nan_ok=True)


@pytest.mark.parametrize("clip_value", [0.0, 0.5, 1e3, math.inf])
@pytest.mark.parametrize("gradients", [g for g in GRADIENTS if g], ids=str)
def test_values_are_clipped_alike(gradients, clip_value):
    ours, theirs = [Value(0.0) for _ in gradients], [torch.zeros(()) for _ in gradients]
    for value, tensor, g in zip(ours, theirs, gradients, strict=True):
        value.grad, tensor.grad = g, torch.tensor(g)
    optim.clip_grad_value_(ours, clip_value)
    torch.nn.utils.clip_grad_value_(theirs, clip_value)
    assert str([v.grad for v in ours]) == str([t.grad.item() for t in theirs])
