"""Single steps: compiled and not compiled they do the same, whatever is changed or looked at in between."""

import math
import random
import signal

import pytest

from micrograd import Value, functional, nn, optim
from micrograd.training import Stepper, TrainingError

WAYS = [False]
try:
    import llvmlite  # noqa: F401
except ImportError:
    pass
else:
    WAYS.append(True)
both = pytest.mark.parametrize("is_compiled", WAYS)


def batches(count, sizes, seed=2):
    rng = random.Random(seed)
    sample = lambda: ([rng.gauss(0, 1), rng.gauss(0, 1)], rng.gauss(0, 1))  # noqa: E731
    return [[sample() for _ in range(rng.choice(sizes))] for _ in range(count)]


def regression(is_compiled, change=lambda *_: None, clip=None, sizes=(1, 3, 8), optimizer=optim.Adam):
    rng = random.Random(1)
    model = nn.Sequential(nn.Linear(2, 8, rng=rng), nn.Tanh(), nn.Linear(8, 1, rng=rng))
    trained = optimizer(model.parameters(), lr=0.05)
    stepper = Stepper(lambda x, y: (model(x)[0] - y) ** 2, trained, clip=clip, compile=is_compiled)
    seen = []
    for i, samples in enumerate(batches(12, sizes)):
        change(i, model, trained)
        seen.append(stepper.step(samples))
        seen += [number for parameter in trained.parameters for number in (parameter.data, parameter.grad)]
        seen += [number for state in trained.state for number in state]
    return seen


def set_a_number(i, model, trained):
    if i == 4:
        model.layers[0].neurons[2].w[1].data = 3.0


def replace_a_parameter(i, model, trained):
    if i == 4:
        model.layers[2].neurons[0].b = Value(2.0)
    elif i == 8:
        model.layers[0].neurons[1].w = [Value(1.0), Value(-1.0)]


def set_the_learning_rate(i, model, trained):
    trained.lr = 0.01 * (i % 3)


def forget_the_state(i, model, trained):
    if i == 5:
        trained.state = [trained.first_state(0.0) for _ in trained.parameters]


@pytest.mark.skipif(len(WAYS) < 2, reason="compiling needs llvmlite, which is not installed")
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"change": set_a_number},
        {"change": replace_a_parameter},
        {"change": set_the_learning_rate},
        {"change": forget_the_state},
        {"clip": lambda parameters: optim.clip_grad_norm_(parameters, 0.1)},
        {"optimizer": optim.SGD, "sizes": (1,)},
    ],
    ids=["plain", "number", "parameter", "rate", "state", "clip", "single"],
)
def test_all_numbers_between_steps_are_those_of_floats(options):
    assert regression(True, **options) == pytest.approx(regression(False, **options), rel=1e-9, abs=1e-12)


@both
def test_two_networks_take_turns(is_compiled):
    # The critic's gradients by the generator's loss are not the critic's business.
    a, b = Value(0.5, label="a"), Value(-0.25, label="b")
    first = Stepper(lambda x: (a * x * b - 1) ** 2, optim.SGD([a], lr=0.1), compile=is_compiled)
    second = Stepper(lambda x: -((a * x * b - 1) ** 2) + b * b, optim.SGD([b], lr=0.05), compile=is_compiled)
    u, v = 0.5, -0.25
    for x in (1.0, 0.5, 2.0):
        first.step([x])
        u -= 0.1 * 2 * (u * x * v - 1) * x * v
        assert (a.data, b.data) == pytest.approx((u, v), rel=1e-12)
        second.step([x])
        v -= 0.05 * (-2 * (u * x * v - 1) * u * x + 2 * v)
        assert (a.data, b.data) == pytest.approx((u, v), rel=1e-12)


@both
def test_a_policy_learns_from_what_it_did(is_compiled):
    # REINFORCE on two arms, of which the second one pays.
    rng = random.Random(3)
    policy = [Value(0.0), Value(0.0)]

    def loss(arm, reward):
        return functional.cross_entropy(policy, arm) * reward

    stepper = Stepper(loss, optim.SGD(policy, lr=0.2), compile=is_compiled)
    for _ in range(60):
        share = functional.softmax(policy)[1].data
        arms = [int(rng.random() < share) for _ in range(4)]
        stepper.step([(arm, 1.0 if arm == 1 else -0.5) for arm in arms])
    assert functional.softmax(policy)[1].data > 0.95


@both
def test_buffers_and_draws_are_those_of_each_step(is_compiled):
    rng, drops = random.Random(1), random.Random(2)
    model = nn.Sequential(nn.Linear(2, 4, rng=rng), nn.BatchNorm(4), nn.Dropout(0.5, drops), nn.Linear(4, 1, rng=rng))
    stepper = Stepper(
        lambda x, y: functional.mse_loss([out[0] for out in model(x)], y), optim.SGD(model.parameters(), lr=0.1),
        model=model, compile=is_compiled,
    )  # fmt: skip
    twin = random.Random(2)
    for i, samples in enumerate(batches(5, [4])):
        stepper.step([tuple(zip(*samples, strict=True))])
        for _ in range(16):
            twin.random()
        assert drops.getstate() == twin.getstate()
        assert model.layers[1].num_batches_tracked == i + 1
    model.eval()
    before = list(model.layers[1].running_mean)
    stepper.step([tuple(zip(*samples, strict=True))])
    assert drops.getstate() == twin.getstate()
    assert model.layers[1].running_mean == before


@both
def test_a_step_that_fails_changes_nothing_and_names_the_sample(is_compiled):
    w = Value(2.0)
    optimizer = optim.Adam([w], lr=0.1)
    stepper = Stepper(lambda x: (w * x).log() ** 2, optimizer, compile=is_compiled)
    stepper.step([1.0, 2.0])
    before = w.data, optimizer.state, optimizer.steps
    with pytest.raises(TrainingError, match=r"samples\[1\]: ValueError: log\(-") as caught:
        stepper.step([1.0, -2.0, 3.0])
    assert caught.value.sample == 1
    assert (w.data, optimizer.state, optimizer.steps) == before
    assert math.isfinite(stepper.step([1.0]))


@both
def test_ctrl_c_ends_the_program_after_the_step(is_compiled):
    w = Value(0.0)

    def loss(x):
        signal.raise_signal(signal.SIGINT)
        return (w - x) ** 2

    stepper = Stepper(loss, optim.SGD([w], lr=0.5), compile=is_compiled)
    with pytest.raises(KeyboardInterrupt):
        stepper.step([1.0])
    assert w.data == 1.0


def test_what_a_stepper_does_not_take():
    w = Value(0.0)
    optimizer = optim.SGD([w])
    with pytest.raises(
        TypeError, match=r"Stepper\(\): loss must be a function that gives the loss of a sample, not int"
    ):
        Stepper(1, optimizer)
    with pytest.raises(ValueError, match=r"Stepper\(\): compile is True, False or 'auto', not 'yes'"):
        Stepper(lambda x: w * x, optimizer, compile="yes")
    stepper = Stepper(lambda x: w * x, optimizer, compile=False)
    with pytest.raises(ValueError, match="there are no samples"):
        stepper.step([])
    with pytest.raises(TypeError, match=r"Stepper.step\(\): the data are a sequence of samples, not float"):
        stepper.step(1.0)
