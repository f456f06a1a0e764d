"""Trains a GPT of Values on the names of Python's modules, character by character, and invents new names.

    python demos/read/gpt.py                 the public modules of the standard library
    python demos/read/gpt.py --file FILE     the lines of a text file
    python demos/read/gpt.py --eager         the same training, not compiled

The model is a small GPT-2, after Karpathy's microgpt: one layer, with RMSNorm and ReLU, without biases. The demo prints
the loss and the invented names, and draws the history of the training to out/read/gpt/loss.png.
"""

import argparse
import random
import sys
import time
from pathlib import Path

from micrograd import Value, fit, nn, optim
from micrograd.functional import dot, logsumexp, mean, one_hot, softmax, weighted_sums

OUT = Path("out/read/gpt")
MODULES = [name for name in sys.stdlib_module_names if name.islower() and not name.startswith("_")]
WIDTH, HEADS, LONGEST = 16, 4, 15  # longer names are left out
LEARNING_RATE = 0.007  # in the first epoch; it falls along a cosine to 0 after the last
EPOCHS = 4  # or the largest number below that divides the number of steps
TEMPERATURE = 0.6  # a temperature below 1 prefers likely tokens
INVENTIONS = 20


def rms_norm(x: list[Value]) -> list[Value]:
    scale = (dot(x, x) / len(x) + 1e-5) ** -0.5
    return [xi * scale for xi in x]


def add(x: list[Value], y: list[Value]) -> list[Value]:
    return [xi + yi for xi, yi in zip(x, y, strict=True)]


class GPT(nn.Module):
    def __init__(self, tokens: int, rng: random.Random) -> None:
        def linear(nin: int, nout: int) -> nn.Linear:
            return nn.Linear(nin, nout, bias=False, init="xavier", rng=rng)

        self.token = linear(tokens, WIDTH)
        self.position = [[Value(rng.gauss(0, 0.1)) for _ in range(WIDTH)] for _ in range(LONGEST + 1)]
        self.query, self.key, self.value, self.mix = (linear(WIDTH, WIDTH) for _ in range(4))
        self.mlp = nn.MLP(WIDTH, [4 * WIDTH, WIDTH], activation="relu", bias=False, rng=rng)
        self.head = linear(WIDTH, tokens)

    def forward(self, token: list[float], keys: list[list[Value]], values: list[list[Value]]) -> list[Value]:
        """Returns the logits of the next token, one per token.

        Keys and values are those of the earlier tokens; this token's own are appended. So no token sees a later one,
        and to invent a name token by token computes each key and value once.
        """
        x = rms_norm(add(self.token(token), self.position[len(keys)]))
        x = add(x, self.attention(rms_norm(x), keys, values))
        x = add(x, self.mlp(rms_norm(x)))
        return self.head(x)

    def attention(self, x: list[Value], keys: list[list[Value]], values: list[list[Value]]) -> list[Value]:
        keys.append(self.key(x))
        values.append(self.value(x))
        query, size, out = self.query(x), WIDTH // HEADS, []
        for part in (slice(i, i + size) for i in range(0, WIDTH, size)):
            of_seen = weighted_sums(softmax([dot(query[part], key[part]) / size**0.5 for key in keys]))
            out += [of_seen(column) for column in zip(*(value[part] for value in values), strict=True)]
        return self.mix(out)


def loss(model: GPT, name: list[list[float]]) -> Value:
    """Returns the mean of −log p(next token) over the tokens of a name.

    Tokens are one-hot vectors, which are multiplied by the embedding. A compiled function would make the same of
    indexes, but look for what they choose first. All names of the same length share one compiled program.
    """
    keys, values = [], []
    logits = [model(token, keys, values) for token in name[:-1]]
    return mean(logsumexp(x) - dot(x, following) for x, following in zip(logits, name[1:], strict=True))


def invent(model: GPT, tokens: list[str], rng: random.Random) -> str:
    name, token, keys, values = "", 0, [], []
    while len(name) < LONGEST:
        logits = model(one_hot(token, len(tokens)), keys, values)
        probabilities = [p.data for p in softmax([x / TEMPERATURE for x in logits])]
        (token,) = rng.choices(range(len(tokens)), probabilities)
        if token == 0:
            break
        name += tokens[token]
    return name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1000, help="how many steps to train, a name each (default 1000)")
    parser.add_argument("--seed", type=int, default=0, help="for the initial weights, the order and the inventions")
    parser.add_argument("--file", type=Path, help="a text file with a name in each line")
    parser.add_argument("--quick", action="store_true", help="do 20 steps only")
    parser.add_argument("--eager", action="store_true", help="do not compile")
    options = parser.parse_args()
    options.steps = 20 if options.quick else options.steps

    if options.steps < 1:
        parser.error("--steps takes a number above 0")
    try:
        lines = options.file.read_text(encoding="utf-8").splitlines() if options.file else MODULES
    except (OSError, ValueError) as error:
        raise SystemExit(f"gpt: {error}") from error
    names = sorted({line.strip() for line in lines if 0 < len(line.strip()) <= LONGEST})
    if not names:
        raise SystemExit(f"gpt: there is no line of 1 to {LONGEST} characters in {options.file}")

    rng = random.Random(options.seed)
    rng.shuffle(names)
    epochs = max(n for n in range(1, EPOCHS + 1) if options.steps % n == 0)
    training = [names[i % len(names)] for i in range(options.steps // epochs)]
    tokens = ["", *sorted(set("".join(names)))]  # the first token marks the start and the end of a name
    data = [one_hot([0, *map(tokens.index, name), 0], len(tokens)) for name in training]
    model = GPT(len(tokens), rng)
    optimizer = optim.Adam(model.parameters(), LEARNING_RATE)
    print(f"{len(set(training))} names in {len(tokens) - 1} characters, {len(model.parameters())} parameters")

    began = time.perf_counter()
    history = fit(
        lambda name: loss(model, name),
        data,
        optimizer,
        epochs=epochs,
        batch_size=1,
        schedule=optim.CosineAnnealingLR(optimizer, epochs),
        rng=rng,
        compile=False if options.eager else "auto",
    )
    print(f"{history.steps} steps in {time.perf_counter() - began:.1f} s")
    n = min(100, (history.steps + 1) // 2)
    first, last = (sum(losses) / n for losses in (history.loss[:n], history.loss[-n:]))
    print(f"mean loss of the first {n} steps: {first:.3f}; of the last: {last:.3f}")

    inventions = {invent(model, tokens, rng) for _ in range(INVENTIONS)} - {""}
    print("new:", ", ".join(sorted(inventions.difference(training))) or "none")
    print("in the training data:", ", ".join(sorted(inventions.intersection(training))) or "none")
    OUT.mkdir(parents=True, exist_ok=True)
    try:
        history.plot(OUT / "loss.png")
        print(f"picture: {OUT}/loss.png")
    except ImportError as error:
        print(f"no picture: {error}")


if __name__ == "__main__":
    main()
