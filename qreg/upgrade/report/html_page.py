"""The upgrade report as one self-contained HTML page; never prints."""

from __future__ import annotations

from qreg.report.simple_page import Details, PageTable, Row, simple_page
from qreg.upgrade.records import UpgradeLevel, UpgradeReport
from qreg.upgrade.report.sections import sections
from qreg.upgrade.report.words import LEGEND, SHORT, header, headline, other_reasons, rows, title

TONES = {UpgradeLevel.SAFE: "good", UpgradeLevel.DIFFERENT: "warn", UpgradeLevel.UNSAFE: "bad"}
_OPENED = ("Cases", "Evidence")


def upgrade_html(report: UpgradeReport, *, created: str) -> str:
    """The whole page; `created` is an ISO 8601 time."""
    body = tuple(Row(tuple(cells), _tone(cells[1])) for cells in rows(report))
    return simple_page(
        title=title(report),
        created=created,
        tone=TONES[report.level],
        headline=headline(report),
        points=other_reasons(report),
        tables=[PageTable("Cases", header(report), body, LEGEND)],
        sections=[Details(s.title, s.lines, s.title in _OPENED) for s in sections(report)],
    )


def _tone(verdict: str) -> str:
    tones = (tone for level, tone in TONES.items() if verdict.startswith(SHORT[level]))
    return next(tones, "")
