"""Logits against the baseline's: bit for bit, or by how far they moved."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from qreg.compare.images import Shared
from qreg.compare.tolerances import FLOAT_DB, Tolerances
from qreg.judgements import Check, Finding, Outcome, Snapshot
from qreg.numerics import Logits, Numerics


def judge_logits(
    now: Snapshot, before: Snapshot, shared: Shared, allowed: Tolerances
) -> Iterator[Finding]:
    """Exactly, equal in every bit, in batches and alone; else within `nearest_allowed`."""
    if allowed.exact and _same_bits(now, before, shared):
        return
    here, there = _paired(now.numerics.logits, before.numerics.logits, shared)
    if allowed.exact:
        yield from _bits(now, before, here, there)
    elif len(here) and (_db(here, there) < (least := nearest_allowed(before.numerics, allowed))):
        yield Finding(
            check=Check.LOGITS,
            outcome=Outcome.REGRESSED,
            expected="the baseline's logits",
            observed=f"logits {_db(here, there):.1f} dB from them",
            allowed=f"at least {least:.1f} dB",
            where=f"{len(here)} images",
        )


def nearest_allowed(numerics: Numerics, allowed: Tolerances) -> float:
    """The signal-to-difference ratio that logits must keep to the baseline's, in dB."""
    measured = [layer.sqnr_db for layer in numerics.layers if layer.sqnr_db is not None]
    return min(measured[-1] + allowed.logits_db, FLOAT_DB) if measured else allowed.logits_db


def _same_bits(now: Snapshot, before: Snapshot, shared: Shared) -> bool:
    same_rows = bool(np.array_equal(shared.now, shared.before))
    a, b = now.numerics, before.numerics
    return same_rows and a.logits.values == b.logits.values and a.single == b.single


def _bits(
    now: Snapshot,
    before: Snapshot,
    here: npt.NDArray[np.float64],
    there: npt.NDArray[np.float64],
) -> Iterator[Finding]:
    moved = int((here != there).any(axis=1).sum()) if here.shape == there.shape else len(here)
    alone = now.numerics.single != before.numerics.single
    if moved or alone:
        yield Finding(
            check=Check.LOGITS,
            outcome=Outcome.REGRESSED,
            expected=f"digest {before.numerics.logits.digest[:16]}",
            observed=f"digest {now.numerics.logits.digest[:16]}, {_db(here, there):.1f} dB apart",
            allowed="equal bits",
            where=f"{moved} of {len(here)} images" + (", and images run alone" if alone else ""),
        )


def _paired(
    now: Logits, before: Logits, shared: Shared
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Both logits of the shared images that both kept, each (N, classes)."""
    both = (shared.now < now.count) & (shared.before < before.count)
    return _array(now)[shared.now[both]], _array(before)[shared.before[both]]


def _array(logits: Logits) -> npt.NDArray[np.float64]:
    flat = np.frombuffer(logits.values, dtype="<f4").astype(np.float64)
    return flat.reshape(logits.count, logits.classes)


def _db(here: npt.NDArray[np.float64], there: npt.NDArray[np.float64]) -> float:
    """10 log10 of the baseline's energy over the difference's."""
    if here.shape != there.shape or not np.isfinite(here).all():
        return -math.inf
    noise, signal = np.square(here - there).sum(), np.square(there).sum()
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal > 0 else -math.inf
