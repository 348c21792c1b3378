"""A check as a table, as lines and as JSON; nothing here prints."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from qreg.check.records import Attempt, AttemptOutcome, CheckReport, Remark, RemarkLevel

_STYLES = {
    AttemptOutcome.WORKS: "green",
    AttemptOutcome.BLOCKED: "red",
    AttemptOutcome.UNAVAILABLE: "yellow",
}
_LEVELS = {RemarkLevel.BROKEN: "red", RemarkLevel.WARNING: "yellow", RemarkLevel.NOTE: ""}
MB = 1e6
_ALIKE = 3


def headline(report: CheckReport) -> str:
    """A one-line summary of the check."""
    state = "broken" if report.broken else "kept"
    return (
        f"{report.model} on {report.data}, engine {report.engine}: contract {state}, "
        f"{len(report.working)} of {len(report.attempts)} methods work"
    )


def contract_lines(report: CheckReport) -> tuple[Text, ...]:
    """The remarks on the model, each with what to do."""
    return tuple(line for remark in report.contract for line in _remark_lines(remark))


def methods_table(report: CheckReport) -> Table:
    """A row per method."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for header in ("method", "outcome"):
        table.add_column(header, no_wrap=True)
    table.add_column("layer (source)", overflow="fold")
    table.add_column("operator", no_wrap=True)
    for header in ("weights\nMB", "of them\nfloat", "s"):
        table.add_column(header, justify="right")
    for one in report.attempts:
        table.add_row(*_row(one))
    return table


def _row(one: Attempt) -> tuple[Text | str, ...]:
    sizes = ("", "")
    if one.outcome is AttemptOutcome.WORKS:
        share = one.float_bytes / one.weight_bytes if one.weight_bytes else 0.0
        sizes = (f"{one.weight_bytes / MB:.3f}", f"{share:.0%}")
    outcome = Text(one.outcome.value, style=_STYLES[one.outcome])
    return one.method, outcome, one.where, one.operator, *sizes, f"{one.seconds:.1f}"


def attempt_lines(report: CheckReport) -> tuple[Text, ...]:
    """Why methods are blocked and what to do, and remarks on those that work."""
    lines: list[Text] = []
    broken = " ".join(remark.text for remark in report.contract if remark.check == "runs")
    alike = [one for one in report.attempts if one.reason and one.reason in broken]
    if len(alike) > 1 and len(alike) == len(report.attempts):
        return (Text("each method: the same, for the same reason"),)
    for one in report.attempts:
        if one.outcome is not AttemptOutcome.WORKS:
            lines.append(Text(f"{one.method}: {one.reason}", style=_STYLES[one.outcome]))
            lines += [Text(f"  {one.advice}")] if one.advice else []
        lines += _grouped(one)
    return tuple(lines)


def _grouped(one: Attempt) -> Iterator[Text]:
    """The remarks on a method; of many of one kind the first few, all are in the JSON."""
    kinds: dict[tuple[str, RemarkLevel, str], list[Remark]] = {}
    for remark in one.remarks:
        kinds.setdefault((remark.check, remark.level, remark.advice), []).append(remark)
    for alike in kinds.values():
        *others, last = alike[:_ALIKE]
        for remark in others:
            yield from _remark_lines(replace(remark, advice=""), of=one.method)
        yield from _remark_lines(last, of=one.method)
        if len(alike) > _ALIKE:
            more = len(alike) - _ALIKE
            yield Text(f"  {more} more of the kind (all: --json)", style=_LEVELS[last.level])


def _remark_lines(remark: Remark, *, of: str = "") -> Iterator[Text]:
    where = f"{remark.where}: " if remark.where and remark.where not in remark.text else ""
    prefix = f"{of}: " if of else ""
    style = _LEVELS[remark.level]
    yield Text(f"{prefix}{remark.level.value}: {where}{remark.text}", style=style)
    if remark.advice:
        yield Text(f"  {remark.advice}")


def report_text(report: CheckReport) -> str:
    """The report as JSON."""
    return json.dumps(report_record(report), indent=2, ensure_ascii=False) + "\n"


def report_record(report: CheckReport) -> dict[str, Any]:
    """The report as plain values, as `qreg check --json` writes them."""
    return {
        "model": report.model,
        "engine": report.engine,
        "data": report.data,
        "contract": [_remark(remark) for remark in report.contract],
        "methods": [_method(one) for one in report.attempts],
    }


def _remark(remark: Remark) -> dict[str, str]:
    return {
        "check": remark.check,
        "level": remark.level.value,
        "where": remark.where,
        "text": remark.text,
        "advice": remark.advice,
    }


def _method(one: Attempt) -> dict[str, Any]:
    return {
        "method": one.method,
        "outcome": one.outcome.value,
        "where": one.where,
        "operator": one.operator,
        "reason": one.reason,
        "advice": one.advice,
        "weight_bytes": one.weight_bytes,
        "float_bytes": one.float_bytes,
        "seconds": one.seconds,
        "remarks": [_remark(remark) for remark in one.remarks],
        "traceback": one.traceback,
    }
