"""Batch, stochastic and mini-batch gradient descent, as an article lists them for PyTorch.

    python demos/articles/descents.py

The three listings differ in the loader's batch size only. Their lines are here as they stand there, from TensorDataset
to loss.item(), on Values. As the article counts: 100 samples and 50 epochs are 50 updates in whole batches, 5,000 one
by one, and 250 in batches of 20. The demo draws out/articles/descents.png.

Claim: these are the numbers of updates, and each descent at least halves the loss of its first epoch.
"""

import argparse
import random
from pathlib import Path

from micrograd import nn, optim
from micrograd.data import DataLoader, TensorDataset

EPOCHS = 50
SAMPLES = 100
DESCENTS = {"batch": SAMPLES, "stochastic": 1, "mini-batch": 20}
PICTURE = Path("out/articles/descents.png")


def descend(dataset: TensorDataset, batch_size: int, epochs: int, seed: int) -> list[float]:
    """The article's loop. Returns the loss of each update."""
    rng = random.Random(seed)
    dataloader = DataLoader(dataset, batch_size=batch_size, shuffle=True, rng=rng)
    model = nn.Linear(10, 1, rng=rng)
    criterion = nn.MSELoss()
    optimizer = optim.SGD(model.parameters(), lr=0.01)
    losses = []
    for epoch in range(epochs):
        for b_x, b_y in dataloader:
            optimizer.zero_grad()
            output = model(b_x)
            loss = criterion(output, b_y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        if epoch % 10 == 9:
            print("Epoch %d, Loss: %f" % (epoch, loss.item()))
    return losses


def draw(found: dict[str, list[float]], epochs: int) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for how, color in zip(("stochastic", "mini-batch", "batch"), ("0.75", "tab:orange", "tab:blue"), strict=True):
        losses = found[how]
        at = [epochs * (i + 1) / len(losses) for i in range(len(losses))]
        axes.semilogy(at, losses, color=color, label=f"{how}: {len(losses):,} updates")
    axes.set(
        title=f"{SAMPLES} samples, {epochs} epochs, the same learning rate",
        xlabel="epoch",
        ylabel="loss",
        ylim=(1e-3, 30),
    )
    axes.legend()
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PICTURE, dpi=120)
    print(f"picture: {PICTURE}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="for the samples, the initial weights and the order")
    parser.add_argument("--quick", action="store_true", help="train for 2 epochs, and do not check the claim")
    options = parser.parse_args()

    epochs = 2 if options.quick else EPOCHS
    rng = random.Random(options.seed)
    weights = [rng.gauss(0, 1) for _ in range(10)]
    x = [[rng.gauss(0, 1) for _ in weights] for _ in range(SAMPLES)]
    y = [[sum(w * xi for w, xi in zip(weights, row, strict=True)) + rng.gauss(0, 0.1)] for row in x]
    found = {}
    for how, batch_size in DESCENTS.items():
        found[how] = losses = descend(TensorDataset(x, y), batch_size, epochs, options.seed)
        in_epoch = len(losses) // epochs
        first, last = (sum(part) / in_epoch for part in (losses[:in_epoch], losses[-in_epoch:]))
        print(f"{how}: {len(losses):,} updates; mean loss of the first epoch {first:.3f}, of the last {last:.3f}")
        if not options.quick and not (len(losses) == EPOCHS * SAMPLES // batch_size and last < first / 2):
            raise SystemExit("the claim does not hold")
    draw(found, epochs)


if __name__ == "__main__":
    main()
