"""Neurons, layers, and the networks made of them.

``Neuron``, ``Layer`` and ``MLP`` called as in the published package are initialised as there, uniformly in (−1, 1);
with an ``activation=``, a name or a function of a Value, their initialisation is chosen to fit it.

>>> import random
>>> model = MLP(2, [3, 1], activation="tanh", rng=random.Random(0))
>>> model
MLP of [Layer of [TanhNeuron(2), TanhNeuron(2), TanhNeuron(2)], Layer of [LinearNeuron(3)]]
>>> len(model.parameters())
13
>>> model([0.5, -1.0]).op
'dot'

The other modules are PyTorch's, by name and by what they compute. They take a sample, a list of numbers, or a batch, a
list of samples.

>>> model = Sequential(Linear(2, 8, rng=random.Random(0)), LayerNorm(8), Tanh(), Dropout(0.2), Linear(8, 1))
>>> print(model.summary())
name      module        parameters
layers.0  Linear(2, 8)          24
layers.1  LayerNorm(8)          16
layers.2  Tanh()                 0
layers.3  Dropout(0.2)           0
layers.4  Linear(8, 1)           9
total                           49
>>> other = Sequential(Linear(2, 8), LayerNorm(8), Tanh(), Dropout(0.2), Linear(8, 1)).eval()
>>> other.load_state_dict(model.state_dict())
>>> other([0.5, -1.0])[0].data == model.eval()([0.5, -1.0])[0].data
True
"""

from .activations import Activation, Dropout, LeakyReLU, ReLU, Sigmoid, Softmax, Softplus, Tanh
from .initialisers import INITIALISERS
from .layers import MLP, Layer, Linear, Neuron, Residual, Sequential
from .module import Module
from .normalisation import BatchNorm, LayerNorm

__all__ = [
    "INITIALISERS", "MLP", "Activation", "BatchNorm", "Dropout", "Layer", "LayerNorm", "LeakyReLU", "Linear", "Module",
    "Neuron", "ReLU", "Residual", "Sequential", "Sigmoid", "Softmax", "Softplus", "Tanh",
]  # fmt: skip
