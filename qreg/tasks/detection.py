"""Boxes. Outputs have boxes, scores and labels of each sample, targets boxes and labels.

As torchvision's detectors have it: a list with a dict for each sample, "boxes" (D, 4) as
x1 y1 x2 y2, "scores" (D,) and "labels" (D,). Or one dict of the same for the whole batch, (N, D, 4)
and (N, D), in which a label below 0 is padding.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from qreg.errors import ContractError, DataError
from qreg.tasks.average_precision import match, mean_average_precision
from qreg.tasks.task import Summary, Task
from qreg.tasks.tensors import described

Array = npt.NDArray[np.float64]
_NAME = "detection"
_OUTPUTS, _TARGETS = ("boxes", "scores", "labels"), ("boxes", "labels")


def detection(*, output: str | int | None = None) -> Task:
    """Average precision of each sample, and mAP of the set, at IoU 0.5 to 0.95.

    A sample's score is the mAP of that sample alone; one without objects scores 1 where nothing is
    detected, else 0.

    Args:
        output: which of several outputs has the boxes.
    """

    def rows(outputs: Any, targets: Any) -> Array:
        if output is not None:
            outputs = outputs[output]
        found = _samples(outputs, _OUTPUTS, ContractError, "the model must return")
        wanted = _samples(targets, _TARGETS, DataError, "targets must be")
        if len(found) != len(wanted):
            raise DataError(
                f"task '{_NAME}': {len(found)} samples detected, {len(wanted)} targets",
                hint="the dataset must return one dict of boxes and labels for each sample",
            )
        made = [match(*one, *true) for one, true in zip(found, wanted, strict=True)]
        width = max(3, *(len(row) for row in made))
        return np.stack(
            [np.pad(row, (0, width - len(row)), constant_values=np.nan) for row in made]
        )

    def score(outputs: Any, targets: Any) -> Array:
        return np.array([_alone(row) for row in rows(outputs, targets)])

    return Task(
        name=_NAME,
        score=score,
        score_name="average precision",
        span=1.0,
        summary=Summary("mAP", "%", of=mean_average_precision, set_level=True),
        statistics=rows,
    )


def _alone(row: Array) -> float:
    triples = row.reshape(-1, 3)
    if (triples[:, 2] < 0).any():
        return mean_average_precision(row[None])
    return float(np.isnan(triples[:, 0]).all())


def _samples(
    batch: Any, keys: tuple[str, ...], error: type[ContractError | DataError], must: str
) -> list[tuple[Array, ...]]:
    """What each sample has, in the order of `keys`."""
    if isinstance(batch, Mapping):
        _check_keys(batch, keys, error, must)
        batch = [{key: batch[key][row] for key in keys} for row in range(len(batch[keys[0]]))]
    if not isinstance(batch, (list, tuple)):
        raise error(
            f"task '{_NAME}' cannot use {described(batch)}",
            hint=f"{must} a list with a dict of {', '.join(keys)} for each sample",
        )
    return [_sample(number, one, keys, error, must) for number, one in enumerate(batch)]


def _check_keys(sample: Any, keys: tuple[str, ...], error: Any, must: str) -> None:
    missing = [key for key in keys if not isinstance(sample, Mapping) or key not in sample]
    if missing:
        raise error(
            f"task '{_NAME}' finds no {', '.join(missing)} in {described(sample)}",
            hint=f"{must} a list with a dict of {', '.join(keys)} for each sample",
        )


def _sample(
    number: int, sample: Any, keys: tuple[str, ...], error: Any, must: str
) -> tuple[Array, ...]:
    _check_keys(sample, keys, error, must)
    arrays = [_array(sample[key]) for key in keys]
    boxes, labels = arrays[0].reshape(-1, 4) if arrays[0].size == 0 else arrays[0], arrays[-1]
    count = len(labels) if labels.ndim == 1 else -1
    shapes_fit = all(one.shape == (count,) for one in arrays[1:]) and boxes.shape == (count, 4)
    if not shapes_fit or not all(np.isfinite(one).all() for one in arrays):
        shapes = ", ".join(f"{k} {one.shape}" for k, one in zip(keys, arrays, strict=True))
        raise error(
            f"task '{_NAME}': sample {number} of the batch has {shapes}"
            f"{', not all finite' if shapes_fit else ''}",
            hint=f"{must} boxes (D, 4) and one of {', '.join(keys[1:])} for each box",
        )
    if error is DataError and bool((boxes[labels >= 0, 2:] < boxes[labels >= 0, :2]).any()):
        raise DataError(
            f"task '{_NAME}': sample {number} of the batch has a box with x2 < x1 or y2 < y1",
            hint="boxes are x1 y1 x2 y2",
        )
    real = labels >= 0
    return tuple(one[real] for one in (boxes, *arrays[1:]))


def _array(numbers: Any) -> Array:
    values = numbers.detach().cpu() if isinstance(numbers, torch.Tensor) else numbers
    values = values.dequantize() if getattr(values, "is_quantized", False) else values
    return np.asarray(values, dtype=np.float64)


TASK = detection()
