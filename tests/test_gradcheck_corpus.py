"""gradcheck on the corpus: no false alarm, and nearly all wrong gradients are found."""

import math
from functools import cache

import pytest
from corpus import CASES, RANDOM, make_random, plant_errors

from micrograd.testing import gradcheck


@cache
def check(case):
    return gradcheck(case.f, list(case.point), grad=case.gradient, raises=False).rows


def test_there_are_many_cases():
    assert len(CASES) + len(RANDOM) >= 300
    assert len({str(case) for case in CASES}) == len(CASES)


@pytest.mark.parametrize("kind", list(dict.fromkeys(case.kind for case in CASES)))
def test_each_right_gradient_gets_its_verdict(kind):
    strange = []
    for case in CASES:
        if case.kind == kind:
            for row in check(case):
                if row.verdict not in case.verdicts or (row.verdict == "ok" and row.noticed > 1e-6):
                    strange.append(f"{case}: {row}")
    assert not strange, "\n".join(strange)


def test_wrong_gradients_are_found():
    missed, count = [], 0
    for case in CASES:
        for name, i, error, gradient in plant_errors(case):
            before = check(case)[i]
            if case.verdicts != {"ok"} and not error > 2.1 * before.noticed and not math.isnan(before.noticed):
                continue  # the row said that it would not notice this
            count += 1
            row = gradcheck(case.f, list(case.point), grad=lambda *x, g=gradient: g, raises=False).rows[i]
            if row.verdict != "wrong":
                missed.append(f"{case} {name}: {row}")
    assert count > 2000
    assert len(missed) <= 0.01 * count, "\n".join([f"{len(missed)} of {count}", *missed])


@pytest.mark.parametrize(("kind", "seed"), RANDOM)
def test_a_random_function_is_an_error(kind, seed):
    with pytest.raises(ValueError, match="is random: it gives another result at the same point"):
        gradcheck(make_random(kind, seed), 0.7, grad=lambda x: 1.0)
