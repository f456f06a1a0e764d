"""Losses as modules: those of :mod:`micrograd.functional`, with their options as attributes.

>>> CrossEntropyLoss()([[-1000.0, 1000.0], [1000.0, 0.0]], [0, 0]).data
1000.0
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import functional
from .module import Module

__all__ = [
    "BCELoss", "BCEWithLogitsLoss", "CrossEntropyLoss", "HuberLoss", "KLDivLoss", "L1Loss", "MSELoss", "NLLLoss",
]  # fmt: skip


class _Loss(Module):
    function: Callable[..., Any]

    def __init__(self, reduction: str = "mean") -> None:
        self.options: dict[str, Any] = {"reduction": reduction}

    def forward(self, predictions: Any, targets: Any) -> Any:
        """Returns the loss of predictions, or of logits, for their targets.

        Raises:
            ValueError: if shapes don't go together, or an option or a target is out of its range.
        """
        return type(self).function(predictions, targets, **self.options)

    def _title(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.options.items())})"


class MSELoss(_Loss):
    """The mean squared error: :func:`~micrograd.functional.mse_loss`.

    Args:
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    >>> MSELoss()([1.0, 2.0], [1.0, 4.0]).data
    2.0
    """

    function = staticmethod(functional.mse_loss)


class L1Loss(_Loss):
    """The mean absolute error: :func:`~micrograd.functional.l1_loss`.

    Args:
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    >>> L1Loss(reduction="sum")([1.0, 2.0], [1.0, 4.0]).data
    2.0
    """

    function = staticmethod(functional.l1_loss)


class HuberLoss(_Loss):
    """A parabola that becomes a line at δ: :func:`~micrograd.functional.huber_loss`.

    Args:
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        delta: δ, above 0.

    >>> HuberLoss(delta=2.0)([5.0], [0.0]).data
    8.0
    """

    function = staticmethod(functional.huber_loss)

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        self.options["delta"] = delta


class CrossEntropyLoss(_Loss):
    """The negative log-likelihood of classes, from logits: :func:`~micrograd.functional.cross_entropy`.

    Args:
        reduction: for a batch, ``"mean"``, ``"sum"`` or ``"none"``.

    >>> CrossEntropyLoss()([-1000.0, 1000.0], 0).data
    2000.0
    """

    function = staticmethod(functional.cross_entropy)


class NLLLoss(_Loss):
    """The negative log-likelihood of classes, from log-probabilities: :func:`~micrograd.functional.nll_loss`.

    Args:
        reduction: for a batch, ``"mean"``, ``"sum"`` or ``"none"``.

    >>> NLLLoss()([-0.5, -1.0], 1).data
    1.0
    """

    function = staticmethod(functional.nll_loss)


class BCELoss(_Loss):
    """Binary cross-entropy of probabilities: :func:`~micrograd.functional.binary_cross_entropy`.

    Args:
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    >>> round(BCELoss()([0.25, 0.5], [0.0, 1.0]).data, 6)
    0.490415
    """

    function = staticmethod(functional.binary_cross_entropy)


class BCEWithLogitsLoss(_Loss):
    """Binary cross-entropy of logits: :func:`~micrograd.functional.binary_cross_entropy_with_logits`.

    Args:
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    >>> BCEWithLogitsLoss(reduction="sum")([1000.0, -1000.0], [0.0, 0.0]).data
    1000.0
    """

    function = staticmethod(functional.binary_cross_entropy_with_logits)


class KLDivLoss(_Loss):
    """The terms of the Kullback-Leibler divergence, from log-probabilities: :func:`~micrograd.functional.kl_div`.

    Args:
        reduction: ``"mean"``, ``"batchmean"``, ``"sum"`` or ``"none"``.
        log_target: whether the targets are logarithms, too.

    >>> round(KLDivLoss(reduction="sum")(functional.log_softmax([0.0, 0.0]), [0.25, 0.75]).data, 6)
    0.130812
    """

    function = staticmethod(functional.kl_div)

    def __init__(self, reduction: str = "mean", log_target: bool = False) -> None:
        super().__init__(reduction)
        self.options["log_target"] = log_target
