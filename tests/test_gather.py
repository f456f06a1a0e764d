"""Arguments that are indexes of lists of Values: one program for all of them, with Python's numbers and errors."""

import functools
import random

import pytest

pytest.importorskip("llvmlite", reason="compiling needs llvmlite, which is not installed")

from micrograd import Value, fit, functional, nn, optim
from micrograd import compile as compiled
from micrograd.compiler import TraceError
from micrograd.training import TrainingError

rng = random.Random(0)


def make_table(*sizes):
    return [make_table(*sizes[1:]) for _ in range(sizes[0])] if sizes else Value(rng.gauss(0, 1))


EMBEDDING, TABLE, WEIGHTS = make_table(5, 3), make_table(4, 6), make_table(7)


class Model(nn.Module):
    def __init__(self):
        self.tokens, self.bias = make_table(6, 4), make_table(6)

    def forward(self, i):
        hidden = [x.tanh() for x in self.tokens[i]]
        return [functional.dot(row, hidden) + b for row, b in zip(self.tokens, self.bias, strict=True)]


model = Model()
FUNCTIONS = {
    "rows": (lambda i, j: functional.dot(EMBEDDING[i], EMBEDDING[j]), (5, 5)),
    "items": (lambda i, j: TABLE[i][j] * WEIGHTS[j] + TABLE[j][i], (4, 4)),
    "tied weights": (lambda i, j: functional.cross_entropy(model(i), j), (6, 6)),
    "a comprehension": (lambda *word: functional.sum([EMBEDDING[t][0] * WEIGHTS[t] for t in word]), (5, 5)),
    "a result": (lambda i, j: WEIGHTS[i], (7, 7)),
    "a list that is made": (lambda i, j: functional.log_softmax([w * 2 for w in WEIGHTS])[i] * EMBEDDING[j][0], (7, 5)),
    "an item of a model's outputs": (lambda i, j: functional.softmax(model(i))[j] * 2.0, (6, 6)),
    "a result that is made": (lambda i, j: [w * EMBEDDING[j][1] for w in WEIGHTS][i], (7, 5)),
    "int": (lambda i, j: WEIGHTS[int(i)] * EMBEDDING[int(j)][1], (7, 5)),
    "a partial function": (functools.partial(lambda table, i, j: table[i] - table[j], WEIGHTS), (7, 7)),
    "a list among the arguments": (lambda i, j: [i * 2.0, WEIGHTS[j]][0] * EMBEDDING[j][0], (5, 5)),
}


def leaves(tree):
    return [leaf for item in tree for leaf in leaves(item)] if isinstance(tree, list) else [tree]


PARAMETERS = [*leaves(EMBEDDING), *leaves(TABLE), *leaves(WEIGHTS), *model.parameters()]


def outcome(f, *arguments):
    for parameter in PARAMETERS:
        parameter.grad = 0.0
    out = f(*arguments)
    out.backward()
    return [out.data, *[parameter.grad for parameter in PARAMETERS]]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_one_program_for_all_indexes(name):
    function, sizes = FUNCTIONS[name]
    f, programs = compiled(function), set()
    lowest = [0, 0] if name in ("tied weights", "a list among the arguments") else [-size for size in sizes]
    for i in range(lowest[0], sizes[0]):
        for j in range(lowest[1], sizes[1]):
            assert outcome(f, i, j) == pytest.approx(outcome(function, i, j), rel=1e-13, abs=1e-15), (i, j)
            programs.add(id(f.program))
    assert len(programs) == 1


def test_a_long_list_that_is_made():
    def function(i):
        return functional.log_softmax([WEIGHTS[k % 7] * (k / 30) for k in range(100)])[i]

    f = compiled(function)
    for i in (0, 31, 32, 64, 99, -100):
        assert outcome(f, i) == pytest.approx(outcome(function, i), rel=1e-13, abs=1e-15)


def test_arguments_are_lists_too():
    f = compiled(lambda xs, i: xs[i] * WEIGHTS[i])
    x = [Value(float(k)) for k in range(7)]
    for i in range(7):
        f(x, i).backward()
        assert f(x, i).data == i * WEIGHTS[i].data
        assert x[i].grad == WEIGHTS[i].data
    assert f.values([[1.0] * 7, [2.0] * 7], [3, -1]).tolist() == [WEIGHTS[3].data, 2 * WEIGHTS[6].data]


@pytest.mark.parametrize("index", [7, -8, 100])
def test_an_index_out_of_range_is_pythons_error(index):
    f = compiled(lambda i: WEIGHTS[i] * 1.0)
    for _ in range(2):  # before there is a program, and with one
        for call in (lambda: f(index), lambda: f.values([0, index]), lambda: f.batch([1, index])):
            with pytest.raises(IndexError, match="list index out of range"):
                call()
        assert f(2).data == WEIGHTS[2].data


@pytest.mark.parametrize(
    "function",
    [
        lambda i: WEIGHTS[0] * [1.0, 2.0, 4.0][i],  # a list of plain numbers
        lambda i: WEIGHTS[[0, 2, 1][i]] * 1.0,
        lambda i: functional.sum(WEIGHTS[:i]),
        lambda i: functional.sum([WEIGHTS[0]] * 3) if [True, True, False][i] else WEIGHTS[0] * 1.0,
        lambda i: [WEIGHTS[0] * k for k in range(300)][i],  # too long a list of what was computed
        lambda i: [WEIGHTS[0] * 2, Value(1.0)][i] * 1.0,
        lambda i: WEIGHTS[i + 1] * 1.0,
        lambda i: functional.sum([WEIGHTS[0] for _ in range(i)]),
        lambda i: [WEIGHTS[0], WEIGHTS[0]][i] * 1.0,
    ],
)
def test_another_use_of_an_index_is_refused(function):
    with pytest.raises(TraceError, match="index"):
        compiled(function)(1)


WORDS = [[rng.randrange(6) for _ in range(rng.choice([2, 3]))] for _ in range(120)]


def train(is_compiled, words):
    own = nn.Module()
    own.tokens = [[Value(0.1 * (i + k)) for k in range(3)] for i in range(6)]
    parameters = own.parameters()

    def loss(word):
        hidden = [functional.sum(column) for column in zip(*[own.tokens[t] for t in word[:-1]], strict=True)]
        return functional.cross_entropy([functional.dot(row, hidden) for row in own.tokens], word[-1])

    history = fit(loss, words, optim.Adam(parameters, lr=0.01), epochs=2, batch_size=8, rng=random.Random(1),
                  compile=is_compiled, progress=False)  # fmt: skip
    return [*history.loss, *[parameter.data for parameter in parameters]]


def test_training_reads_embeddings_at_indexes():
    assert train(True, WORDS) == pytest.approx(train(False, WORDS), rel=1e-9)


def test_the_sample_with_an_index_out_of_range_is_named():
    for is_compiled in (True, False):
        with pytest.raises(TrainingError, match=r"data\[70\]: IndexError: list index out of range"):
            train(is_compiled, [*WORDS[:70], [6, 1], *WORDS[70:]])
