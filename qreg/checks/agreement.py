"""Agreement with fp32 compared with the baseline's: has the quantization noise grown?

Paired like accuracy, with "right" meaning "as predicted by fp32". Quantization faults rarely cause
gains here, so this check detects far smaller ones than accuracy does.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from qreg.checks.samples import Shared
from qreg.records.baseline import Snapshot
from qreg.records.numerics import Numerics
from qreg.records.verdict import Check, Finding, Outcome
from qreg.stats.mcnemar import lost_more


def judge_agreement(
    observed: Snapshot, baseline: Snapshot, shared: Shared, *, exact: bool, alpha: float
) -> Iterator[Finding]:
    """REGRESSED where predictions follow fp32 less than before, or equal it bit by bit.

    If `exact`, fp32 itself must be unchanged and followed on the same samples.
    """
    if exact and _other_reference(observed, baseline):
        yield _exactly("unchanged fp32 logits", "different ones", "the same samples")
    if observed.numerics.reference == "":
        return
    if _is_fp32(observed) and not _is_fp32(baseline):
        yield Finding(
            check=Check.AGREEMENT,
            outcome=Outcome.REGRESSED,
            expected="logits that quantization changes",
            observed="fp32's logits, bit by bit: nothing is quantized",
            allowed="not allowed",
        )
        return
    here, there = shared.observed_unlike, shared.baseline_unlike
    more, fewer = _moved(shared)
    worse, better = lost_more(fewer, more), lost_more(more, fewer)
    if min(worse, better) <= alpha:
        yield Finding(
            check=Check.AGREEMENT,
            outcome=Outcome.REGRESSED if worse < better else Outcome.IMPROVED,
            expected=f"{int(there.sum())} of {len(there)} samples predicted differently from fp32",
            observed=f"{int(here.sum())}",
            allowed="what chance explains",
            where=f"{more} samples no longer follow fp32, {fewer} do again",
            p_value=min(worse, better),
        )
    elif exact and more + fewer:
        where = f"{more} samples no longer follow fp32, {fewer} do again"
        yield _exactly(
            f"{int(there.sum())} samples predicted differently from fp32",
            f"{int(here.sum())}",
            where,
        )


def _exactly(expected: str, observed: str, where: str) -> Finding:
    return Finding(Check.AGREEMENT, Outcome.REGRESSED, expected, observed, "equal bits", where)


def _other_reference(observed: Snapshot, baseline: Snapshot) -> bool:
    """Whether fp32 gave other logits on the same samples; False where the samples differ."""
    a, b = observed.numerics, baseline.numerics
    same = _with_logits(a) == _with_logits(b)
    return same and a.reference != b.reference


def _with_logits(numerics: Numerics) -> list[int]:
    return [numerics.images.index[position] for position in numerics.logits.positions]


def agreement_p_value(shared: Shared) -> float:
    """One-sided p-value for following fp32 less than before."""
    more, fewer = _moved(shared)
    return lost_more(fewer, more)


def _moved(shared: Shared) -> tuple[int, int]:
    """Number of samples that no longer follow fp32, and that do again."""
    here, there = shared.observed_unlike, shared.baseline_unlike
    return int(np.count_nonzero(here & ~there)), int(np.count_nonzero(there & ~here))


def _is_fp32(snapshot: Snapshot) -> bool:
    numerics = snapshot.numerics
    return numerics.logits.digest == numerics.reference
