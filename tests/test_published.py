"""Code for the published micrograd 0.1.0 runs unchanged, with the numbers that it gave there."""

import random

import numpy as np
import pytest
from graphviz import Digraph
from sklearn.datasets import make_moons

from micrograd import nn
from micrograd.engine import Value
from micrograd.nn import MLP


def test_sanity_check():
    x = Value(-4.0)
    z = 2 * x + 2 + x
    q = z.relu() + z * x
    h = (z * z).relu()
    y = h + q + q * x
    y.backward()
    assert (y.data, x.grad) == (-20.0, 46.0)


def test_more_ops():
    a = Value(-4.0)
    b = Value(2.0)
    c = a + b
    d = a * b + b**3
    c += c + 1
    c += 1 + c + (-a)
    d += d * 2 + (b + a).relu()
    d += 3 * d + (b - a).relu()
    e = c - d
    f = e**2
    g = f / 2.0
    g += 10.0 / f
    g.backward()
    assert g.data == pytest.approx(24.704081632653061, rel=1e-15)
    assert a.grad == pytest.approx(138.8338192419825, rel=1e-15)
    assert b.grad == pytest.approx(645.5772594752186, rel=1e-15)


LOSSES = {0: 0.8958441028683222, 1: 1.7235905336972022, 5: 0.31354548191852194, 99: 0.010978370135492717}


@pytest.mark.slow
@pytest.mark.slow
def test_moons_notebook():
    np.random.seed(1337)
    random.seed(1337)
    X, y = make_moons(n_samples=100, noise=0.1)  # noqa: N806
    y = y * 2 - 1
    model = MLP(2, [16, 16, 1])
    assert str(model).startswith("MLP of [Layer of [ReLUNeuron(2), ReLUNeuron(2),")
    assert str(model).endswith("Layer of [LinearNeuron(16)]]")
    assert len(model.parameters()) == 337

    def loss(batch_size=None):
        if batch_size is None:
            Xb, yb = X, y  # noqa: N806
        else:
            ri = np.random.permutation(X.shape[0])[:batch_size]
            Xb, yb = X[ri], y[ri]  # noqa: N806
        inputs = [list(map(Value, xrow)) for xrow in Xb]
        scores = list(map(model, inputs))
        losses = [(1 + -yi * scorei).relu() for yi, scorei in zip(yb, scores, strict=True)]
        data_loss = sum(losses) * (1.0 / len(losses))
        alpha = 1e-4
        reg_loss = alpha * sum(p * p for p in model.parameters())
        total_loss = data_loss + reg_loss
        accuracy = [(yi > 0) == (scorei.data > 0) for yi, scorei in zip(yb, scores, strict=True)]
        return total_loss, sum(accuracy) / len(accuracy)

    for k in range(100):
        total_loss, acc = loss()
        model.zero_grad()
        total_loss.backward()
        learning_rate = 1.0 - 0.9 * k / 100
        for p in model.parameters():
            p.data -= learning_rate * p.grad
        if k in LOSSES:
            assert total_loss.data == pytest.approx(LOSSES[k], rel=1e-12)
    assert acc == 1.0
    Xmesh = np.c_[[-1.0, 2.0], [1.0, -1.0]]  # noqa: N806
    scores = [model(list(map(Value, xrow))) for xrow in Xmesh]
    assert np.array([s.data > 0 for s in scores]).tolist() == [False, True]


def trace(root):
    nodes, edges = set(), set()

    def build(v):
        if v not in nodes:
            nodes.add(v)
            for child in v._prev:
                edges.add((child, v))
                build(child)

    build(root)
    return nodes, edges


def draw_dot(root, format="svg", rankdir="LR"):  # noqa: A002
    assert rankdir in ["LR", "TB"]
    nodes, edges = trace(root)
    dot = Digraph(format=format, graph_attr={"rankdir": rankdir})
    for n in nodes:
        dot.node(name=str(id(n)), label=f"{{ data {n.data:.4f} | grad {n.grad:.4f} }}", shape="record")
        if n._op:
            dot.node(name=str(id(n)) + n._op, label=n._op)
            dot.edge(str(id(n)) + n._op, str(id(n)))
    for n1, n2 in edges:
        dot.edge(str(id(n1)), str(id(n2)) + n2._op)
    return dot


def test_graph_tracing_notebook():
    x = Value(1.0)
    y = (x * 2 + 1).relu()
    y.backward()
    nodes, edges = trace(y)
    assert sorted((n.data, n.grad, n._op) for n in nodes) == [
        (1.0, 1.0, ""),
        (1.0, 2.0, ""),
        (2.0, 1.0, ""),
        (2.0, 1.0, "*"),
        (3.0, 1.0, "+"),
        (3.0, 1.0, "ReLU"),
    ]
    assert len(edges) == 5
    source = draw_dot(y).source
    assert source.count("data 3.0000 | grad 1.0000") == 2
    assert all(edge.count("->") == 1 for edge in source.splitlines() if "->" in edge)

    random.seed(1337)
    n = nn.Neuron(2)
    x = [Value(1.0), Value(-2.0)]
    y = n(x)
    y.backward()
    w = [0.23550571390294128, 0.06653114721000164]
    assert [p.data for p in n.w] == pytest.approx(w, rel=1e-15)
    assert y.data == pytest.approx(w[0] - 2 * w[1], rel=1e-15)
    assert [p.grad for p in n.parameters()] == [1.0, -2.0, 1.0]
    assert [xi.grad for xi in x] == pytest.approx(w, rel=1e-15)
    assert "ReLU" in draw_dot(y).source
