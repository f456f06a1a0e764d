"""Compiled functions: the same scalar graph, at machine speed. See :func:`compile`.

The stages, in the order in which a function passes them. Each can be read, printed and tested alone.

1. ``tracing`` calls the function on Values and keeps what it makes: a graph, with its gradients. ``surroundings`` knows
   what the function reads besides its arguments, ``gather`` which of them are indexes, ``draws`` its random numbers.
2. ``graph`` writes the same as whole numbers, and simplifies it by a table of patterns.
3. ``plan`` decides which operations stand together, and in which rows of memory; ``grouping`` finds layers.
4. ``emit`` and ``products`` write kernels in LLVM's language, by way of ``code``; ``loops`` run a plan's instructions.
   Functions of math are arithmetic, written in ``elementary`` with the numbers of ``code`` and ``pairs``.
5. ``machine`` compiles kernels for a processor (``targets``), keeps them on disk, and calls them.

``program`` holds what a compiled function runs, ``function`` is what users see of it, and ``profiling`` measures it.
"""

from ..arguments import require

for _library in ("llvmlite", "numpy"):
    require(_library, "compiling", "llvmlite", "numpy")

from .function import Compiled, compile  # noqa: A004, E402  (the libraries that they need come first)
from .program import DisagreementError  # noqa: E402
from .tracing import TraceError  # noqa: E402

__all__ = ["Compiled", "DisagreementError", "TraceError", "compile"]
