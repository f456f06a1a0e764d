"""Exercises: what is asked has one right answer, and a wrong one is explained by the rule that was missed."""

import re
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micrograd import Value
from micrograd.__main__ import main
from micrograd.testing.exercises import Exercise, practise

seeds = st.integers(0, 10_000)


def answer_next(answers, question):
    return next(answers)


def make(expression, **numbers):
    """Returns an exercise on a root, with names for its nodes."""
    leaves = {name: Value(x) for name, x in numbers.items()}
    nodes = dict(leaves)
    exec(expression, {}, nodes)
    return Exercise(list(nodes.values())[-1], {node: name for name, node in nodes.items()})


@given(seeds)
def test_an_exercise_has_the_engines_answers(seed):
    exercise = Exercise.draw(seed)
    exercise.root.backward()
    assert {exercise.names[n]: n.grad for n in exercise.names} == {q: exercise.find_answer(q) for q in "abcde"}
    assert str(exercise) == str(Exercise.draw(seed))


@given(seeds, st.sampled_from("abcde"), st.integers(-20, 20))
def test_a_wrong_answer_is_told_the_right_one(seed, name, given):
    exercise = Exercise.draw(seed)
    right = exercise.find_answer(name)
    text = exercise.explain(name, right + given)
    assert text.startswith(f"No, not {right + given:g}. ")
    assert re.search(rf"(= | is ){right:g}\.?$", text)


@given(seeds)
def test_only_right_answers_are_right(seed):
    exercise = Exercise.draw(seed)
    right = [str(exercise.find_answer(name)) for name in exercise.questions]
    for wrong in range(-1, len(right)):
        answers = iter([f"{float(text) + 1}" if i == wrong else text for i, text in enumerate(right)])
        shown = []
        assert practise(exercise, partial(answer_next, answers), shown.append) == (wrong == -1)
        assert sum(text.startswith("No") for text in shown) == (wrong != -1)


@pytest.mark.parametrize(
    ("expression", "numbers", "name", "given", "rule"),
    [
        ("c = a * b", {"a": 3, "b": 5}, "c", 0, "by itself is 1"),
        ("c = a * b", {"a": 3, "b": 5}, "a", 3, "the local gradient of a product is the other factor"),
        ("c = a * a", {"a": 3}, "a", 3, "is used more than once"),
        ("c = a * b; d = c * 1 + a", {"a": 3, "b": 5}, "a", 5, "is used more than once"),
        ("c = a - b", {"a": 3, "b": 5}, "b", 1, "the local gradient of what is subtracted is -1"),
        ("c = -a", {"a": 3}, "a", 1, "the local gradient of what is subtracted is -1"),
        ("c = a ** 2", {"a": 5}, "a", 5, "the local gradient of x² is 2x"),
        ("c = a ** 2", {"a": 5}, "a", 2, "the local gradient of x² is 2x"),
        ("c = a.relu()", {"a": -5}, "a", 1, "the slope of relu is 1 above 0, and 0 below"),
        ("c = a + b; d = c * c", {"a": 3, "b": 5}, "a", 1, "has to be multiplied by the gradient of c"),
        ("c = a * b; d = c * c", {"a": 3, "b": 5}, "a", 16 * 2 - 2, "has to be multiplied by the local gradient"),
        ("c = a * b", {"a": 3, "b": 5}, "a", -5, "the sign is wrong"),
        ("c = a * b", {"a": 3, "b": 5}, "a", 77, "for each use, the local gradient times"),
    ],
)
def test_the_rule_that_was_missed(expression, numbers, name, given, rule):
    assert rule in make(expression, **numbers).explain(name, given)


def test_the_command(capsys, monkeypatch):
    answers = iter(["1", "2", "x", "16", "20", "16"])
    monkeypatch.setattr("builtins.input", lambda question: next(answers))
    assert main(["exercise", "--seed", "5"]) == 0
    out = capsys.readouterr().out
    assert "'x' is no number" in out
    assert out.endswith("5 of 5 are right.\n")
    answers = iter(["1", "2", ""])

    def answer(question):
        try:
            return next(answers)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", answer)
    assert main(["exercise", "--seed", "5"]) == 1
    assert capsys.readouterr().out.endswith("∂e/∂c is 16.\n2 of 5 are right.\n")
