"""Distillation: a small network learns more from a teacher's probabilities than from the labels.

    python demos/learn/distil.py

The teacher (64 → 64 → 10) has seen 1,437 digits of scikit-learn. The student (64 → 12 → 10) sees 60 of them: once
with their labels, and once with the teacher's probabilities, softened by a temperature. These tell it what a 4 and
a 9 have in common, which no label says. After Hinton, Vinyals and Dean, "Distilling the knowledge in a neural
network", 2015. The demo draws out/learn/distil.png.

Claim: the distilled student knows more of the 360 digits that nobody has seen, on average over four initial networks.
"""

import argparse
import random
from pathlib import Path

from micrograd import Value, fit, nn, optim
from micrograd.data import split
from micrograd.functional import cross_entropy, kl_div, log_softmax, mean, softmax

HIDDEN_OF_TEACHER, HIDDEN_OF_STUDENT = 64, 12
SEEN = 60  # digits that the student learns from
TEMPERATURE = 4.0
EPOCHS_OF_TEACHER, EPOCHS_OF_STUDENT = 12, 80
PICTURE = Path("out/learn/distil.png")


def soften(logits: list[Value]) -> list[Value]:
    return [logit / TEMPERATURE for logit in logits]


def soft_cross_entropy(logits: list[Value], probabilities: list[float]) -> Value:
    """Its gradient is about as large as that of a loss without a temperature: hence the square."""
    return TEMPERATURE**2 * kl_div(log_softmax(soften(logits)), probabilities, "sum")


def train(model: nn.MLP, loss, samples: list, epochs: int, rng: random.Random) -> None:
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    settings = {"epochs": epochs, "batch_size": 20, "schedule": optim.CosineAnnealingLR(optimizer, epochs), "rng": rng}
    fit(lambda x, target: loss(model(x), target), samples, optimizer, **settings)


def accuracy(model: nn.MLP, samples: list[tuple[list[float], int]]) -> float:
    scores = [[logit.data for logit in model(pixels)] for pixels, _ in samples]
    return sum(row[digit] == max(row) for row, (_, digit) in zip(scores, samples, strict=True)) / len(samples)


def draw(alone: list[float], distilled: list[float], teacher: float, example: tuple[list[float], list[float]]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.6), layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=[1, 2, 2])
    pixels, probabilities = example
    left.imshow([pixels[i : i + 8] for i in range(0, 64, 8)], cmap="gray_r")
    left.set(title="a digit …", xticks=[], yticks=[])
    middle.bar(range(10), probabilities, color="tab:orange")
    middle.set(title=f"… as the teacher sees it, temperature {TEMPERATURE:g}", xticks=range(10), ylabel="probability")
    for x, (how, found, color) in enumerate([("labels", alone, "tab:gray"), ("teacher", distilled, "tab:orange")]):
        right.scatter([x] * len(found), found, color=color, zorder=2)
        right.plot([x - 0.2, x + 0.2], [sum(found) / len(found)] * 2, color=color, label=f"student, from the {how}")
    right.axhline(teacher, color="tab:green", linestyle="--", label="teacher")
    right.set(title="digits never seen", xlim=(-0.6, 1.6), xticks=[], ylabel="accuracy")
    right.legend(loc="lower right")
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PICTURE, dpi=120)
    print(f"picture: {PICTURE}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="for the split, the initial weights and the order")
    parser.add_argument("--quick", action="store_true", help="train shorter, and do not check the claim")
    options = parser.parse_args()
    from sklearn.datasets import load_digits

    shorter = 10 if options.quick else 1
    images, digits = load_digits(return_X_y=True)
    samples = [((image / 8 - 1).tolist(), int(digit)) for image, digit in zip(images, digits, strict=True)]
    rng = random.Random(options.seed)
    training, test = split(samples, 0.8, rng)
    teacher = nn.MLP(64, [HIDDEN_OF_TEACHER, 10], activation="relu", rng=rng)
    train(teacher, cross_entropy, training, EPOCHS_OF_TEACHER // shorter, rng)

    seen = training[:SEEN]
    taught = [(x, [p.data for p in softmax(soften(teacher(x)))]) for x, _ in seen]
    alone, distilled = [], []
    for seed in range(4):
        for found, data, loss in ((alone, seen, cross_entropy), (distilled, taught, soft_cross_entropy)):
            model = nn.MLP(64, [HIDDEN_OF_STUDENT, 10], activation="relu", rng=random.Random(f"{options.seed} {seed}"))
            train(model, loss, data, EPOCHS_OF_STUDENT // shorter, rng)
            found.append(accuracy(model, test))
    means = [mean(found).data for found in (alone, distilled)]
    print(f"teacher {accuracy(teacher, test):.3f}; students: from labels {means[0]:.3f}, from it {means[1]:.3f}")
    draw(alone, distilled, accuracy(teacher, test), (taught[0][0], taught[0][1]))
    if not options.quick and means[1] <= means[0]:
        raise SystemExit("the claim does not hold: the distilled students are not ahead")


if __name__ == "__main__":
    main()
