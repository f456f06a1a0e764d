"""Training: ``fit``, with a progress bar, stop conditions, a history, and checkpoints from which a run continues.

>>> import random
>>> from micrograd import Value, optim
>>> slope = Value(0.0)
>>> data = [(x / 10, 3 * x / 10) for x in range(10)]
>>> history = fit(lambda x, y: (slope * x - y) ** 2, data, optim.SGD([slope], lr=0.5), epochs=20, rng=random.Random(0))
>>> round(slope.data, 6)
3.0
>>> history.epochs, history.steps, history.reason
(20, 200, 'all 20 epochs were trained')
"""

from .checkpoints import load_parameters, save_parameters
from .flow import GradientFlow, LayerFlow
from .history import History
from .loop import fit
from .resuming import TrainingError
from .stepper import Stepper
from .stopping import EarlyStopping, GradientNorm, StopCondition

__all__ = [
    "EarlyStopping", "GradientFlow", "GradientNorm", "History", "LayerFlow", "Stepper", "StopCondition",
    "TrainingError", "fit", "load_parameters", "save_parameters",
]  # fmt: skip
