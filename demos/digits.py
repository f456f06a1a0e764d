"""Trains a network on handwritten digits: 64 → 32 → 10, leaky ReLU, softmax cross-entropy, Adam.

    python demos/digits.py                  the 1,797 digits of 8×8 pixels in scikit-learn
    python demos/digits.py --data DIR       MNIST's four IDX files in DIR, gzipped or not: 784 → 100 → 10

The demo prints the accuracy on digits that are not in the training set, and a report of the gradient flow. It draws
two pictures to out/digits/: the history of the training, and the digits that the network got wrong.
"""

import argparse
import gzip
import math
import random
import struct
import zlib
from pathlib import Path

from micrograd import Value, fit, nn, optim
from micrograd.arguments import require
from micrograd.data import split
from micrograd.functional import cross_entropy
from micrograd.training import History

ACTIVATION = "leaky_relu"  # many plain ReLUs would die
BATCH_SIZE = 16
LEARNING_RATE = 0.02  # in the first epoch; it falls along a cosine to 0 after the last
WEIGHT_DECAY = 0.001
OUT = Path("out/digits")


def read_idx(path: Path) -> tuple[tuple[int, ...], bytes]:
    """Reads the sizes and the bytes of an IDX file of unsigned bytes, gzipped or not (yann.lecun.com/exdb/mnist)."""
    raw = path.read_bytes()
    try:
        data = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{path} is a damaged gzip file: {error}") from error
    if len(data) < 4 or data[:3] != b"\0\0\x08":
        raise ValueError(f"{path} is not an IDX file of bytes: it begins with {data[:4].hex(' ') or 'nothing'}")
    header = 4 + 4 * data[3]
    if len(data) < header:
        raise ValueError(f"{path} is truncated: {len(data)} bytes, of which the header alone takes {header}")
    sizes = struct.unpack(f">{data[3]}I", data[4:header])
    if len(data) - header != math.prod(sizes):
        shape = "×".join(map(str, sizes))
        raise ValueError(f"{path} should hold {shape} = {math.prod(sizes)} bytes, and holds {len(data) - header}")
    return sizes, data[header:]


def find(folder: Path, name: str) -> Path:
    names = [name, f"{name}.gz", name.replace("-idx", ".idx"), f"{name.replace('-idx', '.idx')}.gz"]
    for path in map(folder.joinpath, names):
        if path.exists():
            return path
    raise FileNotFoundError(f"there is none of {', '.join(names)} in {folder}")


def mnist(folder: Path, part: str) -> list[tuple[list[float], int]]:
    """Reads the samples (784 pixels from 0 to 1, digit) of a part of MNIST, "train" or "t10k"."""
    images, labels = find(folder, f"{part}-images-idx3-ubyte"), find(folder, f"{part}-labels-idx1-ubyte")
    (sizes, pixels), (count, digits) = read_idx(images), read_idx(labels)
    if len(sizes) != 3 or len(count) != 1 or sizes[0] != count[0]:
        raise ValueError(f"{images} and {labels} do not hold as many images as labels: {sizes} and {count}")
    if not digits or sizes[1] != sizes[2] or max(digits) > 9:
        raise ValueError(f"{images} and {labels} do not hold square images of the digits 0 to 9: {sizes}")
    area = sizes[1] * sizes[2]
    return [([p / 255 for p in pixels[i * area : (i + 1) * area]], digit) for i, digit in enumerate(digits)]


def small_digits() -> tuple[list[tuple[list[float], int]], list[tuple[list[float], int]]]:
    """Loads samples (64 pixels from 0 to 1, digit): 1,438 for training and 359 for tests, always the same."""
    datasets = require("sklearn.datasets", "the demo of small digits", "scikit-learn")
    images, digits = datasets.load_digits(return_X_y=True)
    samples = [([float(p) / 16 for p in image], int(digit)) for image, digit in zip(images, digits, strict=True)]
    return split(samples, 0.8, random.Random(0))


def score(model: nn.MLP, pixels: list[float]) -> list[Value]:
    """Returns one logit per digit. The network gets pixels from -1 to 1: it learns better from inputs around 0."""
    return model([2 * pixel - 1 for pixel in pixels])


def guess(scores: list[Value]) -> int:
    return max(range(len(scores)), key=lambda digit: scores[digit].data)


def train(
    model: nn.MLP,
    training: list[tuple[list[float], int]],
    test: list[tuple[list[float], int]],
    epochs: int,
    rng: random.Random,
    checkpoint: Path | None = None,
) -> History:
    """Trains the model. The accuracy on the test digits is measured after each epoch, but has no influence."""
    optimizer = optim.Adam(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    return fit(
        lambda pixels, digit: cross_entropy(score(model, pixels), digit),
        training,
        optimizer,
        epochs=epochs,
        batch_size=BATCH_SIZE,
        validation=test,
        metrics={"accuracy": lambda pixels, digit: guess(score(model, pixels)) == digit},
        schedule=optim.CosineAnnealingLR(optimizer, max(epochs, 1)),
        model=model,
        checkpoint=checkpoint,
        rng=rng,
    )


def show(predictions: list[tuple[list[float], int, int]], history: History) -> None:
    """Prints the table of results on the test digits (pixels, digit, prediction), and draws the pictures."""
    import matplotlib
    from rich.console import Console
    from rich.table import Table

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    table = Table("digit", "tested", "wrong", "taken for", title="digits never seen")
    for digit in range(10):
        taken = [prediction for _, truth, prediction in predictions if truth == digit]
        wrong = sorted(prediction for prediction in taken if prediction != digit)
        table.add_row(str(digit), str(len(taken)), str(len(wrong)), " ".join(map(str, wrong)))
    mistakes = [p for p in predictions if p[1] != p[2]]
    console = Console()
    console.print(table)
    console.print(f"accuracy {1 - len(mistakes) / len(predictions):.4f}: {len(mistakes)} of {len(predictions)} wrong")

    OUT.mkdir(parents=True, exist_ok=True)
    if history.steps:
        history.plot(OUT / "loss.png")

    shown = mistakes[:32]
    side = math.isqrt(len(predictions[0][0]))
    rows = max(1, math.ceil(len(shown) / 8))
    figure, grid = plt.subplots(rows, 8, figsize=(8, 1.4 * rows + 0.5), layout="constrained", squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for axes, (pixels, truth, prediction) in zip(grid.flat, shown, strict=False):
        axes.imshow([pixels[i * side : (i + 1) * side] for i in range(side)], cmap="gray_r", vmin=0, vmax=1)
        axes.set_title(f"{truth}, not {prediction}", fontsize=10)
    figure.suptitle(f"{len(mistakes)} of {len(predictions)} wrong" + f", the first {len(shown)}" * (len(mistakes) > 32))
    figure.savefig(OUT / "wrong.png", dpi=120)
    print(f"\n{history.gradient_flow()}\n" if history.steps else "nothing was trained")
    console.print(f"pictures: {OUT}/loss.png, {OUT}/wrong.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", type=int, help="neurons in the hidden layer (32, or 100 for MNIST)")
    parser.add_argument("--epochs", type=int, help="how often to go through the training digits (10, or 1 for MNIST)")
    parser.add_argument("--seed", type=int, default=0, help="for the initial weights and the order of the digits")
    parser.add_argument("--data", type=Path, metavar="DIR", help="a folder with MNIST's four IDX files")
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="keep the run in FILE, or go on with it")
    options = parser.parse_args()

    if min(options.hidden or 1, options.epochs or 1) < 1 or options.hidden == 0:
        parser.error("--hidden takes a number above 0, --epochs one that is not below 0")
    try:
        training, test = (mnist(options.data, "train"), mnist(options.data, "t10k")) if options.data else small_digits()
        if len(training[0][0]) != len(test[0][0]):
            raise ValueError(
                f"training and test images differ in size: {len(training[0][0])}, {len(test[0][0])} pixels"
            )
    except (ImportError, OSError, ValueError) as error:
        raise SystemExit(f"digits: {error}") from error
    hidden = options.hidden or (100 if options.data else 32)
    epochs = options.epochs if options.epochs is not None else (1 if options.data else 10)
    rng = random.Random(options.seed)
    model = nn.MLP(len(training[0][0]), [hidden, 10], activation=ACTIVATION, rng=rng)
    history = train(model, training, test, epochs, rng, options.checkpoint)
    show([(pixels, digit, guess(score(model, pixels))) for pixels, digit in test], history)


if __name__ == "__main__":
    main()
