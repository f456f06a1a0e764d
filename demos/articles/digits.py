"""The digits network 784 → 100 → 10 of an article, with its classes and its four steps, on Values.

    python demos/articles/digits.py

The article's code is here under its names. But no layer has a backward pass of its own: backward_propagation() calls
backward() on the cross-entropy, the loss whose error in front of the softmax is output − expected. train() does the
four steps compiled. The digits are those of scikit-learn, enlarged to 28×28 pixels. It draws out/articles/digits.png.

Claim: it reads at least 90 % of the digits that it never saw; and a step by hand changes the weights as train() does.
"""

import argparse
import copy
import math
import random
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from micrograd import Value, compile, fit, functional, nn, optim
from micrograd.data import split

EPOCHS = 100
SEEN = 300  # digits to train with
PICTURE = Path("out/articles/digits.png")


DenseLayer = nn.Linear


class ActivationLayer(nn.Module):
    def __init__(self, name: str) -> None:
        self.name = name

    def forward(self, input: list[Value]) -> list[Value]:
        return functional.softmax(input) if self.name == "softmax" else [getattr(x, self.name)() for x in input]


class NeuralNetwork(nn.Module):
    def __init__(self, layers: list[nn.Module]) -> None:
        self.layers = layers

    def forward_propagation(self, input: list[float]) -> list[Value]:
        for layer in self.layers:
            input = layer(input)
        return input

    def loss(self, output: list[Value], expected: list[float]) -> Value:
        return -functional.sum(e * p.log() for e, p in zip(expected, output))

    def backward_propagation(self, output: list[Value], expected: list[float]) -> None:
        self.zero_grad()
        self.loss(output, expected).backward()

    def update_weights(self, learning_rate: float) -> None:
        for p in self.parameters():
            p.data -= learning_rate * p.grad

    def train(self, inputs: list, expected_outputs: list, epochs: int, learning_rate: float = 0.01) -> None:
        samples, optimizer = list(zip(inputs, expected_outputs)), optim.SGD(self.parameters(), learning_rate)
        fit(lambda x, e: self.loss(self.forward_propagation(x), e), samples, optimizer, epochs=epochs, shuffle=False)

    def predict(self, input: list[float]) -> list[Value]:
        return self.forward_propagation(input)


def draw(network: NeuralNetwork) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.8), layout="constrained")
    for axes, neuron in zip(figure.subplots(4, 8).flat, network.layers[0].neurons):
        axes.imshow(np.reshape([w.data for w in neuron.w], (28, 28)), cmap="RdBu_r", vmin=-0.15, vmax=0.15)
        axes.axis("off")
    figure.suptitle("DenseLayer(784, 100): the weights of 32 of its neurons, a pixel each")
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PICTURE, dpi=120)
    print(f"picture: {PICTURE}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="for the split and the initial weights")
    parser.add_argument("--quick", action="store_true", help="train for an epoch, and do not check the claim")
    options = parser.parse_args()

    random.seed(options.seed)
    images, digits = load_digits(return_X_y=True)
    large = np.pad(np.kron(images.reshape(-1, 8, 8) / 16, np.ones((3, 3))), [(0, 0), (2, 2), (2, 2)])
    training, test = split(list(zip(large.reshape(-1, 784).tolist(), digits.tolist())), 0.8)
    training_inputs, training_digits = zip(*training[:SEEN])
    training_outputs = functional.one_hot(training_digits, 10)
    network = NeuralNetwork(
        [DenseLayer(784, 100), ActivationLayer("relu"), DenseLayer(100, 10), ActivationLayer("softmax")]
    )
    by_hand, trained = copy.deepcopy(network), copy.deepcopy(network)
    by_hand.backward_propagation(by_hand.forward_propagation(training_inputs[0]), training_outputs[0])
    by_hand.update_weights(learning_rate=0.01)
    trained.train(training_inputs[:1], training_outputs[:1], epochs=1)
    agree = all(math.isclose(p.data, q.data, rel_tol=1e-9) for p, q in zip(by_hand.parameters(), trained.parameters()))

    network.train(training_inputs, training_outputs, 1 if options.quick else EPOCHS)
    predictions = compile(network.predict).values([pixels for pixels, _ in test])
    accuracy = (predictions.argmax(axis=1) == [digit for _, digit in test]).mean()
    print(f"a step by hand and a step of train() agree: {agree}; accuracy on digits never seen: {accuracy:.3f}")
    draw(network)
    if not (agree and (options.quick or accuracy >= 0.9)):
        raise SystemExit("the claim does not hold")


if __name__ == "__main__":
    main()
