"""One label a sample: right or wrong. Outputs are logits (N, C), targets labels (N,)."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from qreg.errors import ContractError
from qreg.tasks.task import Summary, Task
from qreg.tasks.tensors import Which, check_range, chosen_output, output_tensor, whole_targets


def classification(*, top_k: int = 1, output: Which = None) -> Task:
    """Whether the label is among the `top_k` highest logits: 0 or 1.

    Args:
        output: which of several outputs has the logits.

    Raises:
        ContractError: `top_k` is not a positive number.
    """
    name = "classification" if top_k == 1 else f"classification-top{top_k}"
    if top_k < 1:
        raise ContractError(f"top_k is {top_k}", hint="it must be 1 or more")

    def logits(outputs: Any) -> torch.Tensor:
        found = output_tensor(outputs, task=name, which=output)
        if found.ndim != 2:
            raise ContractError(
                f"task '{name}' needs logits (N, C), not {tuple(found.shape)}",
                hint="name another output, or another task",
            )
        return found

    def score(outputs: Any, targets: Any) -> torch.Tensor:
        found = logits(outputs)
        labels = whole_targets(targets, task=name, wanted="labels (N,)", shape=(len(found),))
        check_range(labels, found.shape[1], task=name)
        if top_k == 1:
            return (found.argmax(dim=1) == labels).to(torch.float64)
        highest = found.topk(min(top_k, found.shape[1]), dim=1).indices
        return (highest == labels[:, None]).any(dim=1).to(torch.float64)

    return Task(
        name=name,
        score=score,
        score_name="right" if top_k == 1 else f"among the first {top_k}",
        binary=True,
        summary=Summary("accuracy" if top_k == 1 else f"top-{top_k} accuracy", "%"),
        predictions=lambda outputs, _: logits(outputs).argmax(dim=1),
        loss=lambda outputs, labels: functional.cross_entropy(
            chosen_output(outputs, task=name, which=output), labels
        ),
    )


TASK = classification()
TOP_5 = classification(top_k=5)
