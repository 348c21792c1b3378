"""Baselines and proposed changes as tables for the terminal."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from qreg.baselines.changes import Proposal
from qreg.checks.speed_up import expected, is_detectable, lowest, spread, times
from qreg.checks.tolerances import PROMISE_LEVEL
from qreg.records.baseline import Approval, Baseline, Promise, Snapshot
from qreg.records.case import Environment
from qreg.records.numerics import EQUAL_DB, Layer, Quantizer
from qreg.records.verdict import Outcome
from qreg.records.weights import parse_weights
from qreg.report.score import number

_STYLES = {Outcome.REGRESSED: "red", Outcome.ERROR: "red", Outcome.IMPROVED: "green"}


def baseline_parts(
    baselines: Sequence[Baseline], promises: Sequence[Promise] = ()
) -> tuple[RenderableType, ...]:
    """The baselines of one case: approvals, figures and layers for each environment.

    Then the promised speed-up, for each environment in which it was measured.
    """
    count = len(baselines)
    title = f"{baselines[0].snapshot.case}, {count} environment{'' if count == 1 else 's'}"
    parts: list[RenderableType] = [Text(title, style="bold")]
    for baseline in baselines:
        found = baseline.snapshot
        parts += [_environment(found.environment), _approvals(baseline.history)]
        parts += [*map(Text, _figures(found)), _layers(found.numerics.layers)]
    return (*parts, *_promised(promises))


def _promised(promises: Sequence[Promise]) -> list[RenderableType]:
    if not promises:
        return [Text("\nno speed-up recorded, so none is promised")]
    # imports scipy: only where needed
    from qreg.report.baseline import promise_text

    parts: list[RenderableType] = []
    for one in promises:
        parts += [_environment(one.environment), Text(promise_text(one)), _approvals(one.history)]
    return parts


def changes_table(changes: Sequence[Proposal], *, applied: bool) -> Table:
    """A row per change, by category."""
    table = _table("applied" if applied else "proposed", "category", "case", "verdict")
    scored = any(change.observed and change.observed.score for change in changes)
    for header in ("score" if scored else "accuracy %", "why"):
        table.add_column(header, overflow="fold")
    order = sorted(changes, key=lambda c: (c.category.value, str(c.case), str(c.orphan)))
    for change in order:
        name = str(change.case) if change.case else f".../{change.orphan and change.orphan.name}"
        outcome = change.verdict.outcome if change.verdict else None
        verdict = Text(outcome.value, style=_STYLES.get(outcome, "")) if outcome else ""
        table.add_row(change.category.value, name, verdict, _accuracy(change), change.reason)
    return table


def change_notes(changes: Sequence[Proposal], *, unchanged: int, applied: bool) -> tuple[str, ...]:
    """Numbers of changes by category, and the next command."""
    counts = Counter(change.category.value for change in changes)
    found = ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "no changes"
    lines = [f"{found}; {unchanged} unchanged."]
    if changes and not applied:
        lines.append(
            "Approve with: qreg baseline update --reason TEXT, and CASES or --category A,B,..."
        )
    if any(change.regressed for change in changes) and not applied:
        lines.append("A REGRESSED case must be named: --accept-regression CASE.")
    return tuple(lines)


def _table(title: str, *headers: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    for header in headers:
        table.add_column(header, no_wrap=True)
    return table


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.2f}" if whole else "-"


def _quality(snapshot: Snapshot) -> str:
    """Accuracy in percent, or the summary of a task's scores with its name."""
    if snapshot.score is not None:
        value = number(snapshot.score.value, snapshot.score.unit)
        return f"{snapshot.score.summary} {value} {snapshot.score.unit}".strip()
    return _percent(snapshot.correct, len(snapshot.predictions))


def _accuracy(change: Proposal) -> str:
    if change.observed is None:
        return ""
    now = _quality(change.observed)
    return now if change.baseline is None else f"{_quality(change.baseline.snapshot)} -> {now}"


def _environment(where: Environment) -> Text:
    parts = (
        f"torch {where.torch}, torchvision {where.torchvision or 'absent'}, python {where.python}",
        f"{where.system} {where.arch}, {where.cpu or 'unknown CPU'}",
        f"{where.cpu_capability} {'with' if where.vnni else 'without'} VNNI",
        f"{where.threads} thread{'' if where.threads == 1 else 's'}",
        *where.limits,
    )
    return Text(f"\n{'; '.join(parts)}", style="bold")


def _approvals(history: Sequence[Approval]) -> Table:
    table = _table("approvals, the latest last", "date", "commit", "qreg")
    for header in ("reason", "replaced"):
        table.add_column(header, overflow="fold")
    for one in history:
        dirty = "-dirty" if one.commit.endswith("-dirty") else ""
        commit = f"{one.commit[:10]}{dirty}" or "-"
        table.add_row(one.date, commit, one.qreg, one.reason, _replaced(one))
    return table


def _replaced(approval: Approval) -> str:
    old = approval.replaced
    if old is None:
        return "-"
    if not old.correct and not old.new_correct:
        moved = f"{old.flips} of {old.total} scores moved"
        return f"{moved}, p {old.p_value:.2g}: {old.outcome.value}"
    then, now = _percent(old.correct, old.total), _percent(old.new_correct, old.total)
    return (
        f"{then} % (now {now} %) of {old.total}, {old.flips} flips, "
        f"p {old.p_value:.2g}: {old.outcome.value}"
    )


def _figures(snapshot: Snapshot) -> tuple[str, ...]:
    total, numerics = len(snapshot.predictions), snapshot.numerics
    return (
        _quality(snapshot)
        if snapshot.score
        else f"accuracy {_percent(snapshot.correct, total)} % ({snapshot.correct} of {total}), "
        f"{len(numerics.disagreements)} samples predicted differently from fp32",
        f"file {snapshot.size.file_bytes:,} bytes, weights {snapshot.size.weight_bytes:,} bytes",
        f"operators: {', '.join(f'{one.name} {one.count}' for one in numerics.operators)}",
        f"weights: {parse_weights(snapshot.checkpoint)}",
        f"calibrated on {len(snapshot.calibration)} samples, {len(snapshot.warnings)} warnings, "
        f"logits of {numerics.logits.count} samples",
    )


def _layers(layers: Sequence[Layer]) -> Table:
    table = _table("layers, in execution order", "layer", "kind", "weight", "output")
    table.add_column("SQNR dB", justify="right")
    for layer in layers:
        sqnr = "" if layer.sqnr_db is None else f"{layer.sqnr_db:.2f}"
        shown = "equal" if layer.sqnr_db == EQUAL_DB else sqnr
        weight, output = _quantizer(layer.weight), _quantizer(layer.output)
        table.add_row(layer.name, layer.kind, weight, output, shown)
    return table


def _quantizer(quantizer: Quantizer | None) -> str:
    if quantizer is None:
        return "-"
    if len(quantizer.scales) > 1:
        return f"{quantizer.dtype} {len(quantizer.scales)} channels"
    return f"{quantizer.dtype} {quantizer.scales[0]:.4g}, {quantizer.zero_points[0]}"


def promises_table(promises: Sequence[Promise]) -> Table:
    """A row per case: its speed-up over fp32, and the promised one."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("case")
    table.add_column("batch", justify="right")
    for header in ("speed-up", "lowest..highest", "spread %", "promised: here", "elsewhere"):
        table.add_column(header, justify="right")
    for one in sorted(promises, key=lambda p: str(p.case)):
        low, high = min(one.log_speed_ups), max(one.log_speed_ups)
        limits = [times(lowest(one, exact=exact, alpha=PROMISE_LEVEL)) for exact in (True, False)]
        table.add_row(
            str(one.case),
            str(one.batch),
            times(expected(one)),
            f"{times(low)}..{times(high)}",
            f"{math.expm1(spread(one)) * 100:.0f}",
            *(limits if is_detectable(one) else ("none", "none")),
        )
    return table


def promise_text(promise: Promise) -> str:
    """The promise as a sentence."""
    low, high = min(promise.log_speed_ups), max(promise.log_speed_ups)
    measured = (
        f"{times(expected(promise))} as fast as fp32 at batch {promise.batch}, {times(low)} to "
        f"{times(high)} in {len(promise.log_speed_ups)} fresh processes"
    )
    if not is_detectable(promise):
        return f"no speed-up is promised: {measured}; a float fallback would not be detectable"
    here, there = (lowest(promise, exact=exact, alpha=PROMISE_LEVEL) for exact in (True, False))
    return f"promised speed-up: {measured}; at least {times(here)} here, {times(there)} elsewhere"
