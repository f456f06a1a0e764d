"""Compiled code is never silently different: what a function reads or writes, forms, interrupts, threads, the cache.

The random programs of ``test_differential.py`` test what is computed. Each test here is a fault that a user found.
"""

import builtins
import math
import os
import random
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections import OrderedDict, deque, namedtuple
from functools import partial
from weakref import WeakValueDictionary

import pytest

np = pytest.importorskip("numpy")
pytest.importorskip("llvmlite", reason="compiling needs llvmlite, which is not installed")

from micrograd import Value, compile, fit, functional, grad, nn, optim
from micrograd.compiler import TraceError, machine, plan, program
from micrograd.training import EarlyStopping
from micrograd.watching import watchers


def both(train, *arguments):
    """What a run gives compiled, and eagerly."""
    return train(True, *arguments), train(False, *arguments)


# What is read around the graph


class Data:
    """Data that are made when they are fetched."""

    def __init__(self, make, count=100):
        self.make, self.count = make, count

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        return self.make(i)


def follow(how, make, loss=lambda w, x: (w - x) ** 2, **options):
    w = Value(1.0)
    data = Data(lambda i: make(w, i))
    history = fit(lambda x: loss(w, x), data, optim.SGD([w], lr=0.1), epochs=1, compile=how, shuffle=False, **options)
    return w.data, history.loss


@pytest.mark.parametrize(
    "make",
    [lambda w, i: w.data + 1, lambda w, i: (w * 2).data + i % 3, lambda w, i: 1.0 if w > 2 else w.data + 1],
    ids=["data", "operation", "comparison"],
)
def test_data_see_the_parameters_of_now(make):
    ours, expected = both(follow, make)
    assert ours == (pytest.approx(expected[0], rel=1e-12), pytest.approx(expected[1], rel=1e-9))
    assert ours[0] > 2


def test_data_may_set_parameters():
    def clamp(w, i):
        w.data = min(w.data, 1.25)
        return 3.0

    ours, expected = both(follow, clamp)
    assert ours == (pytest.approx(expected[0], rel=1e-12), pytest.approx(expected[1], rel=1e-12))


@pytest.mark.parametrize("how", [True, "auto", False])
@pytest.mark.parametrize("fails", [False, True])
def test_each_sample_is_fetched_once(how, fails):
    fetched = []

    def make(w, i):
        fetched.append(i)
        return -1.0 if i == 70 and fails else 2.0

    loss = lambda w, x: (w - x) ** 2 + x.log() if isinstance(x, Value) else (w - x) ** 2 + math.log(x)  # noqa: E731
    try:
        follow(how, make, loss, batch_size=10)
    except RuntimeError as error:
        assert "data[70]: ValueError" in str(error)  # noqa: PT017  (without a failure there is no error)
    assert fetched == list(range(len(fetched)))
    assert len(fetched) > 70 if fails else len(fetched) == 100


def test_a_generator_of_the_data_ends_in_the_same_state():
    def train(how):
        draw = random.Random(3)
        return follow(how, lambda w, i: draw.random()), draw.random()

    ours, expected = both(train)
    assert ours[1] == expected[1]
    assert ours[0][0] == pytest.approx(expected[0][0], rel=1e-12)


def test_a_loss_that_can_not_be_compiled_gets_the_samples_that_were_fetched():
    draw = random.Random(3)
    with pytest.warns(UserWarning, match="runs without compiling"):
        ours = follow("auto", lambda w, i: draw.random(), lambda w, x: (w - x) ** 2 if w.data > -9 else w)
    draw = random.Random(3)
    assert ours == follow(False, lambda w, i: draw.random())


def test_what_data_change_is_seen():
    def train(how):
        w, factor = Value(1.0), [1.0]

        def make(i):
            factor[0] = 1.0 + i
            return 2.0

        fit(lambda x: factor[0] * (w - x) ** 2, Data(make, 5), optim.SGD([w], lr=0.01), epochs=20, compile=how)
        return w.data

    ours, expected = both(train)
    assert ours == pytest.approx(expected, rel=1e-12)


class Keeper(nn.Module):
    def __init__(self):
        self.w, self.last, self.calls, self.seen = Value(2.0), None, 0, {}

    def forward(self, x):
        return self.w * x


def keep(self, x):
    self.last = x


def count(self, x):
    self.calls += 1


def keep_inside(self, x):
    self.seen.setdefault("x", []).append(x)


def make_attribute(self, x):
    self.new = [x]


@pytest.mark.parametrize("change", [keep, count, keep_inside, make_attribute])
def test_a_module_that_changes_itself_is_refused_and_keeps_no_placeholder(change):
    module = Keeper()

    def forward(x):
        change(module, x)
        return module(x)

    for call in (compile(forward), compile(forward).values, compile(forward).batch):
        with pytest.raises(TraceError, match=r"the function changes (last|calls|x|seen|new) each time"):
            call(3.0 if isinstance(call, type(compile(forward))) else [3.0])
    assert module.parameters() == [module.w]
    assert (module.last, module.seen.get("x", [])) == (None, [])
    assert not hasattr(module, "new")


def test_a_method_that_keeps_its_input_is_refused():
    class Model:
        def __init__(self):
            self.w, self.seen = Value(2.0), []

        def forward(self, x):
            self.seen.append(x)
            return self.w * x

    model = Model()
    with pytest.raises(TraceError, match="the function changes seen each time"):
        compile(model.forward)(3.0)
    assert model.seen == []


def test_a_run_of_a_module_that_counts_its_calls_says_that_it_is_not_compiled():
    module = Keeper()

    def loss(x):
        module.calls += 1
        return (module(x) - 1) ** 2

    with pytest.warns(UserWarning, match=r"without compiling.* changes calls"):
        fit(loss, [1.0, 2.0] * 60, optim.SGD(module.parameters(), lr=0.01), epochs=1, model=module)
    assert module.parameters() == [module.w]


def test_what_is_filled_at_the_first_call_alone_is_compiled():
    cache = {}

    def f(x):
        if "k" not in cache:
            cache["k"] = 3.0
        return x * cache["k"]

    compiled = compile(f)
    assert [compiled(2.0).data for _ in range(3)] == [6.0] * 3
    cache["k"] = 4.0
    assert compiled(2.0).data == 8.0


factor = Value(2.0)
number = 3.0


class Holder:
    __slots__ = ("inner", "w")


def test_what_the_function_reads_may_be_replaced():
    global factor, number
    ws, table, array, holder = [Value(2.0)], {"k": {"deep": 3.0}}, np.array([1.0, 2.0]), Holder()
    holder.w, holder.inner = Value(1.0), Keeper()
    local = 1.0

    def f(x, ws=ws):
        products = [w * x * factor for w in ws]
        return functional.sum(products) * number * table["k"]["deep"] * float(array[1]) * holder.w * local * inner(x)

    def inner(x):
        return holder.inner(x) + array[0]

    compiled, changes = compile(f), []
    changes.append(lambda: ws.append(Value(5.0)))
    changes.append(lambda: ws.__setitem__(0, Value(-1.0)))
    changes.append(lambda: table["k"].update(deep=0.5))
    changes.append(lambda: array.__setitem__(0, 7.0))
    changes.append(lambda: array.__setitem__(1, 7.0))
    changes.append(lambda: setattr(holder.inner, "w", Value(3.5)))
    changes.append(lambda: setattr(ws[0], "data", 0.25))
    for change in [lambda: None, *changes]:
        change()
        expected = f(Value(1.5)).data
        assert compiled(1.5).data == pytest.approx(expected, rel=1e-14)
        assert compiled.values([1.5, 1.5])[1] == pytest.approx(expected, rel=1e-14)
        assert compiled.batch([1.5]).data == pytest.approx(expected, rel=1e-14)
    factor, number, local = Value(0.5), 4.0, 0.125
    assert compiled(1.5).data == pytest.approx(f(Value(1.5)).data, rel=1e-14)


def test_a_program_is_made_once_while_nothing_changes():
    calls = []
    model = nn.MLP(2, [3, 1], rng=random.Random(0))

    class Loss:
        def __call__(self, x):
            return model(x)

    loss = Loss()
    compiled = compile(loss)
    compiled([1.0, 2.0])
    before = [found[0][0] for found in compiled._programs.values()]
    model.parameters()[0].data = 7.0
    for _ in range(3):
        compiled([1.0, 2.0])
    assert [found[0][0] for found in compiled._programs.values()] == before
    assert not calls


def test_a_parameter_that_is_set_inside_is_refused():
    w = Value(2.0)

    def f(x):
        w.data = 3.0
        return w * x

    with pytest.raises(TraceError, match="the data of a parameter are set"):
        compile(f)(1.0)
    assert w.data == 2.0


def test_grad_without_a_graph_is_refused():
    def f(x):
        (slope,) = grad(x * x, [x])
        return x + slope

    for call in (lambda: compile(f)(2.0), lambda: compile(f).values([2.0])):
        with pytest.raises(TraceError, match=r"grad\(\) without create_graph=True"):
            call()

    def g(x):
        (slope,) = grad(x * x, [x], create_graph=True)
        return x + slope

    assert compile(g).values([2.0, 3.0]).tolist() == [6.0, 9.0]


def test_the_best_weights_of_early_stopping_are_restored():
    def train(how):
        model = nn.Linear(1, 1, rng=random.Random(0))
        loss = lambda x: (model([x])[0] - x * x) ** 2  # noqa: E731
        fit(loss, [1.0, 2.0] * 60, optim.SGD(model.parameters(), lr=0.3), epochs=20, batch_size=10, compile=how,
            model=model, stop=EarlyStopping(2), validation=[1.0, 3.0, 5.0], shuffle=False)  # fmt: skip
        return [x for p in model.parameters() for x in (p.data, p.grad)]

    ours, expected = both(train)
    assert ours == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("in_model", [False, True])
@pytest.mark.parametrize("clips", [False, True])
def test_values_that_are_not_trained_get_their_gradients(in_model, clips):
    def train(how):
        model, other, seen = nn.MLP(1, [2, 1], activation="tanh", rng=random.Random(1)), Value(2.0), []
        frozen = model.parameters()[2] if in_model else other
        trained = [p for p in model.parameters() if p is not frozen]
        samples = [[0.5 * i] * (1 + i % 2) for i in range(35)]
        loss = lambda xs: (model(xs[:1]) * other + xs[-1]) ** 2  # noqa: E731
        other.grad = 1.0
        fit(loss, samples, optim.SGD(trained, lr=0.01), epochs=3, batch_size=4, compile=how, shuffle=False,
            model=model if in_model else None, callbacks=[lambda history: seen.append((frozen.grad, other.grad))],
            clip=(lambda parameters: seen.append((frozen.grad, other.grad))) if clips else None)  # fmt: skip
        return [x for pair in seen for x in pair] + [frozen.grad, other.grad, *[p.data for p in trained]]

    ours, expected = both(train)
    assert ours == pytest.approx(expected, rel=1e-12)
    assert ours[-1]


def test_a_loss_of_a_value_that_was_made_outside_is_refused():
    w = Value(2.0)
    v = w * 3
    train = lambda how: fit(  # noqa: E731
        lambda x: (w * v * x - 1) ** 2, [1.0] * 100, optim.SGD([w], lr=1e-3), epochs=1, compile=how
    )
    with pytest.raises(TraceError, match="made of others outside"):
        train(True)
    with pytest.warns(UserWarning, match="made of others outside"):
        train("auto")


def test_a_captured_value_and_another_that_is_made_of_it():
    w = Value(2.0)
    v = w * w
    u = v.exp()

    def f(x):
        return w * v * x + u

    def slopes(out):
        w.grad = v.grad = 0.0
        first = grad(out, [w, v, u])
        (once,) = grad(out, [w], create_graph=True)
        return *first, once.data, *grad(once, [w, v, u])

    compiled = compile(f)
    assert slopes(compiled(3.0)) == pytest.approx(slopes(f(Value(3.0))), rel=1e-14)
    assert slopes(compiled.batch([3.0, 5.0])) == pytest.approx(
        slopes(functional.mean([f(Value(3.0)), f(Value(5.0))])), rel=1e-14
    )
    alone = compile(lambda x: v)(1.0)
    assert slopes(alone) == slopes(v)


# What is computed


def test_an_error_in_what_is_not_used_is_an_error():
    def f(x):
        x.log()
        return x * 2

    compiled = compile(f)
    assert compiled.values([1.0, 2.0]).tolist() == [2.0, 4.0]
    for call in (lambda: compiled(-1.0), lambda: compiled.values([1.0, -1.0]), lambda: compiled.batch([1.0, -1.0])):
        with pytest.raises(ValueError, match=r"log\(-1.0\)"):
            call()


@pytest.mark.parametrize("fused", [160, 0])
@pytest.mark.parametrize(
    "f",
    [lambda w, t, t0: w + (t - t0), lambda w, t, t0: w + w + w + w + w + w + (t - t0),
     lambda w, t, t0: (t - t0) * w + w, lambda w, t, t0: w - (t0 - t), lambda w, t, t0: w * ((t + w) - t)],
)  # fmt: skip
def test_parentheses_are_kept(monkeypatch, fused, f):
    monkeypatch.setattr(plan, "_FUSED", fused)
    for t in (1e17, 123456789.3):
        arguments = 1.3, t, t - 32
        expected = f(*map(Value, arguments)).data
        assert compile(f)(*arguments).data == expected
        assert compile(f).values(*[[x] * 9 for x in arguments]).tolist() == [expected] * 9
        captured = compile(partial(f, Value(arguments[0])))
        assert captured.values(*[[x] * 9 for x in arguments[1:]]).tolist() == [expected] * 9


SIMPLE = {
    "x + 0": lambda x: x + 0.0, "0 + x": lambda x: 0.0 + x, "x - 0": lambda x: x - 0.0, "0 - x": lambda x: 0.0 - x,
    "x + -0": lambda x: x + -0.0, "x * 1": lambda x: x * 1, "x * -1": lambda x: x * -1, "x * 0": lambda x: x * 0.0,
    "x / 4": lambda x: x / 4, "x / -0.5": lambda x: x / -0.5, "-(-x)": lambda x: -1 * -x, "x - x": lambda x: x - x,
    "x**0": lambda x: x**0, "x**1": lambda x: x**1, "x**2": lambda x: x**2, "x**.5": lambda x: x**0.5,
    "relu": Value.relu, "abs": abs, "floor": Value.floor, "round": Value.round, "sqrt": Value.sqrt,
    "maximum": lambda x: x.maximum(0.0), "minimum": lambda x: x.minimum(-0.0), "where": lambda x: functional.where(
        x >= 0, x, -x), "-x + 0": lambda x: -x + 0.0, "x * x - x": lambda x: x * x - x,
}  # fmt: skip
HARD = [
    0.0, -0.0, 0.5, -0.5, -0.3, 1.5, 2.5, 5e-324, -5e-324, 3e-310, 1e308, -1e308, math.inf, -math.inf, math.nan,
    2.0**52 + 1, 2.0**53 - 1, 2.0**63, -(2.0**63), 2.0**64, 1e300, 0.49999999999999994, 4503599627370495.5,
]  # fmt: skip


@pytest.mark.parametrize("name", SIMPLE)
def test_each_bit_of_simple_operations(name):
    f = SIMPLE[name]
    compiled = compile(f)
    for x in HARD:
        try:
            expected = repr(f(Value(x)).data)
        except (ArithmeticError, ValueError) as error:
            with pytest.raises(type(error)):
                compiled(x)
            continue
        assert repr(compiled(x).data) == expected, x
        assert repr(compiled.values([x] * 9).tolist()[8]) == expected, x


@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_the_larger_and_the_smaller_of_nan_and_zeros(name):
    f = getattr(Value, name)
    for x in (math.nan, 0.0, -0.0, 1.0, math.inf):
        for y in (math.nan, 0.0, -0.0, 1.0, -math.inf):
            expected = repr(f(Value(x), Value(y)).data)
            assert repr(compile(f)(x, y).data) == expected
            assert repr(compile(f).values([x] * 9, [y] * 9).tolist()[8]) == expected


def test_infinite_parameters():
    cap = Value(math.inf)
    compiled = compile(lambda x: x.minimum(cap) + 1 / (cap * x))
    x = Value(2.0)
    out, expected = compiled(x), compiled.function(x)
    assert out.data == expected.data == 2.0
    assert grad(out, [x, cap]) == pytest.approx(grad(expected, [x, cap]), nan_ok=True)
    assert compiled.values([1.0, 2.0]).tolist() == [1.0, 2.0]
    assert compiled.batch([1.0, 2.0]).data == 1.5


@pytest.mark.parametrize(
    ("f", "point"),
    [
        (lambda x, y: functional.where(x * 3.0 > y, x * 1e6, y), (0.1, 0.3)),
        (lambda x, y: (x * x + y * y - 1).relu() * 1e8, (0.6, 0.8)),
        (lambda x, y: functional.sum([x, y, -x, y * 2, -y * 3, x * x, -x * x]), (1e8 + 0.1, 1.3)),
        (lambda x, y: (x + y) - x, (1e16, 1.0)),
        (lambda x, y: (x * 1e8 - y * 1e8).tanh(), (0.3, 0.1 * 3)),
    ],
)
def test_kinks_that_are_hit_and_numbers_that_cancel_are_no_disagreement(f, point):
    out, ours = f(*map(Value, point)), compile(f)(*point)
    assert ours.data == pytest.approx(out.data, rel=1e-7, abs=1e-6)
    compile(f).gradients(*[[x] * 3 for x in point])


def test_a_constant_made_inside_moves_no_gradient():
    w = Value(2.0)
    gradients = compile(lambda x, y: (x * 3 + y * Value(0.0), w)[0]).gradients([1.0], [2.0])
    assert [part.tolist() for part in gradients] == [[3.0], [0.0]]


# Forms


def test_two_types_of_one_name_are_two_forms():
    def make(names):
        return namedtuple("Point", names)

    a, b = make("x y"), make("y x")
    f = compile(lambda p: p.x - 2 * p.y)
    assert [f(kind(1.0, 2.0)).data for kind in (a, b, a)] == [-3.0, 0.0, -3.0]


def test_named_tuples_stay_what_they_are():
    point = namedtuple("point", "x y")
    f = compile(lambda p: point(p.x**2 * p.y, p.y))
    x = Value(3.0)
    out = f(point(x, 2.0))
    assert (type(out), out.x.data) == (point, 18.0)
    (slope,) = grad(out.x, [x], create_graph=True)
    assert (slope.data, grad(slope, [x])) == (12.0, (4.0,))
    logarithm = compile(lambda p: p.x.log())
    assert logarithm(point(1.0, 1.0)).data == 0.0
    with pytest.raises(ValueError, match="log"):
        logarithm(point(-1.0, 1.0))


def test_lists_and_dicts_of_types_of_ones_own():
    class Numbers(list):
        def total(self):
            return functional.sum(self)

    class Named(dict):
        def __getattr__(self, name):
            return self[name]

    f = compile(lambda xs: xs.total() if isinstance(xs, Numbers) else xs[0])
    assert [f(kind([1.0, 2.0])).data for kind in (list, Numbers, list)] == [1.0, 3.0, 1.0]
    assert compile(lambda d: d.x * 2)(Named(x=3.0)).data == 6.0
    out = compile(lambda x: OrderedDict(b=x, a=x * 2))(1.0)
    assert (type(out), list(out), out["a"].data) == (OrderedDict, ["b", "a"], 2.0)


def test_lists_of_arrays():
    f = compile(lambda parts: functional.sum([functional.sum(part * k) for k, part in enumerate(parts, 1)]))
    samples = [[np.ones(3), np.ones(2)], [np.zeros(3), np.ones(2)]]
    assert f(samples[0]).data == 7.0
    assert f.values(samples).tolist() == [7.0, 4.0]
    slopes = f.gradients(samples)
    assert [part.tolist() for part in slopes] == [[[1.0] * 3] * 2, [[2.0] * 2] * 2]


def test_outputs_in_dicts_are_dicts_of_arrays():
    f = compile(lambda x: {"one": x, "two": [x * 2, (x, x * 3)]})
    values = f.values([1.0, 2.0])
    assert values["one"].tolist() == [1.0, 2.0]
    assert values["two"][1][1].tolist() == [3.0, 6.0]
    assert compile(lambda x: {"y": [x, x * 2]}).values([1.0])["y"][1].tolist() == [2.0]


def test_an_object_with_an_attribute_called_function():
    class Net:
        def __init__(self):
            self.function, self.w = (lambda x: x), Value(3.0)

        def __call__(self, x):
            return self.function(x) * self.w

    net = Net()
    compiled = compile(net)
    assert compiled(2.0).data == 6.0
    net.function = lambda x: -x
    assert compiled(2.0).data == -6.0


# Where it happens


def check_that_all_is_well():
    assert not watchers
    w = Value(3.0)
    assert ((w * 2).data, w > 2, type(w * 2)) == (6.0, True, Value)
    draw = random.random()
    f = compile(lambda x: (w * x + draw).sigmoid())
    assert f.values([0.5])[0] == pytest.approx(1 / (1 + math.exp(-1.5 - draw)), rel=1e-14)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timers")
def test_ctrl_c_at_any_time_while_a_program_is_made(monkeypatch):
    monkeypatch.setattr(machine, "find_folder", lambda: None)
    w = Value(3.0)
    interrupted, delay = 0, 0.0002

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for k in range(40):
            f = compile(lambda x, k=k: functional.sum([(w * x + i + k / 7).tanh() ** 1.5 for i in range(5)]) * x.exp())
            try:
                signal.setitimer(signal.ITIMER_REAL, delay)
                found = f.values([0.5, 1.0])
                signal.setitimer(signal.ITIMER_REAL, 0)
                delay = 0.0002
            except KeyboardInterrupt:
                interrupted += 1
                delay *= 1.3
            signal.setitimer(signal.ITIMER_REAL, 0)
            check_that_all_is_well()
            found = f.values([0.5, 1.0])  # it can still be made
            assert found[1] == pytest.approx(f.function(Value(1.0)).data, rel=1e-13)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert interrupted > 5


def test_an_error_while_tracing_leaves_no_watcher():
    def fail(x):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compile(fail)(1.0)
    check_that_all_is_well()


def run_python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", f"if True:\n{code}"], env={**os.environ, **environment}, timeout=100, text=True,
        capture_output=True,
    )  # fmt: skip


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_beside_threads_that_compile_and_run():
    found = run_python("""
        import os, signal, threading
        import numpy as np
        from micrograd import Value, compile
        w = Value(2.0)
        f = compile(lambda x: (w * x).tanh() * x)
        x = np.linspace(0, 1, 200_000)
        f.values(x)
        done = threading.Event()
        def run():
            k = 0
            while not done.is_set():
                k += 1
                f.values(x)
                compile(lambda x: (w * x + k).tanh())(1.0)
        threads = [threading.Thread(target=run) for _ in range(2)]
        for thread in threads:
            thread.start()
        codes = []
        for _ in range(10):
            child = os.fork()
            if not child:
                signal.alarm(20)
                right = f.values([1.0])[0] > 0.9 and compile(lambda x: x * w)(1.0).data == 2.0
                os._exit(0 if right else 1)
            codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        done.set()
        for thread in threads:
            thread.join()
        assert codes == [0] * 10, codes
    """)
    assert found.returncode == 0, found.stderr


def test_items_that_another_thread_appends_are_not_lost():
    seen, appended, done = [], 0, threading.Event()
    w = Value(2.0)

    def append():
        nonlocal appended
        while not done.is_set():
            seen.append(1.0)
            appended += 1
            time.sleep(1e-5)

    thread = threading.Thread(target=append)
    thread.start()
    try:
        for k in range(30):
            try:
                compile(lambda x, k=k: x * w + k * bool(seen is not None))(2.0)
            except TraceError as error:
                assert "changes seen" in str(error)  # noqa: PT017  (it may, or may not, be noticed)
    finally:
        done.set()
        thread.join()
    assert len(seen) == appended


def test_a_wrong_number_of_threads_is_said(monkeypatch):
    monkeypatch.setenv("MICROGRAD_THREADS", "0")
    program.count_threads.cache_clear()
    try:
        f = compile(lambda x: x * 2)
        for call in (lambda: f(1.0), lambda: f.values([1.0]), lambda: f.batch([1.0])):
            with pytest.raises(ValueError, match="MICROGRAD_THREADS is a whole number above 0, not '0'"):
                call()
        w = Value(1.0)
        with pytest.raises(ValueError, match="MICROGRAD_THREADS"):
            fit(lambda x: w * x, [1.0], optim.SGD([w]), epochs=1, compile=True)
    finally:
        monkeypatch.undo()
        program.count_threads.cache_clear()


# The cache


def increment():
    def write(f, v, u, g, c):
        v[0] = v[0] + 1.0

    return machine.Kernel("increment of a test", write, ("unused",))


def run_increment(monkeypatch):
    monkeypatch.setattr(machine, "_codes", WeakValueDictionary())
    numbers = np.array([1.0])
    machine.run(machine.instruction(increment(), unused=0), numbers, numbers, numbers, 1)
    return numbers[0]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "micrograd"


@pytest.mark.parametrize(
    "damage", [lambda x: b"\xff" * 10, lambda x: b"", lambda x: x[:-1], lambda x: x[:70] + b"!" + x[71:]]
)
def test_a_damaged_cache_is_made_anew(cache, monkeypatch, damage):
    assert run_increment(monkeypatch) == 2.0
    (file,) = cache.iterdir()
    sound = file.read_bytes()
    file.write_bytes(damage(sound))
    assert run_increment(monkeypatch) == 2.0
    assert file.read_bytes() == sound


def test_a_kernel_of_a_changed_source_is_made_anew(tmp_path, cache, monkeypatch):
    for number in (1.0, 2.0):
        monkeypatch.setattr(machine, "_codes", WeakValueDictionary())
        machine._describe_version.cache_clear()  # of another process
        file, scope = tmp_path / "kernel.py", {}
        file.write_text(f"def write(f, v, u, g, c):\n    v[0] = {number}\n")
        exec(builtins.compile(file.read_text(), str(file), "exec"), scope)
        numbers = np.zeros(1)
        kernel = machine.Kernel("number", scope["write"], ("unused",))
        machine.run(machine.instruction(kernel, unused=0), numbers, numbers, numbers, 1)
        assert numbers[0] == number


def test_a_cache_that_others_may_write_to_is_not_used(cache, monkeypatch):
    cache.mkdir()
    cache.chmod(0o777)
    assert run_increment(monkeypatch) == 2.0
    assert not list(cache.iterdir())


def test_whatever_byte_is_damaged_the_kernel_is_made_again(cache, monkeypatch):
    keep, keys, made = machine._find_code, [], []
    monkeypatch.setattr(machine, "_find_code", lambda kernel, what: keys.append(what) or keep(kernel, what))
    run_increment(monkeypatch)
    file, key = next(cache.iterdir()), keys[0]
    sound = file.read_bytes()
    monkeypatch.setattr(machine, "compile_text", lambda text: made.append(text) or sound[32:])
    assert keep(increment(), key) == sound[32:]
    assert not made
    for i in range(len(sound)):
        file.write_bytes(sound[:i] + bytes([sound[i] ^ (1 << i % 8)]) + sound[i + 1 :])
        assert keep(increment(), key) == sound[32:]
        assert len(made) == i + 1
        assert file.read_bytes() == sound
    assert list(cache.iterdir()) == [file]


def test_files_that_were_used_last_are_kept(cache, monkeypatch):
    monkeypatch.setattr(machine, "_FOLDER", 5000)
    monkeypatch.setattr(machine, "_written", 0)
    cache.mkdir()
    for k in range(9):
        (cache / f"{k}").write_bytes(b"x" * 1000)
        os.utime(cache / f"{k}", (k, k))
    assert run_increment(monkeypatch) == 2.0
    (own,) = (file for file in cache.iterdir() if len(file.name) == 40)
    left = sorted(file.name for file in cache.iterdir() if file != own)
    assert left == [str(k) for k in range(9 - len(left), 9)]
    assert 0 < len(left) < 4
    os.utime(own, (0, 0))
    assert run_increment(monkeypatch) == 2.0
    assert own.stat().st_mtime > 0


def test_machine_code_is_freed_with_its_last_program(monkeypatch):
    monkeypatch.setattr(machine, "_codes", WeakValueDictionary())
    monkeypatch.setattr(machine, "_recent", deque(maxlen=0))
    first, second = (compile(lambda x: (x * 0.5).sin() * x) for _ in range(2))
    assert (first(1.0).data, second(2.0).data) == (math.sin(0.5), 2 * math.sin(1.0))
    (code,) = (code for (key, _), code in machine._codes.items() if key.startswith("expression"))
    code = weakref.ref(code)
    del first
    assert code() is not None
    assert second(1.0).data == math.sin(0.5)
    del second
    assert code() is None


def test_other_constants_need_no_other_kernel(cache):
    def run(shift):
        for k in range(20):
            f = compile(lambda x, c=1.5 + shift + k / 7, n=0.3 + shift + k / 4: (x * c) ** n)
            assert f(2.0).data == pytest.approx(f.function(Value(2.0)).data, rel=1e-14)

    run(0.0)
    files = sorted(cache.iterdir())
    run(0.01)
    assert sorted(cache.iterdir()) == files


def test_a_full_disk(cache, monkeypatch):
    def fail(self, content):
        self.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(machine.Path, "write_bytes", fail)
    assert run_increment(monkeypatch) == 2.0
    assert list(cache.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() == 0, reason="root may write everywhere")
def test_a_folder_that_can_not_be_written_to(cache, monkeypatch):
    cache.mkdir()
    cache.chmod(0o500)
    assert run_increment(monkeypatch) == 2.0
    cache.chmod(0o700)


def test_a_file_where_the_folder_should_be(cache, monkeypatch):
    cache.write_text("no folder")
    assert run_increment(monkeypatch) == 2.0


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="this system has no user numbers")
def test_a_folder_of_another_user_is_not_used(cache, monkeypatch):
    assert machine.find_folder() == cache
    monkeypatch.setattr(os, "getuid", lambda: cache.stat().st_uid + 1)
    assert machine.find_folder() is None


PROGRAM = """
    from micrograd import Value, compile
    w = Value(0.5)
    for k in range(1, 40):
        f = compile(lambda x: (w * x + 0.5).tanh() ** k + x.exp() * k)
        assert abs(f.values([1.0, 2.0])[1] - f.function(Value(2.0)).data) < 1e-9
"""


def test_processes_that_begin_at_once(cache):
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache.parent)}
    code = f"if True:\n{PROGRAM}"
    processes = [subprocess.Popen([sys.executable, "-c", code], env=environment) for _ in range(3)]
    assert [process.wait(100) for process in processes] == [0, 0, 0]
    assert all(len(file.name) == 40 for file in cache.iterdir())


def test_a_process_that_is_killed_leaves_a_sound_cache(cache):
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache.parent)}
    for seconds in (0.3, 0.6, 0.9):
        process = subprocess.Popen([sys.executable, "-c", f"if True:\n{PROGRAM}"], env=environment)
        time.sleep(seconds)
        process.kill()
        process.wait()
    found = run_python(PROGRAM, XDG_CACHE_HOME=str(cache.parent))
    assert found.returncode == 0, found.stderr
