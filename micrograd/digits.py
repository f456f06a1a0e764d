"""How many digits of a value are right: operations are computed again with 50 digits, from the texts of their rules.

>>> from micrograd import Value, detect_anomaly
>>> with detect_anomaly(digits=True) as digits:
...     x = Value(1.0) + 1e-10
...     y = x - 1
>>> print(digits)
operation  lost  right  times  value              with 50 digits  line
-           8.9    7.1      1  1.00000008274e-10  1e-10           <doctest ...>:3
+           0.0   16.0      1  1.0000000001       1.0000000001    <doctest ...>:2
"""

from __future__ import annotations

import ast
import builtins
import math
from collections.abc import Callable
from dataclasses import dataclass
from operator import mul
from typing import Any

from .arguments import require
from .rules import RULES, Rule
from .tables import lay_out

__all__ = ["Digits", "DigitsRow"]

_MOST = 16.0  # a float has no more digits


@dataclass
class DigitsRow:
    """The node of one operation, made by one line of code, at which most digits are lost.

    Attributes:
        operation: the operation.
        line: the line of code.
        lost: the number of right digits of the operand with the fewest, less that of the result.
        right: the number of right digits of the result.
        value: the result.
        exact: the result with 50 digits, rounded to a float.
        times: the number of nodes of that operation that the line made.
    """

    operation: str
    line: str
    lost: float
    right: float
    value: float
    exact: float
    times: int = 1


class Digits:
    """A table of the operations at which most digits are lost.

    Raises:
        ImportError: if mpmath is not installed.
    """

    def __init__(self) -> None:
        self._precise = require("mpmath", "counting the digits that are right").mp.clone()
        self._precise.dps = 50
        self._functions: dict[Rule, Callable[..., Any]] = {}
        self._rows: dict[tuple[str, str], DigitsRow] = {}

    @property
    def rows(self) -> list[DigitsRow]:
        """One row per operation and line of code; first that where most digits are lost."""
        return sorted(self._rows.values(), key=lambda row: -row.lost)

    def replay(self, node: Any, line: str) -> None:
        """Computes a node again, from its operands with 50 digits, and keeps the result in its attribute ``exact``.

        Args:
            node: the result of an operation.
            line: the line of code that made it.
        """
        operands = [getattr(parent, "exact", self._precise.mpf(parent._data)) for parent in node.parents]
        try:
            exact = self._precise.mpf(self._find_function(node.rule)(*operands))
        except (ArithmeticError, AttributeError, TypeError, ValueError):  # mpmath does not know the function
            exact = self._precise.mpf(node._data)
        right = self._count(node._data, exact)
        before = [self._count(parent._data, x) for parent, x in zip(node.parents, operands, strict=True)]
        node.exact = exact
        lost = max(0.0, min(before, default=_MOST) - right)
        row = DigitsRow(node.op, line, lost, right, node._data, float(exact))
        if known := self._rows.get((node.op, line)):
            row.times = known.times + 1
            if known.lost >= lost:
                known.times, row = row.times, known
        self._rows[node.op, line] = row

    def _count(self, value: float, exact: Any) -> float:
        # The number of decimal digits of a value that are right.
        if value == exact or not math.isfinite(value):
            return _MOST
        if exact == 0:
            return 0.0
        return min(_MOST, max(0.0, -float(self._precise.log10(abs((value - exact) / exact)))))

    def _find_function(self, rule: Rule) -> Callable[..., Any]:
        # The text of the rule's value as a function of numbers with 50 digits.
        if rule not in self._functions:
            tree = _Numbers().visit(ast.parse(f"lambda {rule.operands}: {rule.value}", mode="eval"))
            names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
            scope = {name: self._find_meaning(name) for name in names - {*rule.names}}
            scope.update({name: self._convert(x) for name, x in rule.constants.items()})
            code = compile(ast.fix_missing_locations(tree), "<rule with 50 digits>", "eval")
            self._functions[rule] = eval(code, {name: x for name, x in scope.items() if x is not None})
        return self._functions[rule]

    def _convert(self, x: Any) -> Any:
        return tuple(map(self._convert, x)) if isinstance(x, tuple) else self._precise.mpf(x)

    def _find_meaning(self, name: str) -> Any:
        # What a name in a text means on numbers with 50 digits; None for Python's own functions and assigned names.
        precise = self._precise
        own = {
            "chance": lambda p: p,
            "copysign": lambda a, b: abs(a) if b >= 0 else -abs(a),
            "float": precise.mpf,
            "mul": mul,
            "real": precise.mpf,
            "round": precise.nint,
        }
        if name in own:
            return own[name]
        if name in RULES and not hasattr(math, name) and not hasattr(builtins, name):
            return lambda *operands: self._find_function(RULES[name])(*operands)
        if name in vars(math):
            floats = getattr(math, name)
            return getattr(precise, name, lambda *xs: precise.mpf(floats(*map(float, xs))))
        return None

    def __str__(self) -> str:
        head = ("operation", "lost", "right", "times", "value", "with 50 digits", "line")
        cells = [
            (row.operation, f"{row.lost:.1f}", f"{row.right:.1f}", str(row.times), f"{row.value:.12g}",
             f"{row.exact:.12g}", row.line)
            for row in self.rows[:20]
        ]  # fmt: skip
        return lay_out([head, *cells], right=(1, 2, 3))


class _Numbers(ast.NodeTransformer):
    # Turns the numbers in a text into numbers with 50 digits: 1 / 3 is then a third.

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        return ast.Call(ast.Name("float", ast.Load()), [node], [])
