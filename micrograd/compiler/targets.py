"""The processors to compile for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from ..arguments import require

__all__ = ["TARGETS", "Target", "find_host"]

llvm = require("llvmlite.binding", "compiling", "llvmlite", "numpy")


@dataclass(frozen=True)
class Target:
    """A kind of processor.

    Attributes:
        cpu: LLVM's name for it.
        features: what it has in addition, in LLVM's notation: ``"+avx2,+fma"``.
        fma: whether it has an instruction for ``a * b + c``.
    """

    cpu: str
    features: str
    fma: bool


TARGETS = {
    "AVX-512": Target("skylake-avx512", "", True),
    "AVX2": Target("haswell", "", True),
    "SSE2": Target("x86-64", "", False),
}


@cache
def find_host() -> Target:
    """Returns the processor that this process runs on.

    >>> "+sse2" in find_host().features or "+neon" in find_host().features
    True
    """
    has = llvm.get_host_cpu_features()
    fma = bool(has.get("fma")) or llvm.get_process_triple().startswith(("aarch64", "arm64"))
    return Target(llvm.get_host_cpu_name(), has.flatten(), fma)
