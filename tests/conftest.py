"""How Hypothesis runs: without a deadline, for machines differ; in CI with the same examples each time."""

import os
import signal

import pytest
from hypothesis import settings

settings.register_profile("default-without-deadline", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("default-without-deadline")


@pytest.fixture(autouse=True, scope="session")
def _ctrl_c():
    """Ctrl-C interrupts, also where the tests run in the background, for which shells let it be ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
