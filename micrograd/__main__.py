"""The command line: prints the values and the gradients of an expression.

micrograd "tanh(x1*w1 + x2*w2 + b)" x1=2 x2=0 w1=-3 w2=1 b=6.88

It has two more commands: ``micrograd diagnose FILE`` says what is wrong with somebody's engine, ``micrograd exercise``
asks for the gradients of a random graph. ``python -m micrograd`` is the same as ``micrograd``.
"""

from __future__ import annotations

import argparse
import ast
import operator
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from . import __version__
from .arguments import one_line, to_float
from .engine import Number, Value, lift
from .naming import name_nodes
from .rules import RULES, VALUES
from .stepping import write_expression
from .tables import lay_out

_OPERATORS: dict[type[ast.operator], tuple[str, Callable[[Any, Any], Any]]] = {
    ast.Add: ("+", operator.add),
    ast.Sub: ("-", operator.sub),
    ast.Mult: ("*", operator.mul),
    ast.Div: ("/", operator.truediv),
    ast.Pow: ("**", operator.pow),
}
_CONSTANTS = {name: value for name, value in VALUES.items() if isinstance(value, float)}


def parse(source: str) -> ast.expr:
    """Parses an expression, which may contain only numbers, names and operations of the table.

    Raises:
        ValueError: if it contains anything else.
    """
    try:
        tree = ast.parse(source.strip(), mode="eval").body
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"'{one_line(source)}' is not an expression: {getattr(error, 'msg', error)}") from None
    except (RecursionError, MemoryError):
        raise ValueError("the expression is nested too deeply") from None
    unread: list[ast.expr] = [tree]
    for node in unread:
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            unread += [node.left, node.right]
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
            unread.append(node.operand)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            name = node.func.id
            if name not in RULES:
                known = ", ".join(
                    name for name in RULES if name.isidentifier() and not name.endswith(("_slope", "_curvature"))
                )
                raise ValueError(f"there is no function {name!r}; there are {known}")
            if any(keyword.arg not in RULES[name].constants for keyword in node.keywords):
                raise ValueError(f"{name}() has the constants {', '.join(RULES[name].constants) or 'none'}")
            unread += [*node.args, *(keyword.value for keyword in node.keywords)]
        elif not (isinstance(node, ast.Name) or (isinstance(node, ast.Constant) and type(node.value) in (int, float))):
            part = one_line(ast.unparse(node))
            raise ValueError(f"'{part}' is no part of an expression of numbers, names, + - * / ** and functions")
    return tree


def evaluate(tree: ast.expr, variables: dict[str, Value]) -> Number:
    """Evaluates a parsed expression: to a Value if it contains a variable, otherwise to a number."""
    if isinstance(tree, ast.Constant):
        return to_float(tree.value)
    if isinstance(tree, ast.Name):
        return variables[tree.id] if tree.id in variables else _CONSTANTS[tree.id]
    if isinstance(tree, ast.UnaryOp):
        operand = evaluate(tree.operand, variables)
        return -operand if isinstance(tree.op, ast.USub) else operand
    if isinstance(tree, ast.BinOp):
        name, of_values = _OPERATORS[type(tree.op)]
        operands = evaluate(tree.left, variables), evaluate(tree.right, variables)
        result: Number = (of_values if any(isinstance(x, Value) for x in operands) else RULES[name])(*operands)
        return result
    assert isinstance(tree, ast.Call)
    assert isinstance(tree.func, ast.Name)
    constants = {str(keyword.arg): evaluate(keyword.value, variables) for keyword in tree.keywords}
    for name, number in constants.items():
        if isinstance(number, Value):
            raise ValueError(f"{name} of {tree.func.id}() is a constant: give it a number")
    call: Number = RULES[tree.func.id](*[evaluate(argument, variables) for argument in tree.args], **constants)
    return call


def read_variables(texts: Sequence[str], tree: ast.expr) -> dict[str, Value]:
    """Reads leaves from texts like ``x=2``, one per name in the expression.

    Raises:
        ValueError: if a text has another form, or a name is missing, given twice, or not in the expression.
    """
    functions = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    names = {node.id: None for node in ast.walk(tree) if isinstance(node, ast.Name) and node not in functions}
    variables: dict[str, Value] = {}
    for text in texts:
        name, equals, number = text.partition("=")
        try:
            value = Value(float(number), label=name)
        except ValueError:
            value = None
        if value is None or not equals:
            raise ValueError(f"{text!r} is no variable: write name=number, like x=2")
        if name in variables:
            raise ValueError(f"{name} is given twice")
        if name not in names:
            raise ValueError(f"{name} is not in the expression")
        variables[name] = value
    missing = [name for name in names if name not in variables and name not in _CONSTANTS]
    if missing:
        raise ValueError(f"no number is given for {', '.join(missing)}: add {missing[0]}=…")
    return variables


def table(root: Value, checked: dict[str, tuple[str, str, str]] | None = None) -> str:
    """Makes a table of all nodes: operation, data, gradient and, for checked nodes, the finite difference."""
    names = name_nodes(root)
    rows = [("name", "operation", "data", "grad", *(("finite difference", "error", "verdict") if checked else ()))]
    for node, name in names.items():
        made = write_expression(node, names) if node.parents else ""
        more = checked.get(name, ("", "", "")) if checked else ()
        rows.append((name, made, f"{node.data:.10g}", f"{node.grad:.10g}", *more))
    return lay_out(rows)


def run(options: argparse.Namespace) -> None:
    """Runs the command with its parsed options."""
    tree = parse(options.expression)
    variables = read_variables(options.variables, tree)
    root = lift(evaluate(tree, variables))
    if options.steps:
        print(*root.forward_steps(), *root.steps(), sep="\n", end="\n\n")
    else:
        root.backward()
    checked = None
    if options.check:
        from .testing import gradcheck

        report = gradcheck(lambda x: lift(evaluate(tree, x)), [variables], raises=False)
        checked = {
            row.path.removeprefix("x."): (f"{row.numeric:.10g}", f"{row.error:.1e}", row.verdict) for row in report.rows
        }
    print(table(root, checked))
    if options.svg:
        from .drawing import draw

        draw(root, local_gradients=True).save(options.svg)
    if options.html:
        from .explorer import explore

        explore(root, options.html)
    if options.debug:
        from .debugger import debug

        for variable in variables.values():
            variable.grad = 0.0
        debug(root)


def run_diagnose(program: str, given: Sequence[str]) -> int:
    """Runs ``micrograd diagnose``; the exit code is 1 if something is wrong with the engine."""
    parser = argparse.ArgumentParser(
        prog=f"{program} diagnose",
        description="Says what is wrong with the class Value of a file. The file runs in a process of its own.",
        epilog="The exit code is 0 if nothing is wrong, 1 if something is, and 2 if the file can't be read.",
    )
    parser.add_argument(
        "file", metavar="FILE", help="a Python file with a class Value: data, grad, operators, backward()"
    )
    parser.add_argument("--json", action="store_true", help="print the diagnosis as JSON")
    parser.add_argument("--seconds", type=float, default=20.0, help="the limit of time (%(default)g)")
    parser.add_argument("--megabytes", type=float, default=2048.0, help="the limit of memory (%(default)g)")
    options = parser.parse_args(given)
    from .testing import diagnose_file

    found = diagnose_file(options.file, options.seconds, options.megabytes)
    print(found.to_json() if options.json else found)
    if found.counterexample is not None and not options.json:
        print(f"\n{found.counterexample}")
    return 0 if found.ok else 1


def run_exercise(program: str, given: Sequence[str]) -> int:
    """Runs ``micrograd exercise``; the exit code is 1 if an answer was wrong."""
    parser = argparse.ArgumentParser(
        prog=f"{program} exercise",
        description="Prints a small random graph, and asks for its gradients. An empty line shows the right one.",
    )
    parser.add_argument("--seed", type=int, help="the graph: the same number gives the same graph")
    options = parser.parse_args(given)
    from .testing.exercises import Exercise, practise

    return 0 if practise(Exercise.draw(options.seed), input, print) else 1


_COMMANDS = {"diagnose": run_diagnose, "exercise": run_exercise}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line, and returns the exit code."""
    is_command = Path(sys.argv[0]).stem == "micrograd"  # otherwise it runs as a module, from __main__.py
    program = "micrograd" if is_command else "python -m micrograd"
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        if given and given[0] in _COMMANDS:
            return _COMMANDS[given[0]](program, given[1:])
        return run_expression(program, given)
    except RecursionError:
        print("micrograd: the expression is nested too deeply", file=sys.stderr)
    except (ArithmeticError, ImportError, OSError, RuntimeError, TypeError, ValueError) as error:
        print(f"micrograd: {' '.join(str(error).split())}", file=sys.stderr)
    return 2


def run_expression(program: str, given: Sequence[str]) -> int:
    """Runs the command for an expression."""
    parser = argparse.ArgumentParser(
        prog=program,
        description="Prints the values and the gradients of an expression.",
        epilog=f"Two more commands: '{program} diagnose FILE' says what is wrong with somebody's engine; '{program} "
        "exercise' asks for the gradients of a random graph. Each has its own --help.",
    )
    parser.add_argument("expression", help="numbers, names, + - * / ** and the functions of micrograd.rules")
    parser.add_argument("variables", nargs="*", metavar="name=number", help="a number for each name")
    parser.add_argument("--steps", action="store_true", help="print both passes step by step")
    parser.add_argument("--check", action="store_true", help="print finite differences beside the gradients")
    parser.add_argument("--svg", metavar="FILE", help="draw the graph (.svg, .png, .pdf or .dot)")
    parser.add_argument("--html", metavar="FILE", help="write a page on which both passes can be stepped through")
    parser.add_argument("--debug", action="store_true", help="step through the backward pass at a prompt")
    parser.add_argument("--version", action="version", version=f"micrograd {__version__}")
    # All options except -h begin with two dashes. An argument that begins with one dash is an expression, like -x.
    escaped = [
        f" {text}" if text.startswith("-") and not text.startswith("--") and text != "-h" else text for text in given
    ]
    run(parser.parse_args(escaped))
    return 0


if __name__ == "__main__":
    sys.exit(main())
