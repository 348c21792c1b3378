"""A class for each pixel. Outputs are logits (N, C, H, W), targets classes (N, H, W).

Any number of dimensions after the classes will do: (N, C, T) for frames of a sound.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from qreg.errors import ContractError
from qreg.tasks import summaries
from qreg.tasks.task import Summary, Task
from qreg.tasks.tensors import Which, check_range, chosen_output, output_tensor, whole_targets

_NAME = "segmentation"


def segmentation(*, ignore_index: int = 255, output: Which = None) -> Task:
    """Intersection over union of each sample, and mean IoU of the set.

    A sample's score is the mean over the classes that are in its target or its prediction. The
    mean IoU is of intersections and unions summed over all samples, as in PASCAL VOC; see
    `qreg.tasks.summaries.mean_iou`. Logits of one channel are those of class 1 against class 0.

    Args:
        ignore_index: pixels whose target is this are not counted.
        output: which of several outputs has the logits.
    """

    def rows(outputs: Any, targets: Any) -> torch.Tensor:
        """Intersections, then unions of each sample, a column a class (N, 2 C)."""
        logits = output_tensor(outputs, task=_NAME, which=output)
        if logits.ndim < 3:
            raise ContractError(
                f"task '{_NAME}' needs logits (N, C, H, W), not {tuple(logits.shape)}",
                hint="name another output, or another task",
            )
        one = logits.shape[1] == 1
        predicted = (logits[:, 0] > 0).to(torch.int64) if one else logits.argmax(dim=1)
        classes, shape = max(2, logits.shape[1]), tuple(predicted.shape)
        wanted = whole_targets(targets, task=_NAME, wanted="classes (N, H, W)", shape=shape)
        counted = wanted != ignore_index
        check_range(wanted[counted], classes, task=_NAME, ignored="segmentation(ignore_index={})")
        sample = torch.arange(shape[0]).reshape(-1, *[1] * (len(shape) - 1)).expand(shape)[counted]
        pairs = (sample * classes + wanted[counted]) * classes + predicted[counted]
        seen = torch.bincount(pairs, minlength=shape[0] * classes * classes)
        table = seen.reshape(shape[0], classes, classes).to(torch.float64)
        shared = table.diagonal(dim1=1, dim2=2)
        return torch.cat([shared, table.sum(dim=1) + table.sum(dim=2) - shared], dim=1)

    def score(outputs: Any, targets: Any) -> torch.Tensor:
        shared, union = rows(outputs, targets).chunk(2, dim=1)
        there = (union > 0).sum(dim=1)
        total = (shared / union.clamp(min=1)).sum(dim=1)
        return torch.where(there > 0, total / there.clamp(min=1), torch.ones_like(total))

    def loss(outputs: Any, targets: Any) -> torch.Tensor:
        logits = chosen_output(outputs, task=_NAME, which=output)
        if logits.shape[1] == 1:  # class 0 has a logit of 0
            logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
        return functional.cross_entropy(logits, targets, ignore_index=ignore_index)

    return Task(
        name=_NAME,
        score=score,
        score_name="IoU",
        span=1.0,
        summary=Summary("mean IoU", "%", of=summaries.mean_iou, set_level=True),
        statistics=rows,
        loss=loss,
    )


TASK = segmentation()
