"""Files are written as a whole or not at all, whatever exists at the path; locks end with their process."""

import errno
import os
import signal
import stat
import subprocess
import sys

import pytest

from micrograd import Value, draw, explore, nn
from micrograd.files import lock_file, write_file
from micrograd.training import save_parameters

posix = pytest.mark.skipif(os.name != "posix", reason="Windows has no such files")


def save_drawing(path):
    draw(Value(1.0)).save(path)


def save_page(path):
    explore(Value(1.0) * 2, path)


def save_model(path):
    save_parameters(nn.Linear(1, 1), path)


WRITERS = {"x.dot": save_drawing, "x.svg": save_drawing, "x.html": save_page, "x.safetensors": save_model}
every_writer = pytest.mark.parametrize(("name", "write"), WRITERS.items(), ids=WRITERS)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@every_writer
def test_a_file_is_replaced_and_keeps_its_permissions(tmp_path, name, write):
    file = tmp_path / name
    write(file)
    first = file.stat()
    file.chmod(0o640)
    write(file)
    assert stat.S_IMODE(file.stat().st_mode) == (0o640 if os.name == "posix" else stat.S_IMODE(first.st_mode))
    assert file.stat().st_size > 0
    assert names(tmp_path) == [name]


@posix
def test_a_new_file_has_the_permissions_that_the_process_gives(tmp_path):
    before = os.umask(0o027)
    try:
        write_file(tmp_path / "new", b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640


@posix
def test_the_new_content_of_a_private_file_is_never_open_to_others(tmp_path, monkeypatch):
    (tmp_path / "secret").write_bytes(b"old")
    (tmp_path / "secret").chmod(0o600)
    modes, write = [], os.write

    def watch(handle, content):
        modes.append(stat.S_IMODE(os.fstat(handle).st_mode))
        return write(handle, content)

    monkeypatch.setattr(os, "write", watch)
    write_file(tmp_path / "secret", b"new")
    assert modes == [0o600]


@posix
@every_writer
@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "loop"])
def test_only_regular_files_are_replaced(tmp_path, name, write, kind):
    file = tmp_path / name
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "folder":
        file.mkdir()
    else:
        file.symlink_to("/dev/null" if kind == "device" else file)
    before = file.lstat().st_ino, file.lstat().st_mode
    with pytest.raises(OSError, match=r"could not write .*(no regular file|Is a directory|Not a directory)"):
        write(file)
    assert (file.lstat().st_ino, file.lstat().st_mode) == before
    assert names(tmp_path) == [name]


@posix
@every_writer
def test_the_target_of_a_link_is_replaced(tmp_path, name, write):
    (tmp_path / "disk").mkdir()
    (tmp_path / name).symlink_to(tmp_path / "disk" / name)
    for _ in range(2):  # at first the target is not there
        write(tmp_path / name)
        assert (tmp_path / name).is_symlink()
        assert (tmp_path / "disk" / name).stat().st_size > 0


@posix
def test_a_planted_link_is_not_followed(tmp_path, monkeypatch):
    """An attacker guesses the name of the temporary file, and places a link there: nothing is written through it."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    monkeypatch.setattr("secrets.token_hex", lambda size: "00" * size)
    planted = tmp_path / f".page.{'00' * 8}.tmp"
    planted.symlink_to(victim)
    with pytest.raises(FileExistsError, match="could not write"):
        write_file(tmp_path / "page", b"new")
    assert victim.read_bytes() == b"precious"
    assert names(tmp_path) == sorted([planted.name, "victim"])


def test_what_stood_there_stays_if_a_name_can_not_be_written(tmp_path):
    (tmp_path / "x.html").write_bytes(b"old")
    root = Value(1.0) * 2
    with pytest.raises(UnicodeEncodeError, match="surrogate"):
        explore(root, tmp_path / "x.html", names={"\udc80": root})
    assert (tmp_path / "x.html").read_bytes() == b"old"
    assert names(tmp_path) == ["x.html"]


@every_writer
@pytest.mark.parametrize("function", ["write", "fsync", "replace"])
def test_what_stood_there_stays_if_the_disk_is_full(tmp_path, monkeypatch, name, write, function):
    file = tmp_path / name
    file.write_bytes(b"old")

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, function, full)
        with pytest.raises(OSError, match=r"No space left on device; what .* held before is untouched"):
            write(file)
    assert file.read_bytes() == b"old"
    assert names(tmp_path) == [name]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everything")
def test_a_file_that_may_not_be_written_is_kept(tmp_path):
    (tmp_path / "x").write_bytes(b"old")
    (tmp_path / "x").chmod(0o444)
    with pytest.raises(PermissionError, match="could not write"):
        write_file(tmp_path / "x", b"new")
    assert (tmp_path / "x").read_bytes() == b"old"


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"could not write .*nowhere"):
        write_file(tmp_path / "nowhere" / "x", b"")


# What killed processes leave behind

posix_signals = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kills a process")


def python(program, *arguments, **options):
    return subprocess.Popen([sys.executable, "-c", program, *map(str, arguments)], text=True, **options)


@posix_signals
def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path):
    program = """if True:
        import os, signal, sys
        from micrograd.files import write_file
        os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        write_file(sys.argv[1], b"half")
    """
    assert python(program, tmp_path / "run").wait() == -signal.SIGKILL
    (left,) = names(tmp_path)
    assert left.startswith(".run.")
    others = [".run.txt", ".run.0123.tmp", ".other.0123456789abcdef.tmp"]
    for other in others:
        (tmp_path / other).write_bytes(b"mine")
    write_file(tmp_path / "run", b"whole")
    assert names(tmp_path) == sorted([*others, "run"])


@posix
def test_what_a_living_process_writes_is_not_removed(tmp_path, monkeypatch):
    replace, nested = os.replace, []

    def write_once_more(source, target):
        if not nested:
            nested.append(source)
            write_file(target, b"inner")
            assert source.exists()
        replace(source, target)

    monkeypatch.setattr(os, "replace", write_once_more)
    write_file(tmp_path / "run", b"outer")
    assert (tmp_path / "run").read_bytes() == b"outer"
    assert names(tmp_path) == ["run"]


@posix
def test_a_file_that_was_taken_for_a_remain_before_it_was_locked_is_written_again(tmp_path, monkeypatch):
    import fcntl

    flock, removed = fcntl.flock, []

    def remove_first(handle, how):
        if not removed:
            removed.extend(tmp_path.iterdir())
            removed[0].unlink()
        flock(handle, how)

    monkeypatch.setattr(fcntl, "flock", remove_first)
    write_file(tmp_path / "run", b"content")
    assert removed
    assert (tmp_path / "run").read_bytes() == b"content"
    assert names(tmp_path) == ["run"]


@posix
@pytest.mark.parametrize("error", [OSError(errno.ENOLCK, "No locks available"), ImportError("no fcntl")])
def test_without_locks_files_are_written_and_nothing_is_removed(tmp_path, monkeypatch, error):
    import fcntl

    def fail(*_):
        raise error

    monkeypatch.setattr(fcntl, "flock", fail)
    left = tmp_path / f".run.{'0' * 16}.tmp"
    left.write_bytes(b"")
    with lock_file(tmp_path / "run"):
        write_file(tmp_path / "run", b"content")
    assert names(tmp_path) == [left.name, "run"]


# Locks


@posix
def test_a_file_is_locked_once_in_a_process_and_by_whatever_name(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "run")
    with lock_file(tmp_path / "run"), lock_file(tmp_path / "another"):
        for name in ("run", "link"):
            with pytest.raises(BlockingIOError, match=r"run is in use, by another run"), lock_file(tmp_path / name):
                pytest.fail("it was locked twice")
    for name in ("run", "link"):
        with lock_file(tmp_path / name):
            assert names(tmp_path) == [".run.lock", "link"]
    assert names(tmp_path) == ["link"]


@posix_signals
def test_a_lock_ends_when_its_process_is_killed(tmp_path):
    program = """if True:
        import sys, time
        from micrograd.files import lock_file
        with lock_file(sys.argv[1]):
            print("locked", flush=True)
            time.sleep(600)
    """
    process = python(program, tmp_path / "run", stdout=subprocess.PIPE)
    assert process.stdout.readline() == "locked\n"
    with pytest.raises(BlockingIOError, match="in use"), lock_file(tmp_path / "run"):
        pytest.fail("it was locked twice")
    process.kill()
    process.communicate()
    with lock_file(tmp_path / "run"):
        pass
    assert names(tmp_path) == []


@posix
def test_a_lock_that_was_removed_as_it_was_taken_is_taken_again(tmp_path, monkeypatch):
    import fcntl

    flock, removed = fcntl.flock, []

    def remove_first(handle, how):
        if not removed:
            removed.append(tmp_path / ".run.lock")
            removed[0].unlink()
        flock(handle, how)

    monkeypatch.setattr(fcntl, "flock", remove_first)
    with lock_file(tmp_path / "run"):
        assert names(tmp_path) == [".run.lock"]
