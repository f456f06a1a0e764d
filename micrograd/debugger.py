"""A debugger for backpropagation, like pdb: it steps through the backward pass, forwards and backwards.

One step is one application of the chain rule. A node's name is a variable of the caller, its label, or its place in the
topological order, ``%3``. The commands are named as in pdb where pdb has them; ``help`` lists them.

>>> from io import StringIO
>>> from micrograd import Value
>>> x, w, b = Value(2.0, label="x"), Value(-3.0, label="w"), Value(7.0, label="b")
>>> y = (w * x + b).tanh()
>>> debug(y, names=locals(), stdin=StringIO("next\\nback\\nbreak w\\ncontinue\\nwhere\\nquit\\n"))
A backward pass of 5 steps from y = 0.761594. help lists the commands.
next: y = tanh(%4)
(micrograd) next
y = tanh(%4): ∂y/∂%4 = tanh_slope(%4) = 0.419974; times y.grad, 1, is 0.419974; %4.grad: 0 → 0.419974
next: %4 = %2 + b, by %2
(micrograd) back
took back y = tanh(%4): %4.grad is 0 again
next: y = tanh(%4)
(micrograd) break w
stops at w
(micrograd) continue
%2 = w * x: ∂%2/∂w = x = 2; times %2.grad, 0.419974, is 0.839949; w.grad: 0 → 0.839949
stopped at w
next: %2 = w * x, by x
(micrograd) where
y = tanh(%4)      ∂y/∂%4 = tanh_slope(%4)   0.419974
%4 = %2 + b       ∂%4/∂%2 = 1                1
%2 = w * x        ∂%2/∂w = x                 2
multiplied out: ∂y/∂w = 0.839949
(micrograd) quit
"""

from __future__ import annotations

import cmd
import math
import re
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TextIO

from .arguments import check_type
from .engine import Value
from .stepping import BackwardPass, BackwardStep, contributions, forward_steps, local_formula, write_expression
from .tables import lay_out

__all__ = ["Debugger", "debug"]

_SHORT = {"n": "next", "b": "back", "c": "continue", "l": "list", "w": "where", "q": "quit", "h": "help"}


def debug(
    loss: Value, names: Mapping[str, Any] | None = None, stdin: TextIO | None = None, stdout: TextIO | None = None
) -> None:
    """Steps through the backward pass of a loss, at a prompt.

    At the end the gradients are those of the steps that were taken, added to the previous gradients of the leaves.

    Args:
        loss: the Value to differentiate.
        names: variables that name nodes, like ``locals()``.
        stdin: a file with commands, one per line; the default is the terminal.
        stdout: a file for the answers; the default is the standard output.

    Raises:
        TypeError: if ``loss`` is not a Value.

    >>> from io import StringIO
    >>> x = Value(2.0, label="x")
    >>> debug(x * 3, stdin=StringIO("quit\\n"))
    A backward pass of 2 steps from %2 = 6. help lists the commands.
    next: %2 = x * %1, by x
    (micrograd) quit
    """
    check_type(loss, Value, "debug() takes Values")
    debugger = Debugger(loss, names, stdin, stdout)
    try:
        debugger.cmdloop()
    finally:
        debugger.walk.close()


class Debugger(cmd.Cmd):
    """The prompt. Each method ``do_…`` is a command; its docstring is the command's help.

    >>> from io import StringIO
    >>> from tempfile import TemporaryDirectory
    >>> x, w = Value(2.0, label="x"), Value(-0.5, label="w")
    >>> y = (w * x).tanh() * x
    >>> commands = ["next 2", "p x", "why x", "list", "back", "break w", "break if |grad| > 1", "break", "continue"]
    >>> commands += ["clear", "where w", "continue", "why x", "graph {}/now.svg", "forward", "help why", "quit"]
    >>> with TemporaryDirectory() as folder:
    ...     debug(y, {"y": y}, stdin=StringIO("\\n".join(commands).format(folder)))
    A backward pass of 5 steps from y = -1.52319. help lists the commands.
    next: y = %3 * x, by %3
    (micrograd) next 2
    y = %3 * x: ∂y/∂%3 = x = 2; times y.grad, 1, is 2; %3.grad: 0 → 2
    y = %3 * x: ∂y/∂x = %3 = -0.761594; times y.grad, 1, is -0.761594; x.grad: 0 → -0.761594
    next: %3 = tanh(%2)
    (micrograd) p x
    x  data 2.0  grad -0.7615941559557649
    (micrograd) why x
    from y = %3 * x   -0.761594 × 1   = -0.761594
    x.grad = -0.761594; 1 of its 2 parts are still to come
    (micrograd) list
      ┌ y = %3 * x  data -1.52319  grad 1
    → %3 = tanh(%2)  data -0.761594  grad 2
      └ %2 = w * x  data -1  grad 0
        ├ w  data -0.5  grad 0
        └ x  data 2  grad -0.761594
    (micrograd) back
    took back y = %3 * x: x.grad is 0 again
    next: y = %3 * x, by x
    (micrograd) break w
    stops at w
    (micrograd) break if |grad| > 1
    stops at if |grad| > 1
    (micrograd) break
    stops at w
    stops at if |grad| > 1
    (micrograd) continue
    %2 = w * x: ∂%2/∂w = x = 2; times %2.grad, 0.839949, is 1.6799; w.grad: 0 → 1.6799
    stopped at w, if |grad| > 1
    next: %2 = w * x, by x
    (micrograd) clear
    no longer stops at w
    no longer stops at if |grad| > 1
    (micrograd) where w
    y = %3 * x      ∂y/∂%3 = x                 2
    %3 = tanh(%2)   ∂%3/∂%2 = tanh_slope(%2)   0.419974
    %2 = w * x      ∂%2/∂w = x                 2
    multiplied out: ∂y/∂w = 1.6799
    (micrograd) continue
    the pass is complete: all gradients are those of backward()
    (micrograd) why x
    from y = %3 * x   -0.761594 × 1     = -0.761594
    from %2 = w * x   -0.5 × 0.839949   = -0.419974
    x.grad = -1.18157
    (micrograd) graph ...
    drew ...now.svg
    (micrograd) forward
    %2 = w * x = -1
    %3 = tanh(%2) = -0.761594
    y = %3 * x = -1.52319
    next: y = %3 * x, by %3
    (micrograd) help why
    why NODE: its gradient as the sum of what its children handed it so far.
    (micrograd) quit
    """

    prompt = "(micrograd) "

    def __init__(
        self, loss: Value, names: Mapping[str, Any] | None, stdin: TextIO | None, stdout: TextIO | None
    ) -> None:
        super().__init__(stdin=stdin, stdout=stdout)
        self.use_rawinput = stdin is None
        self.echo = stdin is not None or not sys.stdin.isatty()
        self.walk = BackwardPass(loss, names)
        self.names = self.walk.names
        self.nodes = {name: node for node, name in self.names.items()}
        self.nodes.update({f"%{i}": node for i, node in enumerate(self.names)})
        self.children: dict[Value, list[tuple[Value, int]]] = {node: [] for node in self.names}
        for node, i in self.walk.edges:
            self.children[node.parents[i]].append((node, i))
        self.breakpoints: dict[str, Callable[[BackwardStep], bool]] = {}

    # The loop.

    def preloop(self) -> None:
        """Prints the first lines of the session."""
        count, root = len(self.walk.edges), self.walk.root
        self._say(
            f"A backward pass of {count} steps from {self.names[root]} = {root.data:.6g}. help lists the commands."
        )
        self._say_next()

    def precmd(self, line: str) -> str:
        """Prints a command that was not typed, so that the output looks like a typed session."""
        if self.echo:
            self._say(line.rstrip() if line != "EOF" else "")
        return line

    def onecmd(self, line: str) -> bool:
        """Runs a command. If it fails, prints the error, and the session continues."""
        word, _, argument = line.strip().partition(" ")
        try:
            return super().onecmd(f"{_SHORT.get(word, word)} {argument}".strip())
        except (LookupError, ArithmeticError, ValueError, OSError, ImportError) as error:
            self._say(f"*** {error.args[-1] if isinstance(error, LookupError) else error}")
            return False

    def default(self, line: str) -> None:
        """Prints that a command is unknown."""
        raise LookupError(f"there is no command {line.split()[0]!r}; help lists them")

    def emptyline(self) -> bool:
        """Repeats the last command, as pdb does."""
        return self.onecmd(self.lastcmd) if self.lastcmd else False

    def _say(self, text: object) -> None:
        print(text, file=self.stdout)

    def _say_next(self) -> None:
        if len(self.walk.done) == len(self.walk.edges):
            self._say("the pass is complete: all gradients are those of backward()")
            return
        node, i = self.walk.edges[len(self.walk.done)]
        operand = f", by {self.names[node.parents[i]]}" if len(node.parents) > 1 else ""
        self._say(f"next: {self.names[node]} = {write_expression(node, self.names)}{operand}")

    # The steps.

    def do_next(self, argument: str) -> None:
        """n(ext) [COUNT]: takes a step, or several."""
        for _ in range(_count(argument)):
            if len(self.walk.done) == len(self.walk.edges):
                break
            self._say(self.walk.forth())
        self._say_next()

    def do_back(self, argument: str) -> None:
        """b(ack) [COUNT]: takes the last step back, or several: gradients return to what they were."""
        for _ in range(_count(argument)):
            if not self.walk.done:
                self._say("this is the beginning of the pass")
                break
            step = self.walk.back()
            name = self.names[step.parent]
            self._say(
                f"took back {self.names[step.node]} = {write_expression(step.node, self.names)}: "
                f"{name}.grad is {step.before:.6g} again"
            )
        self._say_next()

    def do_continue(self, argument: str) -> None:
        """c(ontinue): goes on to the next breakpoint, or to the end."""
        while len(self.walk.done) < len(self.walk.edges):
            step = self.walk.forth()
            reasons = [name for name, stops in self.breakpoints.items() if stops(step)]
            if reasons:
                self._say(step)
                self._say(f"stopped at {', '.join(reasons)}")
                break
        self._say_next()

    def do_break(self, argument: str) -> None:
        """break [NODE | if not finite | if |grad| > NUMBER]: where continue stops; alone, lists these places.

        At a node: as soon as its own gradient is complete; at a leaf, whenever its gradient changes.
        """
        if not argument:
            self._say("\n".join(f"stops at {name}" for name in self.breakpoints) or "there are no breakpoints")
            return
        if argument.startswith("if ") or argument == "if":
            stops = _condition(argument[2:].strip())
        else:
            node = self._node(argument)
            argument = self.names[node]

            def stops(step: BackwardStep) -> bool:
                if not node.parents:
                    return step.parent is node
                done = len(self.walk.done)
                coming = self.walk.edges[done][0] if done < len(self.walk.edges) else None
                return coming is node and step.node is not node

        self.breakpoints[argument] = stops
        self._say(f"stops at {argument}")

    def do_clear(self, argument: str) -> None:
        """clear [NODE | if COND]: takes a breakpoint away, or all of them."""
        name = self.names[self._node(argument)] if argument and not argument.startswith("if") else argument
        if name and name not in self.breakpoints:
            raise LookupError(f"there is no breakpoint {name!r}; break lists them")
        for known in [name] if name else list(self.breakpoints):
            del self.breakpoints[known]
            self._say(f"no longer stops at {known}")

    def do_forward(self, argument: str) -> None:
        """forward: runs the forward pass again with the present data of the leaves, and restarts the backward pass."""
        for step in forward_steps(self.walk.root):
            self._say(f"{self.names[step.node]} = {write_expression(step.node, self.names)} = {step.value:.6g}")
        self.walk.clear()
        self._say_next()

    # Looking around.

    def do_p(self, argument: str) -> None:
        """p NODE: shows a node: operation, data, gradient so far, operands."""
        node = self._node(argument)
        made = f" = {write_expression(node, self.names)}" if node.parents else ""
        self._say(f"{self.names[node]}{made}  data {node.data!r}  grad {node.grad!r}")

    def do_list(self, argument: str) -> None:
        """l(ist) [NODE]: the neighbourhood of a node, or of where we are, as a tree: children above, operands below."""
        node = self._node(argument) if argument else self._here()
        for child, _ in self.children[node]:
            self._say(f"  ┌ {self._row(child)}")
        self._say(f"→ {self._row(node)}")
        for i, parent in enumerate(node.parents):
            last = i == len(node.parents) - 1
            self._say(f"  {'└' if last else '├'} {self._row(parent)}")
            for j, above in enumerate(parent.parents):
                rail, corner = " " if last else "│", "└" if j == len(parent.parents) - 1 else "├"
                self._say(f"  {rail} {corner} {self._row(above)}")

    def do_where(self, argument: str) -> None:
        """w(here) [NODE]: the chain-rule factors on the way from the loss to a node, or to here, multiplied out."""
        target = self._node(argument) if argument else self._find_last()
        path = self._path(target)
        if not path:
            self._say(f"{self.names[target]} is the root: its gradient is 1")
            return
        rows, product = [], 1.0
        for node, i in path:
            local = contributions(node)[i]
            product *= local
            slope = f"∂{self.names[node]}/∂{self.names[node.parents[i]]} = {local_formula(node, i, self.names)}"
            rows.append((f"{self.names[node]} = {write_expression(node, self.names)}", slope, f"{local:.6g}"))
        self._say_table(rows)
        partly = " along this path; why sums up all" if self._branches(target) else ""
        self._say(f"multiplied out: ∂{self.names[self.walk.root]}/∂{self.names[target]} = {product:.6g}{partly}")

    def do_why(self, argument: str) -> None:
        """why NODE: its gradient as the sum of what its children handed it so far."""
        node = self._node(argument)
        name = self.names[node]
        if node is self.walk.root:
            self._say(f"{name}.grad = 1: the pass begins here")
            return
        steps = [step for step in self.walk.done if step.parent is node]
        self._say_table(
            [
                (
                    f"from {self.names[step.node]} = {write_expression(step.node, self.names)}",
                    f"{step.local:.6g} × {step.upstream:.6g}",
                    f"= {step.contribution:.6g}",
                )
                for step in steps
            ]
        )
        coming = len(self.children[node]) - len(steps)
        more = f"; {coming} of its {len(self.children[node])} parts are still to come" if coming else ""
        self._say(f"{name}.grad = {node.grad:.6g}{more}")

    def do_graph(self, argument: str) -> None:
        """graph FILE: draws this moment into a file, with the current node lit: .svg, .png, .pdf or .dot."""
        if not argument:
            raise ValueError("graph needs the name of a file: graph now.svg")
        from .drawing import draw  # imported when it is first needed

        variables = {name: node for name, node in self.nodes.items() if not name.startswith("%")}
        draw(self.walk.root, names=variables, highlight=self._here()).save(argument)
        self._say(f"drew {argument}")

    def do_quit(self, argument: str) -> bool:
        """q(uit): ends the session."""
        return True

    do_EOF = do_quit  # noqa: N815  # the end of the input

    def do_help(self, arg: str) -> None:
        """h(elp) [COMMAND]: lists the commands, or explains one."""
        arg = _SHORT.get(arg, arg)
        commands = sorted({name for name in self.get_names() if name.startswith("do_")} - {"do_EOF"})
        texts = {name[3:]: getattr(self, name).__doc__ or "" for name in commands}
        if arg and arg not in texts:
            raise LookupError(f"there is no command {arg!r}; help lists them")
        for name, text in texts.items():
            if not arg or name == arg:
                lines = [line.strip() for line in text.splitlines()]
                self._say("\n".join(lines if arg else lines[:1]).rstrip())

    def completedefault(self, text: str, line: str, begidx: int, endidx: int) -> list[str]:
        """Completes the names of nodes."""
        return sorted(name for name in self.nodes if name.startswith(line[begidx:endidx]))

    complete_p = complete_break = complete_list = complete_where = complete_why = complete_clear = completedefault

    def _node(self, name: str) -> Value:
        if name not in self.nodes:
            known = ", ".join(list(self.names.values())[:20])
            raise LookupError(f"there is no node {name!r}; there are {known}{', …' if len(self.names) > 20 else ''}")
        return self.nodes[name]

    def _here(self) -> Value:
        # The node of the next step; at the end, the node that received a gradient last.
        done = len(self.walk.done)
        return self.walk.edges[done][0] if done < len(self.walk.edges) else self._find_last()

    def _find_last(self) -> Value:
        return self.walk.done[-1].parent if self.walk.done else self.walk.root

    def _row(self, node: Value) -> str:
        made = f" = {write_expression(node, self.names)}" if node.parents else ""
        return f"{self.names[node]}{made}  data {node.data:.6g}  grad {node.grad:.6g}"

    def _say_table(self, rows: list[tuple[str, str, str]]) -> None:
        if rows:
            self._say(lay_out(rows, gap=3))

    def _path(self, target: Value) -> list[tuple[Value, int]]:
        # A shortest path from the root to the target.
        way: dict[Value, tuple[Value, int]] = {}
        found = deque([target])
        while found and self.walk.root not in way:
            node = found.popleft()
            for child, i in self.children[node]:
                if child not in way:
                    way[child] = (node, i)
                    found.append(child)
        path: list[tuple[Value, int]] = []
        node = self.walk.root
        while node is not target:
            below, i = way[node]
            path.append((node, i))
            node = below
        return path

    def _branches(self, target: Value) -> bool:
        return any(len(self.children[node]) > 1 for node in self._above(target))

    def _above(self, target: Value) -> Iterator[Value]:
        seen, found = {target}, [target]
        for node in found:
            yield node
            new = [child for child, _ in self.children[node] if child not in seen]
            seen.update(new)
            found.extend(new)


def _count(argument: str) -> int:
    if not argument:
        return 1
    if not argument.isdigit():
        raise ValueError(f"a number of steps, not {argument!r}")
    return int(argument)


def _condition(text: str) -> Callable[[BackwardStep], bool]:
    if text in ("not finite", "nonfinite"):
        return lambda step: not math.isfinite(step.after)
    match = re.fullmatch(r"(?:\|grad\||abs\(grad\)|grad)\s*>\s*(\S+)", text)
    try:
        bound = float(match[1]) if match else math.nan
    except ValueError:
        bound = math.nan
    if math.isnan(bound):
        raise ValueError(f"no condition {text!r}: write 'if not finite' or 'if |grad| > 100'")
    return lambda step: abs(step.after) > bound
