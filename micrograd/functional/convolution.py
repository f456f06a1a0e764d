"""Convolutions and pooling of maps: nested lists of Values and numbers, channel first.

An image is ``[channel][row][column]``, a signal ``[channel][position]``; a batch is a list of them. The functions slide
a window over the map, and take from it what lies inside of the map: zeros around it add nothing to a sum.

>>> conv1d([[1.0, 2.0, 4.0]], weight=[[[Value(1), Value(-1)]]])
[[Value(data=-1.0, grad=0.0, op='dot'), Value(data=-2.0, grad=0.0, op='dot')]]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, reduce
from typing import Any

from .. import rules
from ..arguments import is_nested, read_lists, shape_of
from ..engine import Value, lift, operation
from .sums import sum, weighted_sums

__all__ = [
    "avg_pool1d", "avg_pool2d", "conv1d", "conv2d", "max_pool1d", "max_pool2d", "read_count", "read_padding",
    "read_sizes",
]  # fmt: skip

MAPS = {1: ("a signal", "length"), 2: ("an image", "height, width")}
Window = tuple[tuple[int, ...], tuple[int, ...]]
"""The rows, or columns, of a kernel that lie inside of the map, and those of the map where they lie."""


def conv2d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> list[Any]:
    """Slides filters over an image: out[o][i][j] = bias[o] + Σ weight[o][c][k][l]·x[c][i·stride + k][j·stride + l].

    Each number is a dot product, one node of the graph. As in PyTorch, the filters are not flipped (LeCun et al.,
    *Gradient-based learning applied to document recognition*, 1998).

    Args:
        x: an image (channels, height, width), or a batch of images.
        weight: the filters (out, channels/groups, kernel height, kernel width).
        bias: a number for each filter, or None.
        stride: how far apart the windows are: a number, or one for rows and one for columns, like the next two.
        padding: how many zeros are around the image; ``"valid"`` for none, ``"same"`` for as many as keep its size.
        dilation: how far apart the pixels are that a filter takes.
        groups: into how many groups the channels and filters are divided; the filters of a group see its channels only.

    Raises:
        ValueError: if shapes or settings don't go together.
        TypeError: if something else than numbers is among the numbers.

    >>> image = [[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]]
    >>> [[[y.data for y in row] for row in plane] for plane in conv2d(image, [[[[1.0, 0.0], [0.0, -1.0]]]])]
    [[[-4.0, -4.0]]]
    """
    return _convolve(2, x, weight, bias, stride, padding, dilation, groups)


def conv1d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> list[Any]:
    """Slides filters over a signal: out[o][i] = bias[o] + Σ weight[o][c][k]·x[c][i·stride + k].

    Args:
        x: a signal (channels, length), or a batch of signals.
        weight: the filters (out, channels/groups, kernel length).
        bias, stride, padding, dilation, groups: as in :func:`conv2d`.

    Raises:
        ValueError: if shapes or settings don't go together.
        TypeError: if something else than numbers is among the numbers.

    >>> [[y.data for y in row] for row in conv1d([[1.0, 2.0, 3.0]], [[[1.0, -1.0]]], bias=[0.5], padding=1)]
    [[-0.5, -0.5, -0.5, 3.5]]
    """
    return _convolve(1, x, weight, bias, stride, padding, dilation, groups)


def max_pool2d(
    x: Any,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
) -> list[Any]:
    """The largest number in each window of an image. Where several are largest, the first has the gradient.

    Args:
        x: an image (channels, height, width), or a batch of images.
        kernel_size: the size of a window: a number, or one for rows and one for columns, like the others.
        stride: how far apart the windows are; the default is their size, so that they don't overlap.
        padding: how far windows reach beyond the image, at most half of their size.
        dilation: how far apart the pixels of a window are.

    Raises:
        ValueError: if shapes or settings don't go together.
        TypeError: if something else than numbers is among the numbers.

    >>> [[[y.data for y in row] for row in plane] for plane in max_pool2d([[[1.0, 2.0], [4.0, 3.0]]], 2)]
    [[[4.0]]]
    """
    return _pool(2, _largest, x, kernel_size, stride, padding, dilation)


def max_pool1d(
    x: Any,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
) -> list[Any]:
    """The largest number in each window of a signal (channels, length), or of each in a batch: see :func:`max_pool2d`.

    >>> [[y.data for y in row] for row in max_pool1d([[1.0, 2.0, 4.0, 3.0]], 2)]
    [[2.0, 4.0]]
    """
    return _pool(1, _largest, x, kernel_size, stride, padding, dilation)


def avg_pool2d(
    x: Any,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    count_include_pad: bool = True,
) -> list[Any]:
    """The mean of each window of an image.

    Args:
        x, kernel_size, stride, padding: as in :func:`max_pool2d`.
        count_include_pad: whether the mean is that of the padding, too, which is zeros.

    Raises:
        ValueError: if shapes or settings don't go together.
        TypeError: if something else than numbers is among the numbers.

    >>> [[[y.data for y in row] for row in plane] for plane in avg_pool2d([[[1.0, 2.0], [4.0, 3.0]]], 2)]
    [[[2.5]]]
    """
    return _pool(2, _average(2, kernel_size, count_include_pad), x, kernel_size, stride, padding, 1)


def avg_pool1d(
    x: Any,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    count_include_pad: bool = True,
) -> list[Any]:
    """The mean of each window of a signal (channels, length), or of each in a batch: see :func:`avg_pool2d`.

    >>> [[y.data for y in row] for row in avg_pool1d([[1.0, 2.0, 4.0, 3.0]], 2)]
    [[1.5, 3.5]]
    """
    return _pool(1, _average(1, kernel_size, count_include_pad), x, kernel_size, stride, padding, 1)


def read_count(name: str, count: int, least: int = 1) -> int:
    """Returns a whole number; ``name`` is that of the setting, for the message.

    Raises:
        ValueError: if it is not a whole number, or below ``least``.

    >>> read_count("groups", 0)
    Traceback (most recent call last):
        ...
    ValueError: groups must be a whole number, at least 1, not 0
    """
    if not hasattr(count, "__index__") or isinstance(count, (bool, Value)) or count < least:
        raise ValueError(f"{name} must be a whole number, at least {least}, not {count!r}")
    return count.__index__()


def read_sizes(name: str, sizes: Any, dimensions: int, least: int = 1) -> tuple[int, ...]:
    """Returns a whole number for each dimension; a single number counts for all of them.

    Raises:
        ValueError: if a number is not whole or below ``least``, or there is not one for each dimension.

    >>> read_sizes("stride", 2, dimensions=2), read_sizes("stride", (1, 2), dimensions=2)
    ((2, 2), (1, 2))
    """
    given = list(sizes) if is_nested(sizes) else [sizes] * dimensions
    if len(given) != dimensions:
        raise ValueError(f"{name} must be one number, or {dimensions}, not {sizes!r}")
    return tuple([read_count(name, size, least) for size in given])


def read_padding(padding: Any, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> list[Any]:
    """Returns the zeros before and after the map, for each dimension.

    Raises:
        ValueError: if the padding has another name than ``"valid"`` and ``"same"``, or is ``"same"`` with a stride.

    >>> read_padding(1, [3, 3], [1, 1], [1, 1]), read_padding("same", [3, 4], [1, 1], [1, 1])
    ([(1, 1), (1, 1)], [(1, 1), (1, 2)])
    """
    if not isinstance(padding, str):
        return [(size, size) for size in read_sizes("padding", padding, len(kernel), 0)]
    if padding == "valid":
        return [(0, 0)] * len(kernel)
    if padding != "same":
        raise ValueError(f"padding must be whole numbers, 'valid' or 'same', not {padding!r}")
    if any(step != 1 for step in stride):
        raise ValueError(f"padding='same' keeps the size of the map, which a stride does not: {stride}")
    missing = [apart * (size - 1) for size, apart in zip(kernel, dilation, strict=True)]
    return [(n // 2, n - n // 2) for n in missing]


def _convolve(
    dimensions: int, x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> list[Any]:
    name = f"conv{dimensions}d()"
    takes = f"{name} takes filters (out, channels/groups, {MAPS[dimensions][1]})"
    weight = read_lists(weight, takes, (None,) * (2 + dimensions))
    count, depth, *kernel = shape_of(weight)
    groups = read_count("groups", groups)
    if count % groups:
        raise ValueError(f"groups must divide the number of filters, but there are {count} filters in {groups} groups")
    name += f" with filters {shape_of(weight)}" + f" in {groups} groups" * (groups > 1)
    x, size = _read_maps(x, name, dimensions, depth * groups)
    bias = [] if bias is None else read_lists(bias, f"{name} takes a bias ({count},)", (count,))
    stride, dilation = read_sizes("stride", stride, dimensions), read_sizes("dilation", dilation, dimensions)
    rows, columns = _windows(size, kernel, stride, read_padding(padding, kernel, stride, dilation), dilation)
    weight, bias = _lift(weight if dimensions == 2 else [[[row] for row in planes] for planes in weight]), _lift(bias)
    each = count // groups

    @cache
    def filters(group: int, rows: tuple[int, ...], columns: tuple[int, ...]) -> list[list[Value]]:
        own = range(group * each, (group + 1) * each)
        return [bias[o : o + 1] + [plane[i][j] for plane in weight[o] for i in rows for j in columns] for o in own]

    def of_image(image: list[Any]) -> list[Any]:
        out: list[Any] = []
        for group in range(groups):
            planes, places = image[group * depth : (group + 1) * depth], []
            for inner_rows, ys in rows:
                for inner_columns, xs in columns:
                    pixels = [plane[y][x] for plane in planes for y in ys for x in xs]
                    of_pixels = weighted_sums([1.0, *pixels] if bias else pixels)
                    places.append([of_pixels(weights) for weights in filters(group, inner_rows, inner_columns)])
            out += [_cut(plane, len(columns)) for plane in zip(*places, strict=True)]
        return out

    return _map_images(of_image, x, dimensions)


def _pool(
    dimensions: int,
    reduction: Callable[[list[Value]], Value],
    x: Any,
    kernel: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
) -> list[Any]:
    kernel = read_sizes("kernel_size", kernel, dimensions)
    stride = kernel if stride is None else read_sizes("stride", stride, dimensions)
    padding = read_sizes("padding", padding, dimensions, 0)
    if any(2 * n > size for n, size in zip(padding, kernel, strict=True)):
        raise ValueError(f"padding must be at most half of kernel_size {kernel}, not {padding}")
    x, size = _read_maps(x, "pooling", dimensions)
    around, dilation = [(n, n) for n in padding], read_sizes("dilation", dilation, dimensions)
    rows, columns = _windows(size, kernel, stride, around, dilation)

    def of_image(image: list[Any]) -> list[Any]:
        return [
            [[reduction([lift(plane[y][x]) for y in ys for x in xs]) for _, xs in columns] for _, ys in rows]
            for plane in image
        ]

    return _map_images(of_image, x, dimensions)


def _largest(values: list[Value]) -> Value:
    return reduce(operation(rules.first_maximum), values)


def _average(dimensions: int, kernel: Any, count_include_pad: bool) -> Callable[[list[Value]], Value]:
    rows, *columns = read_sizes("kernel_size", kernel, dimensions)
    area = rows * columns[0] if columns else rows
    return lambda values: sum(values) / (area if count_include_pad else len(values))


def _read_maps(x: Any, name: str, dimensions: int, channels: int | None = None) -> tuple[list[Any], list[int]]:
    # Maps as nested lists, and the size of each.
    what, sizes = MAPS[dimensions]
    one = (channels, *[None] * dimensions)
    takes = f"{name} takes {what} ({channels or 'channels'}, {sizes}), or a batch of them, channels first"
    x = read_lists(x, takes, one, (None, *one))
    return x, list(shape_of(x)[-dimensions:])


def _map_images(function: Callable[[list[Any]], list[Any]], x: list[Any], dimensions: int) -> list[Any]:
    # Calls a function of an image for each map; a signal is an image of one row.
    def of_map(x: list[Any]) -> list[Any]:
        return function(x) if dimensions == 2 else [row for (row,) in function([[row] for row in x])]

    return of_map(x) if len(shape_of(x)) == dimensions + 1 else list(map(of_map, x))


def _windows(
    size: Sequence[int], kernel: Sequence[int], stride: Sequence[int], padding: Sequence[Any], dilation: Sequence[int]
) -> list[list[Window]]:
    # For rows and for columns, the windows in their order. A map of one dimension has one row.
    out: list[list[Window]] = [[((0,), (0,))]] * (2 - len(size))
    for n, width, step, (before, after), apart in zip(size, kernel, stride, padding, dilation, strict=True):
        room = before + n + after - apart * (width - 1) - 1
        if room < 0:
            raise ValueError(
                f"the kernel of size {tuple(kernel)} and dilation {tuple(dilation)} does not fit into a map of size "
                f"{tuple(size)} and padding {tuple(padding)}: take a smaller kernel, or more padding"
            )
        starts = range(-before, room - before + 1, step)
        inside = [tuple(k for k in range(width) if 0 <= start + k * apart < n) for start in starts]
        out.append([(ks, tuple(start + k * apart for k in ks)) for start, ks in zip(starts, inside, strict=True)])
    return out


def _cut(line: Sequence[Any], width: int) -> list[list[Any]]:
    return [list(line[i : i + width]) for i in range(0, len(line), width)]


def _lift(lists: Any) -> Any:
    return list(map(_lift, lists)) if isinstance(lists, list) else lift(lists)
