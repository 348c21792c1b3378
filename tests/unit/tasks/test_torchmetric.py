from __future__ import annotations

import pytest
import torch

from qreg.errors import ContractError
from qreg.tasks.torchmetric import from_torchmetrics

pytest.importorskip("torchmetrics")


def test_the_figure_of_a_set_is_the_metrics_own() -> None:
    from torchmetrics.classification import MulticlassF1Score

    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(40, 4, generator=generator)
    labels = torch.randint(0, 4, (40,), generator=generator)
    task = from_torchmetrics(
        "f1", lambda: MulticlassF1Score(num_classes=4), summary="macro F1", unit="%"
    )
    found = task.observe(logits, labels, count=40)
    assert found.rows is not None
    expected = MulticlassF1Score(num_classes=4)(logits, labels)
    assert task.summarize(found.rows) == pytest.approx(float(expected))
    some = MulticlassF1Score(num_classes=4)(logits[5:9], labels[5:9])
    assert task.summarize(found.rows[5:9]) == pytest.approx(float(some))
    assert task.higher_is_better


def test_lower_may_be_better() -> None:
    from torchmetrics import MeanSquaredError

    task = from_torchmetrics("mse", MeanSquaredError, summary="MSE")
    found = task.observe(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0]), count=2)
    assert found.values.tolist() == [0.0, 4.0]
    assert found.rows is not None
    assert task.summarize(found.rows) == 2.0
    assert not task.higher_is_better


def test_a_metric_that_keeps_lists_cannot_be_paired() -> None:
    from torchmetrics.classification import BinaryAUROC

    with pytest.raises(ContractError, match="BinaryAUROC keeps"):
        from_torchmetrics("auroc", BinaryAUROC, summary="AUROC")
