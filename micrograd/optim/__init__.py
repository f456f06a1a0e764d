"""Optimizers, schedules of the learning rate, clipping and penalties.

>>> from micrograd import Value
>>> x = Value(5.0)
>>> optimizer = SGD([x], lr=0.1)
>>> for step in range(100):
...     optimizer.zero_grad()
...     ((x - 3) ** 2).backward()
...     optimizer.step()
>>> round(x.data, 6)
3.0

Names, defaults and results are PyTorch's wherever PyTorch has the same feature. The base class of optimizers is in
:mod:`micrograd.optim.optimizer`, with an example of a new one.
"""

from .adam import AdaBelief, Adam, AdamW, NAdam
from .adaptive import Adadelta, Adagrad, RMSprop
from .descent import SGD
from .gradients import clip_grad_norm_, clip_grad_value_, l1_penalty, l2_penalty
from .lookahead import Lookahead
from .optimizer import Optimizer
from .schedules import (
    CosineAnnealingLR,
    ExponentialLR,
    LinearLR,
    LRScheduler,
    MultiStepLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)
from .settings import setting

__all__ = [
    "SGD", "AdaBelief", "Adadelta", "Adagrad", "Adam", "AdamW", "CosineAnnealingLR", "ExponentialLR", "LRScheduler",
    "LinearLR", "Lookahead", "MultiStepLR", "NAdam", "Optimizer", "RMSprop", "ReduceLROnPlateau", "SequentialLR",
    "StepLR", "clip_grad_norm_", "clip_grad_value_", "l1_penalty", "l2_penalty", "setting",
]  # fmt: skip
