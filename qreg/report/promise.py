"""Promises as a table and as words; never prints."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from qreg.approvals import Promise
from qreg.compare.promise import can_be_told, expected, lowest, spread, times
from qreg.compare.tolerances import PROMISE_LEVEL


def promises_table(promises: Sequence[Promise]) -> Table:
    """One row a case: its speed-up over fp32, and what is promised of it."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("case")
    table.add_column("batch", justify="right")
    for header in ("speed-up", "lowest..highest", "spread %", "promised: here", "elsewhere"):
        table.add_column(header, justify="right")
    for one in sorted(promises, key=lambda p: str(p.case)):
        low, high = min(one.log_speed_ups), max(one.log_speed_ups)
        limits = [times(lowest(one, exact=exact, alpha=PROMISE_LEVEL)) for exact in (True, False)]
        table.add_row(
            str(one.case),
            str(one.batch),
            times(expected(one)),
            f"{times(low)}..{times(high)}",
            f"{math.expm1(spread(one)) * 100:.0f}",
            *(limits if can_be_told(one) else ("none", "none")),
        )
    return table


def promise_text(promise: Promise) -> str:
    """What is promised, in a sentence."""
    low, high = min(promise.log_speed_ups), max(promise.log_speed_ups)
    seen = (
        f"{times(expected(promise))} as fast as fp32 at batch {promise.batch}, {times(low)} to "
        f"{times(high)} in {len(promise.log_speed_ups)} fresh processes"
    )
    if not can_be_told(promise):
        return f"no speed-up is promised: {seen}; a fallback could not be told from it"
    here, there = (lowest(promise, exact=exact, alpha=PROMISE_LEVEL) for exact in (True, False))
    return f"promised speed-up: {seen}; at least {times(here)} here, {times(there)} elsewhere"
