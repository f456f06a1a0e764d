"""Functions of several Values: sums, softmax, losses, convolutions, attention, random draws.

They take Values and plain numbers.

The functions of one or two Values are here too, with their names in :mod:`micrograd.rules`:

>>> from micrograd import Value
>>> tanh(0.5) == tanh(Value(0.5)).data
True
"""

from .attention import attention
from .classes import gumbel_softmax, log_softmax, logsumexp, one_hot, softmax
from .convolution import avg_pool1d, avg_pool2d, conv1d, conv2d, max_pool1d, max_pool2d
from .draws import dropout, normal, random
from .elementary import (
    acos,
    asin,
    atan,
    atan2,
    cbrt,
    cos,
    cosh,
    erf,
    exp,
    expm1,
    floor,
    gelu,
    hypot,
    leaky_relu,
    log,
    log1p,
    maximum,
    minimum,
    relu,
    sigmoid,
    silu,
    sin,
    sinh,
    softplus,
    sqrt,
    stop_gradient,
    tan,
    tanh,
    where,
)  # fmt: skip
from .losses import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    hinge_loss,
    huber_loss,
    kl_div,
    l1_loss,
    mse_loss,
    nll_loss,
)  # fmt: skip
from .similarity import cosine_similarity, info_nce, normalize
from .sums import add, dot, mean, sum, weighted_sums

__all__ = [
    "acos", "add", "asin", "atan", "atan2", "attention", "avg_pool1d", "avg_pool2d", "binary_cross_entropy",
    "binary_cross_entropy_with_logits", "cbrt", "conv1d", "conv2d", "cos", "cosh", "cosine_similarity",
    "cross_entropy", "dot", "dropout", "erf", "exp", "expm1", "floor", "gelu", "gumbel_softmax", "hinge_loss",
    "huber_loss", "hypot", "info_nce", "kl_div", "l1_loss", "leaky_relu", "log", "log1p", "log_softmax", "logsumexp",
    "max_pool1d", "max_pool2d", "maximum", "mean", "minimum", "mse_loss", "nll_loss", "normal", "normalize", "one_hot",
    "random", "relu", "sigmoid", "silu", "sin", "sinh", "softmax", "softplus", "sqrt", "stop_gradient", "sum", "tan",
    "tanh", "weighted_sums", "where",
]  # fmt: skip
