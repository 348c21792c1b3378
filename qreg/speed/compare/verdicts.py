"""From process pairs to ratios, verdicts and notes on how busy the machine was."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from qreg.records.case import Case
from qreg.records.verdict import Outcome
from qreg.speed.records import CaseTimes, Noise, ProcessPair, Speed, SpeedVerdict

#: Above these a machine is reported as noisy. Steal and drift of that size move single pairs by
#: more than the practical threshold; half a processor of other work leaves one of two for ours.
NOISY_STEAL, NOISY_DRIFT, NOISY_OTHERS = 0.02, 0.05, 0.25


def times_of(case: Case, pairs: Sequence[ProcessPair]) -> tuple[CaseTimes, ...]:
    """A case's times in the order of the pairs; a decided case is missing from the later ones."""
    return tuple(times for pair in pairs for times in pair.times if times.case == case)


def log_ratios(times: Sequence[CaseTimes]) -> tuple[float, ...]:
    """Log of candidate over baseline 5th percentiles, one per pair."""
    return tuple(math.log(one.candidate.p5_ms / one.baseline.p5_ms) for one in times)


def speed_verdict(
    case: Case,
    against: str,
    times: Sequence[CaseTimes],
    speed: Speed | None,
    *,
    error: str = "",
) -> SpeedVerdict:
    """A case's verdict; `error` is the reason why the run could not judge it."""
    outcome = speed.outcome if speed else Outcome.INCONCLUSIVE
    return SpeedVerdict(
        case=case,
        against=against,
        outcome=Outcome.ERROR if error else outcome,
        speed=speed,
        baseline_ms=_median([one.baseline.p5_ms for one in times]),
        candidate_ms=_median([one.candidate.p5_ms for one in times]),
        p50=_median([one.candidate.p50_ms / one.baseline.p50_ms for one in times], empty=1) - 1,
        p95=_median([one.candidate.p95_ms / one.baseline.p95_ms for one in times], empty=1) - 1,
        notes=(error,) if error else (),
    )


def drift(pairs: Sequence[ProcessPair]) -> float:
    """Relative change of both sides' times from the first third of the pairs to the last."""
    third = len(pairs) // 3
    if not third:
        return 0.0
    changes = []
    for case in {times.case for times in pairs[-1].times}:
        logs = [math.log(t.baseline.p5_ms * t.candidate.p5_ms) / 2 for t in times_of(case, pairs)]
        changes.append(median(logs[-third:]) - median(logs[:third]))
    return math.expm1(_median(changes))


def complaints(noise: Noise) -> tuple[str, ...]:
    """Why the machine was too noisy for small differences; empty if it was quiet."""
    lines = []
    if noise.steal is not None and noise.steal > NOISY_STEAL:
        lines.append(f"the host took {noise.steal:.1%} of the processor time (steal)")
    if noise.others is not None and noise.others > NOISY_OTHERS * noise.processors:
        lines.append(
            f"other processes kept {noise.others:.1f} of {noise.processors} processors busy"
        )
    if abs(noise.drift) > NOISY_DRIFT:
        lines.append(f"times drifted by {noise.drift:+.1%} during the run")
    return tuple(lines)


def _median(values: Sequence[float], *, empty: float = 0.0) -> float:
    return median(values) if values else empty
