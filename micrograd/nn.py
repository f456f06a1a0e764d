"""Neurons, layers and multilayer perceptrons.

``Neuron``, ``Layer`` and ``MLP`` called as in the published package are initialised as there, uniformly in (−1, 1);
with an activation by name, their initialisation is chosen to fit it.

>>> import random
>>> model = MLP(2, [3, 1], activation="tanh", rng=random.Random(0))
>>> model
MLP of [Layer of [TanhNeuron(2), TanhNeuron(2), TanhNeuron(2)], Layer of [LinearNeuron(3)]]
>>> len(model.parameters())
13
>>> model([0.5, -1.0]).op
'dot'
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from .engine import Number, Value, operation, sequence
from .functional import weighted_sums
from .rules import RULES

__all__ = ["INITIALISERS", "MLP", "Layer", "Module", "Neuron"]


class Module:
    """Something with parameters: its attributes that are leaf Values, and those of the modules and lists in it.

    >>> class Line(Module):
    ...     def __init__(self):
    ...         self.slope, self.intercept = Value(1.0), Value(0.0)
    >>> [name for name, _ in Line().named_parameters()]
    ['slope', 'intercept']
    """

    def parameters(self) -> list[Value]:
        """The parameters, each once."""
        return [parameter for _, parameter in self.named_parameters()]

    def named_parameters(self) -> Iterator[tuple[str, Value]]:
        """The parameters and where they are, each once: ``("layers.0.neurons.2.w.1", Value(…))``.

        Raises:
            TypeError: if there are parameters in a set.
        """
        seen: set[Value] = set()
        for name, value in _leaves(vars(self), "", {self}):
            if value not in seen:
                seen.add(value)
                yield name, value

    def zero_grad(self) -> None:
        """Sets the gradients of all parameters to 0."""
        for parameter in self.parameters():
            parameter.grad = 0.0


def _leaves(tree: Any, path: str, modules: set[Module]) -> Iterator[tuple[str, Value]]:
    if isinstance(tree, Value):
        if not tree.parents:
            yield path, tree
        return
    if isinstance(tree, Module):
        if tree in modules:  # it refers back to one that it is part of, or is used twice
            return
        modules.add(tree)
        tree = vars(tree)
    elif isinstance(tree, (set, frozenset)) and any(isinstance(item, (Value, Module)) for item in tree):
        raise TypeError(f"{path} is a set, in which parameters have no order: take a list")
    elif getattr(getattr(tree, "dtype", None), "kind", "") == "O":  # an array of Values
        tree = tree.tolist()
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, (list, tuple)) else ()
    for key, item in items:
        yield from _leaves(item, f"{path}.{key}" if path else str(key), modules)


def _uniform(rng: Any, fan_in: int, fan_out: int, gain: float) -> float:
    return rng.uniform(-1, 1)  # type: ignore[no-any-return]


def _he(rng: Any, fan_in: int, fan_out: int, gain: float) -> float:
    return rng.gauss(0, gain / math.sqrt(fan_in))  # type: ignore[no-any-return]


def _xavier(rng: Any, fan_in: int, fan_out: int, gain: float) -> float:
    return rng.gauss(0, gain * math.sqrt(2 / (fan_in + fan_out)))  # type: ignore[no-any-return]


INITIALISERS: dict[str, Callable[[Any, int, int, float], float]] = {"uniform": _uniform, "he": _he, "xavier": _xavier}
"""What draws a weight, by name, from (rng, fan_in, fan_out, gain).

- ``uniform``: U(−1, 1), as the published package does.
- ``he``: N(0, gain²/fan_in), with gain √2 for ReLU (He et al., *Delving deep into rectifiers*, 2015).
- ``xavier``: N(0, gain²·2/(fan_in + fan_out)), with gain 1 for sigmoid (Glorot and Bengio, *Understanding the
  difficulty of training deep feedforward neural networks*, 2010).
"""

# The gains are those of torch.nn.init.calculate_gain; 1 for other activations.
_GAINS = {"relu": math.sqrt(2), "leaky_relu": math.sqrt(2 / (1 + 0.01**2)), "tanh": 5 / 3}
_RECTIFIERS = ("relu", "leaky_relu", "softplus")


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
    ) -> None:
        _positive(nin=nin, nout=nout)
        name = activation or "relu"
        if name not in RULES or RULES[name].operands.startswith("*") or len(RULES[name].local) != 1:
            known = ", ".join(n for n, rule in RULES.items() if len(rule.local) == 1 and rule.operands[0] != "*")
            raise ValueError(f"there is no activation {name!r}; there are {known}")
        if init is None:
            init = "uniform" if activation is None else "he" if name in _RECTIFIERS else "xavier"
        if init not in INITIALISERS:
            raise ValueError(f"there is no initialisation {init!r}; there are {', '.join(INITIALISERS)}")
        gain = _GAINS.get(name, 1.0) if nonlin else 1.0
        self.w = [Value(INITIALISERS[init](rng, nin, nout, gain)) for _ in range(nin)]
        self.b = Value(0)
        self.nonlin = nonlin
        self.activation = name

    def __call__(self, x: Sequence[Number]) -> Value:
        """The output for inputs x, Values or plain numbers.

        Raises:
            ValueError: if there are not as many inputs as weights.
        """
        return self._respond(_weighted_sums(x, len(self.w), self))

    def _respond(self, of_inputs: Callable[[Sequence[Value]], Value]) -> Value:
        out = of_inputs([self.b, *self.w])
        return operation(RULES[self.activation])(out) if self.nonlin else out

    def __repr__(self) -> str:
        kind = self.activation.title().replace("_", "").replace("Relu", "ReLU") if self.nonlin else "Linear"
        return f"{kind}Neuron({len(self.w)})"


def _weighted_sums(x: Sequence[Number], nin: int, where: Module) -> Callable[[Sequence[Value]], Value]:
    inputs = [
        1.0,
        *sequence(x, f"{type(where).__name__} of {nin} inputs"),
    ]  # the bias is the weight of an input that is always 1
    if len(inputs) != nin + 1:
        raise ValueError(f"{type(where).__name__} takes {nin} inputs, not {len(inputs) - 1}")
    return weighted_sums(inputs)


def _positive(**sizes: int) -> None:
    for name, size in sizes.items():
        if not hasattr(size, "__index__") or size < 1:
            raise ValueError(f"{name} must be a whole number, at least 1, not {size!r}")


class Layer(Module):
    """Neurons that share their inputs. Called, it gives their outputs: a list, or the output if there is just one.

    Args:
        nin: the number of inputs.
        nout: the number of neurons.
        nonlin, activation, init, rng: as in :class:`Neuron`.

    >>> len(Layer(3, 2)([1, 2, 3]))
    2
    """

    def __init__(self, nin: int, nout: int, nonlin: bool = True, **options: Any) -> None:
        _positive(nin=nin, nout=nout)
        self.neurons = [Neuron(nin, nonlin, nout=nout, **options) for _ in range(nout)]

    def __call__(self, x: Sequence[Number]) -> Any:
        """The outputs for inputs x, Values or plain numbers.

        Raises:
            ValueError: if there are not as many inputs as each neuron has weights.
        """
        of_inputs = _weighted_sums(x, len(self.neurons[0].w), self)
        out = [neuron._respond(of_inputs) for neuron in self.neurons]
        return out[0] if len(out) == 1 else out

    def __repr__(self) -> str:
        return f"Layer of [{', '.join(map(str, self.neurons))}]"


class MLP(Module):
    """A multilayer perceptron: layers one after the other, the last one without an activation.

    Args:
        nin: the number of inputs.
        nouts: the number of neurons in each layer.
        activation, init, rng: as in :class:`Neuron`.

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
