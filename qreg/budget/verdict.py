"""A budget's results as part of a verdict, and the verdict on a known failure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from qreg.records.budget import BudgetCheck, BudgetOutcome, KnownFailure, pattern_matches
from qreg.records.case import Case
from qreg.records.verdict import Check, Finding, Outcome, Verdict


def with_budget(verdict: Verdict, checks: tuple[BudgetCheck, ...]) -> Verdict:
    """The verdict with the results of the limits; both the baseline's and these are judged.

    BROKEN is REGRESSED. NOT SHOWN is INCONCLUSIVE, and leaves a missing baseline NO_BASELINE.
    """
    findings = (*verdict.findings, *judge_budget(checks))
    outcome = max(
        (verdict.outcome, *(one.outcome for one in judge_budget(checks))),
        key=lambda one: one.severity,
    )
    if verdict.outcome is Outcome.NO_BASELINE and not outcome.fails:
        outcome = Outcome.NO_BASELINE
    if verdict.outcome is Outcome.INCOMPARABLE:
        outcome = Outcome.INCOMPARABLE
    ordered = sorted(findings, key=lambda one: -one.outcome.severity)
    return replace(verdict, outcome=outcome, findings=tuple(ordered), budget=checks)


def judge_budget(checks: Iterable[BudgetCheck]) -> Iterator[Finding]:
    """A finding for each limit that is not shown to be kept."""
    for one in checks:
        if one.result is BudgetOutcome.KEPT:
            continue
        broken = one.result is BudgetOutcome.BROKEN
        yield Finding(
            check=Check.BUDGET,
            outcome=Outcome.REGRESSED if broken else Outcome.INCONCLUSIVE,
            expected=one.allowed,
            observed=one.observed,
            allowed="the budget holds, whatever a baseline says" if broken else needed_text(one),
            where=f"{one.limit} {one.result.value}",
        )


def needed_text(check: BudgetCheck) -> str:
    """What would show that a limit is kept."""
    what = "processes" if check.limit == "min-speed-up" else "samples"
    if check.needed is None:
        return f"no number of {what} would show it, if further ones are like these"
    return f"about {check.needed:,} {what} would show it, if further ones are like these"


def known_failure(case: Case, known: Iterable[KnownFailure]) -> KnownFailure | None:
    """The known failure that fits a case; the last in the table, where several do."""
    found = [one for one in known if pattern_matches(one.pattern, case)]
    return found[-1] if found else None


def judge_known(verdict: Verdict, known: KnownFailure, *, today: str) -> tuple[Verdict, bool]:
    """ERROR where a known failure passes or has expired; else the verdict, and that it is excused.

    Args:
        today: ISO 8601.
    """
    passes = verdict.outcome in (Outcome.PASS, Outcome.IMPROVED)
    if passes:
        reason = f"a known failure passes now ({known.reason})"
        hint = f'remove "{known.pattern}" from [tool.qreg.known-failures]'
    elif known.expired(today):
        reason = f"a known failure expired on {known.expires} ({known.reason})"
        hint = f'mend it, or give "{known.pattern}" a later date, with a reason'
    else:
        return verdict, True
    notes = (reason, hint, *verdict.notes)
    return replace(verdict, outcome=Outcome.ERROR, notes=notes), False
