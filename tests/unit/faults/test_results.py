from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from qreg.faults.noise import EnvironmentNoise
from qreg.faults.report.clean_runs import clean_notes, clean_table
from qreg.faults.report.proof_json import proof_text
from qreg.faults.report.tables import fault_notes, fault_size_table, fault_table, share_table
from qreg.faults.results import CleanRun, FaultRun, LeftOut, ObservedCase, Proof, TierVerdict
from qreg.records.case import Case
from qreg.records.verdict import Outcome

CASE = Case("shapes10", "simple_cnn", "static", "x86")
PASS = TierVerdict(Outcome.PASS)
FOUND = TierVerdict(Outcome.REGRESSED, ("layers", "logits"))
CAUGHT = FaultRun(
    fault="scale-x1.01",
    family="scale",
    size="x1.01",
    description="a scale",
    unchanged_because="",
    observed=ObservedCase(CASE, FOUND, FOUND, PASS, noise=EnvironmentNoise(flips=3)),
)
MISSED = replace(CAUGHT, fault="missed", observed=ObservedCase(CASE, PASS, PASS, PASS))
UNCHANGED = replace(
    CAUGHT,
    fault="half-away",
    unchanged_because="there is no tie",
    observed=ObservedCase(CASE, PASS, PASS, PASS, unchanged=True),
)
FAILED = TierVerdict(Outcome.ERROR)
CRASHED = replace(
    CAUGHT,
    fault="crashed",
    observed=ObservedCase(CASE, FAILED, FAILED, FAILED, reason="killed by 11"),
)
SILENT = CleanRun("fresh process", "first", ObservedCase(CASE, PASS, FOUND, FOUND))
ELSEWHERE = CleanRun(
    "AVX2",
    "first",
    ObservedCase(CASE, FOUND, PASS, PASS, same_environment=False, noise=EnvironmentNoise()),
)
ALARM = CleanRun("AVX2", "own", ObservedCase(CASE, FOUND, PASS, PASS))


@pytest.mark.parametrize(
    ("faults", "clean", "holds"),
    [
        ((CAUGHT, UNCHANGED, CRASHED), (SILENT, ELSEWHERE), True),
        ((CAUGHT, MISSED), (), False),
        ((replace(UNCHANGED, unchanged_because=""),), (), False),
        ((CAUGHT,), (ALARM,), False),
    ],
)
def test_the_proof_holds_when_all_is_caught_and_nothing_else(
    faults: tuple[FaultRun, ...], clean: tuple[CleanRun, ...], holds: bool
) -> None:
    assert Proof(faults, clean).holds is holds


def test_a_clean_run_is_judged_as_the_gate_would() -> None:
    assert SILENT.judged is SILENT.observed.exact
    assert ELSEWHERE.judged is ELSEWHERE.observed.statistical


def _text(thing: object) -> str:
    out = StringIO()
    Console(file=out, width=118).print(thing)
    return " ".join(out.getvalue().split())


def test_the_table_shows_which_tier_of_which_check_found_it() -> None:
    shown = _text(fault_table((CAUGHT, MISSED, UNCHANGED, CRASHED)))
    assert "scale-x1.01 static@x86 xs xs f" in shown
    assert "missed static@x86 xsf" in shown
    assert "half-away static@x86 equivalent" in shown
    assert "crashed static@x86 ERROR" in shown


def test_equivalent_faults_are_not_counted() -> None:
    shown = _text(share_table((CAUGHT, MISSED, UNCHANGED, CRASHED)))
    assert "same environment 2 3 66.7% 9.4%..99.2% 2" in shown
    assert "other float arithmetic 1 3 33.3%" in shown
    assert "scale x1.01 2 of 3" in _text(fault_size_table((CAUGHT, MISSED, UNCHANGED, CRASHED)))


def test_notes_name_what_was_missed_and_what_is_equivalent() -> None:
    unknown = replace(UNCHANGED, fault="odd", unchanged_because="")
    proof = Proof((MISSED, UNCHANGED, CRASHED, unknown), (), not_applicable=("fake-quant-off",))
    notes = fault_notes(proof)
    assert any("not caught" in note and note.endswith(": missed in static.") for note in notes)
    assert any(note.startswith("odd in static changes nothing") for note in notes)
    assert "Equivalent, not counted: half-away in static: there is no tie." in notes
    assert any(note.endswith(" cases, 1: fake-quant-off.") for note in notes)
    assert any("crashed in static: killed by 11" in note for note in notes)


def test_clean_runs_are_counted_with_their_bound() -> None:
    proof = Proof((), (SILENT, ELSEWHERE), left_out=(LeftOut("AVX2", CASE, "it saturates"),))
    assert "all 2 1 0" in _text(clean_table(proof.clean))
    notes = clean_notes(proof)
    assert notes[0].startswith("0 false alarms in 2 verdicts of 1 cases: at most 84.19%")
    assert "true loss (it saturates): shapes10/simple_cnn/static@x86" in " ".join(notes)


def test_false_alarms_are_named() -> None:
    notes = clean_notes(Proof((), (ALARM, SILENT)))
    assert notes[0].startswith("1 false alarms in 2 verdicts")
    assert notes[1].startswith("REGRESSED shapes10/simple_cnn/static@x86 in AVX2, own baseline")


def test_the_json_holds_all_of_it() -> None:
    found = json.loads(proof_text(Proof((CAUGHT,), (SILENT, ELSEWHERE))))
    assert found["holds"] is True
    assert found["faults"][0]["observed"]["exact"]["outcome"] == "REGRESSED"
    assert found["clean"][1]["observed"]["noise"]["logits_closer_db"] is None
