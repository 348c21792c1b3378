"""Which changes two versions differ by, where each appears first, and what to compare next.

A pair A -> B has releases in between. Each is compared with A, so that one comparison says of every
change of the pair whether that release has it. Positions are 0 for A, 1, 2, ... for the releases
in their order, and the last for B: by definition A has none of the changes, and B has all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from qreg.upgrade.matrix.records import Change, ChangeSubject
from qreg.upgrade.records import (
    CaseUpgrade,
    Cause,
    ChangeKind,
    InterfaceChange,
    UpgradeLevel,
    UpgradeReport,
)

#: Whether a version has a change: None where that cannot be told from a comparison that was made.
Answer = bool | None
#: What a case's change is called that has no cause.
GATE, UNEXPLAINED = "the regression gate", "unexplained"
_BY_TEXT = (ChangeKind.WARNING, ChangeKind.DEPRECATED)


def changes_of(report: UpgradeReport) -> tuple[Change, ...]:
    """All by which two versions differ, each once, sorted.

    Not what an environment lacks: that is no release's doing.
    """
    found = [change for one in report.cases for change in _of_case(one)]
    there = (one for one in report.interface if one.kind is not ChangeKind.NOT_INSTALLED)
    found += [interface_change(one) for one in there]
    found += [Change(ChangeSubject.PROPERTY, one.name, one.kind.value) for one in report.invariants]
    return tuple(sorted(set(found)))


def interface_change(one: InterfaceChange) -> Change:
    """A change of the interface. A warning is its text: who emits it varies with the cases."""
    name = one.after if one.kind in _BY_TEXT else one.name
    return Change(ChangeSubject.INTERFACE, name or one.name, one.kind.value)


def _of_case(one: CaseUpgrade) -> Iterable[Change]:
    """The causes of its level, which they determine."""
    if one.level in (None, UpgradeLevel.SAFE):
        return
    named = [cause.value for cause in one.causes if cause is not Cause.NONE]
    if one.verdict is not None and one.verdict.outcome.fails:
        named.append(GATE)
    for what in named or [UNEXPLAINED]:
        yield Change(ChangeSubject.CASE, str(one.case), what)


def has_change(change: Change, report: UpgradeReport) -> Answer:
    """Whether the candidate of a report has a change.

    A case that was not compared, or that fails, does not say what else differs.
    """
    if change in changes_of(report):
        return True
    if change.subject is ChangeSubject.CASE:
        case = next((one for one in report.cases if str(one.case) == change.name), None)
        if case is None or case.level is None or Cause.FAILS in case.causes:
            return None
    return False


@dataclass(frozen=True)
class Bracket:
    """What is known of where a change appears; all are positions.

    Attributes:
        before: the last position before `first` that does not have the change.
        first: the first that is known to have it.
        untried: between them, not compared yet.
        unknown: between them, compared, without an answer.
        gone: after `first`, without the change.
    """

    before: int
    first: int
    untried: tuple[int, ...]
    unknown: tuple[int, ...]
    gone: tuple[int, ...]


def bracket(answers: Mapping[int, Answer], last: int) -> Bracket:
    """Where a change appears, by all that is known.

    Args:
        answers: by position between 0 and `last`; what was not compared is not there.
        last: position of B, 1 or more.

    Raises:
        ValueError: there are no such positions.
    """
    if last < 1 or any(not 0 < one < last for one in answers):
        raise ValueError(f"positions {sorted(answers)} of 1 to {last - 1}")
    first = min((at for at, has in answers.items() if has), default=last)
    before = max((at for at, has in answers.items() if has is False and at < first), default=0)
    inside = range(before + 1, first)
    return Bracket(
        before=before,
        first=first,
        untried=tuple(at for at in inside if at not in answers),
        unknown=tuple(at for at in inside if at in answers),
        gone=tuple(sorted(at for at, has in answers.items() if has is False and at > first)),
    )


def next_positions(changes: Iterable[Mapping[int, Answer]], last: int) -> tuple[int, ...]:
    """The positions to compare next, the most wanted first; none where all that can be is known.

    The middle of each change's bracket: its length is halved, and changes in the same bracket
    share the comparison. So each appearance costs at most the binary logarithm of the number of
    releases, rounded up, as long as releases can be compared; and none is compared twice.

    Args:
        changes: the answers for each change, as of `bracket`.
    """
    wanted: Counter[int] = Counter()
    for answers in changes:
        found = bracket(answers, last)
        if found.untried:
            middle = (found.before + found.first) / 2
            wanted[min(found.untried, key=lambda at: (abs(at - middle), at))] += 1
    return tuple(sorted(wanted, key=lambda at: (-wanted[at], at)))
