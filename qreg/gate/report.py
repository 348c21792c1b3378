"""Verdicts as text, each with its findings and the command to run next."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, astuple
from typing import Any

from qreg.checks.score import amount, step
from qreg.records.budget import BudgetOutcome
from qreg.records.decode import plain
from qreg.records.verdict import (
    AccuracyChange,
    Check,
    Finding,
    MovedImage,
    Outcome,
    ScoreChange,
    Verdict,
)
from qreg.report.escape import visible
from qreg.stats.holm import PROMISES_ALPHA

_FLIPS = 8  # number of flips to list


def headline(verdict: Verdict) -> str:
    """One line: outcome, case, accuracy."""
    accuracy = f"  {accuracy_text(verdict.accuracy)}" if verdict.accuracy else ""
    score = f"  {score_text(verdict.score)}" if verdict.score else ""
    return f"{verdict.outcome.value:<12} {verdict.case}{accuracy}{score}"


def score_text(change: ScoreChange) -> str:
    """A task's summary, its change with its interval, and the smallest detectable change."""
    least = step(change, change.detectable).lstrip("+")
    return (
        f"{change.summary} {amount(change, change.expected)} -> {amount(change, change.observed)} "
        f"({step(change, change.change)}, {step(change, change.low)} to "
        f"{step(change, change.high)}; detectable {least}) of {change.total}"
    )


def accuracy_text(change: AccuracyChange) -> str:
    """Accuracy, its change with its interval, and the smallest detectable drop."""
    return (
        f"{change.expected / change.total * 100:.2f} -> "
        f"{change.observed / change.total * 100:.2f} % ({change.change * 100:+.2f}, "
        f"{change.low * 100:+.2f} to {change.high * 100:+.2f}; "
        f"detectable {change.detectable * 100:.2f}) of {change.total}"
    )


def verdict_lines(verdict: Verdict, *, traceback: bool = False) -> tuple[str, ...]:
    """The full report of a case that did not simply pass."""
    lines = [headline(verdict)]
    if verdict.basis:
        lines.append(f"  {verdict.basis.reason}")
    if verdict.weights:
        lines.append(f"  weights: {verdict.weights}")
    lines += [f"  {line}" for finding in verdict.findings for line in finding_lines(finding)]
    lines += [f"  {note}" for note in (*verdict.notes, *verdict.data_notes)]
    if verdict.moved:
        lines.append(f"  {_moved_text(verdict.moved)}")
    if traceback:
        lines += [f"  | {line}" for line in verdict.details.rstrip().splitlines()]
    if command := next_command(verdict):
        lines.append(f"  next: {command}")
    return tuple(map(visible, lines))


def short_lines(verdict: Verdict) -> tuple[str, ...]:
    """A short report: the case, the checks with findings, the first diverging layer, and the next
    command.
    """
    checks = ", ".join(dict.fromkeys(finding.check.value for finding in verdict.findings))
    # of an ERROR the reason, which comes first; else the layer, which comes last
    notes = verdict.notes[:1] if verdict.outcome is Outcome.ERROR else verdict.notes[-1:]
    lines = [headline(verdict), f"  found by: {checks}" if checks else "", *notes]
    lines += [f"next: {command}"] if (command := next_command(verdict)) else []
    return tuple(map(visible, (lines[0], *(f"  {line.strip()}" for line in lines[1:] if line))))


def verdict_record(verdict: Verdict) -> dict[str, Any]:
    """The verdict as plain values, to pass from the judging to the reporting process."""
    return {
        "case": str(verdict.case),
        "outcome": verdict.outcome.value,
        "exact": verdict.basis.exact if verdict.basis else None,
        "reason": verdict.basis.reason if verdict.basis else "",
        "weights": verdict.weights,
        **_detectable(verdict),
        "p_values": list(verdict.p_values),
        "promise": asdict(verdict.promise) if verdict.promise else None,
        "data_notes": list(verdict.data_notes),
        "budget": plain(verdict.budget),
        "known_failure": None,
        "unchanged": verdict.unchanged,
        "checks": sorted({finding.check.value for finding in verdict.findings}),
        "moved": [list(astuple(image)) for image in verdict.moved],
        "short": list(short_lines(verdict)),
        "lines": list(verdict_lines(verdict)),
        "traceback": verdict.details,
    }


def junit_properties(verdict: Verdict) -> list[tuple[str, object]]:
    """What JUnit's XML says of a case, by name: see docs/ci.md."""
    accuracy, score = verdict.accuracy, verdict.score
    found: dict[str, object] = {"outcome": verdict.outcome.value, "layer": verdict.layer}
    if accuracy:
        found["expected"] = accuracy.expected / accuracy.total
        found["observed"] = accuracy.observed / accuracy.total
    elif score:
        found |= {"expected": score.expected, "observed": score.observed}
    found["detectable"] = _detectable(verdict)["detectable"]
    found["flips"] = len(verdict.moved)
    if verdict.promise:
        found["speed_up"] = round(math.exp(verdict.promise.observed), 4)
    return [(f"qreg_{name}", value) for name, value in found.items() if value not in (None, "")]


def _detectable(verdict: Verdict) -> dict[str, Any]:
    """The smallest detectable change for the worse, of what, and its unit."""
    score = verdict.score
    if verdict.accuracy or score is None:
        found = verdict.accuracy.detectable if verdict.accuracy else None
        return {"detectable": found, "judged_by": "accuracy drop", "unit": "%"}
    worse = f"{score.summary} {'drop' if score.higher_is_better else 'rise'}"
    return {"detectable": score.detectable, "judged_by": worse, "unit": score.unit}


def next_command(verdict: Verdict) -> str:
    """The command to run after this verdict."""
    case = verdict.case
    if verdict.outcome is Outcome.NO_BASELINE:
        return f'qreg baseline update --reason "first baseline" {case}'
    if verdict.outcome is Outcome.ERROR:
        return f"pytest -m regression {selection(verdict)}"
    if verdict.outcome is Outcome.INCONCLUSIVE:
        return f"pytest -m regression --qreg-full {selection(verdict)}"
    checks = {finding.check for finding in verdict.findings}
    if checks == {Check.BUDGET} and verdict.outcome is Outcome.REGRESSED:
        return (
            f"qreg compare --budget --model {case.model} --dataset {case.dataset} "
            f"--methods {case.method} --engine {case.engine}"
        )
    if checks == {Check.SPEED_UP}:
        return f"qreg speed check . . --against fp32 --cases {case}"
    return f"qreg baseline diff {case}" if verdict.outcome is not Outcome.PASS else ""


def selection(verdict: Verdict) -> str:
    """The pytest options that select only this case."""
    case = verdict.case
    return (
        f"--qreg-dataset {case.dataset} --qreg-model {case.model} "
        f"--qreg-method {case.method} --qreg-engine {case.engine}"
    )


def summary_line(outcomes: Sequence[str], skipped: int) -> str:
    """The number of cases by outcome, the worst first."""
    counts = Counter(outcomes)
    order = sorted(Outcome, key=lambda outcome: -outcome.severity)
    parts = [f"{counts[o.value]} {o.value}" for o in order if counts[o.value]]
    parts += [f"{skipped} skipped"] if skipped else []
    return f"{len(outcomes) + skipped} cases: {', '.join(parts)}"


def promise_line(records: Sequence[dict[str, Any]]) -> str:
    """How many cases keep their promised speed-up over fp32, and how many have no promise."""
    promised = [r["promise"] for r in records if r["promise"]]
    again = sum(p["looks"] > 1 for p in promised)
    kept = sum(Check.SPEED_UP.value not in r["checks"] for r in records if r["promise"])
    return (
        f"promised speed-up over fp32: kept by {kept} of {len(promised)} cases ({again} measured "
        f"more than once; probability of any false alarm: below {PROMISES_ALPHA:.1%}); no promise "
        f"for {len(records) - len(promised)}"
    )


def budget_line(records: Sequence[dict[str, Any]]) -> str:
    """How many limits are kept, broken and not shown, in how many cases; "" without a budget."""
    counts = Counter(one["result"] for record in records for one in record["budget"])
    if not counts:
        return ""
    cases = sum(bool(record["budget"]) for record in records)
    found = ", ".join(
        f"{counts[one.value]} {one.value}" for one in BudgetOutcome if counts[one.value]
    )
    return f"budget: {found}, of {sum(counts.values())} limits in {cases} cases (bounds at 95 %)"


def finding_lines(finding: Finding) -> list[str]:
    """A finding: check, outcome, location and p-value; then expected, observed and allowed."""
    where = f": {finding.where}" if finding.where else ""
    chance = f" (p = {finding.p_value:.2g})" if finding.p_value is not None else ""
    return [
        f"{finding.check.value} {finding.outcome.value}{where}{chance}",
        f"    expected {finding.expected}",
        f"    observed {finding.observed}",
        f"    allowed  {finding.allowed}",
    ]


def _moved_text(moved: Sequence[MovedImage]) -> str:
    shown = ", ".join(_flip(flip) for flip in moved[:_FLIPS])
    more = f" and {len(moved) - _FLIPS} more" if len(moved) > _FLIPS else ""
    return f"{len(moved)} samples flipped (index: class -> class, margins): {shown}{more}"


def _flip(flip: MovedImage) -> str:
    margins = ""
    if flip.expected_margin is not None and flip.observed_margin is not None:
        margins = f" ({flip.expected_margin:.2g}, {flip.observed_margin:.2g})"
    return f"{flip.index}: {flip.expected} -> {flip.observed}{margins}"
