"""The history of a case as text: a line a run, with a bar."""

from __future__ import annotations

from collections.abc import Sequence

from qreg.history.records import GateEntry
from qreg.report.score import number

_WIDTH, _COMMIT = 30, 10


def history_lines(entries: Sequence[GateEntry], starts: Sequence[int]) -> tuple[str, ...]:
    """The case, then for each entry date, commit, outcome, score and size.

    Args:
        starts: indices of the first entry of each new level of the score.
    """
    values = [one.value for one in entries if one.value is not None]
    low, high = min(values, default=0.0), max(values, default=1.0)
    unit = f"{entries[-1].measure} {entries[-1].unit}".strip()
    lines = [f"{entries[0].case}{f', {unit}' if unit else ''}"]
    for at, one in enumerate(entries):
        if at in starts:
            lines.append(f"{'':23}-- change --")
        lines.append(_line(one, low, high))
    return tuple(lines)


def _line(one: GateEntry, low: float, high: float) -> str:
    size = f"{one.file_bytes / 1e6:9.3f} MB" if one.file_bytes is not None else f"{'':12}"
    value = number(one.value, one.unit) if one.value is not None else "-"
    when = f"{one.time[:10]} {short_commit(one.commit):{_COMMIT}}"
    text = f"{when} {one.outcome.value:<12} {value:>9} {size}  {_bar(one.value, low, high)}"
    layer = f"  {one.layer}" if one.layer else ""
    flips = f"  {one.flips} flips" if one.flips else ""
    return f"{text.rstrip()}{flips}{layer}"


def _bar(value: float | None, low: float, high: float) -> str:
    if value is None:
        return ""
    at = round((value - low) / (high - low) * (_WIDTH - 1)) if high > low else _WIDTH // 2
    return f"{'-' * at}o".ljust(_WIDTH)


def short_commit(commit: str) -> str:
    """The first digits of a commit, with + for uncommitted changes."""
    name = commit.removesuffix("-dirty")
    return name[:8] + ("+" if name != commit else "")
