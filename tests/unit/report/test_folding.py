"""Tables on narrow terminals, and without colours."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.table import Table
from rich.text import Text

from qreg.report.folding import folded


def _table() -> Table:
    table = Table(title="a title", pad_edge=False)
    table.add_column("method", no_wrap=True)
    for header in ("accuracy %", "vs fp32", "file\nMB", "ms/sample"):
        table.add_column(header, justify="right")
    table.add_row("fp32", "64.20\n63.1..65.0", "", "2.612", "0.661")
    table.add_row("static", "63.20\n62.1..64.0", "-1.00\n-2.5..+0.5", "0.675", "0.606")
    return table


def _printed(width: int) -> str:
    console = Console(width=width, file=io.StringIO(), markup=False)
    for part in folded(_table(), console):
        console.print(part)
    return console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [120, 50, 40, 30, 24])
def test_no_number_is_cut(width: int) -> None:
    text = _printed(width)
    assert "…" not in text
    for cell in ("63.1..65.0", "-2.5..+0.5", "2.612", "0.606", "accuracy %"):
        assert cell in text
    assert max(map(len, text.splitlines())) <= width
    assert text.count("a title") == 1


def test_what_fits_is_one_table_and_each_part_names_its_rows() -> None:
    assert _printed(120).count("static") == 1
    assert _printed(30).count("static") > 1


def test_colours_are_only_where_they_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table()
    table.add_column("change")
    table.add_row(Text("-1.00", style="red"))

    def printed() -> str:
        console = Console(
            width=40, file=io.StringIO(), force_terminal=True, color_system="standard"
        )
        for part in folded(table, console):
            console.print(part)
        return console.file.getvalue()  # type: ignore[attr-defined]

    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[31m" in printed()
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[31m" not in printed()
