"""Files of parameters, and of whole runs: safetensors, which PyTorch reads too, and in which no code can hide.

The parameters are tensors of float64 by their names in ``model.state_dict()``; a run's other state is JSON in the
file's metadata. The metadata also have a checksum over the whole file, which the format has not: of a file that was
damaged nothing is taken.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..arguments import require
from ..files import write_file
from ..nn import Module

__all__ = ["load_parameters", "read", "save_parameters", "shape", "write"]

_UNSUMMED = b"0" * 64
_CHECKSUM = re.compile(rb'"checksum":"([0-9a-f]{64})"')
_FORMATS = {"F64": "d", "F32": "f", "F16": "e", "I64": "q", "I32": "i", "I16": "h", "I8": "b", "U8": "B", "BOOL": "?"}


def save_parameters(model: Module, file: str | os.PathLike[str]) -> None:
    """Writes the model's parameters and buffers to a safetensors file, which PyTorch's ``load_state_dict`` takes too.

    A file that is there already is replaced as a whole, or not at all.

    Raises:
        ImportError: if safetensors or NumPy isn't there.
        OSError: if it can't be written; it is then as it was.
        ValueError: if the rows of a parameter have different lengths, so that it is no tensor.

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
    """Takes parameters and buffers over from a safetensors file: ours, a checkpoint, or one from PyTorch.

    Raises:
        ImportError: if safetensors isn't there.
        OSError: if it can't be read.
        ValueError: if it is damaged, or of a model with other names or shapes; the message lists the differences.
            Nothing is then changed.
    """
    tensors, _ = read(file)
    try:
        model.load_state_dict(tensors)
    except ValueError as error:
        raise ValueError(f"{os.fspath(file)}: {error}") from error


def write(file: str | os.PathLike[str], tensors: Mapping[str, Any], run: Mapping[str, Any] | None = None) -> None:
    """Writes tensors, given as nested lists, and a run's state, so that a reader never sees half of it."""
    numpy, save = _library("numpy"), _library("safetensors.numpy").save
    arrays = {}
    for name, entry in tensors.items():
        try:
            arrays[name] = numpy.array(entry, dtype=numpy.float64)
        except ValueError as error:
            raise ValueError(f"{name} can't be saved as a tensor: its rows have different lengths") from error
    metadata = {"format": "pt", "micrograd": "1", "checksum": _UNSUMMED.decode()}
    if run is not None:
        metadata["run"] = json.dumps(run, separators=(",", ":"))
    try:
        content: bytes = save(arrays, metadata)
    except Exception as error:  # the format has a limit of 100 MB for the metadata
        raise ValueError(f"{os.fspath(file)} can't be written as safetensors: {error}") from error
    checksum = b'"checksum":"%s"'
    content = content.replace(checksum % _UNSUMMED, checksum % hashlib.sha256(content).hexdigest().encode(), 1)
    write_file(file, content)


def _library(module: str) -> Any:
    return require(module, "a file of parameters", "numpy", "safetensors")


def read(file: str | os.PathLike[str]) -> tuple[dict[str, Any], Any]:
    """The tensors of a file as nested lists, and a run's state if it holds one, else None.

    Raises:
        ImportError: if safetensors isn't there.
        OSError: if it can't be read.
        ValueError: if it isn't a safetensors file, or was damaged.
    """
    name, content = os.fspath(file), Path(file).read_bytes()
    deserialize = _library("safetensors").deserialize
    header = content[8 : 8 + int.from_bytes(content[:8], "little")]
    checksums = _CHECKSUM.findall(header)
    ours = b'"micrograd"' in header
    if checksums:
        unsummed = content.replace(b'"checksum":"' + checksums[0], b'"checksum":"' + _UNSUMMED, 1)
        if not ours or len(checksums) > 1 or hashlib.sha256(unsummed).hexdigest().encode() != checksums[0]:
            raise ValueError(f"{name} is damaged: its checksum doesn't fit. Restore it from a copy, or remove it")
    elif ours or re.search(rb"[0-9a-f]{24}", header):  # what is left of a checksum whose name was lost
        raise ValueError(f"{name} is damaged: its checksum is missing. Restore it from a copy, or remove it")
    try:
        tensors = {key: _nested(list(_numbers(tensor)), tensor["shape"]) for key, tensor in deserialize(content)}
        metadata = json.loads(header).get("__metadata__", {})
        run = json.loads(metadata["run"]) if ours and "run" in metadata else None
    except Exception as error:  # of safetensors' own kinds, or, in a file made by hand, of any
        raise ValueError(f"{name} is not a safetensors file, or damaged: {error}") from error
    return tensors, run


def _numbers(tensor: Mapping[str, Any]) -> Iterator[float]:
    kind, data = tensor["dtype"], bytes(tensor["data"])
    if kind == "BF16":  # the first half of a float32
        kind, data = "F32", b"".join(b"\0\0" + data[i : i + 2] for i in range(0, len(data), 2))
    if kind not in _FORMATS:
        raise ValueError(f"its numbers are {kind}; float64 and float32 can be read, and {', '.join(_FORMATS)}, BF16")
    return (float(number) for (number,) in struct.iter_unpack(f"<{_FORMATS[kind]}", data))


def _nested(numbers: list[float], sizes: list[int]) -> Any:
    if not sizes:
        return numbers[0]
    if len(sizes) == 1:
        return numbers
    step = len(numbers) // sizes[0] if sizes[0] else 0
    return [_nested(numbers[i * step : (i + 1) * step], sizes[1:]) for i in range(sizes[0])]


def shape(tree: Any) -> list[int]:
    """The sizes of nested lists.

    >>> shape([[1.0, 2.0]]), shape(3.0)
    ([1, 2], [])
    """
    return [len(tree), *(shape(tree[0]) if tree else [])] if isinstance(tree, list) else []
