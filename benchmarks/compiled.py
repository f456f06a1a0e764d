"""Compiled programs beside their peers: training steps, derivatives of arrays and of a single point, a Hessian.

    python benchmarks/compiled.py [--rows moons gpt] [--peers PyTorch JAX] [--quick] [--plot FILE] [--markdown]

Everything is in float64. PyTorch, JAX, CasADi, XAD and HIPS autograd take part where they are installed, and so does
the published micrograd 0.1.0, from a folder of its own; what is missing is named. Every side of a row runs in a process
of its own, and the processes take turns in short rounds, so that whatever else the machine does falls on all of them.
The garbage collector is on. Before anything is timed, all sides of a row must have come to the same numbers. A step of
training is complete, with its update; what comes once, to trace and to compile, is told apart from it.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import importlib.util
import itertools
import json
import math
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from eager import OLD, PUBLISHED, ROOT, install_published, more_ops, two_moons

OURS, ARRAYS, EAGER = "micrograd", "micrograd, arrays", "micrograd, eager"
TORCH, HIPS, XAD, NUMPY, PURE = "PyTorch", "HIPS autograd", "XAD", "NumPy by hand", "pure Python"
JAX, JAX_LENGTHS = "JAX", "JAX, by length"
CASADI, CASADI_C = "CasADi", "CasADi in C"  # its virtual machine; the C that it writes, compiled by gcc

MODULES = {
    **dict.fromkeys([OURS, ARRAYS], "numba"),
    **dict.fromkeys([JAX, JAX_LENGTHS], "jax"),
    **dict.fromkeys([CASADI, CASADI_C], "casadi"),
    **dict(zip([TORCH, HIPS, XAD, NUMPY], ["torch", "autograd", "xad", "numpy"], strict=True)),
}
COMPILERS = (OURS, JAX, JAX_LENGTHS, CASADI, CASADI_C)
TOLERANCE = 1e-6


@dataclass
class Side:
    """What a peer does in a row."""

    run: Callable[[int], None]  # makes so many steps or calls, and waits for the last one
    result: Callable[[], Any]  # the numbers that it then has, in any nested lists and arrays
    unit: int = 1  # it makes a multiple of so many at a time
    fixed: int = 0  # the cost of a run of so many is taken off, for it has a part that comes once a run


Sides = dict[str, Callable[[], Side]]


def calls(once: Callable[[], Any], result: Callable[[Any], Any] = lambda out: out) -> Side:
    """The side that makes one call, over and over."""
    out: Any = None

    def run(n: int) -> None:
        nonlocal out
        for _ in range(n):
            out = once()

    return Side(run, lambda: result(out))


def flat(tree: Any) -> list[float]:
    """The numbers in nested lists, arrays, tensors and Values."""
    if hasattr(tree, "tolist"):
        tree = tree.tolist()
    if isinstance(tree, (list, tuple)):
        return [x for part in tree for x in flat(part)]
    return [float(getattr(tree, "data", tree))]


# What peers need in more than one row.


def casadi_function(inputs: list[Any], outputs: list[Any], in_c: bool) -> Any:
    import casadi

    options = {"jit": True, "compiler": "shell", "jit_options": {"flags": ["-O3", "-march=native"]}} if in_c else {}
    return casadi.Function("f", inputs, outputs, options)


def xad_value_and_grad(f: Callable[..., Any]) -> Callable[..., tuple[float, list[float]]]:
    """The function that gives f of a list of numbers, and what it may take besides, with its gradient by the list."""
    from xad.adj_1st import Real, Tape

    tape = Tape()

    def derive(numbers: Iterable[float], *more: Any) -> tuple[float, list[float]]:
        with tape:
            inputs = [Real(x) for x in numbers]
            tape.registerInputs(inputs)
            tape.newRecording()
            out = f(inputs, *more)
            tape.registerOutput(out)
            out.setDerivative(1.0)
            tape.computeAdjoints()
            derived = out.getValue(), [x.getDerivative() for x in inputs]
            tape.clearAll()
        return derived

    return derive


# Networks: a step of descent on a whole batch.


@dataclass
class Network:
    """A ReLU network, its data and its loss; a neuron is a list of its weights and its bias."""

    layers: list[list[list[float]]]
    inputs: list[list[float]]
    targets: list[Any]  # −1 or 1 for the hinge loss; the true classes as one-hot vectors for the cross-entropy
    hinge: bool
    decay: float  # an L2 penalty, as the optimizers have it
    lr: float = 0.1

    @property
    def sizes(self) -> list[int]:
        return [len(self.inputs[0]), *map(len, self.layers)]

    def sides(self) -> Sides:
        return {
            OURS: lambda: network_ours(self, True),
            EAGER: lambda: network_ours(self, False),
            TORCH: lambda: network_torch(self),
            JAX: lambda: network_jax(self),
            CASADI: lambda: network_casadi(self, False),
            CASADI_C: lambda: network_casadi(self, True),
            HIPS: lambda: network_autograd(self),
            XAD: lambda: network_xad(self),
            OLD: lambda: network_published(self),
        }


def he_layers(sizes: Sequence[int], rng: random.Random) -> list[list[list[float]]]:
    return [
        [[rng.gauss(0, math.sqrt(2 / nin)) for _ in range(nin)] + [0.0] for _ in range(nout)]
        for nin, nout in itertools.pairwise(sizes)
    ]


def network_ours(net: Network, compiled: bool) -> Side:
    from micrograd import fit, nn, optim
    from micrograd.functional import dot, logsumexp, relu

    model = nn.MLP(net.sizes[0], net.sizes[1:], activation="relu")
    neurons = [neuron for layer in model.layers for neuron in layer.neurons]
    for neuron, numbers in zip(neurons, itertools.chain(*net.layers), strict=True):
        for parameter, number in zip((*neuron.w, neuron.b), numbers, strict=True):
            parameter.data = number
    optimizer = optim.SGD(model.parameters(), lr=net.lr, weight_decay=net.decay)

    def hinge(x, target):
        return relu(1 - target * model(x))

    def cross_entropy(x, target):
        logits = model(x)
        return logsumexp(logits) - dot(logits, target)

    data = list(zip(net.inputs, net.targets, strict=True))
    losses: list[float] = []

    def run(n: int) -> None:
        losses[:] = fit(
            hinge if net.hinge else cross_entropy,
            data,
            optimizer,
            epochs=n,
            batch_size=len(data),
            shuffle=False,
            progress=False,
            compile=compiled,
        ).loss

    return Side(run, lambda: [losses[-1], [[*neuron.w, neuron.b] for neuron in neurons]], fixed=1)


def network_torch(net: Network) -> Side:
    import torch
    from torch.nn import functional

    modules: list[Any] = []
    for layer, nin in zip(net.layers, net.sizes, strict=False):
        linear = torch.nn.Linear(nin, len(layer))
        numbers = torch.tensor(layer)
        linear.weight.data, linear.bias.data = numbers[:, :-1].contiguous(), numbers[:, -1].contiguous()
        modules += [linear, torch.nn.ReLU()]
    linears, model = modules[::2], torch.nn.Sequential(*modules[:-1])
    descent = torch.optim.SGD(model.parameters(), lr=net.lr, weight_decay=net.decay)
    inputs, targets = torch.tensor(net.inputs), torch.tensor(net.targets, dtype=torch.float64)
    classes = None if net.hinge else targets.argmax(1)
    loss: Any = None

    def run(n: int) -> None:
        nonlocal loss
        for _ in range(n):
            scores = model(inputs)
            if net.hinge:
                loss = torch.relu(1 - targets * scores[:, 0]).mean()
            else:
                loss = functional.cross_entropy(scores, classes)
            descent.zero_grad()
            loss.backward()
            descent.step()

    return Side(run, lambda: [loss, [torch.column_stack([layer.weight, layer.bias]) for layer in linears]])


def network_loss(xp: Any, logsumexp: Any, hinge: bool, layers: Any, inputs: Any, targets: Any) -> Any:
    """The mean loss, on the arrays of JAX and of HIPS autograd."""
    x = inputs
    for i, (weights, biases) in enumerate(layers):
        x = (x if i == 0 else xp.maximum(x, 0.0)) @ weights + biases
    if hinge:
        return xp.mean(xp.maximum(1 - targets * x[:, 0], 0.0))
    return xp.mean(logsumexp(x, axis=1) - xp.sum(x * targets, axis=1))


def array_layers(net: Network) -> list[tuple[Any, Any]]:
    import numpy

    arrays = [numpy.array(layer).T for layer in net.layers]
    return [(array[:-1].copy(), array[-1].copy()) for array in arrays]


def layer_numbers(layers: Any) -> list[Any]:
    import numpy

    return [numpy.vstack([weights, biases]).T for weights, biases in layers]


def network_jax(net: Network) -> Side:
    import jax
    from jax import numpy
    from jax.scipy.special import logsumexp

    derivatives = jax.value_and_grad(partial(network_loss, numpy, logsumexp, net.hinge))

    @partial(jax.jit, donate_argnums=0)
    def step(layers, inputs, targets):
        loss, gradient = derivatives(layers, inputs, targets)
        return jax.tree.map(lambda p, g: p - net.lr * (g + net.decay * p), layers, gradient), loss

    layers, loss = jax.tree.map(numpy.array, array_layers(net)), None
    inputs, targets = numpy.array(net.inputs), numpy.array(net.targets, dtype=float)

    def run(n: int) -> None:
        nonlocal layers, loss
        for _ in range(n):
            layers, loss = step(layers, inputs, targets)
        jax.block_until_ready(layers)

    return Side(run, lambda: [loss, layer_numbers(layers)])


def network_autograd(net: Network) -> Side:
    from autograd import numpy, value_and_grad
    from autograd.scipy.special import logsumexp

    derivatives = value_and_grad(partial(network_loss, numpy, logsumexp, net.hinge))
    layers, loss = array_layers(net), None
    inputs, targets = numpy.array(net.inputs), numpy.array(net.targets, dtype=float)

    def run(n: int) -> None:
        nonlocal loss
        for _ in range(n):
            loss, gradient = derivatives(layers, inputs, targets)
            for arrays, gradients in zip(layers, gradient, strict=True):
                for p, g in zip(arrays, gradients, strict=True):
                    p -= net.lr * (g + net.decay * p)

    return Side(run, lambda: [loss, layer_numbers(layers)])


def vector_descent(net: Network, derivatives: Callable[[Any], tuple[Any, Any]]) -> Side:
    """Descent on all parameters in one vector, given the sums over the batch of the loss and of its gradient."""
    import numpy

    parameters, loss, count = numpy.array(flat(net.layers)), None, len(net.inputs)

    def run(n: int) -> None:
        nonlocal loss
        for _ in range(n):
            loss, gradient = derivatives(parameters)
            gradient = numpy.asarray(gradient).ravel() / count
            parameters[:] -= net.lr * (gradient + net.decay * parameters)

    return Side(run, lambda: [float(loss) / count, parameters])


def network_casadi(net: Network, in_c: bool) -> Side:
    import casadi

    symbol = casadi.SX.sym
    parameters = symbol("p", len(flat(net.layers)))
    inputs, targets = symbol("x", net.sizes[0]), symbol("t", 1 if net.hinge else net.sizes[-1])
    x, start = inputs, 0
    for i, (nin, nout) in enumerate(itertools.pairwise(net.sizes)):
        end = start + (nin + 1) * nout
        neurons = casadi.reshape(parameters[start:end], nin + 1, nout).T
        x, start = neurons[:, :-1] @ (x if i == 0 else casadi.fmax(x, 0)) + neurons[:, -1], end
    loss = casadi.fmax(1 - targets * x, 0) if net.hinge else casadi.logsumexp(x) - casadi.dot(x, targets)
    one = casadi_function([parameters, inputs, targets], [loss, casadi.gradient(loss, parameters)], in_c)
    batch = one.map("batch", "serial", len(net.inputs), [0], [0, 1])  # one vector of parameters; the outputs' sums
    points, labels = casadi.DM(net.inputs).T, casadi.DM(net.targets).T
    return vector_descent(net, lambda parameters: batch(parameters, points, labels))


def network_xad(net: Network) -> Side:
    from xad import math as xad_math

    def loss(parameters: list[Any]) -> Any:
        numbers = iter(parameters)
        layers = [[[next(numbers) for _ in neuron] for neuron in layer] for layer in net.layers]
        total = 0.0
        for x, target in zip(net.inputs, net.targets, strict=True):
            for i, layer in enumerate(layers):
                x = x if i == 0 else [xad_math.max(xi, 0.0) for xi in x]
                x = [sum((wi * xi for wi, xi in zip(neuron, x, strict=False)), neuron[-1]) for neuron in layer]
            if net.hinge:
                total = total + xad_math.max(1 - target * x[0], 0.0)
            else:
                total = total + xad_math.log(sum(map(xad_math.exp, x))) - x[target.index(1.0)]
        return total

    return vector_descent(net, xad_value_and_grad(loss))


def network_published(net: Network) -> Side:
    from micrograd.engine import Value
    from micrograd.nn import MLP

    model = MLP(net.sizes[0], net.sizes[1:])
    for parameter, number in zip(model.parameters(), flat(net.layers), strict=True):
        parameter.data = number
    loss: Any = None

    def run(n: int) -> None:
        nonlocal loss
        for _ in range(n):
            scores = [model(list(map(Value, x))) for x in net.inputs]
            losses = [(1 - target * score).relu() for score, target in zip(scores, net.targets, strict=True)]
            loss = sum(losses) * (1 / len(losses))
            model.zero_grad()
            loss.backward()
            for p in model.parameters():
                p.data -= net.lr * (p.grad + net.decay * p.data)

    return Side(run, lambda: [loss, model.parameters()])


def moons() -> Sides:
    points, labels = two_moons()
    layers = he_layers([2, 16, 16, 1], random.Random(1337))
    return Network(layers, points, labels, hinge=True, decay=2e-4).sides()


def digits(*sizes: int) -> Sides:
    rng = random.Random(1337)
    inputs = [[rng.random() for _ in range(sizes[0])] for _ in range(64)]
    classes = [rng.randrange(sizes[-1]) for _ in inputs]
    targets = [[float(i == true) for i in range(sizes[-1])] for true in classes]
    network = Network(he_layers(sizes, rng), inputs, targets, hinge=False, decay=0.0, lr=0.01)
    without = {EAGER, CASADI_C, OLD} | ({XAD} if sizes[0] > 100 else set())  # they would take minutes
    return {peer: make for peer, make in network.sides().items() if peer not in without}


# A step of microgpt, a transformer of one layer, on one word: https://karpathy.github.io/2026/02/12/microgpt/

WORDS = """
ant arm bay bee bow cap cat cow cub day den dew dog ear eel egg elm eye fan fig fir fog fox gem hat hay hen hut ice
ink ivy jar jay jug key kid lap log map mud net nut oak oar owl pan paw pea atom bark barn bath bean bell bird boat
bone book cake camp cave clay coal coat coin corn crab dawn deer desk dove drum duck dust fawn fern fire fish flag
flax foal frog gate goat gold hare harp hawk herb hill jade kite lake lamb lamp lark apple badge basil beach berry
birch bison bloom brick brook camel candy cedar chalk charm cliff cloud clove coral crane crown daisy delta dough
eagle ember fable feast fjord flame flint flute frost ghost grape grass heron honey horse ivory jewel juice koala
lemon lilac maple marsh melon anchor autumn badger bamboo barley basket beaver bridge bronze butter button candle
canyon carbon carrot castle cherry cinder citrus clover cobalt copper cotton cradle desert donkey dragon engine falcon
fennel forest garden garlic ginger goblet hammer harbor island jacket jungle kettle ladder lagoon laurel lentil linden
lizard magnet feather lantern almonds antenna apricot avocado balloon bandage blanket blossom bramble cabbage cabinet
caravan caramel chamois channel chicken chimney cobbler compass coconut cottage crystal cushion cyclone dolphin
drizzle emerald evening factory firefly fortune gazelle gosling gravity harvest hammock horizon iceberg jasmine
journey kingdom lobster lullaby mariner meerkat mineral airplane antelope backpack baritone bluebell buttered calendar
cardinal chestnut cinnamon clarinet computer corridor crescent cucumber daffodil daughter daylight diamonds dinosaur
doorbell elephant envelope fountain fragrant gardener graphite hedgehog hazelnut hospital hyacinth icebound keyboard
kangaroo lavender lemonade magnolia mandolin marigold medicine mountain mushroom notebook orchards ornament paradise
particle peacocks
"""
TOKENS, WIDTH, HEADS, BLOCK = 27, 16, 4, 16
BOUNDARY = 26  # the token before and after a word; the others are its letters
SHAPES = {
    "wte": (TOKENS, WIDTH),
    "wpe": (BLOCK, WIDTH),
    "lm_head": (TOKENS, WIDTH),
    **dict.fromkeys(["wq", "wk", "wv", "wo"], (WIDTH, WIDTH)),
    "fc1": (4 * WIDTH, WIDTH),
    "fc2": (WIDTH, 4 * WIDTH),
}
LR, BETA1, BETA2, EPS = 0.01, 0.85, 0.99, 1e-8

Matrix = list[list[Any]]


def gpt_weights() -> dict[str, Matrix]:
    rng = random.Random(42)
    return {name: [[rng.gauss(0, 0.08) for _ in range(n)] for _ in range(m)] for name, (m, n) in SHAPES.items()}


def tokens_of(word: str) -> list[int]:
    return [BOUNDARY, *(ord(letter) - ord("a") for letter in word), BOUNDARY]


def one_hots(word: str) -> list[list[float]]:
    return [[float(i == token) for i in range(TOKENS)] for token in tokens_of(word)]


def adam(p: Any, g: Any, m: Any, v: Any, step: Any) -> tuple[Any, Any, Any]:
    """Parameter and moments after a step, of numbers or of arrays."""
    m = BETA1 * m + (1 - BETA1) * g
    v = BETA2 * v + (1 - BETA2) * g * g
    return p - LR * (m / (1 - BETA1**step)) / ((v / (1 - BETA2**step)) ** 0.5 + EPS), m, v


def gpt_ours(words: list[str], compiled: bool) -> Side:
    from micrograd import Value, fit, optim
    from micrograd.functional import dot, logsumexp, mean, relu, softmax, weighted_sums

    weights = {name: [list(map(Value, row)) for row in rows] for name, rows in gpt_weights().items()}
    parameters = [p for rows in weights.values() for row in rows for p in row]
    columns = list(zip(*weights["wte"], strict=True))  # chosen from by a one-hot vector
    optimizer = optim.Adam(parameters, lr=LR, betas=(BETA1, BETA2), eps=EPS)

    def linear(x, name):
        return list(map(weighted_sums(x), weights[name]))

    def norm(x):
        scale = (dot(x, x) / len(x) + 1e-5) ** -0.5
        return [xi * scale for xi in x]

    def attention(q, keys, values):
        out = []
        for head in (slice(i, i + WIDTH // HEADS) for i in range(0, WIDTH, WIDTH // HEADS)):
            fit_of = weighted_sums(q[head])
            attended = weighted_sums(softmax([fit_of(k[head]) / (WIDTH // HEADS) ** 0.5 for k in keys]))
            out += map(attended, zip(*(v[head] for v in values), strict=True))
        return out

    def loss(word):
        keys, values, losses = [], [], []
        for token, target, position in zip(word, word[1:], weights["wpe"], strict=False):
            x = norm([e + p for e, p in zip(map(weighted_sums(token), columns), position, strict=True)])
            h = norm(x)
            keys.append(linear(h, "wk"))
            values.append(linear(h, "wv"))
            h = linear(attention(linear(h, "wq"), keys, values), "wo")
            x = [a + b for a, b in zip(x, h, strict=True)]
            h = linear(list(map(relu, linear(norm(x), "fc1"))), "fc2")
            logits = linear([a + b for a, b in zip(x, h, strict=True)], "lm_head")
            losses.append(logsumexp(logits) - dot(logits, target))
        return mean(losses)

    data = list(map(one_hots, words))
    losses: list[float] = []

    def run(n: int) -> None:
        options = {"epochs": max(1, n // len(data)), "shuffle": False, "progress": False, "compile": compiled}
        losses[:] = fit(loss, data[:n], optimizer, **options).loss

    return Side(run, lambda: [losses[-1], parameters], unit=len(words), fixed=len(words))


class Scalar:
    """A number that remembers its children and the local gradients, as microgpt has it."""

    __slots__ = ("children", "data", "grad", "local_gradients")

    def __init__(self, data: float, children: tuple = (), local_gradients: tuple = ()) -> None:
        self.data, self.grad, self.children, self.local_gradients = data, 0.0, children, local_gradients

    def __add__(self, other):
        other = other if isinstance(other, Scalar) else Scalar(other)
        return Scalar(self.data + other.data, (self, other), (1, 1))

    def __mul__(self, other):
        other = other if isinstance(other, Scalar) else Scalar(other)
        return Scalar(self.data * other.data, (self, other), (other.data, self.data))

    def __pow__(self, n: float):
        return Scalar(self.data**n, (self,), (n * self.data ** (n - 1),))

    def log(self):
        return Scalar(math.log(self.data), (self,), (1 / self.data,))

    def exp(self):
        return Scalar(math.exp(self.data), (self,), (math.exp(self.data),))

    def relu(self):
        return Scalar(max(0.0, self.data), (self,), (float(self.data > 0),))

    def __neg__(self):
        return self * -1

    def __sub__(self, other):
        return self + (-other)

    def __truediv__(self, other):
        return self * other**-1

    __radd__, __rmul__ = __add__, __mul__

    def backward(self) -> None:
        order, seen = [], set()

        def visit(v):
            if v not in seen:
                seen.add(v)
                for child in v.children:
                    visit(child)
                order.append(v)

        visit(self)
        self.grad = 1
        for v in reversed(order):
            for child, local_gradient in zip(v.children, v.local_gradients):  # noqa: B905 (as microgpt has it)
                child.grad += local_gradient * v.grad


def gpt_scalars(weights: dict[str, Matrix], embeddings: Iterable[list[Any]], math: Any) -> Iterator[list[Any]]:
    """The logits after each token, as microgpt makes them, of any kind of scalar: ``math`` has its functions."""

    def linear(x, rows):
        return [sum(wi * xi for wi, xi in zip(row, x)) for row in rows]  # noqa: B905

    def softmax(logits):
        top = math.top(logits)
        exps = [math.exp(x - top) for x in logits]
        total = sum(exps)
        return [e / total for e in exps]

    def norm(x):
        scale = (sum(xi * xi for xi in x) / len(x) + 1e-5) ** -0.5
        return [xi * scale for xi in x]

    size, keys, values = WIDTH // HEADS, [], []
    for embedding, position in zip(embeddings, weights["wpe"], strict=False):
        x = norm([e + p for e, p in zip(embedding, position, strict=True)])
        h = norm(x)
        q = linear(h, weights["wq"])
        keys.append(linear(h, weights["wk"]))
        values.append(linear(h, weights["wv"]))
        attended = []
        for at in range(0, WIDTH, size):
            scores = [sum(q[at + j] * k[at + j] for j in range(size)) / size**0.5 for k in keys]
            shares = softmax(scores)
            attended += [sum(s * v[at + j] for s, v in zip(shares, values, strict=True)) for j in range(size)]
        x = [a + b for a, b in zip(linear(attended, weights["wo"]), x, strict=True)]
        h = [math.relu(hi) for hi in linear(norm(x), weights["fc1"])]
        x = [a + b for a, b in zip(linear(h, weights["fc2"]), x, strict=True)]
        yield softmax(linear(x, weights["lm_head"]))


def scalar_loss(weights: dict[str, Matrix], tokens: list[int], math: Any) -> Any:
    """The mean loss of a word, in which each token chooses its row of the embedding."""
    shares = gpt_scalars(weights, [weights["wte"][token] for token in tokens[:-1]], math)
    losses = [-math.log(p[target]) for p, target in zip(shares, tokens[1:], strict=True)]
    return sum(losses) * (1 / len(losses))


def gpt_pure(words: list[str]) -> Side:
    functions = SimpleNamespace(
        exp=Scalar.exp, log=Scalar.log, relu=Scalar.relu, top=lambda xs: max(x.data for x in xs)
    )
    weights = {name: [list(map(Scalar, row)) for row in rows] for name, rows in gpt_weights().items()}
    parameters = [p for rows in weights.values() for row in rows for p in row]
    moments = [(0.0, 0.0) for _ in parameters]
    stream, steps, loss = itertools.cycle(list(map(tokens_of, words))), itertools.count(1), None

    def run(n: int) -> None:
        nonlocal loss
        for tokens, step in itertools.islice(zip(stream, steps, strict=True), n):
            loss = scalar_loss(weights, tokens, functions)
            loss.backward()
            for i, p in enumerate(parameters):
                p.data, *moments[i] = adam(p.data, p.grad, *moments[i], step)
                p.grad = 0.0

    return Side(run, lambda: [loss, parameters], unit=mixture(words))


def mixture(words: list[str]) -> int:
    """How many of them, one after the other, have all the lengths that there are."""
    return len(set(map(len, words)))


def in_order(weights: dict[str, Any]) -> list[float]:
    return [x for name in SHAPES for x in flat(weights[name])]


def gpt_torch(words: list[str]) -> Side:
    import torch
    from torch.nn import functional

    p = {name: torch.tensor(rows, requires_grad=True) for name, rows in gpt_weights().items()}
    optimizer = torch.optim.Adam(p.values(), lr=LR, betas=(BETA1, BETA2), eps=EPS, fused=True)
    norm = partial(functional.rms_norm, normalized_shape=(WIDTH,), eps=1e-5)
    stream, loss = itertools.cycle([torch.tensor(tokens_of(word)) for word in words]), None

    def run(n: int) -> None:
        nonlocal loss
        for tokens in itertools.islice(stream, n):
            x = norm(functional.embedding(tokens[:-1], p["wte"]) + p["wpe"][: len(tokens) - 1])
            h = norm(x)
            q, k, v = (functional.linear(h, p[w]).view(len(h), HEADS, -1).transpose(0, 1) for w in ("wq", "wk", "wv"))
            h = functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(0, 1).reshape(len(h), WIDTH)
            x = x + functional.linear(h, p["wo"])
            h = functional.relu(functional.linear(norm(x), p["fc1"]))
            x = x + functional.linear(h, p["fc2"])
            loss = functional.cross_entropy(functional.linear(x, p["lm_head"]), tokens[1:])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return Side(run, lambda: [loss, in_order(p)], unit=mixture(words))


def gpt_arrays(xp: Any, logsumexp: Any, p: Any, tokens: Any, targets: Any, shares: Any) -> Any:
    """The loss of a word, on the arrays of JAX and of HIPS autograd; ``shares`` is by how much each token counts."""
    n = len(tokens)
    later = xp.triu(xp.full((n, n), -1e30), 1)

    def norm(x):
        return x * (xp.mean(x * x, axis=-1, keepdims=True) + 1e-5) ** -0.5

    x = norm(p["wte"][tokens] + p["wpe"][:n])
    h = norm(x)
    q, k, v = (xp.swapaxes(xp.reshape(h @ p[w].T, (n, HEADS, -1)), 0, 1) for w in ("wq", "wk", "wv"))
    scores = q @ xp.swapaxes(k, 1, 2) / (WIDTH // HEADS) ** 0.5 + later
    attention = xp.exp(scores - logsumexp(scores, axis=-1, keepdims=True))
    x = x + xp.reshape(xp.swapaxes(attention @ v, 0, 1), (n, WIDTH)) @ p["wo"].T
    x = x + xp.maximum(norm(x) @ p["fc1"].T, 0.0) @ p["fc2"].T
    logits = x @ p["lm_head"].T
    return xp.sum((logsumexp(logits, axis=-1) - logits[xp.arange(n), targets]) * shares)


def gpt_jax(words: list[str], padded: bool) -> Side:
    import jax
    from jax import numpy
    from jax.scipy.special import logsumexp
    from numpy import array as to_array

    derivatives = jax.value_and_grad(partial(gpt_arrays, numpy, logsumexp))

    @partial(jax.jit, donate_argnums=0)
    def step(state, *sample):
        p, m, v, steps = state
        loss, g = derivatives(p, *sample)
        updated = {name: adam(p[name], g[name], m[name], v[name], steps) for name in p}
        return (*({name: part[i] for name, part in updated.items()} for i in range(3)), steps + 1), loss

    def sample(word):
        tokens = tokens_of(word)
        n = len(tokens) - 1
        size = BLOCK if padded else n
        parts = [*tokens[:-1], *[0] * (size - n)], [*tokens[1:], *[0] * (size - n)], [1 / n] * n + [0.0] * (size - n)
        return jax.device_put(list(map(to_array, parts)))

    weights = {name: numpy.array(rows) for name, rows in gpt_weights().items()}
    state, loss = (weights, *(jax.tree.map(numpy.zeros_like, weights) for _ in range(2)), numpy.array(1.0)), None
    stream = itertools.cycle(list(map(sample, words)))

    def run(n: int) -> None:
        nonlocal state, loss
        for tokens, targets, shares in itertools.islice(stream, n):
            state, loss = step(state, tokens, targets, shares)
        jax.block_until_ready(state)

    return Side(run, lambda: [loss, in_order(state[0])], unit=mixture(words))


def gpt_autograd(words: list[str]) -> Side:
    from autograd import numpy, value_and_grad
    from autograd.scipy.special import logsumexp

    derivatives = value_and_grad(partial(gpt_arrays, numpy, logsumexp))
    p = {name: numpy.array(rows) for name, rows in gpt_weights().items()}
    moments: dict[str, Any] = dict.fromkeys(p, (0.0, 0.0))
    stream, steps, loss = itertools.cycle(list(map(tokens_of, words))), itertools.count(1), None

    def run(n: int) -> None:
        nonlocal loss
        for tokens, step in itertools.islice(zip(stream, steps, strict=True), n):
            loss, gradient = derivatives(p, numpy.array(tokens[:-1]), numpy.array(tokens[1:]), 1 / (len(tokens) - 1))
            for name, g in gradient.items():
                p[name], *moments[name] = adam(p[name], g, *moments[name], step)

    return Side(run, lambda: [loss, in_order(p)], unit=mixture(words))


def vector_adam(words: list[str], derivatives: Callable[[Any, str], tuple[Any, Any]]) -> Side:
    """Adam on all parameters in one vector, given the loss of a word and its gradient."""
    import numpy

    parameters = numpy.array(in_order(gpt_weights()))
    m, v, loss = 0.0, 0.0, None
    stream, steps = itertools.cycle(words), itertools.count(1)

    def run(n: int) -> None:
        nonlocal parameters, m, v, loss
        for word, step in itertools.islice(zip(stream, steps, strict=True), n):
            loss, gradient = derivatives(parameters, word)
            parameters, m, v = adam(parameters, numpy.asarray(gradient).ravel(), m, v, step)

    return Side(run, lambda: [loss, parameters], unit=mixture(words))


def matrices(numbers: Iterable[Any]) -> dict[str, Matrix]:
    numbers = iter(numbers)
    return {name: [[next(numbers) for _ in range(n)] for _ in range(m)] for name, (m, n) in SHAPES.items()}


def gpt_casadi(words: list[str]) -> Side:
    import casadi

    functions = SimpleNamespace(
        exp=casadi.exp, relu=lambda x: casadi.fmax(x, 0), top=lambda xs: casadi.mmax(casadi.vertcat(*xs))
    )

    def program(length: int) -> Any:
        parameters = casadi.SX.sym("p", sum(m * n for m, n in SHAPES.values()))
        word = casadi.SX.sym("word", TOKENS, length + 2)
        weights = matrices(casadi.vertsplit(parameters))
        columns = [casadi.vertcat(*column) for column in zip(*weights["wte"], strict=True)]
        embeddings = [[casadi.dot(word[:, i], column) for column in columns] for i in range(length + 1)]
        shares = gpt_scalars(weights, embeddings, functions)
        losses = [-casadi.log(casadi.dot(casadi.vertcat(*p), word[:, i + 1])) for i, p in enumerate(shares)]
        loss = sum(losses) / len(losses)
        return casadi_function([parameters, word], [loss, casadi.gradient(loss, parameters)], in_c=False)

    programs = {length: program(length) for length in set(map(len, words))}
    samples = {word: casadi.DM(one_hots(word)).T for word in words}
    return vector_adam(words, lambda parameters, word: programs[len(word)](parameters, samples[word]))


def gpt_xad(words: list[str]) -> Side:
    from xad import math as xad_math

    functions = SimpleNamespace(
        exp=xad_math.exp,
        log=xad_math.log,
        relu=lambda x: xad_math.max(x, 0.0),
        top=lambda xs: max(x.getValue() for x in xs),
    )
    derivatives = xad_value_and_grad(lambda numbers, word: scalar_loss(matrices(numbers), tokens_of(word), functions))
    return vector_adam(words, derivatives)


def gpt(words: list[str]) -> Sides:
    return {
        OURS: lambda: gpt_ours(words, True),
        EAGER: lambda: gpt_ours(words[:6], False),
        PURE: lambda: gpt_pure(words),
        TORCH: lambda: gpt_torch(words),
        JAX: lambda: gpt_jax(words, padded=True),
        JAX_LENGTHS: lambda: gpt_jax(words, padded=False),
        CASADI: lambda: gpt_casadi(words),
        HIPS: lambda: gpt_autograd(words),
        XAD: lambda: gpt_xad(words),
    }


def words_of_all_lengths() -> list[str]:
    by_length = [[word for word in WORDS.split() if len(word) == length] for length in range(3, 9)]
    return [word for group in zip(*by_length, strict=True) for word in group]


# The expression of test_more_ops, at many points and at one: its value and derivatives.


def by_hand(a: Any, b: Any) -> tuple[Any, Any, Any]:
    import numpy

    up, down = a + b > 0, b - a > 0
    e = 3 * a + 4 * b + 3 - 12 * b * (a + b * b) - 4 * numpy.maximum(a + b, 0) - numpy.maximum(b - a, 0)
    f = e * e
    slope = e - 20 / (f * e)
    return f / 2 + 10 / f, slope * (3 - 12 * b - 4 * up + down), slope * (4 - 12 * a - 36 * b * b - 4 * up - down)


def expression(xs: list[float], ys: list[float]) -> Sides:
    def ours() -> Side:
        import numpy

        import micrograd

        compiled = micrograd.compile(lambda a, b: more_ops(a, b, micrograd.Value.relu))
        a, b = numpy.array(xs), numpy.array(ys)
        return calls(lambda: compiled.values_and_gradients(a, b))

    def eager() -> Side:
        from micrograd import Value

        def once() -> list[list[float]]:
            rows = []
            for x, y in zip(xs, ys, strict=True):
                a, b = Value(x), Value(y)
                out = more_ops(a, b, Value.relu)
                out.backward()
                rows.append((out.data, a.grad, b.grad))
            return rows

        return calls(once, lambda rows: list(zip(*rows, strict=True)))

    def numpy_by_hand() -> Side:
        import numpy

        a, b = numpy.array(xs), numpy.array(ys)
        return calls(lambda: by_hand(a, b))

    def jax() -> Side:
        import jax

        derivatives = jax.jit(jax.vmap(jax.value_and_grad(lambda a, b: more_ops(a, b, jax.nn.relu), (0, 1))))
        a, b = jax.numpy.array(xs), jax.numpy.array(ys)
        return calls(lambda: jax.block_until_ready(derivatives(a, b)))

    def torch() -> Side:
        import torch

        a, b = (torch.tensor(x, requires_grad=True) for x in (xs, ys))

        def once() -> list[Any]:
            out = more_ops(a, b, torch.relu)
            return [out, *torch.autograd.grad(out, (a, b), torch.ones_like(out))]

        return calls(once)

    def casadi(in_c: bool) -> Side:
        import casadi

        batch = casadi_expression(in_c).map(len(xs))
        a, b = casadi.DM(xs).T, casadi.DM(ys).T
        return calls(lambda: batch(a, b), lambda out: [part.full() for part in out])

    def autograd() -> Side:
        from autograd import make_vjp, numpy

        derivatives = make_vjp(lambda a, b: more_ops(a, b, lambda x: numpy.maximum(x, 0.0)), (0, 1))
        a, b = numpy.array(xs), numpy.array(ys)

        def once() -> list[Any]:
            vjp, out = derivatives(a, b)
            return [out, vjp(numpy.ones_like(out))]

        return calls(once)

    def xad() -> Side:
        from xad import math as xad_math

        derivatives = xad_value_and_grad(lambda ab: more_ops(*ab, lambda x: xad_math.max(x, 0.0)))
        return calls(
            lambda: list(map(derivatives, zip(xs, ys, strict=True))),
            lambda rows: list(zip(*map(flat, rows), strict=True)),
        )

    return {
        OURS: ours,
        EAGER: eager,
        NUMPY: numpy_by_hand,
        TORCH: torch,
        JAX: jax,
        CASADI: lambda: casadi(False),
        CASADI_C: lambda: casadi(True),
        HIPS: autograd,
        XAD: xad,
    }


def casadi_expression(in_c: bool) -> Any:
    import casadi

    a, b = casadi.SX.sym("a"), casadi.SX.sym("b")
    out = more_ops(a, b, lambda x: casadi.fmax(x, 0))
    return casadi_function([a, b], [out, casadi.gradient(out, a), casadi.gradient(out, b)], in_c)


def many_points(count: int = 20_000) -> Sides:
    rng = random.Random(1337)
    return expression(*([rng.uniform(-4, 4) for _ in range(count)] for _ in "ab"))


def one_call(x: float = -4.0, y: float = 2.0) -> Sides:
    def ours(compiled: bool) -> Side:
        import micrograd
        from micrograd import Value

        def eager(a: Value, b: Value) -> Value:
            return more_ops(a, b, Value.relu)

        function = micrograd.compile(eager) if compiled else eager

        def once() -> tuple[Value, Value, Value]:
            a, b = Value(x), Value(y)
            out = function(a, b)
            out.backward()
            return out, a, b

        return calls(once, lambda values: [values[0].data, values[1].grad, values[2].grad])

    def torch() -> Side:
        import torch

        def once() -> list[Any]:
            a, b = (torch.tensor(number, requires_grad=True) for number in (x, y))
            out = more_ops(a, b, torch.relu)
            out.backward()
            return [out, a.grad, b.grad]

        return calls(once)

    def jax() -> Side:
        import jax

        derivatives = jax.jit(jax.value_and_grad(lambda a, b: more_ops(a, b, jax.nn.relu), (0, 1)))
        return calls(lambda: jax.block_until_ready(derivatives(x, y)))

    def casadi(in_c: bool) -> Side:
        function = casadi_expression(in_c)
        return calls(lambda: function(x, y), lambda out: [part.full() for part in out])

    def autograd() -> Side:
        from autograd import numpy, value_and_grad

        derivatives = value_and_grad(lambda a, b: more_ops(a, b, lambda x: numpy.maximum(x, 0.0)), (0, 1))
        return calls(lambda: derivatives(x, y))

    of_arrays = expression([x], [y])
    return {
        OURS: lambda: ours(True),
        ARRAYS: of_arrays[OURS],
        EAGER: lambda: ours(False),
        TORCH: torch,
        JAX: jax,
        CASADI: lambda: casadi(False),
        CASADI_C: lambda: casadi(True),
        HIPS: autograd,
        XAD: of_arrays[XAD],
    }


# The Hessian of Rosenbrock's function.


def rosenbrock(x: Any, total: Callable[[Any], Any]) -> Any:
    """The function of an array."""
    return total(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def hessian(size: int = 20) -> Sides:
    rng = random.Random(1337)
    point = [rng.uniform(-2, 2) for _ in range(size)]

    def scalar_hessian(x: list[Any]) -> list[list[Any]]:
        from micrograd import functional, grad

        terms = [100 * (b - a**2) ** 2 + (1 - a) ** 2 for a, b in itertools.pairwise(x)]
        slopes = grad(functional.sum(terms), x, create_graph=True)
        return [list(grad(slope, x, create_graph=True)) for slope in slopes]

    def ours() -> Side:
        import numpy

        import micrograd

        compiled = micrograd.compile(scalar_hessian)
        x = numpy.array([point])
        return calls(lambda: compiled.values(x))

    def eager() -> Side:
        from micrograd import Value

        return calls(lambda: scalar_hessian(list(map(Value, point))))

    def torch() -> Side:
        import torch

        x = torch.tensor(point)
        return calls(lambda: torch.autograd.functional.hessian(lambda x: rosenbrock(x, torch.sum), x, vectorize=True))

    def jax() -> Side:
        import jax

        derivatives = jax.jit(jax.hessian(lambda x: rosenbrock(x, jax.numpy.sum)))
        x = jax.numpy.array(point)
        return calls(lambda: jax.block_until_ready(derivatives(x)))

    def casadi(in_c: bool) -> Side:
        import casadi

        x = casadi.SX.sym("x", size)
        function = casadi_function([x], [casadi.hessian(rosenbrock(x, casadi.sum1), x)[0]], in_c)
        at = casadi.DM(point)
        return calls(lambda: function(at), lambda out: out.full())

    def autograd() -> Side:
        from autograd import hessian, numpy

        derivatives = hessian(lambda x: rosenbrock(x, numpy.sum))
        x = numpy.array(point)
        return calls(lambda: derivatives(x))

    return {
        OURS: ours,
        EAGER: eager,
        TORCH: torch,
        JAX: jax,
        CASADI: lambda: casadi(False),
        CASADI_C: lambda: casadi(True),
        HIPS: autograd,
    }


@dataclass
class Row:
    title: str
    sides: Callable[[], Sides]
    checked: int = 1  # all sides must agree after so many steps or calls


ROWS = {
    "moons": Row("moons step: 2→16→16→1, 100 points", moons, 2),
    "digits64": Row("digits step: 64→32→10, batch 64", partial(digits, 64, 32, 10), 2),
    "digits784": Row("digits step: 784→100→10, batch 64", partial(digits, 784, 100, 10), 2),
    "gpt": Row("microgpt step: a word of 3 to 8 letters", lambda: gpt(words_of_all_lengths()), 6),
    "gpt5": Row(
        "microgpt step: a word of 5 letters", lambda: gpt([word for word in WORDS.split() if len(word) == 5]), 6
    ),
    "expression": Row("small expression, 20,000 points", many_points),
    "call": Row("small expression, one call from Python", one_call),
    "hessian": Row("Hessian of Rosenbrock's function, 20 dimensions", hessian),
}


# A worker process: one side.


def timed(run: Callable[[int], None], n: int) -> float:
    start = time.perf_counter()
    run(n)
    return time.perf_counter() - start


def work(name: str, peer: str, threads: int, seconds: float) -> None:
    """Prints what the side came to and what that took; then, for every line on standard input, its time of a step."""
    row = ROWS[name]
    make = row.sides()[peer]
    prepare(peer, threads)
    start = time.perf_counter()
    side = make()
    side.run(row.checked)
    first = time.perf_counter() - start
    numbers = flat(side.result())

    def fixed() -> float:
        return timed(side.run, side.fixed) if side.fixed else 0.0

    def measure(n: int) -> float:
        return timed(side.run, side.fixed + n) - fixed()

    tries = 2 if side.fixed else 1  # what is fixed varies: it must not make a short run seem long
    n, least = side.unit, max(seconds, 3 * min(fixed() for _ in range(3)))
    while (elapsed := min(measure(n) for _ in range(tries))) < least:
        n *= 2
    once = max(0.0, first - row.checked * elapsed / n)
    print(json.dumps({"numbers": numbers, "first": once, "round": elapsed + 2 * fixed()}), flush=True)
    for _ in sys.stdin:
        print(measure(n) / n, flush=True)


def prepare(peer: str, threads: int) -> None:
    """Loads the peer, in float64 and on as many threads as all have."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])
    if peer == OLD:
        sys.path.insert(0, str(PUBLISHED))
    else:
        sys.path.insert(0, str(ROOT))
    if peer in MODULES:
        importlib.import_module(MODULES[peer])
    if peer == TORCH:
        import torch

        torch.set_default_dtype(torch.float64)
        torch.set_num_threads(threads)
    if peer in (JAX, JAX_LENGTHS):
        import jax

        jax.config.update("jax_enable_x64", True)
        jax.numpy.zeros(1).block_until_ready()
    if peer in (OURS, ARRAYS, EAGER, OLD):
        import micrograd

        home = PUBLISHED if peer == OLD else ROOT
        if not Path(micrograd.__file__).is_relative_to(home):
            raise ImportError(f"{peer} is to be that of {home}, not {micrograd.__file__}")


# The comparison.


@dataclass
class Timing:
    """What a side of a row took: seconds a step in each round, and once to trace and to compile."""

    seconds: list[float]
    first: float

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def ratio(self, base: Timing) -> float:
        return statistics.median(a / b for a, b in zip(self.seconds, base.seconds, strict=False))


class Worker:
    """A side in a process of its own, in an empty folder, where it also caches what it compiles."""

    def __init__(self, row: str, peer: str, options: argparse.Namespace, cache: str) -> None:
        command = [sys.executable, __file__, "--worker", row, peer]
        command += ["--threads", str(options.threads), "--seconds", str(options.seconds)]
        threads = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
        caches = {} if options.quick else dict.fromkeys(("NUMBA_CACHE_DIR", "XDG_CACHE_HOME"), cache)
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=cache,
            env={**os.environ, **dict.fromkeys(threads, str(options.threads)), **caches},
        )
        self.title = f"{peer} in the row {row!r}"

    def answer(self) -> Any:
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.title} failed")
        return json.loads(line)

    def round(self) -> float:
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.answer()

    def end(self) -> None:
        self.process.communicate()


def compare(row: str, peers: list[str], options: argparse.Namespace) -> tuple[dict[str, Timing], float | None]:
    """The timings of a row, and what our side took at first with nothing cached on disk."""
    timings, workers, rounds, cold = {}, {}, {}, None
    with tempfile.TemporaryDirectory() as cache:
        if OURS in peers and not options.quick:
            worker = Worker(row, OURS, options, cache)
            cold = worker.answer()["first"]
            worker.end()
        for peer in peers:  # one after the other, for the others are idle then
            workers[peer] = Worker(row, peer, options, cache)
            report = workers[peer].answer()
            if peer == peers[0]:
                expected = report["numbers"]
            agree(workers[peer].title, report["numbers"], expected)
            timings[peer] = Timing([], report["first"])
            affordable = 2 * options.rounds * options.seconds / report["round"]
            rounds[peer] = min(options.rounds, max(3, int(affordable)))
        for i in range(options.rounds):
            for peer, worker in workers.items():
                if i < rounds[peer]:
                    timings[peer].seconds.append(worker.round())
        for worker in workers.values():
            worker.end()
    return timings, cold


def agree(title: str, numbers: list[float], expected: list[float]) -> None:
    if len(numbers) != len(expected):
        sys.exit(f"{title} comes to {len(numbers)} numbers, and the first side to {len(expected)}")
    for i, (x, y) in enumerate(zip(numbers, expected, strict=True)):
        if not abs(x - y) <= TOLERANCE * max(1.0, abs(y)):
            sys.exit(f"{title} comes to another number {i}: {x!r}, and the first side to {y!r}")


def shown(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}" if seconds < 100 * size else f"{seconds / size:.0f} {unit}"
    return f"{seconds * 1e6:.3g} µs"


def shown_ratio(ratio: float) -> str:
    return f"{ratio:.2g}×" if ratio < 1 else f"{ratio:.1f}×" if ratio < 10 else f"{ratio:,.0f}×"


def table(header: list[str], lines: list[list[str]]) -> str:
    """In Markdown, the columns after the first to the right."""
    rules = [":--", *["--:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, rules, *lines))


def markdown(results: dict[str, dict[str, Timing]]) -> str:
    peers = list(dict.fromkeys(peer for timings in results.values() for peer in timings))
    lines = []
    for row, timings in results.items():
        base = next(iter(timings.values()))
        cells = {
            peer: shown(t.median) + (f" ({shown_ratio(t.ratio(base))})" if t is not base else "")
            for peer, t in timings.items()
        }
        lines.append([ROWS[row].title, *(cells.get(peer, "") for peer in peers)])
    return table(["", *peers], lines)


def plot(results: dict[str, dict[str, Timing]], file: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    heights = [len(timings) + 1.5 for timings in results.values()]
    figure, axes = plt.subplots(
        len(results),
        sharex=True,
        squeeze=False,
        figsize=(8, 0.24 * sum(heights)),
        height_ratios=heights,
        layout="constrained",
    )
    every = [1.0]
    for axis, (row, timings) in zip(axes[:, 0], results.items(), strict=True):
        base = next(iter(timings.values()))
        ratios = [timing.ratio(base) for timing in timings.values()]
        colors = ["tab:purple" if peer.startswith(OURS) and peer != OLD else "tab:orange" for peer in timings]
        every += ratios
        lefts, widths = [min(ratio, 1.0) for ratio in ratios], [abs(ratio - 1.0) for ratio in ratios]
        bars = axis.barh(list(timings), widths, 0.7, lefts, color=colors)
        labels = [f"{shown(t.median)}, {shown_ratio(r)}" for t, r in zip(timings.values(), ratios, strict=True)]
        axis.bar_label(bars, labels, padding=3, fontsize=8)
        axis.set_title(ROWS[row].title, loc="left", fontsize=10)
        axis.set(xscale="log")
        axis.invert_yaxis()
        axis.axvline(1.0, color="0.5", linewidth=0.8)
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1, 0].set_xlim(min(every) / 2, max(every) * 30)  # with room for the labels
    axes[-1, 0].set_xlabel(f"time, as a multiple of that of {next(iter(next(iter(results.values()))))}")
    figure.savefig(file, dpi=120)
    print(f"picture: {file}")


def installed() -> dict[str, bool]:
    """By peer, whether it can take part."""
    sys.path.insert(0, str(ROOT))
    import micrograd

    found = {peer: importlib.util.find_spec(module) is not None for peer, module in MODULES.items()}
    for peer in (OURS, ARRAYS):
        found[peer] = found[peer] and hasattr(micrograd, "compile")
    found[CASADI_C] = found[CASADI] and shutil.which("gcc") is not None
    return {**found, EAGER: True, PURE: True, OLD: install_published()}


def versions() -> str:
    modules = sorted({module for module in MODULES.values() if importlib.util.find_spec(module)})
    return ", ".join(f"{module} {importlib.metadata.version(module)}" for module in modules)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rows", nargs="+", choices=ROWS, default=list(ROWS), help=f"of {', '.join(ROWS)}", metavar="ROW"
    )
    parser.add_argument("--peers", nargs="+", metavar="PEER", help="who takes part: all, unless they are given")
    parser.add_argument("--rounds", type=int, default=15, help="how often each side has its turn (default 15)")
    parser.add_argument("--seconds", type=float, default=0.2, help="how long a turn is, at least (default 0.2)")
    parser.add_argument("--threads", type=int, default=2, help="how many threads each side may use (default 2)")
    parser.add_argument(
        "--quick", action="store_true", help="3 rounds of 0.05 seconds, and no start with nothing cached"
    )
    parser.add_argument("--markdown", action="store_true", help="print the table for the README, too")
    parser.add_argument("--plot", metavar="FILE", help="draw the ratios")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(*options.worker, options.threads, options.seconds)
        return
    if options.quick:
        options.rounds, options.seconds = 3, 0.05

    found = installed()
    wanted = {peer.lower() for peer in options.peers or found}
    if unknown := wanted - {peer.lower() for peer in found}:
        parser.error(f"there is no peer {', '.join(unknown)}; there are {', '.join(found)}")
    print(f"Python {sys.version.split()[0]}, {options.threads} of {os.cpu_count()} cores; {versions()}")
    print(f"medians of {options.rounds} interleaved rounds")
    if missing := [peer for peer, there in found.items() if not there and peer.lower() in wanted]:
        print(f"not there: {', '.join(missing)}")
    results, firsts = {}, []
    for row in options.rows:
        peers = [peer for peer in ROWS[row].sides() if found[peer] and peer.lower() in wanted]
        if not peers:
            continue
        results[row], cold = compare(row, peers, options)
        print(f"\n{ROWS[row].title:50}{'time':>12}{f'ratio to {peers[0]}':>28}")
        for peer, timing in results[row].items():
            print(f"  {peer:48}{shown(timing.median):>12}{shown_ratio(timing.ratio(results[row][peers[0]])):>28}")
        once = {peer: shown(timing.first) for peer, timing in results[row].items() if peer in COMPILERS}
        if cold is not None:
            once = {f"{OURS}, nothing cached": shown(cold), **once}
        if once:
            print(f"  once: {', '.join(f'{peer} {time}' for peer, time in once.items())}", flush=True)
        firsts.append([ROWS[row].title, once])
    if options.markdown:
        columns = list(dict.fromkeys(peer for _, once in firsts for peer in once))
        lines = [[title, *(once.get(peer, "") for peer in columns)] for title, once in firsts]
        print(f"\n{markdown(results)}\n\nOnce, to trace and to compile:\n\n{table(['', *columns], lines)}")
    if options.plot:
        plot(results, options.plot)


if __name__ == "__main__":
    main()
