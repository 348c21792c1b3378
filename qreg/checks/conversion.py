"""A fake-quantized model: is it converted as it is, and does it train as it should?

Neither needs a baseline: the prepared model is what the converted one is judged by, and the
training path is judged by fake quantization in plain tensor operations, in the same process.
"""

from __future__ import annotations

from collections.abc import Iterator

from qreg.checks.tolerances import (
    CONVERSION_DB,
    TRAINING_LOSS,
    TRAINING_RANGES,
    TRAINING_UPDATES,
)
from qreg.records.qat import Conversion, QatObservation, TrainingSteps
from qreg.records.verdict import Check, Finding, Outcome


def judge_qat(observed: QatObservation) -> Iterator[Finding]:
    """All findings; none where nothing was observed."""
    if observed.conversion is not None:
        yield from _judge_ranges(observed.conversion)
        yield from _judge_outputs(observed.conversion)
    if observed.training is not None:
        yield from _judge_modules(observed.training)
        yield from _judge_steps(observed.training)


def _judge_ranges(seen: Conversion) -> Iterator[Finding]:
    if not seen.ranges:
        return
    first, more = seen.ranges[0], len(seen.ranges) - 1
    yield Finding(
        check=Check.CONVERSION,
        outcome=Outcome.REGRESSED,
        expected=f"the fake-quantizer's {first.expected}",
        observed=f"{first.observed} in the converted model",
        allowed="the ranges that were learned, kept by conversion",
        where=first.site + (f" and {more} more of {seen.sites} sites" if more else ""),
    )


def _judge_outputs(seen: Conversion) -> Iterator[Finding]:
    """The converted model may be as far from the prepared one as that is from float, and a bit."""
    allowed = seen.noise_db - CONVERSION_DB
    if seen.sqnr_db >= allowed:
        return
    flips = "" if seen.flips is None else f", {seen.flips} of {seen.samples} samples flipped"
    yield Finding(
        check=Check.CONVERSION,
        outcome=Outcome.REGRESSED,
        expected="the outputs of the prepared (fake-quantized) model",
        observed=f"outputs {seen.sqnr_db:.1f} dB from them{flips}",
        allowed=f"at least {allowed:.1f} dB: fake quantization changes {seen.noise_db:.1f} dB",
        where="the converted model",
    )


def _judge_modules(seen: TrainingSteps) -> Iterator[Finding]:
    if not seen.deviations:
        return
    first = seen.deviations[0]
    sites = len({one.site for one in seen.deviations})
    yield Finding(
        check=Check.TRAINING,
        outcome=Outcome.REGRESSED,
        expected=f"{first.what}: {first.expected:.6g}",
        observed=f"{first.observed:.6g}",
        allowed="what fake quantization and its straight-through gradient are defined as",
        where=first.site + (f" and {sites - 1} more of {seen.modules}" if sites > 1 else ""),
    )


def _judge_steps(seen: TrainingSteps) -> Iterator[Finding]:
    if seen.raised:
        yield _finding("a step of training", seen.raised, "no exception")
        return
    apart = [
        abs(own - other) / max(abs(other), 1e-12)
        for own, other in zip(seen.losses, seen.expected, strict=False)
    ]
    if len(apart) < len(seen.expected) or max(apart) > TRAINING_LOSS:
        own, other = (", ".join(f"{x:.6g}" for x in one) for one in (seen.losses, seen.expected))
        yield _finding(f"losses {other}", own or "no number", f"within {TRAINING_LOSS:.0%}")
    if seen.updates_apart > TRAINING_UPDATES:
        yield _finding(
            f"the weight updates of {len(seen.expected)} steps, by plain tensor operations",
            f"updates that differ by {seen.updates_apart:.1%} of their norm",
            f"at most {TRAINING_UPDATES:.0%}",
        )
    if seen.ranges_apart > TRAINING_RANGES:
        yield _finding(
            "the ranges observed in training",
            f"{seen.where}: off by {seen.ranges_apart:.2%} of the range",
            f"at most {TRAINING_RANGES:.2%}",
        )


def _finding(expected: str, observed: str, allowed: str) -> Finding:
    return Finding(
        check=Check.TRAINING,
        outcome=Outcome.REGRESSED,
        expected=expected,
        observed=observed,
        allowed=allowed,
        where="QAT's own training",
    )
