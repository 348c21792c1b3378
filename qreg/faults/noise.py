"""Differences between two fault-free measurements: the basis of the tolerances."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from qreg.checks.logits import distance_db
from qreg.checks.samples import shared_images
from qreg.records.baseline import Snapshot
from qreg.records.numerics import EQUAL_DB, Layer, Numerics, Quantizer


@dataclass(frozen=True)
class EnvironmentNoise:
    """The largest differences of one case between two environments.

    Attributes:
        sqnr_fall_db: largest decrease of any layer's SQNR.
        logits_closer_db: how much closer the logits are to the baseline's than quantization is to
            float; infinite where they are equal or nothing is quantized.
        float_logits_db: SQNR of the logits where nothing is quantized, else infinite.
        scale: largest relative difference of scales; infinite where their number differs.
        zero_point: largest difference of zero points.
        flips: number of samples predicted differently.
    """

    sqnr_fall_db: float = 0.0
    logits_closer_db: float = math.inf
    float_logits_db: float = math.inf
    scale: float = 0.0
    zero_point: int = 0
    flips: int = 0

    def worst(self, other: EnvironmentNoise) -> EnvironmentNoise:
        """The worse of the two in every field."""
        return EnvironmentNoise(
            sqnr_fall_db=max(self.sqnr_fall_db, other.sqnr_fall_db),
            logits_closer_db=min(self.logits_closer_db, other.logits_closer_db),
            float_logits_db=min(self.float_logits_db, other.float_logits_db),
            scale=max(self.scale, other.scale),
            zero_point=max(self.zero_point, other.zero_point),
            flips=max(self.flips, other.flips),
        )


def noise(observed: Snapshot, baseline: Snapshot) -> EnvironmentNoise:
    """The differences between two measurements of the same case."""
    shared = shared_images(observed, baseline)
    there = {layer.name: layer for layer in baseline.numerics.layers}
    pairs = [(x, there[x.name]) for x in observed.numerics.layers if x.name in there]
    apart = distance_db(observed.numerics.logits, baseline.numerics.logits, shared)
    quantized = _last_sqnr(baseline.numerics)
    return EnvironmentNoise(
        sqnr_fall_db=max((_fall(here, old) for here, old in pairs), default=0.0),
        logits_closer_db=math.inf if quantized is None else apart - quantized,
        float_logits_db=apart if quantized is None else math.inf,
        scale=max((_scales(*both) for both in _quantizers(pairs)), default=0.0),
        zero_point=max((_zero_points(*both) for both in _quantizers(pairs)), default=0),
        flips=int((shared.observed != shared.expected).sum()),
    )


def _last_sqnr(numerics: Numerics) -> float | None:
    """SQNR in dB of the last layer that has one; None where nothing is quantized."""
    measured = [layer.sqnr_db for layer in numerics.layers if layer.sqnr_db is not None]
    return measured[-1] if measured and measured[-1] < EQUAL_DB else None


def _fall(observed: Layer, baseline: Layer) -> float:
    if observed.sqnr_db is None or baseline.sqnr_db is None:
        return 0.0
    return max(0.0, baseline.sqnr_db - observed.sqnr_db)


def _quantizers(pairs: list[tuple[Layer, Layer]]) -> list[tuple[Quantizer, Quantizer]]:
    both = [(a, b) for x, y in pairs for a, b in ((x.weight, y.weight), (x.output, y.output))]
    return [(a, b) for a, b in both if a is not None and b is not None]


def _scales(observed: Quantizer, baseline: Quantizer) -> float:
    if len(observed.scales) != len(baseline.scales):
        return math.inf
    return float(np.abs(np.array(observed.scales) / np.array(baseline.scales) - 1.0).max())


def _zero_points(observed: Quantizer, baseline: Quantizer) -> int:
    if len(observed.zero_points) != len(baseline.zero_points):
        return 0
    return int(np.abs(np.array(observed.zero_points) - np.array(baseline.zero_points)).max())
