"""``diagnose_file`` and ``micrograd diagnose``: hostile files get a clear sentence, and leave nothing behind."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from engines.faults import CLOSURES, ENGINES, load, write

from micrograd.__main__ import main
from micrograd.testing import diagnose, diagnose_file

CLASS = """
class Value:
    def __init__(self, data):
        self.data, self.grad = data, 0.0
    def backward(self):
        pass
    def __add__(self, other):
"""


def engine(*lines):
    return CLASS + "".join(f"        {line}\n" for line in lines)


STUBBORN = ("while True:", "    try:", "        while True: pass", "    except: pass")
ENDLESS = ("loops when it is loaded", "loops and catches everything", "loops in C", "sleeps")
HOSTILE = {
    "loops when it is loaded": ("while True: pass", "it took more than 3 seconds"),
    "loops": (engine("while True: pass"), "EndlessError: it ran more than"),
    "loops and catches everything": (engine(*STUBBORN), "x2 = x0 + x1"),
    "loops in C": (engine("import itertools", "sum(itertools.repeat(0))"), "the last graph was x2 = x0 + x1"),
    "sleeps": (engine("import time", "time.sleep(1000)"), "the last graph was x2 = x0 + x1"),
    "exits when it is loaded": ("import sys\nsys.exit(0)", "can't be loaded: SystemExit: 0 (line 2 of engine.py)"),
    "exits": (engine("exit(0)"), "SystemExit: 0"),
    "exits at once": (engine("import os", "os._exit(0)"), "It ended its process, with exit code 0; the last graph was"),
    "recurs": (engine("return self + other"), "RecursionError"),
    "prints": ("print('x' * 10**7)\n" + engine("return 3"), "has no data: it is not a Value"),
    "reads": ("input()", "EOFError"),
    "writes": ("open(r'{outside}', 'w').write('x')", "without leave to write"),
    "writes low": ("import os\nos.open(r'{outside}', os.O_CREAT | os.O_WRONLY)", "without leave to write"),
    "makes folders": ("import os\nos.mkdir(r'{outside}')", "without leave to write"),
    "removes itself": ("import os\nos.remove(__file__)", "without leave to write"),
    "renames": ("import os\nopen('own', 'w').close()\nos.rename('own', r'{outside}')", "without leave to write"),
    "starts a process": ("import subprocess\nsubprocess.Popen(['sleep', '1000'])", "without leave to start processes"),
    "runs a command": ("import os\nos.system('sleep 1000')", "without leave to start processes"),
    "goes online": ("import socket\nsocket.create_connection(('127.0.0.1', 9), 1)", "without leave to start processes"),
    "kills": ("import os\nos.kill(os.getppid(), 9)", "without leave to start processes"),
    "is no Python": ("def f(:", "can't be loaded: SyntaxError"),
    "has no class": ("x = 1", "there is no class Value in it"),
    "is empty": ("", "there is no class Value in it"),
    "raises no Exception": (engine("raise GeneratorExit"), "fails: GeneratorExit (line"),
    "raises what has no text": (
        "class Mute(Exception):\n    def __str__(self): raise self\n" + engine("raise Mute"),
        "fails: Mute (line",
    ),
    "imports what is not there": ("import nowhere_at_all", "No module named 'nowhere_at_all'"),
}
ON_POSIX = {
    "reads address 0": (engine("import ctypes", "ctypes.string_at(0)"), "ended its process, with the signal SIGSEGV"),
    "forks": ("import os\nos.fork()", "without leave to start processes"),
}
ON_LINUX = {
    "allocates": (engine("x = []", "while True: x.append(bytearray(10**8))"), "MemoryError"),
    "allocates when it is loaded": ("x = []\nwhile True: x.append([0] * 10**7)", "can't be loaded: MemoryError"),
}
if os.name == "posix":
    HOSTILE |= ON_POSIX
if sys.platform == "linux":
    HOSTILE |= ON_LINUX


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_gets_a_sentence_and_leaves_nothing_behind(name, tmp_path, monkeypatch):
    source, sentence = HOSTILE[name]
    file, outside = tmp_path / "engine.py", tmp_path / "outside"
    file.write_text(source.replace("{outside}", str(outside)), encoding="utf-8")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    start = time.monotonic()
    found = diagnose_file(file, seconds=3 if name in ENDLESS else 60, megabytes=700)
    assert time.monotonic() - start < 60
    assert sentence in str(found)
    assert not found.ok
    assert "\n" not in str(found)
    assert list(temporary.iterdir()) == []
    assert sorted(tmp_path.iterdir()) == [file, temporary]


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_threads_and_processes_are_ended(tmp_path):
    # A process that is started without Python's functions is not refused, but ended.
    mark = f"{os.getpid()}{time.monotonic_ns()}"
    source = (
        "import threading, time, _posixsubprocess, os\n"
        "threading.Thread(target=time.sleep, args=(1000,)).start()\n"
        f"_posixsubprocess.fork_exec([b'sleep', b'1000.{mark}'], [b'/bin/sleep'], True, (), None, None, -1, -1, -1, "
        "-1, -1, -1, *os.pipe(), False, False, *EXTRA)\n"
    )
    extra = "(-1, None, None, None, -1, None, False)" if sys.version_info >= (3, 11) else "(None, None, None, -1, None)"
    file = tmp_path / "engine.py"
    file.write_text(source.replace("EXTRA", extra) + write(CLOSURES), encoding="utf-8")
    found = diagnose_file(file)
    assert found.ok or "fork_exec" in str(found), str(found)
    patience = time.monotonic() + 30  # what is ended takes a moment to be gone
    while any(mark in read(path) for path in Path("/proc").glob("[0-9]*/cmdline")):
        assert time.monotonic() < patience
        time.sleep(0.1)


def read(path):
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def test_a_file_is_judged_as_its_class_is(tmp_path):
    file = tmp_path / "engine.py"
    for change in ((), (("1 - t**2", "1 - t"),)):
        file.write_text(write(CLOSURES, *change), encoding="utf-8")
        assert diagnose_file(file) == diagnose(load(write(CLOSURES, *change)))


def test_its_own_files_are_found_and_what_it_writes_is_dropped(tmp_path):
    (tmp_path / "helper.py").write_text(write(CLOSURES), encoding="utf-8")
    file = tmp_path / "engine.py"
    file.write_text("from helper import *\nopen('log.txt', 'w').write('x')\nprint('training')", encoding="utf-8")
    assert diagnose_file(file).ok
    assert sorted(path.name for path in tmp_path.iterdir()) == ["engine.py", "helper.py"]


def test_a_class_of_another_name_is_found(tmp_path):
    file = tmp_path / "engine.py"
    file.write_text(write(CLOSURES).replace("Value", "Scalar"), encoding="utf-8")
    assert diagnose_file(file).ok


def test_the_command(tmp_path, capsys):
    assert main(["diagnose", str(ENGINES / "table.py")]) == 0
    assert capsys.readouterr().out.startswith("right: nothing is wrong with it.")
    file = tmp_path / "engine.py"
    file.write_text(write(CLOSURES, ("1 - t**2", "1 - t")), encoding="utf-8")
    assert main(["diagnose", str(file)]) == 1
    out = capsys.readouterr().out
    assert out.startswith("local gradient of tanh: ")
    assert "\n\nfrom micrograd.rules import RULES\ndef f(x0):\n" in out
    assert main(["diagnose", str(file), "--json"]) == 1
    fields = json.loads(capsys.readouterr().out)
    assert {*fields} == {
        "ok", "kind", "operation", "counterexample", "expected", "got", "notes", "sentence"
    }  # fmt: skip
    assert fields["kind"] == "local gradient"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.py"], "nowhere.py"),
        (["."], "directory"),
        ([str(ENGINES / "table.py"), "--seconds", "0"], "seconds must be above 0, not 0"),
        ([str(ENGINES / "table.py"), "--megabytes", "-1"], "megabytes must be above 0, not -1"),
    ],
)
def test_refusals(arguments, message, capsys):
    assert main(["diagnose", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_help_lists_the_commands():
    def ask(*arguments):
        return subprocess.run([sys.executable, "-m", "micrograd", *arguments], capture_output=True, text=True).stdout

    text = " ".join(ask("--help").split())
    assert "micrograd diagnose FILE" in text
    assert "micrograd exercise" in text
    assert "--megabytes" in ask("diagnose", "--help")
    assert "--seed" in ask("exercise", "--help")
