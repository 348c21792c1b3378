"""Plots: the sites as horizontal bars, and the front of lists left in float."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from qreg.errors import UnavailableError
from qreg.sensitivity.records import Recovery, Sensitivity, SitePart

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Sites that are drawn.
_MOST = 30


def need_matplotlib() -> None:
    """Check that plots can be drawn.

    Raises:
        UnavailableError: matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise UnavailableError(
            "--plot needs matplotlib", hint="install it with: pip install 'qreg[plot]'"
        ) from error


def _figure(**subplots: Any) -> Figure:
    need_matplotlib()
    from matplotlib.figure import Figure

    return Figure(layout="constrained", **subplots)


def sensitivity_png(result: Sensitivity) -> bytes:
    """A PNG of the most harmful sites: the drop with only it quantized, and its share of noise.

    Raises:
        UnavailableError: matplotlib is not installed.
    """
    effects = [effect for effect in result.effects if effect.rank][:_MOST]
    figure = _figure(figsize=(10, 1.4 + 0.26 * len(effects)))
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    scale = 100 if result.unit == "%" else 1
    rows = range(len(effects))
    colours = ["C1" if effect.site.part is SitePart.WEIGHT else "C0" for effect in effects]
    for row, effect, colour in zip(rows, effects, colours, strict=True):
        if effect.only is not None:
            change = effect.only.score
            sign = -1 if change.higher_is_better else 1
            ends = sorted((sign * change.low * scale, sign * change.high * scale))
            drop = effect.only.drop * scale
            left.barh(row, drop, color=colour, alpha=0.85)
            left.plot(ends, [row, row], color="black", linewidth=1)
        right.barh(row, (effect.noise or 0) * 100, color=colour, alpha=0.85)
    left.set_yticks(rows, [f"{e.site}{' *' if e.significant else ''}" for e in effects])
    left.invert_yaxis()
    unit = "points" if result.unit == "%" else result.unit
    left.set_xlabel(f"drop of {result.summary} with only it quantized ({unit}), 90 % interval")
    right.set_xlabel("share of noise (%)")
    for axes in (left, right):
        axes.grid(axis="x", alpha=0.3)
        axes.axvline(0, color="black", linewidth=0.8)
    handles = [left.barh([0], [0], color=colour) for colour in ("C1", "C0")]
    right.legend(handles, ["weight", "activation"], frameon=False, loc="lower right")
    figure.suptitle(f"{result.case}; *: significant", x=0.01, ha="left")
    return _png(figure)


def recovery_png(result: Recovery) -> bytes:
    """A PNG of the drop against the size of the file, the time as the marker's label.

    Raises:
        UnavailableError: matplotlib is not installed.
    """
    figure = _figure(figsize=(8, 5))
    axes = figure.add_subplot()
    scale = 100 if result.unit == "%" else 1
    for number, point in enumerate(result.front):
        time = "" if point.ms is None else f", {point.ms:.2f} ms"
        marker = "o" if not point.simulated else "x"
        label = f"{point.name}: {point.bytes / 1e6:.2f} MB{time}"
        axes.plot(
            point.bytes / 1e6, point.drop * scale, marker, color=f"C{number}", markersize=9,
            label=label if len(label) < 70 else label[:67] + "...",
        )  # fmt: skip
    axes.axhline(result.max_drop * scale, color="black", linestyle="--", linewidth=1)
    unit = "points" if result.unit == "%" else result.unit
    axes.set_xlabel("size of the saved state dict (MB)")
    axes.set_ylabel(f"drop of {result.summary} compared with float ({unit})")
    axes.set_title(f"{result.case}; dashed: the budget; x: simulated", loc="left")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize="small")
    return _png(figure)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()
