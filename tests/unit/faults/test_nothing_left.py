"""A PT2E model in which nothing is quantized, made for real, is found without a baseline's help."""

from __future__ import annotations

import pytest

from qreg.faults import all_faults
from qreg.faults.fault import Target
from qreg.gate.judge import judged
from qreg.gate.observe import Gate
from qreg.measure.options import Options
from qreg.quantization.engines import available_engines
from qreg.records.baseline import Approval, Baseline, Snapshot
from qreg.records.case import Case, Failure
from qreg.records.verdict import Check, Outcome, Verdict

OPTIONS = Options(limit=60)
CASE = Case("shapes10", "simple_cnn", "pt2e-static", "x86")
pytestmark = pytest.mark.skipif("x86" not in available_engines(), reason="no x86 engine")


def _observed() -> Snapshot:
    found = Gate(OPTIONS).observe(CASE)
    if isinstance(found, Failure) and found.unavailable:
        pytest.skip(found.reason)
    assert isinstance(found, Snapshot), found
    return found


def _operators(verdict: Verdict) -> list[Outcome]:
    return [finding.outcome for finding in verdict.findings if finding.check is Check.OPERATORS]


@pytest.mark.slow
def test_an_accurate_model_without_a_quantize_node_is_regressed() -> None:
    clean = _observed()
    with all_faults()["pt2e-nothing-annotated"].inject(Target(CASE, OPTIONS)):
        empty = _observed()
    assert not any("quantize" in operator.name for operator in empty.numerics.operators)
    assert empty.size.float_layers == ("conv1", "conv2", "conv3", "fc1", "fc2", "fc3")
    assert empty.correct >= clean.correct - 3
    # its own baseline agrees with it in every bit, and without one nothing else is judged
    own = Baseline(empty, (Approval("it is accurate", "2026-01-01T00:00:00Z", "", ""),))
    for held in ((), (own,)):
        _, verdict = judged(empty, held, alpha=0.01)
        assert verdict.outcome is Outcome.REGRESSED
        assert _operators(verdict) == [Outcome.REGRESSED]
    fine = Baseline(clean, (Approval("clean", "2026-01-01T00:00:00Z", "", ""),))
    assert judged(clean, (fine,), alpha=0.01)[1].outcome is Outcome.PASS
    assert judged(clean, (), alpha=0.01)[1].outcome is Outcome.NO_BASELINE
