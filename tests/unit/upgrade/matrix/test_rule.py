"""What appears first where, for any pattern of differences, and how many comparisons that takes."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qreg.records.verdict import Outcome
from qreg.upgrade.matrix.records import Change, ChangeSubject
from qreg.upgrade.matrix.rule import (
    GATE,
    UNEXPLAINED,
    Answer,
    bracket,
    changes_of,
    has_change,
    next_positions,
)
from qreg.upgrade.records import Cause, ChangeKind, InterfaceChange, UpgradeLevel
from tests.unit.upgrade.report.upgrade_report import CASE, REPORT, case

Patterns = list[list[Answer]]


def _search(patterns: Patterns, last: int, *, at_once: bool) -> tuple[list[dict[int, Answer]], int]:
    """Compare until nothing is left to; the answers of each change, and how many comparisons."""
    answers: list[dict[int, Answer]] = [{} for _ in patterns]
    compared: set[int] = set()
    while wanted := next_positions(answers, last):
        for at in wanted if at_once else wanted[:1]:
            assert at not in compared, "compared twice"
            compared.add(at)
            for found, pattern in zip(answers, patterns, strict=True):
                found[at] = pattern[at - 1]
    return answers, len(compared)


@given(
    st.integers(1, 40).flatmap(
        lambda last: st.tuples(
            st.just(last), st.lists(st.integers(1, last), min_size=1, max_size=6), st.booleans()
        )
    )
)
def test_what_stays_is_found_exactly_and_with_few_comparisons(
    given_: tuple[int, list[int], bool],
) -> None:
    last, firsts, at_once = given_
    patterns: Patterns = [[at >= first for at in range(1, last)] for first in firsts]
    answers, count = _search(patterns, last, at_once=at_once)
    for first, found in zip(firsts, answers, strict=True):
        where = bracket(found, last)
        assert (where.before, where.first) == (first - 1, first)
        assert not where.unknown
        assert not where.gone
    assert count <= min(last - 1, len(set(firsts)) * math.ceil(math.log2(last)))


@given(
    st.integers(1, 20).flatmap(
        lambda last: st.tuples(
            st.just(last),
            st.lists(
                st.lists(
                    st.sampled_from([True, False, None]), min_size=last - 1, max_size=last - 1
                ),
                min_size=1,
                max_size=4,
            ),
            st.booleans(),
        )
    )
)
def test_of_any_pattern_it_is_a_version_that_has_it_after_one_that_has_not(
    given_: tuple[int, Patterns, bool],
) -> None:
    last, patterns, at_once = given_
    answers, count = _search(patterns, last, at_once=at_once)
    assert count <= last - 1
    for pattern, found in zip(patterns, answers, strict=True):
        true: list[Answer] = [False, *pattern, True]
        where = bracket(found, last)
        assert not where.untried
        assert true[where.first] is True
        assert true[where.before] is False
        assert where.before < where.first
        # all in between was compared and does not tell
        assert where.unknown == tuple(range(where.before + 1, where.first))
        assert all(true[at] is None for at in where.unknown)
        assert all(true[at] is False and at > where.first for at in where.gone)


def test_a_release_that_cannot_be_compared_is_stepped_over() -> None:
    # nine releases, the middle one cannot be installed; it appears at 7
    pattern: list[Answer] = [False, False, False, False, None, False, True, True, True]
    (found,), count = _search([pattern], 10, at_once=False)
    assert bracket(found, 10).first == 7
    assert count <= 5
    # and where that is the one before, which of the two it is stays open
    pattern = [False, False, False, False, False, None, True, True, True]
    (found,), _ = _search([pattern], 10, at_once=False)
    assert (bracket(found, 10).before, bracket(found, 10).unknown) == (5, (6,))


def test_changes_of_one_bracket_share_comparisons() -> None:
    same: list[Answer] = [at >= 11 for at in range(1, 16)]
    _, one = _search([same], 16, at_once=False)
    _, five = _search([same] * 5, 16, at_once=False)
    assert one == five == 4


def test_the_most_wanted_comes_first() -> None:
    early, late = {8: True}, {8: False}
    assert next_positions([late, early, early], 16) == (4, 12)
    assert next_positions([late, late, early], 16) == (12, 4)
    assert next_positions([], 16) == ()
    assert next_positions([{}], 1) == ()


def test_a_change_that_goes_and_comes_again_is_the_earliest_known() -> None:
    found = bracket({2: False, 4: True, 6: False, 8: True}, 9)
    assert (found.before, found.first, found.untried, found.gone) == (2, 4, (3,), (6,))


@pytest.mark.parametrize("answers", [{0: True}, {3: False}, {-1: None}])
def test_positions_are_of_releases(answers: dict[int, Answer]) -> None:
    with pytest.raises(ValueError, match="positions"):
        bracket(answers, 3)


def _named(subject: ChangeSubject, what: str, name: str = str(CASE)) -> Change:
    return Change(subject, name, what)


def test_a_case_differs_by_its_causes_and_by_the_gate() -> None:
    both = case(UpgradeLevel.UNSAFE, causes=(Cause.OBSERVERS, Cause.KERNELS))
    assert changes_of(replace(REPORT, cases=(both,))) == (
        _named(ChangeSubject.CASE, "kernels"),
        _named(ChangeSubject.CASE, "observers"),
    )
    assert both.verdict is not None
    failing = replace(both.verdict, outcome=Outcome.REGRESSED)
    gate = case(UpgradeLevel.UNSAFE, verdict=failing)
    assert changes_of(replace(REPORT, cases=(gate,))) == (_named(ChangeSubject.CASE, GATE),)
    unexplained = case(UpgradeLevel.DIFFERENT)
    assert changes_of(replace(REPORT, cases=(unexplained,))) == (
        _named(ChangeSubject.CASE, UNEXPLAINED),
    )
    assert changes_of(replace(REPORT, cases=(case(), case(None, unavailable="no")))) == ()


def test_a_warning_is_its_text_and_a_property_its_name() -> None:
    warning = InterfaceChange(ChangeKind.DEPRECATED, "some case and 3 more", "", "goes in 3.0")
    removed = InterfaceChange(ChangeKind.REMOVED, "torch.f", "works", "raises AttributeError")
    lost = InterfaceChange(ChangeKind.LOST, "clamps", "holds", "broken")
    report = replace(REPORT, interface=(warning, removed), invariants=(lost,))
    assert changes_of(report) == (
        _named(ChangeSubject.INTERFACE, "deprecated", "goes in 3.0"),
        _named(ChangeSubject.INTERFACE, "removed", "torch.f"),
        _named(ChangeSubject.PROPERTY, "lost", "clamps"),
    )
    fewer = replace(warning, name="another case")
    assert (
        has_change(
            _named(ChangeSubject.INTERFACE, "deprecated", "goes in 3.0"),
            replace(REPORT, interface=(fewer,)),
        )
        is True
    )
    assert has_change(_named(ChangeSubject.INTERFACE, "removed", "torch.f"), REPORT) is False


def test_what_an_environment_lacks_is_no_release_s_doing() -> None:
    lacks = InterfaceChange(ChangeKind.NOT_INSTALLED, "torchao.f", "works", "No module named")
    assert changes_of(replace(REPORT, interface=(lacks,))) == ()


def test_a_case_that_fails_does_not_say_what_else_differs() -> None:
    kernels = _named(ChangeSubject.CASE, "kernels")
    assert has_change(kernels, REPORT) is False
    assert has_change(kernels, replace(REPORT, cases=())) is None
    assert has_change(kernels, replace(REPORT, cases=(case(None, unavailable="no"),))) is None
    fails = case(UpgradeLevel.UNSAFE, causes=(Cause.FAILS,), findings=("boom",))
    assert has_change(kernels, replace(REPORT, cases=(fails,))) is None
    assert (
        has_change(_named(ChangeSubject.CASE, "it fails"), replace(REPORT, cases=(fails,))) is True
    )
