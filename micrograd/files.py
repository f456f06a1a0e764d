"""Writes files as a whole or not at all, and locks them between processes."""

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
    """Writes a file so that readers see either the old content or the new one, never a part.

    The content goes to a new file in the same folder, which then replaces the old one and gets its permissions. If
    ``path`` is a symbolic link, the file to which it leads is replaced. Temporary files that killed processes left
    there are removed.

    Raises:
        OSError: if the file can't be written, or ``path`` is not a regular file but a folder, a pipe or a device. The
            old content is then untouched.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     write_file(f"{folder}/a.txt", b"content")
    ...     Path(folder, "a.txt").read_bytes()
    b'content'
    """
    path = Path(os.path.realpath(path))
    try:
        mode = _read_mode(path)
        _remove_remains(path)
        _replace(path, content, mode)
    except OSError as error:
        kept = f"; what {path} held before is untouched" if path.exists() else ""
        raise OSError(error.errno, f"could not write {path}: {error.strerror or error}{kept}") from error
    if os.name == "posix":
        _sync_folder(path.parent)


def _read_mode(path: Path) -> int | None:
    """Returns the permissions of the file to replace, or None if there is no file. Raises an error if it is special."""
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
            if os.name == "posix":  # while locked, so that nobody removes it; Windows can't
                os.replace(temporary, path)
        finally:
            os.close(handle)
        if os.name != "posix":
            os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _sync_folder(folder: Path) -> None:
    """Writes the folder to the disk, so that the new name survives a crash."""
    with contextlib.ExitStack() as stack:
        try:
            handle = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, handle)
            os.fsync(handle)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EACCES):  # unsupported, or an unreadable folder
                raise


def _open_beside(path: Path, mode: int) -> tuple[int, Path]:
    """Opens and locks a new temporary file in the folder of ``path``. Returns its handle and its path."""
    while True:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
        handle = os.open(temporary, _NEW, mode)
        with contextlib.suppress(ImportError, OSError):  # without locks, nobody removes temporary files
            if not _lock(handle) or not _is_at(handle, temporary):  # another process removed it as left over
                os.close(handle)
                continue
        return handle, temporary


def _remove_remains(path: Path) -> None:
    """Removes the temporary files of killed processes: those that no process has locked."""
    pattern = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{16}}\.tmp")
    try:
        entries = list(os.scandir(path.parent))
    except OSError:  # the folder is unreadable or missing
        return
    for remain in entries:
        if pattern.fullmatch(remain.name) and remain.is_file(follow_symlinks=False):
            with contextlib.suppress(ImportError, OSError):  # not our file, or no locks
                handle = os.open(remain.path, _OLD)
                try:
                    if _lock(handle):
                        os.unlink(remain.path)
                finally:
                    os.close(handle)


@contextlib.contextmanager
def lock_file(path: str | os.PathLike[str]) -> Iterator[None]:
    """Locks a file within the block, against this process and others.

    The lock is a file in the same folder, ``.name.lock``, which is removed afterwards. The lock ends when the process
    ends, even if it is killed. On a file system without locks, nothing is locked.

    Raises:
        BlockingIOError: if the file is locked already.
        OSError: if the lock file can't be written.
    """
    path = Path(os.path.realpath(path))
    beside = path.with_name(f".{path.name}.lock")
    handle = _open_and_lock(path, beside)
    try:
        yield
    finally:
        if os.name == "posix":
            beside.unlink(missing_ok=True)  # while locked: afterwards another process may own it
            os.close(handle)
        else:
            os.close(handle)
            with contextlib.suppress(OSError):  # another process has it open
                beside.unlink()


def _open_and_lock(path: Path, beside: Path) -> int:
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
    """Locks an open file until it is closed. Returns False if it is locked already.

    Raises:
        ImportError, OSError: if the system or the file system has no locks.
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
    """Whether ``path`` still leads to the open file."""
    try:
        return os.path.samestat(os.fstat(handle), path.lstat())
    except FileNotFoundError:
        return False
