"""Verdicts as text."""

from __future__ import annotations

import pytest

from qreg.gate.report import (
    headline,
    next_command,
    short_lines,
    summary_line,
    verdict_lines,
    verdict_record,
)
from qreg.records.case import Case
from qreg.records.verdict import AccuracyChange, Basis, Check, Finding, MovedImage, Outcome, Verdict
from tests.unit.baselines import build
from tests.unit.checks import given

CASE = Case("shapes10", "simple_cnn", "static", "x86")
ACCURACY = AccuracyChange(
    total=1000,
    expected=845,
    observed=800,
    won=1,
    lost=46,
    change=-0.045,
    low=-0.058,
    high=-0.032,
    p_value=3.4e-13,
    detectable=0.042,
    margin=0.027,
)
FINDING = Finding(Check.LAYERS, Outcome.REGRESSED, "SQNR 30 dB", "SQNR 10 dB", "equal", "conv1")


def _verdict(outcome: Outcome) -> Verdict:
    return Verdict(
        case=CASE,
        outcome=outcome,
        basis=Basis(exact=False, reason="recorded elsewhere: judged statistically"),
        accuracy=ACCURACY,
        findings=(FINDING,),
        moved=tuple(MovedImage(n, 1, 1, 2, 0.5, None if n else 0.25) for n in range(46)),
        notes=("first diverging layer: conv1",),
        details="Traceback\n  File",
    )


def test_the_report_is_complete() -> None:
    lines = "\n".join(verdict_lines(_verdict(Outcome.REGRESSED)))
    assert "84.50 -> 80.00 % (-4.50, -5.80 to -3.20; detectable 4.20) of 1000" in lines
    assert "recorded elsewhere: judged statistically" in lines
    assert "layers REGRESSED: conv1" in lines
    assert "expected SQNR 30 dB" in lines
    assert "46 samples flipped" in lines
    assert "0: 1 -> 2 (0.5, 0.25), 1: 1 -> 2," in lines
    assert "and 38 more" in lines
    assert "Traceback" not in lines
    assert "| Traceback" in "\n".join(verdict_lines(_verdict(Outcome.REGRESSED), traceback=True))
    assert lines.endswith(f"next: qreg baseline diff {CASE}")


def test_the_short_form_names_checks_and_the_next_command() -> None:
    assert short_lines(_verdict(Outcome.REGRESSED))[1:] == (
        "  found by: layers",
        "  first diverging layer: conv1",
        f"  next: qreg baseline diff {CASE}",
    )


@pytest.mark.parametrize(
    ("outcome", "command"),
    [
        (Outcome.PASS, ""),
        (Outcome.IMPROVED, "qreg baseline diff"),
        (Outcome.NO_BASELINE, "qreg baseline update --reason"),
        (Outcome.INCONCLUSIVE, "--qreg-full --qreg-dataset shapes10 --qreg-model simple_cnn"),
        (Outcome.ERROR, "--qreg-method static --qreg-engine x86"),
    ],
)
def test_each_outcome_has_its_next_command(outcome: Outcome, command: str) -> None:
    found = next_command(_verdict(outcome))
    assert command in found
    assert bool(found) == bool(command)


def test_the_summary_counts_the_worst_first() -> None:
    outcomes = ["PASS", "REGRESSED", "PASS", "IMPROVED"]
    assert summary_line(outcomes, 2) == "6 cases: 1 REGRESSED, 1 IMPROVED, 2 PASS, 2 skipped"


def test_the_headline_has_the_summary_of_a_task() -> None:
    found = given.snapshot(score=build.score())
    line = headline(given.verdict(found, found))
    assert found.score is not None
    record = verdict_record(given.verdict(found, found))
    assert record["detectable"] == 0
    assert f"mean IoU {found.score.value:.2%} -> {found.score.value:.2%} (+0.00 points" in line
