"""A network that solves a differential equation: it learns from its own derivatives, and sees no solution.

    python demos/learn/differential_equation.py

The equation is that of a swinging spring, u″ = −u with u(0) = 0 and u′(0) = 1. The loss is (u″ + u)² at points between
0 and 2π, where u″ is the network's second derivative by its input. So a step of training needs third derivatives. What
is trained is N in u(x) = x + x²·N(x), which has the right start whatever N is. After Lagaris, Likas and Fotiadis,
"Artificial neural networks for solving ordinary and partial differential equations", 1998. The demo draws
out/learn/differential_equation.png.

Claim: after training, u(x) is sin(x) up to 0.001, at every x.
"""

import argparse
import math
import random
from pathlib import Path

from micrograd import Value, fit, grad, nn, optim

HIDDEN = [16, 16]
POINTS = 40
STEPS = 60_000
LEARNING_RATE = 0.01  # in the first step; it falls along a cosine to 0 after the last
END = 2 * math.pi
PICTURE = Path("out/learn/differential_equation.png")


def solution(model: nn.MLP, x: Value) -> Value:
    return x + x**2 * model([2 * x / END - 1])


def loss(model: nn.MLP, at: float) -> Value:
    x = at + Value(0.0)
    u = solution(model, x)
    (slope,) = grad(u, [x], create_graph=True)
    (curvature,) = grad(slope, [x], create_graph=True)
    return (curvature + u) ** 2


def draw(curves: dict[int, list[float]], at: list[float], losses: list[float]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(at, [math.sin(x) for x in at], color="0.8", linewidth=7, label="sin x")
    for step, shade in zip(curves, (0.25, 0.5, 0.75, 1.0), strict=True):
        left.plot(at, curves[step], color=(0.8, 0.3, 0.0, shade), label=f"u(x) after {step:,} steps")
    left.set(title="u″ = −u, u(0) = 0, u′(0) = 1", xlabel="x", ylim=(-2.2, 2.2))
    left.legend(loc="lower left", fontsize=9)
    right.loglog(range(1, len(losses) + 1), losses, color=(0.8, 0.3, 0.0))
    right.set(title="mean of (u″ + u)² over the points", xlabel="step")
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PICTURE, dpi=120)
    print(f"picture: {PICTURE}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="for the initial weights")
    parser.add_argument("--quick", action="store_true", help="do 300 steps, and do not check the claim")
    options = parser.parse_args()

    rng = random.Random(options.seed)
    model = nn.MLP(1, [*HIDDEN, 1], activation="tanh", init="xavier", rng=rng)
    steps = 300 if options.quick else STEPS
    points = [END * (i + 0.5) / POINTS for i in range(POINTS)]
    at = [END * i / 200 for i in range(201)]
    optimizer = optim.Adam(model.parameters(), LEARNING_RATE)
    schedule = optim.CosineAnnealingLR(optimizer, steps)
    curves, losses = {}, []
    for until in (0, steps // 300, steps // 60, steps):
        losses += fit(
            lambda x: loss(model, x), points, optimizer, epochs=until - len(losses), batch_size=POINTS,
            schedule=schedule, rng=rng,
        ).loss  # fmt: skip
        curves[until] = [solution(model, Value(x)).data for x in at]
    error = max(abs(u - math.sin(x)) for u, x in zip(curves[steps], at, strict=True))
    print(f"after {steps:,} steps: loss {losses[-1]:.1e}, u(x) is at most {error:.1e} from sin(x)")
    draw(curves, at, losses)
    if not options.quick and error >= 1e-3:
        raise SystemExit("the claim does not hold: u(x) is not sin(x) up to 0.001")


if __name__ == "__main__":
    main()
