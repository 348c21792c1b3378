"""Attributing differences of quantized states to observers, their inputs, or the conversion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qreg.checks.tolerances import STORED_SCALE
from qreg.upgrade.records import Cause, Difference, ObserverRecord


def quantizing_cause(
    before: Sequence[ObserverRecord], after: Sequence[ObserverRecord], state: Difference
) -> tuple[Cause, str]:
    """The cause of a difference between quantized states, and a sentence about it.

    Observers are compared in the order in which they first ran: the first one with equal inputs
    and different results has changed itself; one with different inputs follows kernels that ran
    before it.
    """
    for here, there in zip(before, after, strict=False):
        if here.kind != there.kind:
            return Cause.OBSERVERS, f"{_location(here)} is a {there.kind} instead of a {here.kind}"
        if here.inputs != there.inputs:
            return Cause.FLOAT, _floats(here, before, after)
        if not _agree(here, there):
            results = f"{_result(there)} instead of {_result(here)}"
            text = f"{here.kind} at {_location(here)} returns {results} for equal inputs"
            return Cause.OBSERVERS, text
    if len(before) != len(after):
        text = f"{len(after)} observers ran instead of {len(before)}"
        return Cause.OBSERVERS, text
    return Cause.CONVERT, f"observers agree, but {difference_text(state)}"


def rounding_only(before: Sequence[ObserverRecord], after: Sequence[ObserverRecord]) -> bool:
    """Whether observers with equal inputs differ by rounding of the scales at most."""
    pairs = [(a, b) for a, b in zip(before, after, strict=False) if a.inputs == b.inputs]
    known = len(before) == len(after) and all(a.kind == b.kind for a, b in pairs)
    return known and all(_close(a, b) for a, b in pairs)


def difference_text(found: Difference) -> str:
    """A difference as text."""
    share = f" ({found.count} of {found.total})" if found.total > 1 else ""
    steps = f", {found.lsb} LSB at most" if found.lsb is not None and found.total > 1 else ""
    return f"{found.where}: {found.what} {found.before} -> {found.after}{share}{steps}"


def _floats(
    here: ObserverRecord, before: Sequence[ObserverRecord], after: Sequence[ObserverRecord]
) -> str:
    moved = sum(not _agree(a, b) for a, b in zip(before, after, strict=False))
    return (
        f"the calibration inputs of {_location(here)} already differ in float bits; {moved} of "
        f"{len(before)} observers returned different scales or zero points"
    )


def _agree(here: ObserverRecord, there: ObserverRecord) -> bool:
    return (here.scales, here.zero_points) == (there.scales, there.zero_points)


def _close(here: ObserverRecord, there: ObserverRecord) -> bool:
    if here.zero_points != there.zero_points or len(here.scales) != len(there.scales):
        return False
    return bool(np.allclose(here.scales, there.scales, rtol=STORED_SCALE, atol=0.0))


def _location(seen: ObserverRecord) -> str:
    return seen.name.removesuffix(".activation_post_process") or "a weight"


def _result(seen: ObserverRecord) -> str:
    if not seen.scales:
        return "nothing"
    channels = f" (of {len(seen.scales)})" if len(seen.scales) > 1 else ""
    return f"scale {seen.scales[0]:.9g}, zero point {seen.zero_points[0]}{channels}"
