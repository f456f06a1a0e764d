"""Files that are replaced as a whole or not at all, and locks between the processes that write them."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["lock_file", "write_file"]

_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
_OLD = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


def write_file(path: str | os.PathLike[str], content: bytes) -> None:
    """Writes a file, so that nobody ever sees half of it: what stood there stays until the new content is on the disk.

    The content goes to a new file beside it, which then takes its name, and the permissions that it had. Of a symbolic
    link, the file that it leads to is replaced. What killed processes left beside it is removed.

    Raises:
        OSError: if it can't be written, or what stands there is no regular file, like a folder, a pipe or a device.
            What stood there is untouched.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     write_file(f"{folder}/a.txt", b"content")
    ...     Path(folder, "a.txt").read_bytes()
    b'content'
    """
    path = Path(os.path.realpath(path))
    try:
        mode = _replaceable(path)
        _remove_remains(path)
        _replace(path, content, mode)
    except OSError as error:
        kept = f"; what {path} held before is untouched" if path.exists() else ""
        raise OSError(error.errno, f"could not write {path}: {error.strerror or error}{kept}") from error
    if os.name == "posix":
        _sync_folder(path.parent)


def _replaceable(path: Path) -> int | None:
    """The permissions of the file that will be replaced; None if there is none."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file, and only those are replaced")
    if not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    return stat.S_IMODE(found.st_mode)


def _replace(path: Path, content: bytes, mode: int | None) -> None:
    handle, temporary = _open_beside(path, 0o666 if mode is None else mode & 0o600)
    try:
        try:
            rest = memoryview(content)
            while rest:
                rest = rest[os.write(handle, rest) :]
            if mode is not None:
                os.chmod(handle if os.chmod in os.supports_fd else temporary, mode)
            os.fsync(handle)
            if os.name == "posix":  # while it is locked, for nobody is to take it for a remain; Windows can't
                os.replace(temporary, path)
        finally:
            os.close(handle)
        if os.name != "posix":
            os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _sync_folder(folder: Path) -> None:
    """Sees that the folder remembers which file has the name."""
    with contextlib.ExitStack() as stack:
        try:
            handle = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, handle)
            os.fsync(handle)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EACCES):  # file systems that can't; folders that can't be read
                raise


def _open_beside(path: Path, mode: int) -> tuple[int, Path]:
    """A new file beside this one, open and locked, and its path."""
    while True:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
        handle = os.open(temporary, _NEW, mode)
        with contextlib.suppress(ImportError, OSError):  # a file system without locks: nobody removes remains there
            if not _lock(handle) or not _is_at(handle, temporary):  # somebody took it for a remain
                os.close(handle)
                continue
        return handle, temporary


def _remove_remains(path: Path) -> None:
    """Removes what processes that were killed while they wrote this file left beside it: nobody has it locked."""
    pattern = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{16}}\.tmp")
    try:
        entries = list(os.scandir(path.parent))
    except OSError:  # one that can't be read, or is not there
        return
    for remain in entries:
        if pattern.fullmatch(remain.name) and remain.is_file(follow_symlinks=False):
            with contextlib.suppress(ImportError, OSError):  # of somebody else, or on a file system without locks
                handle = os.open(remain.path, _OLD)
                try:
                    if _lock(handle):
                        os.unlink(remain.path)
                finally:
                    os.close(handle)


@contextlib.contextmanager
def lock_file(path: str | os.PathLike[str]) -> Iterator[None]:
    """Within the block, nobody else can lock this file, in this process or another.

    The lock is a file beside it, ``.name.lock``, which is removed afterwards. It ends with the process, however that
    ends. On a file system that has no locks, nothing is locked.

    Raises:
        BlockingIOError: if somebody has it locked.
        OSError: if the file beside it can't be written.
    """
    path = Path(os.path.realpath(path))
    beside = path.with_name(f".{path.name}.lock")
    handle = _open_locked(path, beside)
    try:
        yield
    finally:
        if os.name == "posix":
            beside.unlink(missing_ok=True)  # while it is locked: afterwards it may be somebody else's
            os.close(handle)
        else:
            os.close(handle)
            with contextlib.suppress(OSError):  # somebody else has it open
                beside.unlink()


def _open_locked(path: Path, beside: Path) -> int:
    while True:
        try:
            handle = os.open(beside, _OLD | os.O_CREAT, 0o666)
        except OSError as error:
            raise OSError(error.errno, f"could not write {path}: {error.strerror} ({beside})") from error
        try:
            is_ours = _lock(handle)
        except (ImportError, OSError):
            return handle
        if is_ours and _is_at(handle, beside):
            return handle
        os.close(handle)
        if not is_ours:
            what = f"{path} is in use, by another run in this process or another one: wait for its end, or take another"
            raise BlockingIOError(errno.EWOULDBLOCK, f"{what} file")


def _lock(handle: int) -> bool:
    """Locks an open file until it is closed; False if somebody else has it locked.

    Raises:
        ImportError, OSError: if the system, or the file system, has no locks.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _is_at(handle: int, path: Path) -> bool:
    """Whether the open file is still the one with this name."""
    try:
        return os.path.samestat(os.fstat(handle), path.lstat())
    except FileNotFoundError:
        return False
