"""Logits compared with the baseline's: bit by bit, or by their distance."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qreg.checks.samples import Shared, logit_rows
from qreg.checks.tolerances import FLOAT_DB, Tolerances
from qreg.records.baseline import Snapshot
from qreg.records.numerics import Logits, Numerics
from qreg.records.verdict import Check, Finding, Outcome

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class _Pair:
    """The stored logits of the common samples, each (N, classes).

    Attributes:
        one_sided: number of samples whose logits only one of the two has.
    """

    observed: Array
    baseline: Array
    one_sided: int

    @property
    def db(self) -> float:
        return _db(self.observed, self.baseline)


def judge_logits(
    observed: Snapshot, baseline: Snapshot, shared: Shared, allowed: Tolerances
) -> Iterator[Finding]:
    """If exact, bit-equal in batches and alone; else within `nearest_allowed`.

    NaN logits are always REGRESSED, even if the baseline has them too.
    """
    pair = _paired(observed.numerics.logits, baseline.numerics.logits, shared)
    not_numbers = tuple(judge_numbers(observed, infinite=False))
    yield from not_numbers
    if not_numbers:
        return
    if allowed.exact:
        yield from _bits(observed, baseline, shared, pair)
    elif len(pair.observed) and (pair.db < (least := nearest_allowed(baseline.numerics, allowed))):
        yield Finding(
            check=Check.LOGITS,
            outcome=Outcome.REGRESSED,
            expected="the baseline's logits",
            observed=f"logits {pair.db:.1f} dB from them",
            allowed=f"at least {least:.1f} dB",
            where=f"{len(pair.observed)} samples",
        )


def judge_numbers(observed: Snapshot, *, infinite: bool) -> Iterator[Finding]:
    """Logits that are no numbers, which needs no baseline.

    Args:
        infinite: whether infinite ones are none either, as where nobody has approved any yet.
    """
    values = _array(observed.numerics.logits)
    nan = np.isnan(values).any(axis=1)
    wrong = ~np.isfinite(values).all(axis=1) if infinite else nan
    if wrong.any():
        yield Finding(
            check=Check.LOGITS,
            outcome=Outcome.REGRESSED,
            expected="finite logits",
            observed="NaN" if nan.any() else "infinity",
            allowed="none",
            where=f"{int(wrong.sum())} of {observed.numerics.logits.count} samples",
        )


def nearest_allowed(numerics: Numerics, allowed: Tolerances) -> float:
    """The minimum signal-to-difference ratio between the logits and the baseline's, in dB."""
    measured = [layer.sqnr_db for layer in numerics.layers if layer.sqnr_db is not None]
    return min(measured[-1] + allowed.logits_db, FLOAT_DB) if measured else allowed.logits_db


def distance_db(observed: Logits, baseline: Logits, shared: Shared) -> float:
    """Signal-to-difference ratio of two measurements' logits in dB; infinite if equal."""
    return _paired(observed, baseline, shared).db


def _bits(observed: Snapshot, baseline: Snapshot, shared: Shared, pair: _Pair) -> Iterator[Finding]:
    a, b = observed.numerics.logits, baseline.numerics.logits
    counts = {
        f"of {len(pair.observed)} samples": _moved_rows(pair.observed, pair.baseline),
        "predictions": int(np.count_nonzero(shared.observed != shared.expected)),
        "samples have logits on one side only": pair.one_sided,
        "numbers more or fewer a sample": abs(a.elements - b.elements),
        "digest of samples run alone": int(observed.numerics.single != baseline.numerics.single),
    }
    if any(counts.values()):
        yield Finding(
            check=Check.LOGITS,
            outcome=Outcome.REGRESSED,
            expected=f"digest {b.digest[:16]}",
            observed=f"digest {a.digest[:16]}, {pair.db:.1f} dB apart",
            allowed="equal bits",
            where=", ".join(f"{count} {what}" for what, count in counts.items() if count),
        )


def _moved_rows(observed: Array, baseline: Array) -> int:
    if observed.shape != baseline.shape:
        return len(observed)
    # by their bits, because 0.0 == -0.0
    moved = (observed.view(np.uint32) != baseline.view(np.uint32)).any(axis=1)
    return int(np.count_nonzero(moved))


def _paired(observed: Logits, baseline: Logits, shared: Shared) -> _Pair:
    here = logit_rows(observed, shared.observed_rows)
    there = logit_rows(baseline, shared.baseline_rows)
    has, had = here >= 0, there >= 0
    both = has & had
    one_sided = int(np.count_nonzero(has ^ had))
    return _Pair(_array(observed)[here[both]], _array(baseline)[there[both]], one_sided)


def _array(logits: Logits) -> Array:
    flat = np.frombuffer(logits.values, dtype="<f4").astype(np.float32)
    return flat.reshape(logits.count, logits.classes)


def _db(observed: Array, baseline: Array) -> float:
    """10 log10 of the baseline's energy over the difference's."""
    a, b = observed.astype(np.float64), baseline.astype(np.float64)
    if a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return -math.inf
    noise, signal = np.square(a - b).sum(), np.square(b).sum()
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal > 0 else -math.inf
