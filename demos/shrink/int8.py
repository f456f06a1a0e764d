"""Quantisation: weights of 8, 4 or 2 bits, and a network that is trained to bear it.

    python demos/shrink/int8.py

A network 64 → 32 → 10 that reads digits has its weights rounded to whole multiples of a scale, which a device keeps
in 8, 4 or 2 bits: from −127, −7 or −1 to as much. The gradient of rounding is 0. So training goes on with the
straight-through gradient: forwards the rounded weights are used, backwards they are taken for the weights themselves.
After Bengio, Léonard and Courville, "Estimating or propagating gradients through stochastic neurons", 2013, and Jacob
et al., "Quantization and training of neural networks for efficient inference", 2017. It draws out/shrink/int8.png.

Claim: 8 bits cost 1 point at most; with 2 bits, training is ahead of mere rounding by 20 points or more.
"""

import argparse
import copy
import random
from pathlib import Path

from micrograd import Value, compile, fit, nn, optim
from micrograd.data import split
from micrograd.functional import cross_entropy, dot, floor, maximum, minimum, stop_gradient

HIDDEN = 32
EPOCHS = 20
BITS = [8, 4, 2]
PICTURE = Path("out/shrink/int8.png")
Samples = list[tuple[list[float], int]]


class Quantised(nn.Module):
    """The network with weights of so many bits. The weights that it trains are those of the network, not rounded."""

    def __init__(self, model: nn.MLP, bits: int) -> None:
        self.model, self.largest = model, 2 ** (bits - 1) - 1
        self.scales = [max(abs(w.data) for n in layer.neurons for w in n.w) / self.largest for layer in model.layers]

    def round(self, w: Value, scale: float) -> Value:
        rounded = scale * maximum(minimum(floor(w / scale + 0.5), self.largest), -self.largest)
        return w + stop_gradient(rounded - w)  # forwards the rounded weight, backwards w

    def forward(self, x: list) -> list[Value]:
        for layer, scale in zip(self.model.layers, self.scales, strict=True):
            if layer is not self.model.layers[0]:
                x = [y.relu() for y in x]
            x = [dot([self.round(w, scale) for w in n.w], x) + n.b for n in layer.neurons]
        return x


def train(model: nn.Module, samples: Samples, epochs: int, rng: random.Random) -> None:
    optimizer = optim.Adam(model.parameters(), lr=0.005)
    settings = {"epochs": epochs, "batch_size": 20, "schedule": optim.CosineAnnealingLR(optimizer, epochs), "rng": rng}
    fit(lambda x, digit: cross_entropy(model(x), digit), samples, optimizer, **settings)


def accuracy(model: nn.Module, samples: Samples) -> float:
    read = compile(model).values([pixels for pixels, _ in samples]).argmax(axis=1)
    return sum(a == b for a, (_, b) in zip(read, samples, strict=True)) / len(samples)


def draw(weights: dict[int, list[float]], whole: float, found: dict[int, tuple[float, float]]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.4), layout="constrained")
    *left, right = figure.subplots(1, len(BITS) + 1, width_ratios=[2] * len(BITS) + [3])
    for axes, bits in zip(left, BITS, strict=True):
        axes.hist(weights[bits], bins=101, range=(-1, 1), color="tab:blue")
        axes.set(title=f"{bits} bits", xlabel="weight / largest", yticks=[])
    for k, (how, color) in enumerate([("only rounded", "0.6"), ("trained", "tab:blue")]):
        right.plot(list(map(str, BITS)), [found[bits][k] for bits in BITS], "o-", color=color, label=how)
    right.axhline(whole, color="tab:green", linestyle="--", label="64 bits")
    right.set(title="accuracy on digits never seen", xlabel="bits", ylim=(0, 1.05))
    right.legend(loc="lower left")
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PICTURE, dpi=120)
    print(f"picture: {PICTURE}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="for the split, the initial weights and the order")
    parser.add_argument("--quick", action="store_true", help="train for an epoch each, and do not check the claim")
    options = parser.parse_args()
    from sklearn.datasets import load_digits

    images, digits = load_digits(return_X_y=True)
    samples = [((image / 8 - 1).tolist(), int(digit)) for image, digit in zip(images, digits, strict=True)]
    rng, epochs = random.Random(options.seed), 1 if options.quick else EPOCHS
    training, test = split(samples, 0.8, rng)
    model = nn.MLP(64, [HIDDEN, 10], activation="relu", rng=rng)
    train(model, training, epochs, rng)
    whole, found, weights = accuracy(model, test), {}, {}
    for bits in BITS:
        quantised = Quantised(copy.deepcopy(model), bits)
        rounded = accuracy(quantised, test)
        train(quantised, training, epochs, rng)
        found[bits] = rounded, accuracy(quantised, test)
        scale, (layer, _) = quantised.scales[0], quantised.model.layers
        weights[bits] = [quantised.round(w, scale).data / scale / quantised.largest for n in layer.neurons for w in n.w]
        print(f"{bits} bits: accuracy {rounded:.3f} rounded, {found[bits][1]:.3f} trained; 64 bits {whole:.3f}")
    draw(weights, whole, found)
    if not options.quick and (whole - found[8][1] > 0.01 or found[2][1] - found[2][0] < 0.2):
        raise SystemExit("the claim does not hold: 8 bits cost too much, or training with 2 bits gains too little")


if __name__ == "__main__":
    main()
