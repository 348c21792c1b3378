"""No labels: how far outputs lie from fp32's on the same samples. Outputs may be anything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from qreg.errors import ContractError
from qreg.tasks.task import Summary, Task
from qreg.tasks.tensors import described, output_tensor

_NAME = "agreement"


def agreement() -> Task:
    """The relative error of each sample: the norm of the difference over the norm of fp32's output.

    All tensors of an output count, one after the other. Where fp32's output is all zeros the error
    is 0 if the other is too, else 1.
    """

    def score(outputs: Any, reference: Any) -> torch.Tensor:
        parts = list(_pairs(outputs, reference))
        if not parts:
            raise ContractError(
                f"task '{_NAME}' finds no tensor in {described(outputs)}",
                hint="the model must return a tensor, several, or named ones",
            )
        count = len(parts[0][0])
        if any(len(one) != count for one, _ in parts):
            raise ContractError(
                f"task '{_NAME}': outputs of one batch have different numbers of samples",
                hint="the first dimension of every output counts samples",
            )
        flat = [torch.cat([p[side].reshape(count, -1) for p in parts], dim=1) for side in (0, 1)]
        size, distance = flat[1].norm(dim=1), (flat[0] - flat[1]).norm(dim=1)
        relative = distance / torch.where(size > 0, size, torch.ones_like(size))
        return torch.where(size > 0, relative, (distance > 0).to(torch.float64))

    return Task(
        name=_NAME,
        score=score,
        score_name="relative error",
        higher_is_better=False,
        summary=Summary("mean relative error", "%"),
        against_reference=True,
    )


def _pairs(outputs: Any, reference: Any) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The tensors of both, float64, in the order of the reference."""
    if isinstance(outputs, torch.Tensor) and isinstance(reference, torch.Tensor):
        if outputs.shape != reference.shape:
            raise _unlike(outputs, reference)
        a, b = (output_tensor(one, task=_NAME) for one in (outputs, reference))
        yield a.to(torch.float64), b.to(torch.float64)
    elif isinstance(outputs, Mapping) and isinstance(reference, Mapping):
        if set(outputs) != set(reference):
            raise _unlike(outputs, reference)
        for key in reference:
            yield from _pairs(outputs[key], reference[key])
    elif isinstance(outputs, (tuple, list)) and isinstance(reference, (tuple, list)):
        if len(outputs) != len(reference):
            raise _unlike(outputs, reference)
        for one, other in zip(outputs, reference, strict=True):
            yield from _pairs(one, other)
    elif outputs is not None or reference is not None:
        raise _unlike(outputs, reference)


def _unlike(outputs: Any, reference: Any) -> ContractError:
    return ContractError(
        f"task '{_NAME}': the model returned {described(outputs)}, fp32 {described(reference)}",
        hint="outputs that change their shape have no distance: name another task",
    )


TASK = agreement()
