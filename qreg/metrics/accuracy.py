"""Accuracy of predictions, by canonical index. Higher is better."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qreg.records.measurement import Accuracy, ClassAccuracy
from qreg.stats.intervals import wilson

Whole = npt.NDArray[np.int64]


def accuracy(
    predictions: Whole, labels: Whole, index: Whole, *, classes: tuple[str, ...]
) -> Accuracy:
    """Score predictions (N,) by the labels (N,) of samples of these canonical indices (N,)."""
    right = predictions == labels
    correct = int(right.sum())
    low, high = wilson(correct, len(labels))
    return Accuracy(
        correct=correct,
        total=len(labels),
        low=low,
        high=high,
        classes=tuple(
            ClassAccuracy(name, int(right[labels == c].sum()), int((labels == c).sum()))
            for c, name in enumerate(classes)
        ),
        index=tuple(index.tolist()),
        predictions=tuple(predictions.tolist()),
    )
