"""Text tables: rows of cells, in columns that line up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["lay_out"]


def lay_out(rows: Iterable[Sequence[str]], gap: int = 2, right: Iterable[int] = ()) -> str:
    """Lays rows out as lines of text; each column is as wide as its widest cell.

    Args:
        rows: the cells; all rows have the same number of cells.
        gap: the number of spaces between two columns.
        right: the columns, counted from 0, that are aligned to the right, like numbers.

    >>> print(lay_out([("name", "count"), ("a", "7")], right=[1]))
    name  count
    a         7
    """
    rows, right = list(rows), set(right)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        (" " * gap).join(f"{cell:{'>' if i in right else '<'}{widths[i]}}" for i, cell in enumerate(row))
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)
