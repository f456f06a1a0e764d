"""Embeddings: a vector of parameters for each of some things, such as words."""

from __future__ import annotations

import random
from typing import Any

from ..arguments import check_rng, is_nested
from ..functional import one_hot, weighted_sums
from ..functional.classes import read_index
from .initialisers import make_values
from .inputs import check_sizes
from .module import Module

__all__ = ["Embedding"]


class Embedding(Module):
    """Gives the vector of an index, a line of ``weight``; for lists of indexes, lists of vectors.

    (Bengio et al., *A neural probabilistic language model*, 2003.)

    Args:
        num_embeddings: the number of vectors.
        embedding_dim: the length of a vector.
        rng: the random generator for the weights, which are normally distributed with mean 0 and variance 1.

    Raises:
        ValueError: if a size is not a positive whole number.

    >>> words = Embedding(10, 3)
    >>> [len(vector) for vector in words([4, 2, 2, 7])]
    [3, 3, 3, 3]
    >>> words(4) == words.weight[4]
    True
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, *, rng: Any = random) -> None:
        check_sizes(num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        check_rng(rng, "gauss")
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.weight = make_values(lambda: rng.gauss(0, 1), num_embeddings, embedding_dim)

    def forward(self, index: Any) -> list[Any]:
        """Returns the vector of an index, or those of the indexes in nested lists.

        Raises:
            ValueError: if an index is below 0, or not below ``num_embeddings``.
            TypeError: if an index is not a whole number.
        """
        if is_nested(index):
            return [self.forward(i) for i in index]
        if hasattr(index, "_one_hot"):  # an argument of a compiled function is known only when the function runs
            of_index = weighted_sums(one_hot(index, self.num_embeddings))
            return [of_index(column) for column in zip(*self.weight, strict=True)]
        return list(self.weight[read_index(index, self.num_embeddings, "embeddings", "an index of Embedding")])

    def _title(self) -> str:
        return f"Embedding({self.num_embeddings}, {self.embedding_dim})"
