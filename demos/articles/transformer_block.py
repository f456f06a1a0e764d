"""A block of a Transformer, as an article lists it for PyTorch, on Values.

    python demos/articles/transformer_block.py                the block of 16 dimensions, 4 heads and 32 units
    python demos/articles/transformer_block.py --as-listed    512 dimensions, 8 heads, 2,048 units: 3 million Values

The class TransformerBlock is the article's, line by line; only x + attn_output is add(x, attn_output), because x is a
list of vectors, not a tensor. After Vaswani et al., "Attention is all you need", 2017. The demo draws
out/articles/transformer_block.png: which position looks at which, and the gradient of one output by each input.

Claim: each position looks at all others, so that each input has a gradient; and with dropout off the block gives
vectors of mean 0 and variance 1, as its last layer makes them.
"""

import argparse
import random
from pathlib import Path

from micrograd import Value, functional, nn
from micrograd.functional import add

POSITIONS = 8
PICTURE = Path("out/articles/transformer_block.png")


class TransformerBlock(nn.Module):
    def __init__(self, dim, num_heads, ff_dim, dropout=0.1):
        super().__init__()
        self.att = nn.MultiheadAttention(dim, num_heads)
        self.ffn = nn.Sequential(nn.Linear(dim, ff_dim), nn.ReLU(), nn.Linear(ff_dim, dim))
        self.layernorm1 = nn.LayerNorm(dim)
        self.layernorm2 = nn.LayerNorm(dim)
        self.dropout1 = nn.Dropout(dropout)
        self.dropout2 = nn.Dropout(dropout)

    def forward(self, x):
        attn_output, _ = self.att(x, x, x)
        attn_output = self.dropout1(attn_output)
        out1 = self.layernorm1(add(x, attn_output))
        ffn_output = self.ffn(out1)
        ffn_output = self.dropout2(ffn_output)
        out2 = self.layernorm2(add(out1, ffn_output))
        return out2


def draw(weights: list[list[Value]], x: list[list[Value]]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.4])
    shown = left.imshow([[w.data for w in row] for row in weights], cmap="Blues", vmin=0)
    left.set(title="attention, mean of the heads", xlabel="looked at", ylabel="position")
    figure.colorbar(shown, ax=left)
    gradients = [[value.grad for value in row[:16]] for row in x]
    size = max(abs(g) for row in gradients[1:] for g in row)
    shown = right.imshow(gradients, cmap="RdBu_r", vmin=-size, vmax=size, aspect="auto")
    right.set(title="d(first output of position 0) / d(input)", xlabel="dimension", ylabel="position")
    figure.colorbar(shown, ax=right)
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PICTURE, dpi=120)
    print(f"picture: {PICTURE}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="for the weights and the input")
    parser.add_argument("--quick", action="store_true", help="the same; it takes no time")
    parser.add_argument("--as-listed", action="store_true", help="the sizes of the article")
    options = parser.parse_args()

    random.seed(options.seed)
    sizes = (
        {"dim": 512, "num_heads": 8, "ff_dim": 2048} if options.as_listed else {"dim": 16, "num_heads": 4, "ff_dim": 32}
    )
    transformer_block = TransformerBlock(**sizes)
    x = [[Value(random.gauss(0, 1)) for _ in range(sizes["dim"])] for _ in range(POSITIONS)]
    output = transformer_block(x)
    print(f"{len(transformer_block.parameters()):,} parameters; an output of {len(output)}×{len(output[0])} Values")
    transformer_block.eval()
    output = transformer_block(x)
    output[0][0].backward()
    _, weights = transformer_block.att(x, x, x)
    draw(weights, x)
    reached = all(any(value.grad for value in row) for row in x)
    means = [functional.mean(row).data for row in output]
    variances = [functional.mean([y * y for y in row]).data - m * m for row, m in zip(output, means, strict=True)]
    print(f"means up to {max(map(abs, means)):.1e}, variances {min(variances):.4f} to {max(variances):.4f}")
    if not (reached and max(map(abs, means)) < 1e-9 and all(abs(v - 1) < 1e-3 for v in variances)):
        raise SystemExit("the claim does not hold")


if __name__ == "__main__":
    main()
