"""The plugin of pytest, which loads it where micrograd is installed. It imports micrograd only when it is used."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from micrograd.testing import Report

REPORTS = pytest.StashKey[list[tuple[str, "Report"]]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the option ``--gradcheck-report``."""
    parser.getgroup("micrograd").addoption(
        "--gradcheck-report", action="store_true", help="print the tables of all checks by the fixture gradcheck"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Makes the list of reports."""
    config.stash[REPORTS] = []


@pytest.fixture
def gradcheck(request: pytest.FixtureRequest) -> Callable[..., Report]:
    """Checks gradients as ``micrograd.testing.gradcheck`` does, and keeps the reports for ``--gradcheck-report``."""
    from micrograd.testing import GradcheckError
    from micrograd.testing import gradcheck as check

    reports = request.config.stash[REPORTS]

    def check_and_keep(*arguments: Any, **options: Any) -> Report:
        __tracebackhide__ = True
        try:
            report = check(*arguments, **options)
        except GradcheckError as error:
            reports.append((request.node.nodeid, error.report))
            raise
        reports.append((request.node.nodeid, report))
        return report

    return check_and_keep


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Prints the reports."""
    if config.getoption("--gradcheck-report"):
        terminalreporter.section("gradients")
        for test, report in config.stash[REPORTS]:
            terminalreporter.write_line(f"{test}\n{report}\n")
