from __future__ import annotations

import pytest

from qreg.checks.warning_texts import judge_warnings
from qreg.records.verdict import Check, Outcome


@pytest.mark.parametrize(
    ("now", "before", "outcome", "observed", "where"),
    [
        (("a", "new"), ("a",), Outcome.REGRESSED, "1 new, 0 gone", "new"),
        (("a",), ("a", "old"), Outcome.IMPROVED, "0 new, 1 gone", "old"),
        (("new",), ("old",), Outcome.REGRESSED, "1 new, 1 gone", "new"),
        (("c", "b", "d"), (), Outcome.REGRESSED, "3 new, 0 gone", "b; c"),
        (("x" * 500,), (), Outcome.REGRESSED, "1 new, 0 gone", "x" * 120),
    ],
)
def test_a_text_more_regresses_a_text_less_improves(
    now: tuple[str, ...], before: tuple[str, ...], outcome: Outcome, observed: str, where: str
) -> None:
    (found,) = judge_warnings(now, before)
    assert (found.check, found.outcome) == (Check.WARNINGS, outcome)
    assert (found.observed, found.where) == (observed, where)


@pytest.mark.parametrize("texts", [(), ("a",), ("b", "a"), ("a", "b", "a")])
def test_the_same_texts_are_no_finding(texts: tuple[str, ...]) -> None:
    assert list(judge_warnings(texts, sorted(set(texts)))) == []
