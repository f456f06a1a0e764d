"""Compares methods against overfitting: L1, L2, dropout, early stopping and augmentation, on data with wrong labels.

    python demos/regularise.py

The data are two moons. The demo prints a table of the final losses, and draws the curves to
out/regularise/regularise.png. Both losses are the cross-entropy without penalties and without dropout. Early stopping
has an advantage here: it chooses the epoch by the validation loss itself. The best method depends on the points: try
--seed.
"""

import argparse
import random
from pathlib import Path

from micrograd import Value, nn, optim
from micrograd.functional import binary_cross_entropy_with_logits
from micrograd.training import EarlyStopping, fit

OUT = Path("out/regularise")
TRAINING, VALIDATION, NOISE, WRONG = 40, 80, 0.2, 0.15  # WRONG is the probability of a wrong label, in both sets
HIDDEN, BATCH_SIZE, LEARNING_RATE = 16, 20, 0.01
PENALTIES = {"L1": (optim.l1_penalty, 0.003), "L2": (optim.l2_penalty, 0.01)}
DROPOUT, PATIENCE, SHIFT = 0.3, 10, 0.2  # SHIFT is the deviation by which augmentation moves points
METHODS = ["no regularisation", "L1", "L2", "dropout", "early stopping", "augmentation"]


def noisy_moons(n: int, seed: int) -> list[tuple[list[float], int]]:
    from sklearn.datasets import make_moons

    rng = random.Random(seed)
    points, labels = make_moons(n, noise=NOISE, random_state=seed)
    return [([x, y], int(label) ^ (rng.random() < WRONG)) for (x, y), label in zip(points, labels, strict=True)]


def train(method: str, data: list, validation: list, epochs: int, seed: int):
    """Returns the losses on both sets: before the first epoch, after each epoch, and at the end of the run."""
    rng = random.Random(seed)
    drop = DROPOUT if method == "dropout" else 0.0
    hidden = [[nn.Linear(n, HIDDEN, rng=rng), nn.ReLU(), nn.Dropout(drop, rng)] for n in (2, HIDDEN)]
    model = nn.Sequential(*hidden[0], *hidden[1], nn.Linear(HIDDEN, 1, rng=rng))

    def cross_entropy(samples: list) -> Value:
        return binary_cross_entropy_with_logits([model(p)[0] for p, _ in samples], [label for _, label in samples])

    penalty, factor = PENALTIES.get(method, (lambda parameters, factor: 0, 0))

    def loss(batch: list) -> Value:
        if method == "augmentation":
            batch = [([x + rng.gauss(0, SHIFT) for x in point], label) for point, label in batch]
        return cross_entropy(batch) + penalty(model.parameters(), factor)

    def both(history: object = None) -> None:
        model.eval()
        losses.append((cross_entropy(data).data, cross_entropy(validation).data))

    losses = []
    both()
    batches = [data[i : i + BATCH_SIZE] for i in range(0, len(data), BATCH_SIZE)]  # each is one sample to fit()
    optimizer = optim.Adam(model.parameters(), lr=LEARNING_RATE)
    more = {"stop": EarlyStopping(PATIENCE), "validation": [validation]} if method == "early stopping" else {}
    fit(loss, batches, optimizer, epochs=epochs, callbacks=[both], model=model, rng=rng, progress=False, **more)
    both()
    return losses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=70, help="how often to go through the points (default 70)")
    parser.add_argument("--seed", type=int, default=2, help="for the points and the initial weights")
    options = parser.parse_args()

    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    data, validation = noisy_moons(TRAINING, options.seed), noisy_moons(VALIDATION, options.seed + 1000)
    figure, grid = plt.subplots(2, 3, figsize=(10, 5.8), layout="constrained", sharex=True, sharey=True)
    print(f"{'':17}  epochs  training  validation  lowest validation")
    for method, axes in zip(METHODS, grid.flat, strict=True):
        *curves, end = train(method, data, validation, options.epochs, options.seed)
        trained, validated = zip(*curves, strict=True)
        best = validated.index(min(validated))
        print(f"{method:17}  {len(curves) - 1:6}  {end[0]:8.3f}  {end[1]:10.3f}  {min(validated):.3f} after {best}")
        axes.plot(trained, color="#0072B2", label="training")
        axes.plot(validated, "--", color="#D55E00", label="validation")
        axes.plot(curves.index(end), end[1], "o", color="#D55E00")  # early stopping went back to the best epoch
        axes.set(title=f"{method}: {end[1]:.3f}")
        axes.grid(color="0.92")
    grid[0, 0].legend()
    figure.supxlabel("epoch")
    figure.supylabel("cross-entropy")
    figure.suptitle(f"{TRAINING} points, {WRONG:.0%} of labels wrong; dot: validation loss of the network at the end")
    OUT.mkdir(parents=True, exist_ok=True)
    figure.savefig(OUT / "regularise.png", dpi=100)
    print(f"picture: {OUT}/regularise.png")


if __name__ == "__main__":
    main()
