"""Layers with weights, and the networks made of them."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ..arguments import sequence
from ..engine import Number, Value, lift, operation
from ..functional import is_nested, weighted_sums
from ..rules import RULES
from .initialisers import GAINS, INITIALISERS, RECTIFIERS
from .module import Module

__all__ = ["MLP", "Layer", "Linear", "Neuron", "Residual", "Sequential"]


class Neuron(Module):
    """activation(w·x + b): a dot product and an activation, two nodes of the graph.

    Args:
        nin: the number of inputs.
        nonlin: whether there is an activation at all.
        activation: the name of a rule of one operand; ReLU if none is given.
        init: a name in :data:`INITIALISERS`. If none is given, it is ``"uniform"`` for a neuron without an activation
            by name, ``"he"`` for the rectifiers and ``"xavier"`` for other activations.
        rng: what the weights are drawn from: a ``random.Random``, or the module ``random`` itself.
        nout: the number of neurons in the layer, for Xavier's initialisation.
        bias: whether there is a b.
        gain: the factor of the initialisation; if none is given, the activation's.

    Raises:
        ValueError: if a size is not positive, or a name is unknown.

    >>> neuron = Neuron(2)
    >>> neuron.w[0].data, neuron.w[1].data, neuron.b.data = 2.0, -1.0, 0.5
    >>> neuron([1, 1])
    Value(data=1.5, grad=0.0, op='relu')
    """

    def __init__(
        self,
        nin: int,
        nonlin: bool = True,
        *,
        activation: str | None = None,
        init: str | None = None,
        rng: Any = random,
        nout: int = 1,
        bias: bool = True,
        gain: float | None = None,
    ) -> None:
        check_sizes(nin=nin, nout=nout)
        name = known_activation(activation or "relu")
        if init is None:
            init = "uniform" if activation is None else "he" if name in RECTIFIERS else "xavier"
        if init not in INITIALISERS:
            raise ValueError(f"there is no initialisation {init!r}; there are {', '.join(INITIALISERS)}")
        if gain is None:
            gain = GAINS.get(name, 1.0) if nonlin else 1.0
        self.w = [Value(INITIALISERS[init](rng, nin, nout, gain)) for _ in range(nin)]
        if bias:
            self.b = Value(0)
        self.bias = bias
        self.nonlin = nonlin
        self.activation = name

    def __call__(self, x: Sequence[Number]) -> Value:
        """The output for inputs x, Values or plain numbers.

        Raises:
            ValueError: if there are not as many inputs as weights.
        """
        return self._respond(_weighted_sums(x, self, self))

    def _respond(self, of_inputs: Callable[[Sequence[Value]], Value]) -> Value:
        out = of_inputs([self.b, *self.w] if self.bias else self.w)
        return operation(RULES[self.activation])(out) if self.nonlin else out

    def __repr__(self) -> str:
        kind = self.activation.title().replace("_", "").replace("Relu", "ReLU") if self.nonlin else "Linear"
        return f"{kind}Neuron({len(self.w)})"

    _title = __repr__


def known_activation(name: str) -> str:
    """The name, if it is that of a rule of one operand.

    Raises:
        ValueError: if it is not.
    """
    if name not in RULES or RULES[name].operands.startswith("*") or len(RULES[name].local) != 1:
        known = ", ".join(n for n, rule in RULES.items() if len(rule.local) == 1 and rule.operands[0] != "*")
        raise ValueError(f"there is no activation {name!r}; there are {known}")
    return name


def _weighted_sums(x: Sequence[Number], neuron: Neuron, where: Module) -> Callable[[Sequence[Value]], Value]:
    name, nin = type(where).__name__, len(neuron.w)
    inputs = sequence(x, f"{name} of {nin} inputs")
    if len(inputs) != nin:
        raise ValueError(f"{name} takes {nin} inputs, not {len(inputs)}")
    return weighted_sums([1.0, *inputs] if neuron.bias else inputs)  # the bias weighs an input that is always 1


def check_sizes(**sizes: int) -> None:
    """Raises a ValueError if one of them is not a whole number, at least 1."""
    for name, size in sizes.items():
        if not hasattr(size, "__index__") or size < 1:
            raise ValueError(f"{name} must be a whole number, at least 1, not {size!r}")


class Layer(Module):
    """Neurons that share their inputs. Called, it gives their outputs: a list, or the output if there is just one.

    Args:
        nin: the number of inputs.
        nout: the number of neurons.
        nonlin, activation, init, rng, bias, gain: as in :class:`Neuron`.

    >>> len(Layer(3, 2)([1, 2, 3]))
    2
    """

    def __init__(self, nin: int, nout: int, nonlin: bool = True, **options: Any) -> None:
        check_sizes(nin=nin, nout=nout)
        self.neurons = [Neuron(nin, nonlin, nout=nout, **options) for _ in range(nout)]

    def __call__(self, x: Sequence[Any]) -> Any:
        """The outputs for inputs x, Values or plain numbers.

        Raises:
            ValueError: if there are not as many inputs as each neuron has weights.
        """
        out = self._respond(x)
        return out[0] if len(out) == 1 else out

    def _respond(self, x: Sequence[Number]) -> list[Value]:
        of_inputs = _weighted_sums(x, self.neurons[0], self)
        return [neuron._respond(of_inputs) for neuron in self.neurons]

    def __repr__(self) -> str:
        return f"Layer of [{', '.join(map(str, self.neurons))}]"

    def _title(self) -> str:
        neuron = self.neurons[0]
        more = f", {neuron.activation}" * neuron.nonlin + ", bias=False" * (not neuron.bias)
        return f"{type(self).__name__}({len(neuron.w)}, {len(self.neurons)}{more})"

    def _state(self) -> dict[str, Any]:
        bias = {"bias": [neuron.b for neuron in self.neurons]} if self.neurons[0].bias else {}
        return {"weight": [neuron.w for neuron in self.neurons], **bias}


class Linear(Layer):
    """W·x + b: a layer without an activation, which always gives a list; of a batch, a list of samples, their outputs.

    Args:
        nin: the number of inputs.
        nout: the number of outputs.
        bias: whether there is a b, at first 0.
        init: a name in :data:`INITIALISERS`; if none is given, ``"he"``. Not knowing the activation that follows,
            He's initialisations take it for ReLU.
        rng: what the weights are drawn from.

    Raises:
        ValueError: if a size is not positive, or a name is unknown.

    >>> Linear(2, 3)
    Linear(2, 3) with 9 parameters
    >>> [len(outputs) for outputs in Linear(2, 3)([[1, 2], [3, 4]])]
    [3, 3]
    """

    def __init__(self, nin: int, nout: int, bias: bool = True, init: str | None = None, rng: Any = random) -> None:
        init = "he" if init is None else init
        gain = math.sqrt(2) if str(init).startswith("he") else 1.0
        super().__init__(nin, nout, False, bias=bias, init=init, rng=rng, gain=gain)

    def __call__(self, x: Sequence[Any]) -> list[Any]:
        """The outputs for inputs x, Values or plain numbers, or for each of several such lists.

        Raises:
            ValueError: if there are not ``nin`` inputs.
        """
        return [self._respond(sample) for sample in x] if is_batch(x) else self._respond(x)

    __repr__ = Module.__repr__


def is_batch(x: Any) -> bool:
    """Whether ``x`` is a list of samples, not one sample."""
    return is_nested(x) and not isinstance(x, Iterator) and is_nested(next(iter(x), None))


class MLP(Module):
    """A multilayer perceptron: layers one after the other, the last one without an activation.

    Args:
        nin: the number of inputs.
        nouts: the number of neurons in each layer.
        activation, init, rng, bias, gain: as in :class:`Neuron`.

    >>> model = MLP(2, [4, 1])
    >>> len(model.parameters())
    17
    """

    def __init__(self, nin: int, nouts: Sequence[int], **options: Any) -> None:
        sizes = [nin, *sequence(nouts, "nouts")]
        if len(sizes) < 2:
            raise ValueError("an MLP has at least one layer: nouts is empty")
        self.layers = [Layer(sizes[i], sizes[i + 1], nonlin=i != len(nouts) - 1, **options) for i in range(len(nouts))]

    def __call__(self, x: Sequence[Number]) -> Any:
        """The outputs for inputs x: a list, or the output if there is just one.

        Raises:
            ValueError: if there are not ``nin`` inputs.
        """
        out: Any = x
        for layer in self.layers:
            out = layer(out if isinstance(out, (list, tuple)) or layer is self.layers[0] else [out])
        return out

    def __repr__(self) -> str:
        return f"MLP of [{', '.join(map(str, self.layers))}]"

    def _title(self) -> str:
        sizes = [len(layer.neurons) for layer in self.layers]
        return f"{type(self).__name__}({len(self.layers[0].neurons[0].w)}, {sizes})"

    def _state(self) -> dict[str, Any]:  # the odd numbers are the activations', which in PyTorch are modules too
        return {str(2 * i): layer for i, layer in enumerate(self.layers)}


class Sequential(Module):
    """Modules one after the other, each called with what the one before it gave.

    Called with a sample, a list of numbers, it gives the outputs for it; with a batch, a list of samples, the outputs
    for each. Its linear layers are :class:`Linear`.

    Raises:
        TypeError: if one of them is not a module.

    >>> from micrograd.nn import BatchNorm, ReLU
    >>> model = Sequential(Linear(2, 4), BatchNorm(4), ReLU(), Linear(4, 1))
    >>> model
    Sequential(Linear(2, 4), BatchNorm(4), ReLU(), Linear(4, 1)) with 25 parameters
    >>> len(model([[0.5, 1.0], [1.5, -1.0], [0.0, 0.0]]))
    3
    >>> len(model.eval()([0.5, 1.0]))
    1
    """

    def __init__(self, *modules: Module) -> None:
        self.layers = [a_module(module, "Sequential") for module in modules]

    def __call__(self, x: Any) -> Any:
        """What the last module gives."""
        for module in self.layers:
            x = module(x)  # type: ignore[operator]  # a Module need not be callable, but one in here is
        return x

    def _title(self) -> str:
        return f"{type(self).__name__}({', '.join(module._title() for module in self.layers)})"

    def _state(self) -> dict[str, Any]:
        return {str(i): module for i, module in enumerate(self.layers)}


class Residual(Module):
    """x + module(x): a skip connection, along which the gradient passes unchanged.

    With it, deep networks can be trained (He et al., *Deep residual learning for image recognition*, 2016).

    Raises:
        TypeError: if it is not given a module.

    >>> block = Residual(Sequential(Linear(2, 8), Linear(8, 2)))
    >>> len(block([1.0, 2.0]))
    2
    """

    def __init__(self, module: Module) -> None:
        self.module = a_module(module, "Residual")

    def __call__(self, x: Any) -> Any:
        """The sums, of a sample or of each in a batch.

        Raises:
            ValueError: if there are not as many outputs as inputs.
        """
        x = sequence(x, "Residual")
        return _added(x, self.module(x))  # type: ignore[operator]

    def _title(self) -> str:
        return f"{type(self).__name__}({self.module._title()})"


def _added(x: Any, y: Any) -> Any:
    if not is_nested(x) and not is_nested(y):
        return lift(x) + y
    x, y = (list(part) if is_nested(part) else [part] for part in (x, y))  # a Layer of one neuron gives no list
    if len(x) != len(y):
        raise ValueError(f"Residual adds a module's outputs to its inputs, but there are {len(x)} in and {len(y)} out")
    return [_added(a, b) for a, b in zip(x, y, strict=True)]


def a_module(module: Any, where: str) -> Module:
    """The module itself.

    Raises:
        TypeError: if it is none.
    """
    if not isinstance(module, Module) or not callable(module):
        raise TypeError(f"{where} is made of modules, one argument each, not of {type(module).__name__} {module!r}")
    return module
