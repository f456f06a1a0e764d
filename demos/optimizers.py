"""Compares all optimizers on two test functions of two Values, Rosenbrock's and Beale's.

    python demos/optimizers.py

Settings are the defaults, except momentum, which is 0.9, and the learning rate. Lookahead wraps SGD with momentum. For
each function and optimizer, the demo tries a list of learning rates, and takes the one that ends nearest to the minimum
without leaving the picture. It prints the final distances, and draws the paths to out/optimizers/optimizers.png.
"""

import argparse
import math
from pathlib import Path

from micrograd import Value, optim

OUT, GRID = Path("out/optimizers"), 120
LEARNING_RATES = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0]
FAMILIES = {
    "gradient descent": {
        "SGD": optim.SGD,
        "momentum": lambda p, lr: optim.SGD(p, lr, momentum=0.9),
        "Nesterov": lambda p, lr: optim.SGD(p, lr, momentum=0.9, nesterov=True),
        "Lookahead": lambda p, lr: optim.Lookahead(optim.SGD(p, lr, momentum=0.9)),
    },
    "adaptive": {kind.__name__: kind for kind in (optim.Adagrad, optim.RMSprop, optim.Adadelta)},
    "Adam and its like": {kind.__name__: kind for kind in (optim.Adam, optim.AdamW, optim.NAdam, optim.AdaBelief)},
}
COLORS = [  # from Paul Tol's schemes, which differ for every kind of colour vision
    ["#332288", "#EE7733", "#117733", "#CC3311"],
    ["#0077BB", "#882255", "#999933"],
    ["#000000", "#EE3377", "#009988", "#33BBEE"],
]


def rosenbrock(x, y):
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


def beale(x, y):
    return (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2


# Each function with its start, its minimum, and the ranges of x and y in the picture.
VALLEYS = [
    (rosenbrock, (-1.5, 2.0), (1.0, 1.0), ((-2.0, 2.0), (-1.0, 3.2))),
    (beale, (1.0, 1.5), (3.0, 0.5), ((-0.5, 4.0), (-1.5, 2.0))),
]


def descend(function, start, window, optimizer: optim.Optimizer, steps: int) -> list[tuple[float, float]]:
    """Returns the path. If the path leaves the window, its last point is at infinity."""
    path = [start]
    for _ in range(steps):
        optimizer.zero_grad()
        function(*optimizer.parameters).backward()
        optimizer.step()
        path.append(tuple(parameter.data for parameter in optimizer.parameters))
        if not all(low <= x <= high for x, (low, high) in zip(path[-1], window, strict=True)):
            return [*path, (math.inf, math.inf)]
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=500, help="how many steps each may do (default 500)")
    options = parser.parse_args()

    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, grid = plt.subplots(2, 3, figsize=(11, 8.4), layout="constrained", sharex="row", sharey="row")
    for (function, start, minimum, window), row in zip(VALLEYS, grid, strict=True):
        xs, ys = ([low + (high - low) * i / GRID for i in range(GRID + 1)] for low, high in window)
        heights = [[math.log10(function(x, y) + 1e-3) for x in xs] for y in ys]
        print(f"{function.__name__} from {start}, {options.steps} steps:")
        for (family, optimizers), colors, axes in zip(FAMILIES.items(), COLORS, row, strict=True):
            axes.contourf(xs, ys, heights, 10, cmap="Greys", vmax=12, antialiased=False)
            for (name, make), color in zip(optimizers.items(), colors, strict=True):
                racers = [(make([Value(x) for x in start], lr), lr) for lr in LEARNING_RATES]
                runs = [(descend(function, start, window, racer, options.steps), lr) for racer, lr in racers]
                path, lr = min(runs, key=lambda run: math.dist(run[0][-1], minimum))
                far = math.dist(path[-1], minimum)
                print(f"  {name:9}  lr {lr:<5g}  {far:.1e} from the minimum")
                axes.plot(*zip(*path, strict=True), color=color, lw=1.3, label=f"{name} (lr {lr:g}): {far:.1e}")
                axes.plot(*path[-1], "o", color=color, ms=4)
            axes.plot(*start, "o", color="black", mfc="white", zorder=3)
            axes.plot(*minimum, "*", color="black", mfc="gold", ms=14, zorder=3)
            axes.set(title=f"{function.__name__.title()}: {family}", xlim=window[0], ylim=window[1])
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.07), frameon=False, fontsize=9)
    figure.suptitle(f"{options.steps} steps from the circle to the star; the distance left at the end")
    OUT.mkdir(parents=True, exist_ok=True)
    figure.savefig(OUT / "optimizers.png", dpi=80)
    print(f"picture: {OUT}/optimizers.png")


if __name__ == "__main__":
    main()
