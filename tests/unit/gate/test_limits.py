"""A budget's limits judged by what the gate observes: fp32, the control, sizes, speed."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from qreg.gate.observe import Gate
from qreg.measure.options import Options
from qreg.measure.subject import Subject
from qreg.metrics.size import model_size
from qreg.quantization.engines import available_engines
from qreg.records.baseline import Snapshot
from qreg.records.budget import Against, BudgetOutcome, Limits
from qreg.records.case import Case

pytestmark = pytest.mark.skipif("x86" not in available_engines(), reason="no x86 engine")
QAT = Case("shapes10", "linear_100", "qat", "x86")
LIMITS = Limits(
    max_drop=50.0, against=Against.CONTROL, max_size_share=0.9, min_speed_up=0.001, max_flips=0
)


def test_limits_are_judged_by_fp32_and_the_control_on_the_same_samples() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        gate = Gate(Options(threads=1, download=False))
        now = gate.observe(QAT)
        assert isinstance(now, Snapshot)
        drop, size, speed, flips = gate.judge_limits(now, LIMITS)
        control = gate.observe(replace(QAT, method="fp32-finetuned"))
    finally:
        torch.set_num_threads(threads)
    assert isinstance(control, Snapshot)
    assert drop.result is BudgetOutcome.KEPT
    assert "against fp32-finetuned" in drop.allowed
    total = len(now.predictions)
    assert drop.value == pytest.approx(100 * (now.correct - control.correct) / total)
    fp32 = gate.samples("shapes10").subject(replace(QAT, method="fp32"))
    assert isinstance(fp32, Subject)
    share = now.size.file_bytes / model_size(fp32.model).file_bytes
    assert size.value == pytest.approx(100 * share)
    assert speed.result is BudgetOutcome.KEPT
    assert speed.value is not None
    assert speed.value > 0
    assert flips.value == len(now.numerics.disagreements)
    assert flips.result is BudgetOutcome.BROKEN
