"""Agreement with fp32 against the baseline's: has the quantization noise grown?

Paired like accuracy, "right" meaning "as fp32 predicts". A fault of quantization seldom wins
images back here, so this sees far smaller ones than accuracy does.
"""

from __future__ import annotations

from collections.abc import Iterator

from qreg.checks.samples import Shared
from qreg.records.baseline import Snapshot
from qreg.records.verdict import Check, Finding, Outcome
from qreg.stats.mcnemar import lost_more


def judge_agreement(
    now: Snapshot, before: Snapshot, shared: Shared, *, exact: bool, alpha: float
) -> Iterator[Finding]:
    """REGRESSED when fp32 is followed less than it was, or to the last bit where it was not.

    Exactly, fp32 itself must be what it was, and be followed on the same images.
    """
    if exact and _other_reference(now, before):
        yield _exactly("fp32's logits as they were", "others", "the same images")
    if now.numerics.reference == "":
        return
    if _is_fp32(now) and not _is_fp32(before):
        yield Finding(
            check=Check.AGREEMENT,
            outcome=Outcome.REGRESSED,
            expected="logits that quantization changes",
            observed="fp32's logits, bit for bit: nothing is quantized",
            allowed="none of the kind",
        )
        return
    here, there = shared.unlike_now, shared.unlike_before
    more, fewer = _moved(shared)
    worse, better = lost_more(fewer, more), lost_more(more, fewer)
    if min(worse, better) <= alpha:
        yield Finding(
            check=Check.AGREEMENT,
            outcome=Outcome.REGRESSED if worse < better else Outcome.IMPROVED,
            expected=f"{int(there.sum())} of {len(there)} images unlike fp32",
            observed=f"{int(here.sum())}",
            allowed="what chance explains",
            where=f"{more} images follow fp32 no longer, {fewer} do again",
            p_value=min(worse, better),
        )
    elif exact and more + fewer:
        where = f"{more} images follow fp32 no longer, {fewer} do again"
        yield _exactly(f"{int(there.sum())} images unlike fp32", f"{int(here.sum())}", where)


def _exactly(expected: str, observed: str, where: str) -> Finding:
    return Finding(Check.AGREEMENT, Outcome.REGRESSED, expected, observed, "equal bits", where)


def _other_reference(now: Snapshot, before: Snapshot) -> bool:
    """Whether fp32 gave other logits; of other images they cannot be told apart."""
    a, b = now.numerics, before.numerics
    same = a.images.index[: a.logits.count] == b.images.index[: b.logits.count]
    return same and a.reference != b.reference


def agreement_p_value(shared: Shared) -> float:
    """The one-sided p-value of "fp32 is followed as it was"."""
    more, fewer = _moved(shared)
    return lost_more(fewer, more)


def _moved(shared: Shared) -> tuple[int, int]:
    """How many images follow fp32 no longer, and how many do again."""
    here, there = shared.unlike_now, shared.unlike_before
    return int((here & ~there).sum()), int((there & ~here).sum())


def _is_fp32(snapshot: Snapshot) -> bool:
    numerics = snapshot.numerics
    return numerics.logits.digest == numerics.reference
