"""Separates two moons with a network 2 → 16 → 16 → 1, ReLU, the max-margin loss of a support-vector machine, and L2.

    python demos/moons.py

The demo draws the decision boundary to out/moons/boundary.png.
"""

import argparse
import math
import random
from pathlib import Path

from micrograd import Value, functional, nn, optim
from micrograd.functional import mean, relu

OUT = Path("out/moons")
POINTS = 100
NOISE = 0.1
PENALTY = 1e-4
GRID = 60


def two_moons(n: int, noise: float, rng: random.Random) -> list[tuple[list[float], int]]:
    """Draws noisy points on two interleaved half circles, with label 1 on the upper one and −1 on the lower one."""
    samples = []
    for i in range(n):
        angle = rng.uniform(0, math.pi)
        upper = i % 2 == 0
        x, y = (math.cos(angle), math.sin(angle)) if upper else (1 - math.cos(angle), 0.5 - math.sin(angle))
        samples.append(([x + rng.gauss(0, noise), y + rng.gauss(0, noise)], 1 if upper else -1))
    return samples


def loss_and_accuracy(model: nn.MLP, samples: list[tuple[list[float], int]]) -> tuple[Value, float]:
    scores = [(model(point), label) for point, label in samples]
    margin = mean(relu(1 - label * score) for score, label in scores)
    penalty = PENALTY * functional.sum(p * p for p in model.parameters())
    right = [(score.data > 0) == (label > 0) for score, label in scores]
    return margin + penalty, right.count(True) / len(right)


def draw(model: nn.MLP, samples: list[tuple[list[float], int]], title: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    xs = [-1.75 + 4.5 * i / GRID for i in range(GRID + 1)]
    ys = [-1.25 + 3.0 * i / GRID for i in range(GRID + 1)]
    scores = [[model([x, y]).data for x in xs] for y in ys]
    figure, axes = plt.subplots(figsize=(7, 4.7), layout="constrained")
    levels = [-4, -3, -2, -1, 0, 1, 2, 3, 4]
    filled = axes.contourf(xs, ys, scores, levels, cmap="PuOr_r", alpha=0.7, extend="both")
    axes.contour(xs, ys, scores, [-1, 0, 1], colors="0.2", linestyles=["dotted", "solid", "dotted"])
    for label, marker, color in ((1, "o", "tab:orange"), (-1, "s", "tab:purple")):
        points = [point for point, y in samples if y == label]
        axes.scatter(*zip(*points, strict=True), marker=marker, color=color, edgecolor="white", label=f"label {label}")
    axes.set(title=title, aspect="equal")
    axes.legend()
    figure.colorbar(filled, label="score; the boundary is 0, the margins ±1")
    OUT.mkdir(parents=True, exist_ok=True)
    figure.savefig(OUT / "boundary.png", dpi=120)
    print(f"picture: {OUT}/boundary.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100, help="how many steps to train (default 100)")
    parser.add_argument("--seed", type=int, default=1337, help="for the points and the initial weights")
    options = parser.parse_args()

    rng = random.Random(options.seed)
    samples = two_moons(POINTS, NOISE, rng)
    model = nn.MLP(2, [16, 16, 1], activation="relu", rng=rng)
    optimizer = optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    for step in range(options.steps):
        loss, accuracy = loss_and_accuracy(model, samples)
        optimizer.zero_grad()
        loss.backward()
        optimizer.lr = 0.5 * (1 - step / options.steps)
        optimizer.step()
        if step % 10 == 9 or step == options.steps - 1:
            print(f"step {step + 1:3}  loss {loss.data:.4f}  accuracy {accuracy:.0%}")
    loss, accuracy = loss_and_accuracy(model, samples)
    draw(model, samples, f"two moons after {options.steps} steps: loss {loss.data:.4f}, accuracy {accuracy:.0%}")


if __name__ == "__main__":
    main()
