"""What was seen of some cases, or of what both sides offer: parts that make one report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from qreg.records.case import Case
from qreg.speed.records import SideRecord, SpeedRun
from qreg.upgrade.compare.verdict import interface_changes, property_changes, verdict_of
from qreg.upgrade.records import Answer, CaseUpgrade, UpgradeReport

#: Of the baseline and of the candidate.
Answers = tuple[tuple[Answer, ...], tuple[Answer, ...]]


@dataclass(frozen=True)
class ReportPart:
    """A part of a report.

    Attributes:
        probes: of the interface; none where another part has them, as `odd` and `properties`.
        warned: the warnings emitted while building the cases. What is new among them is known only
            from those of all parts.
    """

    baseline: SideRecord
    candidate: SideRecord
    cases: tuple[CaseUpgrade, ...]
    probes: Answers
    warned: Answers
    odd: Answers
    properties: Answers
    speed: SpeedRun | None = None


def report_of(parts: Sequence[ReportPart], order: Sequence[Case], seconds: float) -> UpgradeReport:
    """One report of parts between the same sides, its cases in this order."""
    by_case = {one.case: one for part in parts for one in part.cases}
    cases = tuple(by_case[case] for case in order)
    probes = _joined([part.probes for part in parts])
    warned = _joined([part.warned for part in parts])
    places = {str(case): place for place, case in enumerate(order)}
    before, after = (
        (*asked, *sorted(found, key=lambda one: places[one.name]))
        for asked, found in zip(probes, warned, strict=True)
    )
    interface = interface_changes(before, after)
    asked = [_joined([getattr(part, name) for part in parts]) for name in ("odd", "properties")]
    invariants = tuple(change for pair in asked for change in property_changes(*pair))
    speed = next((part.speed for part in parts if part.speed is not None), None)
    level, reasons = verdict_of(cases, interface, invariants, speed)
    last = parts[-1]
    return UpgradeReport(
        baseline=last.baseline,
        candidate=last.candidate,
        level=level,
        reasons=reasons,
        cases=cases,
        probes=len(probes[0]),
        interface=interface,
        properties=sum(len(pair[0]) for pair in asked),
        invariants=invariants,
        speed=speed,
        seconds=seconds,
    )


def _joined(pairs: Sequence[Answers]) -> Answers:
    before, after = (tuple(chain.from_iterable(pair[n] for pair in pairs)) for n in (0, 1))
    return before, after
