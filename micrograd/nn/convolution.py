"""Convolutional layers: filters that slide over signals and images."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

from ..arguments import check_rng
from ..engine import Value
from ..functional import conv1d, conv2d
from ..functional.convolution import read_count, read_padding, read_sizes
from .initialisers import INITIALISERS, find_gain, make_values, read_init
from .inputs import check_flags
from .module import Module

__all__ = ["Conv1d", "Conv2d"]


class _Convolution(Module):
    dimensions: int

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] | str = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        init: str | None = None,
        rng: Any = random,
    ) -> None:
        self.in_channels = read_count("in_channels", in_channels)
        self.out_channels = read_count("out_channels", out_channels)
        self.kernel_size = read_sizes("kernel_size", kernel_size, self.dimensions)
        self.stride = read_sizes("stride", stride, self.dimensions)
        self.dilation = read_sizes("dilation", dilation, self.dimensions)
        read_padding(padding, self.kernel_size, self.stride, self.dilation)
        self.padding = padding
        self.groups = read_count("groups", groups)
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"groups must divide in_channels and out_channels, but {groups} does not divide {in_channels} and "
                f"{out_channels}"
            )
        check_flags(bias=bias)
        check_rng(rng, "uniform", "gauss")
        init = read_init(init)
        draw, area = INITIALISERS[init], math.prod(self.kernel_size)
        fans = area * in_channels // groups, area * out_channels // groups
        shape = out_channels, in_channels // groups, *self.kernel_size
        self.weight = make_values(lambda: draw(rng, *fans, find_gain(init)), *shape)
        self.bias = [Value(0) for _ in range(out_channels)] if bias else None

    def forward(self, x: Any) -> list[Any]:
        """Returns the maps, one per filter, or those for each sample of a batch.

        Raises:
            ValueError: if the input has another shape, or is smaller than the kernel.
            TypeError: if it contains something else than numbers.
        """
        convolve = conv1d if self.dimensions == 1 else conv2d
        return convolve(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)

    def _title(self) -> str:
        ones = (1,) * self.dimensions
        usual = {"stride": ones, "padding": 0, "dilation": ones, "groups": 1}
        more = [f", {name}={vars(self)[name]!r}" for name in usual if vars(self)[name] != usual[name]]
        sizes = f"{self.in_channels}, {self.out_channels}, {self.kernel_size}"
        return f"{type(self).__name__}({sizes}{''.join(more)}{', bias=False' * (self.bias is None)})"


class Conv2d(_Convolution):
    """Filters that slide over images: :func:`~micrograd.functional.conv2d` with weights of its own.

    All places share the weights, so a feature is found wherever it is (LeCun et al., *Gradient-based learning applied
    to document recognition*, 1998).

    Args:
        in_channels: the number of channels of an image.
        out_channels: the number of filters.
        kernel_size: the size of a filter: a number, or one for rows and one for columns, like the next three.
        stride, padding, dilation, groups: as in :func:`~micrograd.functional.conv2d`.
        bias: whether each filter has a bias, which starts at 0.
        init: a name in :data:`INITIALISERS`; the default is ``"he"``, for the ReLU that usually follows.
        rng: the random generator for the weights.

    Raises:
        ValueError: if a size is not positive, a name is unknown, or groups don't divide the channels.
        TypeError: if an argument has the wrong type.

    >>> layer = Conv2d(1, 2, kernel_size=3, padding=1)
    >>> layer
    Conv2d(1, 2, (3, 3), padding=1) with 20 parameters
    >>> image = [[[0.0, 1.0, 2.0, 3.0]] * 5]
    >>> maps = layer(image)
    >>> len(maps), len(maps[0]), len(maps[0][0])
    (2, 5, 4)
    """

    dimensions = 2


class Conv1d(_Convolution):
    """Filters that slide over signals, lists [channel][position]: :func:`~micrograd.functional.conv1d` with weights.

    Args:
        in_channels: the number of channels of a signal.
        out_channels, kernel_size, stride, padding, dilation, groups, bias, init, rng: as in :class:`Conv2d`.

    Raises:
        ValueError: if a size is not positive, a name is unknown, or groups don't divide the channels.
        TypeError: if an argument has the wrong type.

    >>> [len(plane) for plane in Conv1d(1, 3, kernel_size=2)([[0.0, 1.0, 2.0, 3.0]])]
    [3, 3, 3]
    """

    dimensions = 1
