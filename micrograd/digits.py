"""How many digits of values and gradients are right: both passes are computed again with 50 digits, from the texts of
the rules.

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
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from operator import mul
from typing import Any

from .arguments import require
from .rules import RULES, Rule, constant
from .tables import lay_out

__all__ = ["Digits", "DigitsRow"]

_MOST = 16.0  # a float has no more digits


@dataclass
class DigitsRow:
    """The node of one operation, made by one line of code, at which most digits are lost.

    Attributes:
        operation: the operation; ``gradient of`` the operation, for what it hands on in the backward pass.
        line: the line of code.
        value: the result.
        exact: the result with 50 digits, rounded to a float.
        lost: the number of right digits of the operand with the fewest, less that of the result.
        right: the number of right digits of the result.
        times: the number of nodes of that operation that the line made.
    """

    operation: str
    line: str
    value: float
    exact: float
    lost: float
    right: float
    times: int = 1


class Digits:
    """A table of the operations at which most digits of values or gradients are lost.

    Raises:
        ImportError: if mpmath is not installed.
    """

    def __init__(self) -> None:
        self._precise = require("mpmath", "counting the digits that are right").mp.clone()
        self._precise.dps = 50
        self._functions: dict[tuple[Rule, str], Callable[..., Any]] = {}
        self._rows: dict[tuple[str, str], DigitsRow] = {}

    @property
    def rows(self) -> list[DigitsRow]:
        """One row per operation, or gradient of one, and line of code; first that where most digits are lost."""
        return sorted(self._rows.values(), key=lambda row: -row.lost)

    def replay(self, node: Any, line: str) -> None:
        """Computes a node again, from its operands with 50 digits, and keeps the result in its attribute ``exact``.

        Args:
            node: the result of an operation.
            line: the line of code that made it.
        """
        operands = [self._read(parent) for parent in node.parents]
        (exact,) = self._evaluate(node.rule, f"({node.rule.value},)", operands) or [self._precise.mpf(node._data)]
        node.exact = exact
        self._add_rows([self._make_row(node.op, line, (node._data, exact), self._list_pairs(node.parents))])

    def replay_backward(self, root: Any, steps: Iterable[tuple[Any, str, Sequence[float]]]) -> None:
        """Computes the gradients of a graph again, with 50 digits.

        Args:
            root: the node whose gradient is 1.
            steps: in the order of the backward pass, each node, the line of code that made it, and what it hands on to
                its parents.
        """
        sums = {root: (1.0, self._precise.mpf(1))}
        for node, line, parts in steps:
            rows = []
            given, exact = sums[node]
            slopes = self._find_slopes(node)
            before = [(given, exact), *self._list_pairs([node, *node.parents])]
            for i, (parent, part) in enumerate(zip(node.parents, parts, strict=True)):
                if parent.rule is constant:
                    continue
                # Where mpmath knows no slope, that of floats is used.
                product = slopes[i] * exact if slopes else exact * part / given if given else self._precise.mpf(part)
                rows.append(self._make_row(f"gradient of {node.op}", line, (part, product), before))
                if parent not in sums:
                    sums[parent] = part, product
                else:
                    pair, (so_far, exact_so_far) = (part, product), sums[parent]
                    sums[parent] = so_far + part, exact_so_far + product
                    more = [pair, (so_far, exact_so_far)]
                    rows.append(self._make_row(f"gradient of {node.op}", line, sums[parent], more))
            self._add_rows(rows)

    def _make_row(
        self, operation: str, line: str, result: tuple[float, Any], operands: Iterable[tuple[float, Any]]
    ) -> DigitsRow:
        # A pair is a number and the same with 50 digits.
        right = self._count(*result)
        lost = max(0.0, min((self._count(*pair) for pair in operands), default=_MOST) - right)
        return DigitsRow(operation, line, result[0], float(result[1]), lost, right)

    def _add_rows(self, rows: Sequence[DigitsRow]) -> None:
        # Adds the rows of one node: the one that loses most is kept.
        if rows:
            row = max(rows, key=lambda row: row.lost)
            known = self._rows.setdefault((row.operation, row.line), replace(row, times=0))
            times = known.times + 1
            self._rows[row.operation, row.line] = replace(max(known, row, key=lambda row: row.lost), times=times)

    def _read(self, node: Any) -> Any:
        return getattr(node, "exact", self._precise.mpf(node._data))

    def _list_pairs(self, nodes: Iterable[Any]) -> list[tuple[float, Any]]:
        return [(node._data, self._read(node)) for node in nodes]

    def _find_slopes(self, node: Any) -> list[Any]:
        rule = node.rule
        text = rule.local[0] if rule.variadic else f"({', '.join(rule.local)},)"
        return self._evaluate(rule, text, [self._read(parent) for parent in node.parents], self._read(node))

    def _evaluate(self, rule: Rule, text: str, operands: Sequence[Any], out: Any = None) -> list[Any]:
        # The numbers of a text, with 50 digits; none if mpmath does not know a function in it, or they are complex.
        try:
            return [self._precise.mpf(x) for x in self._find_function(rule, text)(out, *operands)]
        except (ArithmeticError, AttributeError, TypeError, ValueError):
            return []

    def _count(self, value: float, exact: Any) -> float:
        # The number of decimal digits of a value that are right.
        if value == exact or not math.isfinite(value) or not self._precise.isfinite(exact):
            return _MOST
        if exact == 0:
            return 0.0
        return min(_MOST, max(0.0, -float(self._precise.log10(abs((value - exact) / exact)))))

    def _find_function(self, rule: Rule, text: str) -> Callable[..., Any]:
        # A text of a rule as a function of numbers with 50 digits: the result, which values do not use, and operands.
        if (rule, text) not in self._functions:
            tree = _Numbers().visit(ast.parse(f"lambda out, {rule.operands}: {text}", mode="eval"))
            names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
            scope = {name: self._find_meaning(name) for name in names - {*rule.names, "out"}}
            scope.update({name: self._convert(x) for name, x in rule.constants.items()})
            code = compile(ast.fix_missing_locations(tree), "<rule with 50 digits>", "eval")
            self._functions[rule, text] = eval(code, {name: x for name, x in scope.items() if x is not None})
        return self._functions[rule, text]

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
            return lambda *operands: self._find_function(RULES[name], RULES[name].value)(None, *operands)
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

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:  # indexes stay whole numbers
        return ast.Subscript(self.visit(node.value), node.slice, node.ctx)
