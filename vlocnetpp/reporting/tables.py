"""A table in three forms: rich on a terminal, aligned text in a pipe, Markdown in a report."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np


class Table(NamedTuple):
    """Cells may be text or numbers; numbers are shown with three significant digits, None and NaN as a dash."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Show a table on standard output: with rich on a terminal where it is installed, otherwise as aligned text."""
    if not sys.stdout.isatty() or find_spec("rich") is None:
        print(plain_table(title, columns, rows), flush=True)
        return
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    table = RichTable(title=Text(title), title_justify="left")
    for column, right in zip(columns, _right_aligned(columns, rows), strict=True):
        table.add_column(Text(column), justify="right" if right else "left")
    for row in rows:
        # As Text, so that a cell such as "[best]" is not read as markup.
        table.add_row(*(Text(format_cell(cell)) for cell in row))
    Console().print(table)


def plain_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """The table as aligned lines, numbers to the right."""
    cells = [list(columns), *([format_cell(cell) for cell in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    right = _right_aligned(columns, rows)
    lines = [
        "  ".join(cell.rjust(w) if r else cell.ljust(w) for cell, w, r in zip(row, widths, right, strict=True)).rstrip()
        for row in cells
    ]
    return "\n".join([title, "-" * max([len(title), *map(len, lines)]), *lines])


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """The table as GitHub-flavoured Markdown."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    rule = "|" + "|".join("---:" if right else "---" for right in _right_aligned(columns, rows)) + "|"
    return "\n".join([line(columns), rule, *(line([format_cell(cell) for cell in row]) for row in rows)])


def format_cell(cell: Any) -> str:
    """Text as it is, whole numbers whole, others with three significant digits and never with an exponent."""
    if cell is None:
        return "-"
    if isinstance(cell, (bool, np.bool_)):
        return "yes" if cell else "no"
    if isinstance(cell, (float, np.floating)):
        value = float(cell)
        if math.isnan(value):
            return "-"
        if math.isinf(value):
            return "inf" if value > 0 else "-inf"
        if value == 0:
            return "0"
        decimals = min(max(2 - math.floor(math.log10(abs(value))), 0), 6)
        return f"{value:.{decimals}f}"
    return str(cell)


def _right_aligned(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[bool]:
    """A column of numbers goes to the right; anything with a text in it to the left."""

    def is_number(cell: Any) -> bool:
        return cell is None or (isinstance(cell, (int, float, np.number)) and not isinstance(cell, bool))

    return [bool(rows) and all(is_number(row[i]) for row in rows) for i in range(len(columns))]
