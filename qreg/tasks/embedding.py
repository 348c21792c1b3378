"""Vectors whose direction matters. Outputs are (N, D), compared by cosine similarity."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from qreg.errors import ContractError
from qreg.tasks.task import Summary, Task
from qreg.tasks.tensors import Which, flat_pair, output_tensor, same_shape, target_tensor


def embedding(*, against_target: bool = False, output: Which = None) -> Task:
    """Cosine similarity to fp32's embedding of the same sample, or to the target.

    Vectors of zeros have no direction: two of them are alike (1), one and another vector are not
    (0).

    Args:
        against_target: compare with the targets (N, D) instead of with fp32.
        output: which of several outputs is the embedding.
    """
    name = "embedding-target" if against_target else "embedding"

    def score(outputs: Any, targets: Any) -> torch.Tensor:
        found = output_tensor(outputs, task=name, which=output)
        if found.ndim < 2:
            raise ContractError(
                f"task '{name}' needs embeddings (N, D), not {tuple(found.shape)}",
                hint="name another output, or another task",
            )
        if against_target:
            wanted = target_tensor(targets, task=name, wanted="embeddings (N, D)")
        else:
            wanted = output_tensor(targets, task=name, which=output)
        a, b = same_shape(found, wanted, task=name)
        lengths = a.norm(dim=1) * b.norm(dim=1)
        cosine = (a * b).sum(dim=1) / torch.where(lengths > 0, lengths, torch.ones_like(lengths))
        neither = (a == 0).all(dim=1) & (b == 0).all(dim=1)
        same = (a == b).all(dim=1)  # rounding would leave 1 - 1e-16 of them
        return torch.where(neither | same, torch.ones_like(cosine), cosine.clamp(-1, 1))

    return Task(
        name=name,
        score=score,
        score_name="cosine similarity",
        span=2.0,
        summary=Summary("mean cosine similarity"),
        against_reference=not against_target,
        loss=lambda outputs, targets: (
            1
            - functional.cosine_similarity(
                *flat_pair(outputs, targets, task=name, which=output)
            ).mean()
        ),
    )


TASK = embedding()
AGAINST_TARGET = embedding(against_target=True)
