"""Compiled functions: the same scalar graph, at machine speed. See :func:`compile`.

The stages, each a file: ``tracing``, ``graph``, ``plan``, ``emit`` and ``machine``.
"""

try:
    import llvmlite as _llvmlite
    import numpy as _numpy
except ImportError as error:
    raise ImportError("compiling needs llvmlite and numpy: python -m pip install llvmlite numpy") from error

from .function import Compiled, compile  # noqa: A004
from .program import DisagreementError
from .tracing import TraceError

__all__ = ["Compiled", "DisagreementError", "TraceError", "compile"]
del _llvmlite, _numpy
