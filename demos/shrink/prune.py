"""Pruning: most weights of a trained network can be taken out, if the rest may adapt.

    python demos/shrink/prune.py

A network 64 → 250 → 10 learns to read digits. Then its weights that are nearest to 0 are set to 0 for good, and the
others go on learning, in nine rounds until 90 % of the weights are 0. After Han, Pool, Tran and Dally, "Learning both
weights and connections for efficient neural networks", 2015. The demo draws out/shrink/prune.png.

Claim: with a tenth of its weights, the network reads digits that it never saw as well as before, up to 1 point.
"""

import argparse
import random
from pathlib import Path

from micrograd import Value, compile, fit, nn, optim
from micrograd.data import split
from micrograd.functional import cross_entropy

HIDDEN = 250
EPOCHS = 24  # at first, and half as many in each round; in the last one twice as many
ROUNDS = [0.3, 0.5, 0.6, 0.7, 0.75, 0.8, 0.84, 0.87, 0.9]  # which part of the weights is 0 after each
PICTURE = Path("out/shrink/prune.png")
Samples = list[tuple[list[float], int]]


def accuracy(model: nn.MLP, samples: Samples) -> float:
    read = compile(model).values([pixels for pixels, _ in samples]).argmax(axis=1)
    return sum(a == b for a, (_, b) in zip(read, samples, strict=True)) / len(samples)


def train(model: nn.MLP, samples: Samples, epochs: int, lr: float, rng: random.Random) -> None:
    """Trains the weights that are not 0. Those that are stand in no optimizer, so that they stay what they are."""
    optimizer = optim.Adam([p for p in model.parameters() if p.data], lr=lr)
    settings = {"epochs": epochs, "batch_size": 20, "schedule": optim.CosineAnnealingLR(optimizer, epochs), "rng": rng}
    fit(lambda x, digit: cross_entropy(model(x), digit), samples, optimizer, **settings)


def find_weights(model: nn.MLP) -> list[Value]:
    return [w for layer in model.layers for neuron in layer.neurons for w in neuron.w]


def prune(model: nn.MLP, part: float) -> None:
    weights = sorted(find_weights(model), key=lambda w: abs(w.data))
    for w in weights[: round(part * len(weights))]:
        w.data = 0.0


def draw(before: list[list[float]], after: list[list[float]], found: list[tuple[float, float, float]]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.6), layout="constrained")
    left, right = figure.subfigures(1, 2)
    for axes, weights, title in zip(left.subplots(2, 1), (before, after), ("all weights", "10 % of them"), strict=True):
        axes.imshow(list(zip(*weights, strict=True)), cmap="RdBu_r", vmin=-0.6, vmax=0.6, aspect="auto")
        axes.set(title=f"first layer, {title}", xlabel="neuron", ylabel="pixel")
    axes = right.subplots()
    parts, pruned, trained = zip(*found, strict=True)
    axes.plot([100 * part for part in parts], pruned, "o-", color="0.6", label="just pruned")
    axes.plot([100 * part for part in parts], trained, "o-", color="tab:blue", label="after further training")
    axes.set(title="accuracy on digits never seen", xlabel="% of the weights that are 0")
    axes.legend(loc="lower left")
    axes.grid(color="0.9")
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PICTURE, dpi=120)
    print(f"picture: {PICTURE}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="for the split, the initial weights and the order")
    parser.add_argument("--quick", action="store_true", help="train for an epoch each, and do not check the claim")
    options = parser.parse_args()
    from sklearn.datasets import load_digits

    images, digits = load_digits(return_X_y=True)
    samples = [((image / 8 - 1).tolist(), int(digit)) for image, digit in zip(images, digits, strict=True)]
    rng = random.Random(options.seed)
    training, test = split(samples, 0.8, rng)
    model = nn.MLP(64, [HIDDEN, 10], activation="relu", rng=rng)
    epochs = 1 if options.quick else EPOCHS
    train(model, training, epochs, 0.005, rng)
    before = [[w.data for w in neuron.w] for neuron in model.layers[0].neurons]
    found = [(0.0, accuracy(model, test), accuracy(model, test))]
    for part in ROUNDS:
        prune(model, part)
        pruned = accuracy(model, test)
        train(model, training, 2 * epochs if part == ROUNDS[-1] else (epochs + 1) // 2, 0.005, rng)
        found.append((part, pruned, accuracy(model, test)))
        print(f"{part:4.0%} of the weights are 0: accuracy {pruned:.3f}, and after training {found[-1][2]:.3f}")
    draw(before, [[w.data for w in neuron.w] for neuron in model.layers[0].neurons], found)
    lost = found[0][2] - found[-1][2]
    print(f"lost with a tenth of the weights: {100 * lost:.1f} points of {100 * found[0][2]:.1f}")
    if not options.quick and lost > 0.01:
        raise SystemExit("the claim does not hold: more than 1 point is lost")


if __name__ == "__main__":
    main()
