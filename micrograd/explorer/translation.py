"""Translates rules of the table from their texts to JavaScript.

Python's operators and functions that differ from JavaScript's, mostly in their errors, are in ``python.js``. The
translated code calls them as ``py.…``.

>>> from micrograd import rules
>>> print(translate([rules.sin]).source)
[
{ // sin
  value: ({}, $out, [$a]) => py.sin($a),
  local: [({}, $out, [$a]) => py.cos($a)],
  branch: [null],
  constants: {},
}
]
"""

from __future__ import annotations

import ast
import builtins
import json
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ..rule import FLOATS, RULES, Rule

__all__ = ["Translation", "branches", "depends", "number", "translate"]

# The functions of the module math and of Python that python.js defines.
_FUNCTIONS = re.findall(
    r"\w+",
    """acos acosh asin asinh atan atan2 atanh cbrt ceil copysign cos cosh degrees erf erfc exp exp2 expm1 fabs floor
    fmod hypot isfinite isinf isnan log log10 log1p log2 pow prod radians sin sinh sqrt tan tanh trunc
    abs all any chance enumerate float fsum len list map max min mul range real reversed round sorted sum
    tuple zip""",
)
_BOOLEAN = {"all", "any", "isfinite", "isinf", "isnan"}
_SEQUENCE = {"enumerate", "list", "map", "range", "reversed", "sorted", "tuple", "zip"}
_OPERATORS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*"}  # the same on floats
_CALLED = {ast.Div: "divide", ast.FloorDiv: "floor_divide", ast.Mod: "modulo", ast.Pow: "power"}
_COMPARISONS = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "===", ast.NotEq: "!=="}


@dataclass(frozen=True)
class Translation:
    """Rules in JavaScript.

    Attributes:
        source: an array expression, with one object per rule. Each object has the functions ``value``; ``local``, one
            per operand, or a single one for the sequence of any number of operands; and ``branch``, one per gradient
            that is a conditional expression, which returns the index of the branch that holds, among its
            :func:`branches`. All functions take the constants, the value and the operands.
        rules: the rules in the same order: those to translate, then those that they call.
    """

    source: str
    rules: list[Rule]


def translate(rules: Iterable[Rule]) -> Translation:
    """Translates the rules, and the rules that their texts call.

    Raises:
        ValueError: if a text contains something that can't be translated; the message names the rule.
    """
    found = list(dict.fromkeys(rule.whole for rule in rules))
    objects: list[str] = []
    for rule in found:  # the loop appends the rules that are called

        def find_index(other: Rule) -> int:
            if other not in found:
                found.append(other)
            return found.index(other)

        objects.append(_object(rule, find_index))
    return Translation("[\n" + ",\n".join(objects) + "\n]", found)


def branches(text: str) -> list[str]:
    """Returns the branches of a conditional expression; for any other expression, itself alone.

    >>> branches("1.0 if a > 0 else -1.0 if a < 0 else 0.0")
    ['1.0', '-1.0', '0.0']
    """
    leaves: list[ast.expr] = []
    _number_branches(_parse(text), leaves)
    return [ast.unparse(leaf) for leaf in leaves]


def depends(text: str) -> bool:
    """Whether the formula that a text makes may depend on the numbers.

    >>> depends("1 - out * out"), depends("max(a, 0.0)")
    (False, True)
    """
    choosing = (ast.IfExp, ast.Compare, ast.BoolOp, ast.NamedExpr)
    return any(
        isinstance(node, choosing) or (isinstance(node, ast.Name) and node.id in ("all", "any", "max", "min", "sorted"))
        for node in ast.walk(_parse(text))
    )


def number(x: Any, where: str) -> Any:
    """Converts a number, or a sequence of numbers, for JSON, which has no infinity and no nan.

    Raises:
        ValueError: if it is something else; the message says ``where``.

    >>> number((1, float("-inf")), "here")
    [1.0, '-inf']
    """
    if isinstance(x, (list, tuple)):
        return [number(element, where) for element in x]
    if not hasattr(x, "__float__"):
        raise ValueError(f"{where} is {type(x).__name__} {x!r}: the page takes only numbers and sequences of them")
    x = float(x)
    return x if math.isfinite(x) else str(x)


def _parse(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


def _number_branches(node: ast.expr, leaves: list[ast.expr]) -> ast.expr:
    # The same conditional expression with each branch replaced by its index. Appends the branches to ``leaves``.
    if isinstance(node, ast.IfExp):
        return ast.IfExp(node.test, _number_branches(node.body, leaves), _number_branches(node.orelse, leaves))
    leaves.append(node)
    return ast.Constant(len(leaves) - 1)


def _object(rule: Rule, find_index: Callable[[Rule], int]) -> str:
    def function(body: ast.expr) -> str:
        return _Text(rule, find_index).function(body)

    choices = []
    for local in rule.local:
        leaves: list[ast.expr] = []
        numbered = _number_branches(_parse(local), leaves)
        choices.append(function(numbered) if len(leaves) > 1 else "null")
    constants = {name: number(x, f"rule {rule.name!r}: the constant {name}") for name, x in rule.constants.items()}
    name = json.dumps(rule.name)[1:-1].replace("<", "\\u003c")  # "</" might end the script
    return (
        f"{{ // {name}\n"
        f"  value: {function(_parse(rule.value))},\n"
        f"  local: [{', '.join(function(_parse(local)) for local in rule.local)}],\n"
        f"  branch: [{', '.join(choices)}],\n"
        f"  constants: {json.dumps(constants)},\n"
        f"}}"
    )


class _Text:
    """One text of a rule. Each name gets the prefix ``$``, so that it is not a keyword of JavaScript."""

    def __init__(self, rule: Rule, find_index: Callable[[Rule], int]) -> None:
        self.rule = rule
        self.find_index = find_index
        self.kinds = dict.fromkeys(rule.names, "sequence" if rule.variadic else "number")
        self.kinds["out"] = "number"
        for name, x in rule.constants.items():
            self.kinds[name] = "sequence" if isinstance(x, (list, tuple)) else "number"
        self.variables: list[str] = []  # to which the text assigns

    def make_error(self, what: str) -> ValueError:
        return ValueError(f"rule {self.rule.name!r} can't be shown in a page: {what}; write the rule without it")

    def function(self, body: ast.expr) -> str:
        """Writes a function of the constants, the value and the operands."""
        constants = ", ".join(f"{name}: ${name}" for name in self.rule.constants)
        operands = ", ".join(f"${name}" for name in self.rule.names)
        head = f"({{{constants}}}, $out, {operands if self.rule.variadic else f'[{operands}]'}) =>"
        text = self.text(body)
        if self.variables:
            return f"{head} {{ let {', '.join(dict.fromkeys(self.variables))}; return {text}; }}"
        return f"{head} {text}"

    def text(self, node: ast.expr) -> str:
        """Translates an expression, in brackets if it needs them."""
        return self.translate(node)[0]

    def number(self, node: ast.expr) -> str:
        return self.as_number(node, *self.translate(node))

    def as_number(self, node: ast.expr, text: str, kind: str) -> str:
        if kind == "sequence":
            raise self.make_error(f"{ast.unparse(node)!r} is a sequence where a number is expected")
        return f"Number({text})" if kind == "boolean" else text

    def truth(self, node: ast.expr) -> str:
        text, kind = self.translate(node)
        return text if kind == "boolean" else f"py.truth({text})"

    def translate(self, node: ast.expr) -> tuple[str, str]:
        """Translates an expression; also returns its kind: number, boolean or sequence."""
        translate = getattr(self, f"_{type(node).__name__.lower()}", None)
        if translate is None:
            raise self.make_error(f"{ast.unparse(node)!r} ({type(node).__name__}) is not translated to JavaScript")
        text, kind = translate(node)
        return text, kind

    def _constant(self, node: ast.Constant) -> tuple[str, str]:
        if isinstance(node.value, bool):
            return str(node.value).lower(), "boolean"
        if not isinstance(node.value, (int, float)):
            raise self.make_error(f"{node.value!r} is not a real number")
        return _literal(node.value), "number"

    def _name(self, node: ast.Name) -> tuple[str, str]:
        if node.id in self.kinds:
            return f"${node.id}", self.kinds[node.id]
        if isinstance(FLOATS.get(node.id), float):
            return _literal(FLOATS[node.id]), "number"
        raise self.make_error(f"the name {node.id!r} is neither an operand nor a constant")

    def _unaryop(self, node: ast.UnaryOp) -> tuple[str, str]:
        if isinstance(node.op, ast.Not):
            return f"!{self.truth(node.operand)}", "boolean"
        if isinstance(node.op, ast.Invert):
            raise self.make_error(f"{ast.unparse(node)!r} is not for floats")
        return f"({'-' if isinstance(node.op, ast.USub) else '+'}{self.number(node.operand)})", "number"

    def _binop(self, node: ast.BinOp) -> tuple[str, str]:
        (left, left_kind), (right, right_kind) = self.translate(node.left), self.translate(node.right)
        if left_kind == right_kind == "sequence" and isinstance(node.op, ast.Add):
            return f"[...{left}, ...{right}]", "sequence"
        if (left_kind == "sequence") != (right_kind == "sequence") and isinstance(node.op, ast.Mult):
            return f"py.repeat({left}, {right})", "sequence"
        left, right = self.as_number(node.left, left, left_kind), self.as_number(node.right, right, right_kind)
        if type(node.op) in _OPERATORS:
            return f"({left} {_OPERATORS[type(node.op)]} {right})", "number"
        if type(node.op) not in _CALLED:
            raise self.make_error(f"the operator in {ast.unparse(node)!r} is not for floats")
        return f"py.{_CALLED[type(node.op)]}({left}, {right})", "number"

    def _boolop(self, node: ast.BoolOp) -> tuple[str, str]:
        texts, kinds = zip(*map(self.translate, node.values), strict=True)
        if set(kinds) == {"boolean"}:
            return f"({(' && ' if isinstance(node.op, ast.And) else ' || ').join(texts)})", "boolean"
        if "sequence" in kinds:
            raise self.make_error(f"{ast.unparse(node)!r} has a sequence where a number is expected")
        function = "and" if isinstance(node.op, ast.And) else "or"
        return f"py.{function}({', '.join(f'() => {text}' for text in texts)})", "number"

    def _compare(self, node: ast.Compare) -> tuple[str, str]:
        parts, left = [], self.number(node.left)
        for i, (operator, operand) in enumerate(zip(node.ops, node.comparators, strict=True)):
            if type(operator) not in _COMPARISONS:
                raise self.make_error(f"the comparison in {ast.unparse(node)!r} is not for floats")
            right = again = self.number(operand)
            # Assign an operand that two comparisons share, so that it is computed once.
            if i + 1 < len(node.ops) and not isinstance(operand, (ast.Name, ast.Constant)):
                again = f"chained{len(self.variables)}"
                self.variables.append(again)
                right = f"({again} = {right})"
            parts.append(f"{left} {_COMPARISONS[type(operator)]} {right}")
            left = again
        return f"({' && '.join(parts)})", "boolean"

    def _ifexp(self, node: ast.IfExp) -> tuple[str, str]:
        test = self.truth(node.test)  # first, because it may assign
        (body, kind), (other, other_kind) = self.translate(node.body), self.translate(node.orelse)
        if (kind == "sequence") != (other_kind == "sequence"):
            raise self.make_error(f"{ast.unparse(node)!r} is a number or a sequence")
        return f"({test} ? {body} : {other})", kind if kind == other_kind else "number"

    def _namedexpr(self, node: ast.NamedExpr) -> tuple[str, str]:
        text, kind = self.translate(node.value)
        self.kinds[node.target.id] = kind
        self.variables.append(f"${node.target.id}")
        return f"(${node.target.id} = {text})", kind

    def _tuple(self, node: ast.Tuple | ast.List) -> tuple[str, str]:
        return f"[{', '.join(self.text(element) for element in node.elts)}]", "sequence"

    _list = _tuple

    def _starred(self, node: ast.Starred) -> tuple[str, str]:
        return f"...{self.sequence(node.value)}", "number"

    def sequence(self, node: ast.expr) -> str:
        text, kind = self.translate(node)
        if kind != "sequence":
            raise self.make_error(f"{ast.unparse(node)!r} is a number where a sequence is expected")
        return text

    def _subscript(self, node: ast.Subscript) -> tuple[str, str]:
        text = self.sequence(node.value)
        if not isinstance(node.slice, ast.Slice):
            return f"py.at({text}, {self.number(node.slice)})", "number"
        if node.slice.step is not None:
            raise self.make_error(f"the step in {ast.unparse(node)!r} is not translated to JavaScript")
        start = self.number(node.slice.lower) if node.slice.lower else "0"
        stop = f", {self.number(node.slice.upper)}" if node.slice.upper else ""
        return f"{text}.slice({start}{stop})", "sequence"

    def _listcomp(self, node: ast.ListComp | ast.GeneratorExp) -> tuple[str, str]:
        outside, text = dict(self.kinds), ""
        for i, generator in enumerate(node.generators):
            source = self.sequence(generator.iter)
            target = self.target(generator.target)
            for condition in generator.ifs:
                source += f".filter(({target}) => {self.truth(condition)})"
            text += f"{source}.{'map' if i == len(node.generators) - 1 else 'flatMap'}(({target}) => "
        text += self.text(node.elt) + ")" * len(node.generators)
        inside = {f"${name}" for generator in node.generators for name in _names(generator.target)}
        assigned = {name: kind for name, kind in self.kinds.items() if f"${name}" in self.variables}
        self.kinds = outside | {name: kind for name, kind in assigned.items() if f"${name}" not in inside}
        return text, "sequence"

    _generatorexp = _listcomp

    def target(self, node: ast.expr) -> str:
        for name in _names(node):
            self.kinds[name] = "number"
        if isinstance(node, ast.Name):
            return f"${node.id}"
        if isinstance(node, (ast.Tuple, ast.List)):
            return f"[{', '.join(self.target(element) for element in node.elts)}]"
        raise self.make_error(f"a loop over {ast.unparse(node)!r} is not translated to JavaScript")

    def _call(self, node: ast.Call) -> tuple[str, str]:
        if not isinstance(node.func, ast.Name):
            raise self.make_error(f"the call of {ast.unparse(node.func)!r} is not translated to JavaScript")
        if node.keywords:
            raise self.make_error(f"the keyword in {ast.unparse(node)!r} is not translated to JavaScript")
        name, arguments = node.func.id, node.args
        if name == "map" and len(arguments) > 1 and isinstance(arguments[0], ast.Name):
            texts = [self.find_function(arguments[0].id), *map(self.sequence, arguments[1:])]
        else:
            texts = [self.text(argument) for argument in arguments]
        kind = "boolean" if name in _BOOLEAN else "sequence" if name in _SEQUENCE else "number"
        return f"{self.find_function(name)}({', '.join(texts)})", kind

    def find_function(self, name: str) -> str:
        """Returns the JavaScript function for a name, which means the same as in Python: see ``rule.FLOATS``."""
        meant = FLOATS.get(name, vars(builtins).get(name))
        if name in self.kinds or not callable(meant):
            raise self.make_error(f"{name!r} is no function")
        own = meant in (vars(math).get(name), vars(builtins).get(name)) or name in ("chance", "mul", "real", "tanh")
        if own and name in _FUNCTIONS:
            return f"py.{name}"
        if not own and name in RULES:
            return f"py.rule({self.find_index(RULES[name].whole)})"
        raise self.make_error(f"the function {name!r} has no counterpart in JavaScript")


def _names(node: ast.expr) -> list[str]:
    return [part.id for part in ast.walk(node) if isinstance(part, ast.Name)]


def _literal(x: float) -> str:
    x = float(x)
    return (
        repr(x).removesuffix(".0") if math.isfinite(x) else {"inf": "Infinity", "-inf": "-Infinity"}.get(str(x), "NaN")
    )
