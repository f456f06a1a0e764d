"""What was found wrong with a ``Value`` class: a :class:`Diagnosis`, which prints as a sentence."""

from __future__ import annotations

import json
import math
import traceback
from dataclasses import dataclass
from pathlib import Path

from ..arguments import one_line
from .expression import Expression

__all__ = ["KINDS", "Diagnosis", "describe"]

_PACKAGE = str(Path(__file__).parents[1])

KINDS = {
    "right": "nothing is wrong with it",
    "overwritten": "gradients of a node that is used twice are not added",
    "visited twice": "a node that is used twice hands its gradient on more than once",
    "order": "a node hands its gradient on before all of it has arrived",
    "left over": "gradients of an earlier call of backward() are counted in",
    "seed": "the gradient of the root, on which backward() is called, is not 1",
    "upstream": "the local gradient is not multiplied by the gradient of the operation's result",
    "local gradient": "the local gradient of an operation is wrong",
    "value": "the value of an operation is wrong",
    "operator": "an operator is missing or fails",
    "changes data": "backward() changes data",
    "crash": "it fails",
}
"""Every kind of a :class:`Diagnosis`, with what it means."""


@dataclass(frozen=True)
class Diagnosis:
    """What is wrong with a ``Value`` class. It prints as a sentence.

    Attributes:
        kind: one of :data:`KINDS`.
        operation: the operation at fault, such as ``"*"`` or ``"tanh"``; empty if it is not the fault of one.
        counterexample: a graph of at most four nodes that shows the fault; None if nothing is wrong, or if not even a
            graph can be made.
        expected: the number that should have come out; None where no number is wrong.
        got: the number that came out.
        notes: what is limited but not wrong.
        detail: where it goes wrong, in a sentence.
    """

    kind: str
    operation: str = ""
    counterexample: Expression | None = None
    expected: float | None = None
    got: float | None = None
    notes: tuple[str, ...] = ()
    detail: str = ""

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return self.kind == "right"

    def to_json(self) -> str:
        """The diagnosis as JSON: the attributes, the sentence, and the counterexample as Python source.

        >>> json.loads(Diagnosis("right").to_json())["ok"]
        True
        """
        fields = {
            "ok": self.ok,
            "kind": self.kind,
            "operation": self.operation,
            "counterexample": self.counterexample and str(self.counterexample),
            "expected": self.expected,
            "got": self.got,
            "notes": self.notes,
            "sentence": str(self),
        }
        # JSON has no nan and no infinity
        return json.dumps(
            {k: str(x) if isinstance(x, float) and not math.isfinite(x) else x for k, x in fields.items()}
        )

    def __str__(self) -> str:
        of = f" of {self.operation}" if self.operation else ""
        lines = [f"{self.kind}{of}: {KINDS[self.kind]}.", self.detail, *[f"Note: {note}." for note in self.notes]]
        return " ".join(line for line in lines if line)


def describe(error: BaseException) -> str:
    """An error in one line, with the line of code outside this package that raised it."""
    try:
        text = one_line(str(error), 200)
    except Exception:  # its class may be of somebody's making, too
        text = ""
    place = ""
    for frame in traceback.extract_tb(error.__traceback__):
        if not frame.filename.startswith((_PACKAGE, "<frozen")):
            place = f" (line {frame.lineno} of {Path(frame.filename).name})"
    return f"{type(error).__name__}{f': {text}' * bool(text)}{place}"
