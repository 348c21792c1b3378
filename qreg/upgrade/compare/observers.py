"""Whether it is observers that moved, the floats that they saw, or what is made of both."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qreg.checks.tolerances import STORED_SCALE
from qreg.upgrade.records import Cause, Difference, ObserverRecord


def quantizing_cause(
    before: Sequence[ObserverRecord], after: Sequence[ObserverRecord], state: Difference
) -> tuple[Cause, str]:
    """What a difference of quantized states is put down to, and a sentence.

    Observers are compared in the order in which they were given something: the first that was
    given the very same floats and says something else has changed itself; the first that was
    given others follows kernels that ran before it.
    """
    for here, there in zip(before, after, strict=False):
        if here.kind != there.kind:
            return Cause.OBSERVERS, f"{_place(here)} is a {there.kind} instead of a {here.kind}"
        if here.inputs != there.inputs:
            return Cause.FLOAT, _floats(here, before, after)
        if not _agree(here, there):
            said = f"{_said(there)} instead of {_said(here)}"
            return Cause.OBSERVERS, f"{here.kind} at {_place(here)} gives {said} for equal floats"
    if len(before) != len(after):
        text = f"{len(after)} observers were given something instead of {len(before)}"
        return Cause.OBSERVERS, text
    return Cause.CONVERT, f"observers agree, and {difference_text(state)}"


def rounding_only(before: Sequence[ObserverRecord], after: Sequence[ObserverRecord]) -> bool:
    """Whether observers that were given equal floats differ in the last bits of scales at most."""
    pairs = [(a, b) for a, b in zip(before, after, strict=False) if a.inputs == b.inputs]
    known = len(before) == len(after) and all(a.kind == b.kind for a, b in pairs)
    return known and all(_close(a, b) for a, b in pairs)


def difference_text(found: Difference) -> str:
    """A difference in words."""
    share = f" ({found.count} of {found.total})" if found.total > 1 else ""
    steps = f", {found.lsb} LSB at most" if found.lsb is not None and found.total > 1 else ""
    return f"{found.where}: {found.what} {found.before} -> {found.after}{share}{steps}"


def _floats(
    here: ObserverRecord, before: Sequence[ObserverRecord], after: Sequence[ObserverRecord]
) -> str:
    moved = sum(not _agree(a, b) for a, b in zip(before, after, strict=False))
    return (
        f"what {_place(here)} is given while calibrating differs in float bits already; "
        f"{moved} of {len(before)} observers gave other scales or zero points"
    )


def _agree(here: ObserverRecord, there: ObserverRecord) -> bool:
    return (here.scales, here.zero_points) == (there.scales, there.zero_points)


def _close(here: ObserverRecord, there: ObserverRecord) -> bool:
    if here.zero_points != there.zero_points or len(here.scales) != len(there.scales):
        return False
    return bool(np.allclose(here.scales, there.scales, rtol=STORED_SCALE, atol=0.0))


def _place(seen: ObserverRecord) -> str:
    return seen.name.removesuffix(".activation_post_process") or "a weight"


def _said(seen: ObserverRecord) -> str:
    if not seen.scales:
        return "nothing"
    channels = f" (of {len(seen.scales)})" if len(seen.scales) > 1 else ""
    return f"scale {seen.scales[0]:.9g}, zero point {seen.zero_points[0]}{channels}"
