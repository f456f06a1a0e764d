"""Libraries that are imported where they are used."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["needed"]


def needed(library: str, purpose: str) -> Any:
    """The library, imported.

    Raises:
        ImportError: if it isn't there, with what to install.

    >>> needed("no_such_library", "a picture")
    Traceback (most recent call last):
        ...
    ImportError: a picture needs no_such_library: python -m pip install 'micrograd[train]'
    """
    try:
        return import_module(library)
    except ImportError as error:
        package = library.partition(".")[0]
        raise ImportError(f"{purpose} needs {package}: python -m pip install 'micrograd[train]'") from error
