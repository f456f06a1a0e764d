"""The compiled operations: one small function each, made from the text of its rule or of :mod:`.sources`.

A program is a row of numbers: for each instruction the address of its function, its length, and its operands. A
function works on a block of lanes, a sample each. The numbers of a node are a row of the block, so that the inner loop
is over lanes and the processor takes several at once.
"""

from __future__ import annotations

import ast
import ctypes
import hashlib
import importlib.util
import math
import os
import pickle
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..rule import FLOATS, RULES, Rule
from .sources import CUBED, ELEMENTWISE, FASTMATH, FIXED, HEAD, HELPERS, LIMITS, LOOP_HEAD, LOOPS
from .tracing import TraceError

__all__ = [
    "UnsupportedError", "Whole", "address_of", "assembled", "bound", "elementwise", "instruction", "limits",
    "needed_numba", "run",
]  # fmt: skip

Whole = npt.NDArray[np.int64]

_FUNCTION = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4, ctypes.c_int64)


class UnsupportedError(TraceError):
    """A rule whose text can't be compiled."""


def needed_numba() -> Any:
    """The module numba.

    Raises:
        ImportError: if it is not installed, with what to install.
    """
    try:
        import numba
    except ImportError as error:
        raise ImportError("compiling needs numba and numpy: python -m pip install numba numpy") from error
    return numba


@cache
def elementwise(rule: Rule) -> str:
    """The source of the instruction of a rule with a fixed number of operands: (row, row of each operand)…

    Raises:
        UnsupportedError: if the rule's text has something in it that can't be compiled.
    """
    definitions = dict(_dependencies(rule.value, rule))
    constants = "".join(f"{name} = {_literal(x)}\n" for name, x in rule.constants.items())
    text = ast.unparse(_WholePowers(rule).visit(ast.parse(rule.value, mode="eval")))
    if "cubed_(" in text:
        definitions["cubed_"] = CUBED
    if ":=" in text:
        definitions["value_"], text = _function("value_", rule.operands, text), f"value_({rule.operands})"
    names = rule.names
    source = ELEMENTWISE.format(
        value=text,
        rows="; ".join(["row_ = c_[k_] * n_", *(f"{a}_row = c_[k_ + {i + 1}] * n_" for i, a in enumerate(names))]),
        width=len(names) + 1,
        firsts="; ".join(f"{a} = v_[{a}_row]" for a in names),
        lanes="; ".join(f"{a} = v_[{a}_row + l_]" for a in names),
        check_one="; v_[0] += 0.0 * out_" * _may_fail(rule.value),
        check="; v_[l_] += 0.0 * out_" * _may_fail(rule.value),
    )
    return "\n\n".join([constants, *definitions.values(), source])


class _WholePowers(ast.NodeTransformer):
    # Powers that a few multiplications give as well, and for several lanes at once.

    def __init__(self, rule: Rule) -> None:
        self.constants = rule.constants

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.op, ast.Pow) and isinstance(node.right, ast.Name):
            exponent = self.constants.get(node.right.id)
            if exponent == 0:
                return ast.Constant(1.0)
            if exponent in (1, 2):
                node.right = ast.Constant(int(exponent))
            if exponent == -1:
                return ast.BinOp(ast.Constant(1.0), ast.Div(), node.left)
            if exponent == 3:
                return ast.Call(ast.Name("cubed_"), [node.left], [])
        return node


def _may_fail(text: str) -> bool:
    # Whether Python's floats may raise an error there. Sums and products never do.
    for node in ast.walk(ast.parse(text, mode="eval")):
        if isinstance(node, (ast.Div, ast.FloorDiv, ast.Mod, ast.Pow)):
            return True
        if isinstance(node, ast.Call) and not (
            isinstance(node.func, ast.Name) and node.func.id in ("abs", "max", "min")
        ):
            return True
    return False


def _dependencies(text: str, rule: Rule) -> Iterator[tuple[str, str]]:
    # The functions that a text calls and Numba does not know: helpers, and other rules.
    nodes = list(ast.walk(ast.parse(text, mode="eval")))
    assigned = {node.target.id for node in nodes if isinstance(node, ast.NamedExpr)}
    for node in nodes:
        if not isinstance(node, ast.Name) or node.id in {*rule.constants, *rule.names, *assigned}:
            continue
        name = node.id
        if name in HELPERS:
            yield name, f"@njit(error_model='numpy')\n{HELPERS[name]}"
        elif name in RULES and FLOATS.get(name) is not vars(math).get(name):
            other = RULES[name]
            if other.variadic or other.constants:
                raise UnsupportedError(f"the rule {rule.name!r} can't be compiled: its text calls {name!r}")
            yield from _dependencies(other.value, other)
            yield name, _function(name, other.operands, other.value)
        elif name not in vars(math) and name not in ("abs", "max", "min", "float", "int", "bool", "round", "pow"):
            raise UnsupportedError(f"the rule {rule.name!r} can't be compiled: its text uses {name!r}")


def _function(name: str, operands: str, text: str) -> str:
    # Numba has no assignment expressions: they become statements. Nothing is raised where one is not needed.
    assignments = _Assignments()
    result = ast.unparse(assignments.visit(ast.parse(text, mode="eval")))
    lines = [f"def {name}({operands}):", *assignments.statements, f"return {result}"]
    return "@njit(error_model='numpy')\n" + "\n    ".join(lines)


class _Assignments(ast.NodeTransformer):
    def __init__(self) -> None:
        self.statements: list[str] = []

    def visit_NamedExpr(self, node: ast.NamedExpr) -> ast.AST:
        self.generic_visit(node)
        if any(statement.startswith(f"{node.target.id} = ") for statement in self.statements):
            raise UnsupportedError(f"a compiled text assigns to {node.target.id!r} twice: take another name")
        self.statements.append(f"{node.target.id} = {ast.unparse(node.value)}")
        return ast.Name(node.target.id)


def _literal(x: Any) -> str:
    if not isinstance(x, (bool, int, float)):
        raise UnsupportedError(f"a constant of a compiled rule is a number, not {type(x).__name__} {x!r}")
    return repr(x) if not isinstance(x, float) or math.isfinite(x) else f"float({str(x)!r})"


def instruction(key: str | Rule, *operands: int | npt.NDArray[Any]) -> Whole:
    """An instruction: the address of its compiled function, its length, and its operands.

    Args:
        key: one of the fixed ones by name, or a rule.
        operands: whole numbers; or arrays, which are given by their address and have to be kept.
    """
    return assembled([(key, [x if isinstance(x, int) else address_of(x) for x in operands])])


def assembled(instructions: Iterable[tuple[str | Rule, Sequence[int]]]) -> Whole:
    """The code of several instructions, given by their keys and operands."""
    addresses: dict[str | Rule, int] = {}
    code: list[int] = []
    for key, operands in instructions:
        address = addresses.get(key)
        if address is None:
            address = addresses[key] = _address(key)
        code += (address, len(operands) + 2, *operands)
    return np.array(code, dtype=np.int64)


def bound(one: Whole, v: npt.NDArray[Any], u: npt.NDArray[Any], g: npt.NDArray[Any], lanes: int) -> Callable[[], None]:
    """A call of an instruction with these rows, numbers and sums: all have to be kept."""
    return partial(_FUNCTION(int(one[0])), *map(address_of, (v, u, g, one[2:])), lanes)


def run(one: Whole, v: npt.NDArray[Any], u: npt.NDArray[Any], g: npt.NDArray[Any], lanes: int) -> int:
    """Runs an instruction, and gives what its first operand has become."""
    bound(one, v, u, g, lanes)()
    return int(one[2])


def address_of(array: npt.NDArray[Any]) -> int:
    """Where compiled code finds an array, which has to be kept."""
    assert array.flags.c_contiguous, "compiled code goes through an array from end to end"
    assert array.itemsize == 8, f"compiled code reads float64 and int64, not {array.dtype}"
    return array.ctypes.data


def _address(key: str | Rule) -> int:
    if isinstance(key, str):
        return _fixed(key)
    return int(_compiled(HEAD.format(cache="{cache}", fastmath=False) + elementwise(key)).address)


@cache
def _fixed(name: str) -> int:
    head, text = ("", FIXED[name]) if name in FIXED else (LOOP_HEAD, LOOPS[name])
    source = f"{head}\n@cfunc(types.void(f8, f8, f8, i8, types.int64), **settings)\ndef run(v, u, g, c, n):{text}"
    fastmath = FASTMATH.get(name, False)
    return int(_compiled(HEAD.format(cache="{cache}", fastmath=fastmath) + source).address)


@cache
def _compiled(source: str) -> Any:
    return _module(source).run


def _module(source: str) -> Any:
    # Numba keeps the machine code beside the file that the source is in: so it has to be in one.
    needed_numba()
    name = f"micrograd_{hashlib.sha256(source.encode()).hexdigest()[:24]}"
    text = source.replace("{cache}", "True")
    for _ in range(2):
        try:
            path = _folder() / f"{name}.py"
            if not path.exists() or path.read_bytes() != text.encode():
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                partial = path.with_name(f"{name}.{os.getpid()}")
                partial.write_text(text, encoding="utf-8")
                partial.replace(path)
            spec = importlib.util.spec_from_file_location(name, path)
            module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
            sys.modules[name] = module
            spec.loader.exec_module(module)  # type: ignore[union-attr]
            return module
        except (OSError, RuntimeError):  # there is no place to keep it
            break
        except (EOFError, ValueError, pickle.PickleError):  # what is kept is damaged
            for kept in path.parent.glob(f"__pycache__/{name}.*"):
                kept.unlink(missing_ok=True)
    module = type(sys)(name)
    exec(compile(source.replace("{cache}", "False"), f"<{name}>", "exec"), vars(module))
    return module


def _folder() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path("~", ".cache")
    return Path(home).expanduser() / "micrograd"


@cache
def limits() -> Any:
    """Plain loops, to compare with: ``copy(times, a, b)`` and ``multiply_add(times, a, b)``."""
    return _module(HEAD.format(cache="{cache}", fastmath=False) + LIMITS)
