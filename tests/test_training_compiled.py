"""Compiled runs give the same numbers as runs on Values, whatever else happens in them."""

import functools
import math
import os
import random
import signal
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("llvmlite", reason="compiling needs llvmlite, which is not installed")

from micrograd import Value, fit, functional, grad, nn, optim
from micrograd.compiler import TraceError, draws
from micrograd.data import draw_order
from micrograd.training import EarlyStopping, GradientNorm, TrainingError
from micrograd.training import compiled as machine
from micrograd.training.eager import EagerSteps

rng = random.Random(5)
POINTS = [([rng.gauss(0, 1), rng.gauss(0, 1)], rng.randrange(3)) for _ in range(23)]


def run(compiled, optimizer=optim.SGD, options=None, data=POINTS, loss=None, epochs=4, batch_size=5, **more):
    model = nn.MLP(2, [6, 3], activation="tanh", rng=random.Random(1))
    trained = optimizer(model.parameters(), **(options or {"lr": 0.05}))
    if "schedule" in more:
        more["schedule"] = more["schedule"](trained)
    if "lookahead" in more:
        trained = optim.Lookahead(trained, k=more.pop("lookahead"))
    loss = loss or (lambda x, label: functional.cross_entropy(model(x), label))
    history = fit(
        loss, data, trained, epochs=epochs, batch_size=batch_size, rng=random.Random(3), model=model, compile=compiled,
        progress=False, **more,
    )  # fmt: skip
    return history, [p.data for p in model.parameters()], trained


def same(one, other, rel=1e-9):
    (a, parameters, first), (b, others, second) = one, other
    assert parameters == pytest.approx(others, rel=rel, abs=1e-12)
    for name in ("loss", "gradient_norm", "lr", "train_loss", "validation_loss", "_epoch_ends"):
        assert getattr(a, name) == pytest.approx(getattr(b, name), rel=rel, abs=1e-12), name
    assert (a.epochs, a.steps, a.reason) == (b.epochs, b.steps, b.reason)
    assert first.steps == second.steps
    for mine, its in zip(first.state, second.state, strict=True):
        assert mine == pytest.approx(its, rel=1e-6, abs=1e-12)
    flows = a.gradient_flow(), b.gradient_flow()
    assert [layer.verdict for layer in flows[0].layers] == [layer.verdict for layer in flows[1].layers]
    for mine, its in zip(flows[0].layers, flows[1].layers, strict=True):
        assert (mine.size, mine.gradient, mine.relative) == pytest.approx(
            (its.size, its.gradient, its.relative), rel=1e-6
        )


OPTIMIZERS = [
    (optim.SGD, {"lr": 0.1}),
    (optim.SGD, {"lr": 0.1, "momentum": 0.9, "dampening": 0.5, "weight_decay": 0.01}),
    (optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    (optim.SGD, {"lr": 0.1, "momentum": 0.9, "averaged": True}),
    (optim.Adagrad, {"lr": 0.05, "lr_decay": 0.1}),
    (optim.RMSprop, {"lr": 0.01, "centered": True, "momentum": 0.5}),
    (optim.Adadelta, {}),
    (optim.Adam, {"lr": 0.01}),
    (optim.Adam, {"lr": 0.01, "amsgrad": True}),
    (optim.AdamW, {"lr": 0.01}),
    (optim.NAdam, {"lr": 0.01}),
    (optim.AdaBelief, {"lr": 0.01}),
]


@pytest.mark.parametrize(("optimizer", "options"), OPTIMIZERS, ids=str)
def test_each_optimizer(optimizer, options):
    same(run(True, optimizer, options), run(False, optimizer, options), rel=1e-6)


def warm_up(optimizer):
    first, then = optim.LinearLR(optimizer, 0.25, total_iters=5), optim.CosineAnnealingLR(optimizer, 20)
    return optim.SequentialLR(optimizer, [first, then], milestones=[5])


@pytest.mark.parametrize(
    "more",
    [
        {"batch_size": 1},
        {"batch_size": 23, "shuffle": False, "epochs": 30},
        {"schedule": lambda optimizer: optim.CosineAnnealingLR(optimizer, 4)},
        {"validation": POINTS[:4], "metrics": {"zero": lambda x, label: 0.0}},
        {"validation": POINTS[:4], "stop": EarlyStopping(1), "epochs": 30},
        {"stop": GradientNorm(0.3), "epochs": 200, "batch_size": 23},
        {"clip": lambda parameters: optim.clip_grad_norm_(parameters, 0.1)},
        {"clip": functools.partial(optim.clip_grad_norm_, max_norm=0.1)},
        {"clip": functools.partial(optim.clip_grad_norm_, max_norm=0.3), "batch_size": 1},
        {"clip": functools.partial(optim.clip_grad_norm_, max_norm=100)},
        {"clip": functools.partial(optim.clip_grad_norm_, max_norm=0.1, norm_type=1.0)},
        {"clip": functools.partial(optim.clip_grad_norm_, max_norm=math.inf)},
        {"lookahead": 3},
        {"data": tuple(POINTS)},
        {"schedule": lambda optimizer: optim.CosineAnnealingLR(optimizer, 20), "schedule_every": "step"},
        {"schedule": lambda optimizer: optim.ReduceLROnPlateau(optimizer, patience=2), "schedule_every": "step"},
        {"schedule": lambda optimizer: warm_up(optimizer), "schedule_every": "step", "epochs": 30},
        {"schedule": lambda optimizer: warm_up(optimizer), "batch_size": 23, "epochs": 30},
        {"schedule": lambda optimizer: optim.CosineAnnealingLR(optimizer, 4), "lookahead": 3},
    ],
)
def test_all_that_a_run_may_have(more):
    same(run(True, **more), run(False, **more))


@pytest.mark.parametrize("every", ["step", "epoch"])
def test_a_schedule_goes_on_within_a_call_as_it_does_eagerly(every):
    histories = []
    for compiled in (True, False):
        w = Value(0.1)
        optimizer = optim.SGD([w], lr=0.02)
        schedule = optim.MultiStepLR(optimizer, [3, 7, 8], gamma=0.7)
        histories.append(
            fit(lambda x, w=w: (w * x - 1) ** 2, [1.0, 2.0, 0.5], optimizer, epochs=40, batch_size=2, compile=compiled,
                schedule=schedule, schedule_every=every, rng=random.Random(0))
        )  # fmt: skip
        assert schedule.last_epoch == (80 if every == "step" else 40)
    assert histories[0].lr == histories[1].lr
    assert histories[0].loss == pytest.approx(histories[1].loss)


def test_a_gradient_whose_square_overflows_is_clipped():
    found = []
    for compiled in (True, False):
        w = Value(0.5)
        clip = functools.partial(optim.clip_grad_norm_, max_norm=1.0)
        fit(lambda x, w=w: w * x, [1e200, 3.0], optim.SGD([w], lr=0.1), epochs=2, compile=compiled, clip=clip)
        found.append(w.data)
    assert found[0] == pytest.approx(found[1]) == pytest.approx(0.1)


def test_samples_of_different_length():
    words = [[float(i % 3) for i in range(n)] for n in (2, 5, 3, 2, 5, 5, 4, 3)]
    results = []
    for compiled in (True, False):
        w = [Value(0.1 * i) for i in range(3)]

        def loss(word, w=w):
            h = w[0]
            for x in word:
                h = (w[1] * h + w[2] * x).tanh()
            return (h - 1) ** 2

        for batch_size in (1, 4):
            history = fit(loss, words, optim.Adam(w, lr=0.1), epochs=3, batch_size=batch_size, rng=random.Random(1),
                          compile=compiled)  # fmt: skip
            results.append([*history.loss, *[x.data for x in w]])
    assert results[:2] == [pytest.approx(numbers, rel=1e-8) for numbers in results[2:]]


def test_data_that_are_made_when_they_are_taken():
    class Noisy:
        def __init__(self):
            self.rng = random.Random(4)

        def __len__(self):
            return len(POINTS)

        def __getitem__(self, i):
            (x, y), label = POINTS[i]
            return [x + self.rng.gauss(0, 0.1), y], label

    compiled, plain = run(True, data=Noisy()), run(False, data=Noisy())
    assert compiled[0].loss != run(True)[0].loss
    assert len(compiled[0].loss) == len(plain[0].loss)


@pytest.mark.parametrize("sample", [0, 7, 22])
def test_a_sample_that_fails_is_named(sample):
    data = [(x, 1.0) for x, _ in POINTS]
    data[sample] = (data[sample][0], 1e3)
    w = Value(0.5)

    def loss(x, size):
        return (w * x[0] * x[0] * size * 10).exp()

    before = []
    for compiled in (True, False):
        w.data, w.grad = 0.5, 0.0
        optimizer = optim.SGD([w], lr=1e-9, momentum=0.9)
        with pytest.raises(TrainingError, match=rf"data\[{sample}\]: OverflowError: .*exp") as caught:
            fit(loss, data, optimizer, epochs=3, batch_size=2, shuffle=False, compile=compiled)
        before.append((w.data, w.grad, optimizer.steps, optimizer.state[0][0], caught.value.history.loss))
    assert before[0][2] == before[1][2] == sample // 2
    assert before[0][:4] == pytest.approx(before[1][:4], rel=1e-12)


def test_a_gradient_that_overflows_only_in_the_sum():
    w = Value(0.0)
    fit(lambda x: w * (1e308 * x), [1.0, 1.5, 1.7], optim.SGD([w], lr=1e-308), epochs=1, batch_size=3, compile=True)
    assert w.data == pytest.approx(-1.4)
    w.data = 0.0
    with pytest.raises(TrainingError, match="the gradient is not finite"):
        fit(lambda x: w * 1e308 * 2.9, [1, 2, 3], optim.SGD([w]), epochs=1, batch_size=3, compile=True)
    assert w.data == 0.0


def test_a_run_that_is_interrupted_and_goes_on(tmp_path):
    for checkpoint in (tmp_path / "whole", tmp_path / "parts"):
        if checkpoint.name == "parts":
            for epochs in (1, 3):
                run(True, optim.Adam, checkpoint=checkpoint, epochs=epochs)
        history, parameters, optimizer = run(True, optim.Adam, checkpoint=checkpoint, epochs=5)
        if checkpoint.name == "whole":
            expected = history.loss, parameters, optimizer.state
    assert (history.loss, parameters, optimizer.state) == expected


def test_what_can_not_be_compiled_runs_without_and_says_so():
    w = Value(1.0)

    def loss(x):
        return w * x if w.data > 0 else -w * x

    with pytest.warns(UserWarning, match=r"training runs without compiling.*data of a parameter are read"):
        fit(loss, [1.0, 2.0], optim.SGD([w], lr=1e-4), epochs=50)
    assert w.data == pytest.approx(1 - 1e-4 * 150)
    with pytest.raises(TraceError, match="data of a parameter"):
        fit(loss, [1.0], optim.SGD([w]), epochs=1, compile=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(loss, [1.0], optim.SGD([w]), epochs=1, compile=False)
    with pytest.raises(ValueError, match="compile is True, False or 'auto', not 'yes'"):
        fit(loss, [1.0], optim.SGD([w]), epochs=1, compile="yes")


def test_without_llvmlite(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "micrograd.training.compiled", None)
    w = Value(1.0)
    with pytest.warns(UserWarning, match="it needs llvmlite and numpy: python -m pip install llvmlite numpy"):
        fit(lambda x: w * x, [1.0], optim.SGD([w], lr=0.5), epochs=100)
    assert w.data == -49.0
    with pytest.raises(ImportError, match="python -m pip install llvmlite numpy"):
        fit(lambda x: w * x, [1.0], optim.SGD([w]), epochs=1, compile=True)


def test_weights_that_are_not_trained_and_parameters_that_are_not_used():
    trained, unused, fixed = Value(1.0), Value(2.0), Value(3.0)
    history = fit(lambda x: (trained * fixed - x) ** 2, [1.0, 2.0], optim.SGD([unused, trained], lr=0.01), epochs=3,
                  shuffle=False, compile=True)  # fmt: skip
    expected = 1.0
    for x in (1.0, 2.0) * 3:
        expected -= 0.01 * 6 * (3 * expected - x)
    assert trained.data == pytest.approx(expected, rel=1e-12)
    assert (unused.data, fixed.data) == (2.0, 3.0)
    assert math.isfinite(history.loss[-1])


def test_what_a_callback_changes_is_seen():
    data = [(float(i % 7), float(i % 5)) for i in range(60)]

    def run(how):
        weight, factor = Value(1.0), [1.0]

        def anneal(history):
            factor[0] /= 2

        def loss(x, t):
            return factor[0] * (weight * x - t) ** 2

        options = {"compile": how, "callbacks": [anneal], "validation": data[:5], "progress": False, "shuffle": False}
        history = fit(loss, data, optim.SGD([weight], lr=0.01), epochs=5, batch_size=10, **options)
        return weight.data, *history.loss, *history.validation_loss

    assert run(True) == pytest.approx(run(False), rel=1e-12)


def test_the_validation_of_a_compiled_run():
    def run(how, validation):
        weight = Value(1.0)
        data = [(0.5, 1.0), (1.0, 0.0)] * 60
        options = {"epochs": 2, "batch_size": 10, "validation": validation, "compile": how, "progress": False}
        return fit(lambda x, t: (weight * x - t).exp(), data, optim.SGD([weight], lr=0.01), shuffle=False, **options)

    good = [(0.1 * i, 1.0) for i in range(50)]
    assert run(True, good).validation_loss == pytest.approx(run(False, good).validation_loss, rel=1e-12)
    for how in (True, False):
        with pytest.raises(TrainingError, match=r"the loss of validation\[2\]: OverflowError"):
            run(how, [*good[:2], (1e5, 0.0)])


def descent(how, data, loss, weight=1.0, lr=0.01, **more):
    w = Value(weight)
    options = {"epochs": 3, "batch_size": 2, "shuffle": False, "progress": False, "compile": how, **more}
    for name in ("clip", "schedule", "callbacks"):
        if name in options:
            options[name] = options[name](w)
    history = fit(lambda *sample: loss(w, *sample), data, optim.SGD([w], lr=lr), **options)
    return w.data, history.loss


LINE = [(float(i % 7) - 3, float(i % 5)) for i in range(100)]


def test_samples_that_are_drawn_anew_each_time():
    class Drawn:
        def __init__(self):
            random.seed(7)

        def __len__(self):
            return 100

        def __getitem__(self, i):
            return ([1.0] * random.randint(1, 3), random.random())

    def loss(w, xs, y):
        return (functional.sum([w * x for x in xs]) - y) ** 2

    runs = [descent(how, Drawn(), loss, callbacks=lambda w: [lambda history: None]) for how in (False, True)]
    assert runs[1][0] == pytest.approx(runs[0][0], rel=1e-12)
    assert runs[1][1] == pytest.approx(runs[0][1], rel=1e-12)


@pytest.mark.parametrize("bounded", [False, True])
def test_clip_sees_and_sets_the_parameters(bounded):
    def clip(w):
        def change(parameters):
            for p in parameters:
                p.grad += 0.5 * p.data
                if bounded:
                    p.data = max(min(p.data, 0.9), 0.8)

        return change

    runs = [descent(how, LINE, lambda w, x, y: (w * x - y) ** 2, clip=clip) for how in (False, True)]
    assert runs[1][0] == pytest.approx(runs[0][0], rel=1e-12)


def test_a_clip_that_fails_is_a_step_that_fails():
    def clip(w):
        def fail(parameters):
            raise RuntimeError("no")

        return fail

    for how in (False, True):
        with pytest.raises(TrainingError, match="RuntimeError: no"):
            descent(how, LINE, lambda w, x, y: (w * x - y) ** 2, clip=clip)


def test_a_run_goes_on_without_compiling_where_it_has_to():
    data = [([1.0], 2.0)] * 60 + [([1.0, 2.0], 1.0)] * 60

    def loss(w, xs, y):
        if len(xs) == 2 and w * xs[0] > 100:
            return w * 0
        return (w * xs[-1] - y) ** 2

    with pytest.warns(UserWarning, match="training runs without compiling"):
        found = descent("auto", data, loss)
    expected = descent(False, data, loss)
    assert (found[0], len(found[1])) == (pytest.approx(expected[0], rel=1e-12), 180)
    with pytest.raises(TraceError):
        descent(True, data, loss)


@pytest.mark.parametrize("every", ["epoch", "step"])
def test_what_a_schedule_or_a_callback_of_the_users_changes_is_seen(every):
    scale = {"b": 1.0, "f": "relu"}
    beta = Value(1.0)

    class Anneal:
        def step(self):
            scale["b"] /= 2
            scale["f"] = "abs"
            beta.data *= 0.5

    def loss(w, x, y):
        e = w * x - y
        return scale["b"] * (e.relu() if scale["f"] == "relu" else abs(e)) * beta

    found = []
    for how in (False, True):
        scale.update(b=1.0, f="relu")
        beta.data = 1.0
        found.append(descent(how, [(3.0, -1.0), *LINE], loss, schedule=lambda w: Anneal(), schedule_every=every))
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-12)


def test_a_changed_inner_optimizer_is_seen():
    def run(how):
        w = Value(1.0)
        optimizer = optim.Lookahead(optim.SGD([w], lr=0.001, momentum=0.5), k=3)

        def slow(history):
            optimizer.optimizer.momentum = 0.9

        options = {"epochs": 3, "batch_size": 5, "shuffle": False, "progress": False, "compile": how}
        fit(lambda x, y: (w * x - y) ** 2, LINE, optimizer, callbacks=[slow], **options)
        return w.data

    assert run(True) == pytest.approx(run(False), rel=1e-12)


def test_a_loss_that_is_not_finite_or_no_value_is_an_error_here_too():
    data = [(1.0, 2.0)] * 60 + [(math.inf, 1.0)] + [(1.0, 1.0)] * 59
    for how in (False, "auto"):
        with pytest.raises(TrainingError, match=r"data\[60\]: ValueError: the loss is nan"):
            descent(how, data, lambda w, x, y: (w * y) ** 2 + x * 0.0)
    for how in (False, True):
        with pytest.raises((TrainingError, TraceError), match="must be a Value computed from the parameters"):
            descent(how, data, lambda w, x, y: 3.0)


def test_a_loss_that_draws_is_refused_without_having_drawn():
    def losses(compiled):
        noise, w = random.Random(7), Value(1.0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return fit(lambda x, y: (w * x[0] - noise.random()) ** 2, POINTS * 10, optim.SGD([w], lr=0.01), epochs=1,
                       batch_size=5, shuffle=False, compile=compiled, progress=False).loss  # fmt: skip

    assert losses("auto") == losses(False)


def words_and_weights():
    draw = random.Random(2)
    w = [Value(0.1 * i) for i in range(4)]
    words = [([draw.gauss(0, 1) for _ in range(draw.choice([1, 2, 3]))], draw.gauss(0, 1)) for _ in range(90)]
    return (
        words,
        w,
        lambda word, y: (functional.sum([w[0] * x + (w[1] * x).tanh() * w[2] for x in word]) + w[3] - y) ** 2,
    )


@pytest.mark.parametrize("batch_size", [1, 7, 90])
def test_samples_of_all_lengths_are_compiled(monkeypatch, batch_size):
    eager = []
    step = EagerSteps.run
    monkeypatch.setattr(EagerSteps, "run", lambda *given: (eager.append(given), step(*given))[1])
    ends = []
    for compiled in (True, False):
        words, w, loss = words_and_weights()
        shuffled = {"batch_size": batch_size, "rng": random.Random(1)}
        fit(loss, words, optim.Adam(w, lr=0.01), epochs=5, compile=compiled, progress=False, **shuffled)
        ends.append([p.data for p in w])
        assert bool(eager) is not compiled
    assert ends[0] == pytest.approx(ends[1], rel=1e-9)


def test_how_many_steps_are_done_at_once_changes_no_bit(monkeypatch):
    def ends(burst, batch_size, epochs, lengths):
        monkeypatch.setattr(machine, "_BURST", burst)
        words, w, loss = words_and_weights()
        words = [sample for sample in words * 60 if len(sample[0]) in lengths][:1150]
        shuffled = {"batch_size": batch_size, "rng": random.Random(1)}
        history = fit(loss, words, optim.Adam(w, lr=0.01), epochs=epochs, compile=True, progress=False, **shuffled)
        return [p.data for p in w], history.gradient_norm

    # Of 600, then 550: more than a block has.
    for case in ((1, 1, {1, 2, 3}), (600, 12, {1, 2, 3}), (600, 12, {2})):
        assert ends(1e-9, *case) == ends(10.0, *case)


def test_one_sample_without_a_program_does_not_keep_the_others_from_theirs(monkeypatch):
    words, w, loss = words_and_weights()
    calls, run_ = [], machine.CompiledSteps.run
    monkeypatch.setattr(machine.CompiledSteps, "run", lambda *a: (calls.append(1), run_(*a))[1])
    fit(lambda word, y: loss(word, y) if word else Value(0.5) * 2, [*words * 10, ([], 0.0)], optim.SGD(w, lr=0.001),
        epochs=2, batch_size=1, shuffle=False, compile=True, progress=False)  # fmt: skip
    assert len(calls) < 100


def test_ctrl_c_after_the_last_step_of_an_epoch(tmp_path):
    def run_until(kill):
        w, clipped = Value(0.3), []

        def clip(parameters):
            clipped.append(1)
            if len(clipped) == kill:
                os.kill(os.getpid(), signal.SIGINT)

        return fit(lambda x: (w - x) ** 2, [1.0, 2.0, 3.0, 4.0], optim.SGD([w], lr=0.01), epochs=3, compile=True,
                   clip=clip, checkpoint=tmp_path / "run.safetensors", progress=False, shuffle=False)  # fmt: skip

    assert run_until(4).steps == 4
    history = run_until(0)
    assert (history.steps, history.epochs, len(history.train_loss)) == (12, 3, 3)


def test_a_gradient_that_is_not_finite_is_not_clipped():
    w = Value(0.0)
    with pytest.raises(TrainingError, match=r"data\[0\]"):
        fit(lambda x: (w + 1e-300) ** 0.5 * 1e160 * x, [1.0], optim.SGD([w], lr=0.1), epochs=1, compile=True,
            progress=False, clip=lambda parameters: optim.clip_grad_value_(parameters, 1.0))  # fmt: skip
    assert w.data == 0.0


def test_what_clip_changes_is_seen():
    ends = []
    for compiled in (True, False):
        w, scale = Value(0.5), Value(1.0)

        def clip(parameters, scale=scale):
            scale.data *= 0.9

        fit(lambda x, w=w, scale=scale: (w * x * scale - 1) ** 2, [1.0, 2.0, 3.0], optim.SGD([w], lr=0.01), epochs=4,
            compile=compiled, clip=clip, shuffle=False, progress=False)  # fmt: skip
        ends.append(w.data)
    assert ends[0] == pytest.approx(ends[1], rel=1e-12)


def test_a_schedule_that_steps_with_the_steps_gives_the_same_bits():
    found = []
    for compiled in (True, False):
        w = Value(1.0)
        optimizer = optim.SGD([w], lr=0.01)
        schedule = optim.SequentialLR(
            optimizer, [optim.LinearLR(optimizer, 0.1, total_iters=30), optim.ExponentialLR(optimizer, 0.99)], [30]
        )
        history = fit(lambda x, y, w=w: (w * x - y) ** 2, LINE, optimizer, epochs=2, schedule=schedule,
                      schedule_every="step", rng=random.Random(0), compile=compiled)  # fmt: skip
        assert history.lr == pytest.approx([schedule.formula(step) for step in range(200)], rel=1e-12)
        found.append((w.data, history.lr, history.loss, history.gradient_norm, schedule.state_dict()))
    assert found[0] == found[1]


# A fallback that nobody listed


def plant(monkeypatch, where, at, error):
    """Raises an error in a part of the compiled steps, from a given call on."""
    calls, original = [], getattr(machine.CompiledSteps, where)

    def fail(*arguments):
        calls.append(1)
        if len(calls) >= at:
            raise error
        return original(*arguments)

    monkeypatch.setattr(machine.CompiledSteps, where, fail)
    monkeypatch.setattr(machine, "_BURST", 1e-9)  # so that there are many calls


PLANTED = [
    ("do_steps", 3),
    ("prepare", 3),
    ("run_all", 3),
    ("make_finish", 3),
    ("find_update", 4),
    ("find_program", 1),
    ("read", 1),
    ("take_list", 1),
]


@pytest.mark.parametrize("error", [KeyError("planted"), ValueError("planted"), ZeroDivisionError("planted")], ids=repr)
@pytest.mark.parametrize(("where", "at"), PLANTED)
def test_an_error_in_compiled_steps_is_raised(monkeypatch, where, at, error):
    plant(monkeypatch, where, at, error)
    w = Value(1.0)
    optimizer = optim.SGD([w], lr=0.01, momentum=0.5)
    train = lambda w, optimizer, epochs, how: fit(  # noqa: E731
        lambda x, y: (w * x - y) ** 2, LINE, optimizer, epochs=epochs, batch_size=10, shuffle=False, compile=how
    )
    with pytest.raises(type(error), match="planted"):
        train(w, optimizer, 4, True)
    assert (where in ("do_steps", "prepare", "run_all", "make_finish", "find_update")) == bool(optimizer.steps)
    other = Value(1.0)
    again = optim.SGD([other], lr=0.01, momentum=0.5)
    data = [sample for _ in range(4) for sample in LINE][: 10 * optimizer.steps]
    if data:
        fit(lambda x, y: (other * x - y) ** 2, data, again, epochs=1, batch_size=10, shuffle=False, compile=False)
    assert (w.data, optimizer.steps) == (pytest.approx(other.data, rel=1e-12), again.steps)
    assert optimizer.state[0] == pytest.approx(again.state[0], rel=1e-9)


@pytest.mark.parametrize("error", [KeyError("planted"), ValueError("planted"), ZeroDivisionError("planted")], ids=repr)
@pytest.mark.parametrize(("where", "at"), PLANTED)
def test_an_error_in_compiled_steps_is_one_warning_where_compiling_is_automatic(monkeypatch, where, at, error):
    expected = descent(False, LINE, lambda w, x, y: (w * x - y) ** 2)
    plant(monkeypatch, where, at, error)
    with pytest.warns(UserWarning, match="training runs without compiling") as caught:
        found = descent("auto", LINE, lambda w, x, y: (w * x - y) ** 2)
    assert [str(warning.message).partition(": ")[2] for warning in caught] == [f"{type(error).__name__}: {error}"]
    assert caught[0].filename == __file__
    assert (found[0], len(found[1])) == (pytest.approx(expected[0], rel=1e-12), 150)


@pytest.mark.parametrize("fails", [lambda x: {1.0: 2.0}[x], lambda x: only_a_float(x)])
@pytest.mark.parametrize("first", [True, False])
def test_a_loss_that_fails_only_when_it_is_compiled_is_not_left_to_values_in_silence(fails, first):
    data = [([1.0, 1.0], 2.0)] * 60
    data.insert(0 if first else 30, ([1.0], 2.0))

    def loss(w, xs, y):
        return (w * (fails(xs[0]) if len(xs) == 1 else 1.0) - y) ** 2

    with pytest.raises((KeyError, ValueError), match=r"Value|only"):
        descent(True, data, loss)
    with pytest.warns(UserWarning, match=r"training runs without compiling.*(KeyError|ValueError)") as caught:
        found = descent("auto", data, loss)
    assert len(caught) == 1
    assert found[0] == pytest.approx(descent(False, data, loss)[0], rel=1e-12)


def only_a_float(x):
    if not isinstance(x, float):
        raise ValueError("only floats")
    return x


def test_a_validation_that_can_not_be_compiled_is_raised_or_said():
    model = nn.Linear(1, 1, rng=random.Random(0))

    def loss(x, y):
        out = model([x])[0]
        return (out - y) ** 2 if model.training or out.data > -100 else out

    def train(how):
        optimizer = optim.SGD(model.parameters(), lr=0.01)
        return fit(loss, LINE, optimizer, epochs=3, batch_size=10, model=model, validation=LINE[:5], compile=how)

    with pytest.raises(TraceError, match="data of a Value"):
        train(True)
    with pytest.warns(UserWarning, match="training runs without compiling.*the validation: TraceError") as caught:
        history = train("auto")
    assert len(caught) == 1
    assert len(history.validation_loss) == 3


@pytest.mark.parametrize("error", [KeyError("planted"), ValueError("planted"), ZeroDivisionError("planted")], ids=repr)
def test_an_error_in_the_compiled_validation_is_raised_or_said(monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(machine.Compiled, "values", fail)
    train = lambda how: descent(how, LINE, lambda w, x, y: (w * x - y) ** 2, validation=LINE[:5])  # noqa: E731
    with pytest.raises(type(error), match="planted"):
        train(True)
    with pytest.warns(UserWarning, match="the validation: .*planted") as caught:
        assert train("auto")[0] == pytest.approx(train(False)[0], rel=1e-12)
    assert len(caught) == 1


@pytest.mark.parametrize("how", [True, "auto"])
def test_a_validation_of_several_forms_is_computed_from_values(how):
    words, w, loss = words_and_weights()
    options = {"epochs": 2, "batch_size": 10, "shuffle": False, "validation": words[:10]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        histories = [fit(loss, words, optim.SGD(w, lr=0.0), compile=it, **options) for it in (how, False)]
    assert histories[0].validation_loss == pytest.approx(histories[1].validation_loss, rel=1e-12)


def test_a_failing_part_of_the_callers_own_is_what_it_is_without_compiling():
    class Data(list):
        def __getitem__(self, i):
            if i == 40:
                raise KeyError("of the data")
            return super().__getitem__(i)

    def train(how, data=LINE, setting=None):
        w = Value(1.0)
        optimizer = optim.SGD([w], lr=0.01)

        def change(history):
            optimizer.momentum = setting

        fit(lambda x, y: (w * x - y) ** 2, data, optimizer, epochs=2, shuffle=False, compile=how,
            callbacks=[change] if setting else [])  # fmt: skip

    for how in (True, False):
        with pytest.raises(TrainingError, match=r"step 41 of 100, data\[40\]: KeyError: 'of the data'"):
            train(how, Data(LINE))
        with pytest.raises(TrainingError, match=r"epoch 2, step 1 of 100.*momentum must be at least 0"):
            train(how, setting=-1.0)


# The order of the samples


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 2**32),
    samples=st.integers(1, 40),
    batch_size=st.integers(1, 12),
    epochs=st.integers(1, 60),
    by_module=st.booleans(),
)
def test_compiled_steps_draw_the_same_orders_and_leave_the_generator_as_it_would_be(
    seed, samples, batch_size, epochs, by_module
):
    ends = []
    for compiled in (True, False):
        weight, rng = Value(0.5), random if by_module else random.Random(seed)
        rng.seed(seed)
        data = [float(i * i) for i in range(samples)]
        history = fit(
            lambda x: (weight * 0.5 - x) ** 2,  # noqa: B023
            data,
            optim.SGD([weight], lr=1e-4),
            epochs=epochs,
            batch_size=batch_size,
            rng=rng,
            progress=False,
            compile=compiled,
        )
        ends.append((weight.data, history.loss, history.train_loss, rng.getstate()))
    (weight, *losses, state), (expected, *its_losses, its_state) = ends
    assert state == its_state
    assert weight == pytest.approx(expected, rel=1e-12)
    for ours, theirs in zip(losses, its_losses, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-10)


def test_orders_drawn_at_once_are_those_drawn_one_by_one():
    class Coarse(random.Random):  # so coarse that many keys are equal
        def random(self):
            return int(super().random() * 4) / 4

    for kind in (random.Random, Coarse):
        one, other = kind(3), kind(3)
        orders = draws.draw_orders(one, 200, 20)
        assert orders.tolist() == [draw_order(200, other) for _ in range(20)]
        assert one.getstate() == other.getstate()


def test_a_run_that_fails_among_orders_drawn_before_leaves_the_generator_as_it_would_be():
    states = []
    for compiled in (True, False):
        weight, rng = Value(1.0), random.Random(1)
        data = [1.0, 2.0, 3.0, 4.0]
        with pytest.raises(TrainingError):  # the weight grows until its exponential overflows
            fit(
                lambda x: (weight * x).exp() * -1.0,  # noqa: B023
                data,
                optim.SGD([weight], lr=0.1),
                epochs=500,
                batch_size=2,
                rng=rng,
                progress=False,
                compile=compiled,
            )
        states.append(rng.getstate())
    assert states[0] == states[1]


def classify(compiled, metrics, change=lambda *_: None, data=None):
    rng, model = random.Random(3), nn.MLP(2, [6, 3], activation="tanh", rng=random.Random(1))
    points = data or [([rng.gauss(0, 1), rng.gauss(0, 1)], rng.randrange(3)) for _ in range(60)]
    history = fit(
        lambda x, label: functional.cross_entropy(model(x), label), points, optim.SGD(model.parameters(), lr=0.1),
        epochs=3, batch_size=10, validation=points[:20], model=model, rng=rng, compile=compiled, progress=False,
        metrics={name: functools.partial(metric, model) for name, metric in metrics.items()},
    )  # fmt: skip
    return history.metrics, history.validation_loss


def accuracy(model, x, label):
    scores = [score.data for score in model(x)]
    return scores.index(max(scores)) == label


def slope(model, x, label):
    return sum(abs(d) for d in grad(model(x)[label], model.parameters()))


def sharpness(model, x, label):
    before = model(x)[0].data
    parameter = model.layers[0].neurons[0].w[0]
    parameter.data += 0.5
    after = model(x)[0].data
    parameter.data -= 0.5
    return after - before


def of_a_changed_sample(model, x, label):
    x[0] += 1.0
    try:
        return model(x)[0].data
    finally:
        x[0] -= 1.0


def of_another_list(model, x, label):
    return model([x[1], x[0]])[label].data


def twice(model, x, label):
    model(x).pop()
    return len(model(x))


def in_training(model, x, label):
    model.train()
    try:
        return model(x)[0].data + model.training
    finally:
        model.eval()


@pytest.mark.parametrize(
    "metric", [accuracy, slope, sharpness, of_a_changed_sample, of_another_list, twice, in_training]
)
def test_metrics_get_the_model_s_outputs(metric):
    (mine, loss), (its, expected) = (
        classify(compiled, {"accuracy": accuracy, "it": metric}) for compiled in (True, False)
    )
    assert mine["accuracy"] == its["accuracy"]
    assert mine["it"] == pytest.approx(its["it"], rel=1e-9, abs=1e-12)
    assert loss == pytest.approx(expected, rel=1e-9)


def test_a_metric_does_not_run_the_model_for_each_sample(monkeypatch):
    calls, forward = [], nn.Layer.forward
    monkeypatch.setattr(nn.Layer, "forward", lambda layer, x: calls.append(1) or forward(layer, x))
    counts = []
    for compiled in (False, True):
        calls.clear()
        classify(compiled, {"accuracy": accuracy, "again": accuracy})
        counts.append(len(calls))
    assert counts[1] < counts[0] / 10


def test_metrics_of_a_model_that_can_not_be_compiled():
    class Odd(nn.MLP):
        def forward(self, x):
            out = super().forward(x)
            return out if self.training or out[0].data > 0 else out[::-1]

    def run(compiled):
        model = Odd(2, [6, 3], rng=random.Random(1))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return fit(
                lambda x, label: functional.cross_entropy(model(x), label), POINTS * 10,
                optim.SGD(model.parameters(), lr=0.1), epochs=2, validation=POINTS, model=model, rng=random.Random(1),
                compile=compiled, metrics={"accuracy": lambda x, y: accuracy(model, x, y)}, progress=False,
            ).metrics  # fmt: skip

    assert run("auto") == run(False)
