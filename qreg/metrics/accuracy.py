"""Accuracy: predictions by canonical index, and what they say. Higher is better."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qreg.data.dataset import Split
from qreg.records.measurement import Accuracy, ClassAccuracy
from qreg.stats.intervals import wilson


def accuracy(
    predictions: npt.NDArray[np.int64], split: Split, *, classes: tuple[str, ...]
) -> Accuracy:
    """Score predictions (N,) of the split's N images, in its order."""
    right = predictions == split.labels
    correct = int(right.sum())
    low, high = wilson(correct, len(split))
    return Accuracy(
        correct=correct,
        total=len(split),
        low=low,
        high=high,
        classes=tuple(
            ClassAccuracy(name, int(right[split.labels == c].sum()), int((split.labels == c).sum()))
            for c, name in enumerate(classes)
        ),
        index=tuple(split.index.tolist()),
        predictions=tuple(predictions.tolist()),
    )
