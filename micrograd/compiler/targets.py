"""For which processor LLVM compiles."""

from __future__ import annotations

from dataclasses import dataclass

from ..arguments import require

__all__ = ["TARGETS", "Target", "host", "llvm"]

llvm = require("llvmlite.binding", "compiling", "llvmlite", "numpy")  # llvmlite has no types: its objects are Any here


@dataclass(frozen=True)
class Target:
    """A kind of processor.

    Attributes:
        cpu: LLVM's name for it.
        features: what it has beyond that name's, as LLVM writes it: ``"+avx2,+fma"``.
        lanes: how many doubles its registers hold.
        fma: whether it has an instruction for ``a * b + c``.
    """

    cpu: str
    features: str
    lanes: int
    fma: bool


TARGETS = {
    "AVX-512": Target("skylake-avx512", "", 8, True),
    "AVX2": Target("haswell", "", 4, True),
    "SSE2": Target("x86-64", "", 2, False),
}


def host() -> Target:
    """The processor that this runs on.

    >>> host().lanes in (2, 4, 8)
    True
    """
    has = llvm.get_host_cpu_features()
    lanes = 8 if has.get("avx512f") and has.get("avx512dq") else 4 if has.get("avx2") else 2
    fma = bool(has.get("fma")) or llvm.get_process_triple().startswith(("aarch64", "arm64"))
    return Target(llvm.get_host_cpu_name(), has.flatten(), lanes, fma)
