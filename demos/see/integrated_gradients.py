"""Integrated gradients: how much each pixel adds to the score of the class that a network reads.

    python demos/see/integrated_gradients.py

The path leads straight from a blank image to the digit. A pixel's attribution is its own change, times the gradient of
the score by it, on average over the path: 256 points, the middles of equal pieces. By the fundamental theorem of
calculus all attributions sum to the change of the score: no part of it is left unexplained. After Sundararajan, Taly
and Yan, "Axiomatic attribution for deep networks", 2017. The demo draws out/see/integrated_gradients.png.

Claim: for each of 40 digits that the network never saw, the attributions sum to the score's change within 1e-3.
"""

import argparse
import random
from pathlib import Path

import numpy as np

from micrograd import Value, compile, fit, nn, optim
from micrograd.data import split
from micrograd.functional import cross_entropy, dot, one_hot

FILTERS = 8, 16
EPOCHS = 10
POINTS = 256  # of the path
EXPLAINED, SHOWN = 40, 6
PICTURE = Path("out/see/integrated_gradients.png")


def make_network(rng: random.Random) -> nn.Sequential:
    """Smooth, with SiLU and mean pooling: the mean over the points of the path is then close to the integral."""
    few, many = FILTERS
    return nn.Sequential(
        nn.Conv2d(1, few, 3, padding=1, rng=rng), nn.SiLU(), nn.AvgPool2d(2),
        nn.Conv2d(few, many, 3, padding=1, rng=rng), nn.SiLU(), nn.AvgPool2d(2),
        nn.Flatten(0), nn.Linear(4 * many, 10, rng=rng),
    )  # fmt: skip


def draw(images: np.ndarray, attributions: np.ndarray, paths: np.ndarray, read: np.ndarray) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[2.4, 1])
    left.suptitle("what speaks for the class that is read (blue), and what against it (red)")
    for i, (above, below) in enumerate(left.subplots(2, SHOWN).T):
        above.imshow(images[i, 0], cmap="gray_r")
        size = abs(attributions[i]).max()
        below.imshow(attributions[i, 0], cmap="RdBu", vmin=-size, vmax=size)
        below.set_title(f"sum {attributions[i].sum():.2f}")
        above.set_title(f"read as {read[i]}")
        for axes in (above, below):
            axes.set(xticks=[], yticks=[])
    axes = right.subplots()
    for i in range(SHOWN):
        axes.plot(np.linspace(0, 1, POINTS), paths[i] - paths[i][0], label=str(read[i]))
    axes.set(title="the score along the path", xlabel="from blank (0) to the digit (1)", ylabel="change of the score")
    axes.legend(ncols=2)
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PICTURE, dpi=120)
    print(f"picture: {PICTURE}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="for the split, the initial weights and the order")
    parser.add_argument("--quick", action="store_true", help="train for an epoch")
    options = parser.parse_args()
    from sklearn.datasets import load_digits

    samples = [([(x.reshape(8, 8) / 16).tolist()], int(y)) for x, y in zip(*load_digits(return_X_y=True), strict=True)]
    rng, epochs = random.Random(options.seed), 1 if options.quick else EPOCHS
    training, test = split(samples, 0.8, rng)
    model = make_network(rng)
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    settings = {"epochs": epochs, "batch_size": 32, "schedule": optim.CosineAnnealingLR(optimizer, epochs), "rng": rng}
    fit(lambda image, digit: cross_entropy(model(image), digit), training, optimizer, **settings)

    @compile
    def find_score(image: list, digit: int) -> Value:
        return dot(one_hot(digit, 10), model(image))

    images = np.array([image for image, _ in test[:EXPLAINED]])
    read = compile(model).values(images).argmax(axis=1)
    along = ((np.arange(POINTS) + 0.5) / POINTS).reshape(POINTS, 1, 1, 1)
    paths, attributions, errors = [], [], []
    for image, digit in zip(images, read, strict=True):
        scores, (slopes, _) = find_score.values_and_gradients(along * image, [digit] * POINTS)
        blank, last = find_score.values(np.stack([0 * image, image]), [digit] * 2)
        paths.append(scores)
        attributions.append(image * slopes.mean(axis=0))
        errors.append(abs(attributions[-1].sum() - (last - blank)))
    print(f"attributions and scores differ by up to {max(errors):.1e} for {EXPLAINED} digits")
    draw(images, np.array(attributions), np.array(paths), read)
    if max(errors) >= 1e-3:
        raise SystemExit("the claim does not hold: the attributions do not sum to the scores' differences")


if __name__ == "__main__":
    main()
