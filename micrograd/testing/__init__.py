"""Checks of gradients: :func:`gradcheck` against finite differences, and random expressions for Hypothesis.

:func:`diagnose` says in a sentence what is wrong with somebody else's engine.

>>> from micrograd.testing import gradcheck
>>> print(gradcheck(lambda x, y: (x * y).tanh(), [0.5, 1.0]))
input  analytic        numeric         error    noticed  verdict
x      0.786447732966  0.786447732966  ...      ...      ok
y      0.393223866483  0.393223866483  ...      ...      ok
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .checks import gradcheck, gradgradcheck
    from .confinement import diagnose_file
    from .diagnosis import Diagnosis
    from .examination import diagnose
    from .products import check_jvp, check_vjp
    from .report import GradcheckError, Report, Row

__all__ = [
    "Diagnosis",
    "GradcheckError",
    "Report",
    "Row",
    "check_jvp",
    "check_vjp",
    "diagnose",
    "diagnose_file",
    "gradcheck",
    "gradgradcheck",
]

_HOMES = {
    "Diagnosis": "diagnosis",
    "GradcheckError": "report",
    "Report": "report",
    "Row": "report",
    "check_jvp": "products",
    "check_vjp": "products",
    "diagnose": "examination",
    "diagnose_file": "confinement",
    "gradcheck": "checks",
    "gradgradcheck": "checks",
}


def __getattr__(name: str) -> Any:  # loads a module when it is first asked for: Hypothesis loads this package at once
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
