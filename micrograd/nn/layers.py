"""Neurons, linear layers and perceptrons."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from ..arguments import check_rng, is_nested, sequence
from ..engine import Number, Value
from ..functional import weighted_sums
from .activations import Function, activate, name_activation, read_activation
from .initialisers import GAINS, INITIALISERS, RECTIFIERS, find_gain, read_init
from .inputs import check_flags, check_length, check_sizes, map_samples, read_number
from .module import Module

__all__ = ["MLP", "Layer", "Linear", "Neuron"]


class Neuron(Module):
    """activation(w·x + b): a dot product and an activation, two nodes of the graph.

    Args:
        nin: the number of inputs.
        nonlin: whether the neuron has an activation.
        activation: the name of a rule of one operand, like ``"tanh"``, or any function of a Value, like
            ``Value.tanh``. The default is ReLU.
        init: a name in :data:`INITIALISERS`. The default is ``"uniform"`` if ``activation`` is not given, ``"he"`` for
            rectifiers and ``"xavier"`` for all other activations.
        rng: the random generator for the weights: a ``random.Random``, or the module ``random`` itself.
        nout: the number of neurons in the layer, for Xavier's initialisation.
        bias: whether the neuron has a bias b.
        gain: the factor of the initialisation. The default is the activation's gain.

    Raises:
        ValueError: if a size is not positive, or a name is unknown.
        TypeError: if an argument has the wrong type.

    >>> neuron = Neuron(2)
    >>> neuron.w[0].data, neuron.w[1].data, neuron.b.data = 2.0, -1.0, 0.5
    >>> neuron([1, 1])
    Value(data=1.5, grad=0.0, op='relu')
    >>> Neuron(2, activation=Value.tanh)
    TanhNeuron(2)
    """

    def __init__(
        self,
        nin: int,
        nonlin: bool = True,
        *,
        activation: Function | None = None,
        init: str | None = None,
        rng: Any = random,
        nout: int = 1,
        bias: bool = True,
        gain: float | None = None,
    ) -> None:
        check_sizes(nin=nin, nout=nout)
        check_flags(nonlin=nonlin, bias=bias)
        check_rng(rng, "uniform", "gauss")
        function = read_activation("relu" if activation is None else activation)
        name = name_activation(function)
        if init is None:
            init = "uniform" if activation is None else "he" if name in RECTIFIERS else "xavier"
        init = read_init(init)
        if gain is None:
            gain = GAINS.get(name, 1.0) if nonlin else 1.0
        gain = read_number("gain", gain)
        self.w = [Value(INITIALISERS[init](rng, nin, nout, gain)) for _ in range(nin)]
        if bias:
            self.b = Value(0)
        self.bias = bias
        self.nonlin = nonlin
        self.activation = function

    def forward(self, x: Sequence[Number]) -> Value:
        """Returns the output for ``nin`` inputs x, Values or plain numbers.

        Raises:
            ValueError: if the number of inputs is not the number of weights.
            TypeError: if the inputs are not a list of numbers.
        """
        return self._respond(_weigh(_read_inputs(x, self, self), self))

    def _respond(self, of_inputs: Callable[[Sequence[Value]], Value]) -> Value:
        out = of_inputs([self.b, *self.w] if self.bias else self.w)
        return activate(self.activation, out) if self.nonlin else out

    def __repr__(self) -> str:
        words = name_activation(self.activation).split("_") if self.nonlin else ["linear"]
        kind = "".join(word[:1].upper() + word[1:] for word in words).replace("Relu", "ReLU")
        return f"{kind}Neuron({len(self.w)})"

    _title = __repr__


def _read_inputs(x: Sequence[Number], neuron: Neuron, where: Module) -> list[Number]:
    name, nin = type(where).__name__, len(neuron.w)
    inputs = sequence(x, f"{name} of {nin} inputs")
    check_length(inputs, nin, f"{name} takes {nin} inputs, not")
    if is_nested(inputs[0]):
        raise TypeError(
            f"{name} takes one sample, a list of {nin} numbers, not a batch: call it for each sample, or build the "
            "model of Sequential and Linear, which take batches"
        )
    return inputs


def _weigh(inputs: list[Number], neuron: Neuron) -> Callable[[Sequence[Value]], Value]:
    return weighted_sums(
        [1.0, *inputs] if neuron.bias else inputs
    )  # the bias is the weight of an input that is always 1


class Layer(Module):
    """Neurons that share their inputs. A call returns a list of outputs, or the single output of one neuron.

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

    def forward(self, x: Sequence[Any]) -> Any:
        """Returns the outputs for ``nin`` inputs x, Values or plain numbers.

        Raises:
            ValueError: if there are not ``nin`` inputs.
            TypeError: if the inputs are not a list of numbers.
        """
        out = self._respond(x)
        return out[0] if len(out) == 1 else out

    def _respond(self, x: Sequence[Number]) -> list[Value]:
        of_inputs = _weigh(_read_inputs(x, self.neurons[0], self), self.neurons[0])
        return [neuron._respond(of_inputs) for neuron in self.neurons]

    def __repr__(self) -> str:
        return f"Layer of [{', '.join(map(str, self.neurons))}]"

    def _title(self) -> str:
        neuron = self.neurons[0]
        more = f", {name_activation(neuron.activation)}" * neuron.nonlin + ", bias=False" * (not neuron.bias)
        return f"{type(self).__name__}({len(neuron.w)}, {len(self.neurons)}{more})"

    def _state(self) -> dict[str, Any]:
        first, state = self.neurons[0], {"weight": [neuron.w for neuron in self.neurons]}
        bias = {"bias": [neuron.b for neuron in self.neurons]} if first.bias else {}
        activation = {"activation": first.activation} if isinstance(first.activation, Module) else {}
        return {**state, **bias, **activation}

    def _parts(self) -> dict[str, Any]:  # its neurons are not listed one by one
        return self._state()


class Linear(Layer):
    """W·x + b: a layer without an activation. It returns one list of outputs, or for a batch one list per sample.

    Args:
        nin: the number of inputs.
        nout: the number of outputs.
        bias: whether the layer has biases b, which start at 0.
        init: a name in :data:`INITIALISERS`; the default is ``"he"``. The layer does not know the activation that
            follows, so He's initialisations assume ReLU.
        rng: the random generator for the weights.

    Raises:
        ValueError: if a size is not positive, or a name is unknown.

    >>> Linear(2, 3)
    Linear(2, 3) with 9 parameters
    >>> [len(outputs) for outputs in Linear(2, 3)([[1, 2], [3, 4]])]
    [3, 3]
    """

    def __init__(self, nin: int, nout: int, bias: bool = True, init: str | None = None, rng: Any = random) -> None:
        init = read_init(init)
        super().__init__(nin, nout, False, bias=bias, init=init, rng=rng, gain=find_gain(init))

    def forward(self, x: Sequence[Any]) -> list[Any]:
        """Returns the outputs for a sample of ``nin`` numbers or Values, or for each sample of a batch.

        Raises:
            ValueError: if a sample has not ``nin`` inputs.
            TypeError: if the inputs are not a list of numbers.
        """
        return map_samples(self._respond, x)

    __repr__ = Module.__repr__


class MLP(Module):
    """A multilayer perceptron: a chain of layers, the last one without an activation.

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

    def forward(self, x: Sequence[Number]) -> Any:
        """Returns the list of outputs for ``nin`` inputs x, or the single output of a last layer with one neuron.

        Raises:
            ValueError: if there are not ``nin`` inputs.
            TypeError: if the inputs are not a list of numbers.
        """
        out: Any = _read_inputs(x, self.layers[0].neurons[0], self)
        for layer in self.layers:
            out = layer(out if isinstance(out, (list, tuple)) else [out])
        return out

    def __repr__(self) -> str:
        return f"MLP of [{', '.join(map(str, self.layers))}]"

    def _title(self) -> str:
        sizes = [len(layer.neurons) for layer in self.layers]
        return f"{type(self).__name__}({len(self.layers[0].neurons[0].w)}, {sizes})"

    def _state(self) -> dict[str, Any]:  # PyTorch counts the activations, too: they have the odd numbers
        return {str(2 * i): layer for i, layer in enumerate(self.layers)}
