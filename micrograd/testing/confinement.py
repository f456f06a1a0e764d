"""Runs somebody's file in a process of its own, with limits of time and memory.

The limits protect against accidents: endless loops, lists without end, files written to the wrong place. They are no
protection against code that means harm.
"""

from __future__ import annotations

import contextlib
import importlib.machinery
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from ..arguments import to_float
from ..rules import RULES
from .diagnosis import Diagnosis, describe
from .examination import examine
from .expression import Expression, Step
from .probes import Probe

__all__ = ["diagnose_file", "serve"]

_SOURCE = "import sys; sys.path.insert(0, sys.argv[1]); from micrograd.testing.confinement import serve; serve()"


def diagnose_file(file: str | Path, seconds: float = 20.0, megabytes: float = 2048.0) -> Diagnosis:
    """Runs :func:`diagnose` on the class ``Value`` of a file, in a process of its own with limits.

    The process starts in an empty folder, which is deleted afterwards. It can't write elsewhere, nor start other
    processes, nor use the network. What it prints is dropped. When it ends, or its time is up, whatever it started is
    ended too. Memory is limited where the system can do it: Linux can, macOS and Windows can't.

    Args:
        file: the file. What it imports is also looked for in its folder.
        seconds: the limit of time.
        megabytes: the limit of memory.

    Raises:
        OSError: if the file can't be read.
        ValueError: if a limit is not above 0.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "engine.py")
    ...     _ = file.write_text("class Value: pass")
    ...     print(diagnose_file(file))
    crash: it fails. Value(3.0) can't be made: TypeError: Value() takes no arguments.
    """
    for name, limit in (("seconds", seconds), ("megabytes", megabytes)):
        if not to_float(limit) > 0:
            raise ValueError(f"{name} must be above 0, not {limit}")
    file = Path(file).resolve()
    with open(file, "rb"):  # an error here is the caller's
        pass
    with tempfile.TemporaryDirectory(prefix="micrograd-") as folder:
        work, answer = Path(folder, "work"), Path(folder, "answer")
        work.mkdir()
        package = str(Path(__file__).parents[2])
        process = subprocess.Popen(
            [sys.executable, "-B", "-c", _SOURCE, package, str(file), str(answer), str(seconds), str(megabytes)],
            cwd=work,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "TMPDIR": str(work), "MPLCONFIGDIR": str(work), "MPLBACKEND": "agg"},
        )
        code = None
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = process.wait(seconds)
        finally:
            _end(process)
        return _read_answer(answer, code, f"{seconds:g} seconds or {megabytes:g} MB")


def _end(process: subprocess.Popen[bytes]) -> None:
    # Ends the process and all that it started.
    if sys.platform != "win32":
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()


def _read_answer(answer: Path, code: int | None, limits: str) -> Diagnosis:
    lines = [line for line in answer.read_text(encoding="utf-8").splitlines() if line] if answer.exists() else []
    kind: str
    fields: list[Any]
    kind, *fields = json.loads(lines[-1]) if lines else ("loaded",)
    if kind == "found":
        name, operation, graph, expected, got, notes, detail = fields
        expression = _make_expression(graph) if graph else None
        return Diagnosis(name, operation, expression, expected, got, tuple(notes), detail)
    expression = _make_expression(fields[0]) if kind == "asked" else None
    when = f"the last graph was {fields[1]}" if kind == "asked" else "it happened when the file was loaded"
    if code is None or code in _STOPPED:
        what = f"It was stopped: it took more than {limits}"
    else:
        how = f"the signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        what = f"It ended its process, with {how}"
    return Diagnosis("crash", "", expression, detail=f"{what}; {when}.")


# What the system ends a process with that takes too much time or memory.
_STOPPED = {-getattr(signal, name, 0) for name in ("SIGKILL", "SIGXCPU")} - {0}


def _write_graph(graph: Probe | Expression) -> Any:
    # A graph as JSON can hold it.
    return graph.point, [(step.rule.name, step.rule.constants, step.operands) for step in graph.steps]


def _make_expression(fields: Any) -> Expression:
    point, steps = fields
    made = [Step(RULES[name].bind(name, **given) if given else RULES[name], tuple(of)) for name, given, of in steps]
    return Expression(tuple(point), tuple(made))


# In the process of its own


def serve() -> None:
    """Examines the file that the command line of this process names, and ends the process."""
    _, file, answer, seconds, megabytes = sys.argv[1:]
    with open(answer, "a", encoding="utf-8") as out:

        def write(*fields: Any) -> None:
            out.write(f"\n{json.dumps(fields)}")
            out.flush()

        def report_probe(probe: Probe) -> None:
            write("asked", _write_graph(probe), str(probe))

        _limit(float(seconds), float(megabytes))
        sys.addaudithook(_Guard(Path.cwd()))
        try:
            engine = _find_class(_load(Path(file)))
        except (Exception, SystemExit) as error:
            found = Diagnosis("crash", detail=f"The file can't be loaded: {describe(error)}.")
        else:
            found = examine(engine, report_probe)
        graph = found.counterexample and _write_graph(found.counterexample)
        numbers = found.expected, found.got
        write("found", found.kind, found.operation, graph, *numbers, found.notes, found.detail)
    os._exit(0)  # whatever threads it started


def _limit(seconds: float, megabytes: float) -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    size = int(megabytes * 2**20)
    for kind, limit in (
        ("RLIMIT_AS", size),
        ("RLIMIT_CPU", int(seconds) + 1),
        ("RLIMIT_FSIZE", 2**24),
        ("RLIMIT_CORE", 0),
    ):
        with contextlib.suppress(AttributeError, OSError, ValueError):  # the system does not know it
            resource.setrlimit(getattr(resource, kind), (limit, limit))


class _Guard:
    # Refuses what would leave something behind outside the folder.

    def __init__(self, folder: Path) -> None:
        self.folder = os.path.join(os.path.realpath(folder), "")

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in _PROCESSES:
            raise PermissionError(
                f"diagnose runs a file without leave to start processes or to use the network ({event})"
            )
        if event == "open":
            path, _, flags = arguments
            writes = isinstance(flags, int) and flags & (
                os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
            )
            paths = [path] if writes and path != os.devnull else []
        else:
            paths = list(arguments[: _CHANGES.get(event, 0)])
        for path in paths:
            if isinstance(path, (str, bytes, os.PathLike)) and not self.contains(os.fsdecode(path)):
                raise PermissionError(f"diagnose runs a file without leave to write {os.fsdecode(path)!r}")

    def contains(self, path: str) -> bool:
        return os.path.realpath(path).startswith(self.folder)


_PROCESSES = {
    "os.exec", "os.fork", "os.forkpty", "os.kill", "os.killpg", "os.posix_spawn", "os.spawn", "os.startfile",
    "os.system", "pty.spawn", "socket.bind", "socket.connect", "subprocess.Popen",
}  # fmt: skip
# Events that change files, with the number of their arguments that are paths.
_CHANGES = {
    "os.chmod": 1, "os.chown": 1, "os.link": 2, "os.mkdir": 1, "os.remove": 1, "os.rename": 2, "os.rmdir": 1,
    "os.symlink": 2, "os.truncate": 1, "os.utime": 1,
}  # fmt: skip


def _load(file: Path) -> ModuleType:
    sys.path.insert(0, str(file.parent))
    name = f"student_{file.stem}"
    spec = importlib.util.spec_from_loader(name, importlib.machinery.SourceFileLoader(name, str(file)))
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _find_class(module: ModuleType) -> Any:
    if hasattr(module, "Value"):
        return module.Value
    own = [x for x in vars(module).values() if isinstance(x, type) and x.__module__ == module.__name__]
    classes = [x for x in own if hasattr(x, "backward")]
    if len(classes) != 1:
        found = ", ".join(x.__name__ for x in own) or "none"
        raise TypeError(
            f"there is no class Value in it, and no other single class with backward(); its classes: {found}"
        )
    return classes[0]
