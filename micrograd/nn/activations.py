"""Modules without parameters that work on each number: activations and dropout; and softmax, which works on each list.

They take a number, a sample (a list of numbers) or a batch (a list of samples), and give Values in the same lists.

>>> [y.data for y in ReLU()([-1.0, 2.0])]
[0.0, 2.0]
"""

from __future__ import annotations

import random
from typing import Any

from .. import functional
from ..arguments import sequence, to_float
from ..engine import Value, lift, operation
from ..rules import RULES
from .layers import is_batch, known_activation
from .module import Module

__all__ = ["Activation", "Dropout", "LeakyReLU", "ReLU", "Sigmoid", "Softmax", "Softplus", "Tanh"]


class _Elementwise(Module):
    def __call__(self, x: Any) -> Any:
        """The same of each number, in the same lists."""
        if functional.is_nested(x) or isinstance(x, str):
            return [self(item) for item in sequence(x, type(self).__name__)]
        return self._of(lift(x))

    def _of(self, x: Value) -> Value:
        raise NotImplementedError(f"{type(self).__name__} does not say what it does with a number")

    def _title(self) -> str:
        return f"{type(self).__name__}()"


class Activation(_Elementwise):
    """A rule of one operand as a module; one of your own is a subclass with the rule's name.

    Raises:
        ValueError: if there is no such rule.

    >>> class Sine(Activation):
    ...     activation = "sin"
    >>> Sine()(0.0).data
    0.0
    """

    activation = ""

    def __init__(self) -> None:
        known_activation(self.activation)

    def _of(self, x: Value) -> Value:
        return operation(RULES[self.activation])(x)


class ReLU(Activation):
    """max(x, 0)."""

    activation = "relu"


class Tanh(Activation):
    """The hyperbolic tangent, from −1 to 1."""

    activation = "tanh"


class Sigmoid(Activation):
    """1/(1 + e⁻ˣ), from 0 to 1."""

    activation = "sigmoid"


class Softplus(Activation):
    """log(1 + eˣ), a smooth ReLU."""

    activation = "softplus"


class LeakyReLU(_Elementwise):
    """x where it is positive, else ``negative_slope``·x.

    Raises:
        TypeError: if the slope is not a number.

    >>> LeakyReLU(0.1)(-2.0).data
    -0.2
    """

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = to_float(negative_slope)

    def _of(self, x: Value) -> Value:
        return x.leaky_relu(self.negative_slope)

    def _title(self) -> str:
        return f"LeakyReLU({self.negative_slope})"


class Softmax(Module):
    """exp xᵢ / Σ exp xⱼ: a sample's numbers as probabilities.

    >>> [p.data for p in Softmax()([0.0, 0.0])]
    [0.5, 0.5]
    """

    def __call__(self, x: Any) -> list[Any]:
        """The probabilities, of a sample or of each in a batch.

        Raises:
            ValueError: if there are no numbers.
        """
        return [functional.softmax(sample) for sample in x] if is_batch(x) else functional.softmax(x)

    def _title(self) -> str:
        return "Softmax()"


class Dropout(_Elementwise):
    """In training, each number is 0 with probability p, and else divided by 1 − p; after ``eval()``, it is as it was.

    No unit can then rely on one other, which is against overfitting (Srivastava et al., *Dropout: a simple way to
    prevent neural networks from overfitting*, 2014). The division keeps the mean.

    Args:
        p: the probability, from 0 to 1.
        rng: what draws: a ``random.Random``, or the module ``random`` itself.

    Raises:
        ValueError: if ``p`` is not between 0 and 1.
        TypeError: if it is not a number.

    >>> dropout = Dropout(0.5, random.Random(0))
    >>> [y.data for y in dropout([1.0, 2.0, 3.0, 4.0])]
    [2.0, 4.0, 0.0, 0.0]
    >>> [y.data for y in dropout.eval()([1.0, 2.0, 3.0, 4.0])]
    [1.0, 2.0, 3.0, 4.0]
    """

    def __init__(self, p: float = 0.5, rng: Any = random) -> None:
        self.p = to_float(p)
        if not 0 <= self.p <= 1:
            raise ValueError(f"the probability of dropout must be between 0 and 1, not {p}")
        self._draw = rng.random  # the method, for a model with it can be copied and pickled; the module random can't

    def _of(self, x: Value) -> Value:
        if not self.training or not self.p:
            return x
        return x * 0.0 if self._draw() < self.p else x * (1 / (1 - self.p))

    def _title(self) -> str:
        return f"Dropout({self.p})"
