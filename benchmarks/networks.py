"""Training steps of small networks, written for each peer: one step of gradient descent on a whole batch."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from eager import OLD, two_moons
from peers import (
    CASADI,
    CASADI_C,
    EAGER,
    HIPS,
    JAX,
    OURS,
    STILL,
    TORCH,
    XAD,
    Side,
    Sides,
    casadi_function,
    flat,
    xad_value_and_grad,
)


@dataclass
class Network:
    """A ReLU network, its data and its loss. A neuron is a list: its weights, then its bias."""

    layers: list[list[list[float]]]
    inputs: list[list[float]]
    targets: list[Any]  # −1 or 1 for the hinge loss; the true classes as one-hot vectors for the cross-entropy
    hinge: bool
    decay: float  # weight decay, as in the optimizers
    lr: float = 0.1
    shuffle: bool = False  # a new order of the samples in each step, for those peers that are meant for training

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
    options = {"batch_size": len(data), "shuffle": net.shuffle, "progress": False, "compile": compiled}
    losses: list[float] = []

    def run(n: int) -> None:
        losses[:] = fit(hinge if net.hinge else cross_entropy, data, optimizer, epochs=n, **options).loss

    return Side(run, lambda: [losses[-1], [[*neuron.w, neuron.b] for neuron in neurons]], begins=compiled)


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
            batch = inputs, targets, classes
            if net.shuffle:
                order = torch.randperm(len(inputs))
                batch = inputs[order], targets[order], None if net.hinge else classes[order]
            scores = model(batch[0])
            if net.hinge:
                loss = torch.relu(1 - batch[1] * scores[:, 0]).mean()
            else:
                loss = functional.cross_entropy(scores, batch[2])
            descent.zero_grad()
            loss.backward()
            descent.step()

    return Side(run, lambda: [loss, [torch.column_stack([layer.weight, layer.bias]) for layer in linears]])


def network_loss(xp: Any, logsumexp: Any, hinge: bool, layers: Any, inputs: Any, targets: Any) -> Any:
    """Returns the mean loss on arrays of JAX or HIPS autograd."""
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
    from numpy.random import default_rng

    derivatives = jax.value_and_grad(partial(network_loss, numpy, logsumexp, net.hinge))

    @partial(jax.jit, donate_argnums=0)
    def step(layers, inputs, targets, order):
        batch = (inputs, targets) if order is None else (inputs[order], targets[order])
        loss, gradient = derivatives(layers, *batch)
        return jax.tree.map(lambda p, g: p - net.lr * (g + net.decay * p), layers, gradient), loss

    layers, loss = jax.tree.map(numpy.array, array_layers(net)), None
    inputs, targets = numpy.array(net.inputs), numpy.array(net.targets, dtype=float)
    rng = default_rng(0)

    def run(n: int) -> None:
        nonlocal layers, loss
        for _ in range(n):
            order = rng.permutation(len(net.inputs)) if net.shuffle else None
            layers, loss = step(layers, inputs, targets, order)
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
    """Runs gradient descent on all parameters as one vector; ``derivatives`` returns sums over the batch."""
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
    batch = one.map("batch", "serial", len(net.inputs), [0], [0, 1])  # shares the parameters, sums the outputs
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
    network = Network(layers, points, labels, hinge=True, decay=2e-4, shuffle=True)
    still = replace(network, shuffle=False)
    return {**network.sides(), STILL: lambda: network_ours(still, True)}


def digits(*sizes: int) -> Sides:
    rng = random.Random(1337)
    inputs = [[rng.random() for _ in range(sizes[0])] for _ in range(64)]
    classes = [rng.randrange(sizes[-1]) for _ in inputs]
    targets = [[float(i == true) for i in range(sizes[-1])] for true in classes]
    network = Network(he_layers(sizes, rng), inputs, targets, hinge=False, decay=0.0, lr=0.01, shuffle=True)
    without = {EAGER, CASADI_C, OLD} | ({XAD} if sizes[0] > 100 else set())  # they would take minutes
    return {peer: make for peer, make in network.sides().items() if peer not in without}
