"""``diagnose``: faults planted into engines of several styles are named, and right engines are not accused."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from engines.faults import BRANCHES, CLOSURES, FAULTS, FUNCTIONS, RECURSIVE, TABLE, TAPE, load, write

from micrograd import Value
from micrograd.testing import Diagnosis, diagnose
from micrograd.testing.diagnosis import KINDS
from micrograd.testing.expression import Expression


def name_fault(fault):
    engine, kind, operation, _, _ = fault
    return f"{engine}-{kind}-{operation}".replace(" ", "-").replace("*", "x")


def test_the_corpus_is_large_and_has_every_kind():
    assert len(FAULTS) >= 150
    assert {kind for _, kind, *_ in FAULTS} == set(KINDS) - {"right"}
    assert {engine for engine, *_ in FAULTS} >= {CLOSURES, TABLE, TAPE}


@pytest.mark.parametrize("fault", FAULTS, ids=name_fault)
def test_a_planted_fault_is_named(fault):
    engine, kind, operation, old, new = fault
    found = diagnose(load(write(engine, (old, new))))
    assert (found.kind, found.operation) == (kind, operation), str(found)
    assert not found.ok
    assert found.counterexample is None or isinstance(found.counterexample, Expression)
    assert found.counterexample is None or found.counterexample.size <= 4
    if kind not in ("crash", "operator"):
        assert found.counterexample is not None
        assert found.got != found.expected
    assert str(found).startswith(kind)


# Engines that are right


PATHS = """
    def backward(self):
        self.hand_on(1.0)

    def hand_on(self, upstream):
        self.grad += upstream
        if self.operands:
            _, local = TABLE[self.op]
            for x, slope in zip(self.operands, local(*[x.data for x in self.operands], self.data)):
                x.hand_on(slope * upstream)
"""
FORWARD = """
    def backward(self):
        nodes, seen = [], set()
        def visit(v):
            if v not in seen:
                seen.add(v)
                for child in v._prev:
                    visit(child)
                nodes.append(v)
        visit(self)
        for v in nodes:
            v.grad = 0.0
        self.grad = 1.0
        while nodes:
            v = nodes.pop()
            v._backward()
            if v._prev:
                v.grad = None
"""
_BACKWARD = (
    "    def backward(self):" + write(CLOSURES).partition("    def backward(self):")[2].partition("    def __neg")[0]
)
_IN_PLACE = "    def __iadd__(self, other):\n        return self + other\n\n"
_ZERO = "        for out, _ in self.entries:\n            out.grad = 0.0\n"
_GIVE = "                operand.grad += slope * out.grad\n"
# fmt: off
RIGHT = {
    "closures": write(CLOSURES),
    "table": write(TABLE),
    "tape": write(TAPE),
    "branches": write(BRANCHES),
    "functions": write(FUNCTIONS),
    "recursive": write(RECURSIVE),
    "every path": write(TABLE) + PATHS,
    "gradients of inner nodes are dropped, leaves are zeroed first": write(CLOSURES, (_BACKWARD, FORWARD)),
    "slots": write(
        CLOSURES,
        ("class Value:\n", "class Value:\n    __slots__ = ('data', 'grad', '_backward', '_prev', '_op')\n"),
    ),
    "no methods": write(CLOSURES, ("def relu", "def _relu"), ("def tanh", "def _tanh"), ("def exp", "def _exp")),
    "float32": write(
        TAPE,
        ("self.data = data", "self.data = np.float32(data)"),
        ("import math", "import math, numpy as np"),
    ),
    "floats only": write(
        TABLE,
        ("self.data = float(data)", "assert isinstance(data, float), data\n        self.data = data"),
        ('return Value.apply("pow", self, n)', 'return Value.apply("pow", self, float(n))'),
    ),
    "gradients start as None": write(
        TAPE,
        ("self.data = data\n        self.grad = 0.0", "self.data = data\n        self.grad = None"),
        ("operand.grad += slope * out.grad", "operand.grad = (operand.grad or 0.0) + slope * out.grad"),
    ),
    "capitals": write(CLOSURES, ("    def relu(self):", "    def ReLU(self):")),
    "labels": write(CLOSURES, ('children=(), op=""', 'children=(), op="", label=""')),
    "log has a base": write(TABLE, ("def log(self):", "def log(self, base):")),
    "the tape is cleared": write(TAPE, (_ZERO, ""), (_GIVE, _GIVE + "        self.entries.clear()\n")),
    "sums in place": write(CLOSURES, ("    def __neg__", _IN_PLACE + "    def __neg__")),
}
# fmt: on


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_engine_is_not_accused(name):
    found = diagnose(load(RIGHT[name]))
    assert found.ok, str(found)
    assert (found.kind, found.operation, found.counterexample, found.expected, found.got) == (
        "right",
        "",
        None,
        None,
        None,
    )


@pytest.mark.parametrize("engine", [Value, lambda x: Value(x, label="x"), lambda x: Value(np.float64(x))])
def test_the_package_itself_is_right(engine):
    assert diagnose(engine) == Diagnosis("right")


# What a student may keep of the contributions that should be added.
# fmt: off
KEPT = {
    "only the last one (= in place of +=)": "slope * out.grad",
    "only the first one": "operand.grad or slope * out.grad",
    "only the one of largest magnitude": "max(operand.grad, slope * out.grad, key=abs)",
    "their average": "(operand.grad + slope * out.grad) / (2 if operand.grad else 1)",
    "their product": "(operand.grad or 1.0) * slope * out.grad",
}
# fmt: on


@pytest.mark.parametrize("fate", KEPT)
def test_what_is_kept_of_contributions_that_should_be_added(fate):
    found = diagnose(load(write(TAPE, ("operand.grad += slope * out.grad", f"operand.grad = {KEPT[fate]}"))))
    assert str(found) == (
        "overwritten: gradients of a node that is used twice are not added. x1 = x0 + x0, at x0 = 3.0: x0.grad should "
        f"be 2 but is 1. It gets 1 and 1, and keeps {fate}."
    )


def test_what_is_limited_stands_in_the_notes():
    notes = "; ".join(diagnose(load(RIGHT["closures"])).notes)
    assert "recursion" in notes
    assert "twice" in notes
    assert "collector" in notes
    assert "exponentially" in "; ".join(diagnose(load(RIGHT["every path"])).notes)
    assert "floats only" in "; ".join(diagnose(load(RIGHT["floats only"])).notes)


def test_a_diagnosis_as_json():
    found = diagnose(load(write(CLOSURES, ("1 - t**2", "1 - self.data**2"))))
    fields = json.loads(found.to_json())
    assert fields["sentence"] == str(found)
    assert (fields["ok"], fields["kind"], fields["operation"]) == (False, "local gradient", "tanh")
    assert "from the input" in fields["sentence"]
    scope = {}
    exec(fields["counterexample"].rpartition("\n")[0], scope)
    x = Value(found.counterexample.point[0])
    scope["f"](x).backward()
    assert x.grad == pytest.approx(found.expected)
    assert json.loads(Diagnosis("value", got=float("nan")).to_json())["got"] == "nan"


def test_a_gradient_that_is_no_number():
    found = diagnose(load(write(CLOSURES, ("        self.grad = 1\n", "        self.grad = [1]\n"))))
    assert "backward() fails on x2 = x0 + x1, at x0 = 3.0, x1 = 2.0: TypeError" in str(found)
    found = diagnose(load(write(CLOSURES, ("        self.data = data\n", "        self.data = [data]\n"))))
    assert str(found) == (
        "crash: it fails. Value(3.0) can't be made: TypeError: its data is no number, but list [3.0]."
    )


def test_a_trace_function_is_restored():
    def trace(frame, event, argument):
        return None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        diagnose(load(write(CLOSURES, ("        self.grad = 1\n", "        while True:\n            pass\n"))))
        assert sys.gettrace() is trace
    finally:
        sys.settrace(before)


def test_nothing_else_has_to_be_installed(tmp_path):
    (tmp_path / "hypothesis.py").write_text("raise ImportError('there is no hypothesis')")
    (tmp_path / "engine.py").write_text(write(CLOSURES, ("1 - t**2", "1 + t**2")))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, "-m", "micrograd", "diagnose", str(tmp_path / "engine.py"), "--json"],
        capture_output=True,
        text=True,
        env=environment,
    )
    fields = json.loads(done.stdout)
    assert (fields["kind"], fields["operation"], done.stderr) == ("local gradient", "tanh", "")
    assert "x0" in fields["counterexample"]


def test_what_is_no_class_is_refused():
    with pytest.raises(TypeError, match=r"takes a Value class, not float 3\.0"):
        diagnose(3.0)
