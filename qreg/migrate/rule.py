"""Judging a successor's measurement by the deprecated method's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from qreg.migrate.records import Fate
from qreg.records.measurement import Agreement
from qreg.records.numerics import Layer, Quantizer, Work
from qreg.records.verdict import ScoreChange
from qreg.stats.mcnemar import detectable_drop

#: Probability of any false verdict on accuracy in a whole run.
RUN_LEVEL = 0.05


def pair_level(pairs: int) -> float:
    """The significance level of each pair's two-sided test, by Bonferroni's correction.

    Raises:
        ValueError: there are no pairs.
    """
    if pairs < 1:
        raise ValueError(f"{pairs} pairs")
    return RUN_LEVEL / pairs


def judge_replacement(change: Agreement, work: Work, *, same_bits: bool, level: float) -> Fate:
    """The result of replacing the method; `same_bits`: whether all logits are bit-equal."""
    if not work.quantized:
        return Fate.NOTHING
    if same_bits:
        return Fate.SAME
    if change.p_value > level:
        return Fate.NOISE
    return Fate.LOST if change.lost > change.won else Fate.GAINED


def judge_score_change(change: ScoreChange, work: Work, *, same_bits: bool, level: float) -> Fate:
    """The same by a task's score, each side at half the level."""
    if not work.quantized:
        return Fate.NOTHING
    if same_bits:
        return Fate.SAME
    if change.p_value <= level / 2:
        return Fate.LOST
    return Fate.GAINED if change.p_better <= level / 2 else Fate.NOISE


def detectable_change(change: Agreement, total: int, *, level: float) -> float:
    """The smallest drop, as a share, that a two-sided test at `level` detects with 80 % power."""
    return detectable_drop(change.won + change.lost, total, alpha=level / 2)


def moved_layer(successor: Sequence[Layer], deprecated: Sequence[Layer]) -> str:
    """The first common layer whose weight or output is quantized differently; "" if none is.

    Tensors that only one of the two quantizes, such as dynamically quantized activations, are
    ignored: they are a difference of method, not of scales.
    """
    there = {layer.name: layer for layer in deprecated}
    for layer in successor:
        if old := there.get(layer.name):
            if text := _moved(old.weight, layer.weight):
                return f"{layer.name}: weights, {text}"
            if text := _moved(old.output, layer.output):
                return f"{layer.name}: output, {text}"
    return ""


def _moved(deprecated: Quantizer | None, successor: Quantizer | None) -> str:
    if deprecated is None or successor is None:
        return ""
    old, new = _parameters(deprecated), _parameters(successor)
    if len(old) != len(new):
        return f"per-channel scales ({len(new)}) instead of {len(old)}"
    different = np.flatnonzero((old != new).any(axis=1))
    if not len(different):
        return ""
    (old_scale, old_zero), (scale, zero) = old[different[0]], new[different[0]]
    return f"scale {old_scale:.4g} -> {scale:.4g}, zero point {old_zero:.0f} -> {zero:.0f}"


def _parameters(quantizer: Quantizer) -> npt.NDArray[np.float32]:
    """Scales and zero points (channels, 2), in float32 like kernels; graphs store doubles."""
    both = (quantizer.scales, quantizer.zero_points)
    return np.array(tuple(zip(*both, strict=True)), dtype=np.float32)
