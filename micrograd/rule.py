"""A rule: the texts of one operation, and the functions that are compiled from them.

A :class:`Rule` holds the text of a value and of its local gradients. Four functions are made from the texts:

- ``forward``: computes the value from floats;
- ``node``: makes a new node of the graph from Values and plain numbers;
- ``pull``: applies the chain rule at a node, on floats;
- ``pull_values``: the same on Values, so that gradients can be differentiated again.

The texts are written into these functions: this takes half the time of calling a function for each text.
``inspect.getsource``, tracebacks and pdb show their source. Names that end in ``_`` belong to the engine; all others
belong to the texts.

All texts are in one place, :mod:`micrograd.rules`.
"""

from __future__ import annotations

import ast
import builtins
import linecache
import math
import re
from collections import UserDict
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, lru_cache
from keyword import iskeyword
from operator import mul
from typing import TYPE_CHECKING, Any, cast

from .arguments import check_type, one_line

if TYPE_CHECKING:
    from .engine import Value

__all__ = ["CHAIN_RULE", "FLOATS", "RULES", "VALUES", "Rule", "constant", "leaf", "operation", "rule", "write_choices"]

_NODE = """
def node_({signature}):
    out_ = new_(); out_._grad = 0.0; out_._label = ""
    {take}
    try:
        out_._data = {value}
    except (ArithmeticError, ValueError) as error_:
        raise rule_.explain(error_, out_.parents) from None
    return out_
"""
_TAKE = "out_._parents = {parents}; out_.rule = rule_; {load}"
# A node stores a plain number as a float until its parents are read, because most nodes' parents are never read.
_TAKE_NUMBER = """
    if {b}.__class__ in plain_:
        out_._parents = ({a},); out_.rule = rule_{b}_; {a} = {a}._data; {b} = out_._number = float({b})
    else:
        {otherwise}out_._parents = ({a},); out_.rule = rule_{b}_; {a} = {a}._data; {b} = out_._number = to_float_({b})
""".strip()
_TAKE_TWO = (
    """
    if isinstance({b}, Value_):
        out_._parents = ({parents}); out_.rule = rule_; {a} = {a}._data; {b} = {b}._data
    el""".strip()
    + _TAKE_NUMBER
)
_ARRAY = "if is_array_({b}): return NotImplemented  # NumPy then calls this for each of its numbers\n        "
_PULL = """
def pull_(node_):
    {parents} = node_._parents
    upstream_ = {upstream}
    {load}
    {chain_rule}
"""
CHAIN_RULE = "{parent}._grad += ({local}) * upstream_"
"""The chain rule at one parent, on floats."""
# On Values, a node first collects all factors that arrive; the engine then makes one sum of products of them.
_COLLECT = "{parent}._grad += ({local}), upstream_"


class Rule:
    """An operation: its name, and the texts of its value and its local gradients.

    Call it with numbers to get a number; with at least one Value among them, to get a node with these operands.

    Attributes:
        name: the operation's name in :data:`RULES` and in a node's ``op``.
        operands: the operands' names, separated by commas; ``*a`` for any number of operands.
        value: the value, an expression in the operands.
        local: the local gradients, one expression per operand, in ``out`` and the operands; for ``*a``, one expression
            for the sequence of local gradients.
        constants: names and numbers that the expressions also use.
        names: the operands' names, in a list.
        variadic: whether the rule takes any number of operands.
        whole: the rule in the table from which this one was bound; the rule itself if it is in the table.
        number: the name of the operand that is a plain number in the nodes of this rule; empty if none is.

    >>> from micrograd.rules import exp
    >>> exp(0)
    1.0
    >>> exp.local
    ('out',)
    """

    def __init__(self, name: str, operands: str, value: str, local: tuple[str, ...], constants: dict[str, Any]) -> None:
        self.name, self.operands, self.value, self.local, self.constants = name, operands, value, local, constants
        self.names = [operand.strip() for operand in operands.removeprefix("*").split(",")]
        self.variadic = operands.startswith("*")
        self.whole = self
        self.number = ""
        self._makers: dict[str, Callable[..., Any]] = {}
        self.pull = self._pull_first

    def __repr__(self) -> str:
        return f"<rule {self.name!r}: {self.value}>"

    def __call__(self, *operands: Any, **constants: Any) -> Any:
        bound = self.bind(self.name, **constants) if constants else self
        if not self.variadic and len(operands) != len(self.names):
            raise TypeError(f"{self.name}() takes {len(self.names)} operands ({self.operands}), not {len(operands)}")
        for operand in operands:
            if hasattr(operand, "_parents"):
                return operation(bound)(*map(FLOATS["lift_"], operands))
            if not hasattr(operand, "__float__") or getattr(operand, "shape", None):
                raise TypeError(f"{self.name}() takes numbers and Values, not {type(operand).__name__} {operand!r}")
        numbers = list(map(float, operands))
        try:
            return bound.forward(*numbers)
        except (ArithmeticError, ValueError) as error:
            raise bound.explain(error, numbers) from None

    def __deepcopy__(self, memo: object) -> Rule:
        return self

    def __reduce__(self) -> Any:
        if self.whole is not self:
            return _bind_rule, (self.whole, self.name, self.constants, self.number)
        if self.name and RULES.get(self.name) is not self:
            raise TypeError(f"a graph with {self!r} in it can't be pickled: the rule is not in the table")
        return (_find_rule, (self.name,)) if self.name else "leaf" if self is leaf else "constant"

    def bind(self, name: str, **constants: Any) -> Rule:
        """This rule under another name, with other constants.

        Raises:
            TypeError: if the rule has no constant of a given name.

        >>> from micrograd.rules import power
        >>> power.bind("**3", n=3.0).forward(2.0)
        8.0
        """
        unknown = constants.keys() - self.constants.keys()
        if unknown:
            known = ", ".join(self.constants) or "none"
            raise TypeError(f"{self.name} has no constant {', '.join(sorted(unknown))}; it has {known}")
        bound = Rule(name, self.operands, self.value, self.local, {**self.constants, **constants})
        bound.whole, bound._makers = self.whole, self._makers
        bound.pull = bound.make_pull()  # at once: _pull_first would refer back to the rule, a reference cycle
        return bound

    def explain(self, error: Exception, operands: Sequence[Any], where: str = "") -> Exception:
        """Returns the error with this operation and its operands, by label and number, added to the message."""
        shown = [_show(operand) for operand in operands[:4]] + ["…"] * (len(operands) > 4)
        infix = len(shown) == 2 and not self.name.isidentifier()
        text = f" {self.name} ".join(shown) if infix else f"{self.name}({', '.join(shown)})"
        return type(error)(f"{where}{text}: {error.args[-1] if error.args else type(error).__name__}")

    # The functions compiled from the texts, when they are first used.

    pull: Callable[[Value], None]
    """Adds local gradient times the node's gradient to the gradient of each parent, in floats."""

    @cached_property
    def forward(self) -> Callable[..., float]:
        """Computes the value from floats."""
        return self._compile("forward", lambda: f"def value_({self.operands}): return {self._value}", FLOATS)

    @cached_property
    def node(self) -> Callable[..., Value]:
        """Makes a node from a Value, followed by Values or numbers."""
        return self._name(self.make_maker())

    @cached_property
    def reflected(self) -> Callable[..., Value]:
        """Makes a node of two operands from the second one, a Value, and the first."""
        return self._name(self.make_maker(reflected=True))

    @cached_property
    def pull_values(self) -> Callable[[Value], None]:
        """Adds two factors to the list of each parent: its local gradient and the node's gradient, as Values."""
        local = [write_choices(text, self.constants) for text in self.local]
        steps: dict[str, Rule] = {}
        for i, text in enumerate(self.local):
            if not self.constants and _is_step(_parse(text)):  # a rule of its own, which a trace records as one node
                steps[f"step{i}_"] = Rule(f"slope of {self.name}", self.operands, text, ("0.0",) * len(self.names), {})
                local[i] = f"choose_step_(step{i}_, {self.operands})"
        return self._compile("pull_values", lambda: self._write_pull("", tuple(local)), VALUES, **steps)

    @property
    def _value(self) -> str:
        # The text of the value, converted to a float if it may give something else.
        return self.value if _is_float(_parse(self.value), self) else f"real({self.value})"

    def with_number(self, operand: str) -> Rule:
        """Returns the variant of this rule of two operands for nodes in which ``operand`` is a plain number."""
        variant = Rule(self.name, self.operands, self.value, self.local, self.constants)
        variant.whole, variant._makers, variant.number = self, self._makers, operand
        if self.whole is not self:
            variant.pull = variant.make_pull()
        return variant

    def make_pull(self) -> Callable[[Value], None]:
        def write() -> str:
            # The package's own raise an error in their value, where a power is no real number.
            is_real = self.whole.name in RULES.sealed or self.variadic
            local = [text if is_real or not _may_be_complex(_parse(text)) else f"real({text})" for text in self.local]
            return self._write_pull("._data", tuple(local))

        return self._compile("pull", write, FLOATS)

    def _pull_first(self, node: Value) -> None:
        # Compiles pull at its first call, which keeps the import instant. Then pull is a plain attribute, which Python
        # finds faster than a cached_property.
        self.pull = self.make_pull()
        self.pull(node)

    def make_maker(self, reflected: bool = False) -> Callable[..., Value]:
        """Returns a function that makes a node; if ``reflected``, it takes the operands in the opposite order."""

        def write() -> str:
            names = ", ".join(self.names)
            if self.variadic:
                take = _TAKE.format(parents=names, load=f"{names} = [a_._data for a_ in {names}]")
            elif len(self.names) == 2:
                a, b = reversed(self.names) if reflected else self.names
                # Only operators may return NotImplemented, so that Python tries the other operand's method.
                otherwise = "" if self.name.isidentifier() else _ARRAY.format(b=b)
                take = (_TAKE_NUMBER if reflected else _TAKE_TWO).format(a=a, b=b, parents=names, otherwise=otherwise)
            else:
                take = _TAKE.format(parents=f"({names},)", load="; ".join(f"{a} = {a}._data" for a in self.names))
            signature = "*" * self.variadic + ", ".join(self.names[::-1] if reflected else self.names)
            return _NODE.format(signature=signature, take=take, value=self._value)

        key = "reflected node" if reflected else "node"
        variants = {f"rule_{a}_": self.with_number(a) for a in self.names} if len(self.names) == 2 else {}
        return self._compile(key, write, FLOATS, rule_=self, **variants)

    def _write_pull(self, data: str, local: tuple[str, ...]) -> str:
        # ``data`` reads an operand from a Value: ``._data`` on floats, empty where gradients are Values themselves.
        # There a watcher hands on what many parents get: a trace records the products of a layer's weights at once.
        update = CHAIN_RULE if data else _COLLECT
        upstream = "node_._grad" if data else "node_._grad = collect_(node_._grad)"
        of = {a: text for a, text in zip(self.names, local, strict=True) if a != self.number}
        if self.variadic:
            parents, read = "parents_", {self.names[0]: f"[a_{data} for a_ in parents_]"}
            chain_rule = f"for parent_, local_ in zip(parents_, {local[0]}, strict=True): "
            chain_rule += update.format(parent="parent_", local="local_")
            chain_rule = chain_rule if data else f"spread_(node_, {local[0]}, upstream_)"
        else:
            parents = "".join(f"{a}__, " for a in of)
            read = {a: f"{a}__{data}" if a in of else "node_._number" for a in self.names}
            plain = update.replace("({local}) * ", "")  # a factor of 1.0 changes no number
            chain_rule = "; ".join(
                (plain if data and text == "1.0" else update).format(parent=f"{a}__", local=text)
                for a, text in of.items()
            )
        read["out"] = f"node_{data}"
        used = {node.id for text in of.values() for node in ast.walk(_parse(text)) if isinstance(node, ast.Name)}
        load = "; ".join(f"{a} = {text}" for a, text in read.items() if a in used) or "pass"
        return _PULL.format(parents=parents, upstream=upstream, load=load, chain_rule=chain_rule)

    def _name(self, function: Callable[..., Value]) -> Callable[..., Value]:
        # Sets the name and docstring that help() shows.
        slopes = "".join(f"\n∂out/∂{a} = {text}" for a, text in zip(self.names, self.local, strict=True))
        function.__name__ = function.__qualname__ = self.name
        function.__module__, function.__doc__ = "micrograd.rules", f"out = {self.value}\n{slopes}\n"
        return function

    def _compile(self, key: str, write: Callable[[], str], names: dict[str, Any], **more: Any) -> Callable[..., Any]:
        # All rules that were bound from one line of the table share the compiled code.
        given = {**self.constants, **more}
        key += f" with the number {self.number}" * bool(self.number)
        if key not in self._makers:
            definition = write().strip()
            source = f"def make_({', '.join(given)}):\n    {definition.replace(chr(10), chr(10) + '    ')}\n"
            source += f"    return {definition[4 : definition.index('(')]}\n"
            file = f"<rule {self.whole.name}: {key}>"
            linecache.cache[file] = len(source), None, source.splitlines(keepends=True), file
            scope: dict[str, Any] = {}
            exec(compile(source, file, "exec"), names, scope)
            self._makers[key] = scope["make_"]
        return cast("Callable[..., Any]", self._makers[key](**given))


def operation(rule: Rule) -> Callable[..., Value]:
    """Returns the function that makes a rule's node from its operands: a Value first, then Values or numbers.

    >>> from micrograd import Value, rules
    >>> operation(rules.multiply)(Value(2.0), 3)
    Value(data=6.0, grad=0.0, op='*')
    """
    # A bound rule must not keep the function: the function refers back to the rule.
    return rule.node if rule.whole is rule else rule.make_maker()


def _compile_first(rule: Rule) -> Callable[..., float]:
    # The rule as a function of floats. It is compiled at the first call, which keeps the import instant.
    def forward(*operands: float) -> float:
        if FLOATS.get(rule.name) is forward:
            FLOATS[rule.name] = rule.forward
        return rule.forward(*operands)

    return forward


def _find_rule(name: str) -> Rule:
    return RULES[name]


def _bind_rule(whole: Rule, name: str, constants: dict[str, Any], number: str) -> Rule:
    return whole.with_number(number) if number else whole.bind(name, **constants)


def _show(operand: Any) -> str:
    number = repr(float(getattr(operand, "_data", operand)))
    return f"{one_line(operand.label)}={number}" if getattr(operand, "label", "") else number


leaf = Rule("", "", "", (), {})
constant = Rule("", "", "", (), {})


class Table(UserDict[str, Rule]):
    """The operations by their names. In every text, a name that is in the table means the rule with that name.

    Attributes:
        sealed: the names of the package's own rules; empty until all of them are added.
    """

    sealed: frozenset[str] = frozenset()

    def seal(self) -> None:
        """Marks all present rules as the package's own, which can't be replaced or deleted."""
        self.sealed = frozenset(self)

    def __setitem__(self, name: str, new: Rule) -> None:
        if name in self.sealed:
            raise ValueError(f"the table has a rule {name!r} already, one of the package's own: take another name")
        super().__setitem__(name, new)
        if not hasattr(builtins, name):  # abs and sum are Python's functions, which also take Values
            VALUES[name] = new
            if not _is_of_math(new):
                FLOATS[name] = _compile_first(new)

    def __delitem__(self, name: str) -> None:
        if name in self.sealed:
            raise ValueError(f"{name!r} is a rule of the package, on which others rest: it can't be deleted")
        others = [other for other in self.values() if other.name not in {name, *self.sealed}]
        users = [other.name for other in others if name in _free_names(other)]
        if users:
            raise ValueError(f"the rule {name!r} can't be deleted: {', '.join(users)} uses it")
        super().__delitem__(name)
        for names in (VALUES, FLOATS):
            if name in _OF_MATH:
                names[name] = _OF_MATH[name]
            else:
                names.pop(name, None)


RULES = Table()
"""Every operation, by its name. ``del RULES[name]`` removes one of your own completely."""


def rule(name: str, operands: str, value: str, *local: str, replace: bool = False, **constants: Any) -> Rule:
    """Adds an operation to the table and returns its rule.

    The texts run as Python code: do not pass texts from people whom you don't trust.

    Args:
        name: a string that no text in the table uses, because each name in a text has one meaning.
        operands: the operands' names, separated by commas; ``*a`` for any number of operands.
        value: the value, an expression in the operands.
        local: the local gradients, one expression per operand, in ``out`` (the value) and the operands.
        replace: replace your own rule of that name, if there is one. A notebook's cell may then run twice. Existing
            nodes keep the rule that made them.
        constants: names and default values that the expressions also use.

    Raises:
        ValueError: if the name is not a string, is empty or already has a meaning; if an operand's name can't be used;
            or if the number of local gradients is not the number of operands.
        TypeError: if the operands, the value or a local gradient is not a string.
        SyntaxError: if a text is not an expression, or has a comment.

    >>> cube = rule("cube", "x", "x * x * x", "3 * x * x")
    >>> cube(2.0)
    8.0
    >>> del RULES["cube"]
    """
    if not name or not isinstance(name, str):
        raise ValueError(f"a rule's name is a string that is not empty, not {name!r}")
    for text in (operands, value, *local):
        check_type(text, str, f"rule {name!r}: operands, value and local gradients are texts, such as '2 * x'")
        if "#" in text:  # it would go on behind the text, in the function that is compiled
            raise SyntaxError(f"rule {name!r}: a text has no comment: {text!r}")
    new = Rule(name, operands, value, local, constants)
    _check_operands(new)
    for text in (value, *local):
        _parse(text)
    _check_name(new, replace)
    RULES[name] = new
    return new


_TAKEN = {"out", "float", "isinstance", "zip", "NotImplemented", "ArithmeticError", "ValueError"}


def _check_operands(new: Rule) -> None:
    for operand in [*new.names, *new.constants]:
        if not operand.isidentifier() or iskeyword(operand) or operand.endswith("_") or operand in _TAKEN:
            raise ValueError(
                f"rule {new.name!r}: {operand!r} can't name an operand: take a word that does not end with "
                f"an underscore and is none of {', '.join(sorted(_TAKEN))}"
            )
    if new.variadic and len(new.names) > 1:
        raise ValueError(f"rule {new.name!r}: beside {new.names[0]!r}, any number of operands, there can be no others")
    if len({*new.names, *new.constants}) < len(new.names) + len(new.constants):
        raise ValueError(f"rule {new.name!r}: two operands or constants have one name: {new.operands!r}")
    if len(new.local) != len(new.names):
        raise ValueError(
            f"rule {new.name!r} has operands {new.operands!r}, and needs a local gradient for each, not "
            f"{len(new.local)}"
        )


def _check_name(new: Rule, replace: bool) -> None:
    # Raises an error if the name of a new rule has a meaning already.
    name = new.name
    if name in RULES.sealed or not RULES.sealed:
        return  # the table refuses it, or is just being made
    user = "its own value" * (name in _free_names(new, new.value))
    if name in RULES:
        if not replace:
            raise ValueError(
                f"the table has a rule {name!r} already: take another name, give replace=True, or delete "
                f"RULES[{name!r}] first"
            )
    else:
        others = [other for other in RULES.values() if name in _free_names(other)]
        user = f"the rule {others[0].name!r}" if others else user
        user = user or "Python" * hasattr(builtins, name) or "the engine" * name.endswith("_")
        user = user or "the module math" * (name in vars(math)) or "the table" * (name in FLOATS)
    if user and not _is_of_math(new):
        raise ValueError(f"rule {name!r}: {user} uses this name, and a name has one meaning: take another one")


# Read the texts


@lru_cache(maxsize=1024)
def _parse(text: str) -> ast.expr:
    return ast.parse(text.strip(), "<rule>", mode="eval").body


def _free_names(rule: Rule, *texts: str) -> set[str]:
    # The names in the texts of a rule that are neither operands nor constants nor assigned in the text.
    given = {*rule.names, *rule.constants, "out"}
    nodes = [node for text in texts or (rule.value, *rule.local) for node in ast.walk(_parse(text))]
    names = [node for node in nodes if isinstance(node, ast.Name)]
    assigned = {node.id for node in names if isinstance(node.ctx, ast.Store)}
    return {node.id for node in names} - assigned - given


def _is_of_math(rule: Rule) -> bool:
    # Whether the rule's value is the function of the module math with the same name.
    return rule.name in vars(math) and ast.unparse(_parse(rule.value)) == f"{rule.name}({', '.join(rule.names)})"


# The functions of the module math, and helpers of the table, that return a float for floats.
_OF_FLOATS = set(
    re.findall(
        r"\w+",
        """abs acos acosh asin asinh atan atan2 atanh cbrt chance copysign cos cosh degrees erf erfc exp exp2 expm1 fabs
        fmod fsum gamma hypot ldexp lgamma log log10 log1p log2 pow radians real remainder sin sinh sqrt tan tanh""",
    )
)


def _is_float(text: ast.expr, rule: Rule) -> bool:
    # Whether an expression always gives a float.
    if isinstance(text, ast.Constant):
        return isinstance(text.value, float)
    if isinstance(text, ast.Name):
        return (text.id in rule.names and not rule.variadic) or isinstance(vars(math).get(text.id), float)
    if isinstance(text, ast.UnaryOp):
        return isinstance(text.op, ast.USub) and _is_float(text.operand, rule)
    if isinstance(text, ast.BinOp):
        sides = [_is_float(side, rule) for side in (text.left, text.right)]
        is_closed = isinstance(text.op, (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv))
        return is_closed and any(sides) and not _may_be_complex(text)
    if isinstance(text, ast.IfExp):
        return _is_float(text.body, rule) and _is_float(text.orelse, rule)
    if isinstance(text, ast.Call) and isinstance(text.func, ast.Name):
        name = text.func.id
        if name == "sum":  # its start is a float
            return len(text.args) == 2 and _is_float(text.args[1], rule) and not _may_be_complex(text)
        return name in _OF_FLOATS or (name in RULES and not hasattr(builtins, name))
    return False


def _may_be_complex(text: ast.expr) -> bool:
    # Whether an expression may give a complex number, as a negative number to the power of a fraction is in Python.
    if isinstance(text, ast.Call) and getattr(text.func, "id", "") in _OF_FLOATS:
        return False
    if isinstance(text, ast.BinOp) and isinstance(text.op, ast.Pow):
        is_whole = isinstance(text.right, ast.Constant) and isinstance(text.right.value, int)
        return not is_whole or _may_be_complex(text.left)
    parts = (part for part in ast.iter_child_nodes(text) if isinstance(part, ast.expr))
    return isinstance(getattr(text, "value", 0), complex) or any(map(_may_be_complex, parts))


def _is_step(text: ast.expr) -> bool:
    # Whether an expression chooses among numbers, so that its own slopes are 0.
    if not isinstance(text, ast.IfExp):
        return False
    sides = [side.operand if isinstance(side, ast.UnaryOp) else side for side in (text.body, text.orelse)]
    return all(isinstance(side, ast.Constant) or _is_step(side) for side in sides)


def write_choices(text: str, constants: Iterable[str] = ()) -> str:
    """Rewrites ``x if condition else y``, ``and``, ``or`` and ``not`` as ``choose_(condition, lambda: x, lambda: y)``.

    A text also runs on Values. While a function is being compiled, a comparison of Values is itself a Value, and both x
    and y become part of the graph. A condition on constants alone stays as it is.

    >>> text = write_choices("1.0 if 0 <= a <= b else n if n > 0 else 0.0", ["n"])
    >>> text.replace("lambda :", "lambda:")  # as Python 3.10 writes it
    'choose_(choose_(0 <= a, lambda: a <= b, lambda: False), lambda: 1.0, lambda: n if n > 0 else 0.0)'
    """
    return ast.unparse(_Choices({*constants}).visit(ast.parse(text, mode="eval"))) if " if " in text else text


class _Choices(ast.NodeTransformer):
    def __init__(self, constants: set[str]) -> None:
        self.constants = constants

    def visit_IfExp(self, node: ast.IfExp) -> ast.expr:
        return self._choice(node.test, self.visit(node.body), self.visit(node.orelse))

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.expr:
        *first, last = node.values
        chosen: ast.expr = self.visit(last)
        for value in reversed(first):
            always = ast.Constant(isinstance(node.op, ast.Or))
            chosen = self._choice(value, *((always, chosen) if always.value else (chosen, always)))
        return chosen

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        if isinstance(node.op, ast.Not):
            return self._choice(node.operand, ast.Constant(False), ast.Constant(True))
        return cast(ast.expr, self.generic_visit(node))

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        operands = [node.left, *node.comparators]
        pairs = zip(operands, node.ops, operands[1:], strict=False)
        each: list[ast.expr] = [ast.Compare(a, [op], [b]) for a, op, b in pairs]
        if len(each) > 1:
            return self.visit_BoolOp(ast.BoolOp(ast.And(), each))
        return cast(ast.expr, self.generic_visit(node))  # there may be a choice in an operand

    def _choice(self, test: ast.expr, x: ast.expr, y: ast.expr) -> ast.expr:
        if self.constants.issuperset(part.id for part in ast.walk(test) if isinstance(part, ast.Name)):
            return ast.IfExp(test, x, y)
        nothing = ast.arguments([], [], None, [], [], None, [])
        branches: list[ast.expr] = [ast.Lambda(nothing, branch) for branch in (x, y)]
        return ast.Call(ast.Name("choose_"), [self.visit(test), *branches], [])


# Define the names in the texts


def _choose(condition: Any, x: Callable[[], Any], y: Callable[[], Any]) -> Any:
    if not hasattr(condition, "_choose"):
        return x() if condition else y()
    return condition._choose(*[_attempt(branch) for branch in (x, y)])


def _choose_step(step: Rule, *operands: Any) -> Any:
    for operand in operands:
        if hasattr(operand, "_choose"):
            return step(*operands)
    return step.forward(*[getattr(operand, "_data", operand) for operand in operands])


def _attempt(branch: Callable[[], Any]) -> Any:
    try:
        return branch()
    except (ArithmeticError, ValueError):  # this branch is not taken here
        return math.nan


def _real(x: Any) -> float:
    if x.__class__ is float:
        return x
    if isinstance(x, complex):
        raise ValueError("a negative number has no real power with a fractional exponent")
    return float(x)


def _chance(p: float) -> float:
    if not 0 <= p <= 1:
        raise ValueError(f"a probability is between 0 and 1, not {p}")
    return p


def _tanh(a: float) -> float:
    # To within 2 ulp. The C library's own may be off by more: glibc's by 2.15, near 0.23. Below 0.55 it is Lambert's
    # continued fraction, whose last term, 13.02, stands for the rest of it.
    if -0.55 < a < 0.55:
        z = a * a
        return a / (1.0 + z / (3.0 + z / (5.0 + z / (7.0 + z / (9.0 + z / (11.0 + z / 13.02))))))
    e = math.exp(-2.0 * abs(a))
    return math.copysign(1.0 - 2.0 * e / (1.0 + e), a)


_OF_MATH = {name: entry for name, entry in vars(math).items() if not name.startswith("_")}

FLOATS: dict[str, Any] = {**_OF_MATH, "tanh": _tanh, "real": _real, "chance": _chance, "mul": mul}
"""The names in the texts on floats: the functions of the module math, and every rule."""

VALUES: dict[str, Any] = {**_OF_MATH, "choose_": _choose, "choose_step_": _choose_step}
"""The names in the local gradients on Values: every rule; the functions of math without a rule refuse a Value."""
