"""The upgrade report as one self-contained HTML page; never prints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from qreg import __version__
from qreg.report.escape import html as escape
from qreg.upgrade.records import Level, UpgradeReport
from qreg.upgrade.report.sections import Section, sections
from qreg.upgrade.report.words import LEGEND, SHORT, header, headline, other_reasons, rows, title

_COLOURS = {Level.SAFE: "#1a7f37", Level.DIFFERENT: "#9a6700", Level.UNSAFE: "#cf222e"}
_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.3rem; font-weight: 600; margin: 0 0 .8rem }
.verdict { border-left: 6px solid var(--level); background: var(--soft); padding: .8rem 1rem;
  border-radius: 4px; font-size: 1.1rem; font-weight: 600 }
.verdict ul { font-size: .95rem; font-weight: 400; margin: .5rem 0 0; padding-left: 1.2rem }
.wide { overflow-x: auto; margin: 1.5rem 0 }
table { border-collapse: collapse; font-size: .88rem; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .4rem .7rem; white-space: pre-line;
  border-bottom: 1px solid var(--line); font-variant-numeric: tabular-nums }
th { font-weight: 600; white-space: pre }
td:first-child { font-family: ui-monospace, monospace; white-space: nowrap }
.dot::before { content: "\\25CF"; color: var(--dot); margin-right: .4rem }
details { border: 1px solid var(--line); border-radius: 4px; margin: .6rem 0; padding: .4rem 1rem }
summary { cursor: pointer; font-weight: 600 }
.line { margin: .45rem 0 0; overflow-wrap: anywhere }
.deeper { margin: 0 0 0 1.5rem; font: .85rem/1.5 ui-monospace, monospace; overflow-wrap: anywhere;
  white-space: pre-wrap; opacity: .8 }
.legend { font-size: .82rem; opacity: .75 }
footer { margin-top: 2rem; font-size: .85rem; opacity: .7 }
"""


def upgrade_html(report: UpgradeReport, *, created: str) -> str:
    """The whole page; `created` is an ISO 8601 time."""
    name = escape(title(report))
    parts = [
        "<!doctype html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{name}</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<style>{_STYLE}</style></head><body><h1>{name}</h1>",
        *_verdict(report),
        *_table(header(report), rows(report)),
        *(part for section in sections(report) for part in _section(section)),
        f"<footer>qreg {__version__}, {escape(created)}</footer></body></html>",
    ]
    return "\n".join(parts) + "\n"


def _verdict(report: UpgradeReport) -> Iterator[str]:
    yield f'<div class="verdict" style="--level: {_COLOURS[report.level]}">'
    yield escape(headline(report))
    reasons = other_reasons(report)
    if reasons:
        yield f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in reasons)}</ul>"
    yield "</div>"


def _table(names: Sequence[str], body: Sequence[Sequence[str]]) -> Iterator[str]:
    yield '<div class="wide"><table><thead><tr>'
    yield "".join(f"<th>{escape(cell)}</th>" for cell in names)
    yield "</tr></thead><tbody>"
    for row in body:
        yield f"<tr>{''.join(_cell(number, cell) for number, cell in enumerate(row))}</tr>"
    yield f"</tbody></table><p class=legend>{escape(LEGEND)}</p></div>"


def _cell(number: int, text: str) -> str:
    colour = next((c for level, c in _COLOURS.items() if text.startswith(SHORT[level])), "")
    if number != 1 or not colour:
        return f"<td>{escape(text)}</td>"
    return f'<td class="dot" style="--dot: {colour}">{escape(text)}</td>'


def _section(section: Section) -> Iterator[str]:
    opened = " open" if section.title in ("Cases", "Evidence") else ""
    yield f"<details{opened}><summary>{escape(section.title)}</summary>"
    for line in section.lines:
        kind = "deeper" if line.startswith(" ") else "line"
        yield f'<p class="{kind}">{escape(line.removeprefix("  "))}</p>'
    yield "</details>"
