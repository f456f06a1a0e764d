"""Shows vanishing gradients in 20 layers: sigmoid with small weights, ReLU with He's, and both with normalisation.

    python demos/vanishing.py

The demo trains each network on two moons with some steps of Adam. It prints the size of the gradients per layer in the
first step, and the loss before and after. For one network it prints the whole report of the gradient flow. It draws a
picture to out/vanishing/vanishing.png.
"""

import argparse
import random
from pathlib import Path

from micrograd import Value, nn, optim
from micrograd.functional import binary_cross_entropy_with_logits
from micrograd.training import fit

OUT = Path("out/vanishing")
WIDTH = 16
POINTS = 24
LEARNING_RATE = 0.003
ACTIVATIONS = {"sigmoid, small weights": (nn.Sigmoid, "xavier", "#D55E00"), "ReLU, He": (nn.ReLU, "he", "#0072B2")}
NORMALISATIONS = {"plain": (None, "o-"), "LayerNorm": (nn.LayerNorm, "s--"), "BatchNorm": (nn.BatchNorm, "^:")}


def network(depth: int, activation, init: str, normalisation, rng: random.Random) -> nn.Sequential:
    modules: list[nn.Module] = []
    for i in range(depth - 1):
        modules.append(nn.Linear(WIDTH if i else 2, WIDTH, init=init, rng=rng))
        if normalisation:
            modules.append(normalisation(WIDTH))
        modules.append(activation())
    return nn.Sequential(*modules, nn.Linear(WIDTH, 1, init=init, rng=rng))


def train(model: nn.Sequential, data: list, lr: float, steps: int):
    def loss(points: list[list[float]], labels: list[int]) -> Value:
        return binary_cross_entropy_with_logits([logit for (logit,) in model(points)], labels)

    return fit(loss, data, optim.Adam(model.parameters(), lr=lr), epochs=steps, model=model, progress=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=15, help="how many steps to train each network (default 15)")
    parser.add_argument("--depth", type=int, default=20, help="how many layers each has (default 20)")
    parser.add_argument("--seed", type=int, default=0, help="for the points and the initial weights")
    options = parser.parse_args()

    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from sklearn.datasets import make_moons

    points, labels = make_moons(POINTS, noise=0.1, random_state=options.seed)
    data = [(points.tolist(), labels.tolist())]  # one sample of fit() is the whole batch, because BatchNorm needs it
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    report = None
    print(f"{'':34}  gradient in layer        loss at step")
    print(f"{'':34}  {'1':>9} {options.depth:>9}    {'1':>7} {options.steps + 1:>7}")
    for how, (activation, init, color) in ACTIVATIONS.items():
        for norm, (normalisation, line) in NORMALISATIONS.items():
            model = network(options.depth, activation, init, normalisation, random.Random(options.seed))
            # With a learning rate of 0, the report covers the initial network.
            flow = train(model, data, lr=0.0, steps=1).gradient_flow()
            report = report or flow
            sizes = [layer.gradient for layer in flow.layers if layer.neurons]
            losses = [*train(model, data, LEARNING_RATE, options.steps).loss, train(model, data, 0.0, 1).loss[0]]
            print(f"{how + ', ' + norm:34}  {sizes[0]:9.1e} {sizes[-1]:9.1e}    {losses[0]:7.3f} {losses[-1]:7.3f}")
            label = f"{how}, {norm}: loss {losses[0]:.2f} → {losses[-1]:.2f}"
            axes.semilogy(range(1, options.depth + 1), sizes, line, color=color, ms=4, label=label)
    print(f"\nThe report on the first of them:\n{report}")
    axes.set(xlabel="layer, from the input to the output", ylabel="root mean square of the layer's gradients")
    axes.set(title=f"Gradients at the first step, and the loss before and after {options.steps} steps")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(color="0.92")
    axes.legend(loc="lower right", fontsize=9)
    OUT.mkdir(parents=True, exist_ok=True)
    figure.savefig(OUT / "vanishing.png", dpi=120)
    print(f"picture: {OUT}/vanishing.png")


if __name__ == "__main__":
    main()
