"""micrograd: a scalar autograd engine, and a small neural-network library on top of it.

>>> from micrograd import Value
>>> x = Value(2.0)
>>> y = x**2 + 3 * x
>>> y.backward()
>>> x.grad
7.0
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .engine import Value, grad

if TYPE_CHECKING:
    from . import data, derivatives, functional, nn, optim, testing, training
    from .anomaly import detect_anomaly
    from .compiler import compile as compile  # noqa: A004 (a public name; type checkers need the "as")
    from .debugger import debug
    from .drawing import draw
    from .explorer import explore
    from .training import fit

__all__ = [  # without compile: an import of * must not hide Python's own
    "Value",
    "data",
    "debug",
    "derivatives",
    "detect_anomaly",
    "draw",
    "explore",
    "fit",
    "functional",
    "grad",
    "nn",
    "optim",
    "testing",
    "training",
]
__version__ = "1.0.0"


_FUNCTIONS = {
    "compile": "compiler",
    "debug": "debugger",
    "detect_anomaly": "anomaly",
    "draw": "drawing",
    "explore": "explorer",
    "fit": "training",
}


def __getattr__(name: str) -> Any:  # loads a module when it is first asked for, to keep the import instant
    if name in _FUNCTIONS:
        return getattr(import_module(f".{_FUNCTIONS[name]}", __name__), name)
    if name in __all__:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_FUNCTIONS})
