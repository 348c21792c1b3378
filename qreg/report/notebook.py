"""Verdicts, measurements and comparisons in a notebook: small, and in its own colours."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from qreg.gate.report import next_command
from qreg.records.comparison import Comparison
from qreg.records.measurement import Measurement
from qreg.records.verdict import Outcome, Verdict
from qreg.report.charts import short
from qreg.report.comparison import comparison_notes, comparison_table
from qreg.report.escape import visible
from qreg.report.simple_page import page_table

_COLOURS = {Outcome.PASS: "#17663a", Outcome.IMPROVED: "#0b57a4"}
_UNCLEAR = (Outcome.INCONCLUSIVE, Outcome.NO_BASELINE)
_CELL = "text-align: left; vertical-align: top; white-space: pre-line"
# Rows of findings; the whole report is on the page and in the terminal.
_FINDINGS = 12


def verdict_html(verdict: Verdict) -> str:
    """The outcome, the figures, the first diverging layer, the findings and the next command."""
    from qreg.report.gate_page import interval, quality

    usual = "#805300" if verdict.outcome in _UNCLEAR else "#b3261e"
    colour = _COLOURS.get(verdict.outcome, usual)
    facts = [quality(verdict), interval(verdict)]
    facts += [f"first diverging layer: {verdict.layer}"] if verdict.layer else []
    facts += [f"{len(verdict.moved)} samples flipped"] if verdict.moved else []
    rows = [
        (f"{one.check.value} {one.outcome.value}", one.where, one.expected, one.observed)
        for one in verdict.findings[:_FINDINGS]
    ]
    found = Markup(
        '<div><p><b style="color: #fff; background: {}; padding: 1px 8px; border-radius: 9px">{}'
        "</b> <b>{}</b></p>{}{}{}</div>"
    ).format(
        colour,
        verdict.outcome.value,
        short(str(verdict.case), 300),
        _list([fact for fact in facts if fact]),
        _table(("check", "where", "expected", "observed"), rows) if rows else "",
        _code(next_command(verdict)),
    )
    return visible(str(found))


def comparison_html(results: Comparison) -> str:
    """The table and notes of `qreg compare`."""
    table = page_table(comparison_table(results))
    rows = [row.cells for row in table.rows]
    found = Markup("<div><p><b>{}</b></p>{}{}</div>").format(
        table.title, _table(table.header, rows), _list(comparison_notes(results))
    )
    return visible(str(found))


def measurement_html(one: Measurement) -> str:
    """The row of `qreg compare` of one case."""
    table = page_table(comparison_table((one,)))
    rows = [row.cells for row in table.rows]
    found = Markup("<div>{}</div>").format(_table(table.header, rows))
    return visible(str(found))


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    head = Markup("").join(Markup('<th style="{}">{}</th>').format(_CELL, one) for one in header)
    body = Markup("").join(
        Markup("<tr>{}</tr>").format(
            Markup("").join(Markup('<td style="{}">{}</td>').format(_CELL, one) for one in row)
        )
        for row in rows
    )
    return Markup("<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>").format(head, body)


def _list(lines: Sequence[str]) -> Markup:
    items = Markup("").join(Markup("<li>{}</li>").format(line) for line in lines)
    return Markup("<ul>{}</ul>").format(items) if lines else Markup("")


def _code(text: str) -> Markup:
    return Markup("<p><code>{}</code></p>").format(text) if text else Markup("")
