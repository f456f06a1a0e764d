"""The installed package: its files and metadata; and the wheel and the source distribution, which the test builds."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

import micrograd

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "micrograd"
NOT_SOURCE = (".git", ".venv", "build", "out", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis")

pytestmark = pytest.mark.skipif(not (ROOT / "pyproject.toml").exists(), reason="there is no source tree to build")


def run(*command, **options):
    # Without PYTHONPATH, by which pip and Python would find this copy.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, env=environment, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def new_environment(folder):
    run(sys.executable, "-m", "venv", folder)
    return folder / ("Scripts" if os.name == "nt" else "bin")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Builds a wheel and a source distribution as pip and build do, and returns their output, too."""
    folder = tmp_path_factory.mktemp("built")
    programs = new_environment(folder / "tools")
    got = subprocess.run([programs / "python", "-m", "pip", "install", "--quiet", "build"], capture_output=True)
    if got.returncode:
        pytest.skip(f"pip can't install build: {got.stderr.decode(errors='replace')[-300:]}")
    source = folder / "source"  # a copy, for building leaves files behind
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(*NOT_SOURCE))
    printed = run(programs / "python", "-m", "build", "--outdir", folder / "dist", source)
    (wheel,), (archive,) = (list((folder / "dist").glob(pattern)) for pattern in ("*.whl", "*.tar.gz"))
    return wheel, archive, printed


@pytest.mark.slow
def test_building_warns_of_nothing(built):
    *_, printed = built
    warnings = [line for line in printed.splitlines() if re.search(r"warning|deprecat", line, re.IGNORECASE)]
    assert [line for line in warnings if "byte-compiling is disabled" not in line] == []  # which the caller asked for


@pytest.mark.slow
def test_the_wheel_has_every_file_of_the_package_and_the_licence(built):
    with zipfile.ZipFile(built[0]) as wheel:
        names = set(wheel.namelist())
        metadata = message_from_bytes(wheel.read(next(name for name in names if name.endswith("/METADATA"))))
    files = {path.relative_to(ROOT).as_posix() for path in PACKAGE.rglob("*") if path.is_file()}
    files = {name for name in files if "__pycache__" not in name} | {"micrograd_pytest.py"}
    assert {name for name in names if ".dist-info/" not in name} == files
    assert (metadata["License-Expression"], metadata["License-File"]) == ("MIT", "LICENSE")
    assert metadata["Version"] == micrograd.__version__
    assert not any(classifier.startswith("License") for classifier in metadata.get_all("Classifier"))


@pytest.mark.slow
def test_the_installed_wheel_works_as_library_and_as_command(built, tmp_path):
    programs = new_environment(tmp_path / "venv")
    run(programs / "python", "-m", "pip", "install", "--quiet", built[0])
    code = "import micrograd; print(micrograd.__file__); from micrograd import *; print((Value(2.0) * 3).data)"
    where, answer = run(programs / "python", "-c", code, cwd=tmp_path).splitlines()
    assert Path(where).is_relative_to(tmp_path)
    assert answer == "6.0"
    for command in ([programs / "micrograd"], [programs / "python", "-m", "micrograd"]):
        assert run(*command, "--version", cwd=tmp_path) == f"micrograd {micrograd.__version__}\n"
        assert run(*command, "x**2", "x=3", cwd=tmp_path).splitlines()[1].split() == ["x", "3", "6"]
    explored = "from micrograd import *; x = Value(2.0); explore(x * x, 'page.html')"
    if sys.version_info >= (3, 11):  # before, the system's Graphviz is needed
        run(programs / "python", "-c", explored, cwd=tmp_path)
        assert "<html" in (tmp_path / "page.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_source_distribution_has_what_its_tests_need_and_people_read(built):
    with tarfile.open(built[1]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    folders = ("benchmarks", "demos", "docs", "micrograd", "tests")
    files = {path.relative_to(ROOT).as_posix() for folder in folders for path in (ROOT / folder).rglob("*.*")}
    needed = {"README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "Makefile", "pyproject.toml", ".ci/run"}
    needed.add("micrograd_pytest.py")
    assert needed | {name for name in files if "__pycache__" not in name} <= names


def test_the_import_is_instant_and_needs_the_standard_library_alone():
    code = (
        "import sys; before = set(sys.modules); import micrograd; "
        "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before} - sys.stdlib_module_names))"
    )
    assert run(sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {code}").split() == [
        "micrograd"
    ]


FAKE_PIP = """#!/bin/sh
echo "Collecting numpy>=1.24 (from micrograd==1.0.0)"
echo "  Downloading numpy.whl"
echo "WARNING: of no interest" >&2
echo "ERROR: no network" >&2
exit {code}
"""


@pytest.mark.skipif(not shutil.which("make") or not shutil.which("bash"), reason="there is no make or no bash")
@pytest.mark.parametrize("target", ["demo", "test"])
@pytest.mark.parametrize("code", [0, 1])
def test_make_says_what_it_installs_and_stops_if_that_fails(target, code, tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "pyproject.toml").touch()
    python = tmp_path / ".venv" / "bin" / "python"  # in place of a new environment's
    python.parent.mkdir(parents=True)
    python.write_text(FAKE_PIP.format(code=code), encoding="utf-8")
    python.chmod(0o755)
    done = subprocess.run(["make", f".venv/{target}"], capture_output=True, text=True, cwd=tmp_path)
    lines = [line for line in done.stdout.splitlines() if not line.startswith("make")]
    assert lines == [
        f"Installing what make {target} needs into .venv. The first time, this takes a minute …",
        "Collecting numpy>=1.24",
    ]
    assert "ERROR: no network" in done.stderr
    assert "WARNING" not in done.stderr
    assert (done.returncode == 0) == (code == 0) == (tmp_path / ".venv" / target).exists()


@pytest.mark.parametrize("where", ["micrograd", "demos", "README.md", "CONTRIBUTING.md", "Makefile"])
def test_nobody_is_told_to_install_somebody_elses_package(where):
    files = [ROOT / where] if (ROOT / where).is_file() else [p for p in (ROOT / where).rglob("*") if p.is_file()]
    texts = {path: path.read_text(encoding="utf-8") for path in files if path.suffix not in (".pyc", ".png")}
    assert texts
    assert [path for path, text in texts.items() if "micrograd[" in text] == []
