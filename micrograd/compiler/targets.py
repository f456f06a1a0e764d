"""For which processor LLVM compiles, and how a module becomes machine code in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..arguments import require

__all__ = ["TARGETS", "Code", "Target", "host"]

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

    def compile(self, module: Any) -> Code:
        """The machine code of a module of :mod:`llvmlite.ir`.

        Raises:
            RuntimeError: if the module is not valid; with LLVM's reason.
        """
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        triple = llvm.Target.from_default_triple()
        machine = triple.create_target_machine(cpu=self.cpu, features=self.features, opt=3)
        parsed = llvm.parse_assembly(str(module))
        parsed.verify()
        passes = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=3))
        passes.getModulePassManager().run(parsed, passes)
        engine = llvm.create_mcjit_compiler(parsed, machine)
        engine.finalize_object()
        return Code(engine)


@dataclass(frozen=True)
class Code:
    """Machine code in memory, which is there as long as this object."""

    engine: Any

    def address(self, name: str) -> int:
        """Where a function of the module begins."""
        return int(self.engine.get_function_address(name))


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
