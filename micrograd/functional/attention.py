"""Attention: each query takes a mean of values, weighted by how well their keys fit it."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from ..arguments import read_lists, shape_of, to_float, to_lists
from ..engine import Value, lift
from .classes import softmax
from .draws import dropout
from .sums import dot, weighted_sums

__all__ = ["Mask", "attend", "attention", "read_mask"]

Mask = Sequence[Sequence[Any]]
"""For each query and each key, the number that is added to their score, or None if the query does not see the key."""


def attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    *,
    rng: Any = random,
) -> list[Any]:
    """softmax(query·keyᵀ·scale + mask)·value: PyTorch's ``scaled_dot_product_attention``.

    (Vaswani et al., *Attention is all you need*, 2017.)

    Args:
        query: queries (L, E), or a batch of them, nested to any depth.
        key: keys (S, E), nested like the queries.
        value: values (S, Ev), nested like the queries.
        attn_mask: for each query and key (L, S), True if the query may see the key, or a number that is added to their
            score, −∞ included; one mask for all of a batch.
        dropout_p: the probability with which a weight is dropped, as by :func:`dropout`.
        is_causal: whether query i sees the keys 0 to i only.
        scale: a factor of the scores; the default is 1/√E.
        rng: the random generator for the dropout.

    The output of a query that sees no key is 0.

    Raises:
        ValueError: if shapes don't go together.

    >>> out = attention([[Value(1000)]], key=[[1.0], [0.0]], value=[[3.0, 4.0], [5.0, 6.0]])
    >>> [[x.data for x in row] for row in out]
    [[3.0, 4.0]]
    """
    query, key, value = map(to_lists, (query, key, value))
    shapes = shape_of(query), shape_of(key), shape_of(value)
    fits = all(isinstance(shape, tuple) and len(shape) >= 2 for shape in shapes)
    fits = fits and shapes[0][:-2] == shapes[1][:-2] == shapes[2][:-2]
    if not fits or shapes[0][-1] != shapes[1][-1] or shapes[1][-2] != shapes[2][-2]:
        raise ValueError(
            "attention() takes queries (L, E), keys (S, E) and values (S, Ev), or batches of as many, not the shapes "
            f"{shapes[0]}, {shapes[1]} and {shapes[2]}"
        )
    mask = read_mask("attn_mask", attn_mask, shapes[0][-2], shapes[1][-2], is_causal, True)
    factor = 1 / math.sqrt(shapes[0][-1]) if scale is None else scale
    drop = partial(dropout, p=dropout_p, rng=rng)

    return _attend_nested(len(shapes[0]), (query, key, value), partial(attend, mask=mask, scale=factor, drop=drop))


def attend(
    query: Any, key: Any, value: Any, mask: Mask, scale: float, drop: Callable[[list[Value]], list[Value]]
) -> tuple[list[Any], list[Any]]:
    """Returns the output for each query of a sample, and its weights of all keys.

    Args:
        query, key, value: lists of vectors.
        mask: as :func:`read_mask` gives it.
        scale: a factor of the scores.
        drop: a function that is called with the weights of a query.

    >>> outputs, weights = attend([[Value(0)]], [[1.0], [2.0]], [[3.0], [5.0]], [[0.0, 0.0]], 1.0, list)
    >>> outputs[0][0].data, [w.data for w in weights[0]]
    (4.0, [0.5, 0.5])
    """
    key, value = ([list(map(lift, vector)) for vector in vectors] for vectors in (key, value))
    outputs, weights = [], []
    for vector, line in zip(query, mask, strict=True):
        seen = [j for j, entry in enumerate(line) if entry is not None]
        scores = [dot(key[j], vector) * scale for j in seen]
        added = [line[j] for j in seen]
        scores = [s + a if isinstance(a, Value) or a else s for s, a in zip(scores, added, strict=True)]
        shares = drop(softmax(scores)) if seen else []
        of_seen = weighted_sums(shares)
        outputs.append([of_seen([column[j] for j in seen]) for column in zip(*value, strict=True)])
        by_key = dict(zip(seen, shares, strict=True))
        weights.append([by_key[j] if j in by_key else lift(0.0) for j in range(len(key))])
    return outputs, weights


def _attend_nested(depth: int, parts: Sequence[Any], of_sample: Callable[..., tuple[list[Any], Any]]) -> list[Any]:
    if depth > 2:
        return [_attend_nested(depth - 1, inner, of_sample) for inner in zip(*parts, strict=True)]
    return of_sample(*parts)[0]


def read_mask(name: str, mask: Any, queries: int, keys: int, is_causal: bool = False, sees: bool = True) -> Mask:
    """Returns, for each query and key, the number that is added to their score; None if the query doesn't see the key.

    Args:
        name: what the mask is called, for the message.
        mask: a table of bools and numbers (queries, keys), or None to see all keys.
        queries, keys: how many there are.
        is_causal: whether query i sees the keys 0 to i only.
        sees: the bool that says that the query sees the key.

    Raises:
        ValueError: if the mask has another shape.
        TypeError: if it contains something else, or is an argument of a function that is being compiled.

    >>> read_mask("attn_mask", [[True, False], [0.5, float("-inf")]], 2, 2)
    [[0.0, None], [0.5, None]]
    >>> read_mask("attn_mask", None, 2, 2, is_causal=True)
    [[0.0, None], [0.0, 0.0]]
    """
    if mask is None:
        mask = [[0.0] * keys] * queries
    mask = read_lists(mask, f"{name} has the shape ({queries}, {keys})", (queries, keys))
    return [
        [None if is_causal and j > i else _read_entry(entry, sees) for j, entry in enumerate(line)]
        for i, line in enumerate(mask)
    ]


def _read_entry(entry: Any, sees: bool) -> Any:
    if isinstance(entry, bool):
        return 0.0 if entry is sees else None
    if not isinstance(entry, Value):
        number = to_float(entry)
        return None if number == -math.inf else number
    if hasattr(entry, "_one_hot") and not entry.parents:
        raise TypeError(
            "a mask is an argument of a function that is being compiled, for which True is 1.0: make the mask within "
            "the function; or if its numbers are to be added to the scores, add 0.0 to each before"
        )
    return entry
