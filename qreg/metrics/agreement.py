"""Agreement: how often, and where, two measurements predict different classes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qreg.records.measurement import Agreement, Flip
from qreg.stats.intervals import paired_change
from qreg.stats.mcnemar import detectable_drop, mcnemar

Predictions = npt.NDArray[np.int64]


def agreement(
    predictions: Predictions,
    reference: Predictions,
    labels: Predictions,
    index: Predictions,
    *,
    name: str,
) -> Agreement:
    """Compare predictions (N,) with those of the method `name` on the same N samples."""
    rows = np.flatnonzero(predictions != reference)
    flips = tuple(
        Flip(
            index=int(index[row]),
            label=int(labels[row]),
            reference=int(reference[row]),
            observed=int(predictions[row]),
        )
        for row in rows
    )
    won = sum(flip.observed == flip.label for flip in flips)
    lost = sum(flip.reference == flip.label for flip in flips)
    change, low, high = paired_change(won, lost, len(labels))
    return Agreement(
        reference=name,
        change=change,
        low=low,
        high=high,
        p_value=mcnemar(won, lost),
        detectable=detectable_drop(won + lost, len(labels)),
        flips=flips,
    )
