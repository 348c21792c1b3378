"""How long work says how far it is: one type of callback for all of it."""

from __future__ import annotations

from collections.abc import Callable

#: Called with (done, total, what) as the work goes on; a total of 0 is not known.
Progress = Callable[[int, int, str], None]


def no_progress(done: int, total: int, what: str) -> None:
    """Say nothing."""
