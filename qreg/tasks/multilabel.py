"""Any number of labels a sample. Outputs are logits (N, L), targets 0 or 1 (N, L)."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from qreg.errors import DataError
from qreg.tasks import summaries
from qreg.tasks.codes import row_codes
from qreg.tasks.task import Summary, Task
from qreg.tasks.tensors import Which, flat_pair, output_tensor, same_shape, target_tensor

_NAME = "multilabel"


def multilabel(*, threshold: float = 0.0, output: Which = None) -> Task:
    """F1 of the labels of each sample, and micro F1 of the set.

    A sample that has no label and is given none scores 1.

    Args:
        threshold: a label is claimed where its logit is above it: 0 is a probability of one half.
        output: which of several outputs has the logits.
    """

    def claimed(outputs: Any) -> torch.Tensor:
        return output_tensor(outputs, task=_NAME, which=output) > threshold

    def counts(outputs: Any, targets: Any) -> torch.Tensor:
        """True and false claims and missed labels of each sample (N, 3)."""
        wanted = target_tensor(targets, task=_NAME, wanted="0 or 1 for each label (N, L)")
        claims, labels = same_shape(claimed(outputs), wanted, task=_NAME)
        if not bool(((labels == 0) | (labels == 1)).all()):
            raise DataError(
                f"task '{_NAME}': a target is neither 0 nor 1",
                hint="targets are (N, labels) of 0 and 1",
            )
        parts = (claims * labels, claims * (1 - labels), (1 - claims) * labels)
        return torch.stack([part.sum(dim=1) for part in parts], dim=1)

    def score(outputs: Any, targets: Any) -> torch.Tensor:
        true, false, missed = counts(outputs, targets).unbind(dim=1)
        size = 2 * true + false + missed
        return torch.where(size > 0, 2 * true / size.clamp(min=1), torch.ones_like(size))

    return Task(
        name=_NAME,
        score=score,
        score_name="F1",
        span=1.0,
        summary=Summary("micro F1", "%", of=summaries.f1, set_level=True),
        statistics=counts,
        predictions=lambda outputs, _: row_codes(claimed(outputs).to(torch.int64)),
        loss=lambda outputs, targets: functional.binary_cross_entropy_with_logits(
            *flat_pair(outputs, targets, task=_NAME, which=output)
        ),
    )


TASK = multilabel()
