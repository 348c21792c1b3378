"""Budget and known failures in a verdict."""

from __future__ import annotations

import pytest

from qreg.budget.verdict import judge_known, known_failure, with_budget
from qreg.records.budget import BudgetCheck, BudgetOutcome, KnownFailure
from qreg.records.case import Case
from qreg.records.verdict import Check, Outcome, Verdict

CASE = Case("photos", "net", "static", "x86")
KNOWN = KnownFailure("static*", "issue 12", "2027-01-31")


def check(result: BudgetOutcome) -> BudgetCheck:
    return BudgetCheck("max-drop", result, "a drop of at most 1 point", "-2", 1.0, needed=5000)


@pytest.mark.parametrize(
    ("before", "result", "after"),
    [
        (Outcome.PASS, BudgetOutcome.KEPT, Outcome.PASS),
        (Outcome.PASS, BudgetOutcome.NOT_SHOWN, Outcome.INCONCLUSIVE),
        (Outcome.PASS, BudgetOutcome.BROKEN, Outcome.REGRESSED),
        (Outcome.IMPROVED, BudgetOutcome.NOT_SHOWN, Outcome.INCONCLUSIVE),
        (Outcome.NO_BASELINE, BudgetOutcome.NOT_SHOWN, Outcome.NO_BASELINE),
        (Outcome.NO_BASELINE, BudgetOutcome.BROKEN, Outcome.REGRESSED),
        (Outcome.REGRESSED, BudgetOutcome.KEPT, Outcome.REGRESSED),
        (Outcome.INCOMPARABLE, BudgetOutcome.BROKEN, Outcome.INCOMPARABLE),
    ],
)
def test_baseline_and_budget_are_both_judged(
    before: Outcome, result: BudgetOutcome, after: Outcome
) -> None:
    found = with_budget(Verdict(CASE, before), (check(result),))
    assert found.outcome is after
    assert [one.check for one in found.findings] == [Check.BUDGET] * (
        result is not BudgetOutcome.KEPT
    )
    assert found.budget == (check(result),)


def test_what_is_not_shown_says_how_many_samples_would_show_it() -> None:
    (finding,) = with_budget(
        Verdict(CASE, Outcome.PASS), (check(BudgetOutcome.NOT_SHOWN),)
    ).findings
    assert "5,000 samples" in finding.allowed


@pytest.mark.parametrize(
    ("outcome", "today", "after", "excused"),
    [
        (Outcome.REGRESSED, "2027-01-31", Outcome.REGRESSED, True),
        (Outcome.ERROR, "2027-01-31", Outcome.ERROR, True),
        (Outcome.NO_BASELINE, "2027-01-31", Outcome.NO_BASELINE, True),
        (Outcome.REGRESSED, "2027-02-01", Outcome.ERROR, False),
        (Outcome.PASS, "2027-01-31", Outcome.ERROR, False),
        (Outcome.IMPROVED, "2027-01-31", Outcome.ERROR, False),
    ],
)
def test_a_known_failure_is_excused_until_it_passes_or_expires(
    outcome: Outcome, today: str, after: Outcome, excused: bool
) -> None:
    found, known = judge_known(Verdict(CASE, outcome), KNOWN, today=today)
    assert (found.outcome, known) == (after, excused)
    if not excused:
        assert "issue 12" in found.notes[0]


def test_the_last_pattern_that_fits_counts() -> None:
    other = KnownFailure("photos/*", "issue 13", "2027-01-31")
    assert known_failure(CASE, [KNOWN, other]) == other
    assert known_failure(Case("photos", "net", "qat", "x86"), [KNOWN]) is None
