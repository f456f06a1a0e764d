"""An attack by the gradient of the input, and a network that is trained against it.

    python demos/learn/adversarial.py

The gradient of the loss by the pixels tells in which direction each has to change so that the network errs. A change by
0.1 of the range from white to black, with the sign of the gradient, fools a network 64 → 64 → 10 that reads digits. A
second network is trained on attacked digits, which are made anew in each epoch. After Goodfellow, Shlens and Szegedy,
"Explaining and harnessing adversarial examples", 2014. The demo draws out/learn/adversarial.png.

Claim: the attack takes 40 points or more of the plain network's accuracy, and less than half as many of the other's.
"""

import argparse
import random
from pathlib import Path

from micrograd import compile, fit, nn, optim
from micrograd.data import split
from micrograd.functional import cross_entropy

HIDDEN = 64
STRENGTH = 0.1
EPOCHS = 30
PICTURE = Path("out/learn/adversarial.png")
Samples = list[tuple[list[float], int]]


def attack(model: nn.MLP, samples: Samples) -> Samples:
    """Moves each pixel, between 0 and 1, by the strength of the attack in the direction that makes the loss larger."""
    pixels, digits = zip(*samples, strict=True)
    slopes, _ = compile(lambda x, digit: cross_entropy(model(x), digit)).gradients(pixels, digits)
    moves = ((slopes > 0) * 2.0 - 1) * STRENGTH
    return list(zip((pixels + moves).clip(0, 1).tolist(), digits, strict=True))


def train(model: nn.MLP, samples: Samples, epochs: int, is_attacked: bool, rng: random.Random) -> None:
    optimizer = optim.Adam(model.parameters(), lr=0.005)
    for _ in range(epochs):
        seen = attack(model, samples) if is_attacked else samples
        fit(lambda x, digit: cross_entropy(model(x), digit), seen, optimizer, epochs=1, batch_size=20, rng=rng)


def read(model: nn.MLP, samples: Samples) -> list[int]:
    scores = compile(model).values([pixels for pixels, _ in samples])
    return scores.argmax(axis=1).tolist()


def accuracy(model: nn.MLP, samples: Samples) -> float:
    return sum(a == b for a, (_, b) in zip(read(model, samples), samples, strict=True)) / len(samples)


def draw(model: nn.MLP, samples: Samples, attacked: Samples, found: list[float]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.4), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[3, 2])
    for column, (before, after) in zip(left.subplots(2, 6).T, zip(samples, attacked, strict=True), strict=False):
        for axes, (pixels, _), digit in zip(column, (before, after), read(model, [before, after]), strict=True):
            axes.imshow([pixels[i : i + 8] for i in range(0, 64, 8)], cmap="gray_r", vmin=0, vmax=1)
            axes.set_title(f"read as {digit}", color="tab:red" if digit != before[1] else "black")
            axes.axis("off")
    axes = right.subplots()
    for x, (color, how) in enumerate([("tab:gray", "plain"), ("tab:blue", "trained against it")]):
        axes.bar([x, x + 3], found[2 * x : 2 * x + 2], 1, color=color, label=how)
    axes.set(
        title="accuracy on digits never seen", xticks=[0.5, 3.5], xticklabels=["as they are", "attacked"], ylim=(0, 1.3)
    )
    axes.legend(loc="upper right")
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
    samples = [((image / 16).tolist(), int(digit)) for image, digit in zip(images, digits, strict=True)]
    rng = random.Random(options.seed)
    training, test = split(samples, 0.8, rng)
    models = [nn.MLP(64, [HIDDEN, 10], activation="relu", rng=rng) for _ in range(2)]
    found = []
    for is_attacked, model in enumerate(models):
        train(model, training, 1 if options.quick else EPOCHS, bool(is_attacked), rng)
        found += [accuracy(model, test), accuracy(model, attack(model, test))]
        print(f"{'trained against it' if is_attacked else 'plain':18} {found[-2]:.3f}, attacked {found[-1]:.3f}")
    draw(models[0], test, attack(models[0], test), found)
    plain, trained = found[0] - found[1], found[2] - found[3]
    if not options.quick and not (plain >= 0.4 and trained < plain / 2):
        raise SystemExit("the claim does not hold: the attack is too weak, or the training against it")


if __name__ == "__main__":
    main()
