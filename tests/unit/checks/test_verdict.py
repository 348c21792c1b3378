from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from qreg.checks.tolerances import STORED_SCALE
from qreg.checks.verdict import failed, no_baseline, with_finding, without_findings
from qreg.quantization import METHODS
from qreg.records.baseline import Snapshot
from qreg.records.case import Failure
from qreg.records.numerics import OperatorCount
from qreg.records.verdict import Check, Finding, Outcome
from qreg.stats.mcnemar import lost_more
from tests.unit.baselines import build
from tests.unit.checks import given
from tests.unit.checks.given import EXACT, LOOSE, NEWER

BEFORE = given.snapshot()
REGRESSED, IMPROVED = Outcome.REGRESSED, Outcome.IMPROVED
OTHER = "0" * 64
_SCALE = 0.0123456789  # of every layer of build.py
BOTH = pytest.mark.parametrize("basis", [EXACT, LOOSE], ids=["exact", "loose"])


def _elsewhere(found: Snapshot) -> Snapshot:
    return replace(found, environment=NEWER)


def _operators(*more: OperatorCount) -> Snapshot:
    return given.with_numerics(BEFORE, operators=(*BEFORE.numerics.operators, *more))


def _output(**changes: Any) -> Snapshot:
    output = BEFORE.numerics.layers[1].output
    assert output is not None
    return given.with_layer(BEFORE, 1, output=replace(output, **changes))


def _wrong(count: int) -> Snapshot:
    return given.with_predictions(BEFORE, build.predictions(build.images(), wrong=count))


def _noise(share: float) -> Snapshot:
    return given.with_logits(BEFORE, given.logits(BEFORE) * np.float32(1 + share))


@BOTH
def test_the_same_passes_in_silence(basis: Any) -> None:
    verdict = given.verdict(BEFORE, BEFORE, basis)
    assert (verdict.outcome, verdict.findings, verdict.notes) == (Outcome.PASS, (), ())
    assert verdict.case == BEFORE.case
    assert verdict.accuracy is not None
    assert (verdict.accuracy.expected, verdict.accuracy.won, verdict.accuracy.lost) == (35, 0, 0)


@pytest.mark.parametrize(
    ("now", "check", "outcome", "where"),
    [
        (replace(BEFORE, checkpoint=OTHER), Check.WEIGHTS, Outcome.INCOMPARABLE, ""),
        (replace(BEFORE, checkpoint=""), Check.WEIGHTS, Outcome.INCOMPARABLE, ""),
        (replace(BEFORE, calibration=(*range(63),)), Check.CALIBRATION, REGRESSED, ""),
        (replace(BEFORE, calibration=(*range(63), 99)), Check.CALIBRATION, REGRESSED, ""),
        (
            given.with_layer(BEFORE, 1, kind="Conv2d"),
            Check.OPERATORS,
            REGRESSED,
            "conv2",
        ),
        (_operators(OperatorCount("quantized::add", 1)), Check.OPERATORS, REGRESSED, ""),
        (_output(scales=(1.0,)), Check.PARAMETERS, REGRESSED, "conv2: output"),
        (_output(zero_points=(65,)), Check.PARAMETERS, REGRESSED, "conv2: output"),
        (
            given.with_layer(BEFORE, 1, weight_digest="0"),
            Check.PARAMETERS,
            REGRESSED,
            "conv2: weight values",
        ),
        (given.with_numerics(BEFORE, reloaded=OTHER), Check.STORAGE, REGRESSED, ""),
        (given.with_numerics(BEFORE, reloaded=""), Check.STORAGE, REGRESSED, ""),
        (
            replace(BEFORE, size=build.size(layers=4)),
            Check.SIZE,
            REGRESSED,
            "conv4 bias float32: 0 -> 64; conv4 weight qint8: 0 -> 432",
        ),
        (replace(BEFORE, warnings=("a", *BEFORE.warnings)), Check.WARNINGS, REGRESSED, "a"),
        (replace(BEFORE, warnings=()), Check.WARNINGS, IMPROVED, BEFORE.warnings[0]),
    ],
)
@BOTH
def test_each_finding_stands_alone_with_its_place(
    now: Snapshot, check: Check, outcome: Outcome, where: str, basis: Any
) -> None:
    verdict = given.verdict(now, BEFORE, basis)
    assert given.said(verdict) == [(check, outcome)]
    assert verdict.outcome is outcome
    assert verdict.findings[0].where == where


@pytest.mark.parametrize(
    ("now", "check", "where"),
    [
        (given.with_layer(BEFORE, 2, output_digest="0"), Check.LAYERS, "conv3"),
        (_noise(0.001), Check.LOGITS, "8 of 8 "),
        (given.with_layer(BEFORE, 3, weight_digest="0"), Check.PARAMETERS, "fc: weight values"),
        (_output(scales=(_SCALE * (1 + STORED_SCALE / 2),)), Check.PARAMETERS, "conv2: output"),
        (given.with_layer(BEFORE, 1, sqnr_db=30.3), Check.LAYERS, "conv2"),
        (given.with_numerics(BEFORE, disagreements=(0, 1, 2, 3)), Check.AGREEMENT, None),
        (given.with_numerics(BEFORE, reference=OTHER), Check.AGREEMENT, None),
    ],
)
def test_what_is_exact_here_has_room_elsewhere(
    now: Snapshot, check: Check, where: str | None
) -> None:
    verdict = given.verdict(now, BEFORE, EXACT)
    assert given.said(verdict) == [(check, REGRESSED)]
    assert where is None or verdict.findings[0].where.startswith(where)
    elsewhere = given.verdict(_elsewhere(now), BEFORE, LOOSE)
    assert (elsewhere.outcome, elsewhere.notes) == (Outcome.PASS, ())


@pytest.mark.parametrize(
    ("now", "check"),
    [
        (given.with_layer(BEFORE, 1, sqnr_db=30.2), Check.LAYERS),
        (_noise(0.1), Check.LOGITS),
        (_output(scales=(_SCALE * (1 + 2 * STORED_SCALE),)), Check.PARAMETERS),
        (_output(zero_points=(65,)), Check.PARAMETERS),
        (given.with_numerics(BEFORE, disagreements=(*range(13),)), Check.AGREEMENT),
        (_wrong(13), Check.ACCURACY),
    ],
)
def test_beyond_the_room_it_regresses_elsewhere_too(now: Snapshot, check: Check) -> None:
    verdict = given.verdict(_elsewhere(now), BEFORE, LOOSE)
    assert given.said(verdict) == [(check, REGRESSED)]


# Each within what other float arithmetic explains, and not within what kernels do.
_FLOAT_ROOM = (
    _output(scales=(_SCALE * 1.05,)),
    _output(zero_points=(66,)),
    given.with_layer(BEFORE, 1, sqnr_db=28.0),
    _noise(0.02),
)


@pytest.mark.parametrize("now", _FLOAT_ROOM)
def test_other_float_arithmetic_has_more_room(now: Snapshot) -> None:
    assert given.verdict(_elsewhere(now), BEFORE, LOOSE).outcome is REGRESSED
    now = _elsewhere(given.with_numerics(now, reference=OTHER))
    assert given.verdict(now, BEFORE, LOOSE).outcome is Outcome.PASS


def test_another_pytorch_may_pack_warn_and_call_differently() -> None:
    now = _elsewhere(_operators(OperatorCount("aten::view", 1)))
    now = replace(now, size=replace(now.size, file_bytes=50_000), warnings=("new",))
    verdict = given.verdict(now, BEFORE, LOOSE)
    assert (verdict.outcome, verdict.findings) == (Outcome.PASS, ())
    assert verdict.notes == ("warnings under this PyTorch: 1 new, 1 gone",)


def test_another_build_of_one_version_may_not() -> None:
    same = replace(BEFORE.environment, torch="2.14.1+cu130")
    now = replace(_operators(OperatorCount("aten::view", 1)), environment=same, warnings=())
    now = replace(now, size=replace(now.size, file_bytes=50_000))
    checks = {check for check, _ in given.said(given.verdict(now, BEFORE, EXACT))}
    assert checks == {Check.OPERATORS, Check.SIZE, Check.WARNINGS}


@pytest.mark.parametrize(
    ("method", "vnni", "outcome"),
    [
        ("torchao-int8-dynamic", False, Outcome.PASS),
        ("torchao-int8-dynamic", True, REGRESSED),
        ("static", False, REGRESSED),
    ],
)
def test_torchao_chooses_operators_by_the_cpu(method: str, vnni: bool, outcome: Outcome) -> None:
    case = replace(BEFORE.case, method=method)
    now = replace(
        _operators(OperatorCount("aten::view", 1)),
        case=case,
        environment=replace(BEFORE.environment, vnni=vnni, cpu="another"),
    )
    assert given.verdict(now, replace(BEFORE, case=case), LOOSE).outcome is outcome


def test_digests_are_reported_where_available() -> None:
    (found,) = given.verdict(replace(BEFORE, checkpoint=""), BEFORE).findings
    assert (found.expected, found.observed) == (
        f"checkpoint, sha256 {BEFORE.checkpoint[:16]}",
        "other weights: factory, sha256 not recorded",
    )
    (found,) = given.verdict(BEFORE, replace(BEFORE, checkpoint="")).findings
    assert (found.expected, found.observed) == (
        "factory, sha256 not recorded",
        f"other weights: checkpoint, sha256 {BEFORE.checkpoint[:16]}",
    )
    (found,) = given.verdict(given.with_numerics(BEFORE, reloaded=OTHER), BEFORE).findings
    assert found.observed == "other logits, digest 0000000000000000"


@BOTH
def test_a_model_that_can_be_saved_again_improved(basis: Any) -> None:
    before = given.with_numerics(BEFORE, reloaded="")
    verdict = given.verdict(BEFORE, before, basis)
    assert given.said(verdict) == [(Check.STORAGE, IMPROVED)]
    assert "not loadable" in verdict.findings[0].expected
    assert verdict.findings[0].observed == "the same logits"


@BOTH
def test_accuracy_that_rose_is_not_silent(basis: Any) -> None:
    before = _wrong(20)
    verdict = given.verdict(BEFORE, before, basis)
    assert (Check.ACCURACY, IMPROVED) in given.said(verdict)
    assert len(verdict.moved) == 15
    assert verdict.accuracy is not None
    assert verdict.accuracy.won == 15


@BOTH
def test_other_images_end_the_judgement(basis: Any) -> None:
    seen = replace(BEFORE.numerics.images, digests=build.images(seed=1).digests)
    others = given.with_numerics(replace(BEFORE, checkpoint=OTHER), images=seen)
    for now, before in (
        (others, BEFORE),
        (given.with_rows(BEFORE, [0]), given.with_rows(BEFORE, [1])),
    ):
        verdict = given.verdict(now, before, basis)
        assert given.said(verdict) == [(Check.IMAGES, Outcome.INCOMPARABLE)]
        assert (verdict.accuracy, verdict.moved) == (None, ())


@BOTH
def test_removed_images_are_not_silent_and_new_ones_are_noted(basis: Any) -> None:
    fewer = given.with_rows(BEFORE, [*range(10), *range(12, 40)])
    verdict = given.verdict(fewer, BEFORE, basis)
    assert given.said(verdict) == [(Check.IMAGES, Outcome.INCONCLUSIVE)]
    verdict = given.verdict(BEFORE, fewer, basis)
    assert verdict.outcome is Outcome.PASS
    assert verdict.notes == ("judged on 38 of 40 images: the others are new",)


@BOTH
def test_the_gates_images_and_the_whole_test_set(basis: Any) -> None:
    gate = given.with_rows(BEFORE, [*range(8)])
    assert given.verdict(gate, BEFORE, basis).outcome is Outcome.PASS
    assert given.verdict(BEFORE, gate, basis).outcome is Outcome.PASS


@BOTH
def test_logits_that_are_no_numbers_never_pass(basis: Any) -> None:
    values = given.logits(BEFORE)
    values[7, 9] = np.nan
    broken = given.with_logits(BEFORE, values)
    for before in (BEFORE, broken):
        verdict = given.verdict(broken, before, basis)
        assert (verdict.outcome, verdict.findings[0].check) == (REGRESSED, Check.LOGITS)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_is_no_first_baseline_without_a_word(value: float) -> None:
    values = given.logits(BEFORE)
    values[7, 9] = value
    method = METHODS.info("static")
    verdict = no_baseline(given.with_logits(BEFORE, values), method)
    assert (verdict.outcome, verdict.findings[0].check) == (REGRESSED, Check.LOGITS)
    assert verdict.findings[0].where == "1 of 8 samples"  # as many as are kept
    assert no_baseline(BEFORE, method).outcome is Outcome.NO_BASELINE


def test_the_p_values_are_there_whether_or_not_anything_was_found() -> None:
    assert given.verdict(BEFORE, BEFORE).p_values == (1.0, 1.0)
    now = given.with_numerics(_wrong(8), disagreements=(*range(3), 9, 10))
    assert given.verdict(now, BEFORE).p_values == (0.5**3, lost_more(2, 2))


def test_the_worst_comes_first() -> None:
    now = replace(BEFORE, checkpoint=OTHER, warnings=(), calibration=())
    verdict = given.verdict(given.with_rows(now, [*range(39)]), BEFORE)
    assert given.said(verdict) == [
        (Check.CALIBRATION, REGRESSED),
        (Check.WEIGHTS, Outcome.INCOMPARABLE),
        (Check.WARNINGS, IMPROVED),
    ]
    assert verdict.outcome is Outcome.INCOMPARABLE


def test_of_other_weights_nothing_is_comparable_however_much_has_moved() -> None:
    verdict = given.verdict(replace(_wrong(20), checkpoint=f"factory:{OTHER}"), BEFORE)
    assert (Check.ACCURACY, REGRESSED) in given.said(verdict)
    assert verdict.outcome is Outcome.INCOMPARABLE
    assert verdict.weights == f"factory, sha256 {OTHER[:16]}"


def test_weights_without_a_recorded_digest_may_be_any_that_are_brought() -> None:
    before = replace(BEFORE, checkpoint="")
    assert given.verdict(replace(BEFORE, checkpoint=f"factory:{OTHER}"), before).findings == ()


def test_logits_that_are_no_numbers_regress_without_a_baseline_too() -> None:
    logits = BEFORE.numerics.logits
    broken = replace(logits, values=b"\0\0\xc0\x7f" + logits.values[4:])
    verdict = no_baseline(
        given.with_numerics(BEFORE, logits=broken), METHODS.info(build.CASE.method)
    )
    assert given.said(verdict) == [(Check.LOGITS, REGRESSED)]
    assert verdict.outcome is REGRESSED


def test_severities_are_in_the_order_of_harm() -> None:
    ordered = " ".join(o.value for o in sorted(Outcome, key=lambda o: o.severity))
    assert ordered == "PASS IMPROVED NO_BASELINE INCONCLUSIVE INCOMPARABLE REGRESSED ERROR"
    assert {o.value for o in Outcome if o.fails} == {"INCOMPARABLE", "REGRESSED", "ERROR"}


@pytest.mark.parametrize("outcome", [REGRESSED, IMPROVED])
def test_a_finding_more_takes_its_place(outcome: Outcome) -> None:
    verdict = given.verdict(replace(BEFORE, calibration=()), BEFORE)
    added = with_finding(verdict, Finding(Check.SATURATION, outcome, "", "", "", where="conv1"))
    assert len(added.findings) == 2
    worst = max(added.findings, key=lambda finding: finding.outcome.severity)
    assert added.findings[0] is worst
    assert added.outcome is worst.outcome


def test_cases_that_were_not_judged() -> None:
    assert (
        no_baseline(build.snapshot(), METHODS.info(build.CASE.method)).outcome
        is Outcome.NO_BASELINE
    )
    assert no_baseline(build.snapshot(), METHODS.info(build.CASE.method)).notes
    verdict = failed(Failure(build.CASE, "it broke", "mend it", False, details="Traceback"))
    assert (verdict.outcome, verdict.details) == (Outcome.ERROR, "Traceback")
    assert verdict.notes == ("it broke", "mend it")
    assert failed(Failure(build.CASE, "it broke", "", False)).notes == ("it broke",)


def test_verdicts_need_no_torch() -> None:
    code = "import sys, qreg.checks.verdict; print('torch' in sys.modules, 'scipy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


def test_scores_replace_accuracy_and_are_judged_within_the_verdict() -> None:
    before = given.snapshot(score=build.score())
    same = given.verdict(before, before)
    assert same.outcome is Outcome.PASS
    assert same.accuracy is None
    assert same.score is not None
    assert same.score.change == 0
    assert before.score is not None
    rows = tuple((0.0, whole) for _, whole in before.score.rows)
    fallen = replace(before.score, values=(0.0,) * 40, value=0.0, rows=rows)
    worse = given.verdict(replace(before, score=fallen), before, LOOSE)
    assert given.said(worse) == [(Check.SCORE, Outcome.REGRESSED)]
    assert worse.p_values[0] < 1e-6
    for now, old in ((before, replace(before, score=None)), (replace(before, score=None), before)):
        found = given.verdict(now, old, LOOSE)
        assert found.outcome is Outcome.INCOMPARABLE
        assert (Check.SCORE, Outcome.INCOMPARABLE) in given.said(found)


def test_what_another_verdict_has_too_is_no_difference() -> None:
    """An upgrade is not to blame for what the present PyTorch fails for as well."""
    float_only = given.with_numerics(BEFORE, operators=(), layers=())
    own = given.verdict(float_only, float_only, EXACT)
    assert (own.outcome, [one.check for one in own.findings]) == (REGRESSED, [Check.OPERATORS])
    assert without_findings(own, own.findings).outcome is Outcome.PASS
    other = given.verdict(_wrong(9), BEFORE, EXACT)
    assert without_findings(other, own.findings) == other
