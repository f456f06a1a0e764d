"""Compiled functions: the same scalar graph, at machine speed. See :func:`compile`.

The stages, each a file: ``tracing``, ``graph``, ``plan``, ``emit`` and ``machine``.
"""

from ..arguments import require

for _library in ("llvmlite", "numpy"):
    require(_library, "compiling", "llvmlite", "numpy")

from .function import Compiled, compile  # noqa: A004, E402  (the libraries that they need come first)
from .program import DisagreementError  # noqa: E402
from .tracing import TraceError  # noqa: E402

__all__ = ["Compiled", "DisagreementError", "TraceError", "compile"]
