"""Tables folded to a terminal's width: columns that do not fit go into further tables."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

from rich.console import Console
from rich.measure import Measurement
from rich.table import Column, Table


def folded(table: Table, console: Console) -> tuple[Table, ...]:
    """The table if it fits; else several tables that do, each with its first column.

    No number is cut: where one column alone is too wide, it wraps.
    """
    if _needs(table, table.columns, console) <= console.width or len(table.columns) < 2:
        return (table,)
    first, rest = table.columns[0], list(table.columns[1:])
    parts: list[list[Column]] = [[]]
    for column in rest:
        if parts[-1] and _needs(table, [first, *parts[-1], column], console) > console.width:
            parts.append([])
        parts[-1].append(column)
    return tuple(_part(table, [first, *part], top=n == 0) for n, part in enumerate(parts))


def _needs(table: Table, columns: Sequence[Column], console: Console) -> int:
    """The width that shows every cell on its own lines."""
    options = console.options.update(width=10_000)
    return Measurement.get(console, options, _part(table, columns, top=False)).maximum


def _part(table: Table, columns: Sequence[Column], *, top: bool) -> Table:
    part = Table(
        title=table.title if top else None,
        title_justify=table.title_justify,
        title_style=table.title_style,
        box=table.box,
        pad_edge=table.pad_edge,
        collapse_padding=table.collapse_padding,
    )
    for number, column in enumerate(columns):
        made = copy(column)
        made._index = number
        made.overflow = "fold"
        part.columns.append(made)
    part.rows.extend(table.rows)
    return part
