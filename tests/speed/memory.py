"""Peak memory of a piece of work, in the process that does it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_growth(work: Callable[[], object]) -> int | None:
    """Bytes by which the resident set grew at most during `work`; None where Linux is not asked.

    The kernel's own high-water mark is set back before: torch's allocations are not Python's.
    """
    if not _CLEAR.exists():
        return None
    _CLEAR.write_text("5")
    before = _kilobytes("VmRSS")
    work()
    return max(0, _kilobytes("VmHWM") - before) * 1024


def _kilobytes(key: str) -> int:
    lines = _STATUS.read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))
