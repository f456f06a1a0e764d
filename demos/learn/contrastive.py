"""Contrastive learning: a network learns to see digits without a label.

    python demos/learn/contrastive.py

Each digit is shown twice: moved by up to a pixel, with noise. The network, 64 → 48 → 8, is trained so that the two
views of a digit become similar, and those of 64 different digits do not. A linear layer on its 8 features, trained
with 200 labels, then tells what it has learned. After Chen, Kornblith, Norouzi and Hinton, "A simple framework for
contrastive learning of visual representations" (SimCLR), 2020. The demo draws out/learn/contrastive.png.

Claim: it reads at least 8 points more of the digits never seen than one on the features before training.
"""

import argparse
import copy
import random
from pathlib import Path

import numpy as np

from micrograd import Value, compile, fit, nn, optim
from micrograd.functional import cross_entropy, info_nce

HIDDEN, FEATURES, PROJECTED = 48, 8, 16
PAIRS, EPOCHS, TEMPERATURE, NOISE = 64, 16, 0.5, 0.1
LABELS, EPOCHS_OF_PROBE = 200, 60
PICTURE = Path("out/learn/contrastive.png")


def view(images: np.ndarray, noise: np.random.Generator) -> list:
    wide, corners = np.pad(images, [(0, 0), (1, 1), (1, 1)]), noise.integers(0, 3, (len(images), 2))
    moved = np.array([x[i : i + 8, j : j + 8] for x, (i, j) in zip(wide, corners, strict=True)])
    return (moved + noise.normal(0, NOISE, moved.shape)).reshape(-1, 64).tolist()


def train(encoder: nn.MLP, images: np.ndarray, epochs: int, rng: random.Random, noise: np.random.Generator) -> None:
    """Trains the encoder, and a projection that is then thrown away; a batch of pairs is one sample of fit."""
    projection = nn.Sequential(nn.ReLU(), nn.Linear(FEATURES, PROJECTED, rng=rng))
    optimizer = optim.Adam([*encoder.parameters(), *projection.parameters()], lr=0.003)

    def loss(one: list, other: list) -> Value:
        one, other = ([projection(encoder(x)) for x in views] for views in (one, other))
        return (info_nce(one, other, TEMPERATURE) + info_nce(other, one, TEMPERATURE)) / 2

    batches = []
    for _ in range(epochs):
        order = noise.permutation(len(images))[: len(images) // PAIRS * PAIRS].reshape(-1, PAIRS)
        batches += [(view(images[i], noise), view(images[i], noise)) for i in order]
    fit(loss, batches, optimizer, epochs=1, rng=rng)


def probe(features: np.ndarray, digits: np.ndarray, seen: int, rng: random.Random) -> float:
    """The accuracy on digits that were never seen, of a linear layer that learned from the first of the others."""
    features = (features - features[:seen].mean(axis=0)) / (features[:seen].std(axis=0) + 1e-6)
    layer = nn.Linear(FEATURES, 10, rng=rng)
    samples = list(zip(features[:LABELS].tolist(), digits[:LABELS].tolist(), strict=True))
    optimizer = optim.AdamW(layer.parameters(), lr=0.02, weight_decay=0.05)
    fit(lambda x, y: cross_entropy(layer(x), y), samples, optimizer, epochs=EPOCHS_OF_PROBE, batch_size=20, rng=rng)
    return float(np.mean(compile(layer).values(features[seen:]).argmax(axis=1) == digits[seen:]))


def draw(features: list[np.ndarray], digits: np.ndarray, found: list[float]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.6), layout="constrained")
    figure.suptitle("how the features of digits never seen correlate, sorted by digit")
    order = np.argsort(digits)
    middles = [np.flatnonzero(digits[order] == digit).mean() for digit in range(10)]
    for axes, name, x, accuracy in zip(figure.subplots(1, 2), ("random", "learned"), features, found, strict=True):
        axes.imshow(np.corrcoef((x - x.mean(axis=0))[order]), cmap="RdBu_r", vmin=-1, vmax=1)
        axes.set(title=f"{name} features: a linear layer reads {accuracy:.0%}")
        axes.set(xticks=middles, xticklabels=range(10), yticks=middles, yticklabels=range(10))
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PICTURE, dpi=120)
    print(f"picture: {PICTURE}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="for the order, the initial weights and the views")
    parser.add_argument("--quick", action="store_true", help="train for an epoch, and do not check the claim")
    options = parser.parse_args()
    from sklearn.datasets import load_digits

    rng, noise = random.Random(options.seed), np.random.default_rng(options.seed)
    images, digits = load_digits(return_X_y=True)
    order, seen = noise.permutation(len(images)), len(images) * 4 // 5
    images, digits = images[order].reshape(-1, 8, 8) / 16, digits[order]
    drawn = nn.MLP(64, [HIDDEN, FEATURES], activation="relu", rng=rng)
    encoders = [drawn, copy.deepcopy(drawn)]
    train(encoders[1], images[:seen], 1 if options.quick else EPOCHS, rng, noise)
    features = [compile(network).values(images.reshape(-1, 64)) for network in encoders]
    found = [probe(x, digits, seen, rng) for x in features]
    print(f"accuracy with {LABELS} labels: random features {found[0]:.3f}, learned features {found[1]:.3f}")
    draw([x[seen:] for x in features], digits[seen:], found)
    if not options.quick and found[1] < found[0] + 0.08:
        raise SystemExit("the claim does not hold: the learned features are not 8 points ahead")


if __name__ == "__main__":
    main()
