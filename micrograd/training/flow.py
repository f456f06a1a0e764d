"""Gradient flow: the size of the gradients per layer, problems such as vanishing gradients, and what helps."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from ..engine import Value
from ..nn import Module
from ..rules import RULES
from ..tables import lay_out

__all__ = ["EXPLODING", "VANISHING", "FlowRecord", "GradientFlow", "LayerFlow"]

VANISHING = 1e-3
"""Gradients vanish if a layer receives less than this part of the last layer's gradient."""

EXPLODING = 1e3
"""Gradients explode if a layer's gradient is larger than this multiple of its parameters."""

_BETWEEN = ("batchnorm", "layernorm", "dropout")  # modules that may stand between a layer and its activation

_NOTHING = 2.0**-53  # half an ulp of 1: a smaller part of the model's gradient is lost in rounding, and counts as 0

_grad = attrgetter("_grad")

_AGAINST_VANISHING = (
    "What helps: activation='relu' instead of sigmoid or tanh; an initialisation that fits the activation "
    "(init='he' for ReLU, 'xavier' for tanh); normalisation between the layers (nn.LayerNorm, nn.BatchNorm); "
    "skip connections (nn.Residual)."
)
_AGAINST_EXPLODING = (
    "What helps: clipping (fit(…, clip=functools.partial(optim.clip_grad_norm_, max_norm=1.0))); an initialisation "
    "with smaller weights (init='he' or 'xavier'); normalisation between the layers (nn.LayerNorm, nn.BatchNorm); "
    "a smaller learning rate."
)
_AGAINST_DEAD = (
    "What helps: a smaller learning rate; init='he' and biases that are not far below 0; activation='leaky_relu', "
    "which has a gradient on both sides; normalisation before the activation."
)
_SATURATING = ("sigmoid", "tanh")
_SATURATED = (
    "What helps: smaller weights (init='xavier'), inputs with mean 0 and variance 1, or normalisation before the "
    "activation, all of which keep it where it is not flat; activation='relu'."
)


@dataclass(frozen=True)
class LayerFlow:
    """One layer's gradients in the last epoch.

    Attributes:
        name: the path of the layer in the model.
        module: the layer as text.
        activation: the name of the activation that follows, if it is known.
        parameters: the number of its trained parameters.
        size: the present root mean square of these parameters.
        gradient: the root mean square of their gradients, averaged over the steps.
        relative: the gradient that arrives at the layer, divided by the gradient that arrives at the last layer. It is
            measured at the biases, because a bias has the gradient of its neuron's sum; without biases, at all
            parameters. It is nan if the last layer's gradient is 0.
        neurons: the number of neurons; 0 if the layer has none, like a normalisation.
        dead: the number of neurons that had no gradient in any step, apart from rounding of the model's gradient.
        verdict: ``ok``, ``vanishing``, ``exploding``, ``some dead`` or ``dead``.
    """

    name: str
    module: str
    activation: str
    parameters: int
    size: float
    gradient: float
    relative: float
    neurons: int
    dead: int

    @property
    def verdict(self) -> str:
        if self.neurons and self.dead == self.neurons:
            return "dead"
        if self.relative < VANISHING:
            return "vanishing"
        if self.gradient > EXPLODING * self.size > 0:
            return "exploding"
        return "some dead" if self.dead else "ok"


@dataclass(frozen=True)
class GradientFlow:
    """A report with one row per layer, and sentences about problems and remedies. It prints as a table.

    Attributes:
        layers: the rows, from the input to the output.
        findings: the sentences.
    """

    layers: list[LayerFlow]
    findings: list[str]

    @property
    def ok(self) -> bool:
        """Whether no problem was found."""
        return all(layer.verdict == "ok" for layer in self.layers)

    def __str__(self) -> str:
        rows = [("layer", "module", "parameters", "size", "gradient", "relative", "dead", "verdict")]
        for layer in self.layers:
            dead = f"{layer.dead} of {layer.neurons}" if layer.neurons else ""
            numbers = (f"{layer.size:.2g}", f"{layer.gradient:.2g}", f"{layer.relative:.2g}")
            rows.append((layer.name, layer.module, str(layer.parameters), *numbers, dead, layer.verdict))
        return "\n".join([lay_out(rows), "", *(textwrap.fill(finding, 120) for finding in self.findings)])


@dataclass
class _Layer:
    name: str
    module: str
    activation: str
    parameters: list[Value] = field(default_factory=list)
    biases: list[Value] = field(default_factory=list)
    neurons: dict[str, list[Value]] = field(default_factory=dict)


@dataclass
class _Epoch:
    # The record of an epoch: the number of steps, the sums of each layer's norms and of its biases' root mean squares,
    # and the neurons that have had no gradient so far.
    steps: int
    norms: list[float]
    arriving: list[float]
    silent: list[list[str]]


class FlowRecord:
    """Records the gradients during a run.

    Args:
        parameters: the trained Values.
        model: their model; without it, there is no report, only the norm.
    """

    def __init__(self, parameters: Sequence[Value] = (), model: Module | None = None) -> None:
        self._layers, others = _layers(parameters, model)
        self._groups = [layer.parameters for layer in self._layers] + [others] * bool(others)
        self._now, self._last = self._new(), None if model is None else self._new()

    def norms(self) -> list[float]:
        """Returns the present norm of each layer's gradient, and of the other parameters' gradient."""
        return [math.hypot(*map(_grad, group)) for group in self._groups]

    def add(self, norms: Sequence[float]) -> None:
        """Records a step, with the norms before clipping."""
        now, least = self._now, _NOTHING * math.hypot(*norms)
        now.steps += 1
        for i, layer in enumerate(self._layers):
            now.norms[i] += norms[i]
            now.arriving[i] += _root_mean_square(map(_grad, layer.biases or layer.parameters))
            if now.silent[i]:
                sizes = {name: max(abs(value._grad) for value in layer.neurons[name]) for name in now.silent[i]}
                now.silent[i] = [name for name, size in sizes.items() if size <= least]

    def layout(self, parameters: Sequence[Value]) -> tuple[Any, ...]:
        """Returns arrays to record many steps: see :meth:`take` and :data:`micrograd.training.kernels.FINISH`.

        They are: where each layer's parameters begin and end; the parameters whose gradients are measured as arriving,
        their layers, and their number per layer; room for sums of squares; for each parameter, the sum of the
        magnitudes of its gradients; and for each layer, the sums of norms and of root mean squares.
        """
        import numpy as np

        place = {parameter: i for i, parameter in enumerate(parameters)}
        layers = len(self._layers)
        group, biases = np.full(len(place), -1), []
        for k, layer in enumerate(self._layers):
            group[[place[parameter] for parameter in layer.parameters]] = k
            biases += [(place[parameter], k) for parameter in layer.biases or layer.parameters]
        starts = np.flatnonzero(np.diff(group, prepend=-1))
        runs = np.column_stack([starts, np.append(starts[1:], len(group))[: len(starts)], group[starts]])
        self._place = place
        return (
            np.ascontiguousarray(runs[runs[:, 2] >= 0]),
            np.array(biases, dtype=np.int64).reshape(-1, 2),
            np.array([len(layer.biases or layer.parameters) for layer in self._layers], dtype=np.float64),
            np.zeros((layers, 2)),
            np.zeros(len(place)),
            np.zeros((layers, 2)),
        )

    def take(self, steps: int, layout: tuple[Any, ...]) -> None:
        """Adds the record of many steps, and clears its arrays."""
        *_, heard, sums = layout
        now = self._now
        now.steps += steps
        least = _NOTHING * math.hypot(*sums[:, 0])
        for i, layer in enumerate(self._layers):
            now.norms[i] += float(sums[i, 0])
            now.arriving[i] += float(sums[i, 1])
            sizes = {name: max(heard[self._place[value]] for value in layer.neurons[name]) for name in now.silent[i]}
            now.silent[i] = [name for name, size in sizes.items() if size <= least]
        heard[:] = sums[:] = 0.0

    def end_epoch(self) -> None:
        """Starts a new record; a report now covers the epoch that ended."""
        if self._last is None:  # there are no layers
            self._now.steps = 0
        else:
            self._last, self._now = self._now, self._new()

    def _new(self) -> _Epoch:
        zeros = [0.0] * len(self._layers)
        return _Epoch(0, zeros, zeros.copy(), [list(layer.neurons) for layer in self._layers])

    def state_dict(self) -> dict[str, Any]:
        """Returns the record in types that JSON has."""
        return {name: vars(notes) if notes else None for name, notes in (("now", self._now), ("last", self._last))}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores the record from a :meth:`state_dict`.

        Raises:
            ValueError: if it has other layers.
        """
        try:
            now, last = (self._read(state[name]) for name in ("now", "last"))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"these are not notes of gradients: {type(error).__name__}: {error}") from error
        if now is None or (last is None) != (self._last is None):
            raise ValueError("the notes of gradients are of a run with another model")
        self._now, self._last = now, last

    def _read(self, notes: Any) -> _Epoch | None:
        if notes is None:
            return None
        steps, norms, arriving = int(notes["steps"]), *(list(map(float, notes[name])) for name in ("norms", "arriving"))
        silent = [list(map(str, names)) for names in notes["silent"]]
        fits = len(norms) == len(arriving) == len(silent) == len(self._layers)
        if not fits or not all(set(n) <= set(layer.neurons) for n, layer in zip(silent, self._layers, strict=True)):
            raise ValueError("the notes of gradients are of other layers")
        return _Epoch(steps, norms, arriving, silent)

    def report(self) -> GradientFlow:
        """Makes a report of the record.

        Raises:
            ValueError: if there is no model, or no step was done.
        """
        if self._last is None:
            raise ValueError("a report by layer needs the model: fit(…, model=model)")
        notes = self._last if self._last.steps else self._now
        if not notes.steps:
            raise ValueError("there are no gradients to report on: no step was done")
        sizes = [len(layer.parameters) for layer in self._layers]
        means = [norm / notes.steps / math.sqrt(n) for norm, n in zip(notes.norms, sizes, strict=True)]
        last = notes.arriving[-1] if means else 0.0
        flows = [
            LayerFlow(
                layer.name,
                layer.module,
                layer.activation,
                len(layer.parameters),
                _root_mean_square(parameter.data for parameter in layer.parameters),
                mean,
                arriving / last if last else math.nan,
                len(layer.neurons),
                # If the last layer has no gradient either, none was lost between the layers.
                len(silent) if last else 0,
            )
            for layer, mean, arriving, silent in zip(self._layers, means, notes.arriving, notes.silent, strict=True)
        ]
        return GradientFlow(flows, _findings(flows))


def _findings(layers: list[LayerFlow]) -> list[str]:
    if not layers or math.isnan(layers[-1].relative):
        return [
            "There is no gradient: it is 0 from the last layer on. Either the loss is at a minimum, or it does not "
            "depend on the model."
        ]
    findings = []
    last = layers[-1].name
    vanishing = [layer for layer in layers if layer.verdict == "vanishing"]
    exploding = [layer for layer in layers if layer.verdict == "exploding"]
    if vanishing:
        least = min(vanishing, key=lambda layer: layer.relative)
        findings.append(
            f"Gradients vanish on the way to {_names(vanishing)}: of what {last} gets, {least.relative:.1e} arrives at "
            f"{least.name}, which hardly learns. {_AGAINST_VANISHING}"
        )
    if exploding:
        most = max(exploding, key=lambda layer: layer.gradient / layer.size)
        findings.append(
            f"Gradients explode in {_names(exploding)}: in {most.name} they are {most.gradient:.1e}, on parameters of "
            f"{most.size:.1e}, so that a step goes much too far. {_AGAINST_EXPLODING}"
        )
    for layer in layers:
        if layer.dead:
            what, advice = "get", _AGAINST_DEAD
            if layer.activation == "relu":
                what = "are dead: their ReLUs get"
            elif layer.activation in _SATURATING:
                what, advice = f"are saturated: where they are, {layer.activation} is so flat that they get", _SATURATED
            findings.append(
                f"In {layer.name}, {layer.dead} of {layer.neurons} neurons {what} no gradient from any sample. {advice}"
            )
    return findings or ["The gradients flow: no layer's vanish or explode, and no neuron is dead."]


def _names(layers: list[LayerFlow]) -> str:
    names = [layer.name for layer in layers]
    return ", ".join(names) if len(names) < 4 else f"{len(names)} layers, {names[0]} to {names[-1]}"


def _root_mean_square(numbers: Iterable[float]) -> float:
    numbers = list(numbers)
    return math.hypot(*numbers) / math.sqrt(len(numbers))


def _layers(parameters: Sequence[Value], model: Module | None) -> tuple[list[_Layer], list[Value]]:
    # The layers with trained parameters, and the parameters that are in no layer.
    trained = dict.fromkeys(parameters)
    layers: dict[str, _Layer] = {}
    for path, value in model.named_parameters() if model else ():
        if value in trained:
            del trained[value]
            name, neuron = _place(path)
            if name not in layers:
                layers[name] = _Layer(name or "model", *_describe(model, name))
            layers[name].parameters.append(value)
            if neuron:
                layers[name].neurons.setdefault(neuron, []).append(value)
                if path.endswith(".b"):
                    layers[name].biases.append(value)
    return list(layers.values()), list(trained)


def _place(path: str) -> tuple[str, str]:
    """Splits a parameter's name into its layer and its neuron, which may be empty.

    >>> _place("layers.0.neurons.2.w.1"), _place("layers.1.weight.3"), _place("slope")
    (('layers.0', '2'), ('layers.1', ''), ('', ''))
    """
    found = re.fullmatch(r"(?:(.*)\.)?neurons\.(\d+)\..*", path)
    if found:
        return found[1] or "", found[2]
    return re.sub(r"(\.\d+)*$", "", path).rpartition(".")[0], ""


def _describe(model: Any, name: str) -> tuple[str, str]:
    # Describes a layer: its module as text, and the activation that follows it.
    around, module = None, model
    for part in name.split(".") if name else ():
        around, module = module, _inside(module, part)
    if not isinstance(module, Module):
        return type(module).__name__, ""
    activation = ""
    neurons = getattr(module, "neurons", None)
    if neurons and neurons[0].nonlin:
        activation = neurons[0].activation
    elif neurons and isinstance(around, list):  # in a Sequential, the activation is a module
        followers = [
            getattr(follower, "activation", type(follower).__name__.lower())
            for follower in around[int(name.rpartition(".")[2]) + 1 :]
        ]
        activation = next((follower for follower in followers if follower not in _BETWEEN), "")
    return module._title(), activation if isinstance(activation, str) and activation in RULES else ""


def _inside(tree: Any, part: str) -> Any:
    if isinstance(tree, (list, tuple)):
        return tree[int(part)]
    return tree[part] if isinstance(tree, dict) else getattr(tree, part)
