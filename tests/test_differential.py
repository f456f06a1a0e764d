"""Random programs give the same eagerly and compiled: values, gradients, errors, and whole runs of ``fit``.

Each seed is a program: Python source that runs, and that is printed where it fails. The suite runs 300 of them. To run
10,000, from seed 1,000 on, in processes of 200 each::

    python tests/test_differential.py 10000 1000

and to run and print a single one, ``python tests/test_differential.py 1 SEED``.

What is computed by exact operations (sums of two, products, choices, …) has to agree in every bit. Where the order of a
sum may differ, and in functions of math, a number may differ by 1e-12 of the largest terms: see :func:`find_size`.
"""

import math
import random
import subprocess
import sys
import warnings
from collections import namedtuple
from functools import partial

import pytest

np = pytest.importorskip("numpy")
pytest.importorskip("llvmlite", reason="compiling needs llvmlite, which is not installed")

import micrograd
from micrograd import Value, functional, grad, nn, optim
from micrograd.compiler import machine, plan
from micrograd.compiler.tracing import Tracing
from micrograd.engine import topological_order
from micrograd.training import EarlyStopping, TrainingError
from micrograd.watching import Watcher, watch

TOLERANCE = 1e-12
PER_TEST, TESTS = 30, 10

Point = namedtuple("Point", "x y")


class Box:
    """An object whose attributes a function reads."""

    def __init__(self, w, k):
        self.w, self.k = w, k

    def scale(self, x):
        return self.w * x * self.k


class Gate(nn.Module):
    """A module that depends on its mode, and on a buffer."""

    buffers = ("shift",)

    def __init__(self, w):
        self.w, self.shift = w, 0.25

    def forward(self, x):
        return self.w * x if self.training else self.w * (x - self.shift)


NAMES = {
    "Value": Value, "F": functional, "nn": nn, "np": np, "grad": grad, "random": random, "Point": Point, "Box": Box,
    "Gate": Gate,
}  # fmt: skip


# Programs


class Writer:
    """Writes a random program.

    A variable is its text, whether it is exact, and how many additions it is a chain of.
    """

    def __init__(self, seed, for_fit=False):
        self.rng = random.Random(seed)
        self.for_fit = for_fit
        self.lines, self.variables, self.count = [], [], 0

    def choose(self, *items):
        return self.rng.choice(items)

    def is_lucky(self, chance):
        return self.rng.random() < chance

    def number(self):
        if self.is_lucky(0.6):
            return self.choose(0.0, 1.0, -1.0, 0.5, -0.5, 2.0, 1.5, -2.0, 0.1, 0.3, 3.0, -0.0)
        return round(self.rng.gauss(0, 1.5), self.choose(1, 3, 17))

    def constant(self):
        if self.is_lucky(0.1):
            return self.choose(1e16, -1e16, 1e-16, 1e8, 4.0, 0.25, 1e-300)
        return self.number()

    def pick(self, exact=False):
        """A variable, of which the last ones are more likely."""
        found = [v for v in self.variables if v[1] or not exact]
        return found[max(self.rng.randrange(len(found)), self.rng.randrange(len(found)))]

    def add(self, text, exact=True, chain=0):
        name = f"t{self.count}"
        self.count += 1
        self.lines.append(f"{name} = {text}")
        self.variables.append((name, exact and chain < 5, chain))

    def write(self):
        """The source of ``build(wrap)``."""
        captured = self.write_captured()
        arguments, kinds = self.write_arguments()
        for _ in range(self.choose(2, 4, 8, 16, 30)):
            self.write_line()
        result = self.write_result()
        body = "\n".join(f"        {line}" for line in [*self.lines, f"return {result}"])
        changes = "\n".join(f"        {line}" for line in self.write_changes())
        samples = ",\n".join(f"        ({', '.join(map(self.sample_of, kinds))},)" for _ in range(self.samples))
        exact = getattr(self, "is_exact", False)
        return (
            f"def build(wrap):\n{captured}\n    def function({', '.join(arguments)}):\n{body}\n\n"
            f"    def change():\n{changes}\n\n    samples = [\n{samples}\n    ]\n"
            f"    return wrap(function), lambda: [{self.all}], samples, change, {exact}, {self.is_single}\n"
        )

    samples = 7

    def write_captured(self):
        w = [self.number() for _ in range(8)]
        lines = [f"w0, w1, w2 = Value({w[0]!r}, label='w0'), Value({w[1]!r}), Value({w[2]!r})"]
        lines += [
            f"ws, named, k = [Value({w[3]!r}), Value({w[4]!r})], {{'a': Value({w[5]!r}), 'b': {w[6]!r}}}, {w[7]!r}"
        ]
        lines += [f"box, gate = Box(Value({w[6]!r}), {w[5]!r}), Gate(Value({w[4]!r}))"]
        lines += [f"net = nn.MLP(2, [{self.choose(1, 3, 9)}, 2], activation='tanh', rng=random.Random({w[0]!r}))"]
        self.all = "w0, w1, w2, *ws, named['a'], box.w, gate.w, *net.parameters()"
        self.variables = [(x, True, 0) for x in ("w0", "w1", "ws[0]", "ws[1]", "named['a']", "box.w")]
        if not self.for_fit:
            lines += [f"v0 = w0 * w1 + {self.number()!r}", "v1 = v0.tanh()"]
            self.all += ", v0, v1"
            self.variables += [("v0", True, 0), ("v1", True, 0)]
        if self.is_lucky(0.3):
            lines += ["gate.eval()"]
        lines += [f"def helper(x, y={self.number()!r}): return x * w1 - {self.choose('y', 'k', 'box.k')}"]
        return "\n".join(f"    {line}" for line in lines)

    def write_arguments(self):
        arguments, kinds = [], []
        for name in ("a", "b", "c")[: self.choose(1, 2, 2, 3)]:
            kind = self.choose("number", "number", "list", "tuple", "dict", "point", "array", "deep")
            inside = {
                "number": [""], "list": ["[0]", "[1]", "[2]"], "tuple": ["[0]", "[1]"], "dict": ["['p']", "['q'][0]"],
                "point": [".x", ".y"], "array": ["[0]", "[1]", "[2]"], "deep": ["[0][0]", "[0][1]", "[1].y"],
            }[kind]  # fmt: skip
            arguments.append(name)
            kinds.append(kind)
            self.variables += [(name + part, True, 0) for part in inside]
            if kind in ("list", "array"):
                self.variables.append((f"F.sum({name})", False, 0))
        if self.is_lucky(0.2):
            arguments.append("i")
            kinds.append("index")
            self.lines.append(f"chosen = F.one_hot(i, 3)[{self.rng.randrange(3)}] * Value(1.0)")
            self.variables.append(("chosen", True, 0))
            self.index = "i"
        return arguments, kinds

    index = "1"

    def sample_of(self, kind):
        n = lambda: repr(self.number())  # noqa: E731
        return {
            "number": n, "list": lambda: f"[{n()}, {n()}, {n()}]", "tuple": lambda: f"({n()}, {n()})",
            "dict": lambda: f"{{'p': {n()}, 'q': [{n()}]}}", "point": lambda: f"Point({n()}, {n()})",
            "array": lambda: f"np.array([{n()}, {n()}, {n()}])", "index": lambda: repr(self.rng.randrange(3)),
            "deep": lambda: f"[({n()}, {n()}), Point({n()}, {n()})]",
        }[kind]()  # fmt: skip

    def write_line(self):
        getattr(self, f"write_{self.choose(*KINDS)}")()

    def write_sum(self):
        (a, exact, chain), (b, other, _) = self.pick(), self.pick()
        self.add(f"{a} {self.choose('+', '-')} {b}", exact and other, chain + 1)

    def write_product(self):
        (a, exact, _), (b, other, _) = self.pick(), self.pick()
        self.add(f"{a} * {b}", exact and other)

    def write_parentheses(self):
        (a, x, _), (b, y, _), (c, z, _) = self.pick(), self.pick(), self.pick()
        self.add(f"{a} {self.choose('+', '-', '*')} ({b} {self.choose('+', '-')} {c})", x and y and z, 1)

    def write_constant(self):
        a, exact, chain = self.pick()
        k, op = self.constant(), self.choose("+", "-", "*")
        text = f"{a} {op} {k!r}" if self.is_lucky(0.5) else f"{k!r} {op} {a}"
        self.add(text, exact, 0 if op == "*" else chain + 1)

    def write_quotient(self):
        (a, exact, _), (b, other, _) = self.pick(), self.pick()
        self.add(f"{a} / {self.choose(f'({b} * {b} + 0.5)', f'(abs({b}) + 1)', '3.0', '4.0', b)}", exact and other)

    def write_kink(self):
        (a, *_), (b, *_), c, d = self.pick(True), self.pick(True), self.pick(), self.pick()
        exact = c[1] and d[1]
        op = self.choose(">", ">=", "<", "<=")
        text, exact = self.choose(
            (f"{a}.relu()", True), (f"abs({a})", True), (f"{a}.maximum({b})", True), (f"{a}.minimum({b})", True),
            (f"{a}.leaky_relu(0.1)", True), (f"{a}.floor()", True), (f"{a}.round()", True),
            (f"F.where({a} {op} {b}, {c[0]}, {d[0]})", exact), (f"{a}.maximum({self.number()!r})", True),
            (f"F.where({a} {op} {self.number()!r}, {c[0]}, {self.number()!r})", exact),
            (f"{a}.stop_gradient()", True), (f"-{a}", True),
        )  # fmt: skip
        self.add(text, exact)

    def write_function(self):
        a, _, _ = self.pick()
        name = self.choose("exp", "tanh", "sigmoid", "sin", "cos", "softplus", "atan", "erf", "gelu", "silu", "expm1")
        self.add(f"({a}.tanh() * 3).{name}()" if self.is_lucky(0.7) else f"{a}.{name}()", False)

    def write_positive(self):
        a, *_ = self.pick()
        inside = f"({a} * {a} + 0.25)" if self.is_lucky(0.9) else a
        self.add(f"{inside}.{self.choose('log', 'sqrt', 'log1p')}()", False)

    def write_power(self):
        a, exact, _ = self.pick()
        n = self.choose(2, 3, 1, 0, -1, 0.5, 1.5, -2, 2.5)
        self.add(f"{a} ** {n}" if n in (0, 1, 2, 3) else f"(abs({a}) + 0.25) ** {n}", exact and n in (0, 1))

    def write_list(self):
        items = [self.pick()[0] for _ in range(self.choose(1, 2, 3, 7, 12))]
        others = [self.choose(self.pick()[0], repr(self.constant())) for _ in items]
        text = ", ".join(items)
        self.add(
            self.choose(
                f"F.sum([{text}])", f"F.mean([{text}])", f"F.dot([{text}], [{', '.join(others)}])", f"sum([{text}])",
                f"F.logsumexp([{text}])", f"F.softmax([{text}, {others[0]}])[0]",
                f"F.softmax([{text}, w2])[-1]",
            ),
            False,
        )  # fmt: skip

    def write_loss(self):
        items = [self.pick()[0] for _ in range(3)]
        self.add(f"F.cross_entropy([{', '.join(items)}], {self.index})", False)

    def write_loop(self):
        a, b = self.pick()[0], self.pick()[0]
        body = self.choose(f"h * {b} + x", f"(h - x).tanh() * {b}", f"h + x * {b}", "h * x", "(h + x) / 2")
        name = f"h{self.count}"
        items = ", ".join([self.pick()[0] for _ in range(self.choose(1, 3, 8))])
        self.lines += [f"h = {a}", f"for x in [{items}]: h = {body}", f"{name} = h"]
        self.add(name, False)

    def write_call(self):
        a, exact, _ = self.pick()
        self.add(self.choose(f"box.scale({a})", f"gate({a})", f"helper({a})", f"(lambda z: z * w2 + k)({a})"), exact, 1)

    def write_net(self):
        a, b = self.pick()[0], self.pick()[0]
        self.add(f"net([{a}, {b}])[{self.choose(0, 1, -1)}]", False)

    def write_derivative(self):
        (a, *_), (b, *_) = self.pick(), self.pick()
        name = f"z{self.count}"
        self.lines.append(f"{name} = {b} * 1.0")
        text = self.choose(f"{name} ** 2 * {a}", f"({name} * {a}).tanh()", f"{name}.exp() * {a} + {name}")
        self.add(f"grad({text}, [{name}], create_graph=True)[0]", False)

    def write_result(self):
        last = [self.pick() for _ in range(4)]
        self.is_single = self.for_fit or self.is_lucky(0.6)
        if self.for_fit:
            return f"({' + '.join(name for name, *_ in last)}).tanh() ** 2 + (w0 - 0.5) ** 2"
        if self.is_single:
            self.is_exact = last[0][1]
            return last[0][0]
        a, b, c, d = [name for name, *_ in last]
        self.is_exact = all(exact for _, exact, _ in last)
        return self.choose(
            f"[{a}, {b}]", f"{{'first': {a}, 'second': [{b}, {c}]}}", f"Point({a}, {b})", f"({a}, [{b}, ({c}, {d})])",
            f"[{a}, 2.5, Value(1.5)]", f"{{'x': {a}, 'y': {a}}}", f"np.array([{a}, {b}])", f"[[{a}, {b}], [{c}, {d}]]",
        )  # fmt: skip

    def write_changes(self):
        several = [
            "nonlocal w2, k", f"w0.data = {self.number()!r}", f"ws[0] = Value({self.number()!r})",
            f"box.w, box.k = Value({self.number()!r}), {self.number()!r}", f"named['b'] = {self.number()!r}",
            f"named['a'] = Value({self.number()!r})", f"w2 = Value({self.number()!r})", f"k = {self.number()!r}",
            "gate.train(not gate.training)", f"gate.shift = {self.number()!r}", f"ws[1].data = {self.number()!r}",
        ]  # fmt: skip
        return several[:1] + self.rng.sample(several[1:], self.rng.randrange(1, 5))


KINDS = [name.removeprefix("write_") for name in vars(Writer) if name.startswith("write_")]
for _name in ("captured", "arguments", "line", "result", "changes"):
    KINDS.remove(_name)
KINDS += ["sum", "product", "parentheses", "constant", "kink", "kink"]  # more often


def build(source, wrap):
    scope = dict(NAMES)
    exec(compile(source, "<program>", "exec"), scope)
    return scope["build"](wrap)


# Comparisons


def find_size(out):
    """The sum of all that is added on the way to a number, with its sign left out: what rounding is relative to."""
    nodes = topological_order(out)
    total = 0.0
    for node, slope in zip(nodes, grad(out, nodes), strict=True):
        data = [parent.data for parent in node.parents]
        if node.op == "dot":
            half = len(data) // 2
            data = [a * b for a, b in zip(data[:half], data[half:], strict=True)]
        elif node.op == "weigh":
            data = [a * b for a, b in zip(data, node.rule.constants["x"], strict=True)]
        elif node.op not in ("sum", "+", "-"):
            data = []
        total += abs(slope) * max(abs(node.data), sum(map(abs, data)))
    return total


def agree(ours, expected, size, exact=False):
    """Whether two numbers are the same; ``size`` gives what their difference is relative to."""
    if ours == expected:
        return not exact or math.copysign(1.0, ours) == math.copysign(1.0, expected)
    if ours != ours and expected != expected:
        return True
    if exact or not math.isfinite(expected) or not math.isfinite(ours):
        return False
    if abs(ours - expected) <= TOLERANCE * abs(expected):
        return True
    limit = size()
    return not math.isfinite(limit) or abs(ours - expected) <= TOLERANCE * limit + 1e-300


def flat(tree):
    if isinstance(tree, dict):
        return [leaf for item in tree.values() for leaf in flat(item)]
    if isinstance(tree, (list, tuple)) or getattr(tree, "shape", ()):
        return [leaf for item in tree for leaf in flat(item)]
    return [tree]


def shape(tree):
    """The form of nested lists, tuples and dicts, with their types."""
    if isinstance(tree, dict):
        return type(tree), [(name, shape(item)) for name, item in tree.items()]
    if isinstance(tree, (list, tuple)) or getattr(tree, "shape", ()):
        return type(tree), [shape(item) for item in tree]
    return None


def lift(tree, make=Value):
    """The same with Values for the numbers, as a compiled function gives them to its function; not for indexes."""
    if isinstance(tree, dict):
        return {name: lift(item, make) for name, item in tree.items()}
    if isinstance(tree, tuple):
        items = [lift(item, make) for item in tree]
        return type(tree)(*items) if hasattr(tree, "_fields") else tuple(items)
    if isinstance(tree, list):
        return [lift(item, make) for item in tree]
    if isinstance(tree, np.ndarray):
        out = np.empty(tree.shape, dtype=object)
        out.flat = [make(x) for x in tree.flat]
        return out
    return tree if isinstance(tree, int) else make(tree)


def attempt(function, *arguments):
    """What a call gives, or the type and text of its error."""
    try:
        return function(*arguments), None
    except (ArithmeticError, ValueError) as error:
        return None, (type(error).__name__, str(error).partition("; ")[0])


def as_value(x):
    return x if isinstance(x, Value) else Value(x)


class DifferenceError(AssertionError):
    pass


def require(condition, *what):
    if not condition:
        raise DifferenceError(" ".join(map(str, what)))


class Hidden(Watcher):
    """Makes losses of classes take the way that they take in a trace, where nobody knows the largest number."""

    find_largest = Tracing.find_largest


def slopes_of(make, leaves):
    """The gradient, and for each number of it a function that gives its size.

    Args:
        make: makes the output again.
        leaves: by what to differentiate.
    """
    numbers = grad(make(), leaves)

    def size(k):
        slopes = [grad(make(), [leaves[k]], create_graph=True)[0]]
        with watch(Hidden()):
            out = make()
        slopes += grad(out, [leaves[k]], create_graph=True)
        return max(map(find_size, slopes))

    return numbers, size


def compare_call(eager, ours, sample, as_values):
    """A single call, and its gradients by all that it is made of."""
    function, *_, is_exact, _ = eager
    inputs = [lift(sample), lift(sample)]
    expected, error = attempt(function, *inputs[0])
    found, its_error = attempt(ours[0], *(inputs[1] if as_values else sample))
    require(error == its_error, "error:", its_error, "expected:", error)
    if error:
        return
    require(shape(found) == shape(expected), "form:", shape(found), "expected:", shape(expected))
    outs = [list(map(as_value, flat(tree))) for tree in (found, expected)]
    for mine, theirs in zip(*outs, strict=True):
        require(
            agree(mine.data, theirs.data, lambda out=theirs: find_size(out), is_exact),
            f"value: {mine.data!r} expected: {theirs.data!r}",
        )

    def weigh(outs):
        return functional.dot(outs, [1.0, -0.5, 2.0, 0.75, 1.25][: len(outs)])

    total = weigh(outs[0])
    which = [
        [*world[1](), *([x for x in flat(given) if isinstance(x, Value)] if as_values else [])]
        for world, given in zip((ours, eager), inputs[::-1], strict=True)
    ]
    gradient, error = attempt(
        lambda: slopes_of(lambda: weigh(list(map(as_value, flat(function(*inputs[0]))))), which[1])
    )
    mine, its_error = attempt(lambda: grad(total, which[0]))
    require(error == its_error, "error of the gradient:", its_error, "expected:", error)
    if error:
        return
    numbers, size = gradient
    for k, (x, y) in enumerate(zip(mine, numbers, strict=True)):
        require(agree(x, y, lambda k=k: size(k)), f"gradient {k}: {x!r} expected: {y!r}")


def columns(samples):
    """The samples as a sequence for each argument: of arrays, an array."""
    return [
        np.array(items) if isinstance(items[0], (float, int, np.ndarray)) and len(items) % 2 else list(items)
        for items in zip(*samples, strict=True)
    ]


def compare_batch(eager, ours, samples):
    """The mean over samples, and its gradients."""
    function, leaves = eager[:2]
    given = [lift(sample) for sample in samples]

    def make():
        return functional.mean([as_value(function(*inputs)) for inputs in given])

    expected, error = attempt(make)
    mean, its_error = attempt(ours[0].batch, *columns(samples))
    require(error == its_error, "error of a batch:", its_error, "expected:", error)
    if error:
        return
    require(agree(mean.data, expected.data, lambda: find_size(expected)), f"mean: {mean.data!r}, {expected.data!r}")
    gradient, error = attempt(lambda: slopes_of(make, leaves()))
    mine, its_error = attempt(lambda: grad(mean, ours[1]()))
    require(error == its_error, "error of a batch's gradient:", its_error, "expected:", error)
    for k, (x, y) in enumerate(zip(mine, gradient[0], strict=True) if gradient else ()):
        require(agree(x, y, lambda k=k: gradient[1](k)), f"gradient {k} of a batch: {x!r} expected: {y!r}")


def compare_arrays(eager, ours, samples):
    """Values, and gradients by the arguments, of each sample."""
    function, _, *_, is_exact, is_single = eager
    given = [lift(sample) for sample in samples]
    outs, error = attempt(lambda: [function(*inputs) for inputs in given])
    found, its_error = attempt(ours[0].values, *columns(samples))
    require(error == its_error, "error of values:", its_error, "expected:", error)
    if error:
        return
    rows = [row_of(found, outs[0], k) for k in range(len(samples))]
    for out, row in zip(outs, rows, strict=True):
        for x, y in zip(row, flat(out), strict=True):
            y = as_value(y)
            require(agree(x, y.data, lambda y=y: find_size(y), is_exact), f"of values: {x!r} expected: {y.data!r}")
    if not is_single:
        return
    leaves = [[x for x in flat(inputs) if isinstance(x, Value)] for inputs in given]
    gradients, error = attempt(
        lambda: [
            slopes_of(lambda inputs=inputs: as_value(function(*inputs)), its_leaves)
            for inputs, its_leaves in zip(given, leaves, strict=True)
        ]
    )
    slopes, its_error = attempt(ours[0].gradients, *columns(samples))
    require(error == its_error, "error of gradients:", its_error, "expected:", error)
    if error:
        return
    slopes = slopes if isinstance(slopes, tuple) and len(samples[0]) > 1 else (slopes,)
    for k, (numbers, size) in enumerate(gradients):
        mine = [x for part, item in zip(slopes, samples[k], strict=True) for x in row_of(part, item, k, True)]
        for j, (x, y) in enumerate(zip(mine, numbers, strict=True)):
            require(agree(x, y, lambda j=j, size=size: size(j)), f"gradient {j} of sample {k}: {x!r}, expected: {y!r}")


def row_of(part, item, k, but_indexes=False):
    """The numbers of sample ``k`` in what values() or gradients() give, formed as ``item``."""
    if isinstance(part, np.ndarray):
        return [] if but_indexes and isinstance(item, int) else np.ravel(part[k]).tolist()
    parts, items = (x.values() if isinstance(x, dict) else x for x in (part, item))
    return [x for one, other in zip(parts, items, strict=True) for x in row_of(one, other, k, but_indexes)]


def run_program(seed, most=2):
    """Runs a program in at most so many ways, and raises an error where eager and compiled differ."""
    rng = random.Random(seed)
    plan._FUSED = rng.choice([160, 160, 0])  # without fusion, small programs are planned as large ones are
    if rng.random() < 0.15:
        return run_fit(seed)
    source = Writer(seed).write()
    eager, ours = build(source, lambda f: f), build(source, micrograd.compile)
    samples, is_single = eager[2], eager[-1]
    ways = ["call", "call", "arrays"] + ["batch"] * is_single
    for way in rng.sample(ways, 2)[:most]:
        lanes = rng.choice([1, 2, 7, 7, 7, 9]) if rng.random() < 0.97 else 1000
        some = [samples[i % len(samples)] for i in range(lanes)]
        for k in range(1 + (most > 1 or rng.random() < 0.5)):
            if k:
                for world in (eager, ours):
                    world[3]()
            try:
                if way == "call":
                    compare_call(eager, ours, samples[k], rng.random() < 0.7)
                else:
                    (compare_batch if way == "batch" else compare_arrays)(eager, ours, some)
            except (
                DifferenceError,
                TypeError,
                micrograd.compiler.DisagreementError,
                LookupError,
                AttributeError,
            ) as error:
                raise DifferenceError(f"seed {seed}, {way} {k}: {type(error).__name__}: {error}\n{source}") from error
    return source


def run_fit(seed):
    rng = random.Random(seed + 0.5)
    writer = Writer(seed, for_fit=True)
    writer.samples = rng.choice([1, 5, 12])
    source = writer.write()
    kind, settings = rng.choice(
        [(optim.SGD, {}), (optim.SGD, {"momentum": 0.9}), (optim.SGD, {"weight_decay": 0.1}), (optim.Adam, {}),
         (optim.AdamW, {}), (optim.RMSprop, {}), (optim.Adagrad, {})]
    )  # fmt: skip
    options = {"epochs": rng.choice([1, 2, 3]), "batch_size": rng.choice([1, 2, 5, 100]), "shuffle": rng.random() < 0.5}
    with_clip, with_schedule, how_often = rng.random() < 0.2, rng.random() < 0.3, rng.choice(["epoch", "step"])
    with_validation, with_stop, with_change = (rng.random() < 0.3 for _ in range(3))
    fraction = rng.choice([1.0, 1.0, 0.5])

    def run(how, shift=0.0):
        function, leaves, samples, change, *_ = build(source, lambda f: f)
        for leaf in leaves():
            leaf._data += shift * random.Random(leaf._data).choice([-1, 1]) * max(abs(leaf._data), 1.0)
        trained = [leaf for leaf in leaves() if leaf.label != "w2"]
        optimizer = kind(trained[: max(1, int(fraction * len(trained)))], lr=0.01, **settings)
        more = dict(options)
        noise = random.Random(7)

        def clip(parameters):
            if shift:  # some optimizers take the sign of a gradient that is little more than rounding
                largest = max(abs(p.grad) for p in parameters)
                for p in parameters:
                    p.grad += shift * largest * noise.choice([-1, 1])
            if with_clip:
                optim.clip_grad_norm_(parameters, 0.5)

        if with_clip or shift:
            more["clip"] = clip if seed % 2 or shift else partial(optim.clip_grad_norm_, max_norm=0.5)
        if with_schedule:
            more |= {"schedule": optim.ExponentialLR(optimizer, 0.9), "schedule_every": how_often}
        if with_validation:
            more |= {"validation": samples[:3], "metrics": {"one": lambda *_: 1.0}}
        if with_stop:
            more["stop"] = EarlyStopping(1)
        if with_change:
            more["callbacks"] = [lambda history: change() if history.epochs == 1 else None]
        loss = lambda *sample: function(*lift(sample, as_value))  # noqa: E731
        try:
            history = micrograd.fit(
                loss, samples, optimizer, rng=random.Random(1), compile=how, progress=False, **more
            )  # fmt: skip
        except TrainingError as error:
            return "error", str(error).partition("; ")[0], [], []
        numbers = [*history.loss, *history.gradient_norm, *history.validation_loss]
        numbers += [x for leaf in leaves() for x in (leaf.data, leaf.grad)]
        return "ok", (history.epochs, history.steps, history.reason), numbers, optimizer.state

    try:
        found, expected = run(True), run(False)
        require(found[:2] == expected[:2], "run:", found[:2], "expected:", expected[:2])
        near = None
        largest = max(map(abs, expected[2]), default=0.0)
        for k, (x, y) in enumerate(zip(found[2], expected[2], strict=True)):
            if agree(x, y, lambda: largest):
                continue
            near = near or [run(False, shift)[2] for shift in (1e-13, -1e-13, 3e-13)]
            spread = max(abs(other[k] - y) if len(other) == len(expected[2]) else math.inf for other in near)
            require(abs(x - y) <= 10 * spread, f"number {k} of {len(found[2])} of fit: {x!r} expected: {y!r}")
    except (DifferenceError, TypeError, ArithmeticError, LookupError, AttributeError) as error:
        setting = f"{kind.__name__} {settings} {options}"
        raise DifferenceError(f"seed {seed}, fit {setting}: {type(error).__name__}: {error}\n{source}") from error
    return source


@pytest.fixture(autouse=True)
def _apart(monkeypatch):
    """Keeps nothing on disk, and leaves what programs are planned with as it is."""
    monkeypatch.setattr(machine, "find_folder", lambda: None)
    monkeypatch.setattr(plan, "_FUSED", plan._FUSED)


@pytest.mark.parametrize("first", range(0, PER_TEST * TESTS, PER_TEST))
def test_random_programs_are_what_they_are_eagerly(first):
    for seed in range(first, first + PER_TEST):
        run_program(seed, most=1)


def main(count, first):
    """Runs programs; in several processes if they are many, because machine code that is loaded stays in memory."""
    if count > 200:
        failures = 0
        for begin in range(first, first + count, 200):
            failures += subprocess.run([sys.executable, __file__, "200", str(begin)], check=False).returncode
        print(f"{count} programs, {failures} failures")
        return failures
    machine.find_folder = lambda: None
    failures = 0
    for seed in range(first, first + count):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                source = run_program(seed)
            if count == 1:
                print(source)
        except Exception as error:
            failures += 1
            text = str(error) if isinstance(error, DifferenceError) else f"seed {seed}: {type(error).__name__}: {error}"
            print(text, flush=True)
    return failures


if __name__ == "__main__":
    sys.exit(min(main(*map(int, [*sys.argv[1:], "0"][:2])), 200))
