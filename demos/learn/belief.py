"""A deep belief network: each layer first learns what digits look like, without labels; then backpropagation.

    python demos/learn/belief.py

Three restricted Boltzmann machines (64 ↔ 64 ↔ 64 ↔ 32) learn one after the other from 1,437 digits by contrastive
divergence: the free energy −b·v − Σ log(1 + exp(c + Wv)) of what was seen falls, and that of what the machine makes
of it rises. Then a network of sigmoids, 64 → 64 → 64 → 32 → 10, is trained with 100 labels, once from these weights
and once from random ones. After Hinton, Osindero and Teh, "A fast learning algorithm for deep belief nets", 2006. The
demo draws out/learn/belief.png: what the first layer's units look for, and the accuracies.

Claim: with 100 labels, the network that has seen digits before is ahead by 2 points or more: the mean of five runs.
"""

import argparse
import random
from pathlib import Path

from micrograd import Value, compile, fit, functional, nn, optim
from micrograd.data import split
from micrograd.functional import cross_entropy, dot, sigmoid, softplus, where

UNITS = [64, 64, 64, 32]
LABELS = 100
EPOCHS_OF_MACHINE, EPOCHS_OF_NETWORK = 20, 100
RUNS = 5
PICTURE = Path("out/learn/belief.png")


class Machine(nn.Module):
    """A restricted Boltzmann machine, whose hidden units are the neurons of a layer."""

    def __init__(self, layer: nn.Layer, rng: random.Random) -> None:
        self.layer, self.rng = layer, rng
        self.visible = [Value(0.0) for _ in layer.neurons[0].w]

    def scores(self, seen: list) -> list[Value]:
        return [dot(neuron.w, seen) + neuron.b for neuron in self.layer.neurons]

    def free_energy(self, seen: list) -> Value:
        return -dot(self.visible, seen) - functional.sum(map(softplus, self.scores(seen)))

    def draw(self, scores: list[Value]) -> list[Value]:
        """Switches each unit on with the probability sigmoid(score). What is drawn has no gradient."""
        return [where(functional.random(self.rng) < sigmoid(score), 1.0, 0.0) for score in scores]

    def loss(self, seen: list[float]) -> Value:
        hidden = self.draw(self.scores(seen))
        weights = zip(*(neuron.w for neuron in self.layer.neurons), strict=True)
        dreamt = self.draw([dot(w, hidden) + b for w, b in zip(weights, self.visible, strict=True)])
        return self.free_energy(seen) - self.free_energy(dreamt)


def pretrain(model: nn.MLP, images: list[list[float]], epochs: int, rng: random.Random) -> None:
    """Trains a machine for each layer but the last; it sees what the machine before it makes of the digits."""
    for layer in model.layers[:-1]:
        machine = Machine(layer, rng)
        optimizer = optim.SGD(machine.parameters(), lr=0.05, momentum=0.5)
        fit(machine.loss, images, optimizer, epochs=epochs, batch_size=10, model=machine, rng=rng)
        images = [[unit.data for unit in layer(image)] for image in images]


def finetune(model: nn.MLP, samples: list, test: list, epochs: int, rng: random.Random) -> float:
    """Trains with labels; returns the accuracy on other samples."""
    optimizer = optim.Adam(model.parameters(), lr=0.005)
    settings = {"epochs": epochs, "batch_size": 20, "schedule": optim.CosineAnnealingLR(optimizer, epochs), "rng": rng}
    fit(lambda image, digit: cross_entropy(model(image), digit), samples, optimizer, **settings)
    read = compile(model).values([image for image, _ in test]).argmax(axis=1)
    return (read == [digit for _, digit in test]).mean()


def draw(units: list[list[float]], found: list[tuple[float, float]]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[4, 5])
    for axes, weights in zip(left.subplots(8, 8).flat, units, strict=True):
        axes.imshow([weights[i : i + 8] for i in range(0, 64, 8)], cmap="RdBu_r", vmin=-1.5, vmax=1.5)
        axes.axis("off")
    left.suptitle("what the first 64 units look for")
    axes = right.subplots()
    for before, after in found:
        axes.plot(["random weights", "has seen digits before"], [before, after], "o-", color="tab:blue", alpha=0.7)
    axes.set(title=f"{LABELS} labels: accuracy on digits never seen", xlim=(-0.3, 1.3))
    axes.grid(axis="y", color="0.9")
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PICTURE, dpi=120)
    print(f"picture: {PICTURE}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="for the splits, the initial weights, draws and orders")
    parser.add_argument("--quick", action="store_true", help="a single short run, and do not check the claim")
    options = parser.parse_args()
    from sklearn.datasets import load_digits

    images, digits = load_digits(return_X_y=True)
    samples = [((image / 16).tolist(), int(digit)) for image, digit in zip(images, digits, strict=True)]
    found, shorter, rng = [], 10 if options.quick else 1, random.Random(options.seed)
    for run in range(1 if options.quick else RUNS):
        training, test = split(samples, 0.8, rng)
        for sees in (False, True):
            model = nn.MLP(UNITS[0], [*UNITS[1:], 10], activation="sigmoid", init="xavier", rng=rng)
            if sees:
                pretrain(model, [image for image, _ in training], EPOCHS_OF_MACHINE // shorter, rng)
                units = [[w.data for w in neuron.w] for neuron in model.layers[0].neurons]
            found.append(finetune(model, training[:LABELS], test, EPOCHS_OF_NETWORK // shorter, rng))
        print(f"run {run + 1}: random weights {found[-2]:.3f}, pretrained {found[-1]:.3f}")
    gain = (sum(found[1::2]) - sum(found[::2])) / len(found[::2])
    print(f"gain: {100 * gain:.1f} points")
    draw(units, list(zip(found[::2], found[1::2], strict=True)))
    if not options.quick and gain < 0.02:
        raise SystemExit("the claim does not hold: less than 2 points ahead")


if __name__ == "__main__":
    main()
