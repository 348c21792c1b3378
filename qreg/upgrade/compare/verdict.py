"""Differences of interface and tensor properties, and the verdict on an upgrade."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from qreg.records.verdict import Outcome
from qreg.speed.records import SpeedRun
from qreg.upgrade.records import (
    WORKS,
    Answer,
    CaseUpgrade,
    Cause,
    ChangeKind,
    InterfaceChange,
    UpgradeLevel,
)

HOLDS, UNAVAILABLE = "holds", "unavailable"
_MISSING = re.compile(r"raises (AttributeError|ModuleNotFoundError|ImportError)")
_NOT_INSTALLED = re.compile(r"No module named '(torchao|torchvision|timm)")
# Of properties, those that count against an upgrade.
_WORST_FIRST = (ChangeKind.CRASHES, ChangeKind.LOST, ChangeKind.OTHER)
_GOING = re.compile(r"deprecat|will be removed|no longer supported", re.IGNORECASE)


def interface_changes(
    before: Sequence[Answer], after: Sequence[Answer]
) -> tuple[InterfaceChange, ...]:
    """What was removed, breaks, crashes, is deprecated, warns, or has a new signature."""
    there = {answer.name: answer for answer in before}
    both = [(there[answer.name], answer) for answer in after if answer.name in there]
    outcomes = [change for pair in both for change in _outcome(*pair)]
    signatures = [
        InterfaceChange(ChangeKind.SIGNATURE, old.name, old.signature, new.signature, new.used_by)
        for old, new in both
        if old.signature and new.signature and old.signature != new.signature
    ]
    return (*outcomes, *_warnings(both), *signatures)


def property_changes(
    before: Sequence[Answer], after: Sequence[Answer]
) -> tuple[InterfaceChange, ...]:
    """Properties that hold on one side only, and edge inputs with different results."""
    there = {answer.name: answer.outcome for answer in before}
    return tuple(
        InterfaceChange(_side(there[x.name], x.outcome), x.name, there[x.name], x.outcome)
        for x in after
        if x.name in there and there[x.name] != x.outcome and _sides_differ(there[x.name], x)
    )


def _sides_differ(before: str, after: Answer) -> bool:
    """Whether the results differ; a property broken on both sides does not, however it breaks."""
    broken = [text.startswith("broken") for text in (before, after.outcome)]
    return not all(broken) and UNAVAILABLE not in (before, after.outcome)


def _side(before: str, after: str) -> ChangeKind:
    if after.startswith("was killed"):
        return ChangeKind.CRASHES
    return (
        ChangeKind.LOST
        if before == HOLDS
        else ChangeKind.WON
        if after == HOLDS
        else ChangeKind.OTHER
    )


def _outcome(old: Answer, new: Answer) -> Iterator[InterfaceChange]:
    if old.outcome == new.outcome or WORKS not in (old.outcome, new.outcome):
        return
    if _NOT_INSTALLED.search(old.outcome + new.outcome):
        kind = ChangeKind.NOT_INSTALLED
    elif new.outcome == WORKS:
        kind = ChangeKind.WORKS_NOW
    elif not new.outcome.startswith("raises"):
        kind = ChangeKind.CRASHES
    else:
        kind = ChangeKind.REMOVED if _MISSING.match(new.outcome) else ChangeKind.BREAKS
    yield InterfaceChange(kind, new.name, old.outcome, new.outcome, new.used_by)


def _warnings(both: Sequence[tuple[Answer, Answer]]) -> Iterator[InterfaceChange]:
    """Each distinct warning that only the new version emits, and what emits it."""
    known = {text for old, _ in both for text in old.warnings}
    new: dict[str, list[Answer]] = {}
    for _, answer in both:
        for text in answer.warnings:
            if text not in known:
                new.setdefault(text, []).append(answer)
    for text, answers in new.items():
        more = f" and {len(answers) - 1} more" if len(answers) > 1 else ""
        used = tuple(dict.fromkeys(name for answer in answers for name in answer.used_by))
        kind = ChangeKind.DEPRECATED if _GOING.search(text) else ChangeKind.WARNING
        yield InterfaceChange(kind, f"{answers[0].name}{more}", "", text, used)


def verdict_of(
    cases: Sequence[CaseUpgrade],
    interface: Sequence[InterfaceChange],
    invariants: Sequence[InterfaceChange],
    speed: SpeedRun | None,
) -> tuple[UpgradeLevel, tuple[str, ...]]:
    """The level of an upgrade and its reasons, the worst first."""
    found = [
        *_case_reasons(cases),
        *_interface_reasons(cases, interface),
        *_invariant_reasons(invariants),
        *_speed_reasons(speed),
    ]
    found.sort(key=lambda pair: -pair[0].severity)
    level = found[0][0] if found else UpgradeLevel.SAFE
    return level, tuple(text for _, text in found)


def _case_reasons(cases: Sequence[CaseUpgrade]) -> Iterator[tuple[UpgradeLevel, str]]:
    for level in (UpgradeLevel.UNSAFE, UpgradeLevel.DIFFERENT):
        hit = [one for one in cases if one.level is level]
        for cause, ones in _by_cause(hit).items():
            example = next((one.findings[0] for one in ones if one.findings), "")
            what = f"{cause.value or 'the regression gate'}: " if cause else ""
            yield level, f"{what}{_named(ones)}: {example or _gate_text(ones[0])}"


def _by_cause(cases: Iterable[CaseUpgrade]) -> dict[Cause, list[CaseUpgrade]]:
    found: dict[Cause, list[CaseUpgrade]] = {}
    for one in cases:
        found.setdefault(one.causes[0] if one.causes else Cause.NONE, []).append(one)
    return found


def _gate_text(one: CaseUpgrade) -> str:
    if one.verdict is None or not one.verdict.findings:
        return "different results"
    first = one.verdict.findings[0]
    return f"{first.check.value}: expected {first.expected}, observed {first.observed}"


def _named(cases: Sequence[CaseUpgrade]) -> str:
    more = f" and {len(cases) - 1} more" if len(cases) > 1 else ""
    return f"{cases[0].case}{more}"


def _interface_reasons(
    cases: Sequence[CaseUpgrade], interface: Sequence[InterfaceChange]
) -> Iterator[tuple[UpgradeLevel, str]]:
    methods = {one.case.method for one in cases}
    for change in interface:
        if change.kind.breaking and methods & set(change.used_by):
            yield UpgradeLevel.UNSAFE, f"{change.kind.value}: {change.name}: {change.after}"


def _invariant_reasons(invariants: Sequence[InterfaceChange]) -> Iterator[tuple[UpgradeLevel, str]]:
    hit = [one for one in invariants if one.kind in _WORST_FIRST]
    if hit:
        more = f" and {len(hit) - 1} more" if len(hit) > 1 else ""
        first = min(hit, key=lambda one: _WORST_FIRST.index(one.kind))
        text = f"{first.name}: {first.before} -> {first.after}{more}"
        yield UpgradeLevel.DIFFERENT, f"tensor properties changed: {text}"


def _speed_reasons(speed: SpeedRun | None) -> Iterator[tuple[UpgradeLevel, str]]:
    for verdict in speed.verdicts if speed else ():
        if verdict.outcome in (Outcome.REGRESSED, Outcome.ERROR):
            change = f", {verdict.speed.change:+.1%}" if verdict.speed else ""
            yield UpgradeLevel.UNSAFE, f"speed: {verdict.case} {verdict.outcome.value}{change}"
