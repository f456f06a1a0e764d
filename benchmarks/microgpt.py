"""A training step of microgpt, a transformer with one layer, on one word, written for each peer.

See https://karpathy.github.io/2026/02/12/microgpt/
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

from peers import (
    CASADI,
    EAGER,
    HIPS,
    JAX,
    JAX_LENGTHS,
    OURS,
    PURE,
    TORCH,
    XAD,
    Side,
    Sides,
    casadi_function,
    flat,
    xad_value_and_grad,
)

WORDS = """
ant arm bay bee bow cap cat cow cub day den dew dog ear eel egg elm eye fan fig fir fog fox gem hat hay hen hut ice
ink ivy jar jay jug key kid lap log map mud net nut oak oar owl pan paw pea atom bark barn bath bean bell bird boat
bone book cake camp cave clay coal coat coin corn crab dawn deer desk dove drum duck dust fawn fern fire fish flag
flax foal frog gate goat gold hare harp hawk herb hill jade kite lake lamb lamp lark apple badge basil beach berry
birch bison bloom brick brook camel candy cedar chalk charm cliff cloud clove coral crane crown daisy delta dough
eagle ember fable feast fjord flame flint flute frost ghost grape grass heron honey horse ivory jewel juice koala
lemon lilac maple marsh melon anchor autumn badger bamboo barley basket beaver bridge bronze butter button candle
canyon carbon carrot castle cherry cinder citrus clover cobalt copper cotton cradle desert donkey dragon engine falcon
fennel forest garden garlic ginger goblet hammer harbor island jacket jungle kettle ladder lagoon laurel lentil linden
lizard magnet feather lantern almonds antenna apricot avocado balloon bandage blanket blossom bramble cabbage cabinet
caravan caramel chamois channel chicken chimney cobbler compass coconut cottage crystal cushion cyclone dolphin
drizzle emerald evening factory firefly fortune gazelle gosling gravity harvest hammock horizon iceberg jasmine
journey kingdom lobster lullaby mariner meerkat mineral airplane antelope backpack baritone bluebell buttered calendar
cardinal chestnut cinnamon clarinet computer corridor crescent cucumber daffodil daughter daylight diamonds dinosaur
doorbell elephant envelope fountain fragrant gardener graphite hedgehog hazelnut hospital hyacinth icebound keyboard
kangaroo lavender lemonade magnolia mandolin marigold medicine mountain mushroom notebook orchards ornament paradise
particle peacocks
"""
TOKENS, WIDTH, HEADS, BLOCK = 27, 16, 4, 16
BOUNDARY = 26  # the token at both ends of a word; all others are letters
SHAPES = {
    "wte": (TOKENS, WIDTH),
    "wpe": (BLOCK, WIDTH),
    "lm_head": (TOKENS, WIDTH),
    **dict.fromkeys(["wq", "wk", "wv", "wo"], (WIDTH, WIDTH)),
    "fc1": (4 * WIDTH, WIDTH),
    "fc2": (WIDTH, 4 * WIDTH),
}
LR, BETA1, BETA2, EPS = 0.01, 0.85, 0.99, 1e-8

Matrix = list[list[Any]]


def gpt_weights() -> dict[str, Matrix]:
    rng = random.Random(42)
    return {name: [[rng.gauss(0, 0.08) for _ in range(n)] for _ in range(m)] for name, (m, n) in SHAPES.items()}


def tokens_of(word: str) -> list[int]:
    return [BOUNDARY, *(ord(letter) - ord("a") for letter in word), BOUNDARY]


def one_hots(word: str) -> list[list[float]]:
    return [[float(i == token) for i in range(TOKENS)] for token in tokens_of(word)]


def adam(p: Any, g: Any, m: Any, v: Any, step: Any) -> tuple[Any, Any, Any]:
    """Returns the parameter and its moments after a step; all may be numbers or arrays."""
    m = BETA1 * m + (1 - BETA1) * g
    v = BETA2 * v + (1 - BETA2) * g * g
    return p - LR * (m / (1 - BETA1**step)) / ((v / (1 - BETA2**step)) ** 0.5 + EPS), m, v


def gpt_ours(words: list[str], compiled: bool) -> Side:
    from micrograd import Value, fit, optim
    from micrograd.functional import dot, logsumexp, mean, relu, softmax, weighted_sums

    weights = {name: [list(map(Value, row)) for row in rows] for name, rows in gpt_weights().items()}
    parameters = [p for rows in weights.values() for row in rows for p in row]
    columns = list(zip(*weights["wte"], strict=True))  # a one-hot vector chooses one number of each
    optimizer = optim.Adam(parameters, lr=LR, betas=(BETA1, BETA2), eps=EPS)

    def linear(x, name):
        return list(map(weighted_sums(x), weights[name]))

    def norm(x):
        scale = (dot(x, x) / len(x) + 1e-5) ** -0.5
        return [xi * scale for xi in x]

    def attention(q, keys, values):
        out = []
        for head in (slice(i, i + WIDTH // HEADS) for i in range(0, WIDTH, WIDTH // HEADS)):
            fit_of = weighted_sums(q[head])
            attended = weighted_sums(softmax([fit_of(k[head]) / (WIDTH // HEADS) ** 0.5 for k in keys]))
            out += map(attended, zip(*(v[head] for v in values), strict=True))
        return out

    def loss(word):
        keys, values, losses = [], [], []
        for token, target, position in zip(word, word[1:], weights["wpe"], strict=False):
            x = norm([e + p for e, p in zip(map(weighted_sums(token), columns), position, strict=True)])
            h = norm(x)
            keys.append(linear(h, "wk"))
            values.append(linear(h, "wv"))
            h = linear(attention(linear(h, "wq"), keys, values), "wo")
            x = [a + b for a, b in zip(x, h, strict=True)]
            h = linear(list(map(relu, linear(norm(x), "fc1"))), "fc2")
            logits = linear([a + b for a, b in zip(x, h, strict=True)], "lm_head")
            losses.append(logsumexp(logits) - dot(logits, target))
        return mean(losses)

    data = list(map(one_hots, words))
    losses: list[float] = []

    def run(n: int) -> None:
        epochs = n // len(data) if n % len(data) == 0 else 1
        samples = list(itertools.islice(itertools.cycle(data), n // epochs))
        losses[:] = fit(loss, samples, optimizer, epochs=epochs, shuffle=False, progress=False, compile=compiled).loss

    return Side(run, lambda: [losses[-1], parameters], unit=len(words), begins=compiled)


class Scalar:
    """A number that remembers its children and its local gradients, as in microgpt."""

    __slots__ = ("children", "data", "grad", "local_gradients")

    def __init__(self, data: float, children: tuple = (), local_gradients: tuple = ()) -> None:
        self.data, self.grad, self.children, self.local_gradients = data, 0.0, children, local_gradients

    def __add__(self, other):
        other = other if isinstance(other, Scalar) else Scalar(other)
        return Scalar(self.data + other.data, (self, other), (1, 1))

    def __mul__(self, other):
        other = other if isinstance(other, Scalar) else Scalar(other)
        return Scalar(self.data * other.data, (self, other), (other.data, self.data))

    def __pow__(self, n: float):
        return Scalar(self.data**n, (self,), (n * self.data ** (n - 1),))

    def log(self):
        return Scalar(math.log(self.data), (self,), (1 / self.data,))

    def exp(self):
        return Scalar(math.exp(self.data), (self,), (math.exp(self.data),))

    def relu(self):
        return Scalar(max(0.0, self.data), (self,), (float(self.data > 0),))

    def __neg__(self):
        return self * -1

    def __sub__(self, other):
        return self + (-other)

    def __truediv__(self, other):
        return self * other**-1

    __radd__, __rmul__ = __add__, __mul__

    def backward(self) -> None:
        order, seen = [], set()

        def visit(v):
            if v not in seen:
                seen.add(v)
                for child in v.children:
                    visit(child)
                order.append(v)

        visit(self)
        self.grad = 1
        for v in reversed(order):
            for child, local_gradient in zip(v.children, v.local_gradients):  # noqa: B905 (as microgpt has it)
                child.grad += local_gradient * v.grad


def gpt_scalars(weights: dict[str, Matrix], embeddings: Iterable[list[Any]], math: Any) -> Iterator[list[Any]]:
    """Yields the logits after each token, as in microgpt, for any type of scalar; ``math`` has its functions."""

    def linear(x, rows):
        return [sum(wi * xi for wi, xi in zip(row, x)) for row in rows]  # noqa: B905

    def softmax(logits):
        top = math.top(logits)
        exps = [math.exp(x - top) for x in logits]
        total = sum(exps)
        return [e / total for e in exps]

    def norm(x):
        scale = (sum(xi * xi for xi in x) / len(x) + 1e-5) ** -0.5
        return [xi * scale for xi in x]

    size, keys, values = WIDTH // HEADS, [], []
    for embedding, position in zip(embeddings, weights["wpe"], strict=False):
        x = norm([e + p for e, p in zip(embedding, position, strict=True)])
        h = norm(x)
        q = linear(h, weights["wq"])
        keys.append(linear(h, weights["wk"]))
        values.append(linear(h, weights["wv"]))
        attended = []
        for at in range(0, WIDTH, size):
            scores = [sum(q[at + j] * k[at + j] for j in range(size)) / size**0.5 for k in keys]
            shares = softmax(scores)
            attended += [sum(s * v[at + j] for s, v in zip(shares, values, strict=True)) for j in range(size)]
        x = [a + b for a, b in zip(linear(attended, weights["wo"]), x, strict=True)]
        h = [math.relu(hi) for hi in linear(norm(x), weights["fc1"])]
        x = [a + b for a, b in zip(linear(h, weights["fc2"]), x, strict=True)]
        yield softmax(linear(x, weights["lm_head"]))


def scalar_loss(weights: dict[str, Matrix], tokens: list[int], math: Any) -> Any:
    """Returns the mean loss of a word. Each token chooses its row of the embedding."""
    shares = gpt_scalars(weights, [weights["wte"][token] for token in tokens[:-1]], math)
    losses = [-math.log(p[target]) for p, target in zip(shares, tokens[1:], strict=True)]
    return sum(losses) * (1 / len(losses))


def gpt_pure(words: list[str]) -> Side:
    functions = SimpleNamespace(
        exp=Scalar.exp, log=Scalar.log, relu=Scalar.relu, top=lambda xs: max(x.data for x in xs)
    )
    weights = {name: [list(map(Scalar, row)) for row in rows] for name, rows in gpt_weights().items()}
    parameters = [p for rows in weights.values() for row in rows for p in row]
    moments = [(0.0, 0.0) for _ in parameters]
    stream, steps, loss = itertools.cycle(list(map(tokens_of, words))), itertools.count(1), None

    def run(n: int) -> None:
        nonlocal loss
        for tokens, step in itertools.islice(zip(stream, steps, strict=True), n):
            loss = scalar_loss(weights, tokens, functions)
            loss.backward()
            for i, p in enumerate(parameters):
                p.data, *moments[i] = adam(p.data, p.grad, *moments[i], step)
                p.grad = 0.0

    return Side(run, lambda: [loss, parameters], unit=mixture(words))


def mixture(words: list[str]) -> int:
    """Returns the smallest number of consecutive words that include every length."""
    return len(set(map(len, words)))


def in_order(weights: dict[str, Any]) -> list[float]:
    return [x for name in SHAPES for x in flat(weights[name])]


def gpt_torch(words: list[str]) -> Side:
    import torch
    from torch.nn import functional

    p = {name: torch.tensor(rows, requires_grad=True) for name, rows in gpt_weights().items()}
    optimizer = torch.optim.Adam(p.values(), lr=LR, betas=(BETA1, BETA2), eps=EPS, fused=True)
    norm = partial(functional.rms_norm, normalized_shape=(WIDTH,), eps=1e-5)
    stream, loss = itertools.cycle([torch.tensor(tokens_of(word)) for word in words]), None

    def run(n: int) -> None:
        nonlocal loss
        for tokens in itertools.islice(stream, n):
            x = norm(functional.embedding(tokens[:-1], p["wte"]) + p["wpe"][: len(tokens) - 1])
            h = norm(x)
            q, k, v = (functional.linear(h, p[w]).view(len(h), HEADS, -1).transpose(0, 1) for w in ("wq", "wk", "wv"))
            h = functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(0, 1).reshape(len(h), WIDTH)
            x = x + functional.linear(h, p["wo"])
            h = functional.relu(functional.linear(norm(x), p["fc1"]))
            x = x + functional.linear(h, p["fc2"])
            loss = functional.cross_entropy(functional.linear(x, p["lm_head"]), tokens[1:])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return Side(run, lambda: [loss, in_order(p)], unit=mixture(words))


def gpt_arrays(xp: Any, logsumexp: Any, p: Any, tokens: Any, targets: Any, shares: Any) -> Any:
    """Returns the loss of a word on arrays of JAX or HIPS autograd; ``shares`` has the weight of each token."""
    n = len(tokens)
    later = xp.triu(xp.full((n, n), -1e30), 1)

    def norm(x):
        return x * (xp.mean(x * x, axis=-1, keepdims=True) + 1e-5) ** -0.5

    x = norm(p["wte"][tokens] + p["wpe"][:n])
    h = norm(x)
    q, k, v = (xp.swapaxes(xp.reshape(h @ p[w].T, (n, HEADS, -1)), 0, 1) for w in ("wq", "wk", "wv"))
    scores = q @ xp.swapaxes(k, 1, 2) / (WIDTH // HEADS) ** 0.5 + later
    attention = xp.exp(scores - logsumexp(scores, axis=-1, keepdims=True))
    x = x + xp.reshape(xp.swapaxes(attention @ v, 0, 1), (n, WIDTH)) @ p["wo"].T
    x = x + xp.maximum(norm(x) @ p["fc1"].T, 0.0) @ p["fc2"].T
    logits = x @ p["lm_head"].T
    return xp.sum((logsumexp(logits, axis=-1) - logits[xp.arange(n), targets]) * shares)


def gpt_jax(words: list[str], padded: bool) -> Side:
    import jax
    from jax import numpy
    from jax.scipy.special import logsumexp
    from numpy import array as to_array

    derivatives = jax.value_and_grad(partial(gpt_arrays, numpy, logsumexp))

    @partial(jax.jit, donate_argnums=0)
    def step(state, *sample):
        p, m, v, steps = state
        loss, g = derivatives(p, *sample)
        updated = {name: adam(p[name], g[name], m[name], v[name], steps) for name in p}
        return (*({name: part[i] for name, part in updated.items()} for i in range(3)), steps + 1), loss

    def sample(word):
        tokens = tokens_of(word)
        n = len(tokens) - 1
        size = BLOCK if padded else n
        parts = [*tokens[:-1], *[0] * (size - n)], [*tokens[1:], *[0] * (size - n)], [1 / n] * n + [0.0] * (size - n)
        return jax.device_put(list(map(to_array, parts)))

    weights = {name: numpy.array(rows) for name, rows in gpt_weights().items()}
    state, loss = (weights, *(jax.tree.map(numpy.zeros_like, weights) for _ in range(2)), numpy.array(1.0)), None
    stream = itertools.cycle(list(map(sample, words)))

    def run(n: int) -> None:
        nonlocal state, loss
        for tokens, targets, shares in itertools.islice(stream, n):
            state, loss = step(state, tokens, targets, shares)
        jax.block_until_ready(state)

    return Side(run, lambda: [loss, in_order(state[0])], unit=mixture(words))


def gpt_autograd(words: list[str]) -> Side:
    from autograd import numpy, value_and_grad
    from autograd.scipy.special import logsumexp

    derivatives = value_and_grad(partial(gpt_arrays, numpy, logsumexp))
    p = {name: numpy.array(rows) for name, rows in gpt_weights().items()}
    moments: dict[str, Any] = dict.fromkeys(p, (0.0, 0.0))
    stream, steps, loss = itertools.cycle(list(map(tokens_of, words))), itertools.count(1), None

    def run(n: int) -> None:
        nonlocal loss
        for tokens, step in itertools.islice(zip(stream, steps, strict=True), n):
            loss, gradient = derivatives(p, numpy.array(tokens[:-1]), numpy.array(tokens[1:]), 1 / (len(tokens) - 1))
            for name, g in gradient.items():
                p[name], *moments[name] = adam(p[name], g, *moments[name], step)

    return Side(run, lambda: [loss, in_order(p)], unit=mixture(words))


def vector_adam(words: list[str], derivatives: Callable[[Any, str], tuple[Any, Any]]) -> Side:
    """Runs Adam on all parameters as one vector; ``derivatives`` returns a word's loss and its gradient."""
    import numpy

    parameters = numpy.array(in_order(gpt_weights()))
    m, v, loss = 0.0, 0.0, None
    stream, steps = itertools.cycle(words), itertools.count(1)

    def run(n: int) -> None:
        nonlocal parameters, m, v, loss
        for word, step in itertools.islice(zip(stream, steps, strict=True), n):
            loss, gradient = derivatives(parameters, word)
            parameters, m, v = adam(parameters, numpy.asarray(gradient).ravel(), m, v, step)

    return Side(run, lambda: [loss, parameters], unit=mixture(words))


def matrices(numbers: Iterable[Any]) -> dict[str, Matrix]:
    numbers = iter(numbers)
    return {name: [[next(numbers) for _ in range(n)] for _ in range(m)] for name, (m, n) in SHAPES.items()}


def gpt_casadi(words: list[str]) -> Side:
    import casadi

    functions = SimpleNamespace(
        exp=casadi.exp, relu=lambda x: casadi.fmax(x, 0), top=lambda xs: casadi.mmax(casadi.vertcat(*xs))
    )

    def program(length: int) -> Any:
        parameters = casadi.SX.sym("p", sum(m * n for m, n in SHAPES.values()))
        word = casadi.SX.sym("word", TOKENS, length + 2)
        weights = matrices(casadi.vertsplit(parameters))
        columns = [casadi.vertcat(*column) for column in zip(*weights["wte"], strict=True)]
        embeddings = [[casadi.dot(word[:, i], column) for column in columns] for i in range(length + 1)]
        shares = gpt_scalars(weights, embeddings, functions)
        losses = [-casadi.log(casadi.dot(casadi.vertcat(*p), word[:, i + 1])) for i, p in enumerate(shares)]
        loss = sum(losses) / len(losses)
        return casadi_function([parameters, word], [loss, casadi.gradient(loss, parameters)], in_c=False)

    programs = {length: program(length) for length in set(map(len, words))}
    samples = {word: casadi.DM(one_hots(word)).T for word in words}
    return vector_adam(words, lambda parameters, word: programs[len(word)](parameters, samples[word]))


def gpt_xad(words: list[str]) -> Side:
    from xad import math as xad_math

    functions = SimpleNamespace(
        exp=xad_math.exp,
        log=xad_math.log,
        relu=lambda x: xad_math.max(x, 0.0),
        top=lambda xs: max(x.getValue() for x in xs),
    )
    derivatives = xad_value_and_grad(lambda numbers, word: scalar_loss(matrices(numbers), tokens_of(word), functions))
    return vector_adam(words, derivatives)


def gpt(words: list[str]) -> Sides:
    return {
        OURS: lambda: gpt_ours(words, True),
        EAGER: lambda: gpt_ours(words[:6], False),
        PURE: lambda: gpt_pure(words),
        TORCH: lambda: gpt_torch(words),
        JAX: lambda: gpt_jax(words, padded=True),
        JAX_LENGTHS: lambda: gpt_jax(words, padded=False),
        CASADI: lambda: gpt_casadi(words),
        HIPS: lambda: gpt_autograd(words),
        XAD: lambda: gpt_xad(words),
    }


def words_of_all_lengths() -> list[str]:
    by_length = [[word for word in WORDS.split() if len(word) == length] for length in range(3, 9)]
    return [word for group in zip(*by_length, strict=True) for word in group]
