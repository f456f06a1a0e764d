"""The update rule of an optimizer as a compiled program: (parameter, state, gradient) → (parameter, state)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..compiler.machine import Floats
from ..compiler.program import make_program
from ..compiler.tracing import Traced, TraceError
from ..engine import Value
from ..optim import Optimizer

__all__ = ["Update"]


class Update:
    """An optimizer's ``update``, compiled like any function of Values.

    The learning rate and the step number are captured Values, so one program serves all steps in which the rule takes
    the same branches. A rule may compare the step number with a number, or take its remainder; other branches on it are
    refused.

    Args:
        optimizer: the optimizer, with its present settings.
        step: the number of the step to compile for.

    Attributes:
        program: takes a parameter, its state and its gradient, and computes the new parameter and the new state.
        questions: what the rule asked about the step number, with the answers.

    Raises:
        TraceError: if the rule can't be compiled.
    """

    def __init__(self, optimizer: Optimizer, step: int) -> None:
        self.questions: dict[tuple[str, int], Any] = {}
        self._lr, self._number = Value(optimizer.lr), _Step(step)
        self._number.ask = lambda *question: self.questions.setdefault(question, _answer(step, *question))
        twin = _copy_with_rate(optimizer, self._lr)

        def update(parameter: Value, *rest: Value) -> Any:
            *state, gradient = rest
            parameter, changed = twin.update(parameter, gradient, tuple(state), self._number)
            return [parameter, *changed]

        self.program, traced = make_program(update, (0.75, *optimizer.first_state(0.75), 0.5), "", False)
        self._captured = traced.captured
        if len(self.program.rows) != 2 + len(optimizer.state[0]):
            raise TraceError(f"{type(optimizer).__name__}.update() gives another state than it takes")

    def fits(self, step: int) -> bool:
        """Returns whether the rule takes the same branches in this step."""
        return all(_answer(step, *question) == answer for question, answer in self.questions.items())

    def list_settings(self, steps: int, rates: Sequence[float]) -> Floats:
        """Returns the program's captured numbers for the next steps, a row per step.

        Args:
            steps: how many steps were done before.
            rates: the learning rate of each step.
        """
        numbers: dict[Value, Any] = {self._lr: rates, self._number: range(steps + 1, steps + 1 + len(rates))}
        columns = [numbers.get(leaf, [leaf._data] * len(rates)) for leaf in self._captured]
        return np.array(columns, dtype=np.float64).reshape(len(columns), len(rates)).T.copy()


class _Step(Traced):
    # A step number. If the rule compares it, it answers with a plain bool, and the question is recorded.

    __slots__ = ("ask",)

    ask: Callable[[str, int], Any]

    def __eq__(self, other: object) -> bool:
        return bool(self.ask("==", other)) if isinstance(other, int) else self is other

    def __mod__(self, other: int) -> int:
        return int(self.ask("%", other))

    __hash__ = Value.__hash__


def _answer(step: int, what: str, other: int) -> Any:
    return step == other if what == "==" else step % other


def _copy_with_rate(optimizer: Optimizer, lr: Value) -> Any:
    # The learning rate of Lookahead is that of the optimizer inside.
    twin: Any = copy.copy(optimizer)
    inner = getattr(optimizer, "optimizer", None)
    if inner is not None:
        twin.optimizer = _copy_with_rate(inner, lr)
    else:
        twin.lr = lr
    return twin
