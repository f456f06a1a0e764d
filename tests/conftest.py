"""How the tools run.

Hypothesis without a deadline, for machines differ; in CI with the same examples each time. PyTorch, where it is
compared with, without fused multiply-add, so that the same operations in the same order give the same bits.
"""

import os
import signal

import pytest
from hypothesis import settings

os.environ.setdefault("ATEN_CPU_CAPABILITY", "default")  # read when PyTorch is imported
settings.register_profile("default-without-deadline", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("default-without-deadline")


@pytest.fixture(autouse=True, scope="session")
def _ctrl_c():
    """Ctrl-C interrupts, also where the tests run in the background, for which shells let it be ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
