"""Files of parameters and of whole runs, in the safetensors format: PyTorch reads it too, and it can't contain code.

The parameters are float64 tensors with their names in ``model.state_dict()``. The run's other state is JSON in the
file's metadata. The metadata also contain a checksum of the whole file, because the format has none: a damaged file of
this package is refused as a whole. A marker on both sides of the checksum says that the file is of this package, so
that damage in one place does not make it look like a file of another program, which may have any metadata.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import struct
from collections.abc import Iterator, Mapping
from itertools import accumulate
from operator import mul
from pathlib import Path
from typing import Any

from ..arguments import require
from ..files import write_file
from ..nn import Module

__all__ = ["load_parameters", "read", "save_parameters", "shape", "write"]

_LEFT, _RIGHT = b"micrograd:sha256:", b":micrograd:sha256"
_UNSUMMED = _LEFT + b"0" * 64 + _RIGHT
_CHECKSUM = re.compile(_LEFT + rb"([0-9a-f]{64})" + _RIGHT)
_LIMIT = 100_000_000  # the format's limit of the header, in bytes; the metadata are in the header
_MOST_SIZES = 64  # the most dimensions of a tensor, as in NumPy
_FORMATS = {"F64": "d", "F32": "f", "F16": "e", "I64": "q", "I32": "i", "I16": "h", "I8": "b"} | {
    "U64": "Q",
    "U32": "I",
    "U16": "H",
    "U8": "B",
    "BOOL": "?",
}


def save_parameters(model: Module, file: str | os.PathLike[str]) -> None:
    """Writes the model's parameters and buffers to a safetensors file. PyTorch can load it into the same model.

    An existing file is replaced as a whole, or not at all.

    Raises:
        ImportError: if safetensors or NumPy is not installed.
        OSError: if the file can't be written; an existing file is then unchanged.
        ValueError: if the rows of a parameter have different lengths: it is not a tensor.

    >>> import tempfile
    >>> from micrograd import nn
    >>> model, other = nn.MLP(2, [4, 1]), nn.MLP(2, [4, 1])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_parameters(model, f"{folder}/model.safetensors")
    ...     load_parameters(other, f"{folder}/model.safetensors")
    >>> other([1.0, 2.0]).data == model([1.0, 2.0]).data
    True
    """
    write(file, model.state_dict())


def load_parameters(model: Module, file: str | os.PathLike[str]) -> None:
    """Loads parameters and buffers from a safetensors file of :func:`save_parameters`, a checkpoint, or PyTorch.

    Raises:
        ImportError: if safetensors is not installed.
        OSError: if the file can't be read.
        ValueError: if the file is damaged, or its model has other names or shapes; the message lists the differences.
            Nothing is then changed.

    For an example see :func:`save_parameters`.
    """
    tensors, _ = read(file)
    try:
        model.load_state_dict(tensors)
    except ValueError as error:
        raise ValueError(f"{os.fspath(file)}: {error}") from error


def write(file: str | os.PathLike[str], tensors: Mapping[str, Any], run: Mapping[str, Any] | None = None) -> None:
    """Writes tensors, given as nested lists, and the state of a run, to a file, as a whole or not at all."""
    numpy, save = _library("numpy"), _library("safetensors.numpy").save
    arrays = {}
    for name, entry in tensors.items():
        try:
            arrays[name] = numpy.array(entry, dtype=numpy.float64)
        except ValueError as error:
            raise ValueError(f"{name} can't be saved as a tensor: its rows have different lengths") from error
    metadata = {"format": "pt", "micrograd": "2", "checksum": _UNSUMMED.decode()}
    if run is not None:
        metadata["run"] = json.dumps(run, separators=(",", ":"))
        size = len(metadata["run"]) + sum(map(metadata["run"].count, '"\\'))  # JSON within JSON escapes these
        if size > _LIMIT:
            steps = len(run["history"]["loss"])
            raise ValueError(
                f"{os.fspath(file)} can't hold the run: its state takes {size:,} bytes, most for the history of "
                f"{steps:,} steps, and a safetensors file has place for {_LIMIT:,}. Keep the parameters by "
                "save_parameters(model, file), and go on from them in a new run"
            )
    try:
        content: bytes = save(arrays, metadata)
    except _library("safetensors").SafetensorError as error:  # the names of the tensors may be too long, too
        raise ValueError(f"{os.fspath(file)} can't be written as safetensors: {error}") from error
    content = content.replace(_UNSUMMED, _LEFT + hashlib.sha256(content).hexdigest().encode() + _RIGHT, 1)
    write_file(file, content)


def _library(module: str) -> Any:
    return require(module, "a file of parameters", "numpy", "safetensors")


def read(file: str | os.PathLike[str]) -> tuple[dict[str, Any], Any]:
    """Reads the tensors of a file as nested lists, and the state of a run, or None if the file has none.

    Raises:
        ImportError: if safetensors is not installed.
        OSError: if the file can't be read.
        ValueError: if the file is damaged, or not a safetensors file.
    """
    name, content = os.fspath(file), Path(file).read_bytes()
    safetensors = _library("safetensors")
    header = content[8 : 8 + int.from_bytes(content[:8], "little")]
    is_ours = _LEFT in header or _RIGHT in header
    if is_ours:
        checksums = _CHECKSUM.findall(header)
        unsummed = content.replace(_LEFT + checksums[0] + _RIGHT, _UNSUMMED, 1) if checksums else b""
        if len(checksums) != 1 or hashlib.sha256(unsummed).hexdigest().encode() != checksums[0]:
            raise ValueError(
                f"{name} is damaged, or was changed by another program: its checksum doesn't fit. Restore it from a "
                "copy, or remove it"
            )
    try:
        found = dict(safetensors.deserialize(content))
        _check_shapes(found, 8 * len(content) + 10_000)  # so that false sizes in a header can't fill the memory
        tensors = {key: _nested(tensor) for key, tensor in found.items()}
        metadata = json.loads(header).get("__metadata__", {})
        run = json.loads(metadata["run"]) if is_ours and "run" in metadata else None
    except (safetensors.SafetensorError, ValueError, RecursionError) as error:
        raise ValueError(f"{name} is not a safetensors file, or damaged: {error}") from error
    return tensors, run


def _check_shapes(tensors: Mapping[str, Mapping[str, Any]], most: int) -> None:
    """Raises a ValueError if all tensors together are more than ``most`` lists."""
    for name, tensor in tensors.items():
        sizes = tensor["shape"]
        most -= sum(accumulate(sizes[:-1], mul))
        if len(sizes) > _MOST_SIZES or most < 0:
            shown = f"[{', '.join(map(str, sizes[:4]))}{', …' * (len(sizes) > 4)}]"
            raise ValueError(f"{name} can't have the shape {shown}: the file is too small for it")


def _nested(tensor: Mapping[str, Any]) -> Any:
    """Converts a tensor to nested lists."""
    sizes = tensor["shape"]
    numbers: list[Any] = list(_numbers(tensor))
    for i in range(len(sizes) - 1, 0, -1):  # makes the innermost lists first
        count, size = math.prod(sizes[:i]), sizes[i]
        numbers = [numbers[k * size : (k + 1) * size] for k in range(count)]
    return numbers if sizes else numbers[0]


def _numbers(tensor: Mapping[str, Any]) -> Iterator[float]:
    kind, data = tensor["dtype"], bytes(tensor["data"])
    if kind == "BF16":  # the upper half of a float32
        kind, data = "F32", b"".join(b"\0\0" + data[i : i + 2] for i in range(0, len(data), 2))
    if kind not in _FORMATS:
        raise ValueError(f"its numbers are {kind}; float64 and float32 can be read, and {', '.join(_FORMATS)}, BF16")
    return (float(number) for (number,) in struct.iter_unpack(f"<{_FORMATS[kind]}", data))


def shape(tree: Any) -> list[int]:
    """Returns the shape of nested lists.

    >>> shape([[1.0, 2.0]]), shape(3.0)
    ([1, 2], [])
    """
    return [len(tree), *(shape(tree[0]) if tree else [])] if isinstance(tree, list) else []
