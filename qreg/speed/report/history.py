"""A case's nights as text and as a picture."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import datetime

from qreg.errors import UnavailableError
from qreg.speed.records import Night

_WIDTH, _COMMIT = 50, 10


def history_lines(nights: Sequence[Night], starts: Sequence[int]) -> tuple[str, ...]:
    """One line a night: when, at which commit, how much slower than the reference, and where.

    `starts` are the indices of the first night of each new level.
    """
    low = min(0.0, *(night.low for night in nights))
    high = max(0.0, *(night.high for night in nights)) + 1e-9
    lines = [f"{nights[0].case}, slower than {_short(nights[0].reference)} by"]
    for number, night in enumerate(nights):
        if number in starts:
            lines.append(f"{'':23}-- change --")
        lines.append(_line(night, low, high))
    return (*lines, f"{'':31}{low * 100:+.1f} %{high * 100:+{_WIDTH - 6}.1f} %")


def _line(night: Night, low: float, high: float) -> str:
    def column(value: float) -> int:
        return round((value - low) / (high - low) * (_WIDTH - 1))

    bar = [" "] * _WIDTH
    bar[column(0.0)] = ":"
    for place in range(column(night.low), column(night.high) + 1):
        bar[place] = "-"
    bar[column(night.change)] = "o"
    noisy = " noisy" if night.noisy else ""
    when = f"{night.time[:10]} {_short(night.commit):{_COMMIT}}"
    return f"{when} {night.change * 100:+7.2f} % {''.join(bar).rstrip()}{noisy}"


def _short(commit: str) -> str:
    name = commit.removesuffix("-dirty")
    is_hash = len(name) == 40
    return (name[:8] if is_hash else name[-30:]) + ("+" if name != commit else "")


def history_png(nights: Sequence[Night], starts: Sequence[int]) -> bytes:
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
    times = [datetime.fromisoformat(night.time).timestamp() / 86400 for night in nights]
    values = [night.change * 100 for night in nights]
    spread = [
        [100 * (night.change - night.low) for night in nights],
        [100 * (night.high - night.change) for night in nights],
    ]
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.add_subplot()
    axes.axhline(0, color="0.6", linewidth=1)
    axes.errorbar(times, values, yerr=spread, fmt="o", markersize=4, capsize=2)
    for start in starts:
        axes.axvline((times[start - 1] + times[start]) / 2, color="C3")
    axes.xaxis_date()
    axes.set_ylabel("slower than the reference by (%)")
    axes.set_title(f"{nights[0].case}; 99 % intervals", loc="left")
    axes.grid(alpha=0.3)
    figure.autofmt_xdate()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()
