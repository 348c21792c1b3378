from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from qreg import __version__
from qreg.baselines.changes import Category, Proposal, approved, propose, replaced, trims
from qreg.git import current_commit
from qreg.records.verdict import Basis, Check, Finding, Outcome, Verdict
from qreg.stats.mcnemar import mcnemar
from tests.unit.baselines import build

NOW = build.snapshot()
BEFORE = build.baseline(NOW, build.approval(qreg=__version__))
ELSEWHERE = replace(build.ENVIRONMENT, vnni=False)
FINDING = Finding(Check.OPERATORS, Outcome.REGRESSED, "2 calls", "3 calls", "the same", "conv2d")


def _verdict(outcome: Outcome, *findings: Finding) -> Verdict:
    return Verdict(build.CASE, outcome, Basis(True, "recorded elsewhere"), findings=findings)


def test_what_has_no_baseline_is_created() -> None:
    change = propose(NOW, None, _verdict(Outcome.NO_BASELINE))
    assert change is not None
    assert (change.category, change.case, change.regressed) == (Category.CREATE, NOW.case, False)


@pytest.mark.parametrize("outcome", Outcome)
def test_another_environments_is_created_in_addition(outcome: Outcome) -> None:
    now = replace(NOW, environment=ELSEWHERE)
    change = propose(now, BEFORE, _verdict(outcome))
    assert change is not None
    assert change.category is Category.CREATE
    assert change.reason == "recorded elsewhere"
    assert change.regressed == (outcome is Outcome.REGRESSED)
    made = approved(change, reason="new machine", date="d", commit="c")
    assert [one.reason for one in made.history] == ["new machine"]
    assert made.history[0].replaced is not None


@pytest.mark.parametrize("outcome", [one for one in Outcome if one is not Outcome.PASS])
def test_what_is_not_as_the_baseline_says_is_fixed(outcome: Outcome) -> None:
    change = propose(NOW, BEFORE, _verdict(outcome, FINDING))
    assert change is not None
    assert change.category is Category.FIX
    assert change.reason == "operators in conv2d: expected 2 calls, observed 3 calls"
    made = approved(change, reason="  meant  ", date="d", commit="c")
    assert [one.reason for one in made.history] == ["first", "meant"]
    assert made.snapshot == NOW
    assert made.history[-1].qreg == __version__


def test_what_passes_is_left_alone() -> None:
    assert propose(NOW, BEFORE, _verdict(Outcome.PASS)) is None


@pytest.mark.parametrize("field", ["torchvision", "torchao", "python", "numpy"])
def test_other_versions_are_an_update(field: str) -> None:
    now = replace(NOW, environment=replace(build.ENVIRONMENT, **{field: "9.9"}))
    change = propose(now, BEFORE, _verdict(Outcome.PASS))
    assert change is not None
    assert change.category is Category.UPDATE
    assert f"recorded with {field} " in change.reason
    assert change.reason.endswith(", now 9.9")


def test_another_qreg_is_an_update() -> None:
    before = build.baseline(NOW, build.approval(qreg="0.0.1"))
    change = propose(NOW, before, _verdict(Outcome.PASS))
    assert change is not None
    assert change.reason == f"recorded with qreg 0.0.1, now {__version__}"


def test_unknown_cases_and_orphans_are_trimmed() -> None:
    other = replace(build.CASE, model="gone")
    found = trims((build.CASE, other), lambda case: case == build.CASE, (Path("a"),))
    assert [(c.category, c.case, c.orphan) for c in found] == [
        (Category.TRIM, other, None),
        (Category.TRIM, None, Path("a")),
    ]
    with pytest.raises(ValueError, match="trim"):
        approved(found[0], reason="x", date="", commit="")


def test_what_is_replaced_is_counted_on_common_images() -> None:
    seen = build.images(30)
    fewer = build.snapshot(seen=seen, wrong=8)
    assert replaced(fewer, build.baseline(), Outcome.REGRESSED) == replaced(
        fewer, build.baseline(build.snapshot(seen=seen)), Outcome.REGRESSED
    )
    found = replaced(fewer, build.baseline(), Outcome.REGRESSED)
    assert (found.correct, found.new_correct, found.total, found.flips) == (25, 22, 30, 3)
    assert found.p_value == mcnemar(0, 3)


def test_images_of_other_pixels_are_not_common() -> None:
    seen = build.images(30, seed=1)
    found = replaced(build.snapshot(seen=seen), build.baseline(), Outcome.INCOMPARABLE)
    assert (found.total, found.correct, found.flips, found.p_value) == (0, 0, 0, 1.0)


def test_a_blank_reason_is_no_reason() -> None:
    change = Proposal(Category.CREATE, NOW.case, "", _verdict(Outcome.NO_BASELINE), NOW)
    with pytest.raises(ValueError, match="reason"):
        approved(change, reason=" \n", date="", commit="")


def test_the_commit_and_whether_there_is_more(tmp_path: Path) -> None:
    import subprocess

    def git(*command: str) -> str:
        identity = ("-c", "user.name=n", "-c", "user.email=e@example.org")
        done = subprocess.run(
            ["git", *identity, *command], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    assert current_commit(tmp_path / "missing") == ""
    git("init", "-q")
    assert current_commit(tmp_path) == ""
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("commit", "-q", "--no-verify", "-m", "first")
    head = git("rev-parse", "HEAD")
    (tmp_path / "untracked").write_text("1")
    assert current_commit(tmp_path) == head
    (tmp_path / "a").write_text("2")
    assert current_commit(tmp_path) == f"{head}-dirty"
