"""Compiled functions give what the same functions give when they are not compiled: numbers, gradients and errors."""

import copy
import functools
import math
import os
import pickle
import random
import subprocess
import sys
import threading
from weakref import WeakValueDictionary

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

np = pytest.importorskip("numpy")
pytest.importorskip("llvmlite", reason="compiling needs llvmlite, which is not installed")

from micrograd import Value, compile, detect_anomaly, functional, grad, nn
from micrograd.anomaly import AnomalyError
from micrograd.compiler import DisagreementError, TraceError, emit, machine, program
from micrograd.engine import operation, topological_order
from micrograd.rules import RULES, Rule, rule
from micrograd.testing.strategies import expressions, finite_floats

TOLERANCE = 1e-12


def outcome(function, *arguments):
    """Returns the number and the gradients of a call, or its error."""
    inputs = [Value(x) for x in arguments]
    try:
        out = function(*inputs)
        out.backward()
    except (ArithmeticError, ValueError) as error:
        return type(error), str(error)
    return out.data, [x.grad for x in inputs]


def close(ours, expected, size=0.0):
    return (
        ours == expected
        or abs(ours - expected) <= TOLERANCE * max(abs(expected), size)
        or (ours != ours and expected != expected)
    )


def along_paths(function, point):
    """Returns the gradients as they would be if each local gradient were positive: sums that don't cancel."""
    inputs = list(map(Value, point.tolist()))
    out = function(*inputs)
    sizes = {out: 1.0}
    for step in out.steps():
        sizes[step.parent] = sizes.get(step.parent, 0.0) + abs(step.local) * sizes[step.node]
    return [sizes.get(x, 0.0) for x in inputs]


def from_rounding(function, point):
    """Returns how much the gradients change if each number on the way changes by a few units in the last place."""
    inputs = list(map(Value, point.tolist()))
    out = function(*inputs)
    nodes = topological_order(out)
    try:
        slopes = [grad(slope, nodes) for slope in grad(out, inputs, create_graph=True)]
    except (ArithmeticError, ValueError):  # there is no second derivative
        return [0.0] * len(inputs)
    return [4 * 2.0**-52 * sum(abs(s * node.data) for s, node in zip(by, nodes, strict=True)) for by in slopes]


def agree(expression, lanes):
    rng = random.Random(1)
    points = np.array([[x + rng.uniform(-0.04, 0.04) for x in expression.point] for _ in range(lanes)])
    for i, point in enumerate(points.tolist()):
        if not i or isinstance(outcome(expression, *point)[0], type):
            points[i] = expression.point
    compiled = compile(expression)
    values, slopes = compiled.values_and_gradients(*points.T.copy())
    slopes = np.stack(slopes, axis=1) if isinstance(slopes, tuple) else slopes[:, None]
    for point, value, slope in zip(points, values, slopes, strict=True):
        expected, gradient = outcome(expression, *point.tolist())
        # The tolerance of a difference is relative to its operands, because of cancellation.
        largest = max(1.0, *map(abs, gradient)) if all(map(math.isfinite, gradient)) else math.inf
        if close(value, expected, 1.0) and all(close(a, b, largest) for a, b in zip(slope, gradient, strict=True)):
            continue
        # The same holds for a gradient, which is a sum over paths; and it may be sensitive to the arguments' last bits.
        near = [outcome(expression, *np.nextafter(point, far).tolist()) for far in (math.inf, -math.inf)]
        changes = [[abs(a - b) for a, b in zip(g, gradient, strict=True)] for _, g in near]
        bounds = zip(along_paths(expression, point), from_rounding(expression, point), strict=True)
        for a, b, (size, rounding), *change in zip(slope, gradient, bounds, *changes, strict=True):
            assert abs(a - b) <= 10 * max(change) + rounding + TOLERANCE * max(largest, size)
        assert abs(value - expected) <= 10 * max(abs(v - expected) for v, _ in near) + TOLERANCE
    return points, values, slopes, compiled


# make test has no time for all: EXPRESSIONS=5000 python -m pytest tests/test_compiler.py
@settings(max_examples=int(os.environ.get("EXPRESSIONS", "300")), suppress_health_check=list(HealthCheck))
@given(expressions(), st.sampled_from([1, 7, 64]))
def test_expressions_are_what_they_are_eagerly(expression, lanes):
    agree(expression, lanes)


def test_the_cube_of_a_small_negative_number_is_minus_zero():
    assert math.copysign(1.0, compile(lambda x: x**3)(-4e-112).data) == -1.0


# Sums begin with 0.0, so that a sum of -0.0 is 0.0


def sum_in_several_ways(x, v, w, bias):
    yield functional.sum(x)
    yield functional.mean(x)
    yield functional.dot(x, [2.0] * len(x))
    for weights in (v, w):  # two sums of products of the same inputs are a layer
        yield functional.dot(weights, x)
        yield functional.dot(weights, x) + bias
        yield bias + functional.dot([*weights, bias], [*x, 1.0])


@pytest.mark.parametrize("lanes", [1, 2, 9])
@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.sampled_from([0.0, *[-0.0] * 4]), min_size=1, max_size=40), st.sampled_from([0.0, -0.0]), st.booleans()
)
def test_sums_of_signed_zeros_have_the_sign_that_they_have_eagerly(lanes, x, bias, is_large):
    v, w, bias = [Value(1.0) for _ in x], [Value(0.5) for _ in x], Value(bias)

    def function(x):
        sums = list(sum_in_several_ways(x, v, w, bias))
        return [*sums, *[functional.sum([s] * 200) for s in sums]] if is_large else sums

    expected = [out.data for out in function(list(map(Value, x)))]
    for found in compile(function).values([x] * lanes):
        assert [math.copysign(1.0, out) for out in found] == [math.copysign(1.0, out) for out in expected]


@settings(max_examples=300)
@given(
    expressions(),
    st.lists(st.one_of(finite_floats(-5, 5), st.sampled_from([0.0, 1e200, -1e200, 800.0])), min_size=3, max_size=3),
)
def test_errors_are_the_same(expression, point):
    compiled = compile(expression)
    for arguments in (expression.point, tuple(point[: len(expression.point)])):
        expected, found = outcome(expression, *arguments), outcome(compiled, *arguments)
        if isinstance(expected[0], type):
            assert found == expected
        else:
            assert close(found[0], expected[0], size=1.0)


# What a call gives is a Value like any other


def test_a_call_is_a_value_that_composes():
    w, b = Value(3.0, label="w"), Value(-1.0, label="b")
    line = compile(lambda x: w * x + b)
    curve = compile(lambda x: line(x).tanh() * w)  # a compiled function in a compiled one
    x = Value(0.7)
    out = (line(x) * x.exp() + curve(x)) ** 2
    gradients = grad(out, [w, b, x])
    plain = ((w * x + b) * x.exp() + (w * x + b).tanh() * w) ** 2
    assert out.data == pytest.approx(plain.data, rel=1e-14)
    assert gradients == pytest.approx(grad(plain, [w, b, x]), rel=1e-13)
    out.backward()
    out.backward()
    assert (w.grad, b.grad, x.grad) == pytest.approx([2 * g for g in gradients], rel=1e-14)


def test_parameters_are_read_at_each_call():
    w = Value(2.0)
    double = compile(lambda x: w * x)
    assert double(3.0).data == 6.0
    w.data = 5.0
    assert double(3.0).data == 15.0


def test_what_is_captured_may_be_computed():
    w = Value(2.0)
    v = w * w
    out = compile(lambda x: v * x)(3.0)
    out.backward()
    assert (out.data, w.grad) == (12.0, 12.0)


def test_derivatives_of_a_compiled_value():
    cube = compile(lambda x: x**3)
    x = Value(2.0)
    (slope,) = grad(cube(x), [x], create_graph=True)
    assert slope.data == 12.0
    assert grad(slope, [x]) == (12.0,)


def test_arguments_and_results_may_be_nested():
    @compile
    def f(point, named, k):
        return [point[0] * named["a"], (point[1][0] + k,)], {"sum": point[0] + named["a"]}

    a = Value(2.0)
    (product, (total,)), named = f((a, [5.0]), {"a": 3}, 1.5)
    assert (product.data, total.data, named["sum"].data) == (6.0, 6.5, 5.0)
    named["sum"].backward()
    product.backward()
    assert a.grad == 4.0


def test_each_form_of_arguments_has_a_program():
    total = compile(lambda xs: functional.sum([x * x for x in xs]))
    for n in (1, 3, 2, 3):
        assert total([2.0] * n).data == 4.0 * n
    assert len(total._programs) == 3


def test_arrays_are_rows_of_samples():
    @compile
    def f(x, y):
        return x[0] * x[1] ** 2 + y

    x, y = np.array([[1.0, 2.0], [3.0, 4.0], [0.5, -1.0]]), np.array([1.0, 2.0, 3.0])
    assert f.values(x, y).tolist() == [5.0, 50.0, 3.5]
    of_x, of_y = f.gradients(x, y)
    assert of_x.tolist() == [[4.0, 4.0], [16.0, 24.0], [1.0, -1.0]]
    assert of_y.tolist() == [1.0, 1.0, 1.0]
    assert f.values(x.tolist(), y.tolist()).tolist() == [5.0, 50.0, 3.5]


@pytest.mark.parametrize("lanes", [1, 2, 7, 64, 1000])
def test_a_batch_is_the_mean(lanes):
    rng = random.Random(2)
    model = nn.MLP(3, [8, 2], activation="tanh", rng=rng)

    def loss(x, label):
        return functional.cross_entropy(model(x), label)

    samples = [[rng.gauss(0, 1) for _ in range(3)] for _ in range(lanes)]
    labels = [rng.randrange(2) for _ in range(lanes)]
    out = compile(loss).batch(samples, labels)
    parameters = model.parameters()
    gradients = grad(out, parameters)
    mean = functional.mean([loss(x, label) for x, label in zip(samples, labels, strict=True)])
    assert out.data == pytest.approx(mean.data, rel=1e-12)
    assert gradients == pytest.approx(grad(mean, parameters), rel=1e-10, abs=1e-14)


def test_a_hessian():
    def rosenbrock(x):
        return functional.sum([100 * (x[i + 1] - x[i] ** 2) ** 2 + (1 - x[i]) ** 2 for i in range(len(x) - 1)])

    def hessian(x):
        slopes = grad(rosenbrock(x), x, create_graph=True)
        return [list(grad(slope, x, create_graph=True)) for slope in slopes]

    def exact(x):
        out = [[0.0] * 4 for _ in range(4)]
        for i in range(3):
            out[i][i] += 1200 * x[i] ** 2 - 400 * x[i + 1] + 2
            out[i + 1][i + 1] += 200
            out[i][i + 1] = out[i + 1][i] = -400 * x[i]
        return out

    points = np.array([[0.1, -0.3, 2.0, 1.0], [1.0, 1.0, 1.0, 1.0]])
    found = compile(lambda x: hessian(list(x))).values(points)
    assert found == pytest.approx(np.array([exact(x) for x in points.tolist()]), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("name", [name for name in RULES if name not in ("power", "weigh")])
def test_every_rule_compiles_to_second_order(name):
    count = 4 if RULES[name].variadic else len(RULES[name].names)
    point = {"bce": (0.3, 0.6)}.get(name, (0.7, 0.4, 1.3, 0.9)[:count])

    def slopes(*x):
        gradients = grad(RULES[name](*x) * 1.5, x, create_graph=True)
        return functional.dot(gradients, [1.0, -2.0, 0.5, 3.0][:count])

    x, y = [Value(p) for p in point], [Value(p) for p in point]
    ours, expected = compile(slopes)(*x), slopes(*y)
    assert ours.data == pytest.approx(expected.data, rel=1e-12)
    assert grad(ours, x) == pytest.approx(grad(expected, y), rel=1e-11, abs=1e-13)


@pytest.mark.parametrize("x", [-3.0, 0.0, 2.0])
def test_choices_are_made_when_it_runs(x):
    def f(x):
        kinked = functional.where(x > 1, x**2, functional.where(x <= 0, -x, 3 * x))
        return kinked + abs(x) + x.relu() + functional.huber_loss(x, 1.0) + x.maximum(0.5)

    compiled = compile(f)
    compiled(0.3)
    assert outcome(compiled, x) == outcome(f, x)


def test_a_rule_added_at_run_time_is_compiled():
    rule("swish", "x", "x * sigmoid(x)", "sigmoid(x) + out * (1 - sigmoid(x))")
    rule("cubes", "*x", "fsum([xi ** 3 for xi in x])", "[3 * xi ** 2 for xi in x]")
    try:
        compiled = compile(lambda a, b: RULES["swish"](a) * RULES["cubes"](a, b))
        for point in ((0.5, 2.0), (-1.0, 3.0)):
            (value, gradient), expected = outcome(compiled, *point), outcome(compiled.function, *point)
            assert value == pytest.approx(expected[0], rel=1e-14)
            assert gradient == pytest.approx(expected[1], rel=1e-14)
    finally:
        del RULES["swish"], RULES["cubes"]


@pytest.mark.parametrize(
    ("text", "is_refused"),
    [
        ("1.0 if a > 0 and (t := a * a) < 4 else 0.0", False),
        ("t + 1 if (t := a * a) < 4 and a > 0 else t", False),
        ("t + 1 if a > 0 and (t := a * a) < 4 else 0.0", True),
        ("t if not (a < 0 or (t := a * a) > 4) else 0.0", True),
        ("((t := a + 1) if a > 1 else a) + (t if a > 1 else 0.0)", True),
    ],
)
@pytest.mark.parametrize("operands", ["a", "*xs"])
def test_a_name_that_a_text_assigns_behind_a_choice(text, is_refused, operands):
    value = text if operands == "a" else f"[{text} for a in xs][0]"
    new = rule("of_a_test", operands, value, "1.0" if operands == "a" else "(1.0,) * len(xs)")
    try:
        compiled = compile(lambda a: new(a))
        if is_refused:
            with pytest.raises(TraceError, match="'of_a_test' can't be compiled: it assigns 't' behind 'and' or 'or'"):
                compiled(1.5)
        else:
            for a in (1.5, 3.0, -1.0):
                assert compiled(a).data == new(a)
    finally:
        del RULES["of_a_test"]


# What is refused, and what is found


def counting(x):
    counting.calls += 1
    return x * counting.calls


counting.calls = 0
w = Value(2.0)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: x if x > 0 else -x, "a Value decides what is done .*relu.*maximum.*where"),
        (lambda x: x if x == 1 else -x, "compared by =="),
        (lambda x: x * x.data, "the data of a Value are read"),
        (lambda x: x * w if w > 0 else x, "a Value decides what is done"),
        (lambda x: x * (w.data + 1), "the data of a parameter are read"),
        (lambda x: x * random.random(), "draws random numbers"),
        (counting, "changes calls each time"),
        (lambda x: float(x), "a Value is turned into a float"),
        (lambda x: ["zero", "one", "two"][x], "holds one real number, not str 'two'"),
        (lambda x: (w * x).backward(), r"backward\(\) is called .* use .* grad\(…, create_graph=True\)"),
        (lambda x: w.grad * x, "the gradient of a Value is read"),
        (lambda x: setattr(w, "grad", 0.0), "the gradient of a Value is set"),
        (lambda x: None, "a compiled function gives Values, .* not NoneType None"),
        (lambda x: (x * w) * ((x * w).data > 0), "the data of a Value are read"),
    ],
)
def test_what_would_be_frozen_is_refused(function, message):
    with pytest.raises(TypeError, match=message):
        compile(function)(2.0)
    assert (Value(3.0) > 2, Value(3.0).data, w.data) == (True, 3.0, 2.0)  # all is as it was


def test_a_module_in_another_mode_is_another_program():
    model = nn.Sequential(nn.Linear(2, 2, rng=random.Random(0)), nn.Dropout(0.5))
    total = compile(lambda x: functional.sum(model(x)))
    model.eval()
    evaluated = total([1.0, 2.0]).data
    model.train()
    random.seed(1)
    dropped = total([1.0, 2.0]).data
    random.seed(1)
    assert dropped == functional.sum(model([1.0, 2.0])).data != evaluated
    model.eval()
    assert total([1.0, 2.0]).data == evaluated == functional.sum(model([1.0, 2.0])).data
    assert nn.Module().training is True


@pytest.mark.parametrize("make", [random.Random, np.random.default_rng])
def test_a_refused_function_has_drawn_nothing(make):
    generator = make(1)
    draw = generator.random
    for noisy in (lambda x: x * generator.random(), lambda x: x * draw()):
        with pytest.raises(TraceError, match="random numbers"):
            compile(noisy)(1.0)
    assert generator.random() == make(1).random()


def test_cubes_keep_the_sign_of_0():
    zeros = np.array([0.0, -0.0, 2.0])
    assert np.signbit(compile(lambda x: x**3).values(zeros)).tolist() == [False, True, False]


def test_threads_take_turns():
    double, wrong = compile(lambda x: w * x), []

    def work():
        wrong.extend(i for i in range(2000) if double(float(i)).data != 2.0 * i)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []


def test_steps_through_a_compiled_node_show_its_numbers():
    x = Value(3.0, label="x")
    out = compile(lambda x: w * x * x)(x)
    assert "∂out/∂x = 12; times out.grad, 1, is 12" in " ".join(map(str, out.steps({"out": out})))


def test_a_function_that_changes_its_surroundings_is_refused_and_keeps_no_placeholder():
    seen, count = [], 0

    def f(x):
        nonlocal count
        seen.append(x)
        count += 1
        return x * 2

    with pytest.raises(TraceError, match=r"changes (seen, count|count, seen)"):
        compile(f)(1.0)
    assert seen == []


def test_a_wrong_kernel_is_caught(monkeypatch):
    apply = emit.apply
    monkeypatch.setattr(
        emit, "apply", lambda f, what, *more: apply(f, what, *more) * (1.0 + 1e-7 * (what.name == "tanh"))
    )
    monkeypatch.setattr(machine, "_codes", WeakValueDictionary())
    monkeypatch.setattr(machine, "find_folder", lambda: None)
    with pytest.raises(DisagreementError, match=r"tanh\(0\.5\) is 0\.462117157\d+, and 0\.4621172\d+ when"):
        compile(lambda x: x.tanh())(0.5)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: compile(3), TypeError, "takes a function, not int 3"),
        (lambda: compile(lambda x: x)("a"), TypeError, "one real number, not str 'a'"),
        (lambda: compile(lambda x: x).values(), TypeError, "there are no samples"),
        (lambda: compile(lambda x: x).values(2.0), ValueError, "a sequence of samples.* not 2.0"),
        (lambda: compile(lambda x: x).values([]), ValueError, "at least one, not 0"),
        (lambda: compile(lambda x, y: x * y).values([1.0], [1.0, 2.0]), ValueError, "not 1, 2"),
        (lambda: compile(lambda x: x[0]).values([[1.0], [1.0, 2.0]]), ValueError, "sample 1 is of another form"),
        (lambda: compile(lambda x: x).values(np.array(1.0)), ValueError, r"takes a sequence .* not array\(1"),
        (lambda: compile(lambda x, y: x).values([[1], [1, 2]], [1.0]), ValueError, "takes a sequence .* not 2, 1"),
        (lambda: compile(lambda x: x).batch([Value(1.0)]), TypeError, "samples are plain numbers, not Value"),
        (lambda: compile(lambda x: x).profile(0), ValueError, "samples must be a whole number from 1 on, not 0"),
        (lambda: compile(lambda x: [x, x]).batch([1.0]), TypeError, r"batch\(\) is for functions that give one Value"),
        (
            lambda: compile(lambda x: [x, x]).gradients([1.0]),
            TypeError,
            r"gradients\(\) is for functions that give one",
        ),
        (lambda: compile(lambda x: x).program, ValueError, "call the function first"),
        (lambda: compile(lambda x: x.log()).values([1.0, -1.0]), ValueError, r"log\(-1.0\): "),
        (lambda: compile(lambda x: x.log()).batch([-1.0, 1.0]), ValueError, r"log\(-1.0\): "),
        (lambda: compile(lambda s, t: functional.cross_entropy(s, t))([1.0, 2.0], 2), ValueError, "index of one of 2"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_an_index_is_known_when_it_runs():
    @compile
    def loss(scores, target):
        return functional.cross_entropy(scores, target) + functional.dot(
            functional.one_hot(target, 3), [1.0, 10.0, 20.0]
        )

    for target in range(3):
        expected = loss.function([0.5, -1.0, 2.0], target).data
        assert loss([0.5, -1.0, 2.0], target).data == pytest.approx(expected, rel=1e-14)
    assert loss.values(np.array([[0.5, -1.0, 2.0]] * 3), np.arange(3.0))[2] == pytest.approx(expected, rel=1e-14)


def test_a_side_is_known_when_it_runs():
    margin = compile(functional.hinge_loss)
    scores = [3.0, 0.5, -2.0]
    for side in (-1, 1):
        expected = [loss.data for loss in functional.hinge_loss(scores, [side] * 3, reduction="none")]
        assert margin.values(scores, [side] * 3).tolist() == expected
        assert [margin(Value(score), side).data for score in scores] == expected
    with pytest.raises(ValueError, match=r"hinge_loss\(\) is -1 or 1, not 0\.5"):
        margin.values(scores, [1, 0.5, -1])


def test_softmax_of_large_logits():
    softmax = compile(lambda *x: functional.softmax(x))
    assert [p.data for p in softmax(1e300, 1e300)] == [0.5, 0.5]
    assert [p.data for p in softmax(1000.0, 0.0)] == [1.0, 0.0]


def test_within_detect_anomaly_the_function_itself_is_called():
    compiled = compile(lambda x: (x * 1e200) * 1e200)
    compiled(1e-300)
    with pytest.raises(AnomalyError, match="gave inf"), detect_anomaly():
        compiled(Value(1.0))


def test_a_number_is_a_value_to_the_function_wherever_it_is_called():
    compiled = compile(lambda x, k: x.sqrt() + functional.one_hot(k, 3)[1] * 2)
    outer = compile(lambda y: y * compiled(4.0, 1))
    with detect_anomaly():
        assert compiled(4.0, 1).data == 4.0
    assert outer(2.0).data == 8.0
    assert compiled(4.0, 1).data == 4.0


def test_the_program_is_listed():
    model = nn.MLP(4, [8, 1], activation="relu")
    compiled = compile(lambda x: model(x))
    compiled.batch(np.ones((5, 4)))
    listing = str(compiled.program)
    assert "layer  (4 → 8)" in listing
    assert "relu  (0.0 if a <= 0 else a)" in listing
    assert "outer" in listing
    drawing = compiled.program.draw()
    assert "inputs -> i" in drawing.source
    assert "4 → 8" in drawing.svg()


def test_a_profile():
    model = nn.MLP(4, [8, 1], activation="tanh")
    compiled = compile(lambda x: model(x))
    compiled.batch(np.ones((5, 4)))
    before = compiled.batch(np.ones((5, 4))).data
    profile = compiled.profile(samples=64)
    assert profile.lanes == 64
    assert {one.name for one, *_ in profile.instructions} >= {"layer", "tanh", "outer"}
    assert all(seconds > 0 for _, seconds, _, _ in profile.instructions)
    assert "a plain multiply-add loop" in str(profile)
    assert compiled.batch(np.ones((5, 4))).data == before


def test_without_llvmlite_the_error_says_what_to_install():
    code = "import sys; sys.modules['llvmlite'] = None; import micrograd.compiler"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "ImportError: compiling needs llvmlite and numpy: python -m pip install llvmlite numpy" in found.stderr


def second(f, *at):
    values = [Value(x) for x in at]
    slopes = grad(f(*values), values, create_graph=True)
    return [slope.data for slope in slopes], [grad(slope, values) for slope in slopes]


@pytest.mark.parametrize("around", [lambda f, x, y: f(x, x * 2), lambda f, x, y: f(x, x), lambda f, x, y: f(x, x * y)])
def test_second_derivatives_where_arguments_are_made_of_each_other(around):
    w = Value(2.0)

    def product(a, b):
        return w * a * b * b

    compiled = compile(product)
    expected = second(lambda x, y: around(product, x, y), 3.0, 2.0)
    assert second(lambda x, y: around(compiled, x, y), 3.0, 2.0) == expected
    (slope,) = grad(compiled(w * 3, 2.0), [w], create_graph=True)
    (right,) = grad(product(w * 3, 2.0), [w], create_graph=True)
    assert (slope.data, grad(slope, [w])) == (right.data, grad(right, [w]))


def test_an_argument_changed_after_the_call_changes_nothing():
    w, at = Value(2.0), [2.0]
    out = compile(lambda a: (w * a[0]) ** 3)(at)
    at[0] = 5.0
    (slope,) = grad(out, [w], create_graph=True)
    assert (slope.data, grad(slope, [w])) == (96.0, (96.0,))


def test_the_forward_steps_of_a_compiled_value():
    w, x = Value(2.0), Value(3.0)
    out = compile(lambda a: w * a)(x) + 1
    x.data = 5.0
    list(out.forward_steps())
    assert out.data == 11.0


def test_gradients_are_formed_as_the_arguments_are():
    f = compile(lambda d, z: d["x"] * d["y"][0] * d["y"][1] * z)
    slopes, by_z = f.gradients([{"x": 2.0, "y": [3.0, 1.0]}, {"x": 4.0, "y": [5.0, 2.0]}], [5.0, 1.0])
    assert (slopes["x"].tolist(), [y.tolist() for y in slopes["y"]]) == ([15.0, 10.0], [[10.0, 8.0], [30.0, 20.0]])
    assert by_z.tolist() == [6.0, 40.0]
    rows = compile(lambda x: x[0][0] * x[1][0] * x[1][1]).gradients([[[2.0], [3.0, 4.0]]])
    assert [[part.tolist() for part in row] for row in rows] == [[[12.0]], [[8.0], [6.0]]]
    pairs = compile(lambda x: x[0] * x[1]).gradients([(2.0, 3.0), (4.0, 5.0)])
    assert pairs.tolist() == [[3.0, 2.0], [5.0, 4.0]]


@pytest.mark.parametrize("a", [-1.0, 0.0, 3.0])
def test_a_text_says_not_and_its_other_branch_has_no_value(a):
    flip = rule("flip", "a", "a if not a > 1 else -a", "1.0 if not a > 1 else log(a) / (a * a)")
    try:
        f = compile(lambda x: grad(flip(x), [x], create_graph=True)[0] + flip(x))
        assert f(a).data == grad(flip(x := Value(a)), [x])[0] + flip(a)
        assert f.program.traced  # it was not left to Python's floats
    finally:
        del RULES["flip"]


def test_at_a_point_where_a_branch_of_a_gradient_has_no_value():
    assert compile(lambda x: x.sqrt()).gradients([0.0, 1.0]).tolist() == [math.inf, 0.5]
    assert [x.tolist() for x in compile(lambda x, y: x**y).gradients([0.0], [1.0])] == [[1.0], [0.0]]
    assert compile(lambda x, n: x**n)(-2.0, 3).data == -8.0
    late_log = Rule("late_log", "a", "log(a) if a > 1 else 0.0", ("1 / a if a > 1 else 0.0",), {})
    assert compile(lambda x: operation(late_log)(x)).gradients([0.0, 4.0]).tolist() == [0.0, 0.25]


def test_whole_numbers_are_numbers():
    log = compile(lambda x: x.log())
    for call in (lambda: log(0), lambda: log.values([1, 0])):
        with pytest.raises(ValueError, match=r"log\(0\.0\)"):
            call()
    with pytest.raises(OverflowError):
        compile(lambda x: x.exp())(1000)
    assert compile(lambda x: x * 1e308).gradients(np.array([1, 10])).tolist() == [1e308, 1e308]


def test_kinks_of_parameters_are_compiled():
    w, u = Value(-1.5, label="w"), Value(2.0)
    for function in (
        lambda x: abs(w) * x + w.relu() + w.leaky_relu() + w.maximum(u) + w.minimum(x),
        lambda x: functional.where(w > 0, w * x, x),
        lambda x: functional.dot(functional.softmax([w, u]), [x, 1.0]),
        lambda x: u**x + x**u,
    ):
        compiled = compile(function)
        for x in (3.0, 0.5):
            out, expected = compiled(x), function(Value(x))
            assert out.data == pytest.approx(expected.data, rel=1e-13)
            assert grad(out, [w, u]) == pytest.approx(grad(expected, [w, u]), rel=1e-13)
    assert w > -2
    assert not w > u


def test_arrays_of_earlier_calls_keep_their_numbers():
    f = compile(lambda x: x * 2)
    x = np.arange(20.0)
    arrays = [part for i in range(4) for part in f.values_and_gradients(x + i)]
    for i, (values, slopes) in enumerate(zip(arrays[::2], arrays[1::2], strict=True)):
        assert values.tolist() == (2 * (x + i)).tolist()
        assert slopes.tolist() == [2.0] * 20


def test_what_is_not_finite_stays_so():
    values = compile(lambda x: x * 0.0 + 1).values([1.0, math.inf])
    assert values[0] == 1.0
    assert math.isnan(values[1])


def test_other_threads_go_on_while_a_program_is_made():
    w, failures, done = Value(2.0), [], threading.Event()

    def look():
        while not done.is_set():
            try:
                assert (w.data, w > 1, (w * 3).data) == (2.0, True, 6.0)
            except Exception as error:
                failures.append(error)

    def make(k):
        try:
            f = compile(lambda x: functional.sum([(x * w + i).tanh() for i in range(k)]))
            assert f(0.5).data == pytest.approx(f.function(Value(0.5)).data)
        except Exception as error:
            failures.append(error)

    looking = threading.Thread(target=look)
    looking.start()
    makers = [threading.Thread(target=make, args=(k,)) for k in range(20, 26)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    done.set()
    looking.join()
    assert not failures


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_process_has_threads_of_its_own():
    code = """if True:
        import os, numpy as np
        from micrograd import compile
        f, x = compile(lambda x: (x * x).tanh() + x), np.linspace(0, 1, 400_000)
        f.values(x)
        child = os.fork()
        if child:
            os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        os._exit(0 if f.values(x)[-1] > 1 else 1)
    """
    environment = {**os.environ, "MICROGRAD_THREADS": "2"}
    assert subprocess.run([sys.executable, "-c", code], env=environment, timeout=100).returncode == 0


@pytest.mark.parametrize("lanes", [1, 2, 9, 40])
def test_threads_share_many_lanes_and_few(monkeypatch, lanes):
    monkeypatch.setattr(program, "count_threads", lambda: 3)
    monkeypatch.setattr(program, "_WORTH_A_THREAD", 1)  # as if it were a large program
    x = np.linspace(-1, 1, lanes)
    values, slopes = compile(lambda x: (x * x).tanh() + x).values_and_gradients(x)
    np.testing.assert_allclose(values, np.tanh(x * x) + x, rtol=1e-12)
    np.testing.assert_allclose(slopes, 2 * x / np.cosh(x * x) ** 2 + 1, rtol=1e-12)


def test_the_number_of_threads_is_checked(monkeypatch):
    program.count_threads.cache_clear()
    for wrong in ("0", "-1", "two"):
        monkeypatch.setenv("MICROGRAD_THREADS", wrong)
        with pytest.raises(ValueError, match="MICROGRAD_THREADS is a whole number above 0, not"):
            program.count_threads()
    monkeypatch.undo()
    program.count_threads()


def test_within_detect_anomaly_arrays_are_computed_too():
    f = compile(lambda x: (x * 2).log())
    with detect_anomaly():
        assert f.batch([0.5, 0.5]).data == 0.0
        assert f.values([0.5]).tolist() == [0.0]
        assert f.gradients([0.5, 1.0]).tolist() == [2.0, 1.0]
        with pytest.raises(ValueError, match="log"):
            f.values([0.5, -1.0])


def test_a_copy_makes_programs_of_its_own():
    f = compile(lambda x: x * x)
    assert (f(3.0).data, copy.deepcopy(f)(3.0).data) == (9.0, 9.0)


def test_complex_numbers_are_refused():
    f = compile(lambda x: x * x)
    f.values(np.array([1.0]))
    with pytest.raises(TypeError, match="complex"):
        f.values(np.array([1 + 2j]))


class Line(nn.Module):
    def __init__(self, slope):
        self.slope = Value(slope)

    @compile
    def at(self, x, k=1.0, *, shift=0.0):
        return self.slope * x * k + shift


def test_a_method_of_each_instance_has_its_own_parameters():
    lines = [Line(2.0), Line(5.0)]
    for line in (*lines, *lines):
        line.zero_grad()
        line.at(3.0).backward()
        assert (line.at(3.0).data, line.slope.grad) == (3 * line.slope.data, 3.0)
        assert line.at is line.at
    assert [name for name, _ in lines[0].named_parameters()] == ["slope"]
    assert lines[0].state_dict() == {"slope": 2.0}


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda line: pickle.loads(pickle.dumps(line))])
def test_a_copy_of_an_instance_does_not_use_its_programs(duplicate):
    line = Line(2.0)
    line.at(1.0)
    other = duplicate(line)
    other.slope = Value(7.0)
    assert (other.at(1.0).data, line.at(1.0).data) == (7.0, 2.0)


def test_arguments_by_name():
    line = Line(2.0)
    assert line.at(3.0, shift=1.0).data == 7.0
    assert line.at(x=3.0, k=2.0).data == line.at(3.0, 2.0).data == 12.0
    assert line.at(3.0, shift=1.0, k=2.0).data == line.at(k=2.0, shift=1.0, x=3.0).data == 13.0
    assert "3 inputs" in str(line.at.program)
    assert line.at.values([1.0, 2.0], shift=[0.0, 5.0]).tolist() == [2.0, 9.0]
    slope, one = line.at.gradients([1.0, 2.0], shift=[0.0, 5.0])
    assert (slope.tolist(), one.tolist()) == ([2.0, 2.0], [1.0, 1.0])
    out = line.at.batch(x=[1.0, 3.0])
    out.backward()
    assert (out.data, line.slope.grad) == (4.0, 2.0)
    for call in (line.at, line.at.values, line.at.batch):
        with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
            call([1.0], colour=[1.0])


def test_partial_functions_and_bound_methods():
    def line(slope, x, shift=0.0):
        return slope * x + shift

    slope = Value(2.0)
    for f in (functools.partial(line, slope, shift=1.0), functools.partial(line, slope)):
        out = compile(f)(3.0, shift=1.0)
        slope.grad = 0.0
        out.backward()
        assert (out.data, slope.grad) == (7.0, 3.0)
    assert compile(Line(4.0).at.function)(2.0).data == 8.0
