"""Handles Ctrl-C, which ends a run after the current step."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["Interrupts"]


class Interrupts:
    """Counts Ctrl-C. The first one is only counted; a second one interrupts where :meth:`allow` allows it.

    It does nothing outside the main thread, which alone gets signals, and in a process that ignores Ctrl-C.
    """

    def __init__(self) -> None:
        self.count = 0
        self._is_allowed = False
        self._before: Any = None

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            before = signal.getsignal(signal.SIGINT)
            if before not in (signal.SIG_IGN, None):
                self._before = before
                signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _note(self, *_: object) -> None:
        self.count += 1
        if self.count > 1 and self._is_allowed:
            raise KeyboardInterrupt

    @contextmanager
    def allow(self) -> Iterator[None]:
        """Lets a second Ctrl-C interrupt within the block. The caller must be able to undo the block."""
        self._is_allowed = True
        try:
            yield
        finally:
            self._is_allowed = False
