"""Printing and writing a speed check."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from qreg.cli.terminal import say
from qreg.processes.stopping import INTERRUPTED

if TYPE_CHECKING:
    from qreg.speed.compare.rule import SequentialPlan
    from qreg.speed.records import SpeedRun


def print_run(run: SpeedRun, plan: SequentialPlan) -> None:
    """Print the table and its notes."""
    from qreg.cli.terminal import console
    from qreg.speed.report.check import speed_notes, speed_table

    out = console()
    out.print(speed_table(run))
    for note in speed_notes(run, plan):
        out.print(note, highlight=False)


def write_run(path: Path, run: SpeedRun) -> None:
    """Write every pair and verdict as JSON."""
    from qreg.cli.terminal import write_file
    from qreg.speed.report.check import speed_text

    write_file(path, speed_text(run, created=now()).encode())


def write_page(path: Path, run: SpeedRun, plan: SequentialPlan) -> None:
    """Write the run as a page."""
    from qreg.cli.terminal import write_file
    from qreg.speed.report.page import speed_page

    write_file(path, speed_page(run, plan, created=now()).encode(errors="replace"))


def now() -> str:
    """The current time, ISO 8601, UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def exit_status(run: SpeedRun, *, strict: bool) -> int:
    """0, 1, or 130 after an interruption."""
    from qreg.speed.report.check import failing

    if run.interrupted:
        say("qreg: interrupted; finished pairs are kept", error=True)
        return INTERRUPTED
    return int(failing(run.verdicts, strict=strict))
