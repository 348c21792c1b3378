"""Change points of a case's score and size."""

from __future__ import annotations

from collections.abc import Sequence

from qreg.errors import UnavailableError
from qreg.history.records import GateEntry
from qreg.speed.history.change_points import change_points


def score_changes(entries: Sequence[GateEntry]) -> tuple[int, ...]:
    """Indices of the first entry of each new level of the score.

    Only entries with a score count. Without ruptures there are none; see `why_no_changes`.
    """
    known = [number for number, one in enumerate(entries) if one.value is not None]
    values = [value for one in entries if (value := one.value) is not None]
    try:
        return tuple(known[at] for at in change_points(values))
    except UnavailableError:
        return ()


def size_changes(entries: Sequence[GateEntry]) -> tuple[int, ...]:
    """Indices of entries whose file has another size than the one before: sizes have no noise."""
    sizes = [one.file_bytes for one in entries]
    return tuple(
        number
        for number in range(1, len(sizes))
        if None not in (sizes[number - 1], sizes[number]) and sizes[number] != sizes[number - 1]
    )


def why_no_changes() -> str:
    """Why change points of scores are not looked for; "" where they are."""
    try:
        import ruptures  # noqa: F401
    except ImportError:
        return "change points need ruptures: pip install 'qreg[history]'"
    return ""
