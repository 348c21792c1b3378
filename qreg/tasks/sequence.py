"""A label for each token. Outputs are logits (N, T, V), targets tokens (N, T)."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from qreg.errors import ContractError
from qreg.tasks.codes import row_codes
from qreg.tasks.task import Summary, Task
from qreg.tasks.tensors import Which, check_range, chosen_output, output_tensor, whole_targets

_NAME = "sequence"


def sequence(*, padding: int = -100, output: Which = None) -> Task:
    """The share of tokens of each sample that are right; padding is not counted.

    A sample of nothing but padding scores 1. A changed prediction is one with any other token.

    Args:
        padding: the target of a token that is not counted.
        output: which of several outputs has the logits.
    """

    def tokens(outputs: Any) -> tuple[torch.Tensor, int]:
        logits = output_tensor(outputs, task=_NAME, which=output)
        if logits.ndim != 3:
            raise ContractError(
                f"task '{_NAME}' needs logits (N, T, V), not {tuple(logits.shape)}",
                hint="name another output, or another task",
            )
        return logits.argmax(dim=2), logits.shape[2]

    def wanted(targets: Any, shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
        """Target tokens and which of them count."""
        found = whole_targets(targets, task=_NAME, wanted="tokens (N, T)", shape=shape)
        return found, found != padding

    def score(outputs: Any, targets: Any) -> torch.Tensor:
        predicted, vocabulary = tokens(outputs)
        labels, counted = wanted(targets, tuple(predicted.shape))
        check_range(labels[counted], vocabulary, task=_NAME, ignored="sequence(padding={})")
        right = ((predicted == labels) & counted).sum(dim=1).to(torch.float64)
        size = counted.sum(dim=1)
        return torch.where(size > 0, right / size.clamp(min=1), torch.ones_like(right))

    def predictions(outputs: Any, targets: Any) -> Any:
        predicted, _ = tokens(outputs)
        _, counted = wanted(targets, tuple(predicted.shape))
        return row_codes(torch.where(counted, predicted, torch.full_like(predicted, -1)))

    def loss(outputs: Any, targets: Any) -> torch.Tensor:
        logits = chosen_output(outputs, task=_NAME, which=output).transpose(1, 2)
        return functional.cross_entropy(logits, targets, ignore_index=padding)

    return Task(
        name=_NAME,
        score=score,
        score_name="tokens right",
        span=1.0,
        summary=Summary("token accuracy", "%"),
        predictions=predictions,
        loss=loss,
    )


TASK = sequence()
