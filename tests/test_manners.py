"""What people type with a Value, and the result or error that they get."""

import copy
import inspect
import io
import math
import pdb
import pickle
import threading
import traceback
from unittest.mock import ANY

import numpy as np
import pytest

from micrograd import Value, functional, grad
from micrograd.rules import RULES, rule


def test_a_format_is_that_of_the_number():
    v = Value(3.14159, label="v")
    assert f"{v:.2f}" == "3.14"
    assert f"{v:>8.1e}" == " 3.1e+00"
    assert f"{v}" == repr(v)


def test_item_and_plus():
    v = Value(2.0)
    assert type(v.item()) is float
    assert v.item() == 2.0
    assert +v is v


@pytest.mark.parametrize(
    "look",
    [
        int,
        round,
        float,
        bool,
        math.exp,
        np.isnan,
        np.isfinite,
        np.floor,
        lambda v: np.arctan2(v, 1.0),
        lambda v: v in [1.0],
        lambda v: v == 2.0,
        lambda v: v != 2.0,
        lambda v: v == np.float64(2.0),
        lambda v: v == np.array([2.0]),
        lambda v: "yes" if v else "no",
        lambda v: not v,
        lambda v: [1.0, 2.0].index(v),
    ],
)
def test_what_would_lose_the_gradient_names_the_way_out(look):
    with pytest.raises(TypeError, match=r"v\.data"):
        look(Value(2.0))


def test_identity_sets_and_dicts_of_values_stay():
    a, b = Value(1.0), Value(1.0)
    assert a == a
    assert a != b
    assert a in [b, a]
    assert [b, a].index(a) == 1
    assert len({a, b, a}) == 2
    assert {a: 1, b: 2}[b] == 2
    assert (a == None, a == "a") == (False, False)  # noqa: E711
    assert a == ANY


def test_numpy_on_either_side():
    v, w = Value(3.0), Value(2.0)
    array = np.array([1.0, 2.0])
    for left, right in ((v * array, array * v), (v + array, array + v)):
        assert [x.data for x in left] == [x.data for x in right]
    assert [x.data for x in v - array] == [2.0, 1.0]
    assert [x.data for x in array / w] == [0.5, 1.0]
    assert [x.data for x in v**array] == [3.0, 9.0]
    assert [x.data for x in array**w] == [1.0, 4.0]
    assert [[x.data for x in row] for row in v * np.ones((2, 2))] == [[3.0, 3.0]] * 2
    (first, second) = v * array
    (first * second).backward()
    assert v.grad == 12.0
    assert (np.exp(w).op, np.tanh(w).op, np.sqrt(w).data) == ("exp", "tanh", math.sqrt(2))
    assert (np.float64(2.0) * v).data == 6.0
    assert np.add.reduce(np.array([v, w])).data == 5.0
    assert sum(np.array([v, w]) * np.array([w, v])).data == 12.0


def test_an_array_is_no_operand_of_a_function():
    with pytest.raises(TypeError, match="one real number, not ndarray"):
        Value(1.0).maximum(np.array([1.0, 2.0]))
    for array in (np.array([1.0, 2.0]), np.array([1.0])):
        with pytest.raises(TypeError, match=r"tanh\(\) takes numbers and Values, not ndarray"):
            functional.tanh(array)
    assert functional.tanh(np.array(1.0)) == math.tanh(1.0)


def test_grad_of_a_function_says_to_call_it():
    with pytest.raises(
        TypeError, match=r"grad\(\) takes Values, not function .*: it takes a Value, so call the function first"
    ):
        grad(lambda x: x, 2.0)
    with pytest.raises(TypeError, match=r"grad\(\) takes Values, not float 2\.0"):
        grad(2.0, [Value(1.0)])


def test_backward_by_hand_as_in_the_lecture():
    x, w = Value(2.0), Value(-3.0)
    product = x * w
    out = (product + 7).tanh()
    out.grad = 1.0
    order = [out, out.parents[0], product]
    for node in order:
        node._backward()
    by_hand = x.grad, w.grad
    x._backward()  # a leaf has no parents: nothing happens
    x.grad = w.grad = 0.0
    out.backward()
    assert by_hand == (x.grad, w.grad)


def test_a_label_is_a_string_whenever_it_is_set():
    v = Value(1.0)
    for set_label in (lambda: setattr(v, "label", 3), lambda: Value(1.0, 3), lambda: Value(1.0, None)):
        with pytest.raises(TypeError, match="a label is a string, not"):
            set_label()
    v.label = "v"
    assert v.label == "v"


def make_chain(length):
    x = out = Value(0.5)
    for _ in range(length):
        out = out * 0.5 + x
    return x, out


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))])
def test_a_long_chain_is_copied_without_recursion(clone):
    x, out = make_chain(10_000)
    other_out, other_x = clone([out, x])
    assert other_out.data == out.data
    assert other_out.parents[1] is other_x
    other_out.backward()
    assert x.grad == 0.0
    assert other_x.grad == grad(out, [x])[0]


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))])
def test_a_copy_shares_what_the_original_shares(clone):
    x = Value(2.0, label="x")
    inner = x * 3
    outer = [inner**2, functional.dot([inner, x], [inner, 1.0]), inner.leaky_relu(0.5), x.hypot(inner)]
    (copied_x, copied_inner), copied = clone(((x, inner), outer))
    for out, other in zip(outer, copied, strict=True):
        assert grad(other, [copied_inner, copied_x]) == grad(out, [inner, x])
        assert other.rule.whole is out.rule.whole
    assert copied_x.label == "x"
    shallow = copy.copy(inner)
    assert shallow.parents[0] is x


class Tagged(Value):
    def __init__(self, data, tag):
        super().__init__(data)
        self.tag = tag


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))])
def test_a_copy_that_failed_leaves_the_next_one_as_it_is(clone):
    with pytest.raises(TypeError, match="lock") as kept:  # the error, and with it the frames of the copy
        clone(make_chain(5)[1] + Tagged(1.0, threading.Lock()))
    assert clone(make_chain(3000)[1]).data == make_chain(3000)[1].data
    assert kept.traceback


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))])
def test_a_long_chain_in_an_attribute_is_copied_without_recursion(clone):
    x, out = make_chain(3000)
    copied = clone(Tagged(2.0, out) * x).parents[0]
    assert (copied.tag.data, copied.tag is out) == (out.data, False)


def test_a_rule_that_left_the_table_is_no_part_of_a_pickle():
    gone = rule("gone", "x", "2 * x", "2.0")
    node = gone(Value(1.0))
    del RULES["gone"]
    with pytest.raises(TypeError, match=r"'gone'.* can't be pickled: the rule is not in the table"):
        pickle.dumps(node)


def test_help_says_what_an_operation_computes_and_its_local_gradient():
    for method, signature in ((Value.exp, "(a)"), (Value.__mul__, "(a, b)"), (Value.__rsub__, "(b, a)")):
        assert str(inspect.signature(method)) == signature
    text = inspect.getdoc(Value.exp)
    assert "out = exp(a)" in text
    assert "∂out/∂a = out" in text
    assert inspect.getdoc(Value.data)
    assert inspect.getdoc(Value.grad)
    assert Value(3.0).maximum(b=4.0).data == 4.0


def test_generated_functions_show_their_source():
    assert "out_._data = a * b" in map(str.strip, inspect.getsource(Value.__mul__).splitlines())
    assert inspect.getsourcefile(Value.__sub__) == "<rule -: node>"
    assert inspect.getsourcefile(Value.__rsub__) == "<rule -: reflected node>"
    x = Value(2.0)
    (x * x).backward()
    assert "a__._grad += (b) * upstream_" in inspect.getsource(RULES["*"].pull)
    odd = rule("odd", "x", "x + undefined", "1.0")
    try:
        with pytest.raises(NameError) as caught:
            odd(x)
        assert "out_._data = x + undefined" in "".join(traceback.format_exception(caught.value))
    finally:
        del RULES["odd"]


def test_pdb_steps_into_the_chain_rule():
    output = io.StringIO()
    x = Value(2.0)
    out = x * x
    RULES["*"].pull(out)  # compiles it
    commands = io.StringIO("step\nstep\nlist\ncontinue\n")
    debugger = pdb.Pdb(stdin=commands, stdout=output, nosigint=True, readrc=False)
    debugger.use_rawinput = False
    debugger.runcall(RULES["*"].pull, out)
    assert "._grad += (b) * upstream_" in output.getvalue()


def test_a_text_that_gives_a_whole_number_makes_a_float():
    try:
        for name, text in (("whole", "round(a)"), ("sign", "1 if a > 0 else 0"), ("steps", "len(str(a))")):
            node = rule(name, "a", text, "1.0")(Value(2.6))
            assert type(node.data) is float
            assert type(RULES[name](2.6)) is float
        root = rule("root", "a", "a ** 0.5", "0.5 / out")
        with pytest.raises(ValueError, match=r"root\(-2\.0\): .*no real power"):
            root(Value(-2.0))
    finally:
        for name in ("whole", "sign", "steps", "root"):
            RULES.pop(name, None)


@pytest.mark.parametrize(
    "value", ["2.0 * a ** 1.5", "a + a ** 0.5", "-(a + a ** n)", "a if a > 5 else a + (a ** 0.5) ** 3", "1.0 - a * 1j"]
)
def test_a_text_never_makes_a_complex_number(value):
    hostile, slope = rule("hostile", "a", value, "1.0", n=0.5), rule("slope", "a", "abs(a)", value, n=0.5)
    try:
        for call in (hostile, lambda a: hostile(Value(a)), lambda a: slope(Value(a)).backward()):
            with pytest.raises(ValueError, match=r"\(-2\.0\): .*no real power"):
                call(-2.0)
    finally:
        del RULES["hostile"], RULES["slope"]
