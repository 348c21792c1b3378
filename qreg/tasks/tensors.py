"""What the shipped tasks take out of opaque outputs and targets, checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from qreg.errors import ContractError, DataError, LabelRangeError

#: Which entry of a dict of outputs is the one to score, where none is named.
USUAL_NAMES = ("logits", "out", "output")
#: Which output: a name, a position, or None for the usual one.
Which = str | int | None


def output_tensor(outputs: Any, *, task: str, which: Which = None) -> torch.Tensor:
    """The tensor of a model's outputs that a task scores, in float.

    A tensor is itself; of a dict it is the entry named, else "logits", "out" or "output", else the
    only one; of a tuple or list it is the entry at the position given, else the first.

    Raises:
        ContractError: there is no such tensor, or a sample of it has a NaN.
    """
    found = chosen_output(outputs, task=task, which=which)
    if not isinstance(found, torch.Tensor):
        raise ContractError(
            f"task '{task}' needs a tensor as output, the model returned {described(found)}",
            hint="name the output: make the task with output='name' or output=position",
        )
    values = found.detach()
    values = values.dequantize() if values.is_quantized else values
    if values.ndim == 0:
        raise ContractError(
            f"task '{task}': the output has no dimension of samples",
            hint="the first dimension of an output counts samples",
        )
    values = values if values.is_floating_point() else values.to(torch.float64)
    refuse_nan(values, task=task)
    return values


def refuse_nan(values: torch.Tensor, *, task: str) -> None:
    """A NaN is no output that could be scored.

    Raises:
        ContractError: there is one.
    """
    bad = torch.isnan(values).reshape(len(values), -1).any(dim=1) if values.numel() else None
    if bad is not None and bool(bad.any()):
        raise ContractError(
            f"task '{task}': the output of sample {int(bad.nonzero()[0, 0])} of the batch is NaN",
            hint="look for a division by zero or a range that was never observed",
        )


def chosen_output(outputs: Any, *, task: str, which: Which) -> Any:
    """The output that a task looks at, as the model returned it: a loss can be derived of it.

    Raises:
        ContractError: there is none of that name or position.
    """
    if isinstance(outputs, Mapping):
        names = [which] if which is not None else [n for n in USUAL_NAMES if n in outputs]
        if which is None and len(outputs) == 1:
            names = list(outputs)
        if names and names[0] in outputs:
            return outputs[names[0]]
    elif isinstance(outputs, (tuple, list)):
        position = which if isinstance(which, int) else 0
        if -len(outputs) <= position < len(outputs):
            return outputs[position]
    elif which is None:
        return outputs
    raise ContractError(
        f"task '{task}' finds no output {'' if which is None else repr(which) + ' '}in "
        f"{described(outputs)}",
        hint="name the output: make the task with output='name' or output=position",
    )


def described(value: Any) -> str:
    """What something opaque is, for a message."""
    if isinstance(value, torch.Tensor):
        return f"a tensor {tuple(value.shape)} of {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, Mapping):
        return f"a dict of {', '.join(map(str, value))}" if value else "an empty dict"
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    return "nothing" if value is None else f"a {type(value).__name__}"


def target_tensor(targets: Any, *, task: str, wanted: str) -> torch.Tensor:
    """The targets as the one tensor that a task needs.

    Args:
        wanted: what they should be, "labels (N,)" for example.

    Raises:
        DataError: they are not a tensor.
    """
    if isinstance(targets, (tuple, list)) and len(targets) == 1:
        targets = targets[0]
    if not isinstance(targets, torch.Tensor):
        raise DataError(
            f"task '{task}' needs targets that are {wanted}, not {described(targets)}",
            hint="let the dataset return such targets, or name another task",
        )
    return targets.detach()


def whole_targets(targets: Any, *, task: str, wanted: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Targets that are whole numbers of that shape, as int64.

    Raises:
        DataError: they are not.
    """
    found = target_tensor(targets, task=task, wanted=wanted)
    whole = not (found.is_floating_point() or found.is_complex())
    if not whole or tuple(found.shape) != shape:
        raise DataError(
            f"task '{task}' needs targets that are {wanted} = {shape} of int64, "
            f"not {described(found)}",
            hint="let the dataset return such targets, or name another task",
        )
    return found.to(torch.int64)


def check_range(labels: torch.Tensor, classes: int, *, task: str, ignored: str = "") -> None:
    """Labels must be 0 .. classes - 1.

    Args:
        ignored: how a task is made that ignores a label, ``padding={}``, for the error.

    Raises:
        LabelRangeError: one is not.
    """
    if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        low, high = int(labels.min()), int(labels.max())
        raise LabelRangeError(
            f"task '{task}': labels go from {low} to {high}, the model has {classes} outputs",
            hint="labels are 0 .. outputs - 1"
            + (f"; one that does not count: {ignored.format(low)}" if low < 0 and ignored else ""),
        )


def flat_pair(
    outputs: Any, targets: Any, *, task: str, which: Which
) -> tuple[torch.Tensor, torch.Tensor]:
    """Numbers and their targets, float32 (N, K), for a loss.

    Raises:
        ContractError, DataError: as `chosen_output` and `same_shape`.
    """
    found = chosen_output(outputs, task=task, which=which)
    wanted = target_tensor(targets, task=task, wanted="numbers of the shape of the outputs")
    same_shape(found.detach(), wanted, task=task)
    return found.reshape(len(found), -1), wanted.to(found.dtype).reshape(len(found), -1)


def same_shape(
    output: torch.Tensor, target: torch.Tensor, *, task: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Both as float64 (N, K); a last dimension of one may be left out on either side.

    Raises:
        DataError: their shapes differ: they would be broadcast to something else.
    """
    shapes = [tuple(one.shape) for one in (output, target)]
    bare = [shape[:-1] if len(shape) > 1 and shape[-1] == 1 else shape for shape in shapes]
    if bare[0] != bare[1]:
        raise DataError(
            f"task '{task}': outputs {shapes[0]} and targets {shapes[1]} have different shapes",
            hint="let the dataset return targets of the shape of the outputs",
        )
    finite = torch.isfinite(target.to(torch.float64)).reshape(len(target), -1).all(dim=1)
    if not bool(finite.all()):
        raise DataError(
            f"task '{task}': the target of sample {int((~finite).nonzero()[0, 0])} of the batch is "
            "not finite",
            hint="leave such samples out of the dataset",
        )
    count = len(output)
    return output.to(torch.float64).reshape(count, -1), target.to(torch.float64).reshape(count, -1)
