"""Activations, as names and functions for neurons and as elementwise modules; dropout and softmax.

The modules take a number, a sample (a list of numbers) or a batch (a list of samples), and return Values in lists of
the same shape. Softmax works on each list.

>>> [y.data for y in ReLU()([-1.0, 2.0])]
[0.0, 2.0]
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Union

from .. import functional
from ..arguments import check_rng, is_nested, sequence
from ..engine import Value, lift
from ..rules import RULES
from .inputs import map_samples, read_number
from .module import Module

__all__ = [
    "GELU", "Activation", "Dropout", "Identity", "LeakyReLU", "ReLU", "SiLU", "Sigmoid", "Softmax", "Softplus", "Tanh",
]  # fmt: skip

Function = Union[str, Callable[[Value], Value]]  # noqa: UP007 (evaluated where Python 3.10 can't use | on a string)


class _Elementwise(Module):
    def forward(self, x: Any) -> Any:
        """Applies the function to each number; the result has the same shape."""
        if is_nested(x) or isinstance(x, str):
            return [self.forward(item) for item in sequence(x, type(self).__name__)]
        try:
            number = lift(x)
        except TypeError:
            raise TypeError(
                f"{type(self).__name__} takes numbers and Values, alone or in lists, not {type(x).__name__} {x!r}"
            ) from None
        return self._apply(number)

    def _apply(self, x: Value) -> Value:
        raise NotImplementedError(f"{type(self).__name__} does not say what it does with a number")

    def _title(self) -> str:
        return f"{type(self).__name__}()"


class Activation(_Elementwise):
    """An elementwise function as a module. A subclass sets its function as the class attribute ``activation``.

    Args:
        activation: the name of a rule of one operand, or any function of a Value, such as ``Value.sin``.

    Raises:
        ValueError: if there is no such rule.
        TypeError: if it is neither a name nor a function, or the class already has a function.

    >>> Activation(lambda x: x * x.sigmoid())(0.0).data
    0.0
    >>> class Sine(Activation):
    ...     activation = "sin"
    >>> Sine()(0.0).data
    0.0
    """

    activation: Function = ""

    def __init__(self, activation: Function | None = None) -> None:
        own = type(self).activation
        if activation is not None and own:
            raise TypeError(f"{type(self).__name__}() takes no activation: it has one already")
        self.activation = read_activation(own if activation is None else activation)

    def _apply(self, x: Value) -> Value:
        return activate(self.activation, x)

    def _title(self) -> str:
        name = "" if type(self).activation else name_activation(self.activation)
        return f"{type(self).__name__}({name})"


def read_activation(function: Function) -> Function:
    """Returns the name of the rule that the function computes, or the function itself if it is not a rule.

    Raises:
        ValueError: if it is a name, but not the name of a rule of one operand.
        TypeError: if it is neither a name nor a function.

    >>> read_activation("tanh"), read_activation(Value.tanh), read_activation(functional.tanh), read_activation(Tanh())
    ('tanh', 'tanh', 'tanh', 'tanh')
    """
    names = [name for name, rule in RULES.items() if len(rule.local) == 1 and not rule.variadic]
    if isinstance(function, str):
        if function not in names:
            raise ValueError(f"there is no activation {function!r}; there are {', '.join(names)}")
        return function
    if isinstance(function, Activation):
        return function.activation
    if isinstance(function, type) or not callable(function):
        raise TypeError(
            "an activation is the name of a rule of one operand, or a function of a Value, such as Value.tanh, not "
            f"{type(function).__name__} {function!r}"
        )
    for name in names:
        if any(function is known for known in (RULES[name], getattr(Value, name, 0), getattr(functional, name, 0))):
            return name
    return function


def name_activation(function: Function) -> str:
    """The name of an activation in a ``repr`` and in tables.

    >>> name_activation("tanh"), name_activation(lambda x: x), name_activation(LeakyReLU(0.1))
    ('tanh', 'lambda', 'LeakyReLU')
    """
    if isinstance(function, str):
        return function
    name: str = getattr(function, "__name__", type(function).__name__)
    return name.strip("<>")


def activate(function: Function, x: Value) -> Value:
    """Applies the activation to ``x``.

    Raises:
        TypeError: if the function does not return a Value.
    """
    if isinstance(function, str):
        return RULES.data[function].node(x)  # this runs for each neuron, and the dictionary itself is faster
    out = function(x)
    if not isinstance(out, Value):
        raise TypeError(
            f"an activation gives a Value, and {name_activation(function)} gave {type(out).__name__} {out!r}, which "
            "has no gradient"
        )
    return out


class ReLU(Activation):
    """max(x, 0).

    >>> ReLU()(-2.0).data
    0.0
    """

    activation = "relu"


class Tanh(Activation):
    """The hyperbolic tangent, from −1 to 1.

    >>> Tanh()(0.0).data
    0.0
    """

    activation = "tanh"


class Sigmoid(Activation):
    """1/(1 + e⁻ˣ), from 0 to 1.

    >>> Sigmoid()(0.0).data
    0.5
    """

    activation = "sigmoid"


class Softplus(Activation):
    """log(1 + eˣ), a smooth ReLU.

    >>> round(Softplus()(0.0).data, 6)
    0.693147
    """

    activation = "softplus"


class SiLU(Activation):
    """x·sigmoid(x), also called swish.

    (Elfwing et al., *Sigmoid-weighted linear units for neural network function approximation in reinforcement
    learning*, 2018.)

    >>> round(SiLU()(1.0).data, 6)
    0.731059
    """

    activation = "silu"


class GELU(Activation):
    """x·Φ(x), with the distribution function Φ of the normal distribution; the activation of most Transformers.

    (Hendrycks and Gimpel, *Gaussian error linear units*, 2016.)

    Args:
        approximate: ``"none"``, or ``"tanh"`` for 0.5·x·(1 + tanh(√(2/π)·(x + 0.044715·x³))), as in GPT-2.

    Raises:
        ValueError: if it is another word.

    >>> round(GELU()(1.0).data, 6), round(GELU(approximate="tanh")(1.0).data, 6)
    (0.841345, 0.841192)
    """

    def __init__(self, approximate: str = "none") -> None:
        if approximate not in ("none", "tanh"):
            raise ValueError(f"approximate is 'none' or 'tanh', not {approximate!r}")
        self.approximate = approximate
        super().__init__("gelu" if approximate == "none" else _approximate_gelu)

    def _title(self) -> str:
        return "GELU()" if self.approximate == "none" else f"GELU({self.approximate})"


def _approximate_gelu(x: Value) -> Value:
    return x * 0.5 * ((x + x**3 * 0.044715) * math.sqrt(2 / math.pi)).tanh() + x * 0.5


class Identity(Module):
    """Returns its input: takes the place of a module that is left out.

    >>> Identity()([1.0, 2.0])
    [1.0, 2.0]
    """

    def forward(self, x: Any) -> Any:
        """Returns ``x``."""
        return x

    def _title(self) -> str:
        return "Identity()"


class LeakyReLU(_Elementwise):
    """x if it is positive, otherwise ``negative_slope``·x.

    Raises:
        TypeError: if the slope is not a number.

    >>> LeakyReLU(0.1)(-2.0).data
    -0.2
    """

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = read_number("negative_slope", negative_slope)

    def _apply(self, x: Value) -> Value:
        return x.leaky_relu(self.negative_slope)

    def _title(self) -> str:
        return f"LeakyReLU({self.negative_slope})"


class Softmax(Module):
    """exp xᵢ / Σ exp xⱼ: turns the numbers of a sample into probabilities.

    >>> [p.data for p in Softmax()([0.0, 0.0])]
    [0.5, 0.5]
    """

    def forward(self, x: Any) -> list[Any]:
        """Returns the probabilities for a sample, or for each sample of a batch.

        Raises:
            ValueError: if there are no numbers.
        """
        return map_samples(lambda sample: functional.softmax(sequence(sample, "Softmax")), x)

    def _title(self) -> str:
        return "Softmax()"


class Dropout(_Elementwise):
    """In training, sets each number to 0 with probability p, else divides it by 1 − p. After ``eval()``, does nothing.

    No unit can then rely on a single other unit, which reduces overfitting (Srivastava et al., *Dropout: a simple way
    to prevent neural networks from overfitting*, 2014). The division keeps the mean.

    Args:
        p: the probability, from 0 to 1.
        rng: the random generator: a ``random.Random``, or the module ``random`` itself.

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
        self.p = read_number("p", p)
        if not 0 <= self.p <= 1:
            raise ValueError(f"the probability of dropout must be between 0 and 1, not {p}")
        check_rng(rng, "random")
        self._draw = rng.random  # the method can be copied and pickled with the model; the module random can't

    def _apply(self, x: Value) -> Value:
        rng = getattr(self._draw, "__self__", None) or SimpleNamespace(random=self._draw)
        return functional.dropout(x, self.p, self.training, rng)  # type: ignore[no-any-return]

    def _title(self) -> str:
        return f"Dropout({self.p})"
