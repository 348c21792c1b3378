from __future__ import annotations

from dataclasses import replace

from qreg.records.case import Case
from qreg.upgrade.compare.verdict import interface_changes, property_changes, verdict_of
from qreg.upgrade.records import (
    WORKS,
    Answer,
    CaseUpgrade,
    Cause,
    ChangeKind,
    InterfaceChange,
    UpgradeLevel,
)

CASE = Case("shapes10", "simple_cnn", "static", "x86")
GOOD = Answer("torch.thing", WORKS, "(x)", used_by=("static",))


def _kinds(after: Answer, before: Answer = GOOD) -> list[str]:
    return [change.kind.value for change in interface_changes([before], [after])]


def test_what_answers_the_same_is_no_change() -> None:
    assert not _kinds(GOOD)
    bad = replace(GOOD, outcome="raises ValueError: one")
    assert not _kinds(replace(GOOD, outcome="raises ValueError: other"), bad)


def test_outcomes() -> None:
    outcomes = {
        "raises AttributeError: gone": "removed",
        "raises ModuleNotFoundError: No module named 'torch.x'": "removed",
        "raises ModuleNotFoundError: No module named 'torchao'": "not installed",
        "raises RuntimeError: no": "breaks",
        "was killed by SIGILL": "crashes",
        "gave no result in 9 s": "crashes",
    }
    for outcome, kind in outcomes.items():
        assert _kinds(replace(GOOD, outcome=outcome, signature="")) == [kind], outcome
    before = replace(GOOD, outcome="raises RuntimeError: no")
    assert _kinds(GOOD, before) == ["works now"]


def test_signatures() -> None:
    assert _kinds(replace(GOOD, signature="(x, y=1)")) == ["signature"]
    assert not _kinds(replace(GOOD, signature=""))


def test_each_distinct_warning_once() -> None:
    texts = ("it is deprecated", "it is slow")
    before = [GOOD, Answer("b", WORKS, warnings=("known",))]
    after = [
        replace(GOOD, warnings=(*texts, "known")),
        Answer("b", WORKS, warnings=("it is slow", "known"), used_by=("qat",)),
    ]
    found = interface_changes(before, after)
    assert [(one.kind.value, one.name, one.after) for one in found] == [
        ("deprecated", "torch.thing", texts[0]),
        ("warning", "torch.thing and 1 more", texts[1]),
    ]
    assert found[1].used_by == ("static", "qat")


def test_properties_that_change_sides() -> None:
    pairs = {
        "a": ("holds", "broken: 2"),
        "b": ("broken: 1", "holds"),
        "c": ("x", "y"),
        "d": ("holds", "holds"),
        "e": ("u", "was killed by SIGILL"),
        "f": ("holds", "unavailable"),
    }
    before, after = ([Answer(n, pair[x]) for n, pair in pairs.items()] for x in (0, 1))
    found = property_changes(before, after)
    assert [(one.name, one.kind.value) for one in found] == [
        ("a", "lost"),
        ("b", "won"),
        ("c", "other"),
        ("e", "crashes"),
    ]
    assert not property_changes([Answer("a", "broken: 1")], [Answer("a", "broken: 2")])


def _case(level: UpgradeLevel | None, *causes: Cause) -> CaseUpgrade:
    return CaseUpgrade(CASE, level, causes=causes, findings=("why",))


def test_verdicts() -> None:
    safe, noise = _case(UpgradeLevel.SAFE), _case(UpgradeLevel.DIFFERENT, Cause.KERNELS)
    assert verdict_of([safe, _case(None)], (), (), None) == (UpgradeLevel.SAFE, ())
    level, reasons = verdict_of([safe, noise, noise], (), (), None)
    assert level is UpgradeLevel.DIFFERENT
    assert reasons == (f"kernels: {CASE} and 1 more: why",)
    unsafe = _case(UpgradeLevel.UNSAFE, Cause.OBSERVERS)
    level, reasons = verdict_of([noise, unsafe], (), (), None)
    assert level is UpgradeLevel.UNSAFE
    assert reasons[0].startswith("observers: ")


def test_what_is_removed_matters_to_who_needs_it() -> None:
    removed = InterfaceChange(
        ChangeKind.REMOVED, "torch.thing", WORKS, "raises AttributeError", ("static",)
    )
    assert verdict_of([_case(UpgradeLevel.SAFE)], [removed], (), None)[0] is UpgradeLevel.UNSAFE
    other = replace(removed, used_by=("fx-static",))
    assert verdict_of([_case(UpgradeLevel.SAFE)], [other], (), None)[0] is UpgradeLevel.SAFE
    warning = replace(removed, kind=ChangeKind.DEPRECATED)
    assert verdict_of([_case(UpgradeLevel.SAFE)], [warning], (), None)[0] is UpgradeLevel.SAFE


def test_properties_that_are_lost_are_not_called_safe() -> None:
    lost, won = (
        InterfaceChange(kind, kind.value, "a", "b") for kind in (ChangeKind.LOST, ChangeKind.WON)
    )
    level, reasons = verdict_of([_case(UpgradeLevel.SAFE)], (), [won, lost], None)
    assert level is UpgradeLevel.DIFFERENT
    assert "lost: a -> b" in reasons[0]
    assert verdict_of([_case(UpgradeLevel.SAFE)], (), [won], None)[0] is UpgradeLevel.SAFE
