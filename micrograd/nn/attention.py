"""Attention layers, of which Transformers are made."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

from ..arguments import check_rng, read_lists, shape_of, to_lists
from ..engine import Value
from ..functional import add, mean, weighted_sums
from ..functional.attention import Mask, attend, read_mask
from .activations import Activation, Dropout, Function
from .initialisers import INITIALISERS, make_values
from .inputs import check_flags, check_sizes
from .layers import Linear
from .module import Module
from .normalisation import LayerNorm

__all__ = ["MultiheadAttention", "TransformerEncoderLayer"]


class MultiheadAttention(Module):
    """Several attentions beside each other, each on its own projections of queries, keys and values.

    A call returns the outputs and the weights of attention (Vaswani et al., *Attention is all you need*, 2017).

    Args:
        embed_dim: the length of a vector.
        num_heads: how many attentions; it divides ``embed_dim``.
        dropout: the probability with which a weight of attention is dropped in training.
        bias: whether the projections have biases, which start at 0.
        batch_first: whether batches are (batch, length, embed_dim), not (length, batch, embed_dim).
        rng: the random generator for the weights, which ``"xavier_uniform"`` draws, and for the dropout.

    Raises:
        ValueError: if a size is not positive, or ``num_heads`` does not divide ``embed_dim``.
        TypeError: if an argument has the wrong type.

    >>> x = [[1.0, 2.0, 3.0, 4.0], [0.0, 1.0, 0.0, 1.0], [1.0, 1.0, 0.0, 0.0]]
    >>> outputs, weights = MultiheadAttention(4, num_heads=2)(x, x, x, is_causal=True)
    >>> len(outputs), len(outputs[0]), [w.data for w in weights[0]]
    (3, 4, [1.0, 0.0, 0.0])
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        batch_first: bool = False,
        *,
        rng: Any = random,
    ) -> None:
        check_sizes(embed_dim=embed_dim, num_heads=num_heads)
        check_flags(bias=bias, batch_first=batch_first)
        check_rng(rng, "uniform")
        if embed_dim % num_heads:
            raise ValueError(f"num_heads must divide embed_dim, but {num_heads} does not divide {embed_dim}")
        self.embed_dim, self.num_heads, self.batch_first = embed_dim, num_heads, batch_first
        draw = INITIALISERS["xavier_uniform"]
        self.in_proj_weight = make_values(lambda: draw(rng, embed_dim, 3 * embed_dim, 1.0), 3 * embed_dim, embed_dim)
        self.in_proj_bias = [Value(0) for _ in range(3 * embed_dim)] if bias else None
        self.out_proj = Linear(embed_dim, embed_dim, bias, "xavier_uniform", rng)
        self.dropout = Dropout(dropout, rng)

    def forward(
        self,
        query: Any,
        key: Any,
        value: Any,
        key_padding_mask: Any = None,
        need_weights: bool = True,
        attn_mask: Any = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[list[Any], Any]:
        """Returns the outputs, in the shape of the queries, and the weights of the keys for each query.

        Args:
            query: queries (L, embed_dim), or a batch of them.
            key: keys (S, embed_dim), or a batch.
            value: values like the keys.
            key_padding_mask: for each key (S,), or (batch, S), True to hide it, or a number that is added to its
                scores.
            need_weights: if False, None is returned for the weights.
            attn_mask: for each query and key (L, S), True to hide the key, or a number that is added to the score.
            average_attn_weights: whether the weights are the means over the heads; otherwise, there are those of each.
            is_causal: whether query i sees the keys 0 to i only.

        Raises:
            ValueError: if shapes don't go together, or a query sees no key.
        """
        size, order = self.embed_dim, "batch, length" if self.batch_first else "length, batch"
        takes = f"{self._title()} takes vectors (length, {size}), or batches ({order}, {size})"
        query, key, value = (read_lists(x, takes, (None, size), (None, None, size)) for x in (query, key, value))
        shapes = shape_of(query), shape_of(key), shape_of(value)
        is_batch = len(shapes[0]) == 3
        if is_batch and not self.batch_first:
            query, key, value = map(_turn, (query, key, value))
        samples = (query, key, value) if is_batch else ([query], [key], [value])
        count, keys = len(samples[0]), len(samples[1][0])
        if shapes[1] != shapes[2] or len(shapes[0]) != len(shapes[1]) or count != len(samples[1]):
            raise ValueError(
                f"{self._title()} takes a key and a value for each other, in batches like that of the queries, not the "
                f"shapes {shapes[0]}, {shapes[1]} and {shapes[2]}"
            )
        mask = read_mask("attn_mask", attn_mask, len(samples[0][0]), keys, is_causal, False)
        hidden = [key_padding_mask] if key_padding_mask is not None and not is_batch else key_padding_mask
        masks = [_combine(mask, line) for line in read_mask("key_padding_mask", hidden, count, keys, False, False)]
        found = [self._attend(*sample) for sample in zip(*samples, masks, strict=True)]
        outputs, weights = [out for out, _ in found], None
        if need_weights:
            weights = [_mean(heads) if average_attn_weights else heads for _, heads in found]
        if not is_batch:
            return outputs[0], weights and weights[0]
        return outputs if self.batch_first else _turn(outputs), weights

    def _attend(self, query: list[Any], key: list[Any], value: list[Any], mask: Mask) -> tuple[list[Any], list[Any]]:
        # The outputs for a sample, and the weights of each head.
        projected = [self._project(i, vectors) for i, vectors in enumerate((query, key, value))]
        size = self.embed_dim // self.num_heads
        heads = []
        for first in range(0, self.embed_dim, size):
            parts = [[vector[first : first + size] for vector in vectors] for vectors in projected]
            heads.append(attend(parts[0], parts[1], parts[2], mask, 1 / math.sqrt(size), self.dropout))
        joined = [[x for head in heads for x in head] for heads in zip(*[out for out, _ in heads], strict=True)]
        return self.out_proj(joined), [weights for _, weights in heads]

    def _project(self, part: int, vectors: list[Any]) -> list[list[Value]]:
        lines = range(part * self.embed_dim, (part + 1) * self.embed_dim)
        bias = self.in_proj_bias
        weights = [(bias[i : i + 1] if bias else []) + self.in_proj_weight[i] for i in lines]
        projected = [weighted_sums([1.0] * bool(bias) + vector) for vector in vectors]
        return [[of_vector(line) for line in weights] for of_vector in projected]

    def _title(self) -> str:
        return f"MultiheadAttention({self.embed_dim}, {self.num_heads})"


def _combine(mask: Mask, padding: Sequence[Any]) -> Mask:
    # A mask of queries and keys, and one of keys.
    def add_entries(a: Any, b: Any) -> Any:
        return None if a is None or b is None else a + b

    combined = [[add_entries(a, b) for a, b in zip(line, padding, strict=True)] for line in mask]
    for i, line in enumerate(combined):
        if all(entry is None for entry in line):
            raise ValueError(f"query {i} sees no key, because the masks hide all: attention has then no weights")
    return combined


def _mean(tables: list[Any]) -> list[list[Value]]:
    return [[mean(entries) for entries in zip(*lines, strict=True)] for lines in zip(*tables, strict=True)]


def _turn(lists: Any) -> list[Any]:
    return list(map(list, zip(*lists, strict=True)))


class TransformerEncoderLayer(Module):
    """Attention of a sequence to itself, and a network of two layers for each vector; each adds to its input.

    Normalisation follows each sum; with ``norm_first`` it comes before attention and network instead, which trains
    deep stacks more easily (Vaswani et al., *Attention is all you need*, 2017).

    Args:
        d_model: the length of a vector.
        nhead: the number of heads, which divides ``d_model``.
        dim_feedforward: the number of hidden neurons.
        dropout: the probability of dropout of weights of attention, of hidden neurons, and of what is added.
        activation: of the hidden neurons: a name such as ``"relu"`` or ``"gelu"``, or a function of a Value.
        layer_norm_eps: what the normalisations add to the variance.
        batch_first: whether batches are (batch, length, d_model), not (length, batch, d_model).
        norm_first: whether to normalise first.
        bias: whether linear layers and normalisations have biases.
        rng: the random generator for weights and dropout.

    Raises:
        ValueError: if a setting is out of its range, or ``nhead`` does not divide ``d_model``.
        TypeError: if an argument has the wrong type.

    >>> layer = TransformerEncoderLayer(4, nhead=2, dim_feedforward=8)
    >>> out = layer([[1.0, 2.0, 3.0, 4.0], [0.0, 1.0, 0.0, 1.0]], is_causal=True)
    >>> len(out), len(out[0])
    (2, 4)
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Function = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        *,
        rng: Any = random,
    ) -> None:
        check_flags(norm_first=norm_first)
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, bias, batch_first, rng=rng)
        self.linear1 = Linear(d_model, dim_feedforward, bias, rng=rng)
        self.linear2 = Linear(dim_feedforward, d_model, bias, "xavier", rng)
        self.norm1 = LayerNorm(d_model, layer_norm_eps, bias=bias)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, bias=bias)
        self.activation, self.dropout = Activation(activation), Dropout(dropout, rng)
        self.norm_first = norm_first

    def forward(
        self, src: Any, src_mask: Any = None, src_key_padding_mask: Any = None, is_causal: bool = False
    ) -> list[Any]:
        """Returns the vectors that the block makes of those of a sequence, or of a batch of sequences.

        Args:
            src: a sequence (length, d_model); or a batch (length, batch, d_model), with ``batch_first`` (batch, length,
                d_model).
            src_mask, src_key_padding_mask, is_causal: the masks of :class:`MultiheadAttention`.

        Raises:
            ValueError: if shapes don't go together, or a vector sees none.
        """

        def attend(x: Any) -> Any:
            out, _ = self.self_attn(x, x, x, src_key_padding_mask, False, src_mask, is_causal=is_causal)
            return self.dropout(out)

        def transform(x: Any) -> Any:
            hidden = self.dropout(self.activation(self.linear1(x)))
            return self.dropout(self.linear2(hidden))

        x = to_lists(src)
        for norm, change in ((self.norm1, attend), (self.norm2, transform)):
            x = add(x, change(norm(x))) if self.norm_first else norm(add(x, change(x)))
        return x  # type: ignore[no-any-return]

    def _title(self) -> str:
        return f"TransformerEncoderLayer({self.self_attn.embed_dim}, {self.self_attn.num_heads})"
