"""Random numbers in functions, and buffers of modules: a compiled function draws and stores what Python's floats do."""

import copy
import math
import random

import pytest

pytest.importorskip("llvmlite", reason="compiling needs llvmlite, which is not installed")
from hypothesis import given, settings
from hypothesis import strategies as st

from micrograd import Value, detect_anomaly, fit, functional, grad, nn, optim
from micrograd import compile as compiled
from micrograd.compiler import TraceError

DRAWS = {"random": functional.random, "normal": functional.normal}


@given(
    st.lists(st.tuples(st.sampled_from(sorted(DRAWS)), st.integers(0, 1)), min_size=1, max_size=6),
    st.sampled_from([1, 2, 7, 400]),
    st.integers(0, 2**64),
)
@settings(max_examples=40, deadline=None)
def test_draws_are_those_of_floats_in_the_same_order(kinds, samples, seed):
    def run(is_compiled):
        rngs = [random.Random(seed), random.Random(seed + 1)]

        def f(x):
            return [DRAWS[kind](rngs[which]) * x for kind, which in kinds]

        xs = [1.0 + 0.5 * i for i in range(samples)]
        found = compiled(f).values(xs).tolist() if is_compiled else [[y.data for y in f(Value(x))] for x in xs]
        return found, [rng.getstate() for rng in rngs]

    assert run(True) == run(False)


def test_the_module_random_is_one_generator_with_its_functions():
    dropout = nn.Dropout(0.5)  # it holds random.random
    random.seed(1)
    found = compiled(lambda x: [functional.random(), *dropout([x] * 2), functional.random()]).values([1.0, 2.0])
    state = random.getstate()
    random.seed(1)
    for row, x in zip(found.tolist(), (1.0, 2.0), strict=True):
        first, *dropped, last = [random.random() for _ in range(4)]
        assert row == [first, *[0.0 if draw < 0.5 else 2 * x for draw in dropped], last]
    assert random.getstate() == state


class Counting:
    """A generator without a state: 0, 0.125, 0.25, …"""

    count = 0

    def random(self):
        self.count += 1
        return (self.count - 1) % 8 / 8


@pytest.mark.parametrize("make", [Counting, random.SystemRandom])
def test_other_generators_are_asked_once_per_draw_and_not_by_traces(make):
    rng = make()
    f = compiled(lambda x: x + functional.random(rng))
    found = [f(1.0).data, *f.values([1.0, 1.0]).tolist()]
    assert all(1 <= y < 2 for y in found)
    if make is Counting:
        assert found == [1.0, 1.125, 1.25]


def test_draws_of_another_thing_than_a_generator():
    with pytest.raises(TypeError, match=r"needs a method random\(\), which int 3 has not"):
        functional.normal(3)


def test_normal_numbers_have_mean_0_and_variance_1():
    rng = random.Random(0)
    draws = [functional.normal(rng).data for _ in range(20_000)]
    mean = math.fsum(draws) / len(draws)
    assert abs(mean) < 0.02
    assert math.fsum((x - mean) ** 2 for x in draws) / len(draws) == pytest.approx(1, abs=0.03)


def test_gradients_are_those_of_the_numbers_that_were_drawn():
    w, rng, twin = Value(3.0), random.Random(2), random.Random(2)
    f = compiled(lambda x: w * w * functional.normal(rng) * x)
    for call in (lambda: f(2.0), lambda: f.batch([2.0])):
        drawn = functional.normal(twin).data
        out = call()
        (slope,) = grad(out, [w], create_graph=True)  # calls the function again, which draws nothing new
        assert slope.data == pytest.approx(12 * drawn, rel=1e-14)
        assert grad(slope, [w]) == pytest.approx((4 * drawn,), rel=1e-14)
    assert rng.getstate() == twin.getstate()


def test_what_is_computed_on_floats_takes_the_numbers_that_were_drawn():
    def run(wrap):
        rng = random.Random(4)
        f = wrap(lambda x: functional.random(rng) * (x * 1e308))
        return [f(x).data for x in (1.0, 100.0, 1.0)], rng.getstate()

    assert run(compiled) == run(lambda f: lambda x: f(Value(x)))
    rng, twin = random.Random(4), random.Random(4)
    found = compiled(lambda x: functional.random(rng) * (x * 1e308)).values([1.0, 100.0, 1.0])
    assert found.tolist() == [(functional.random(twin) * (x * 1e308)).data for x in (1.0, 100.0, 1.0)]
    assert rng.getstate() == twin.getstate()


def test_anomaly_detection_draws_too():
    rng = random.Random(1)
    with detect_anomaly():
        assert compiled(lambda x: x * functional.random(rng))(1.0).data == random.Random(1).random()


def test_a_number_that_is_drawn_otherwise_is_refused_with_a_hint():
    rng = random.Random(1)
    with pytest.raises(TraceError, match=r"micrograd.functional.random\(\)"):
        compiled(lambda x: x * rng.random())(1.0)
    assert rng.getstate() == random.Random(1).getstate()


# Training

POINTS = [([random.Random(i).gauss(0, 1), random.Random(-i).gauss(0, 1)], i % 3 - 1.0) for i in range(60)]


class Growing(list):
    """Data that draw a number each time that a sample is read."""

    def __init__(self, samples, rng):
        super().__init__(samples)
        self.rng = rng

    def __getitem__(self, i):
        x, y = super().__getitem__(i)
        return x, y + self.rng.random()


def train(is_compiled, shared=False, clip=None, moving=False, lengths=False, batch_size=7):
    rng, drops = random.Random(1), random.Random(2)
    model = nn.Sequential(nn.Linear(2, 6, rng=rng), nn.Tanh(), nn.Dropout(0.25, drops), nn.Linear(6, 1, rng=rng))
    trained = optim.SGD(model.parameters(), lr=0.05, momentum=0.5)
    data = [(x * (1 + lengths * (i % 2)), y) for i, (x, y) in enumerate(POINTS)]

    def loss(x, y):
        noisy = [xi + 0.1 * functional.normal(drops) for xi in x]
        return functional.sum([(model(noisy[i : i + 2])[0] - y) ** 2 for i in range(0, len(x), 2)])

    history = fit(
        loss, Growing(data, drops) if moving else data, trained, epochs=4, batch_size=batch_size, clip=clip,
        rng=drops if shared else rng, model=model, validation=POINTS[:5], compile=is_compiled, progress=False,
    )  # fmt: skip
    return [*history.loss, *history.validation_loss, *[p.data for p in model.parameters()]], drops.getstate()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"shared": True},
        {"shared": True, "lengths": True},
        {"clip": lambda parameters: optim.clip_grad_norm_(parameters, 0.1)},
        {"moving": True, "shared": True},
        {"moving": True, "lengths": True, "batch_size": 1},
    ],
    ids=lambda options: " ".join(options) or "plain",
)
def test_training_draws_the_same(options):
    (numbers, state), (expected, its) = train(True, **options), train(False, **options)
    assert numbers == pytest.approx(expected, rel=1e-9)
    assert state == its


def test_a_step_that_is_repeated_on_floats_has_drawn_once():
    def run(is_compiled):
        w, rng = Value(1.0), random.Random(3)
        data = [1.0] * 150 + [1e200]
        with pytest.raises(Exception, match=r"data\[150\]"):
            fit(lambda x: (w * x * functional.random(rng)) ** 2, data, optim.SGD([w], lr=1e-3), epochs=1, batch_size=10,
                shuffle=False, compile=is_compiled, progress=False)  # fmt: skip
        return w.data, rng.getstate()

    (w, state), (its_w, its_state) = run(True), run(False)
    assert w == pytest.approx(its_w, rel=1e-12)
    assert state == its_state


# Buffers


def normalised(is_compiled, batch_size=1, momentum=0.1):
    rng = random.Random(1)
    model = nn.Sequential(
        nn.Linear(2, 4, rng=rng), nn.BatchNorm(4, momentum=momentum), nn.Tanh(), nn.Linear(4, 1, rng=rng)
    )
    data = [tuple(zip(*POINTS[i : i + 5 + i % 2], strict=True)) for i in range(0, 54, 5)]
    history = fit(
        lambda x, y: functional.mse_loss([out[0] for out in model(x)], y), data, optim.SGD(model.parameters(), lr=0.1),
        epochs=12, batch_size=batch_size, validation=data[:2], model=model, rng=rng, compile=is_compiled,
        progress=False,
    )  # fmt: skip
    state = model.state_dict()
    return [*history.loss, *history.validation_loss], state


@pytest.mark.parametrize("options", [{}, {"batch_size": 3}, {"momentum": None}], ids=str)
def test_batch_norm_in_training_stores_the_same(options):
    (losses, state), (expected, its) = normalised(True, **options), normalised(False, **options)
    assert losses == pytest.approx(expected, rel=1e-9)
    assert state["1.num_batches_tracked"] == its["1.num_batches_tracked"] == 132
    for name in ("1.running_mean", "1.running_var"):
        assert state[name] == pytest.approx(its[name], rel=1e-9, abs=1e-12)


def test_each_call_stores_once_and_a_trace_stores_nothing():
    norm = nn.BatchNorm(1)
    twin = copy.deepcopy(norm)
    total = compiled(lambda x: functional.sum([y[0] ** 3 for y in norm([[x], [2 * x], [x * x]])]))
    w = Value(1.5)
    out = total(w)
    out.backward()
    grad(out, [w], create_graph=True)
    total.batch([1.0, 2.5])
    total.values([1.0, 1e200, 3.0])
    for x in (1.5, 1.0, 2.5, 1.0, 1e200, 3.0):
        twin([[x], [2 * x], [x * x]])
    assert norm.num_batches_tracked == 6
    assert norm.running_mean == pytest.approx(twin.running_mean, rel=1e-14)


def test_one_program_reads_what_batch_norm_has_learned():
    norm = nn.BatchNorm(2)
    total = compiled(lambda x: functional.sum([abs(y) for y in norm(x)]))
    programs = set()
    for batch in ([[1.0, 2.0], [3.0, 5.0]], [[2.0, 2.0], [4.0, 9.0]]):
        norm.train()(batch)
        norm.eval()
        assert total([1.0, 2.0]).data == pytest.approx(sum(abs(y.data) for y in norm([1.0, 2.0])), rel=1e-15)
        programs.add(id(total.program))
    assert len(programs) == 1
