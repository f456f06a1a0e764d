"""Pooling: each window of a map becomes one number. And the list that the last layers of a network take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import index
from typing import Any

from .. import functional
from ..arguments import one_line, shape_of, to_lists
from ..functional.convolution import read_sizes
from .inputs import check_flags
from .module import Module

__all__ = ["AvgPool1d", "AvgPool2d", "Flatten", "MaxPool1d", "MaxPool2d"]


class _Pooling(Module):
    function: Callable[..., list[Any]]
    dimensions: int
    option: str  # what the function takes besides

    def __init__(self, kernel_size: Any, stride: Any, padding: Any) -> None:
        self.kernel_size = read_sizes("kernel_size", kernel_size, self.dimensions)
        self.stride = self.kernel_size if stride is None else read_sizes("stride", stride, self.dimensions)
        self.padding = read_sizes("padding", padding, self.dimensions, 0)

    def forward(self, x: Any) -> list[Any]:
        """Returns the smaller maps for a sample, or for each sample of a batch.

        Raises:
            ValueError: if the input has another shape, or is smaller than a window.
            TypeError: if it contains something else than numbers.
        """
        return type(self).function(x, self.kernel_size, self.stride, self.padding, vars(self)[self.option])

    def _title(self) -> str:
        usual = {"stride": self.kernel_size, "padding": (0,) * self.dimensions}
        more = [f", {name}={vars(self)[name]}" for name in usual if vars(self)[name] != usual[name]]
        return f"{type(self).__name__}({self.kernel_size}{''.join(more)})"


class MaxPool2d(_Pooling):
    """The largest number in each window of an image. Where several are largest, the first has the gradient.

    Args:
        kernel_size: the size of a window: a number, or one for rows and one for columns, like the others.
        stride: how far apart the windows are; the default is their size, so that they don't overlap.
        padding: how far windows reach beyond the image, at most half of their size.
        dilation: how far apart the pixels of a window are.

    Raises:
        ValueError: if a size is not a positive whole number.

    >>> [[[y.data for y in row] for row in plane] for plane in MaxPool2d(2)([[[1, 2, 5, 6], [4, 3, 8, 7]]])]
    [[[4.0, 8.0]]]
    """

    function, dimensions, option = staticmethod(functional.max_pool2d), 2, "dilation"

    def __init__(
        self,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] | None = None,
        padding: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
    ) -> None:
        super().__init__(kernel_size, stride, padding)
        self.dilation = read_sizes("dilation", dilation, self.dimensions)


class MaxPool1d(MaxPool2d):
    """The largest number in each window of a signal, a list [channel][position]. Arguments as of :class:`MaxPool2d`.

    >>> [[y.data for y in row] for row in MaxPool1d(2)([[1, 2, 4, 3]])]
    [[2.0, 4.0]]
    """

    function, dimensions = staticmethod(functional.max_pool1d), 1


class AvgPool2d(_Pooling):
    """The mean of each window of an image.

    Args:
        kernel_size, stride, padding: as in :class:`MaxPool2d`.
        count_include_pad: whether the mean is that of the padding, too, which is zeros.

    Raises:
        ValueError: if a size is not a positive whole number.

    >>> [[[y.data for y in row] for row in plane] for plane in AvgPool2d(2)([[[1, 2, 5, 6], [4, 3, 8, 7]]])]
    [[[2.5, 6.5]]]
    """

    function, dimensions, option = staticmethod(functional.avg_pool2d), 2, "count_include_pad"

    def __init__(
        self,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] | None = None,
        padding: int | Sequence[int] = 0,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding)
        check_flags(count_include_pad=count_include_pad)
        self.count_include_pad = count_include_pad


class AvgPool1d(AvgPool2d):
    """The mean of each window of a signal, a list [channel][position]. Arguments as of :class:`AvgPool2d`.

    >>> [[y.data for y in row] for row in AvgPool1d(2)([[1, 2, 4, 3]])]
    [[1.5, 3.5]]
    """

    function, dimensions = staticmethod(functional.avg_pool1d), 1


class Flatten(Module):
    """Turns the maps of a sample into one list, which linear layers take.

    As in PyTorch, the dimensions from ``start_dim`` to ``end_dim`` become one, and dimension 0 is that of the batch.
    But three dimensions are one image [channel][row][column], not a batch: it counts as a batch of one, unless
    ``start_dim`` is 0. A single signal [channel][position] needs ``Flatten(0)``.

    Args:
        start_dim: the first dimension of those that become one; negative numbers count from the last dimension.
        end_dim: the last one.

    Raises:
        TypeError: if a dimension is not a whole number.

    >>> image = [[[1, 2], [3, 4]]]
    >>> Flatten()(image)
    [1, 2, 3, 4]
    >>> Flatten()([image, image])
    [[1, 2, 3, 4], [1, 2, 3, 4]]
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim, self.end_dim = index(start_dim), index(end_dim)

    def forward(self, x: Any) -> list[Any]:
        """Returns the lists with these dimensions as one; a single list of numbers as it is.

        Raises:
            ValueError: if the lists in ``x`` differ in shape, or have no such dimensions.
        """
        x = to_lists(x)
        shape = shape_of(x)
        if isinstance(shape, list):
            raise ValueError(f"{self._title()} takes lists of one shape, not of {one_line(str(shape))}")
        if len(shape) == 1:
            return x  # type: ignore[no-any-return]
        if len(shape) == 3 and self.start_dim:
            return self._flatten([x], 4)[0]  # type: ignore[no-any-return]
        return self._flatten(x, len(shape))

    def _flatten(self, x: Any, depth: int) -> list[Any]:
        first, last = (n + depth if n < 0 else n for n in (self.start_dim, self.end_dim))
        if not 0 <= first <= last < depth:
            raise ValueError(
                f"{self._title()} takes lists with the dimensions {first} to {last}, not shape {shape_of(x)}"
            )
        return _join(x, first, last - first)

    def _title(self) -> str:
        is_usual = (self.start_dim, self.end_dim) == (1, -1)
        return "Flatten()" if is_usual else f"Flatten({self.start_dim}, {self.end_dim})"


def _join(x: list[Any], above: int, times: int) -> list[Any]:
    # Joins the lists in a list, as many times; or does so with the lists that lie deeper.
    if above:
        return [_join(item, above - 1, times) for item in x]
    for _ in range(times):
        x = [item for part in x for item in part]
    return x
