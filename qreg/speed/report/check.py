"""A speed check as a table, as text lines and as JSON; never prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from rich.box import SIMPLE_HEAD
from rich.table import Table

from qreg.records.verdict import Outcome
from qreg.report.json_text import enveloped
from qreg.speed.compare.rule import SequentialPlan
from qreg.speed.compare.verdicts import complaints
from qreg.speed.records import SideRecord, Speed, SpeedRun, SpeedVerdict

#: 1: format, qreg, created, and a run as in qreg.speed.records.
FORMAT = 1


def speed_table(run: SpeedRun) -> Table:
    """A row per case, the worst first; changes of the time per call, positive for slower."""
    table = Table(
        title=f"{run.candidate.given} against {run.baseline.given}",
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    table.add_column("case")
    table.add_column("verdict", no_wrap=True)
    for header in ("change %", "detectable\n%", "ms per call", "p50 | p95\n%", "pairs"):
        table.add_column(header, justify="right")
    for verdict in sorted(run.verdicts, key=lambda one: -one.outcome.severity):
        table.add_row(_name(verdict), _outcome(verdict), *_cells(verdict))
    return table


def speed_notes(run: SpeedRun, plan: SequentialPlan) -> tuple[str, ...]:
    """Notes for the table, one sentence per line."""
    lines = [note for verdict in run.verdicts for note in verdict.notes][:1]
    if run.interrupted:
        lines.append(f"INTERRUPTED after {len(run.pairs)} pairs: undecided cases are open.")
    lines += [f"NOISY: {line}." for line in complaints(run.noise)]
    lines += [f"lost: {reason}" for reason in run.lost]
    lines += [_environments(run.baseline, run.candidate), _rule(plan), _how(run)]
    return tuple(lines)


def speed_lines(run: SpeedRun | None) -> tuple[str, ...]:
    """A line per case, for a report that includes speed, or a line on how to compare it."""
    if run is None:
        return ("not compared; add --speed to compare it",)
    return tuple(_short(verdict) for verdict in run.verdicts)


def _short(verdict: SpeedVerdict) -> str:
    text = f"{verdict.case}: {' '.join(_outcome(verdict).split())}"
    times = f"{verdict.baseline_ms:.3f} -> {verdict.candidate_ms:.3f} ms per call"
    if verdict.speed is None:
        return text
    return f"{text}: {' '.join(_change(verdict.speed).split())} %, {times}"


def failing(verdicts: Sequence[SpeedVerdict], *, strict: bool) -> bool:
    """Whether a run with these verdicts fails."""
    outcomes = [verdict.outcome for verdict in verdicts]
    return any(one.fails or (strict and one is not Outcome.PASS) for one in outcomes)


def speed_text(run: SpeedRun, *, created: str) -> str:
    """The whole run as JSON, keys sorted. `created` is an ISO 8601 time."""
    return enveloped(asdict(run), number=FORMAT, created=created)


def _name(verdict: SpeedVerdict) -> str:
    against = f"\nagainst {verdict.against}" if verdict.against != verdict.case.method else ""
    return f"{verdict.case}{against}"


def _outcome(verdict: SpeedVerdict) -> str:
    speed = verdict.speed
    if speed is None or verdict.outcome is not Outcome.PASS:
        return verdict.outcome.value
    return f"PASS: no slowdown\nabove {max(0.0, speed.high) * 100:.1f} %"


def _cells(verdict: SpeedVerdict) -> tuple[str, ...]:
    times = f"{verdict.baseline_ms:.3f}\n{verdict.candidate_ms:.3f}"
    speed = verdict.speed
    if speed is None:
        return ("", "", times, "", "")
    return (
        _change(speed),
        f"{speed.detectable * 100:.1f}",
        times,
        f"{verdict.p50 * 100:+.1f} {verdict.p95 * 100:+.1f}",
        str(speed.pairs),
    )


def _change(speed: Speed) -> str:
    chance = min(speed.p_slower, speed.p_faster)
    interval = f"{speed.low * 100:+.1f}..{speed.high * 100:+.1f}"
    return f"{speed.change * 100:+.2f} p {chance:.2g}\n{interval}"


def _environments(baseline: SideRecord, candidate: SideRecord) -> str:
    first, second = asdict(baseline.environment), asdict(candidate.environment)
    differ = [f"{key} {first[key]} -> {second[key]}" for key in first if first[key] != second[key]]
    revisions = [side.commit[:10] or "the working tree" for side in (baseline, candidate)]
    where = baseline.environment
    same = f"torch {where.torch}, {where.cpu_capability}{' with VNNI' if where.vnni else ''}"
    return f"{revisions[0]} -> {revisions[1]}; {', '.join(differ) or same}."


def _rule(plan: SequentialPlan) -> str:
    looks = ", ".join(str(look.pairs) for look in plan.looks)
    return (
        "change: Hodges-Lehmann estimate over pairs of fresh processes, from the 5th percentile "
        "of call times, with its 99 % confidence interval and the exact Wilcoxon p-value; "
        f"analysed after {looks} pairs, with a 1 % false alarm rate for the whole run. "
        f"REGRESSED: significant and above {plan.threshold:.0%}. INCONCLUSIVE: a slowdown of "
        f"{plan.margin:.0%} is not excluded. detectable: the smallest slowdown that such a run "
        "detects with 95 % power."
    )


def _how(run: SpeedRun) -> str:
    noise = run.noise
    steal = "unknown" if noise.steal is None else f"{noise.steal:.1%}"
    others = "unknown" if noise.others is None else f"{noise.others:.1f}"
    return (
        f"{run.threads} thread{'s' * (run.threads > 1)}, batch {run.batch}, {len(run.pairs)} pairs "
        f"and {len(run.lost)} lost in {run.seconds:.0f} s, seed {run.seed}. Machine: "
        f"steal {steal}, others {others} of {noise.processors} processors, initial load "
        f"{noise.load:.1f}, drift {noise.drift:+.1%}."
    )
