"""What a fault changes is seen in the snapshot, or it is known why nothing is."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import nn

from qreg.checks.conversion import judge_qat
from qreg.checks.verdict import judge, with_finding
from qreg.faults import all_faults
from qreg.faults.child import RUN_OF
from qreg.faults.families.rounding import _requantized, half_away
from qreg.faults.fault import Fault, Target, after
from qreg.faults.surgery import in_middle
from qreg.gate.observe import Gate
from qreg.measure.options import Options
from qreg.quantization import method_info
from qreg.quantization.engines import available_engines
from qreg.records.baseline import Approval, Baseline, Snapshot
from qreg.records.case import Case, Failure
from qreg.records.qat import QatObservation
from qreg.records.verdict import Basis, Outcome
from qreg.stats.holm import family_alpha

#: Few, and enough that the faults of the test images hit some.
OPTIONS = Options(limit=120)
_BATCHNORM = ("BatchNorm2d", "AdaptiveAvgPool2d")
_IN_SHIPPED = {*_BATCHNORM, "ReLU", "MaxPool2d", "Conv2d"}
pytestmark = pytest.mark.skipif("x86" not in available_engines(), reason="no x86 engine")


def _case(fault: Fault) -> Case:
    model = "resnet20" if set(fault.needs) & set(_BATCHNORM) else "simple_cnn"
    order = ("static", "qat", "dynamic", "pt2e-static")
    preferred = [method for method in order if method in fault.methods]
    if not preferred:
        return Case("shapes10", model, fault.methods[0], fault.engines[0])
    return Case("shapes10", model, preferred[0], "x86")


@cache
def _clean(case: Case) -> tuple[Snapshot, QatObservation]:
    found, qat = _observed(case)
    assert isinstance(found, Snapshot), found
    return found, qat


def _observed(case: Case) -> tuple[Snapshot | Failure, QatObservation]:
    gate = Gate(OPTIONS)
    found = gate.observe(case)
    if isinstance(found, Failure) and found.unavailable:
        pytest.skip(found.reason)
    return found, gate.qat


@pytest.mark.slow
@pytest.mark.parametrize("fault", all_faults().values(), ids=lambda fault: fault.name)
def test_a_fault_is_seen_bit_by_bit(fault: Fault) -> None:
    if set(fault.needs) - _IN_SHIPPED:
        pytest.skip(f"no shipped network has {', '.join(fault.needs)}: see test_samples.py")
    case = _case(fault)
    clean, before = _clean(case)
    with fault.inject(Target(case, OPTIONS)):
        seen, after_it = _observed(case)
    if (seen, after_it) == (clean, before):
        # test_slow.py finds what shows in time
        assert fault.unchanged_because or fault.shows_in_time
        return
    if isinstance(seen, Failure):  # the case is an ERROR, which no other fault may be here
        assert fault.family == "noise", seen
        return
    baseline = Baseline(clean, (Approval("clean", "2026-01-01T00:00:00Z", "", ""),))
    basis, method = Basis(exact=True, reason=""), method_info(case.method)
    verdict = judge(seen, baseline, basis, method, alpha=family_alpha(RUN_OF))
    for finding in judge_qat(after_it):
        verdict = with_finding(verdict, finding)
    assert verdict.outcome is not Outcome.PASS


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["zero-point+1", "scale-x1.01", "one-code", "bias-dropped", "saved-bias-lost", "nan"]
)
def test_a_fault_of_static_is_seen_in_an_fx_graph(name: str) -> None:
    case, fault = Case("shapes10", "simple_cnn", "fx-static", "x86"), all_faults()[name]
    assert fault.applies(case, frozenset())
    clean, _ = _clean(case)
    with fault.inject(Target(case, OPTIONS)):
        seen, _ = _observed(case)
    assert isinstance(seen, Snapshot), seen
    assert seen != clean


@pytest.mark.slow
def test_a_rounding_that_is_the_kernels_changes_nothing() -> None:
    case = Case("shapes10", "simple_cnn", "static", "x86")
    with after(in_middle(_requantized(torch.round)))(Target(case, OPTIONS)):
        assert _observed(case) == _clean(case)


def test_half_is_rounded_away_from_zero() -> None:
    given = torch.tensor([-2.5, -1.5, -0.4, 0.0, 0.5, 1.5, 2.4, 2.5])
    assert half_away(given).tolist() == [-3, -2, 0, 0, 1, 2, 2, 3]


def test_a_change_after_quantization_is_of_the_case_only() -> None:
    from qreg.measure import subject as prepare

    seen: list[nn.Module] = []
    case = Case("shapes10", "simple_cnn", "dynamic", "x86")
    with after(seen.append)(Target(case, OPTIONS)):
        assert prepare.get_method("fp32").name == "fp32"
        assert prepare.get_method("dynamic").quantize is not prepare.get_method("fp32").quantize
    assert seen == []
