"""The last stage: compiles functions to machine code, keeps them on disk, and calls them.

A program is an array of whole numbers: for each instruction the address of its function, its length, and its operands.
Each function is compiled once, for all programs. Its machine code is kept in the user's cache folder, with a checksum.
In memory, machine code stays while a program uses it, and until 512 other kernels were loaded. On disk, the least
recently used files are removed when there are more than 64 MB.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import stat
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .code import Function, Pointer
from .elementary import emit
from .targets import TARGETS, Target, find_host, llvm

__all__ = [
    "CALL", "HEAD", "Code", "Floats", "Kernel", "Whole", "address_of", "assemble", "begin_of", "bind", "find_target",
    "instruction", "run",
]  # fmt: skip

Floats = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]
HEAD = 2  # numbers before the operands of an instruction: its function's address, and its length
CALL = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4, ctypes.c_int64)
_INLINED = 6  # a function of math that is named up to so often, its definition included, is inlined
_FOLDER = 64 << 20  # bytes of machine code that are kept on disk
_TOGETHER = 16  # functions per engine of LLVM, whose memory is freed when none of them is used any more
_lock = threading.RLock()
_codes: weakref.WeakValueDictionary[tuple[str, Target], Code] = weakref.WeakValueDictionary()
_staying: list[Code] = []  # kernels of the package itself: never freed
_recent: deque[Code] = deque(maxlen=512)  # other kernels, as another program may need them soon


@dataclass(eq=False)
class Code:
    """Machine code in memory. It is freed with the last reference to it.

    Attributes:
        address: the address of the function.
        engine: LLVM's object that owns the memory.
    """

    address: int
    engine: Any = field(repr=False)


class Kernel:
    """A function of machine code, which an instruction of a program runs.

    It takes four pointers and the number of lanes. The pointers are to the rows of a block ``v``, to the numbers that
    are the same in all lanes ``u``, to sums ``g``, and to the instruction's operands ``c``.

    Args:
        key: identifies the function: kernels with the same key have the same code.
        write: writes the function's instructions.
        operands: the names of its first operands, for :func:`instruction`.
        stays: whether its machine code stays in memory; otherwise its users keep a reference to :attr:`code`.
    """

    def __init__(
        self,
        key: str,
        write: Callable[[Function, Pointer, Pointer, Pointer, Pointer], None],
        operands: Sequence[str] = (),
        stays: bool = True,
    ) -> None:
        self.key, self._write, self._stays = key, write, stays
        self.operands = tuple(operands)

    def place(self, operand: str) -> int:
        """Returns the index of an operand in an instruction of this kernel."""
        return HEAD + self.operands.index(operand)

    def write_text(self) -> str:
        """Returns the function in LLVM's language."""
        function = Function(self.name, 4, emit, find_target().fma)
        self._write(function, *function.pointers)
        return function.finish()

    @property
    def file(self) -> str:
        """The source file of the Python function that writes the kernel."""
        write: Any = self._write
        return str(getattr(write, "func", write).__code__.co_filename)

    @property
    def name(self) -> str:
        """The function's name in LLVM's language."""
        return "k" + hashlib.sha256(self.key.encode()).hexdigest()[:24]

    @property
    def code(self) -> Code:
        """The machine code. The first use compiles it, or loads it from the disk."""
        place = self.key, find_target()
        found = _codes.get(place)
        if found is None:
            with _lock:
                found = _codes[place] = _codes.get(place) or _load_code(self)
                (_staying if self._stays else _recent).append(found)
        return found


def find_target() -> Target:
    """Returns the processor to compile for: this one, or the one that the environment's MICROGRAD_TARGET names.

    Raises:
        ValueError: if there is no target of this name.
    """
    name = os.environ.get("MICROGRAD_TARGET")
    if name and name not in TARGETS:
        raise ValueError(f"the environment's MICROGRAD_TARGET is one of {', '.join(TARGETS)}, not {name!r}")
    return TARGETS[name] if name else find_host()


def _load_code(kernel: Kernel) -> Code:
    target = find_target()
    what = [_describe_version(kernel.file), llvm.get_process_triple(), str(target), kernel.key]
    code = _find_code(kernel, "\n".join(what))
    if _engines.get(target, (None, _TOGETHER))[1] == _TOGETHER:
        _engines[target] = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _make_machine(target)), 0
    engine, count = _engines[target]
    _engines[target] = engine, count + 1
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return Code(int(engine.get_function_address(kernel.name)), engine)


_engines: dict[Target, tuple[Any, int]] = {}  # the engine for the next function, and how many functions it has


def _find_code(kernel: Kernel, what: str) -> bytes:
    # Returns the machine code of a kernel: reads it from the cache folder, or compiles it and writes it there.
    folder = find_folder()
    if folder is None:
        return compile_text(kernel.write_text())
    file = folder / hashlib.sha256(what.encode()).hexdigest()[:40]
    try:
        checksum, code = (content := file.read_bytes())[:32], content[32:]
        if hashlib.sha256(what.encode() + code).digest() == checksum:
            with contextlib.suppress(OSError):
                os.utime(file)  # marks the file as the most recently used one
            return code
    except OSError:
        pass
    code = compile_text(kernel.write_text())
    unfinished = file.with_name(f"{file.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        unfinished.write_bytes(hashlib.sha256(what.encode() + code).digest() + code)
        unfinished.replace(file)
        _limit_folder(folder)
    except OSError:  # the disk is full, or can't be written to
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
    return code


def _limit_folder(folder: Path) -> None:
    # Removes the least recently used files if there are too many. It looks at every 64th call.
    global _written
    _written += 1
    if _written % 64 == 1:
        files = [(about.st_mtime, about.st_size, entry.path) for entry in os.scandir(folder) if (about := entry.stat())]
        size = sum([size for _, size, _ in files])
        for _, its, path in sorted(files) if size > _FOLDER else ():
            if size <= _FOLDER * 3 // 4:
                break
            os.unlink(path)
            size -= its


_written = 0


def compile_text(text: str) -> bytes:
    """Compiles a module in LLVM's language to an object file."""
    machine = _find_machine(find_target())
    module = llvm.parse_assembly(text)
    module.triple, module.data_layout = machine.triple, str(machine.target_data)
    for function in module.functions:
        if function.linkage is llvm.Linkage.internal and text.count(f'@"{function.name}"(') <= _INLINED:
            function.add_function_attribute("alwaysinline")
    # LLVM's own list of passes would take three times as long as all the rest, and makes nothing faster here.
    passes = llvm.create_new_module_pass_manager()
    passes.add_always_inliner_pass()
    passes.add_sroa_pass()
    passes.add_instruction_combine_pass()
    passes.add_simplify_cfg_pass()
    passes.run(module, llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options()))
    return bytes(machine.emit_object(module))


def _make_machine(target: Target) -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    triple = llvm.Target.from_default_triple()
    return triple.create_target_machine(cpu=target.cpu, features=target.features, opt=2, jit=True)


_find_machine = cache(_make_machine)  # for compiling; each engine needs one of its own


@cache
def _describe_version(writer: str) -> str:
    # Identifies what machine code depends on besides its key: this package, the file that writes it, and LLVM.
    digest = hashlib.sha256()
    for file in [*sorted(Path(__file__).parent.glob("*.py")), Path(writer)]:
        digest.update(file.read_bytes())
    return f"{llvm.llvm_version_info} {digest.hexdigest()}"


def find_folder() -> Path | None:
    """Returns the cache folder. None if it can't be made, or if it is not the user's own and theirs alone to write."""
    home = os.environ.get("XDG_CACHE_HOME") or Path("~", ".cache")
    try:
        folder = Path(home).expanduser() / "micrograd"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        about = folder.stat()
    except (OSError, RuntimeError):
        return None
    is_own = not hasattr(os, "getuid") or about.st_uid == os.getuid()
    return folder if is_own and not about.st_mode & (stat.S_IWGRP | stat.S_IWOTH) else None


def assemble(instructions: Iterable[tuple[Kernel, Sequence[int] | Whole]]) -> Whole:
    """Returns the code of several instructions, each given by its kernel and its operands."""
    parts = [np.empty(0, dtype=np.int64)]
    for kernel, operands in instructions:
        parts += [np.array([kernel.code.address, len(operands) + HEAD]), np.asarray(operands, dtype=np.int64)]
    return np.concatenate(parts)


def instruction(kernel: Kernel, **operands: int | npt.NDArray[Any]) -> Whole:
    """Returns an instruction: the address of its function, its length, and its operands.

    Args:
        kernel: the function that it runs.
        operands: whole numbers, by name. An array stands for its address, and the caller keeps it alive.

    Raises:
        TypeError: if the names are not those of the kernel's operands.
    """
    if operands.keys() != {*kernel.operands}:
        raise TypeError(f"{kernel.key} has the operands {', '.join(kernel.operands)}, not {', '.join(operands)}")
    given = [operands[name] for name in kernel.operands]
    numbers = [x if isinstance(x, int) else address_of(x) for x in given]
    return np.array([kernel.code.address, HEAD + len(numbers), *numbers], np.int64)


def bind(one: Whole, v: npt.NDArray[Any], u: npt.NDArray[Any], g: npt.NDArray[Any], lanes: int) -> Callable[[], None]:
    """Returns a function that runs an instruction on these arrays. The caller keeps the arrays alive."""
    return partial(CALL(int(one[0])), *map(address_of, (v, u, g, one[HEAD:])), lanes)


def run(one: Whole, v: npt.NDArray[Any], u: npt.NDArray[Any], g: npt.NDArray[Any], lanes: int) -> int:
    """Runs an instruction, and returns its first operand, which it may set to its result."""
    bind(one, v, u, g, lanes)()
    return int(one[HEAD])


def address_of(array: npt.NDArray[Any]) -> int:
    """Returns the address of an array for machine code. The caller keeps the array alive.

    Raises:
        TypeError: if it is not contiguous, or its numbers don't have 64 bits.
    """
    if not array.flags.c_contiguous or array.itemsize != 8:
        raise TypeError(f"machine code reads arrays of float64 or int64, from end to end, not {array.dtype}")
    return begin_of(array)


def begin_of(array: npt.NDArray[Any]) -> int:
    """Returns the address of an array's first number. The array need not be contiguous."""
    try:
        return ctypes.addressof(ctypes.c_char.from_buffer(array.data))  # takes half the time of the other way
    except (TypeError, ValueError, BufferError):  # it is not contiguous, or empty, or read-only
        return int(array.__array_interface__["data"][0])


if hasattr(os, "register_at_fork"):  # another thread may hold the lock, and does not exist in the child process
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)
