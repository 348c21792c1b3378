"""Progress of long work: the callback type."""

from __future__ import annotations

from collections.abc import Callable

#: Called with (done, total, what); a total of 0 means unknown.
Progress = Callable[[int, int, str], None]


def no_progress(done: int, total: int, what: str) -> None:
    """Ignore the progress."""
