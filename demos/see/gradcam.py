"""Grad-CAM: where a convolutional network looks when it reads a digit.

    python demos/see/gradcam.py

The digits stand anywhere on 16×16 pixels. The last convolution makes 24 maps. The gradient of a class's score by a map,
on average over its places, tells how much the map speaks for the class. The sum of the maps with these weights, where
it is positive, is the class's heat map. After Selvaraju et al., "Grad-CAM: visual explanations from deep networks via
gradient-based localization", 2017. The demo draws out/see/gradcam.png: heat maps of the class read, and of the next.

Claim: the heat map lies on the ink. For 75 % or more of the digits that the network never saw, its mean over the pixels
with ink is at least 1.5 times that over the others.
"""

import argparse
import random
from pathlib import Path

import numpy as np

from micrograd import compile, fit, nn, optim
from micrograd.data import split
from micrograd.functional import cross_entropy, dot, one_hot

SIZE, FILTERS = 16, (8, 24)
EPOCHS = 12
INK = 0.25  # a pixel that is darker has ink; 0 is white, 1 is black
RATIO, SHOWN = 1.5, 8
PICTURE = Path("out/see/gradcam.png")


def place(digit: np.ndarray, rng: random.Random) -> list[list[list[float]]]:
    image, row, column = np.zeros((SIZE, SIZE)), rng.randrange(SIZE - 7), rng.randrange(SIZE - 7)
    image[row : row + 8, column : column + 8] = digit.reshape(8, 8) / 16
    return [image.tolist()]


def make_network(rng: random.Random) -> tuple[nn.Sequential, nn.Sequential]:
    """The part up to the last maps, which are 8×8, and the part from there to the logits."""
    few, many = FILTERS
    first, second = (nn.Conv2d(*sizes, 3, padding=1, rng=rng) for sizes in ((1, few), (few, many)))
    eye = nn.Sequential(first, nn.ReLU(), nn.MaxPool2d(2), second, nn.ReLU())
    return eye, nn.Sequential(nn.MaxPool2d(SIZE // 2), nn.Flatten(0), nn.Linear(many, 10, rng=rng))


def find_heat(maps: np.ndarray, slopes: np.ndarray) -> np.ndarray:
    heat = (slopes.mean(axis=(2, 3), keepdims=True) * maps).sum(axis=1).clip(0)
    return heat.repeat(2, axis=1).repeat(2, axis=2)  # as large as the image


def draw(images: np.ndarray, classes: np.ndarray, heats: tuple[np.ndarray, np.ndarray]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    figure.suptitle("where the network looks: the digit, its heat map as read, and the heat map of the next class")
    for i, column in enumerate(figure.subplots(3, SHOWN).T):
        top = max(heat[i].max() for heat in heats)
        for axes, heat, rank in zip(column, (None, *heats), (0, -1, -2), strict=True):
            axes.imshow(images[i], cmap="gray_r")
            axes.set(xticks=[], yticks=[])
            if heat is not None:
                axes.imshow(heat[i], cmap="inferno", alpha=0.75, vmin=0, vmax=top, interpolation="bicubic")
                axes.set_title(f"as {classes[i][rank]}")
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PICTURE, dpi=120)
    print(f"picture: {PICTURE}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="for the places, the initial weights and the order")
    parser.add_argument("--quick", action="store_true", help="train for an epoch, and do not check the claim")
    options = parser.parse_args()
    from sklearn.datasets import load_digits

    rng, epochs = random.Random(options.seed), 1 if options.quick else EPOCHS
    samples = [(place(x, rng), int(y)) for x, y in zip(*load_digits(return_X_y=True), strict=True)]
    training, test = split(samples, 0.8, rng)
    eye, head = make_network(rng)
    optimizer = optim.Adam([*eye.parameters(), *head.parameters()], lr=0.01)
    settings = {"epochs": epochs, "batch_size": 32, "schedule": optim.CosineAnnealingLR(optimizer, epochs), "rng": rng}
    fit(lambda image, digit: cross_entropy(head(eye(image)), digit), training, optimizer, **settings)

    maps = compile(eye).values([image for image, _ in test])
    classes = compile(head).values(maps).argsort(axis=1)  # the class that is read comes last
    accuracy = np.mean(classes[:, -1] == [digit for _, digit in test])
    find_slopes = compile(lambda maps, digit: dot(one_hot(digit, 10), head(maps))).gradients
    heats = tuple(find_heat(maps, find_slopes(maps, classes[:, place])[0]) for place in (-1, -2))
    images = np.array([image[0] for image, _ in test])
    draw(images, classes, heats)
    ratios = [heat[x > INK].mean() / (heat[x <= INK].mean() + 1e-9) for heat, x in zip(heats[0], images, strict=True)]
    share = np.mean(np.array(ratios) >= RATIO)
    print(
        f"accuracy {accuracy:.3f}; heat at least {RATIO} times that elsewhere on the ink of {share:.1%} of the digits"
    )
    if not options.quick and share < 0.75:
        raise SystemExit("the claim does not hold: too many heat maps lie beside the ink")


if __name__ == "__main__":
    main()
