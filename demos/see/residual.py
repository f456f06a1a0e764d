"""Skip connections: 21 convolutions learn to read digits with them, and nothing without.

    python demos/see/residual.py

A convolution from 1 to 4 maps, ten blocks of two convolutions of 3×3 with ReLU, and a layer to ten logits. With skip
connections, a block adds to its input: backwards, the gradient then has a path that no weight makes smaller. Without,
each convolution passes on a part of it, and little arrives at the first. After He, Zhang, Ren and Sun, "Deep residual
learning for image recognition", 2015. The demo draws out/see/residual.png: the gradient by depth, and the losses.

Claim: of the digits never seen, the network with skip connections reads 90 % or more, the other 50 % or less.
"""

import argparse
import math
import random
from pathlib import Path

import numpy as np

from micrograd import compile, fit, nn, optim
from micrograd.data import split
from micrograd.functional import cross_entropy
from micrograd.nn.module import modules

BLOCKS, MAPS = 10, 4
EPOCHS, BATCH = 8, 16
PICTURE = Path("out/see/residual.png")


def make_network(is_residual: bool, rng: random.Random) -> nn.Sequential:
    """Both networks have the same layers. The first convolution halves the picture, to 4×4."""

    def convolve(channels: int = MAPS, stride: int = 1) -> nn.Conv2d:
        return nn.Conv2d(channels, MAPS, 3, stride, padding=1, init="xavier", rng=rng)

    blocks = [nn.Sequential(convolve(), nn.ReLU(), convolve()) for _ in range(BLOCKS)]
    parts = [part for block in blocks for part in (nn.Residual(block) if is_residual else block, nn.ReLU())]
    end = nn.Flatten(0), nn.Linear(16 * MAPS, 10, rng=rng)
    return nn.Sequential(convolve(1, 2), nn.ReLU(), *parts, *end)


def find_gradients(model: nn.Sequential, samples: list) -> list[float]:
    """The size of the loss's gradient by the weights of each convolution, the first one first."""
    model.zero_grad()
    for image, digit in samples:
        (cross_entropy(model(image), digit) / len(samples)).backward()
    convolutions = [layer for layer in modules(model) if isinstance(layer, nn.Conv2d)]
    return [math.hypot(*(p.grad for p in layer.parameters())) for layer in convolutions]


def draw(gradients: dict[str, list[float]], losses: dict[str, np.ndarray], found: dict[str, float]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, sizes in gradients.items():
        left.semilogy(range(1, len(sizes) + 1), [size or math.nan for size in sizes], "o-", label=name)
        right.plot(range(1, len(losses[name]) + 1), losses[name], "o-", label=f"{name}: {found[name]:.0%} are read")
    left.set_xticks(range(1, 2 * BLOCKS + 2, 4))
    left.set(title="the gradient before training", xlabel="convolution", ylabel="size of its weights' gradient")
    right.axhline(math.log(10), color="0.5", linestyle="--", label="guessing")
    right.set(title="loss", xlabel="epoch", ylabel="cross-entropy", ylim=(0, None))
    left.legend()
    right.legend()
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PICTURE, dpi=120)
    print(f"picture: {PICTURE}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="for the split, the initial weights and the order")
    parser.add_argument("--quick", action="store_true", help="train for an epoch, and do not check the claim")
    options = parser.parse_args()
    from sklearn.datasets import load_digits

    samples = [([(x.reshape(8, 8) / 16).tolist()], int(y)) for x, y in zip(*load_digits(return_X_y=True), strict=True)]
    rng, epochs = random.Random(options.seed), 1 if options.quick else EPOCHS
    training, test = split(samples, 0.8, rng)
    gradients, losses, found = {}, {}, {}
    for name in ("with skip connections", "without"):
        model = make_network(name != "without", rng)
        gradients[name] = find_gradients(model, training[:BATCH])
        optimizer = optim.Adam(model.parameters(), lr=0.005)
        settings = {"batch_size": BATCH, "schedule": optim.CosineAnnealingLR(optimizer, epochs), "rng": rng}
        loss = lambda image, digit, model=model: cross_entropy(model(image), digit)  # noqa: E731
        history = fit(loss, training, optimizer, epochs=epochs, **settings).loss
        losses[name] = np.reshape(history, (epochs, -1)).mean(axis=1)
        read = compile(model).values([image for image, _ in test]).argmax(axis=1)
        found[name] = sum(a == b for a, (_, b) in zip(read, test, strict=True)) / len(test)
        print(f"{name:21}: accuracy {found[name]:.3f}, gradient at convolution 1: {gradients[name][0]:.1e}")
    draw(gradients, losses, found)
    if not options.quick and not found["with skip connections"] >= 0.9 > 0.5 >= found["without"]:
        raise SystemExit("the claim does not hold: 0.9 or more with skip connections, 0.5 or less without")


if __name__ == "__main__":
    main()
