"""Datasets, batches, and the standardisation of data."""

import copy
import math
import pickle
import random
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from micrograd import Value, fit, optim
from micrograd.data import DataLoader, Standardisation, TensorDataset, split, standardise


@given(st.lists(st.tuples(st.integers(), st.text()), max_size=9), st.integers(1, 4), st.booleans())
def test_batches_of_pairs_unpack_and_hold_each_sample_once(pairs, batch_size, shuffle):
    batches = list(DataLoader(pairs, batch_size, shuffle))
    assert all(type(xs) is type(ys) is list and len(xs) == len(ys) <= batch_size for xs, ys in batches)
    found = [pair for xs, ys in batches for pair in zip(xs, ys, strict=True)]
    assert (found if not shuffle else sorted(found)) == (pairs if not shuffle else sorted(pairs))


@given(st.lists(st.lists(st.integers(), min_size=2, max_size=2), max_size=9), st.integers(1, 4))
def test_batches_of_other_samples_are_lists_of_them(samples, batch_size):
    batches = list(DataLoader(samples, batch_size))
    assert [sample for batch in batches for sample in batch] == samples
    assert all(type(batch) is list for batch in batches)


@pytest.mark.parametrize("kind", [list, tuple, np.array])
def test_a_dataset_is_the_sequence_of_its_tuples(kind):
    xs, ys = [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]], [1, 2, 3]
    data = TensorDataset(kind(xs), kind(ys))
    assert [(list(x), y) for x, y in data] == list(zip(xs, ys, strict=True))
    part_of_xs, part_of_ys = data[1:]
    assert ([list(x) for x in part_of_xs], list(part_of_ys)) == (xs[1:], ys[1:])
    train, test = split(data, 2 / 3, random.Random(0))
    assert sorted(y for _, y in train + test) == ys
    assert [tuple(map(len, batch)) for batch in DataLoader(data, 2)] == [(2, 2), (1, 1)]
    assert [y for (batch,) in DataLoader(TensorDataset(kind(ys)), 2) for y in batch] == ys


def test_fit_takes_a_dataset_as_it_takes_a_list_of_pairs():
    xs, ys = [0.5, 1.0, -1.0, 2.0], [1.0, 0.0, 2.0, 0.5]
    found = []
    for data in (list(zip(xs, ys, strict=True)), TensorDataset(xs, ys)):
        for compiled in (False, True):
            w = Value(0.3)
            history = fit(
                lambda x, y, w=w: (w * x - y) ** 2, data, optim.SGD([w], lr=0.1), epochs=3, rng=random.Random(0),
                compile=compiled, progress=False,
            )  # fmt: skip
            found.append([*history.loss, w.data])
    assert all(numbers == pytest.approx(found[0], rel=1e-12) for numbers in found)


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.integers(-9, 9)), min_size=1, max_size=20))
def test_columns_have_mean_0_and_deviation_1(rows):
    standard, apply = standardise(rows)
    assert apply(rows) == standard
    for before, after in zip(zip(*rows, strict=True), zip(*standard, strict=True), strict=True):
        if min(before) == max(before):
            assert set(after) == {0.0}
        elif max(before) - min(before) > 1e-6 * max(map(abs, before)):
            assert statistics.fmean(after) == pytest.approx(0.0, abs=1e-8)
            assert statistics.pstdev(after) == pytest.approx(1.0, rel=1e-8)


def test_constant_columns_become_0_and_others_are_shifted_by_them():
    rows, apply = standardise([[0.1, 1e300, 5e-324], [0.1, -1e300, 0], [0.1, 1e300, 0]])
    assert [row[0] for row in rows] == [0.0] * 3
    assert all(math.isfinite(x) for row in rows for x in row)
    assert apply([[2.1, 0, 0]])[0][0] == 2.0
    assert apply.deviations[0] == 1.0


def test_what_was_measured_is_applied_to_other_rows():
    _, apply = standardise(np.array([[1.0, 10.0], [3.0, 30.0]]))
    assert (apply.means, apply.deviations) == ([2.0, 20.0], [1.0, 10.0])
    assert apply([[4, 20], (2, 0)]) == [[2.0, 0.0], [0.0, -2.0]]
    assert apply([]) == []
    assert pickle.loads(pickle.dumps(apply)) == copy.deepcopy(apply) == Standardisation([2.0, 20.0], [1.0, 10.0])
    assert all(type(x) is float for x in [*apply.means, *apply.deviations, *apply(np.array([[1, 2]]))[0]])


@pytest.mark.parametrize(
    ("action", "error", "message"),
    [
        (lambda: standardise([]), ValueError, "no rows"),
        (lambda: standardise(3), TypeError, r"standardise\(\) takes a sequence, not int 3"),
        (lambda: standardise([1, 2]), TypeError, "a row .* takes a sequence, not int 1"),
        (lambda: standardise(["ab"]), TypeError, "not str 'ab'"),
        (lambda: standardise([["a"]]), TypeError, "not str 'a'"),
        (lambda: standardise([[Value(1.0)]]), TypeError, "not Value"),
        (lambda: standardise([[1, 2], [3]]), ValueError, "2 numbers, and row 1 has 1"),
        (lambda: standardise([[1, 2], [3, math.nan]]), ValueError, "row 1 has nan in column 1"),
        (lambda: standardise([[math.inf]]), ValueError, "row 0 has inf in column 0"),
        (lambda: standardise([[1], [2]])[1]([[1, 2]]), ValueError, "1 numbers, and row 0 has 2"),
        (lambda: standardise([[1], [2]])[1]([[math.nan]]), ValueError, "row 0 has nan"),
        (lambda: DataLoader({1, 2}), TypeError, r"DataLoader\(\): the data are a sequence of samples, not set"),
        (lambda: DataLoader(DataLoader([1])), TypeError, r"DataLoader\(\) takes samples, not a DataLoader"),
        (lambda: DataLoader([1], "2"), TypeError, r"DataLoader\(\): batch_size is a whole number, not str '2'"),
        (lambda: DataLoader([1], True), TypeError, "batch_size is a whole number, not bool True"),
        (lambda: DataLoader([1], 0), ValueError, "batch_size must be a whole number, at least 1, not 0"),
        (lambda: DataLoader([1], 1.5), ValueError, "batch_size must be a whole number, at least 1, not 1.5"),
        (lambda: DataLoader([1], shuffle="yes"), TypeError, "shuffle is True or False, not str 'yes'"),
        (lambda: DataLoader([1], drop_last=1), TypeError, "drop_last is True or False, not int 1"),
        (lambda: DataLoader([1], rng=0), TypeError, r"rng is a random\.Random, or the module random, not int 0"),
        (lambda: TensorDataset(), ValueError, r"equal length, one at least; their lengths: there are none"),
        (lambda: TensorDataset([1, 2], [1]), ValueError, r"TensorDataset\(\) .* their lengths: 2, 1"),
        (lambda: TensorDataset([1], {1}), TypeError, r"TensorDataset\(\): the data are a sequence .* not set"),
        (lambda: list(DataLoader([(1, 2), (3,)], 2)), ValueError, r"\(3,\) does not go with \(1, 2\)"),
        (lambda: list(DataLoader([(1, 2), 3], 2)), ValueError, r"3 does not go with \(1, 2\)"),
        (lambda: split(5, 0.5), TypeError, r"split\(\): the data are a sequence of samples, not int"),
    ],
)
def test_bad_input(action, error, message):
    with pytest.raises(error, match=message):
        action()
