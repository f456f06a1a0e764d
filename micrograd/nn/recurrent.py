"""Recurrent layers: a cell reads a sequence step by step, and remembers what it has read in its state.

>>> cell = RNNCell(input_size=2, hidden_size=3)
>>> state = None
>>> for x in [[0.5, 1.0], [1.5, -1.0]]:
...     state = cell(x, state)
>>> len(state)
3
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from typing import Any

from ..arguments import check_rng, read_lists, shape_of
from ..engine import Value
from ..functional import weighted_sums
from .activations import Dropout, activate
from .initialisers import make_values
from .inputs import check_flags, check_sizes
from .module import Module

__all__ = ["GRU", "LSTM", "RNN", "GRUCell", "LSTMCell", "RNNCell"]

State = Sequence[Sequence[Any]]
"""The vectors that a cell remembers: its output h, and an LSTM's c."""
Part = tuple[Sequence[Any], Any, Any]
"""A vector, and the weights and biases that it meets."""


class _Cell(Module):
    gates: int  # for each number of the output, a step has as many sums
    remembers = 1  # vectors

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, *, rng: Any = random) -> None:
        check_sizes(input_size=input_size, hidden_size=hidden_size)
        check_flags(bias=bias)
        check_rng(rng, "uniform")
        self.input_size, self.hidden_size = input_size, hidden_size
        bound = 1 / math.sqrt(hidden_size)

        def draw(*shape: int) -> Any:
            return make_values(lambda: rng.uniform(-bound, bound), self.gates * hidden_size, *shape)

        self.weight_ih, self.weight_hh = draw(input_size), draw(hidden_size)
        self.bias_ih: Any = draw() if bias else None
        self.bias_hh: Any = draw() if bias else None

    def forward(self, x: Any, hx: Any = None) -> Any:
        """Returns the next state for an input of ``input_size`` numbers, or for each input of a batch.

        Args:
            x: the input, or a batch of inputs.
            hx: the state before, or the batch of states; zeros by default.

        Raises:
            ValueError: if the input or the state has another shape.
        """
        one = (self.input_size,)
        x = read_lists(x, f"{self._title()} takes inputs {one}, or a batch of them", one, (None, *one))
        batch = shape_of(x)[:-1]
        states = read_states(hx, self, *batch, self.hidden_size)
        if not batch:
            return _give(self.step(x, states))
        new = [self.step(*sample) for sample in zip(x, zip(*states, strict=True), strict=True)]
        return _give([list(vectors) for vectors in zip(*new, strict=True)])

    def step(self, x: Sequence[Any], state: State) -> State:
        """Returns the state after an input, for one sample; its first vector is the output."""
        raise NotImplementedError(f"{type(self).__name__} does not say how its state follows from an input")

    def _sums(self, gates: Iterable[int], *parts: Part) -> list[list[Value]]:
        # Σ weight·vector + bias over the parts, for each number of each gate: a dot product.
        of_inputs = weighted_sums([x for vector, _, bias in parts for x in ([1.0] * bool(bias) + [*vector])])

        def line(i: int) -> list[Value]:
            return [w for _, weight, bias in parts for w in ((bias[i : i + 1] if bias else []) + weight[i])]

        size = self.hidden_size
        return [[of_inputs(line(i)) for i in range(gate * size, (gate + 1) * size)] for gate in gates]

    def _weigh(self, x: Sequence[Any], h: Sequence[Any]) -> tuple[Part, Part]:
        return (x, self.weight_ih, self.bias_ih), (h, self.weight_hh, self.bias_hh)

    def _title(self) -> str:
        return f"{type(self).__name__}({self.input_size}, {self.hidden_size}{', bias=False' * (not self.bias_ih)})"


class RNNCell(_Cell):
    """h' = tanh(W_ih·x + b_ih + W_hh·h + b_hh): the state h' after an input x.

    (Elman, *Finding structure in time*, 1990.)

    Args:
        input_size: the length of an input.
        hidden_size: the length of the state.
        bias: whether the sums have biases.
        nonlinearity: ``"tanh"`` or ``"relu"``.
        rng: the random generator for weights and biases, uniform in ±1/√hidden_size.

    Raises:
        ValueError: if a size is not positive, or the nonlinearity is another one.

    >>> len(RNNCell(2, 3)([0.5, 1.0]))
    3
    """

    gates = 1

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh", *, rng: Any = random
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"nonlinearity is 'tanh' or 'relu', not {nonlinearity!r}")
        self.nonlinearity = nonlinearity
        super().__init__(input_size, hidden_size, bias, rng=rng)

    def step(self, x: Sequence[Any], state: State) -> State:
        """Returns the state after an input, for one sample."""
        (sums,) = self._sums([0], *self._weigh(x, state[0]))
        return [[activate(self.nonlinearity, s) for s in sums]]


class LSTMCell(_Cell):
    """c' = f∘c + i∘g and h' = o∘tanh(c'): gates decide what the memory c forgets, takes in and shows.

    The gates i, f and o are sigmoids, and g is a tanh, of W_ih·x + b_ih + W_hh·h + b_hh with weights of their own. A
    call returns the pair (h', c') (Hochreiter and Schmidhuber, *Long short-term memory*, 1997).

    Args:
        input_size: the length of an input.
        hidden_size: the length of h and of c.
        bias: whether the sums have biases.
        rng: the random generator for weights and biases, uniform in ±1/√hidden_size.

    Raises:
        ValueError: if a size is not positive.

    >>> h, c = LSTMCell(2, 3)([0.5, 1.0])
    >>> len(h), len(c)
    (3, 3)
    """

    gates, remembers = 4, 2

    def step(self, x: Sequence[Any], state: State) -> State:
        """Returns the state (h', c') after an input, for one sample."""
        h, c = state
        takes, keeps, new, shows = self._sums(range(4), *self._weigh(x, h))
        c = [f.sigmoid() * old + i.sigmoid() * g.tanh() for i, f, g, old in zip(takes, keeps, new, c, strict=True)]
        return [[o.sigmoid() * z.tanh() for o, z in zip(shows, c, strict=True)], c]


class GRUCell(_Cell):
    """h' = (1 − z)∘n + z∘h, with n = tanh(W_in·x + b_in + r∘(W_hn·h + b_hn)); r and z are sigmoids.

    (Cho et al., *Learning phrase representations using RNN encoder-decoder*, 2014; with PyTorch's place for r.)

    Args:
        input_size: the length of an input.
        hidden_size: the length of the state.
        bias: whether the sums have biases.
        rng: the random generator for weights and biases, uniform in ±1/√hidden_size.

    Raises:
        ValueError: if a size is not positive.

    >>> len(GRUCell(2, 3)([0.5, 1.0]))
    3
    """

    gates = 3

    def step(self, x: Sequence[Any], state: State) -> State:
        """Returns the state after an input, for one sample."""
        of_x, of_h = self._weigh(x, state[0])
        resets, keeps = self._sums([0, 1], of_x, of_h)
        (from_x,), (from_h,) = self._sums([2], of_x), self._sums([2], of_h)
        new = [(a + r.sigmoid() * b).tanh() for a, r, b in zip(from_x, resets, from_h, strict=True)]
        return [[n + z.sigmoid() * (h - n) for n, z, h in zip(new, keeps, state[0], strict=True)]]


class _Recurrent(Module):
    cell: type[_Cell]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        rng: Any = random,
        **options: Any,
    ) -> None:
        check_sizes(input_size=input_size, hidden_size=hidden_size, num_layers=num_layers)
        check_flags(bias=bias, batch_first=batch_first, bidirectional=bidirectional)
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.batch_first, self.bidirectional = batch_first, bidirectional
        sizes = [input_size] + [hidden_size * (1 + bidirectional)] * (num_layers - 1)
        self.cells = [
            [self.cell(size, hidden_size, bias, rng=rng, **options) for _ in range(1 + bidirectional)] for size in sizes
        ]
        self.dropout = Dropout(dropout, rng)

    def forward(self, x: Any, hx: Any = None) -> tuple[list[Any], Any]:
        """Returns the outputs of the last layer, one per step, and the state after the last step.

        Args:
            x: a sequence (length, input_size); or a batch (length, batch, input_size), with ``batch_first`` (batch,
                length, input_size).
            hx: the state before the first step, (layers, hidden_size) or (layers, batch, hidden_size), for an LSTM the
                pair of two such; zeros by default. With ``bidirectional``, each layer has two.

        Raises:
            ValueError: if the sequence or the state has another shape.
        """
        order = "(batch, length" if self.batch_first else "(length, batch"
        takes = f"{self._title()} takes a sequence (length, {self.input_size}), or a batch {order}, {self.input_size})"
        x = read_lists(x, takes, (None, self.input_size), (None, None, self.input_size))
        is_batch = len(shape_of(x)) == 3
        samples = [x] if not is_batch else x if self.batch_first else _turn(x)
        count = len(self.cells) * (1 + self.bidirectional)
        states = read_states(hx, self.cells[0][0], count, *[len(samples)] * is_batch, self.hidden_size)
        each = [[_turn(state)[n] if is_batch else state for state in states] for n in range(len(samples))]
        outputs, last = zip(*map(self._read, samples, each), strict=True)
        new = [_turn([state[i] for state in last]) if is_batch else last[0][i] for i in range(len(states))]
        if not is_batch:
            return outputs[0], _give(new)
        return list(outputs) if self.batch_first else _turn(outputs), _give(new)

    def _read(self, sequence: list[Any], states: list[Any]) -> tuple[list[Any], list[Any]]:
        # The outputs for one sequence, and the vectors of the last state: for each that a cell remembers, one per cell.
        last: list[State] = []
        for k, cells in enumerate(self.cells):
            if k:
                sequence = [self.dropout(x) for x in sequence]
            outputs = []
            for backward, cell in enumerate(cells):
                state: State = [vectors[len(last)] for vectors in states]
                out = []
                for x in sequence[::-1] if backward else sequence:
                    state = cell.step(x, state)
                    out.append(state[0])
                outputs.append(out[::-1] if backward else out)
                last.append(state)
            sequence = [[h for part in parts for h in part] for parts in zip(*outputs, strict=True)]
        return sequence, _turn(last)

    def _state(self) -> dict[str, Any]:
        return {
            f"{name}_l{k}{'_reverse' * backward}": getattr(cell, name)
            for k, cells in enumerate(self.cells)
            for backward, cell in enumerate(cells)
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        }

    def _title(self) -> str:
        usual = {"num_layers": 1, "batch_first": False, "bidirectional": False}
        more = [f", {name}={vars(self)[name]}" for name in usual if vars(self)[name] != usual[name]]
        return f"{type(self).__name__}({self.input_size}, {self.hidden_size}{''.join(more)})"


class RNN(_Recurrent):
    """Reads sequences with an :class:`RNNCell`. A call returns the outputs of all steps, and the last state.

    Args:
        input_size: the length of an input.
        hidden_size: the length of an output.
        num_layers: how many cells; each but the first reads the outputs of the one before.
        nonlinearity: ``"tanh"`` or ``"relu"``.
        bias: whether the sums have biases.
        batch_first: whether batches are (batch, length, input_size), not (length, batch, input_size).
        dropout: the probability with which outputs between the layers are dropped.
        bidirectional: whether each layer has a second cell, which reads backwards.
        rng: the random generator for weights, biases and dropout.

    Raises:
        ValueError: if a size is not positive, or an option is out of its range.
        TypeError: if an argument has the wrong type.

    >>> outputs, state = RNN(2, 3)([[0.0, 1.0], [1.0, 0.0], [0.5, 0.5], [0.0, 0.0]])
    >>> len(outputs), len(outputs[0]), state == [outputs[-1]]
    (4, 3, True)
    """

    cell = RNNCell

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        *args: Any,
        **options: Any,
    ) -> None:
        super().__init__(input_size, hidden_size, num_layers, *args, nonlinearity=nonlinearity, **options)


class LSTM(_Recurrent):
    """Reads sequences with an :class:`LSTMCell`. A call returns the outputs of all steps, and the last states (h, c).

    Args:
        input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, rng: as in :class:`RNN`.

    Raises:
        ValueError: if a size is not positive, or an option is out of its range.
        TypeError: if an argument has the wrong type.

    >>> lstm = LSTM(2, 3, num_layers=2)
    >>> outputs, (h, c) = lstm([[0.0, 1.0], [1.0, 0.0]])
    >>> len(outputs), len(h), h[-1] == outputs[-1]
    (2, 2, True)
    >>> lstm.load_state_dict(LSTM(2, 3, num_layers=2).state_dict())
    """

    cell = LSTMCell


class GRU(_Recurrent):
    """Reads sequences with a :class:`GRUCell`. A call returns the outputs of all steps, and the last state.

    Args:
        input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, rng: as in :class:`RNN`.

    Raises:
        ValueError: if a size is not positive, or an option is out of its range.
        TypeError: if an argument has the wrong type.

    >>> outputs, state = GRU(2, 3, bidirectional=True)([[0.0, 1.0], [1.0, 0.0]])
    >>> len(outputs[0]), len(state)
    (6, 2)
    """

    cell = GRUCell


def read_states(hx: Any, cell: _Cell, *shape: int) -> list[Any]:
    """Returns the vectors that a cell is to remember, as nested lists of this shape; zeros if ``hx`` is None.

    Raises:
        ValueError: if they have another shape.

    >>> read_states(None, LSTMCell(1, 2), 2)
    [[0.0, 0.0], [0.0, 0.0]]
    """
    if hx is None:
        return [_zeros(*shape) for _ in range(cell.remembers)]
    takes = f"a state of {cell._title()} has the shape {shape}"
    if cell.remembers == 1:
        return [read_lists(hx, takes, shape)]
    if not isinstance(hx, (tuple, list)) or len(hx) != cell.remembers:
        raise ValueError(f"a state of {cell._title()} is a pair (h, c), not {type(hx).__name__}")
    return [read_lists(state, takes, shape) for state in hx]


def _zeros(*shape: int) -> Any:
    return [_zeros(*shape[1:]) for _ in range(shape[0])] if shape else 0.0


def _give(states: Sequence[Any]) -> Any:
    return states[0] if len(states) == 1 else tuple(states)


def _turn(lists: Iterable[Any]) -> list[Any]:
    return list(map(list, zip(*lists, strict=True)))
