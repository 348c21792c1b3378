"""Any metric of torchmetrics as a task, kept paired: needs the extra ``qreg[tasks]``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from qreg.errors import ContractError, UnavailableError
from qreg.tasks.task import Summary, Task
from qreg.tasks.tensors import Which, output_tensor

Array = npt.NDArray[np.float64]


def from_torchmetrics(
    name: str,
    make: Callable[[], Any],
    *,
    summary: str,
    unit: str = "",
    output: Which = None,
    prepare: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> Task:
    """A task whose summary is a metric of torchmetrics.

    A metric alone only tells the figure of a whole set, which breaks the pairing of samples. Here
    it is updated with one sample at a time: its value is the sample's score, and its state, if it
    is one of sums, is the sample's row, so that the figure of any set is computed from the sum of
    its rows, by the metric itself.

    Args:
        make: makes the metric, for example ``lambda: MulticlassF1Score(num_classes=10)``.
        summary: the figure's name.
        prepare: applied to the output before it is given to the metric.

    Raises:
        UnavailableError: torchmetrics is not installed.
        ContractError: the metric keeps lists or anything else than sums.
    """
    try:
        import torchmetrics  # noqa: F401
    except ModuleNotFoundError as error:
        raise UnavailableError(
            f"task '{name}' needs torchmetrics, which is not installed",
            hint="pip install 'qreg[tasks]'",
        ) from error
    metric = make()
    states = {key: torch.as_tensor(value) for key, value in _sums(name, metric).items()}

    def each(outputs: Any, targets: Any) -> tuple[Array, Array]:
        values = output_tensor(outputs, task=name, which=output)
        values = prepare(values) if prepare else values
        scores, rows = [], []
        for one, target in zip(values, targets, strict=True):
            metric.reset()
            metric.update(one[None], target[None])
            scores.append(float(metric.compute()))
            rows.append(
                torch.cat([getattr(metric, key).to(torch.float64).reshape(-1) for key in states])
            )
        return np.array(scores), torch.stack(rows).numpy()

    def of_set(rows: Array) -> float:
        sums = torch.from_numpy(rows.sum(axis=0))
        metric.reset()
        start = 0
        for key, default in states.items():
            part = sums[start : start + default.numel()].reshape(default.shape)
            setattr(metric, key, part.to(default.dtype))
            start += default.numel()
        metric._update_count = len(rows)  # or it warns that it was never updated
        return float(metric.compute())

    return Task(
        name=name,
        score=lambda outputs, targets: each(outputs, targets)[0],
        score_name=summary,
        higher_is_better=metric.higher_is_better is not False,
        summary=Summary(summary, unit, of=of_set, set_level=True),
        statistics=lambda outputs, targets: each(outputs, targets)[1],
    )


def _sums(name: str, metric: Any) -> dict[str, Any]:
    defaults, reductions = metric._defaults, metric._reductions
    other = [
        key
        for key, reduce in reductions.items()
        if isinstance(defaults[key], list) or getattr(reduce, "__name__", "") != "dim_zero_sum"
    ]
    if other or not defaults:
        raise ContractError(
            f"task '{name}': {type(metric).__name__} keeps {', '.join(other) or 'nothing'}, "
            "which is no sum over samples",
            hint="give Task(...) a score for each sample and statistics of its own",
        )
    return dict(defaults)
