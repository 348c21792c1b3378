"""Real numbers. Outputs and targets have the same shape (N, ...)."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from qreg.tasks import summaries
from qreg.tasks.task import Summary, Task
from qreg.tasks.tensors import Which, flat_pair, output_tensor, same_shape, target_tensor


def regression(*, squared: bool = False, unit: str = "", output: Which = None) -> Task:
    """Mean absolute error of each sample's numbers, or their mean squared error.

    The summary is the mean of the absolute errors (MAE), or the root of the mean of the squared
    ones (RMSE), in the unit of the targets.

    Args:
        unit: of the targets, for reports.
        output: which of several outputs has the numbers.
    """
    name = "regression-rmse" if squared else "regression"

    def score(outputs: Any, targets: Any) -> torch.Tensor:
        found = output_tensor(outputs, task=name, which=output)
        wanted = target_tensor(targets, task=name, wanted="numbers of the shape of the outputs")
        given, true = same_shape(found, wanted, task=name)
        errors = (given - true).abs()
        return (errors**2 if squared else errors).mean(dim=1)

    def rows(outputs: Any, targets: Any) -> torch.Tensor:
        return score(outputs, targets)[:, None]

    return Task(
        name=name,
        score=score,
        score_name="squared error" if squared else "absolute error",
        higher_is_better=False,
        summary=Summary("RMSE", unit, of=summaries.root_mean, set_level=True)
        if squared
        else Summary("MAE", unit),
        statistics=rows if squared else None,
        loss=lambda outputs, targets: (functional.mse_loss if squared else functional.l1_loss)(
            *flat_pair(outputs, targets, task=name, which=output)
        ),
    )


TASK = regression()
RMSE = regression(squared=True)
