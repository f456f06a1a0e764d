"""What a rule becomes: a function that makes a node of the graph, and one that takes its gradient on to its parents.

Both are compiled with the rule's own text in place, which takes half the time of calling functions. Of an operand a,
a_ is the Value and a its number. A plain number among the operands stays one until someone looks at the node's
parents: the node then has a variant of the rule that knows which operand the number is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from .rules import FLOATS, VALUES, Rule

if TYPE_CHECKING:
    from .engine import Value

__all__ = ["maker", "operation", "puller"]

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
_TAKE_NUMBER = "{a} = {a}_._data; {b} = out._number = to_float_({b}_); out._parents = ({a}_,); out.rule = rule_{b}_"
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
        if rule.variadic:
            parents, texts = f"{a}_", rule.local[0]
            values = {a: f"[{a}__{data} for {a}__ in {parents}]"}
            chain_rule = f"for parent_, local_ in zip({parents}, {texts}, strict=True): "
            chain_rule += _CHAIN_RULE.format(parent="parent_", local="local_")
        else:
            locals_ = {f"{a}_": local for a, local in zip(rule.names, rule.local, strict=True) if a != rule.number}
            parents, texts = "".join(f"{parent}, " for parent in locals_), " ".join(locals_.values())
            values = {a: "node_._number" if a == rule.number else f"{a}_{data}" for a in rule.names}
            chain_rule = "; ".join(_CHAIN_RULE.format(parent=parent, local=local) for parent, local in locals_.items())
        values["out"] = f"node_{data}"
        load = "; ".join(f"{a} = {value}" for a, value in values.items() if a in texts)
        return _PULL.format(parents=parents, load=load or "pass", chain_rule=chain_rule)

    return rule.compile(("pull", rule.number, data), write, FLOATS if data else VALUES)


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
