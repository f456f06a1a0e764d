"""The training loop: its results, when it stops, the state after an error, and its messages."""

import contextlib
import gc
import io
import math
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass

import pytest

import micrograd
from micrograd import Value, detect_anomaly, nn, optim
from micrograd.data import DataLoader
from micrograd.functional import cross_entropy, mean
from micrograd.optim.settings import whole
from micrograd.training import EarlyStopping, GradientNorm, StopCondition, TrainingError, fit

SAMPLES = [([x / 10, (7 * x % 10) / 10], x % 3) for x in range(20)]


def network(seed=0, **options):
    model = nn.MLP(2, [5, 3], **{"activation": "tanh", "rng": random.Random(seed), **options})
    return model, lambda x, y: cross_entropy(model(x), y)


def numbers(model):
    return [parameter.data for parameter in model.parameters()]


def everything(optimizer):
    """Returns the state that a failed step must not change."""
    return [(p.data, p.grad) for p in optimizer.parameters], optimizer.state_dict()


def test_it_is_what_the_package_offers():
    assert micrograd.fit is fit


@pytest.mark.parametrize("batch_size", [1, 6, 20])
def test_it_is_the_loop_that_one_would_write(batch_size):
    model, loss = network()
    optimizer = optim.Adam(model.parameters(), lr=0.05)
    history = fit(loss, SAMPLES, optimizer, epochs=3, batch_size=batch_size, rng=random.Random(1))

    other, other_loss = network()
    optimizer, losses = optim.Adam(other.parameters(), lr=0.05), []
    batches = DataLoader(SAMPLES, batch_size, shuffle=True, rng=random.Random(1))
    for _ in range(3):
        for batch in batches:
            total = mean(other_loss(*sample) for sample in zip(*batch, strict=True))
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
            losses.append(total.data)
    assert numbers(model) == pytest.approx(numbers(other), rel=1e-12)
    assert history.loss == pytest.approx(losses, rel=1e-12)
    assert [p.grad for p in model.parameters()] == pytest.approx([p.grad for p in other.parameters()], rel=1e-9)
    assert history.gradient_norm[-1] == pytest.approx(math.hypot(*[p.grad for p in other.parameters()]), rel=1e-12)
    assert (history.epochs, history.steps) == (3, 3 * len(batches))
    assert history.reason == "all 3 epochs were trained"


def test_the_documents_update_counts():
    weight = Value(0.0)
    for batch_size, updates in ((100, 50), (1, 5000), (20, 250)):
        history = fit(lambda x: weight * x * 0, range(100), optim.SGD([weight]), epochs=50, batch_size=batch_size)
        assert history.steps == updates


def test_a_loss_that_is_a_parameter_itself():
    weight = Value(2.0)
    fit(lambda _: weight, [0, 1], optim.SGD([weight], lr=0.5), epochs=1, batch_size=2)
    assert (weight.data, weight.grad) == (1.5, 1.0)


def test_gradients_from_before_and_of_frozen_parameters_do_not_count():
    model, loss = network()
    for parameter in model.parameters():
        parameter.grad = 100.0
    trained, frozen = model.layers[0].parameters(), model.layers[1].parameters()
    before = [p.data for p in frozen]
    history = fit(loss, SAMPLES, optim.SGD(trained, lr=0.1), epochs=2, batch_size=20, model=model)
    assert [p.data for p in frozen] == before
    assert history.gradient_norm[-1] == pytest.approx(math.hypot(*[p.grad for p in trained]))
    assert max(history.gradient_norm) < 10


def test_validation_metrics_schedule_and_callbacks():
    model, loss = network()
    optimizer = optim.SGD(model.parameters(), lr=1.0)
    seen = []
    history = fit(
        loss,
        SAMPLES[:15],
        optimizer,
        epochs=3,
        batch_size=5,
        validation=SAMPLES[15:],
        metrics={"right": lambda x, y: max(range(3), key=lambda i: model(x)[i].data) == y},
        schedule=optim.StepLR(optimizer, 1, gamma=0.5),
        callbacks=[lambda h: seen.append((h.epochs, h.train_loss[-1], h.validation_loss[-1]))],
        model=model,
    )
    assert history.lr == [1.0] * 3 + [0.5] * 3 + [0.25] * 3
    assert history.validation_loss[-1] == pytest.approx(sum(loss(*s).data for s in SAMPLES[15:]) / 5)
    assert history.train_loss[0] == pytest.approx(sum(history.loss[:3]) / 3)
    assert len(history.metrics["right"]) == 3
    assert all(0 <= share <= 1 for share in history.metrics["right"])
    assert [epoch for epoch, *_ in seen] == [1, 2, 3]
    assert seen[-1][1:] == (history.train_loss[-1], history.validation_loss[-1])


def test_a_schedule_by_the_loss_is_given_the_validation_loss():
    weight = Value(0.0)
    optimizer = optim.SGD([weight], lr=1.0)
    schedule = optim.ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
    fit(lambda x: weight * 0 + x, [1.0], optimizer, epochs=3, validation=[7.0], schedule=schedule)
    assert (schedule.best, optimizer.lr) == (7.0, 0.25)


class TransformerLR(optim.LRScheduler):
    """base · min(t^−½, t · warm_up^−1.5), with t from 1 (Vaswani et al., *Attention is all you need*, 2017)."""

    warm_up: int = optim.setting(whole(1))

    def formula(self, epoch):
        return self.base_lr * min((epoch + 1) ** -0.5, (epoch + 1) * self.warm_up**-1.5)

    def following(self, lr):
        return self.formula(self.last_epoch)


def test_a_schedule_that_steps_with_the_steps():
    weight = Value(0.0)
    optimizer = optim.SGD([weight], lr=0.1)
    schedule = TransformerLR(optimizer, 4)
    schedule.restart()
    history = fit(
        lambda x: (weight - x) ** 2, range(9), optimizer, epochs=2, batch_size=2, schedule=schedule,
        schedule_every="step",
    )  # fmt: skip
    assert history.lr == [schedule.formula(step) for step in range(10)]
    assert history.lr.index(max(history.lr)) == 3
    assert schedule.last_epoch == 10


def test_a_schedule_by_the_loss_that_steps_with_the_steps_is_given_the_steps_loss():
    weight, measures = Value(0.0), []

    class Noting(optim.ReduceLROnPlateau):
        def step(self, metrics):
            measures.append(metrics)
            super().step(metrics)

    optimizer = optim.SGD([weight], lr=0.1)
    history = fit(
        lambda x: (weight - x) ** 2, range(4), optimizer, epochs=2, batch_size=2, validation=[7.0],
        schedule=Noting(optimizer), schedule_every="step",
    )  # fmt: skip
    assert measures == history.loss


def test_dropout_rests_in_validation_and_modes_are_given_back():
    model = nn.Sequential(nn.Linear(2, 8), nn.Dropout(0.5), nn.Linear(8, 3)).eval()
    modes = []

    def loss(x, y):
        modes.append(model.layers[1].training)
        return cross_entropy(model(x), y)

    fit(loss, SAMPLES[:2], optim.SGD(model.parameters()), epochs=2, validation=SAMPLES[2:3], model=model)
    assert modes == [True, True, False] * 2
    assert not model.training
    assert not model.layers[1].training


def test_clipping_comes_between_gradient_and_update():
    weight = Value(10.0)
    clip = lambda parameters: optim.clip_grad_norm_(parameters, 1.0)  # noqa: E731
    history = fit(lambda x: weight * x, [100.0], optim.SGD([weight], lr=1.0), epochs=2, clip=clip)
    assert history.gradient_norm == [100.0, 100.0]
    assert weight.data == pytest.approx(8.0, abs=1e-6)


# When it stops


def test_it_stops_when_the_gradient_is_near_0():
    weight = Value(5.0)
    history = fit(
        lambda x: (weight - x) ** 2, [3.0], optim.SGD([weight], lr=0.25), epochs=1000, stop=GradientNorm(1e-6)
    )
    assert history.gradient_norm[-1] < 1e-6 <= history.gradient_norm[-2]
    assert history.reason.startswith("the gradient norm, ")
    assert history.reason.endswith(", is below 1e-06")


def test_early_stopping_restores_the_best_parameters():
    weight, optimum = Value(0.0), 4.0
    history = fit(
        lambda x: (weight - x) ** 2,
        [10.0],
        optim.SGD([weight], lr=0.05),
        epochs=100,
        validation=[optimum],
        stop=[EarlyStopping(patience=3, min_delta=1e-9)],
    )
    best = min(history.validation_loss)
    assert history.epochs == history.validation_loss.index(best) + 1 + 4
    assert (weight.data - optimum) ** 2 == pytest.approx(best)
    assert history.reason == f"the validation loss has not improved for 4 epochs; its best was {best:.4g}"


def test_early_stopping_restores_the_best_parameters_also_after_the_last_epoch():
    weight = Value(0.0)
    fit(lambda _: (weight - 1) ** 2, [0], optim.SGD([weight], lr=1.1), epochs=3, stop=EarlyStopping(10))
    assert weight.data == pytest.approx(2.2)  # after the first epoch: the training losses are 1, 1.44, 2.0736


def test_a_condition_can_be_used_again():
    stop, weights = EarlyStopping(1), [Value(0.0), Value(0.0)]
    histories = [fit(lambda _, w=w: (w - 1) ** 2, [0], optim.SGD([w], lr=1.1), epochs=9, stop=stop) for w in weights]
    assert histories[0].train_loss == histories[1].train_loss
    assert weights[0].data == weights[1].data


def test_conditions_are_all_asked():
    class Counting(StopCondition):
        count = 0

        def after_step(self, history):
            self.count += 1
            return "now" if self.count == 2 else ""

    conditions = [Counting(), Counting()]
    weight = Value(1.0)
    history = fit(lambda _: weight * 1, [0], optim.SGD([weight]), epochs=5, stop=conditions)
    assert [condition.count for condition in conditions] == [2, 2]
    assert history.reason == "now; now"


def test_a_condition_that_json_can_not_hold_is_no_matter_without_a_checkpoint():
    @dataclass
    class When(StopCondition):
        test: object

        def after_step(self, history):
            return "so it is" if self.test(history) else ""

    weight = Value(1.0)
    stop = When(lambda history: history.steps == 3)
    assert fit(lambda _: weight * 1, [0], optim.SGD([weight]), epochs=5, stop=stop).steps == 3


# What a failed step leaves behind


def failing(how):
    """Returns the error of a run in which one sample fails in the second epoch, and the index of that sample."""
    model, loss = network()
    optimizer = optim.Adam(model.parameters(), lr=0.1)
    calls, failed, before = [], [], []

    def fragile(x, y):
        calls.append((x, y))
        if len(calls) == 34:  # the fourth in the third batch of the second epoch
            failed.append((x, y))
        return how(loss(x, y)) if (x, y) in failed else loss(x, y)

    class Watching(StopCondition):
        def after_step(self, history):
            before[:] = everything(optimizer)
            return ""

    with pytest.raises(TrainingError) as caught:
        fit(fragile, SAMPLES, optimizer, epochs=5, batch_size=5, stop=Watching(), model=model, rng=random.Random(3))
    assert list(everything(optimizer)) == before
    return caught.value, SAMPLES.index(failed[0])


def divide_by_zero(out):
    return out / 0


@pytest.mark.parametrize(
    ("how", "cause", "message"),
    [
        (lambda out: (out * 1e6).exp(), OverflowError, "OverflowError: .*exp"),
        (lambda out: out * math.inf, ValueError, "ValueError: the loss is inf"),
        (lambda out: out * math.nan, ValueError, "ValueError: the loss is nan"),
        (divide_by_zero, ZeroDivisionError, "ZeroDivisionError: "),
        (lambda out: out.data, TypeError, "the loss must be a Value computed from the parameters, not float"),
        (lambda out: {}["key"], KeyError, "KeyError: 'key'"),
        (lambda out: (out * 0).sqrt(), ValueError, "the gradient is not finite"),
    ],
)
def test_a_step_that_fails_changes_nothing_and_names_the_sample(how, cause, message):
    error, sample = failing(how)
    assert isinstance(error.__cause__, cause)
    assert error.sample == sample
    assert f"data[{sample}]" in str(error)
    assert str(error).startswith("epoch 2, step 3 of 4, data[")
    assert "parameters, gradients and optimizer are as before the step" in str(error)
    assert error.history.steps == 6
    assert re.search(message, str(error))


def test_a_gradient_that_overflows_names_the_sample():
    weight = Value(1.0)
    optimizer = optim.SGD([weight])

    def loss(x):
        return weight * x * 1e200 * 1e-200 if x != 3.0 else (weight * 1e-200) * 1e-200 * 1e300 * 1e300

    data = [1.0, 2.0, 3.0, 4.0]
    with pytest.raises(TrainingError, match=r"data\[2\]: ValueError: the gradient is not finite") as caught:
        fit(loss, data, optimizer, epochs=1, batch_size=4)
    assert caught.value.sample == 2
    assert (weight.data, weight.grad, optimizer.steps) == (1.0, 0.0, 0)


def test_a_gradient_that_overflows_only_in_the_sum():
    weight = Value(0.0)
    with pytest.raises(TrainingError, match=r"the batch of data\[i\], i in \[0, 1, 2\]"):
        fit(lambda x: weight * 1e308 * 2.9, [1, 2, 3], optim.SGD([weight]), epochs=1, batch_size=3, shuffle=False)
    assert weight.grad == 0.0


def test_generators_and_buffers_go_back_with_a_failed_step():
    rng = random.Random(0)
    dropout, norm = nn.Dropout(0.5, rng=random.Random(5)), nn.BatchNorm(1)
    model = nn.Sequential(nn.Linear(1, 1), norm, dropout)
    optimizer = optim.SGD(model.parameters())
    states = []

    def loss(batch):
        states.append((rng.getstate(), dropout._draw.__self__.getstate(), random.getstate(), model.state_dict()))
        out = model([[x] for x in batch])
        rng.random(), random.random()
        if len(states) == 2:
            raise ValueError("two")
        return mean(y for (y,) in out)

    with pytest.raises(TrainingError):
        fit(loss, [[1.0, 2.0], [3.0, 4.0]], optimizer, epochs=1, model=model, rng=rng)
    now = (rng.getstate(), dropout._draw.__self__.getstate(), random.getstate(), model.state_dict())
    assert now == states[1]
    assert norm.num_batches_tracked == 1


def test_a_sample_that_fails_in_validation_is_named():
    weight = Value(1.0)
    with pytest.raises(TrainingError, match=r"half of validation\[1\]: ZeroDivisionError") as caught:
        fit(
            lambda x: weight * x,
            [1.0],
            optim.SGD([weight], lr=0.5),
            epochs=1,
            validation=[1.0, 0.0],
            metrics={"half": lambda x: 1 / x},
        )
    assert caught.value.sample == 1
    assert weight.data == 0.5


# Ctrl-C


def interrupting(at, times=1, then=lambda: None):
    weight, calls = Value(1.0), []

    def loss(x):
        calls.append(x)
        if len(calls) == at:
            for _ in range(times):
                os.kill(os.getpid(), signal.SIGINT)
            then()
        return weight * x

    return weight, calls, loss


def test_ctrl_c_ends_after_the_current_step():
    before = signal.getsignal(signal.SIGINT)
    weight, calls, loss = interrupting(at=7)
    history = fit(loss, [1.0] * 10, optim.SGD([weight], lr=0.01), epochs=3, batch_size=2)
    assert history.steps == 4
    assert len(calls) == 8
    assert history.reason == "interrupted by Ctrl-C after 4 of 5 steps of epoch 1"
    assert weight.data == pytest.approx(0.96)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_ctrl_c_interrupts_at_once_and_undoes_the_step():
    before = signal.getsignal(signal.SIGINT)
    weight, calls, loss = interrupting(at=7, times=2, then=lambda: time.sleep(0.1))
    optimizer = optim.SGD([weight], lr=0.01, momentum=0.9)
    with pytest.raises(KeyboardInterrupt):
        fit(loss, [1.0] * 10, optimizer, epochs=3, batch_size=2)
    assert len(calls) == 7
    assert optimizer.steps == 3
    assert weight.data == pytest.approx(1 - 0.01 * (1 + 1.9 + 2.71))
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_ctrl_c_lets_an_update_be_finished():
    class Slow(optim.SGD):
        def step(self):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
            super().step()

    weight = Value(1.0)
    history = fit(lambda x: weight * x, [1.0] * 3, Slow([weight], lr=0.1), epochs=1)
    assert (history.steps, weight.data) == (1, 0.9)


def test_in_another_thread_signals_are_left_alone():
    weight, results = Value(1.0), []
    run = lambda: results.append(fit(lambda x: weight * x, [1.0], optim.SGD([weight]), epochs=2))  # noqa: E731
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert results[0].epochs == 2


def test_an_ignored_ctrl_c_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        weight, _, loss = interrupting(at=2)
        assert fit(loss, [1.0] * 4, optim.SGD([weight]), epochs=1).steps == 4
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


# The collector, memory


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("fails", [True, False])
def test_the_collector_rests_in_a_step_and_is_given_back(enabled, fails):
    weight, seen = Value(1.0), []

    def loss(x):
        seen.append(gc.isenabled())
        return weight / (0 if fails and len(seen) == 2 else 1)

    (gc.enable if enabled else gc.disable)()
    try:
        run = lambda: fit(loss, [1, 2], optim.SGD([weight]), epochs=1, validation=[3])  # noqa: E731
        if fails:
            with pytest.raises(TrainingError):
                run()
        else:
            run()
        assert gc.isenabled() == enabled
        assert not any(seen)
    finally:
        gc.enable()


def test_one_samples_graph_at_a_time():
    live = []

    class Counted(Value):
        __slots__ = ()

        def __init__(self, data):
            super().__init__(data)
            live.append(1)

        def __del__(self):
            live.pop()

    weight, most = Value(1.0), []

    def loss(x):
        nodes = [Counted(x) * weight for _ in range(10)]
        most.append(len(live))
        return mean(nodes)

    fit(loss, [1.0] * 8, optim.SGD([weight]), epochs=1, batch_size=8, validation=[1.0] * 8)
    assert max(most) == 10
    assert not live


# What is refused


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"epochs": -1}, ValueError, "epochs must be a whole number, at least 0, not -1"),
        ({"epochs": 1.5}, ValueError, "epochs must be a whole number"),
        ({"batch_size": 0}, ValueError, "batch_size must be a whole number, at least 1"),
        ({"data": []}, ValueError, "the data are empty"),
        ({"data": iter([1])}, TypeError, "the data are a sequence of samples, not .*iterator"),
        ({"data": DataLoader([1])}, TypeError, "not a DataLoader"),
        ({"validation": []}, ValueError, "the validation set is empty"),
        ({"validation": DataLoader([1])}, TypeError, "not a DataLoader"),
        ({"metrics": {"m": abs}}, ValueError, "metrics are taken over the validation set"),
        ({"stop": [5]}, TypeError, r"stop takes conditions like EarlyStopping\(5\), not int"),
        ({"callbacks": [5]}, TypeError, "are functions, not int"),
        ({"loss": Value(1.0)}, TypeError, "loss must be a function that gives the loss of a sample, not Value"),
        ({"checkpoint_every": -1}, ValueError, "a number of seconds"),
        ({"rng": 5}, TypeError, "rng must be a random.Random, or the module random, not int 5"),
        ({"rng": random.SystemRandom()}, TypeError, "rng must have a state"),
        ({"schedule": optim.StepLR(optim.SGD([Value(1.0)]), 1)}, ValueError, "the schedule is for another optimizer"),
        ({"optimizer": "adam"}, TypeError, "optimizer must be an optimizer, like optim.SGD.*, not str 'adam'"),
        ({"optimizer": optim.Adam}, TypeError, "optimizer must be an optimizer, like .*, not type"),
        ({"schedule": "cosine"}, TypeError, "schedule must be a schedule, like optim.StepLR.*, not str 'cosine'"),
        ({"schedule": optim.StepLR}, TypeError, "schedule must be a schedule, like .*, not type"),
        ({"schedule": optim.SGD([Value(1.0)])}, TypeError, "schedule must be a schedule, like .*, not SGD"),
        ({"schedule_every": "batch"}, ValueError, "schedule_every is 'epoch' or 'step', not 'batch'"),
        ({"model": "mlp"}, TypeError, "model must be a Module, or None, not str 'mlp'"),
        ({"model": nn.MLP}, TypeError, "model must be a Module, or None, not type"),
        ({"rng": 0}, TypeError, "rng must be a random.Random, or the module random, not int 0"),
        (
            {"metrics": [abs], "validation": [1.0]},
            TypeError,
            "metrics must be a dict of functions by their names, not list",
        ),
        ({"metrics": {"m": 5}, "validation": [1.0]}, TypeError, "metrics must be a dict of functions by their names"),
        ({"metrics": {5: abs}, "validation": [1.0]}, TypeError, "metrics must be a dict of functions by their names"),
        ({"batch_size": "8"}, TypeError, "batch_size is a whole number, not str '8'"),
        ({"batch_size": True}, TypeError, "batch_size is a whole number, not bool True"),
        ({"batch_size": 2.5}, ValueError, "batch_size must be a whole number, at least 1, not 2.5"),
        ({"epochs": "3"}, TypeError, "epochs is a whole number, not str '3'"),
        ({"progress": "yes"}, TypeError, "progress must be True or False, not str 'yes'"),
        ({"shuffle": None}, TypeError, "shuffle must be True or False, not NoneType None"),
        ({"clip": 1.0}, TypeError, "clip must be a function of the parameters, or None, not float 1.0"),
        ({"checkpoint": 5}, TypeError, "checkpoint must be the path of a file, or None, not int 5"),
        ({"checkpoint_every": "1m"}, TypeError, "checkpoint_every must be a number of seconds, or None, not str '1m'"),
        ({"checkpoint_every": math.nan}, ValueError, "a number of seconds, at least 0, not nan"),
        ({"data": 5}, TypeError, "the data are a sequence of samples, not int"),
        ({"stop": 5}, TypeError, "stop takes a sequence, not int 5"),
        ({"callbacks": print}, TypeError, "callbacks takes a sequence, not builtin"),
    ],
)
def test_wrong_settings_are_refused(options, error, message):
    weight = Value(1.0)
    defaults = {"loss": lambda x: weight * x, "data": [1.0], "optimizer": optim.SGD([weight]), "epochs": 1}
    options = {**defaults, **options}
    with pytest.raises(error, match=rf"fit\(\).*{message}"):
        fit(options.pop("loss"), options.pop("data"), options.pop("optimizer"), **options)
    assert weight.data == 1.0


def test_stop_conditions_check_their_settings():
    for wrong in (lambda: EarlyStopping(-1), lambda: EarlyStopping(1.5), lambda: GradientNorm(0)):
        with pytest.raises(ValueError, match="must be"):
            wrong()
    with pytest.raises(ValueError, match="min_delta"):
        EarlyStopping(1, math.nan)


def test_no_epochs_are_no_steps():
    weight = Value(1.0)
    history = fit(lambda x: weight * x, [1.0], optim.SGD([weight]), epochs=0)
    assert (history.steps, weight.data) == (0, 1.0)
    with pytest.raises(ValueError, match="nothing to draw"):
        history.plot()


# The progress bar


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_bar_shows_loss_and_metrics_on_a_terminal(monkeypatch):
    model, loss = network()
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    fit(
        loss,
        SAMPLES,
        optim.SGD(model.parameters()),
        epochs=2,
        validation=SAMPLES[:3],
        metrics={"accuracy": lambda x, y: 0.75},
    )
    last = terminal.getvalue().rstrip().rpartition("\r")[2]
    for part in ("epoch 2/2", "100%", "40/40", "step/s", "loss=", "validation=", "accuracy=0.75"):
        assert part in last


BAR = """if True:
    import random
    from micrograd import Value, fit, optim
    weight = Value(0.0)
    fit(
        lambda x: (weight - x) ** 2, [1.0, 2.0] * 300, optim.SGD([weight], lr=0.1), epochs=100, batch_size=300,
        validation=[1.0], metrics={"accuracy": lambda x: 0.9375}, rng=random.Random(0), compile=False,
    )
"""


@pytest.mark.skipif(os.name != "posix", reason="Windows has no pseudo-terminals")
@pytest.mark.parametrize(
    ("columns", "shown", "left_out"),
    [
        (120, ["200/200", "step/s", "validation="], []),
        (80, ["left", "accuracy="], ["validation=", "step/s"]),
        (60, ["accuracy="], ["validation=", "left"]),
        (40, [], ["accuracy="]),
    ],
)
def test_the_bar_fits_into_a_terminal(columns, shown, left_out):
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen([sys.executable, "-c", BAR], stderr=theirs)
    os.close(theirs)
    written = b""
    with contextlib.suppress(OSError):  # which Linux raises at the end
        while part := os.read(ours, 4096):
            written += part
    os.close(ours)
    assert process.wait() == 0
    lines = [line for line in re.split(r"[\r\n]+", written.decode()) if line.strip()]
    assert max(map(len, lines)) <= columns
    last = lines[-1]
    assert last.startswith("epoch 100/100: 100%|")
    assert len(re.search(r"█+", last)[0]) >= 8
    for part in ("loss=", *shown):
        assert part in last
    for part in left_out:
        assert part not in last


def test_the_bars_estimate_does_not_count_the_time_before_the_first_steps(monkeypatch):
    weight, terminal, seconds = Value(1.0), Terminal(), [0.0]

    def loss(x):
        seconds[0] += 3600.0 if seconds[0] == 0 else 1.0  # the first one is compiled, or stands for it
        return weight * x

    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr("tqdm.std.time", lambda: seconds[0])
    fit(loss, [1.0] * 20, optim.SGD([weight], lr=0.0), epochs=1, compile=False)
    lines = terminal.getvalue().split("\r")
    assert "1/20 [00:00<?" in lines[2]
    assert "11/20 [00:10<00:09,  1.00step/s]" in lines[12]
    assert "20/20 [00:19<00:00,  1.00step/s]" in lines[-1]


def test_names_of_metrics_with_braces_are_shown(monkeypatch):
    weight, terminal = Value(1.0), Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    options = {"validation": [1.0], "metrics": {"F{β}": lambda x: 0.5}}
    fit(lambda x: weight * x, [1.0], optim.SGD([weight]), epochs=1, **options)
    assert "F{β}=0.5" in terminal.getvalue().split("\r")[-1]


@pytest.mark.parametrize("terminal", [True, False])
def test_without_tqdm_it_says_what_to_install(monkeypatch, terminal):
    weight = Value(1.0)
    run = lambda **options: fit(lambda x: weight * x, [1.0], optim.SGD([weight], lr=0.5), epochs=1, **options)  # noqa: E731
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setattr(sys, "stderr", Terminal() if terminal else io.StringIO())
    if terminal:
        with pytest.raises(ImportError, match=r"progress=False.* needs tqdm: python -m pip install tqdm"):
            run()
        assert weight.data == 1.0
        run(progress=False)
    else:
        run()
    assert weight.data == 0.5
    assert sys.stderr.getvalue() == ""


# History


def test_the_history_is_drawn(tmp_path):
    model, loss = network()
    history = fit(
        loss,
        SAMPLES,
        optim.Adam(model.parameters()),
        epochs=3,
        validation=SAMPLES[:3],
        metrics={"half": lambda x, y: 0.5},
    )
    figure = history.plot(tmp_path / "history.png")
    assert (tmp_path / "history.png").read_bytes().startswith(b"\x89PNG")
    assert [axes.get_ylabel() for axes in figure.axes][:2] == ["loss", "validation"]
    lines = {line.get_label(): line for axes in figure.axes for line in axes.lines}
    assert set(lines) == {"batch", "epoch", "validation", "half", "gradient norm", "learning rate"}
    assert list(lines["epoch"].get_xdata()) == [20, 40, 60]
    assert list(lines["validation"].get_ydata()) == history.validation_loss
    assert "3 epochs, 60 steps, loss" in repr(history)


# The report on gradients


def deep(activation, depth=20, width=4, **options):
    model = nn.MLP(2, [width] * depth + [1], activation=activation, rng=random.Random(0), **options)
    history = fit(
        lambda x, y: (model(x) - y) ** 2,
        SAMPLES[:6],
        optim.SGD(model.parameters(), lr=1e-9),
        epochs=1,
        model=model,
    )
    return history.gradient_flow()


def test_vanishing_gradients_are_reported():
    report = deep("sigmoid")
    assert not report.ok
    assert report.layers[0].verdict == "vanishing"
    assert report.layers[-1].verdict == "ok"
    assert report.layers[0].relative < 1e-6
    assert report.findings[0].startswith("Gradients vanish on the way to ")
    for advice in ("activation='relu'", "init='he'", "nn.LayerNorm", "nn.Residual"):
        assert advice in report.findings[0]
    lines = str(report).splitlines()
    assert lines[0].split() == ["layer", "module", "parameters", "size", "gradient", "relative", "dead", "verdict"]
    assert lines[1].startswith("layers.0   Layer(2, 4, sigmoid)  12 ")
    assert lines[1].endswith("0 of 4  vanishing")


@pytest.mark.parametrize(("gain", "verdict"), [(20.0, "exploding"), (1.0, "ok"), (0.05, "vanishing")])
def test_gradients_explode_and_vanish_with_the_size_of_the_weights(gain, verdict):
    model = nn.MLP(2, [16] * 6 + [1], activation="relu", gain=gain * math.sqrt(2), rng=random.Random(0))
    optimizer = optim.SGD(model.parameters(), lr=0.0)
    report = fit(lambda x, y: model(x), SAMPLES[:6], optimizer, epochs=1, model=model).gradient_flow()
    assert report.layers[0].verdict.replace("some dead", "ok") == verdict
    if verdict == "exploding":
        assert report.findings[0].startswith("Gradients explode in ")
        assert "clip_grad_norm_" in report.findings[0]


def test_gradients_that_flow_are_reported():
    report = deep("relu", depth=2, width=16)
    assert report.findings[-1].startswith(("The gradients flow", "In layers"))
    assert report.layers[0].verdict in ("ok", "some dead")


def test_dead_relus_are_reported_and_only_they():
    model, loss = network(activation="relu")
    for i in (1, 3):
        model.layers[0].neurons[i].b.data = -100.0
    history = fit(loss, SAMPLES, optim.SGD(model.parameters(), lr=0.01), epochs=2, model=model)
    report = history.gradient_flow()
    inputs = [x for x, _ in SAMPLES]
    silent = [n for n in model.layers[0].neurons if all(n(x).data == 0 for x in inputs)]
    assert report.layers[0].dead == len(silent) >= 2
    assert report.layers[0].verdict == ("dead" if len(silent) == 5 else "some dead")
    assert any(f"In layers.0, {len(silent)} of 5 neurons are dead: their ReLUs" in text for text in report.findings)
    assert report.layers[1].dead == 0


def test_a_neuron_that_had_one_gradient_in_the_last_epoch_is_alive():
    model = nn.MLP(1, [2, 1], activation="relu", rng=random.Random(0))
    first, second = model.layers[0].neurons
    for neuron, w, b in ((first, 1.0, 0.0), (second, 1.0, -0.95)):  # the second responds to one sample only
        neuron.w[0].data, neuron.b.data = w, b
    data = [([x / 10], 0.0) for x in range(1, 11)]
    run = lambda samples: fit(  # noqa: E731
        lambda x, y: (model(x) - y) ** 2, samples, optim.SGD(model.parameters(), lr=0.0), epochs=1, model=model
    )
    assert run(data).gradient_flow().layers[0].dead == 0
    assert run(data[:-1]).gradient_flow().layers[0].dead == 1


def test_saturated_neurons_and_activations_as_modules_are_known():
    model = nn.Sequential(nn.Linear(1, 2, rng=random.Random(0)), nn.LayerNorm(2), nn.Tanh(), nn.Linear(2, 1), nn.ReLU())
    history = fit(
        lambda x: model([x])[0] + model.layers[3].neurons[0].b,
        [1.0, 2.0],
        optim.SGD(model.parameters()),
        epochs=1,
        model=model,
    )
    layers = history.gradient_flow().layers
    assert [layer.name for layer in layers] == ["layers.0", "layers.1", "layers.3"]
    assert [layer.activation for layer in layers] == ["tanh", "", "relu"]
    assert [layer.neurons for layer in layers] == [2, 0, 1]

    model = nn.MLP(1, [2, 1], activation="tanh", rng=random.Random(0))
    model.layers[0].neurons[0].b.data = 100.0
    report = fit(lambda x: model([x]), [1.0], optim.SGD(model.parameters()), epochs=1, model=model).gradient_flow()
    assert report.findings[0].startswith("In layers.0, 1 of 2 neurons are saturated: where they are, tanh is so flat")


def test_a_report_needs_a_model_a_step_and_a_gradient():
    weight = Value(1.0)
    with pytest.raises(ValueError, match=r"fit\(…, model=model\)"):
        fit(lambda x: weight * x, [1.0], optim.SGD([weight]), epochs=1).gradient_flow()
    model, loss = network()
    with pytest.raises(ValueError, match="no step was done"):
        fit(loss, SAMPLES, optim.SGD(model.parameters()), epochs=0, model=model).gradient_flow()
    nothing = fit(lambda x, y: Value(1.0) * 2, SAMPLES, optim.SGD(model.parameters()), epochs=1, model=model)
    assert nothing.gradient_flow().findings[0].startswith("There is no gradient")


def test_modules_of_ones_own_are_layers_too():
    class Line(nn.Module):
        def __init__(self):
            self.slope, self.parts = Value(1.0), {"deep": [nn.LayerNorm(2)]}

    model = Line()
    history = fit(
        lambda x: model.slope * x + model.parts["deep"][0]([x, 2.0])[0], [1.0, 3.0], optim.SGD(model.parameters()),
        epochs=1, model=model,
    )  # fmt: skip
    assert [(r.name, r.module) for r in history.gradient_flow().layers] == [
        ("model", "Line"),
        ("parts.deep.0", "LayerNorm(2)"),
    ]


def test_an_anomaly_in_a_gradient_is_found_within_fit():
    weight = Value(0.0, label="weight")
    with detect_anomaly(), pytest.raises(TrainingError, match=r"the gradient of sqrt.*by operand 0 \(weight\)"):
        fit(lambda x: weight.sqrt() * x, [1.0], optim.SGD([weight]), epochs=1)
    assert (weight.data, weight.grad) == (0.0, 0.0)
