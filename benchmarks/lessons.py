"""Whole trainings for each peer: digits until 97 % of those never seen are right, and REINFORCE on a cart-pole.

A side runs once, from the data to the result. Peers use the same data, initial weights and settings. Each shuffles in
its own way, so how long a training takes is partly luck: take several seeds.
"""

from __future__ import annotations

import gzip
import importlib.util
import itertools
import math
import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from networks import Network, array_layers, he_layers
from peers import EAGER, JAX, OURS, TORCH

Lesson = dict[str, Callable[[int], str]]  # of each peer, the whole training with a seed; it returns what was reached

GOAL, EPOCHS, BATCH, LR = 0.97, 60, 32, 0.005  # of the digits
LAYERS = [64, 32, 10]
EPISODES, LONGEST, DISCOUNT, RATE = 150, 200, 0.99, 0.01  # of the cart-pole


def read_digits() -> tuple[list[tuple[list[float], int]], list[tuple[list[float], int]]]:
    """Reads the 1,797 digits of 8×8 pixels that scikit-learn contains, without importing it: training and test."""
    package = importlib.util.find_spec("sklearn")
    if not package or not package.origin:
        raise ImportError("this row needs the digits of scikit-learn: python -m pip install scikit-learn")
    with gzip.open(Path(package.origin).parent / "datasets/data/digits.csv.gz", "rt") as file:
        lines = [list(map(float, line.split(","))) for line in file]
    samples = [([pixel / 8 - 1 for pixel in line[:-1]], int(line[-1])) for line in lines]
    random.Random(0).shuffle(samples)
    return samples[:1438], samples[1438:]


def digits_ours(compiled: bool, seed: int) -> str:
    from dataclasses import dataclass

    from micrograd import fit, nn, optim
    from micrograd.functional import cross_entropy
    from micrograd.training import StopCondition

    @dataclass
    class Reached(StopCondition):
        accuracy: float

        def after_epoch(self, history, weights):
            return "reached" if history.metrics["accuracy"][-1] >= self.accuracy else ""

    training, test = read_digits()
    model = nn.MLP(LAYERS[0], LAYERS[1:], activation="relu")
    neurons = [neuron for layer in model.layers for neuron in layer.neurons]
    for neuron, numbers in zip(neurons, itertools.chain(*he_layers(LAYERS, random.Random(seed))), strict=True):
        for parameter, number in zip((*neuron.w, neuron.b), numbers, strict=True):
            parameter.data = number

    def is_right(pixels, digit):
        scores = [score.data for score in model(pixels)]
        return scores.index(max(scores)) == digit

    history = fit(
        lambda pixels, digit: cross_entropy(model(pixels), digit),
        training,
        optim.Adam(model.parameters(), lr=LR),
        epochs=EPOCHS,
        batch_size=BATCH,
        validation=test,
        metrics={"accuracy": is_right},
        stop=Reached(GOAL),
        model=model,
        rng=random.Random(seed),
        progress=False,
        compile=compiled,
    )
    return f"{history.metrics['accuracy'][-1]:.3f} after {len(history.train_loss)} epochs"


def digits_torch(seed: int) -> str:
    import torch
    from torch.nn import functional

    training, test = read_digits()
    network = Network(he_layers(LAYERS, random.Random(seed)), [], [], hinge=False, decay=0.0)
    modules: list[Any] = []
    for layer in network.layers:
        linear, numbers = torch.nn.Linear(len(layer[0]) - 1, len(layer)), torch.tensor(layer)
        linear.weight.data, linear.bias.data = numbers[:, :-1].contiguous(), numbers[:, -1].contiguous()
        modules += [linear, torch.nn.ReLU()]
    model = torch.nn.Sequential(*modules[:-1])
    (inputs, classes), (test_inputs, test_classes) = (
        (torch.tensor([pixels for pixels, _ in part]), torch.tensor([digit for _, digit in part]))
        for part in (training, test)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=LR, fused=True)
    torch.manual_seed(seed)
    epoch, accuracy = 0, 0.0
    while accuracy < GOAL and epoch < EPOCHS:
        epoch += 1
        for batch in torch.randperm(len(inputs)).split(BATCH):
            loss = functional.cross_entropy(model(inputs[batch]), classes[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            accuracy = (model(test_inputs).argmax(1) == test_classes).double().mean().item()
    return f"{accuracy:.3f} after {epoch} epochs"


def adam_jax(rate: float) -> Callable[..., Any]:
    """Returns Adam's update of a tree of arrays: (parameters, gradients, moments, step) to parameters and moments."""
    import jax
    from jax import numpy

    def update(p, g, moments, step):
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, moments[0], g)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, moments[1], g)
        fix = 1 - 0.9**step, 1 - 0.999**step
        p = jax.tree.map(lambda p, m, v: p - rate * (m / fix[0]) / (numpy.sqrt(v / fix[1]) + 1e-8), p, m, v)
        return p, (m, v)

    return update


def digits_jax(seed: int) -> str:
    import jax
    import numpy
    from jax import numpy as xp

    training, test = read_digits()
    network = Network(he_layers(LAYERS, random.Random(seed)), [], [], hinge=False, decay=0.0)
    layers, update = array_layers(network), adam_jax(LR)
    moments = (jax.tree.map(numpy.zeros_like, layers), jax.tree.map(numpy.zeros_like, layers))

    def score(layers, x):
        for i, (weights, biases) in enumerate(layers):
            x = (x if i == 0 else xp.maximum(x, 0.0)) @ weights + biases
        return x

    def loss(layers, inputs, classes):
        return -xp.mean(jax.nn.log_softmax(score(layers, inputs))[xp.arange(len(classes)), classes])

    @jax.jit
    def step(layers, moments, inputs, classes, count):
        return update(layers, jax.grad(loss)(layers, inputs, classes), moments, count)

    @jax.jit
    def measure(layers, inputs, classes):
        return xp.mean(score(layers, inputs).argmax(1) == classes)

    inputs, classes = numpy.array([pixels for pixels, _ in training]), numpy.array([digit for _, digit in training])
    test_inputs, test_classes = numpy.array([pixels for pixels, _ in test]), numpy.array([digit for _, digit in test])
    rng, count = numpy.random.default_rng(seed), 0
    epoch, accuracy = 0, 0.0
    while accuracy < GOAL and epoch < EPOCHS:
        epoch += 1
        order = rng.permutation(len(inputs))
        for batch in numpy.split(order, range(BATCH, len(order), BATCH)):
            count += 1
            layers, moments = step(layers, moments, inputs[batch], classes[batch], count)
        accuracy = float(measure(layers, test_inputs, test_classes))
    return f"{accuracy:.3f} after {epoch} epochs"


# REINFORCE (R. J. Williams 1992) on the cart-pole of A. Barto, R. Sutton and C. Anderson (1983): 4 → 16 → 2, tanh.


def play(push: Callable[[list[float]], float], rng: random.Random) -> Iterator[tuple[list[float], int]]:
    """Yields states and actions of an episode; ``push`` gives the probability of a push to the right."""
    x, speed, angle, turn = (rng.uniform(-0.05, 0.05) for _ in range(4))
    for _ in range(LONGEST):
        state = [x, speed, angle, turn]
        action = int(rng.random() < push(state))
        yield state, action
        force = 10.0 if action else -10.0
        sine, cosine = math.sin(angle), math.cos(angle)
        thrust = (force + 0.05 * turn * turn * sine) / 1.1
        bend = (9.8 * sine - cosine * thrust) / (0.5 * (4 / 3 - 0.1 * cosine * cosine / 1.1))
        shift = thrust - 0.05 * bend * cosine / 1.1
        x, speed, angle, turn = x + 0.02 * speed, speed + 0.02 * shift, angle + 0.02 * turn, turn + 0.02 * bend
        if abs(x) > 2.4 or abs(angle) > 0.209:
            return


def weigh(length: int) -> list[float]:
    """Returns what follows from each step, discounted, less their mean, in units of their standard deviation."""
    returns = list(itertools.accumulate([1.0] * length, lambda later, reward: reward + DISCOUNT * later))[::-1]
    mean = sum(returns) / length
    spread = math.sqrt(sum((r - mean) ** 2 for r in returns) / length) + 1e-9
    return [(r - mean) / spread for r in returns]


def learn(
    seed: int, push: Callable[[list[float]], float], step: Callable[[list[Any], list[int], list[float]], object]
) -> str:
    """Plays the episodes, and learns from each."""
    rng, lengths = random.Random(seed), []
    for _ in range(EPISODES):
        states, actions = map(list, zip(*play(push, rng), strict=True))
        lengths.append(len(states))
        step(states, actions, weigh(len(states)))
    return f"{sum(lengths[-50:]) / 50:.1f} steps in the mean of the last 50 episodes"


def reinforce_ours(compiled: bool, seed: int) -> str:
    from micrograd import compile, nn, optim  # noqa: A004
    from micrograd.functional import log_softmax, softmax
    from micrograd.training import Stepper

    model = nn.MLP(4, [16, 2], activation="tanh")
    neurons = [neuron for layer in model.layers for neuron in layer.neurons]
    for neuron, numbers in zip(neurons, itertools.chain(*he_layers([4, 16, 2], random.Random(seed))), strict=True):
        for parameter, number in zip((*neuron.w, neuron.b), numbers, strict=True):
            parameter.data = number

    def chances(state):
        return softmax(model(state))

    def loss(state, action, weight):
        return -weight * log_softmax(model(state))[action]

    policy = compile(chances) if compiled else chances
    stepper = Stepper(loss, optim.Adam(model.parameters(), lr=RATE), compile=compiled)
    return learn(
        seed,
        lambda state: policy(state)[1].data,
        lambda states, actions, weights: stepper.step(list(zip(states, actions, weights, strict=True))),
    )


def reinforce_torch(seed: int) -> str:
    import torch

    modules: list[Any] = []
    for layer in he_layers([4, 16, 2], random.Random(seed)):
        linear, numbers = torch.nn.Linear(len(layer[0]) - 1, len(layer)), torch.tensor(layer)
        linear.weight.data, linear.bias.data = numbers[:, :-1].contiguous(), numbers[:, -1].contiguous()
        modules += [linear, torch.nn.Tanh()]
    model = torch.nn.Sequential(*modules[:-1])
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE, fused=True)

    def push(state):
        with torch.no_grad():
            return model(torch.tensor(state)).softmax(0)[1].item()

    def step(states, actions, weights):
        chosen = model(torch.tensor(states)).log_softmax(1)[torch.arange(len(actions)), torch.tensor(actions)]
        loss = -(torch.tensor(weights) * chosen).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return learn(seed, push, step)


def reinforce_jax(seed: int) -> str:
    import jax
    import numpy
    from jax import numpy as xp

    network = Network(he_layers([4, 16, 2], random.Random(seed)), [], [], hinge=False, decay=0.0)
    layers, update = array_layers(network), adam_jax(RATE)
    moments, count = (jax.tree.map(numpy.zeros_like, layers), jax.tree.map(numpy.zeros_like, layers)), 0

    def score(layers, x):
        (first, bias), (second, other) = layers
        return xp.tanh(x @ first + bias) @ second + other

    @jax.jit
    def push(layers, state):
        return jax.nn.softmax(score(layers, state))[1]

    def loss(layers, states, actions, weights):  # weights are shares of the mean, and 0 after the episode
        return -xp.sum(weights * jax.nn.log_softmax(score(layers, states))[xp.arange(LONGEST), actions])

    @jax.jit
    def advance(layers, moments, count, states, actions, weights):
        return update(layers, jax.grad(loss)(layers, states, actions, weights), moments, count)

    def step(states, actions, weights):
        nonlocal layers, moments, count
        count, end = count + 1, len(states)
        padded = numpy.zeros((LONGEST, 4)), numpy.zeros(LONGEST, int), numpy.zeros(LONGEST)
        padded[0][:end], padded[1][:end], padded[2][:end] = states, actions, numpy.array(weights) / end
        layers, moments = advance(layers, moments, count, *padded)

    return learn(seed, lambda state: float(push(layers, numpy.array(state))), step)


def digits() -> Lesson:
    return {OURS: partial(digits_ours, True), EAGER: partial(digits_ours, False), TORCH: digits_torch, JAX: digits_jax}


def reinforce() -> Lesson:
    return {
        OURS: partial(reinforce_ours, True),
        EAGER: partial(reinforce_ours, False),
        TORCH: reinforce_torch,
        JAX: reinforce_jax,
    }
