"""Pages of a verdict, tables, charts and folded details: of speed, sensitivity, upgrades."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup
from rich.table import Table as RichTable

from qreg.report.page import render


@dataclass(frozen=True)
class Row:
    """A row of a table; its style marks the second cell, "" for none."""

    cells: tuple[str, ...]
    tone: str = ""


@dataclass(frozen=True)
class PageTable:
    """A table; `note` explains its columns."""

    title: str
    header: tuple[str, ...]
    rows: tuple[Row, ...]
    note: str = ""


@dataclass(frozen=True)
class Chart:
    """A chart with its heading, and a sentence on how to read it."""

    title: str
    picture: Markup
    note: str = ""


@dataclass(frozen=True)
class Details:
    """Folded lines; those indented by two blanks belong to the line above."""

    title: str
    lines: tuple[str, ...]
    opened: bool = False


def simple_page(
    *,
    title: str,
    created: str,
    tone: str,
    headline: str,
    points: Sequence[str] = (),
    charts: Sequence[Chart] = (),
    tables: Sequence[PageTable] = (),
    sections: Sequence[Details] = (),
) -> str:
    """The whole page.

    Args:
        tone: "good", "info", "warn" or "bad".
        points: below the headline.
    """
    return render(
        "simple.html",
        title=title,
        created=created,
        tone=tone,
        headline=headline,
        points=points,
        charts=charts,
        tables=tables,
        sections=sections,
    )


def page_table(table: RichTable, *, tones: Sequence[str] = (), note: str = "") -> PageTable:
    """The same table as in the terminal; `tones` are of its rows, in their order."""
    columns = [[str(cell) for cell in column.cells] for column in table.columns]
    rows = list(zip(*columns, strict=True))
    styles = [*tones, *[""] * (len(rows) - len(tones))]
    return PageTable(
        title=str(table.title or ""),
        header=tuple(str(column.header) for column in table.columns),
        rows=tuple(Row(tuple(cells), tone) for cells, tone in zip(rows, styles, strict=True)),
        note=note,
    )
