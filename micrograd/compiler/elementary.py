"""Functions of math, on vectors of floats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]

__all__ = ["emit"]

_INTRINSICS = {"fabs", "floor", "ceil", "trunc", "copysign", "rint", "sqrt"}
_NAMES = {"gamma": "tgamma"}


def emit(builder: Any, name: str, operands: Sequence[Any]) -> Any:
    """Emits a function of vectors, by its name in the module math: in each lane what it is of the lane's numbers."""
    kind, module = operands[0].type, builder.module
    if name in _INTRINSICS:
        return builder.call(_declare(module, f"llvm.{name}.v{kind.count}f64", kind, len(operands)), operands)
    function = _declare(module, _NAMES.get(name, name), kind.element, len(operands))
    result = ir.Constant(kind, ir.Undefined)
    for lane in range(kind.count):
        place = ir.Constant(ir.IntType(32), lane)
        numbers = [builder.extract_element(operand, place) for operand in operands]
        result = builder.insert_element(result, builder.call(function, numbers), place)
    return result


def _declare(module: Any, name: str, kind: Any, count: int) -> Any:
    found = module.globals.get(name)
    return found or ir.Function(module, ir.FunctionType(kind, [kind] * count), name)
