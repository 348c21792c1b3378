"""The comparison as a plot: accuracy against size, with latency as the marker's area."""

from __future__ import annotations

import io
from collections.abc import Sequence

from qreg.errors import UnavailableError
from qreg.records.case import Failure
from qreg.records.measurement import Measurement
from qreg.report.escape import plot
from qreg.report.score import score_heading

# Marker area of the slowest method, in square points.
_LARGEST_AREA = 1600


def comparison_png(results: Sequence[Measurement | Failure]) -> bytes:
    """A PNG of accuracy (%) against file size (MB), one marker per method.

    Raises:
        UnavailableError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UnavailableError(
            "--plot needs matplotlib", hint="install it with: pip install 'qreg[plot]'"
        ) from error
    measured = [result for result in results if isinstance(result, Measurement)]
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    slowest = max(m.latencies[0].median_ms for m in measured)
    several = len({m.case.engine for m in measured}) > 1
    unit = " %" if measured[0].score is None else f" {measured[0].score.unit}".rstrip()
    for number, m in enumerate(measured):
        share, spread = _value(m)
        megabytes = m.size.file_bytes / 1e6
        colour = f"C{number}"
        axes.errorbar(megabytes, share, yerr=spread, color=colour, capsize=4, alpha=0.7)
        area = _LARGEST_AREA * m.latencies[0].median_ms / slowest
        name = f"{m.case.method}@{m.case.engine}" if several else m.case.method
        label = f"{name}: {share:.4g}{unit}, {megabytes:.2f} MB, {m.latencies[0].median_ms:.2f} ms"
        axes.scatter(megabytes, share, s=area, color=colour, alpha=0.45, linewidth=0)
        axes.plot([], [], "o", color=colour, label=plot(label))
    axes.set_xlabel("size of the saved state dict (MB)")
    score = measured[0].score
    axes.set_ylabel(plot(score_heading(score)) if score else "accuracy (%), 95 % Wilson interval")
    axes.margins(y=0.15)
    axes.set_xlim(0, 1.1 * max(m.size.file_bytes for m in measured) / 1e6)
    case = measured[0].case
    axes.set_title(plot(f"{case.model} on {case.dataset}; area: latency at batch 1"), loc="left")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize="small", loc="best")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()


def _value(measured: Measurement) -> tuple[float, list[list[float]]]:
    """What is drawn, and how far its interval reaches down and up."""
    found, score = measured.accuracy, measured.score
    if found is not None:
        share = found.share * 100
        return share, [[share - found.low * 100], [found.high * 100 - share]]
    value = 0.0 if score is None else score.value * (100 if score.unit == "%" else 1)
    return value, [[0.0], [0.0]]
