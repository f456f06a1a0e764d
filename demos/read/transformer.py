"""A Transformer sorts digits, and its attention shows how.

    python demos/read/transformer.py

The network reads eight digits and writes them in order, all at once: an embedding of each digit plus one of its place,
attention and a network of two layers, each added and normalised, and a layer to ten logits for each place. The block is
the articles' (demos/articles/transformer_block.py). After Vaswani et al., "Attention is all you need", 2017. The demo
draws out/read/transformer.png: at which digits each place looks, and the loss.

Claim: 98 % or more of the digits that it writes are right, for 500 sequences that it never saw.
"""

import argparse
import random
from pathlib import Path

import numpy as np

from micrograd import Value, compile, fit, nn, optim
from micrograd.functional import add, cross_entropy

LENGTH, DIM, HEADS, UNITS = 8, 16, 2, 32
SAMPLES, EPOCHS = 3000, 12
PICTURE = Path("out/read/transformer.png")


class Sorter(nn.Module):
    def __init__(self, rng: random.Random) -> None:
        self.digits, self.places = nn.Embedding(10, DIM, rng=rng), nn.Embedding(LENGTH, DIM, rng=rng)
        self.attention = nn.MultiheadAttention(DIM, HEADS, rng=rng)
        self.network = nn.Sequential(nn.Linear(DIM, UNITS, rng=rng), nn.ReLU(), nn.Linear(UNITS, DIM, rng=rng))
        self.norm1, self.norm2 = nn.LayerNorm(DIM), nn.LayerNorm(DIM)
        self.out = nn.Linear(DIM, 10, rng=rng)

    def look(self, sequence: list[int]) -> tuple[list, list]:
        """Returns what attention adds to each place, and the weights: one table for each head."""
        x = add(self.digits(sequence), self.places.weight)
        seen, weights = self.attention(x, x, x, average_attn_weights=False)
        return self.norm1(add(x, seen)), weights

    def forward(self, sequence: list[int]) -> list[list[Value]]:
        x, _ = self.look(sequence)
        return self.out(self.norm2(add(x, self.network(x))))


def draw_samples(count: int, rng: random.Random) -> list[tuple[list[int], list[int]]]:
    sequences = [[rng.randrange(10) for _ in range(LENGTH)] for _ in range(count)]
    return [(sequence, sorted(sequence)) for sequence in sequences]


def draw(model: Sorter, sequence: list[int], losses: list[float]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.8), layout="constrained")
    *tables, right = figure.subplots(1, HEADS + 1)
    for head, (axes, table) in enumerate(zip(tables, model.look(sequence)[1], strict=True), 1):
        axes.imshow([[weight.data for weight in row] for row in table], cmap="Blues", vmin=0)
        axes.set(title=f"attention, head {head}", xticks=range(LENGTH), xticklabels=sequence, xlabel="looks at")
        axes.set(yticks=range(LENGTH), yticklabels=sorted(sequence), ylabel="place that writes")
    right.semilogy(range(1, len(losses) + 1), losses)
    right.set(title="loss", xlabel="step", ylabel="cross-entropy")
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PICTURE, dpi=120)
    print(f"picture: {PICTURE}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="for the sequences, the initial weights and the order")
    parser.add_argument("--quick", action="store_true", help="train for an epoch, and do not check the claim")
    options = parser.parse_args()

    rng, epochs = random.Random(options.seed), 1 if options.quick else EPOCHS
    training, test = draw_samples(SAMPLES, rng), draw_samples(500, rng)
    model = Sorter(rng)
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    settings = {"epochs": epochs, "batch_size": 32, "schedule": optim.CosineAnnealingLR(optimizer, epochs), "rng": rng}
    losses = fit(lambda x, y: cross_entropy(model(x), y), training, optimizer, **settings).loss
    written = compile(model).values([sequence for sequence, _ in test]).argmax(axis=2)
    right = np.mean(written == [ordered for _, ordered in test])
    print(f"{len(model.parameters()):,} parameters; digits in their right place: {right:.1%}")
    draw(model, test[0][0], losses)
    if not options.quick and right < 0.98:
        raise SystemExit("the claim does not hold: less than 98 % are right")


if __name__ == "__main__":
    main()
