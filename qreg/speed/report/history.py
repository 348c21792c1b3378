"""A case's speed history as text and as a plot."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import datetime

from qreg.errors import UnavailableError
from qreg.report.escape import plot
from qreg.speed.records import HistoryEntry

_WIDTH, _COMMIT = 50, 10


def history_lines(entries: Sequence[HistoryEntry], starts: Sequence[int]) -> tuple[str, ...]:
    """A line per entry: date, commit, and the slowdown relative to the reference, with a bar.

    `starts` are the indices of the first entry of each new level.
    """
    low = min(0.0, *(entry.low for entry in entries))
    high = max(0.0, *(entry.high for entry in entries)) + 1e-9
    lines = [f"{entries[0].case}, change of the time per call from {_short(entries[0].reference)}"]
    for number, entry in enumerate(entries):
        if number in starts:
            lines.append(f"{'':23}-- change --")
        lines.append(_line(entry, low, high))
    return (*lines, f"{'':31}{low * 100:+.1f} %{high * 100:+{_WIDTH - 6}.1f} %")


def _line(entry: HistoryEntry, low: float, high: float) -> str:
    def column(value: float) -> int:
        return round((value - low) / (high - low) * (_WIDTH - 1))

    bar = [" "] * _WIDTH
    bar[column(0.0)] = ":"
    for position in range(column(entry.low), column(entry.high) + 1):
        bar[position] = "-"
    bar[column(entry.change)] = "o"
    noisy = " noisy" if entry.noisy else ""
    when = f"{entry.time[:10]} {_short(entry.commit):{_COMMIT}}"
    return f"{when} {entry.change * 100:+7.2f} % {''.join(bar).rstrip()}{noisy}"


def _short(commit: str) -> str:
    name = commit.removesuffix("-dirty")
    is_hash = len(name) == 40
    return (name[:8] if is_hash else name[-30:]) + ("+" if name != commit else "")


def history_png(entries: Sequence[HistoryEntry], starts: Sequence[int]) -> bytes:
    """A PNG of change (%) with its interval over time, change points as vertical lines.

    Raises:
        UnavailableError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UnavailableError(
            "--plot needs matplotlib", hint="install it with: pip install 'qreg[plot]'"
        ) from error
    # matplotlib's dates are days since 1970
    times = [datetime.fromisoformat(entry.time).timestamp() / 86400 for entry in entries]
    values = [entry.change * 100 for entry in entries]
    spread = [
        [100 * (entry.change - entry.low) for entry in entries],
        [100 * (entry.high - entry.change) for entry in entries],
    ]
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.add_subplot()
    axes.axhline(0, color="0.6", linewidth=1)
    axes.errorbar(times, values, yerr=spread, fmt="o", markersize=4, capsize=2)
    for start in starts:
        axes.axvline((times[start - 1] + times[start]) / 2, color="C3")
    axes.xaxis_date()
    axes.set_ylabel("slowdown relative to the reference (%)")
    axes.set_title(plot(f"{entries[0].case}; 99 % confidence intervals"), loc="left")
    axes.grid(alpha=0.3)
    figure.autofmt_xdate()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()
