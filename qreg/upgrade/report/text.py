"""The upgrade report for a terminal and as JSON; never prints."""

from __future__ import annotations

from dataclasses import asdict

from rich.box import SIMPLE_HEAD
from rich.table import Table

from qreg.report.json_text import enveloped
from qreg.upgrade.records import UpgradeReport
from qreg.upgrade.report.sections import sections
from qreg.upgrade.report.words import LEGEND, header, headline, other_reasons, rows, title

#: 1: format, qreg, created, and a report as in qreg.upgrade.records.
FORMAT = 1


def opening_lines(report: UpgradeReport) -> tuple[str, ...]:
    """The verdict, what was compared, and further reasons."""
    return headline(report), title(report), *(f"- {text}" for text in other_reasons(report))


def upgrade_table(report: UpgradeReport) -> Table:
    """A row per case, the worst first."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for number, name in enumerate(header(report)):
        table.add_column(name, justify="right" if number > 5 else "left")
    for row in rows(report):
        table.add_row(*row)
    return table


def closing_lines(report: UpgradeReport) -> tuple[str, ...]:
    """The details, section by section."""
    lines = [LEGEND, ""]
    for section in sections(report):
        lines += [section.title, *(f"  {line}" for line in section.lines), ""]
    return tuple(lines)


def upgrade_text(report: UpgradeReport, *, created: str) -> str:
    """The whole report as JSON, keys sorted. `created` is an ISO 8601 time."""
    return enveloped(asdict(report), number=FORMAT, created=created)
