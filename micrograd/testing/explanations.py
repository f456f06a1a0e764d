"""Explains wrong gradients: what happened to contributions that should be added, and what is wrong with a slope."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

from ..engine import Value, operation
from ..rules import Rule
from ..stepping import contributions
from .probes import Answer, Probe, agree

__all__ = ["describe_slope", "describe_sum", "is_multiple", "judge_shared_leaf", "list_contributions"]

# What may be kept of contributions that should be added.
_FATES: dict[str, Callable[[list[float]], float]] = {
    "only the last one (= in place of +=)": lambda parts: parts[-1],
    "only the first one": lambda parts: parts[0],
    "only the largest one": lambda parts: max(0.0, *parts),
    "only the one of largest magnitude": partial(max, key=abs),
    "their average": lambda parts: sum(parts) / len(parts),
    "their product": math.prod,
}


def describe_sum(answers: Sequence[Answer]) -> str:
    """Says what is kept of the contributions to a leaf, where they should be added."""
    leaf = answers[0].list_wrong_leaves()[0]
    parts = " and ".join(f"{part:.10g}" for part in list_contributions(answers[0].probe, leaf))
    fates = [text for text, keep in _FATES.items() if all(_is_kept(answer, keep) for answer in answers)]
    kept = fates[0] if len(fates) == 1 else "only one of them"
    return f"It gets {parts}{f', and keeps {kept}' * bool(fates)}."


def _is_kept(answer: Answer, keep: Callable[[list[float]], float]) -> bool:
    leaf = answer.list_wrong_leaves()[0]
    return agree(answer.gradients[leaf], keep(list_contributions(answer.probe, leaf)))


def is_multiple(answer: Answer) -> bool:
    """Whether the wrong gradient of a leaf is the right one, several times."""
    leaf = answer.list_wrong_leaves()[0]
    got, expected = answer.gradients[leaf] or 0.0, answer.probe.gradients[leaf] or 0.0
    times = round(got / expected) if expected else 0
    return times > 1 and agree(got, times * expected)


def judge_shared_leaf(answer: Answer) -> str:
    """The kind of fault where a leaf is used twice; empty if several kinds explain it.

    What the root gives to the leaf arrives first, what the operation gives arrives last.
    """
    leaf, gradients = answer.list_wrong_leaves()[0], answer.gradients
    *first, last = list_contributions(answer.probe, leaf)
    got = gradients[leaf] or 0.0
    if all(agree(other, last) for other in first) and agree(got, last):
        return ""  # can't tell which one got lost
    if agree(got, last):
        return "overwritten"
    return "order" if any(agree(got, part) for part in (0.0, *first)) else "visited twice"


def list_contributions(probe: Probe, node: int) -> list[float]:
    """What each use of a node contributes to its gradient, in the order in which it arrives."""
    return [
        given
        for i, child in reversed([*enumerate(probe.nodes)])
        for parent, given in zip(child.parents, contributions(child, probe.gradients[i] or 0.0), strict=True)
        if parent is probe.nodes[node]
    ]


# What is wrong with a local gradient

_OF_OUTPUT = ("tanh", "sigmoid", "exp", "sqrt")  # books write their slopes with the output; they all increase
_OF_INPUT = ("log", "sin", "cos")  # and those of these with the input


def describe_slope(rule: Rule, answers: Sequence[Answer]) -> str:
    """Says what is wrong with the local gradients of an operation; empty if it can't be said.

    Args:
        rule: the operation.
        answers: what a class made of this operation at some points.
    """
    pairs = [
        [(answer.gradients[i] or 0.0, answer.probe.gradients[i] or 0.0) for i in answer.probe.leaves]
        for answer in answers
    ]
    flat = [pair for row in pairs for pair in row]
    wrong = [(got, expected) for got, expected in flat if not agree(got, expected)]
    if all(agree(row[0][0], row[-1][1]) and agree(row[-1][0], row[0][1]) for row in pairs) and len(pairs[0]) > 1:
        return "The gradients of both operands are swapped."
    if all(got == 0 for got, _ in wrong):
        return "It hands nothing on." if any(expected > 0 for _, expected in wrong) else "It hands on nothing below 0."
    if all(agree(got, -expected) for got, expected in wrong):
        return "Its sign is wrong."
    if rule.name in _OF_OUTPUT and _has_slopes_at(rule, answers, lambda a: _invert(rule, a.data[0])):
        return "It is computed from the input, where the output is meant."
    if rule.name in _OF_INPUT and _has_slopes_at(rule, answers, lambda a: a.data[-1]):
        return "It is computed from the output, where the input is meant."
    if rule.name in ("relu", "abs") and not any(answer.list_wrong_leaves() for answer in answers if answer.data[0] > 0):
        return "It is right above 0, the kink, and wrong there or below."
    ratios = [got / expected for got, expected in wrong if expected]
    if ratios and len(ratios) == len(wrong) and all(agree(ratio, ratios[0]) for ratio in ratios):
        return f"A factor of {ratios[0]:.6g} is wrong."
    return ""


def _has_slopes_at(rule: Rule, answers: Sequence[Answer], place: Callable[[Answer], float | None]) -> bool:
    # Whether the gradients are the right slopes of other operands than they should be.
    others = [(answer.gradients[0], x) for answer in answers if (x := place(answer)) is not None]
    try:
        return bool(others) and all(agree(got, contributions(operation(rule)(Value(x)))[0]) for got, x in others)
    except (ArithmeticError, ValueError):
        return False


def _invert(rule: Rule, number: float) -> float | None:
    # The operand for which an increasing function has this value, by bisection; None if there is none.
    low, high = 0.0 if rule.name == "sqrt" else -40.0, 40.0
    if not rule(low) < number < rule(high):
        return None
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if rule(middle) < number else (low, middle)
    return low
