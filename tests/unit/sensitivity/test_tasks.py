"""Other tasks than classification, and inputs with names: the score is the task's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset as TorchDataset

from qreg.data import DATASETS
from qreg.data.objects import dataset_of_object
from qreg.measure.options import Options
from qreg.models import MODELS
from qreg.quantization.engines import default_engine
from qreg.records.budget import BudgetOutcome
from qreg.records.case import Case
from qreg.sensitivity.recovery import recover
from qreg.sensitivity.report import (
    headline,
    recovery_lines,
    recovery_text,
    sensitivity_notes,
    sensitivity_text,
)
from qreg.sensitivity.run import Extent, measure_sensitivity


class _Named(nn.Module):
    """Two named inputs; one channel of its first layer is too large for int8."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.left, self.right, self.last = nn.Linear(8, 16), nn.Linear(8, 3), nn.Linear(16, 3)
        with torch.no_grad():
            self.left.weight[0] *= 3000
            self.last.weight[:, 0] /= 3000

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> Any:
        return {"out": self.last(self.left(a)), "other": self.right(b)}


class _Items(TorchDataset):  # type: ignore[type-arg]
    def __init__(self, *, targets: bool) -> None:
        torch.manual_seed(1)
        self.a, self.b = torch.randn(300, 8), torch.randn(300, 8)
        with torch.no_grad():
            self.wanted = _Named().eval()(self.a, self.b)["out"]
        self.targets = targets

    def __len__(self) -> int:
        return len(self.a)

    def __getitem__(self, row: int) -> Any:
        given = {"a": self.a[row], "b": self.b[row]}
        return given, self.wanted[row] if self.targets else 0


@pytest.mark.slow
@pytest.mark.parametrize("task", ["agreement", "regression"])
def test_real_scores_and_named_inputs(task: str) -> None:
    items = _Items(targets=task == "regression")
    made = dataset_of_object("own", {"train": items, "test": items})
    data = replace(made, task=task, classes=())
    case = Case("own", "named", "fx-static", default_engine())
    options = Options(calibration=64)
    with MODELS.meaning({"named": _Named}), DATASETS.meaning({"own": data}):
        found = measure_sensitivity(case, options, Extent(everything=True))
        result = recover(case, options, 5.0 if task == "agreement" else 0.05)
    first = found.effects[0]
    assert first.site.layer in ("left", "last")
    assert first.only is not None
    assert first.only.drop > 0
    assert not found.higher_is_better
    assert "%" in headline(found) or task == "regression"
    assert any("simulation" in note for note in sensitivity_notes(found))
    assert '"effects"' in sensitivity_text(found, created="2026-11-25T00:00:00+00:00")
    assert result.before.outcome is BudgetOutcome.BROKEN
    assert result.verified.outcome is BudgetOutcome.KEPT
    assert 0 < len(result.keep) < 4
    assert any("verified on 150 samples" in line for line in recovery_lines(result))
    assert '"verified"' in recovery_text(result, created="2026-11-25T00:00:00+00:00")
