"""Compares batch, stochastic and mini-batch gradient descent on the same data, network and number of epochs.

    python demos/descent.py

Stochastic descent makes one update per sample, batch descent one per epoch. The demo prints a table with the number of
updates and the expected number, and draws the loss against epochs and against time to out/descent/descent.png.
"""

import argparse
import math
import random
import time
from pathlib import Path

from micrograd import nn, optim
from micrograd.data import DataLoader
from micrograd.functional import mean

OUT = Path("out/descent")
SAMPLES = 100
NOISE = 0.1
LEARNING_RATE = 0.05
KINDS = {"batch": (SAMPLES, "#0072B2", "-"), "mini-batch": (20, "#009E73", "--"), "stochastic": (1, "#D55E00", ":")}


def samples(rng: random.Random) -> list[tuple[list[float], float]]:
    """A sine, with noise."""
    xs = [rng.uniform(-1, 1) for _ in range(SAMPLES)]
    return [([x], math.sin(math.pi * x) + rng.gauss(0, NOISE)) for x in xs]


def loss_of_all(model: nn.MLP, data: list[tuple[list[float], float]]) -> float:
    return sum((model(x).data - y) ** 2 for x, y in data) / len(data)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=50, help="how often to go through the data (default 50)")
    parser.add_argument("--seed", type=int, default=0, help="for the data, the initial weights and the order")
    options = parser.parse_args()

    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    data = samples(random.Random(options.seed))
    figure, (by_epoch, by_time) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained", sharey=True)
    print(f"{'descent':10}  batch size  updates  seconds  loss at first  at the end")
    for kind, (batch_size, color, line) in KINDS.items():
        rng = random.Random(options.seed)  # the same seed for each, so that all start from the same weights
        model = nn.MLP(1, [8, 1], activation="tanh", rng=rng)
        losses, seconds, spent, updates = [loss_of_all(model, data)], [0.0], 0.0, 0
        optimizer = optim.SGD(model.parameters(), lr=LEARNING_RATE)
        batches = DataLoader(data, batch_size, shuffle=True, rng=rng)
        for _ in range(options.epochs):
            began = time.process_time()
            for xs, ys in batches:
                optimizer.zero_grad()
                mean((model(x) - y) ** 2 for x, y in zip(xs, ys, strict=True)).backward()
                optimizer.step()
                updates += 1
            spent += time.process_time() - began  # excludes the time to compute the curve
            seconds.append(spent)
            losses.append(loss_of_all(model, data))
        expected = options.epochs * math.ceil(SAMPLES / batch_size)
        if updates != expected:
            raise SystemExit(f"{kind} descent made {updates} updates, not {expected}")
        print(f"{kind:10}  {batch_size:10}  {updates:7}  {spent:7.2f}  {losses[0]:13.4f}  {losses[-1]:10.4f}")
        for axes, xs in ((by_epoch, range(options.epochs + 1)), (by_time, seconds)):
            axes.semilogy(xs, losses, line, color=color, lw=2, label=f"{kind}: {updates} updates")
    by_epoch.set(xlabel="epoch", ylabel="mean squared error over all samples", title="by epochs")
    by_time.set(xlabel="seconds of computing", title="by time")
    for axes in (by_epoch, by_time):
        axes.axhline(NOISE**2, color="0.6", lw=1)
        axes.grid(color="0.92")
    by_epoch.set_ylim(bottom=NOISE**2 / 1.5)
    by_epoch.text(0, NOISE**2 * 1.06, "the noise's variance", color="0.4")
    by_epoch.legend()
    figure.suptitle(f"{SAMPLES} samples, {options.epochs} epochs, learning rate {LEARNING_RATE}")
    OUT.mkdir(parents=True, exist_ok=True)
    figure.savefig(OUT / "descent.png", dpi=120)
    print(f"picture: {OUT}/descent.png")


if __name__ == "__main__":
    main()
