"""Instruction counts as a table and notes; never prints."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from rich.box import SIMPLE_HEAD
from rich.table import Table

from qreg.speed.records import Counted

#: Largest observed difference between processes of the same code (docs/commands/speed.md).
REPEATS_WITHIN = 0.0015
LIMITS = (
    "Instructions are not time: they ignore caches, memory and vector width. They are a second "
    "signal next to `qreg speed check`, never the verdict.",
    "Under valgrind PyTorch uses its AVX2 kernels, whatever the CPU supports.",
    "Python and PyTorch's dispatch are counted too; at batch 1 they may dominate.",
    f"Runs of the same code agree within {REPEATS_WITHIN:.2%}; smaller changes are shown as none.",
)


def instructions_table(counted: Sequence[Counted]) -> Table:
    """A row per case: the median over the bursts, their range, and the change."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("case")
    for header in ("instructions\nper call", "burst\nrange %", "baseline", "change %"):
        table.add_column(header, justify="right")
    for one in counted:
        table.add_row(str(one.case), *_cells(one))
    return table


def _cells(one: Counted) -> tuple[str, ...]:
    now = median(one.candidate)
    apart = (max(one.candidate) - min(one.candidate)) / now
    shown = (f"{now:,.0f}", f"{apart * 100:.2f}")
    if not one.baseline:
        return (*shown, "", "")
    change = now / median(one.baseline) - 1
    text = f"{change * 100:+.2f}" if abs(change) > REPEATS_WITHIN else "none"
    return (*shown, f"{median(one.baseline):,.0f}", text)
