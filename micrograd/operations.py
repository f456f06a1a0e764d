"""What a rule becomes: a function that makes a node of the graph, and one that takes its gradient on to its parents.

Both are compiled with the rule's own text in place, which takes half the time of calling functions. Of an operand a,
a_ is the Value and a its number. A plain number among the operands stays one until someone looks at the node's
parents: the node then has a variant of the rule that knows which operand the number is.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from .rules import FLOATS, VALUES, Rule

if TYPE_CHECKING:
    from .engine import Value

__all__ = ["conditional", "maker", "operation", "puller"]

_NODE = """
def f({signature}):
    "One node of the graph: {value}, a line of micrograd.rules."
    out = new_()
    {take}
    try:
        out._data = {value}
    except (ArithmeticError, ValueError) as error:
        raise explained_(error, rule_, {operands}) from None
    out._grad = 0.0
    out.label = ""
    return out
"""
_TAKE_ALL = "{a} = [a_._data for a_ in {a}_]; out._parents = {a}_; out.rule = rule_"
_TAKE_ONE = "{a} = {a}_._data; out._parents = ({a}_,); out.rule = rule_"
_TAKE_NUMBER = (
    "{a} = {a}_._data; {b} = out._number = float({b}_) if {b}_.__class__ in plain_ else to_float_({b}_); "
    "out._parents = ({a}_,); out.rule = rule_{b}_"
)
_TAKE_TWO = """if isinstance({b}_, Value_):
        {a} = {a}_._data; {b} = {b}_._data; out._parents = ({a}_, {b}_); out.rule = rule_
    else:
        """ + _TAKE_NUMBER  # fmt: skip

_PULL = """
def f(node_):
    {parents} = node_._parents
    {load}
    upstream_ = node_._grad
    {chain_rule}
"""
_CHAIN_RULE = "{parent}._grad += ({local}) * upstream_"


def maker(rule: Rule, reflected: bool = False) -> Callable[..., Value]:
    """The function that makes a rule's node; ``reflected``, from the second operand and a number that is the first."""

    def write() -> str:
        nodes = [f"{name}_" for name in rule.names]
        a, b = rule.names[0], rule.names[-1]
        operands = nodes[0] if rule.variadic else f"({', '.join(nodes)},)"
        if rule.variadic:
            signature, take = f"*{a}_", _TAKE_ALL
        elif reflected:
            (a, b), signature, take = (b, a), ", ".join(reversed(nodes)), _TAKE_NUMBER
        else:
            signature, take = ", ".join(nodes), _TAKE_TWO if rule.with_number else _TAKE_ONE
            if len(nodes) > 1 and not rule.with_number:
                take = "; ".join(f"{name} = {name}_._data" for name in rule.names)
                take += f"; out._parents = {operands}; out.rule = rule_"
        return _NODE.format(signature=signature, take=take.format(a=a, b=b), value=rule.value, operands=operands)

    variants = {f"rule_{name}_": variant for name, variant in rule.with_number.items()}
    return rule.compile(("node", reflected, *variants), write, FLOATS, rule_=rule, **variants)


def puller(rule: Rule, data: str = "._data") -> Callable[[Value], None]:
    """The function that takes a node's gradient on to its parents, by the chain rule.

    ``data`` is what makes an operand of a Value: ``._data`` for numbers, nothing for gradients that are Values again.
    """

    def write() -> str:
        a = rule.names[0]
        local = rule.local if data else tuple(map(conditional, rule.local))
        if rule.variadic:
            parents, texts = f"{a}_", local[0]
            values = {a: f"[{a}__{data} for {a}__ in {parents}]"}
            chain_rule = f"for parent_, local_ in zip({parents}, {texts}, strict=True): "
            chain_rule += _CHAIN_RULE.format(parent="parent_", local="local_")
        else:
            locals_ = {f"{a}_": text for a, text in zip(rule.names, local, strict=True) if a != rule.number}
            parents, texts = "".join(f"{parent}, " for parent in locals_), " ".join(locals_.values())
            values = {a: "node_._number" if a == rule.number else f"{a}_{data}" for a in rule.names}
            plain = _CHAIN_RULE.replace("({local}) * ", "")  # a frequent multiplication changes nothing for numbers
            chain_rule = "; ".join(
                (plain if data and text == "1.0" else _CHAIN_RULE).format(parent=parent, local=text)
                for parent, text in locals_.items()
            )
        values["out"] = f"node_{data}"
        load = "; ".join(f"{a} = {value}" for a, value in values.items() if a in texts)
        return _PULL.format(parents=parents, load=load or "pass", chain_rule=chain_rule)

    return rule.compile(("pull", rule.number, data), write, FLOATS if data else VALUES)


def conditional(text: str) -> str:
    """The text with ``choose_(condition, lambda: x, lambda: y)`` for ``x if condition else y``, and for logic.

    A text runs on Values, too, whose comparisons may be Values themselves: in a function that is compiled, both x and y
    are part of the graph.

    >>> conditional("1.0 if 0 <= a <= b else 0.0")
    'choose_(choose_(0 <= a, lambda: a <= b, lambda: False), lambda: 1.0, lambda: 0.0)'
    """
    return ast.unparse(_Conditional().visit(ast.parse(text, mode="eval"))) if " if " in text else text


class _Conditional(ast.NodeTransformer):
    def visit_IfExp(self, node: ast.IfExp) -> ast.expr:
        return self.choice(node.test, node.body, node.orelse)

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.expr:
        *first, last = node.values
        for value in reversed(first):
            last = (
                self.choice(value, last, ast.Constant(False))
                if isinstance(node.op, ast.And)
                else self.choice(value, ast.Constant(True), last)
            )
        return last

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        if isinstance(node.op, ast.Not):
            return self.choice(node.operand, ast.Constant(False), ast.Constant(True))
        return cast(ast.expr, self.generic_visit(node))

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        operands = [node.left, *node.comparators]
        pairs = zip(operands, node.ops, operands[1:], strict=False)
        each: list[ast.expr] = [ast.Compare(a, [op], [b]) for a, op, b in pairs]
        return self.visit_BoolOp(ast.BoolOp(ast.And(), each)) if len(each) > 1 else node

    def choice(self, test: Any, x: Any, y: Any) -> ast.expr:
        nothing = ast.arguments([], [], None, [], [], None, [])
        branches = [ast.Lambda(nothing, self.visit(branch)) for branch in (x, y)]
        return ast.Call(ast.Name("choose_"), [self.visit(test), *branches], [])


def _choose(condition: Any, x: Callable[[], Any], y: Callable[[], Any]) -> Any:
    if not hasattr(condition, "_choose"):
        return x() if condition else y()
    return condition._choose(*[_attempt(branch) for branch in (x, y)])


def _attempt(branch: Callable[[], Any]) -> Any:
    try:
        return branch()
    except (ArithmeticError, ValueError):  # it is not this one's turn
        return float("nan")


VALUES["choose_"] = _choose


def _pull_at_first_use(rule: Rule) -> Callable[[Value], None]:  # which keeps the import instant
    def pull(node: Value) -> None:
        rule.pull = puller(rule)
        rule.pull(node)

    return pull


def operation(rule: Rule) -> Callable[..., Value]:
    """The function that makes a rule's node from its operands: a Value first, then Values or numbers.

    Its errors are those of Python's float, with the operation and the operands in the message.

    >>> from micrograd import Value, rules
    >>> operation(rules.multiply)(Value(2.0), 3)
    Value(data=6.0, grad=0.0, op='*')
    """
    if rule.node is None:
        if rule.whole is not None:  # bound: what it kept would point back at it
            rule.pull = puller(rule)
            return maker(rule)
        if len(rule.names) == 2:
            for name in rule.names:
                variant = rule.with_number[name] = rule.bind(rule.name)
                variant.number = name
                variant.pull = _pull_at_first_use(variant)
        rule.pull = _pull_at_first_use(rule)
        rule.node = maker(rule)
        rule.node.__name__ = rule.node.__qualname__ = rule.name
    return cast("Callable[..., Value]", rule.node)
