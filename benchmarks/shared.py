"""Training steps of networks whose weights are shared: a convolution's by its pixels, an LSTM's by its time steps.

The same networks for each peer; one step of gradient descent on a whole batch.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from peers import EAGER, JAX, OURS, TORCH, Side, Sides, flat

BATCH, LR = 32, 0.1
SIDE, CHANNELS, CLASSES = 8, [1, 16, 32], 10  # of an image; of each stage of the CNN
INPUTS, UNITS, STEPS = 2, 8, 100  # of the LSTM

Weights = dict[str, Any]  # nested lists, arrays or tensors of numbers, all of one kind


@dataclass
class Task:
    """Weights to begin with, a batch of inputs and targets, and the loss: of a sample, and of a batch of arrays."""

    weights: Weights
    inputs: Any
    targets: list[Any]
    loss: Callable[[Weights, Any, Any], Any]
    torch_loss: Callable[[Weights, Any, Any], Any]
    jax_loss: Callable[[Weights, Any, Any], Any]

    def sides(self) -> Sides:
        return {
            OURS: lambda: run_ours(self, True),
            EAGER: lambda: run_ours(self, False),
            TORCH: lambda: run_torch(self),
            JAX: lambda: run_jax(self),
        }


def draw(rng: random.Random, scale: float, *sizes: int) -> Any:
    """Nested lists of these sizes, of normal numbers."""
    return [draw(rng, scale, *sizes[1:]) for _ in range(sizes[0])] if sizes else rng.gauss(0, scale)


# A CNN: each stage is a convolution of 3 × 3 pixels with zeros around, ReLU, and the largest of 2 × 2; then a layer.


def cnn() -> Sides:
    rng = random.Random(1337)
    weights = {}
    for i, (nin, nout) in enumerate(itertools.pairwise(CHANNELS)):
        weights[f"w{i}"], weights[f"b{i}"] = draw(rng, math.sqrt(2 / (9 * nin)), nout, nin, 3, 3), [0.0] * nout
    features = CHANNELS[-1] * (SIDE // 4) ** 2
    weights["w"], weights["b"] = draw(rng, math.sqrt(1 / features), CLASSES, features), [0.0] * CLASSES
    images = draw(rng, 1.0, BATCH, 1, SIDE, SIDE)
    classes = [rng.randrange(CLASSES) for _ in images]
    return Task(weights, images, classes, cnn_loss, cnn_torch, cnn_jax).sides()


def cnn_loss(p: Weights, image: Any, target: int) -> Any:
    from micrograd.functional import cross_entropy, dot

    for i in range(len(CHANNELS) - 1):
        image = pool(convolve(p[f"w{i}"], p[f"b{i}"], image))
    features = flat_values(image)
    return cross_entropy([dot(w, features) + b for w, b in zip(p["w"], p["b"], strict=True)], target)


def convolve(weights: Any, biases: Any, image: Any) -> Any:
    from micrograd.functional import dot, relu

    size = len(image[0])
    out = []
    for kernel, bias in zip(weights, biases, strict=True):
        rows = []
        for y in range(size):
            row = []
            for x in range(size):
                near = [
                    (dy, dx) for dy in range(3) for dx in range(3) if 0 < y + dy <= size and 0 < x + dx <= size
                ]  # inside of the image
                pixels = [channel[y + dy - 1][x + dx - 1] for channel in image for dy, dx in near]
                row.append(relu(dot([plane[dy][dx] for plane in kernel for dy, dx in near], pixels) + bias))
            rows.append(row)
        out.append(rows)
    return out


def pool(image: Any) -> Any:
    from micrograd.functional import maximum

    half = range(0, len(image[0]), 2)
    return [
        [[maximum(maximum(c[y][x], c[y][x + 1]), maximum(c[y + 1][x], c[y + 1][x + 1])) for x in half] for y in half]
        for c in image
    ]


def flat_values(tree: Any) -> list[Any]:
    return [x for part in tree for x in flat_values(part)] if isinstance(tree, list) else [tree]


def cnn_torch(p: Weights, images: Any, targets: Any) -> Any:
    from torch.nn import functional

    for i in range(len(CHANNELS) - 1):
        images = functional.max_pool2d(functional.relu(functional.conv2d(images, p[f"w{i}"], p[f"b{i}"], padding=1)), 2)
    return functional.cross_entropy(functional.linear(images.flatten(1), p["w"], p["b"]), targets)


def cnn_jax(p: Weights, images: Any, targets: Any) -> Any:
    from jax import lax, nn, numpy

    for i in range(len(CHANNELS) - 1):
        images = lax.conv_general_dilated(images, p[f"w{i}"], (1, 1), "SAME") + p[f"b{i}"][:, None, None]
        images = lax.reduce_window(nn.relu(images), -numpy.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
    scores = nn.log_softmax(images.reshape(len(images), -1) @ p["w"].T + p["b"])
    return -scores[numpy.arange(len(scores)), targets].mean()


# An LSTM that adds two marked numbers of a long sequence: each step has a number, and whether it is marked.


def lstm() -> Sides:
    rng = random.Random(1337)
    weights = {
        "w": draw(rng, 0.3, 4 * UNITS, INPUTS), "u": draw(rng, 0.3, 4 * UNITS, UNITS), "b": [0.0] * (4 * UNITS),
        "out": draw(rng, 0.3, 1, UNITS), "c": [0.0],
    }  # fmt: skip
    sequences, sums = [], []
    for _ in range(BATCH):
        marked = rng.sample(range(STEPS), 2)
        numbers = [[rng.random(), float(t in marked)] for t in range(STEPS)]
        sequences.append(numbers)
        sums.append(sum(number * mark for number, mark in numbers))
    return Task(weights, sequences, sums, lstm_loss, lstm_torch, lstm_jax).sides()


def lstm_loss(p: Weights, sequence: Any, target: Any) -> Any:
    from micrograd.functional import dot

    lines = [[*w, *u] for w, u in zip(p["w"], p["u"], strict=True)]
    h, c = [0.0] * UNITS, [0.0] * UNITS
    for x in sequence:
        given = [*x, *h]
        gates = [dot(line, given) + b for line, b in zip(lines, p["b"], strict=True)]
        write, keep, read = ([z.sigmoid() for z in gates[k * UNITS : (k + 1) * UNITS]] for k in (0, 1, 3))
        new = [z.tanh() for z in gates[2 * UNITS : 3 * UNITS]]
        c = [k * old + w * z for k, old, w, z in zip(keep, c, write, new, strict=True)]
        h = [r * z.tanh() for r, z in zip(read, c, strict=True)]
    return (dot(p["out"][0], h) + p["c"][0] - target) ** 2


def lstm_torch(p: Weights, sequences: Any, targets: Any) -> Any:
    import torch

    zeros = torch.zeros(1, len(sequences), UNITS)
    parts = [p["w"], p["u"], p["b"], torch.zeros(4 * UNITS)]
    outputs, _, _ = torch.lstm(sequences, (zeros, zeros), parts, True, 1, 0.0, False, False, True)
    return ((outputs[:, -1] @ p["out"][0] + p["c"] - targets) ** 2).mean()


def lstm_jax(p: Weights, sequences: Any, targets: Any) -> Any:
    from jax import lax, nn, numpy

    def step(state: Any, x: Any) -> Any:
        h, c = state
        write, keep, new, read = numpy.split(x @ p["w"].T + h @ p["u"].T + p["b"], 4, axis=1)
        c = nn.sigmoid(keep) * c + nn.sigmoid(write) * numpy.tanh(new)
        return (nn.sigmoid(read) * numpy.tanh(c), c), None

    zeros = numpy.zeros((len(sequences), UNITS))
    (h, _), _ = lax.scan(step, (zeros, zeros), numpy.swapaxes(sequences, 0, 1))
    return numpy.mean((h @ p["out"][0] + p["c"] - targets) ** 2)


# The peers.


def in_order(weights: Weights) -> list[float]:
    return [x for part in weights.values() for x in flat(part)]


def run_ours(task: Task, compiled: bool) -> Side:
    from micrograd import Value, fit, optim

    def make_values(tree: Any) -> Any:
        return list(map(make_values, tree)) if isinstance(tree, list) else Value(tree)

    weights = {name: make_values(part) for name, part in task.weights.items()}
    optimizer = optim.SGD(flat_values(list(weights.values())), lr=LR)
    data = list(zip(task.inputs, task.targets, strict=True))
    options = {"batch_size": len(data), "progress": False, "compile": compiled}
    losses: list[float] = []

    def run(n: int) -> None:
        losses[:] = fit(partial(task.loss, weights), data, optimizer, epochs=n, **options).loss

    return Side(run, lambda: [losses[-1], in_order(weights)], begins=compiled)


def run_torch(task: Task) -> Side:
    import torch

    weights = {name: torch.tensor(part, requires_grad=True) for name, part in task.weights.items()}
    descent = torch.optim.SGD(weights.values(), lr=LR)
    inputs, targets = torch.tensor(task.inputs), torch.tensor(task.targets)
    loss: Any = None

    def run(n: int) -> None:
        nonlocal loss
        for _ in range(n):
            order = torch.randperm(len(inputs))
            loss = task.torch_loss(weights, inputs[order], targets[order])
            descent.zero_grad()
            loss.backward()
            descent.step()

    return Side(run, lambda: [loss, in_order(weights)])


def run_jax(task: Task) -> Side:
    import jax
    from jax import numpy
    from numpy.random import default_rng

    derivatives = jax.value_and_grad(task.jax_loss)

    @partial(jax.jit, donate_argnums=0)
    def step(weights: Any, inputs: Any, targets: Any, order: Any) -> Any:
        loss, gradient = derivatives(weights, inputs[order], targets[order])
        return jax.tree.map(lambda p, g: p - LR * g, weights, gradient), loss

    weights, loss = {name: numpy.array(part) for name, part in task.weights.items()}, None
    inputs, targets, rng = numpy.array(task.inputs), numpy.array(task.targets), default_rng(0)

    def run(n: int) -> None:
        nonlocal weights, loss
        for _ in range(n):
            weights, loss = step(weights, inputs, targets, rng.permutation(len(inputs)))
        jax.block_until_ready(weights)

    return Side(run, lambda: [loss, in_order({name: weights[name] for name in task.weights})])
