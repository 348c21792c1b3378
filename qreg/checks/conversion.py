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


def _judge_ranges(conversion: Conversion) -> Iterator[Finding]:
    if not conversion.ranges:
        return
    first, more = conversion.ranges[0], len(conversion.ranges) - 1
    yield Finding(
        check=Check.CONVERSION,
        outcome=Outcome.REGRESSED,
        expected=f"the fake-quantizer's {first.expected}",
        observed=f"{first.observed} in the converted model",
        allowed="the ranges that were learned, kept by conversion",
        where=first.site + (f" and {more} more of {conversion.sites} sites" if more else ""),
    )


def _judge_outputs(conversion: Conversion) -> Iterator[Finding]:
    """The converted model may be as far from the prepared one as that is from float, and a bit."""
    allowed = conversion.noise_db - CONVERSION_DB
    if conversion.sqnr_db >= allowed:
        return
    flips = (
        ""
        if conversion.flips is None
        else f", {conversion.flips} of {conversion.samples} samples flipped"
    )
    yield Finding(
        check=Check.CONVERSION,
        outcome=Outcome.REGRESSED,
        expected="the outputs of the prepared (fake-quantized) model",
        observed=f"outputs {conversion.sqnr_db:.1f} dB from them{flips}",
        allowed=f"at least {allowed:.1f} dB: fake quantization changes "
        f"{conversion.noise_db:.1f} dB",
        where="the converted model",
    )


def _judge_modules(steps: TrainingSteps) -> Iterator[Finding]:
    if not steps.deviations:
        return
    first = steps.deviations[0]
    sites = len({one.site for one in steps.deviations})
    yield Finding(
        check=Check.TRAINING,
        outcome=Outcome.REGRESSED,
        expected=f"{first.what}: {first.expected:.6g}",
        observed=f"{first.observed:.6g}",
        allowed="what fake quantization and its straight-through gradient are defined as",
        where=first.site + (f" and {sites - 1} more of {steps.modules}" if sites > 1 else ""),
    )


def _judge_steps(steps: TrainingSteps) -> Iterator[Finding]:
    if steps.raised:
        yield _finding("a step of training", steps.raised, "no exception")
        return
    apart = [
        abs(own - other) / max(abs(other), 1e-12)
        for own, other in zip(steps.losses, steps.expected, strict=False)
    ]
    if len(apart) < len(steps.expected) or max(apart) > TRAINING_LOSS:
        own, other = (", ".join(f"{x:.6g}" for x in one) for one in (steps.losses, steps.expected))
        yield _finding(f"losses {other}", own or "no number", f"within {TRAINING_LOSS:.0%}")
    if steps.updates_apart > TRAINING_UPDATES:
        yield _finding(
            f"the weight updates of {len(steps.expected)} steps, by plain tensor operations",
            f"updates that differ by {steps.updates_apart:.1%} of their norm",
            f"at most {TRAINING_UPDATES:.0%}",
        )
    if steps.ranges_apart > TRAINING_RANGES:
        yield _finding(
            "the ranges observed in training",
            f"{steps.where}: off by {steps.ranges_apart:.2%} of the range",
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
