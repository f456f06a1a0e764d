"""Neurons, layers and networks.

Without ``activation=``, ``Neuron``, ``Layer`` and ``MLP`` are initialised as in the published package, uniformly in
(−1, 1). With an ``activation=``, a name or a function of a Value, the initialisation suits that activation.

>>> import random
>>> model = MLP(2, [3, 1], activation="tanh", rng=random.Random(0))
>>> model
MLP of [Layer of [TanhNeuron(2), TanhNeuron(2), TanhNeuron(2)], Layer of [LinearNeuron(3)]]
>>> len(model.parameters())
13
>>> model([0.5, -1.0]).op
'dot'

The other modules have the names and the results of PyTorch's. They take a sample, which is a list of numbers, or a
batch, which is a list of samples. A sample may also be an image, which is nested lists [channel][row][column], a signal
[channel][position], or a sequence of vectors [position][number].

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

from .activations import GELU, Activation, Dropout, Identity, LeakyReLU, ReLU, Sigmoid, SiLU, Softmax, Softplus, Tanh
from .attention import MultiheadAttention, TransformerEncoderLayer
from .containers import ModuleList, Residual, Sequential
from .convolution import Conv1d, Conv2d
from .embedding import Embedding
from .initialisers import INITIALISERS
from .layers import MLP, Layer, Linear, Neuron
from .losses import BCELoss, BCEWithLogitsLoss, CrossEntropyLoss, HuberLoss, KLDivLoss, L1Loss, MSELoss, NLLLoss
from .module import Module
from .normalisation import BatchNorm, BatchNorm1d, BatchNorm2d, GroupNorm, LayerNorm
from .pooling import AvgPool1d, AvgPool2d, Flatten, MaxPool1d, MaxPool2d
from .recurrent import GRU, LSTM, RNN, GRUCell, LSTMCell, RNNCell

__all__ = [
    "GELU",
    "GRU",
    "INITIALISERS",
    "LSTM",
    "MLP",
    "RNN",
    "Activation",
    "AvgPool1d",
    "AvgPool2d",
    "BCELoss",
    "BCEWithLogitsLoss",
    "BatchNorm",
    "BatchNorm1d",
    "BatchNorm2d",
    "Conv1d",
    "Conv2d",
    "CrossEntropyLoss",
    "Dropout",
    "Embedding",
    "Flatten",
    "GRUCell",
    "GroupNorm",
    "HuberLoss",
    "Identity",
    "KLDivLoss",
    "L1Loss",
    "LSTMCell",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "MSELoss",
    "MaxPool1d",
    "MaxPool2d",
    "Module",
    "ModuleList",
    "MultiheadAttention",
    "NLLLoss",
    "Neuron",
    "RNNCell",
    "ReLU",
    "Residual",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
    "TransformerEncoderLayer",
]  # fmt: skip
