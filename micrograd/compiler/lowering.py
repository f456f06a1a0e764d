"""The second stage: from the nodes of a trace to what is left to compute, and from that to instructions.

1. Constants are folded, sums with 0 and products with 1 dropped, and what is computed twice is computed once.
2. What no output needs is dropped; what depends on no input is set apart, to be computed once for all lanes.
3. Chains of sums and products that nothing else uses become one sum of products.

Operations that wait for the same others are then taken together, by :mod:`micrograd.compiler.assembly`: those of a rule
become one instruction for many rows, and sums of products that share their inputs a layer.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .. import rules
from ..engine import Value, lift, operation
from ..rule import VALUES, Rule, write_choices
from ..watching import watch
from .assembly import Assembler
from .kernel import UnsupportedError
from .listing import Listing
from .tracing import Trace, Tracing

__all__ = ["lower"]

_SUMS = (rules.add, rules.total)
Term = tuple[int, int]  # the product of two numbers, by their ids; that of one is a product with the constant 1


def lower(trace: Trace, sums: bool) -> Listing:
    """The instructions that compute a trace's outputs and gradients.

    Args:
        trace: what the function made.
        sums: whether the gradients are summed over lanes; otherwise each lane has its own.

    Raises:
        UnsupportedError: if a rule can't be compiled.
    """
    graph = Graph(trace)
    for i, node in enumerate(trace.nodes):
        graph.is_forward = i < trace.forward
        graph.add(node)
    return Scheduler(graph, trace, sums).listing()


class Graph:
    # Operations by number, each after its operands: what it is, and of what.

    def __init__(self, trace: Trace) -> None:
        self.ops: list[Any] = []  # a rule; or "constant", "captured", "input"
        self.args: list[tuple[int, ...]] = []
        self.numbers: list[float] = []  # what it is worth in the sample
        self.nodes: list[Value | None] = []
        self.is_uniform: list[bool] = []
        self.ids: dict[Value, int] = {}
        self.known: dict[Any, int] = {}
        self.one, self.zero = self.constant(1.0), self.constant(0.0)
        self.is_forward = True
        for what, leaves in (("captured", trace.captured), ("input", trace.inputs)):
            for i, leaf in enumerate(leaves):
                self.ids[leaf] = self.new(what, (i,), leaf._data, leaf)

    def new(self, op: Any, args: tuple[int, ...], number: float, node: Value | None) -> int:
        self.ops.append(op)
        self.args.append(args)
        self.numbers.append(number)
        self.nodes.append(node)
        is_uniform = op != "input"
        if node is not None and not isinstance(op, str):
            for x in args:
                if not self.is_uniform[x]:
                    is_uniform = False
                    break
        self.is_uniform.append(is_uniform)
        return len(self.ops) - 1

    def constant(self, number: float) -> int:
        key = ("constant", number, math.copysign(1.0, number)) if number == number else "nan"
        if key not in self.known:
            self.known[key] = self.new("constant", (), number, None)
        return self.known[key]

    def id(self, node: Value) -> int:
        found = self.ids.get(node)
        if found is None:  # a constant: all else was captured or made before
            found = self.ids[node] = self.constant(node._data)
        return found

    def add(self, node: Value) -> None:
        rule, ids = node.rule, self.ids
        args = tuple([ids[parent] if parent in ids else self.id(parent) for parent in node._parents])
        if rule.number:
            number = self.constant(node._number)
            args = (number, *args) if rule.names[0] == rule.number else (*args, number)
            rule = rule.whole
        ids[node] = self.simplified(rule, args, node)

    def simplified(self, rule: Rule, args: tuple[int, ...], node: Value) -> int:
        ops, numbers = self.ops, self.numbers
        constants = [x for x in args if ops[x] == "constant"]
        if constants:
            if len(constants) == len(args):
                return self.constant(node._data)
            if rule is rules.multiply or rule is rules.add:
                (x,), other = constants, args[0] if args[1] == constants[0] else args[1]
                if numbers[x] == (rule is rules.multiply):  # 1 or 0, which changes nothing
                    return other
                if numbers[x] == 0 and not self.is_forward:  # there, 0 times what is not finite has to be nan
                    return self.zero
        if rule.whole is rules.power and rule.constants["n"] in (0, 1):  # in the derivatives of each square
            return args[0] if rule.constants["n"] else self.one
        if rule.variadic and rule is not rules.total and rule is not rules.dot:
            if rule.whole is not rules.weigh:
                return self.expanded(rule, node)
            args += tuple([self.constant(float(x)) for x in rule.constants["x"]])
            rule = rules.dot
        key = rule.whole, *rule.constants.items(), args
        found = self.known.get(key)
        if found is None:
            found = self.known[key] = self.new(rule, args, node._data, node)
        return found

    def expanded(self, rule: Rule, node: Value) -> int:
        # A rule of any number of operands, by running its text on Values: it becomes what it is made of.
        text = write_choices(ast.unparse(ast.parse(rule.value, mode="eval")))
        scope = {**VALUES, **_OF_VALUES, **rule.constants, rule.names[0]: list(node._parents)}
        tracing = Tracing()
        with watch(tracing):
            try:
                # The lambdas in it see the scope only if it is global.
                out = lift(eval(text, scope))
            except Exception as error:
                raise UnsupportedError(
                    f"the rule {rule.name!r} can't be compiled: {type(error).__name__}: {error}"
                ) from error
        for part in tracing.made:
            self.add(part)
        return self.id(out)


def _elementary(name: str, value: str) -> Callable[..., Value]:
    # A function of math that has no line in the table, for texts that are expanded; nobody differentiates it.
    made = operation(Rule(name, "a", value, ("nan",), {}))
    return lambda x: made(lift(x))


def _folded(rule: Rule) -> Callable[..., Value]:
    def fold(*xs: Any) -> Value:
        first, *rest = xs[0] if len(xs) == 1 else xs
        out = lift(first)
        for x in rest:
            out = operation(rule)(out, lift(x))
        return out

    return fold


def _sum(xs: Iterable[Any], start: Any = 0.0) -> Value:
    return operation(rules.total)(*[lift(x) for x in (start, *xs)])


# What is lost where a + b is rounded (Knuth, The art of computer programming, volume 2, 4.2.2).
_ROUNDING = Rule("rounding", "a, b", "(a - ((a + b) - ((a + b) - a))) + (b - ((a + b) - a))", ("0.0", "0.0"), {})


def _exact_sum(xs: Iterable[Any]) -> Value:
    total, *rest = [lift(x) for x in xs]
    lost = []
    for x in rest:
        lost.append(operation(_ROUNDING)(total, x))
        total = total + x
    return total + _sum(lost)


_OF_VALUES: dict[str, Any] = {
    **{
        name: _elementary(name, f"{name}(a)")
        for name in ("acos", "acosh", "asin", "asinh", "atan", "atanh", "cbrt", "cosh", "erf", "erfc", "exp2", "expm1",
                     "gamma", "lgamma", "log10", "log1p", "log2", "sinh", "tan")
    },
    "isinf": _elementary("isinf", "1.0 if isinf(a) else 0.0"),
    "isnan": _elementary("isnan", "1.0 if isnan(a) else 0.0"),
    "max": _folded(rules.maximum),
    "min": _folded(rules.minimum),
    "prod": _folded(rules.multiply),
    "fsum": _exact_sum,
    "sum": _sum,
    "mul": lambda a, b: lift(a) * b,
}  # fmt: skip


class Scheduler:
    def __init__(self, graph: Graph, trace: Trace, sums: bool) -> None:
        self.graph, self.trace, self.sums = graph, trace, sums
        self.outputs = [graph.id(out) for out in trace.outputs]
        self.gradients = [graph.id(slope) for slope in trace.gradients]
        self.terms: dict[int, list[Term]] = {}
        self.uses = self.counted([*self.outputs, *self.gradients])
        self.is_part = bytearray(len(graph.ops))  # of a sum of products, and has no row
        self.minus = graph.constant(-1.0)
        self.starts: dict[int, int] = {}  # of a sum in lanes: what is the same in all of them

    def counted(self, roots: Sequence[int]) -> list[int]:
        # How often each operation is used by what the outputs need; 0 if it isn't.
        uses = [0] * len(self.graph.ops)
        for root in roots:
            uses[root] += 1
        ops, args = self.graph.ops, self.graph.args
        for i in range(len(uses) - 1, -1, -1):
            if uses[i] and not isinstance(ops[i], str):
                for x in args[i]:
                    uses[x] += 1
        return uses

    def listing(self) -> Listing:
        graph = self.graph
        self.fuse()
        for i in [i for i in list(self.terms) if not graph.is_uniform[i]]:
            self.split(i)
        self.uses += [1] * (len(graph.ops) - len(self.uses))
        self.is_part.extend(bytes(len(graph.ops) - len(self.is_part)))
        return Assembler(self).listing()

    def fuse(self) -> None:
        graph, terms, uses = self.graph, self.terms, self.uses
        for i in range(len(uses)):
            op = graph.ops[i]
            if not uses[i] or isinstance(op, str):
                continue
            args = graph.args[i]
            if op is rules.multiply:
                terms[i] = [args]  # type: ignore[list-item]
            elif op is rules.dot:
                half = len(args) // 2
                terms[i] = list(zip(args[:half], args[half:], strict=True))
            elif op is rules.negate:
                terms[i] = [(args[0], self.minus)]
            elif op is rules.subtract:
                terms[i] = [*self.absorbed(args[0]), (args[1], self.minus)]
            elif op in _SUMS:
                parts = [self.absorbed(x) for x in args]
                longest = max(parts, key=len)
                if len(longest) > 8 and longest is not parts[0]:
                    parts.remove(longest)
                    parts.insert(0, longest)
                whole = parts[0]
                for part in parts[1:]:
                    whole += part
                terms[i] = whole

    def absorbed(self, x: int) -> list[Term]:
        # The terms of x, if nothing else uses it; x then has no row of its own.
        if self.uses[x] == 1 and x in self.terms:
            self.is_part[x] = True
            return self.terms.pop(x)
        return [(x, self.graph.one)]

    def split(self, i: int) -> None:
        # Sets apart what is the same in all lanes.
        uniform = self.graph.is_uniform
        here = [term for term in self.terms[i] if uniform[term[0]] and uniform[term[1]]]
        if not here:
            return
        self.terms[i] = [term for term in self.terms[i] if not (uniform[term[0]] and uniform[term[1]])]
        self.starts[i] = self.uniform_sum(here)

    def uniform_sum(self, terms: list[Term]) -> int:
        if len(terms) == 1 and self.graph.one in terms[0]:
            return terms[0][0] if terms[0][1] == self.graph.one else terms[0][1]
        number = math.fsum(self.graph.numbers[a] * self.graph.numbers[b] for a, b in terms)
        if all(self.graph.ops[x] == "constant" for term in terms for x in term):
            return self.graph.constant(number)
        new = self.graph.new("start", (), number, None)
        self.graph.is_uniform[new] = True
        self.terms[new] = terms
        return new
