"""Similarity of vectors, and the loss that learns it from pairs."""

from __future__ import annotations

from typing import Any

from ..arguments import read_lists, shape_of, to_float
from ..engine import lift
from .losses import cross_entropy
from .sums import dot, weighted_sums

__all__ = ["cosine_similarity", "info_nce", "normalize"]


def normalize(x: Any, eps: float = 1e-12) -> list[Any]:
    """Divides a vector by its length, or by ``eps`` if that is larger.

    Args:
        x: a vector, or a list of vectors.
        eps: above 0.

    Raises:
        ValueError: if ``x`` has another shape, or ``eps`` is not above 0.

    >>> [y.data for y in normalize([3.0, 4.0])]
    [0.6, 0.8]
    """
    x = read_lists(x, "normalize() takes a vector, or a list of vectors", (None,), (None, None))
    if isinstance(x[0], list):
        return [normalize(vector, eps) for vector in x]
    least = _read_positive("eps", eps) ** 2
    vector = list(map(lift, x))
    length = dot(vector, vector).maximum(least).sqrt()
    return [value / length for value in vector]


def cosine_similarity(x: Any, y: Any, eps: float = 1e-8) -> Any:
    """The cosine of the angle between two vectors, x·y/(max(‖x‖, eps)·max(‖y‖, eps)).

    Args:
        x: a vector, or a list of vectors.
        y: another one of this shape.
        eps: above 0.

    Raises:
        ValueError: if the shapes differ, or ``eps`` is not above 0.

    >>> cosine_similarity([3.0, 4.0], [4.0, 3.0]).data
    0.96
    """
    x, y = normalize(x, eps), normalize(y, eps)
    if shape_of(x) != shape_of(y):
        raise ValueError(f"cosine_similarity() takes two vectors of one shape, not {shape_of(x)} and {shape_of(y)}")
    if isinstance(x[0], list):
        return [dot(a, b) for a, b in zip(x, y, strict=True)]
    return dot(x, y)


def info_nce(queries: Any, keys: Any, temperature: float = 0.1, reduction: str = "mean") -> Any:
    """−log(exp sᵢᵢ / Σⱼ exp sᵢⱼ), where sᵢⱼ is the cosine similarity of query i and key j, divided by the temperature.

    It is least where each query is similar to its own key, and to no other (van den Oord et al., *Representation
    learning with contrastive predictive coding*, 2018).

    Args:
        queries: vectors.
        keys: the key of each query, in the same order; after them, there may be keys of no query.
        temperature: above 0; the smaller, the more the most similar keys count.
        reduction: as in the other losses.

    Raises:
        ValueError: if vectors differ in length, a query has no key, or the temperature is not above 0.

    >>> views = [[1.0, 0.0], [0.0, 1.0]]
    >>> round(info_nce(views, views, temperature=1.0).data, 6)  # log(1 + 1/e)
    0.313262
    """
    temperature = _read_positive("temperature", temperature)
    queries, keys = (
        normalize(read_lists(x, f"info_nce() takes {name} (number, length)", (None, None)))
        for name, x in (("queries", queries), ("keys", keys))
    )
    if len(queries) > len(keys) or len(queries[0]) != len(keys[0]):
        raise ValueError(
            "info_nce() takes a key for each query, vectors of one length, not the shapes "
            f"{shape_of(queries)} and {shape_of(keys)}"
        )
    scores = []
    for query in queries:
        of_query = weighted_sums([x / temperature for x in query])
        scores.append([of_query(key) for key in keys])
    return cross_entropy(scores, range(len(queries)), reduction)


def _read_positive(name: str, number: Any) -> float:
    positive = to_float(number)
    if not positive > 0:
        raise ValueError(f"{name} must be above 0, not {number}")
    return positive
