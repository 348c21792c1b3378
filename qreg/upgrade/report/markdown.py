"""The upgrade report as Markdown for a pull request; never prints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from qreg.report.escape import html, markdown
from qreg.upgrade.records import UpgradeLevel, UpgradeReport
from qreg.upgrade.report.sections import Section, sections
from qreg.upgrade.report.words import LEGEND, header, headline, other_reasons, rows, title

MARKS = {UpgradeLevel.SAFE: "✅", UpgradeLevel.DIFFERENT: "🟡", UpgradeLevel.UNSAFE: "❌"}


def upgrade_markdown(report: UpgradeReport) -> str:
    """The verdict, the table, and collapsed details."""
    lines = [
        f"## {markdown(title(report))}",
        "",
        f"{MARKS[report.level]} **{markdown(headline(report))}**",
    ]
    lines += ["", *(f"- {markdown(text)}" for text in other_reasons(report)), ""]
    lines += [*table_lines(header(report), rows(report)), "", markdown(LEGEND), ""]
    for section in sections(report):
        lines += folded(section)
    return "\n".join(lines).rstrip() + "\n"


def table_lines(names: Sequence[str], body: Sequence[Sequence[str]]) -> Iterator[str]:
    """The lines of a table."""
    yield _line(names)
    yield _line(["---"] * len(names))
    yield from map(_line, body)


def _line(cells: Sequence[str]) -> str:
    texts = (markdown(cell).replace("\n", "<br>") for cell in cells)
    return f"| {' | '.join(texts)} |"


def folded(section: Section) -> Iterator[str]:
    """The lines of a section that opens on a click."""
    yield f"<details><summary>{html(section.title)}</summary>"
    yield ""
    for line in section.lines:
        depth = len(line) - len(line.lstrip())
        yield f"{' ' * depth}- {markdown(line.strip())}"
    yield ""
    yield "</details>"
