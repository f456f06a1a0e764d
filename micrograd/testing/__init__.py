"""Checks of gradients: :func:`gradcheck` against finite differences, and random expressions for Hypothesis.

:func:`diagnose` says in a sentence what is wrong with somebody else's engine.

>>> from micrograd.testing import gradcheck
>>> print(gradcheck(lambda x, y: (x * y).tanh(), [0.5, 1.0]))
input  analytic        numeric         error    noticed  verdict
x      0.786447732966  0.786447732966  ...      ...      ok
y      0.393223866483  0.393223866483  ...      ...      ok
"""

from .confinement import diagnose_file
from .diagnosis import Diagnosis, diagnose
from .gradcheck import gradcheck, gradgradcheck
from .products import check_jvp, check_vjp
from .report import GradcheckError, Report, Row

__all__ = [
    "Diagnosis", "GradcheckError", "Report", "Row", "check_jvp", "check_vjp", "diagnose", "diagnose_file", "gradcheck",
    "gradgradcheck",
]  # fmt: skip
