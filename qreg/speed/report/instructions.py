"""Counted instructions as a table and lines; never prints."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from rich.box import SIMPLE_HEAD
from rich.table import Table

from qreg.speed.records import Counted

#: Two processes of the same code were seen to differ by so much (docs/commands/speed.md).
REPEATS_WITHIN = 0.0015
LIMITS = (
    "Instructions are not time: they see no cache, no memory and no width of vectors. A second "
    "signal beside `qreg speed check`, never the verdict.",
    "Under valgrind PyTorch takes its AVX2 kernels, whatever the CPU has.",
    "Python and PyTorch's dispatch are counted too; at batch 1 they may be most of it.",
    f"Runs of the same code agree within {REPEATS_WITHIN:.2%}: less of a change is shown as none.",
)


def instructions_table(counted: Sequence[Counted]) -> Table:
    """One row a case: the median over the bursts, how far these lie apart, the change."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("case")
    for header in ("instructions\na call", "bursts\napart %", "baseline", "change %"):
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
