"""The page of the history: one small chart a case, with change points, commits, environments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from markupsafe import Markup

from qreg.history.changes import score_changes, size_changes, why_no_changes
from qreg.history.records import GateEntry
from qreg.history.report import short_commit
from qreg.records.case import Case, Environment
from qreg.report.charts import Trend, TrendPoint, trend_chart
from qreg.report.gate_page import TONES
from qreg.report.page import render
from qreg.report.score import number
from qreg.speed.records import HistoryEntry


def history_page(
    gate: Mapping[Case, Sequence[GateEntry]],
    speed: Mapping[Case, Sequence[HistoryEntry]],
    *,
    created: str,
) -> str:
    """The whole page.

    Args:
        gate, speed: the entries of each case, in order; a case may be in either.
    """
    cases = sorted({*gate, *speed}, key=lambda case: (_order(gate.get(case, ())), str(case)))
    runs = len({one.time for entries in gate.values() for one in entries})
    worst = [case for case in cases if gate.get(case) and gate[case][-1].outcome.fails]
    return render(
        "history.html",
        title="qreg: history",
        created=created,
        tone="bad" if worst else "good",
        headline=f"{len(worst)} of {len(cases)} cases fail in their last run"
        if worst
        else f"{len(cases)} cases, {runs} runs",
        cases=[_case(n, one, gate.get(one, ()), speed.get(one, ())) for n, one in enumerate(cases)],
        outcomes=sorted({entries[-1].outcome.value for entries in gate.values() if entries}),
        models=sorted({case.model for case in cases}),
        methods=sorted({case.method for case in cases}),
        note=why_no_changes(),
    )


def _order(entries: Sequence[GateEntry]) -> int:
    return -entries[-1].outcome.severity if entries else 0


def _case(
    position: int, case: Case, gate: Sequence[GateEntry], speed: Sequence[HistoryEntry]
) -> dict[str, Any]:
    last = gate[-1] if gate else None
    charts = [chart for chart in (_scores(case, gate), _speeds(case, speed)) if chart]
    return {
        "number": position,
        "case": case,
        "name": str(case),
        "outcome": last.outcome.value if last else "",
        "tone": TONES[last.outcome] if last else "info",
        "facts": _facts(gate),
        "charts": charts,
        "rows": [_row(one) for one in reversed(gate[-30:])],
    }


def _facts(gate: Sequence[GateEntry]) -> str:
    if not gate:
        return "speed only"
    last, first = gate[-1], gate[0]
    parts = [f"{len(gate)} runs since {first.time[:10]}"]
    if last.value is not None:
        parts.append(f"{last.measure} {number(last.value, last.unit)} {last.unit}".strip())
    if last.file_bytes is not None:
        parts.append(f"{last.file_bytes / 1e6:.3f} MB")
    if changed := size_changes(gate):
        parts.append(f"size changed {len(changed)} times")
    return ", ".join(parts)


def _scores(case: Case, gate: Sequence[GateEntry]) -> Markup:
    kept = [one for one in gate if one.value is not None]
    if not kept:
        return Markup("")
    factor = 100 if kept[-1].unit == "%" else 1
    previous = [kept[0], *kept[:-1]]
    points = [
        TrendPoint((one.value or 0.0) * factor, _said(one, old), TONES[one.outcome],
                   marked=one.environment != old.environment)
        for one, old in zip(kept, previous, strict=True)
    ]  # fmt: skip
    unit = f"{kept[-1].measure} {kept[-1].unit}".strip()
    ends = (kept[0].time[:10], kept[-1].time[:10])
    return trend_chart(Trend(f"{unit} of {case}", unit, tuple(points), score_changes(kept), ends))


def _said(one: GateEntry, previous: GateEntry) -> str:
    value = "" if one.value is None else f"{number(one.value, one.unit)} {one.unit}".strip()
    size = "" if one.file_bytes is None else f"{one.file_bytes / 1e6:.3f} MB"
    parts = [f"{one.time[:16]} {short_commit(one.commit)}", one.outcome.value, value, size]
    if one.environment:
        parts.append(environment_text(one.environment, previous.environment))
    return "; ".join(filter(None, parts))


def environment_text(environment: Environment, previous: Environment | None) -> str:
    """The environment in short; what changed since the previous one, if anything did."""
    vnni = " with VNNI" if environment.vnni else ""
    text = f"torch {environment.torch}, {environment.cpu_capability}{vnni}"
    if previous is None or previous == environment:
        return text
    changed = [
        f"{one.name} {getattr(previous, one.name)} → {getattr(environment, one.name)}"
        for one in fields(Environment)
        if getattr(previous, one.name) != getattr(environment, one.name)
    ]
    return f"{text}; environment changed: {', '.join(changed)}"


def _speeds(case: Case, speed: Sequence[HistoryEntry]) -> Markup:
    if not speed:
        return Markup("")
    from qreg.errors import UnavailableError
    from qreg.speed.history.change_points import change_points

    try:
        starts = change_points([one.change for one in speed])
    except UnavailableError:
        starts = ()
    points = [
        TrendPoint(one.change * 100, f"{one.time[:16]} {short_commit(one.commit)}: "
                   f"{one.change * 100:+.2f} % ({one.low * 100:+.2f} to {one.high * 100:+.2f}); "
                   f"{environment_text(one.environment, None)}", "info")
        for one in speed
    ]  # fmt: skip
    what = "slowdown from the reference, %"
    ends = (speed[0].time[:10], speed[-1].time[:10])
    return trend_chart(Trend(f"{what}, of {case}", what, tuple(points), starts, ends))


def _row(one: GateEntry) -> dict[str, str]:
    return {
        "time": one.time[:16].replace("T", " "),
        "commit": short_commit(one.commit),
        "outcome": one.outcome.value,
        "tone": TONES[one.outcome],
        "value": "" if one.value is None else number(one.value, one.unit),
        "size": "" if one.file_bytes is None else f"{one.file_bytes:,}",
        "layer": one.layer,
        "environment": environment_text(one.environment, None) if one.environment else "",
    }
