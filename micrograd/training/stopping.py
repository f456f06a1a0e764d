"""Stop conditions: they end a run before its last epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any

from ..arguments import to_float
from .history import History
from .weights import Weights

__all__ = ["EarlyStopping", "GradientNorm", "StopCondition"]


class StopCondition:
    """The base class of stop conditions. A condition reads the history, and returns a reason to stop or "".

    A subclass is a dataclass, and overrides ``after_step`` or ``after_epoch``. Checkpoints contain its fields, so these
    have types that JSON has. Fields that are arguments are settings; the others, ``field(init=False)``, are its state.

    >>> @dataclass
    ... class GoodEnough(StopCondition):
    ...     loss: float
    ...     def after_epoch(self, history, weights):
    ...         return "good enough" if history.train_loss[-1] < self.loss else ""
    >>> GoodEnough(loss=0.1).settings
    {'type': 'GoodEnough', 'loss': 0.1}
    """

    def after_step(self, history: History) -> str:
        """Returns the reason to stop after this step, or an empty string."""
        return ""

    def after_epoch(self, history: History, weights: Weights) -> str:
        """Returns the reason to stop after this epoch, or an empty string."""
        return ""

    def at_end(self, weights: Weights) -> None:
        """Called when a run ends, except after Ctrl-C or an error."""

    def reset(self) -> None:
        """Resets the state. Called when a run begins, so that a condition can be used again."""
        if is_dataclass(self):
            vars(self).update(replace(self).state_dict())

    @property
    def settings(self) -> dict[str, Any]:
        """The type of the condition and its settings."""
        return {"type": type(self).__name__, **self._fields(init=True)}

    def state_dict(self) -> dict[str, Any]:
        """Returns the state in types that JSON has."""
        return self._fields(init=False)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores the state from a :meth:`state_dict`.

        Raises:
            ValueError: if it is the state of another condition; nothing is then changed.
        """
        if not isinstance(state, Mapping) or set(state) != set(self.state_dict()):
            raise ValueError(f"this is not a state of {type(self).__name__}: {state!r:.60}")
        vars(self).update(state)

    def _fields(self, init: bool) -> dict[str, Any]:
        own: Any = self
        names = [f.name for f in fields(own) if f.init == init] if is_dataclass(own) else []
        return {name: getattr(self, name) for name in names}


@dataclass
class GradientNorm(StopCondition):
    """Stops when the norm of the gradient, over all parameters, is near 0.

    Args:
        below: the norm below which the run stops. With small batches, the norm of one batch may be small by chance.

    Raises:
        ValueError: if ``below`` is not above 0.

    >>> from micrograd import Value, fit, optim
    >>> weight = Value(0.0)
    >>> history = fit(
    ...     lambda x: (weight - x) ** 2, [1.0], optim.SGD([weight], lr=0.5), epochs=9, stop=GradientNorm(0.1)
    ... )
    >>> history.gradient_norm
    [2.0, 0.0]
    """

    below: float

    def __post_init__(self) -> None:
        self.below = to_float(self.below)
        if not self.below > 0:
            raise ValueError(f"below must be above 0, not {self.below}")

    def after_step(self, history: History) -> str:
        norm = history.gradient_norm[-1]
        return f"the gradient norm, {norm:.3g}, is below {self.below:g}" if norm < self.below else ""


@dataclass
class EarlyStopping(StopCondition):
    """Stops when the validation loss stops improving, or the training loss if there is no validation set.

    At the end of the run, whatever its reason, the parameters of the best epoch are restored. They are not restored
    after Ctrl-C or an error. Checkpoints keep the last parameters, because a run may continue from them.

    Args:
        patience: the number of epochs without improvement that are tolerated; one more stops the run.
        min_delta: the smallest decrease below the best loss that counts as an improvement.

    Raises:
        ValueError: if ``patience`` is not a whole number, or an argument is below 0.

    >>> from micrograd import Value, fit, optim
    >>> weight = Value(0.0)
    >>> history = fit(
    ...     lambda x: (weight - x) ** 2, [1.0], optim.SGD([weight], lr=0.5), epochs=9, stop=EarlyStopping(patience=2)
    ... )
    >>> history.epochs
    5
    """

    patience: int
    min_delta: float = 0.0
    best: float = field(default=math.inf, init=False)
    waited: int = field(default=0, init=False)
    best_weights: dict[str, Any] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if not hasattr(self.patience, "__index__") or self.patience < 0:
            raise ValueError(f"patience must be a whole number, at least 0, not {self.patience!r}")
        self.patience, self.min_delta = int(self.patience), to_float(self.min_delta)
        if not 0 <= self.min_delta < math.inf:
            raise ValueError(f"min_delta must be at least 0 and finite, not {self.min_delta}")

    def after_epoch(self, history: History, weights: Weights) -> str:
        kind = "validation" if history.validation_loss else "training"
        loss = (history.validation_loss or history.train_loss)[-1]
        if loss < self.best - self.min_delta:
            self.best, self.waited, self.best_weights = loss, 0, weights.state_dict()
        else:
            self.waited += 1
        if self.waited <= self.patience:
            return ""
        return f"the {kind} loss has not improved for {self.waited} epochs; its best was {self.best:.4g}"

    def at_end(self, weights: Weights) -> None:
        if self.best_weights is not None:
            weights.load_state_dict(self.best_weights)
