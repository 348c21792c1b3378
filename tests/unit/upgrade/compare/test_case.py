"""Whose fault a difference is, from every way in which one thing may differ."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from qreg.records.baseline import Snapshot
from qreg.records.verdict import Check, Finding, Outcome, Verdict
from qreg.upgrade.compare.arrays import first_difference, moved_rows
from qreg.upgrade.compare.case import compare_case
from qreg.upgrade.compare.pair import CasePair, CrossRun, SideResult
from qreg.upgrade.records import CaseUpgrade, Cause, FileOutcome, UpgradeLevel
from tests.unit.upgrade.compare.upgrade_pair import (
    KINDS,
    LAYERS,
    OBSERVERS,
    SNAPSHOT,
    STATE,
    cross_runs,
    logits,
    moved,
    pair,
    results,
)

PASS = Verdict(SNAPSHOT.case, Outcome.PASS)
OTHER_SCALE = moved(STATE, ("conv1", "scale"), 0.01)


def _judged(of: CasePair, verdict: Verdict = PASS) -> CaseUpgrade:
    return compare_case(of, verdict)


def _other_observers(number: int, **changes: object) -> tuple:
    return tuple(replace(x, **changes) if n == number else x for n, x in enumerate(OBSERVERS))  # type: ignore[arg-type]


def test_equal_in_everything() -> None:
    found = _judged(pair())
    assert (found.level, found.causes, found.findings) == (UpgradeLevel.SAFE, (), ())
    assert all(cell.equal and cell.images for cell in found.cells)
    assert [(file.kind, file.outcome) for file in found.artifacts] == [
        (k, FileOutcome.EQUAL) for k in KINDS
    ]


def test_an_observer_that_says_something_else_of_equal_floats() -> None:
    changed = _other_observers(1, scales=(0.26,))
    found = _judged(pair(b=results(observers=changed, state=OTHER_SCALE)))
    assert (found.level, found.causes) == (UpgradeLevel.UNSAFE, (Cause.OBSERVERS,))
    assert "HistogramObserver at conv1 returns scale 0.26, zero point 0" in found.findings[0]
    assert "conv1: scale 0.125 -> 0.135" in found.findings[1]


def test_an_observers_last_bits_are_noise() -> None:
    changed = _other_observers(1, scales=(0.25 * (1 + 1e-7),))
    found = _judged(
        pair(b=results(observers=changed, state=moved(STATE, ("conv1", "scale"), 1e-8)))
    )
    assert (found.level, found.causes) == (UpgradeLevel.DIFFERENT, (Cause.FLOAT,))


def test_another_observer() -> None:
    found = _judged(
        pair(b=results(observers=_other_observers(0, kind="MinMaxObserver"), state=OTHER_SCALE))
    )
    assert found.causes == (Cause.OBSERVERS,)
    assert "MinMaxObserver instead of a HistogramObserver" in found.findings[0]


def test_floats_that_differed_before_the_observer() -> None:
    changed = _other_observers(1, inputs="dd", scales=(0.26,))
    found = _judged(pair(b=results(observers=changed, state=OTHER_SCALE)))
    assert (found.level, found.causes) == (UpgradeLevel.DIFFERENT, (Cause.FLOAT,))
    assert "conv1" in found.findings[0]
    assert "1 of 3 observers" in found.findings[0]


def test_convert_where_observers_agree() -> None:
    found = _judged(pair(b=results(state=moved(STATE, ("conv1", "weight codes"), 2))))
    assert (found.level, found.causes) == (UpgradeLevel.UNSAFE, (Cause.CONVERT,))
    assert "conv1: weight codes 5 -> 7 (1 of 6), 2 LSB at most" in found.findings[0]


@pytest.mark.parametrize("side", ["on_a", "on_b"])
def test_kernels(side: str) -> None:
    other = logits()
    other[2, 1] += 0.5
    ran = cross_runs(
        layers={"control": LAYERS, "carried": moved(LAYERS, ("conv1", "output"), 1)},
        logits={"control": logits(), "carried": other},
    )
    found = _judged(pair(**{side: ran}))  # type: ignore[arg-type]
    assert (found.level, found.causes) == (UpgradeLevel.DIFFERENT, (Cause.KERNELS,))
    cell = found.cells[0 if side == "on_b" else 1]
    assert cell.told
    assert (cell.moved, cell.images) == (1, SNAPSHOT.numerics.logits.count)
    assert "first at conv1: output 10 -> 11 (1 of 8), 1 LSB at most" in found.findings[0]


def test_one_float_of_a_layer_is_enough() -> None:
    layers = {("fc", "output"): np.array([0.0], dtype=np.float32)}
    minus = {("fc", "output"): np.array([-0.0], dtype=np.float32)}
    found = first_difference(layers, minus)
    assert found is not None
    assert (found.count, found.lsb) == (1, None)
    nan = {("fc", "output"): np.array([np.nan], dtype=np.float32)}
    assert first_difference(nan, nan) is None


def test_what_is_on_one_side_only_or_of_another_shape() -> None:
    fewer = {place: array for place, array in STATE.items() if place[1] != "scale"}
    found = first_difference(STATE, fewer)
    assert found is not None
    assert (found.what, found.before, found.after) == ("scale", "present", "absent")
    wider = {**STATE, ("conv1", "weight codes"): np.zeros((1, 6), dtype=np.int8)}
    found = first_difference(STATE, wider)
    assert found is not None
    assert "shape (2, 3)" in found.before
    assert moved_rows(np.zeros((3, 2)), np.zeros((3, 1))) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_with_other_outputs(kind: str) -> None:
    loaded = {**cross_runs().loaded, kind: cross_runs().loaded[kind] + 1}
    found = _judged(pair(on_b=cross_runs(loaded=loaded)))
    assert (found.level, found.causes) == (UpgradeLevel.UNSAFE, (Cause.SERIALIZATION,))
    assert kind in found.findings[0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_differs_as_the_kernels_do(kind: str) -> None:
    other = logits() + np.float32(0.5)
    ran = cross_runs(
        logits={"control": logits(), "carried": other},
        loaded={**cross_runs().loaded, kind: other[:8]},
    )
    found = _judged(pair(on_b=ran))
    assert found.causes == (Cause.KERNELS,)
    assert {file.kind: file.outcome for file in found.artifacts}[kind] is FileOutcome.AS_KERNELS


def test_a_file_that_is_not_loaded() -> None:
    failed = {**cross_runs().failed, "TorchScript": "RuntimeError: no"}
    found = _judged(pair(on_b=cross_runs(failed=failed)))
    assert found.causes == (Cause.SERIALIZATION,)
    assert "TorchScript: not loaded: RuntimeError: no" in found.findings[0]


def test_a_file_that_a_cannot_write_or_load_itself_is_no_loss() -> None:
    failed = {**cross_runs().failed, "exported program": "RuntimeError: no"}
    unwritten = tuple((kind, "no" if kind == "TorchScript" else "") for kind in KINDS)
    found = _judged(pair(results(written=unwritten), on_a=cross_runs(failed=failed)))
    assert found.level is UpgradeLevel.SAFE
    assert [file.outcome.value for file in found.artifacts] == [
        "equal",
        "not written",
        "not written",
    ]


def test_a_state_that_b_cannot_run() -> None:
    failed = {**cross_runs().failed, "carried": "was killed by SIGSEGV"}
    found = _judged(pair(on_b=cross_runs(failed=failed)))
    assert (found.level, found.causes) == (UpgradeLevel.UNSAFE, (Cause.FAILS,))
    assert "was killed by SIGSEGV" in found.findings[0]


def test_a_state_that_is_not_the_whole_model_accuses_nobody() -> None:
    ran = cross_runs(logits={"control": logits() + 1, "carried": logits() + 1})
    found = _judged(pair(on_a=ran, on_b=ran))
    assert Cause.KERNELS not in found.causes
    assert "does not contain the whole model" in found.findings[0]
    assert not any(cell.told for cell in found.cells)


@pytest.mark.parametrize("verdict", [Outcome.REGRESSED, Outcome.ERROR, Outcome.INCOMPARABLE])
def test_the_gate_has_the_last_word(verdict: Outcome) -> None:
    finding = Finding(Check.ACCURACY, verdict, "90 %", "80 %", "1 %")
    found = _judged(pair(), Verdict(SNAPSHOT.case, verdict, findings=(finding,)))
    assert found.level is UpgradeLevel.UNSAFE


def test_what_nobody_explains_is_not_called_equal() -> None:
    numerics = replace(SNAPSHOT.numerics, single="0" * 64)
    found = _judged(pair(b=results(snapshot=replace(SNAPSHOT, numerics=numerics))))
    assert found.level is UpgradeLevel.DIFFERENT
    assert "2x2" in found.findings[-1]


def test_failures() -> None:
    broken = results(failure="RuntimeError: no", snapshot=None)
    found = compare_case(pair(b=broken), None)
    assert (found.level, found.causes) == (UpgradeLevel.UNSAFE, (Cause.FAILS,))
    assert "fails under 2: RuntimeError: no" in found.findings
    both = compare_case(pair(broken, broken), None)
    assert (both.level, both.unavailable) == (None, "RuntimeError: no")
    only_a = compare_case(pair(broken), None)
    assert (only_a.level, only_a.unavailable) == (None, "RuntimeError: no (works under 2)")


@pytest.mark.parametrize("package", ["torchvision", "torchao"])
def test_a_candidate_that_lacks_a_package_is_not_compared(package: str) -> None:
    reason = f"{package} cannot be imported: No module named '{package}'"
    lacking = results(failure=reason, unavailable=True, lacks=package)
    found = _judged(pair(b=lacking))
    assert (found.level, found.causes) == (None, ())
    assert f"not compared: the candidate lacks {package}" in found.unavailable


def test_a_candidate_that_lacks_an_engine_fails() -> None:
    lacking = results(failure="engine 'x86' is not in this PyTorch", unavailable=True)
    assert _judged(pair(b=lacking)).level is UpgradeLevel.UNSAFE


def _of_file(snapshot: Snapshot) -> SideResult:
    return SideResult(snapshot=snapshot, of_file=True)


def _files(now: Snapshot, verdict: Verdict = PASS) -> CaseUpgrade:
    nothing = CrossRun({}, {}, {}, {})
    both = _of_file(SNAPSHOT), _of_file(now)
    return compare_case(CasePair(SNAPSHOT.case, ("1", "2"), both, (nothing, nothing)), verdict)


def test_a_file_that_both_sides_run_alike() -> None:
    found = _files(SNAPSHOT)
    assert (found.level, found.causes, found.cells) == (UpgradeLevel.SAFE, (), ())


def test_a_file_with_other_numbers_names_the_first_layer() -> None:
    numerics = SNAPSHOT.numerics
    first, *rest = numerics.layers
    layers = (first, replace(rest[0], output_digest="other"), *rest[1:])
    now = replace(SNAPSHOT, numerics=replace(numerics, layers=layers))
    found = _files(now)
    assert (found.level, found.causes) == (UpgradeLevel.DIFFERENT, (Cause.KERNELS,))
    assert found.findings == (f"the same file computes other numbers, first at {rest[0].name}",)
    failing = replace(PASS, outcome=Outcome.REGRESSED)
    assert _files(now, failing).level is UpgradeLevel.UNSAFE


def test_a_file_that_loads_no_longer() -> None:
    nothing = CrossRun({}, {}, {}, {})
    both = _of_file(SNAPSHOT), SideResult("net.pt2 cannot be loaded")
    found = compare_case(CasePair(SNAPSHOT.case, ("1", "2"), both, (nothing, nothing)), None)
    assert (found.level, found.causes) == (UpgradeLevel.UNSAFE, (Cause.FAILS,))
    assert found.findings == ("fails under 2: net.pt2 cannot be loaded",)
