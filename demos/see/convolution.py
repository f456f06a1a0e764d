"""A convolutional network reads digits: what its filters look for, and the maps that they make.

    python demos/see/convolution.py

Two convolutions of 3×3 with 8 and 16 filters, each with ReLU and a pooling that halves the picture, then a layer to ten
logits: 2,000 weights, of which each filter's are used at all places. After LeCun, Bottou, Bengio and Haffner,
"Gradient-based learning applied to document recognition", 1998. The demo draws out/see/convolution.png.

Claim: it reads 95 % or more of the digits that it never saw.
"""

import argparse
import random
from pathlib import Path

from micrograd import compile, fit, nn, optim
from micrograd.data import split
from micrograd.functional import cross_entropy

FILTERS = 8, 16
EPOCHS = 10
PICTURE = Path("out/see/convolution.png")


def make_network(rng: random.Random) -> nn.Sequential:
    few, many = FILTERS
    return nn.Sequential(
        nn.Conv2d(1, few, 3, padding=1, rng=rng), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(few, many, 3, padding=1, rng=rng), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(0), nn.Linear(4 * many, 10, rng=rng),
    )  # fmt: skip


def draw(model: nn.Sequential, image: list) -> None:
    from matplotlib.figure import Figure

    first, relu, pool, second = model.layers[:4]
    maps = relu(first(image))
    last = relu(second(pool(maps)))
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[1, 3.4])
    axes = left.subplots()
    axes.imshow(image[0], cmap="gray_r")
    axes.set(title="a digit", xticks=[], yticks=[])
    rows = [("filters, 3×3", first.weight, "RdBu_r"), ("maps, 8×8", maps, "Blues"), ("next maps, 4×4", last, "Blues")]
    for axes, (title, pictures, colors) in zip(right.subplots(3, FILTERS[0]), rows, strict=True):
        for cell, picture in zip(axes, pictures, strict=False):
            picture = picture[0] if colors == "RdBu_r" else picture
            numbers = [[value.data for value in row] for row in picture]
            low = -max(abs(x) for row in numbers for x in row) if colors == "RdBu_r" else 0
            cell.imshow(numbers, cmap=colors, vmin=low, vmax=-low or None)
            cell.set(xticks=[], yticks=[])
        axes[0].set_ylabel(title)
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PICTURE, dpi=120)
    print(f"picture: {PICTURE}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="for the split, the initial weights and the order")
    parser.add_argument("--quick", action="store_true", help="train for an epoch, and do not check the claim")
    options = parser.parse_args()
    from sklearn.datasets import load_digits

    images, digits = load_digits(return_X_y=True)
    samples = [([(x.reshape(8, 8) / 16).tolist()], int(digit)) for x, digit in zip(images, digits, strict=True)]
    rng, epochs = random.Random(options.seed), 1 if options.quick else EPOCHS
    training, test = split(samples, 0.8, rng)
    model = make_network(rng)
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    settings = {"epochs": epochs, "batch_size": 32, "schedule": optim.CosineAnnealingLR(optimizer, epochs), "rng": rng}
    fit(lambda image, digit: cross_entropy(model(image), digit), training, optimizer, **settings)
    read = compile(model).values([image for image, _ in test]).argmax(axis=1)
    accuracy = sum(a == b for a, (_, b) in zip(read, test, strict=True)) / len(test)
    print(f"{len(model.parameters()):,} parameters; accuracy on digits never seen: {accuracy:.3f}")
    draw(model, test[0][0])
    if not options.quick and accuracy < 0.95:
        raise SystemExit("the claim does not hold: accuracy below 0.95")


if __name__ == "__main__":
    main()
