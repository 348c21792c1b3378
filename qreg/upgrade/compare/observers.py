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


def difference_text(difference: Difference) -> str:
    """A difference as text."""
    share = f" ({difference.count} of {difference.total})" if difference.total > 1 else ""
    steps = (
        f", {difference.lsb} LSB at most"
        if difference.lsb is not None and difference.total > 1
        else ""
    )
    values = f"{difference.before} -> {difference.after}"
    return f"{difference.where}: {difference.what} {values}{share}{steps}"


def _floats(
    first: ObserverRecord, before: Sequence[ObserverRecord], after: Sequence[ObserverRecord]
) -> str:
    moved = sum(not _agree(a, b) for a, b in zip(before, after, strict=False))
    return (
        f"the calibration inputs of {_location(first)} already differ in float bits; {moved} of "
        f"{len(before)} observers returned different scales or zero points"
    )


def _agree(one: ObserverRecord, other: ObserverRecord) -> bool:
    return (one.scales, one.zero_points) == (other.scales, other.zero_points)


def _close(one: ObserverRecord, other: ObserverRecord) -> bool:
    if one.zero_points != other.zero_points or len(one.scales) != len(other.scales):
        return False
    return bool(np.allclose(one.scales, other.scales, rtol=STORED_SCALE, atol=0.0))


def _location(record: ObserverRecord) -> str:
    return record.name.removesuffix(".activation_post_process") or "a weight"


def _result(record: ObserverRecord) -> str:
    if not record.scales:
        return "nothing"
    channels = f" (of {len(record.scales)})" if len(record.scales) > 1 else ""
    return f"scale {record.scales[0]:.9g}, zero point {record.zero_points[0]}{channels}"
