"""The audit of calibration as tables, JSON and a plot."""

from __future__ import annotations

import io
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from qreg.calibration.records import CalibrationAudit, RangeSite
from qreg.errors import UnavailableError
from qreg.records.decode import plain
from qreg.report.escape import plot as literal
from qreg.report.json_text import enveloped

#: 1: format, qreg, created and the fields of `CalibrationAudit`.
FORMAT = 1
_SHOWN = 12  # sites in the table


def size_table(audit: CalibrationAudit) -> Table:
    """A row per size: scores, their spread, and where a further draw would lie."""
    title = f"{audit.case}, {audit.samples} test samples"
    table = _table(title)
    heading = f"{audit.summary} {audit.unit}".strip()
    for header in (
        "samples", "draws", f"mean\n{heading}", "spread of draws\n(95 % interval)",
        "lowest .. highest", "a further draw\n(95 %)",
    ):  # fmt: skip
        table.add_column(header, justify="right")
    for one in audit.sizes:
        scores = [draw.score for draw in audit.draws if draw.size == one.size]
        low, high = (_number(audit, each) for each in (one.spread_low, one.spread_high))
        table.add_row(
            f"{one.size}",
            f"{one.draws}",
            _number(audit, one.mean),
            f"{_number(audit, one.spread)} ({low} .. {high})",
            f"{_number(audit, min(scores))} .. {_number(audit, max(scores))}",
            f"{_number(audit, one.low)} .. {_number(audit, one.high)}",
        )
    return table


def site_table(audit: CalibrationAudit) -> Table:
    """The sites whose ranges wander most, and all that drift."""
    table = _table("")
    for header in (
        "site", "scale", "wanders\nby", "zero\npoints", "clipped\nat test",
        "beyond the draw:\ntest", "other\ncalibration", "drift",
    ):  # fmt: skip
        table.add_column(header, justify="left" if header == "site" else "right")
    for one in _shown(audit):
        low, high = one.zero_points
        table.add_row(
            one.name,
            f"{one.scale:.4g}",
            f"{one.wander:.1%}",
            f"{low}" if low == high else f"{low} .. {high}",
            _share(one.clipped),
            _share(one.beyond),
            _share(one.beyond_held),
            _drift(one),
        )
    return table


def calibration_notes(audit: CalibrationAudit) -> tuple[str, ...]:
    """Notes for the tables, one sentence per line."""
    within, largest = _number(audit, audit.within), audit.sizes[-1].size
    more = len(audit.sites) - len(_shown(audit))
    drifting = [one.name for one in audit.sites if one.drifts]
    tested = sum(one.p_value is not None for one in audit.sites)
    lines = [
        f"from {audit.enough} samples on, a further draw stays within {within} of the mean of "
        f"{largest} samples, with 95 %."
        if audit.enough is not None
        else f"of no size does a further draw stay within {within} of the mean of {largest} "
        "samples, with 95 %: take more samples, or more draws.",
        f"wanders: standard deviation of the scale over {audit.sizes[-1].draws} draws of "
        f"{largest}; clipped: values of the float model that no code expresses; beyond the "
        "draw: outside of everything that the first draw has.",
        f"the test data drift at {len(drifting)} of {tested} sites ({', '.join(drifting[:6])}"
        f"{' ...' if len(drifting) > 6 else ''}): their largest values differ from those of "
        f"{audit.held_out} other calibration samples (Mann-Whitney, 1 %, Holm)."
        if drifting
        else f"no drift at {tested} sites: the test samples' largest values are like those of "
        f"{audit.held_out} other calibration samples (Mann-Whitney, 1 %, Holm).",
    ]
    if not tested:
        lines[-1] = "drift was not tested: no site is in the float model, too."
    if not audit.sites:
        lines = [lines[0], "no site has one scale for its output: ranges were not looked at."]
    return (*lines, *([f"{more} more sites: with --json."] if more > 0 else ()))


def audit_json(audit: CalibrationAudit, *, created: str) -> str:
    """All fields, in the envelope of all files. `created` is an ISO 8601 time."""
    content: dict[str, Any] = plain(audit)
    return enveloped(content, number=FORMAT, created=created)


def audit_png(audit: CalibrationAudit) -> bytes:
    """A PNG: scores against size, and the sites whose scales wander most.

    Raises:
        UnavailableError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UnavailableError(
            "--plot needs matplotlib", hint="install it with: pip install 'qreg[plot]'"
        ) from error
    scale = 100 if audit.unit == "%" else 1
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    sizes = [one.size for one in audit.sizes]
    left.fill_between(
        sizes, [one.low * scale for one in audit.sizes], [one.high * scale for one in audit.sizes],
        alpha=0.15, label="a further draw, 95 %",
    )  # fmt: skip
    left.plot(sizes, [one.mean * scale for one in audit.sizes], label="mean")
    left.plot(
        [one.size for one in audit.draws], [one.score * scale for one in audit.draws],
        "o", alpha=0.6, label="draws",
    )  # fmt: skip
    left.set_xscale("log", base=2)
    left.set_xticks(sizes, [str(size) for size in sizes])
    left.set_xlabel("calibration samples")
    left.set_ylabel(literal(f"{audit.summary} {audit.unit}".strip()))
    left.set_title(literal(str(audit.case)), loc="left", fontsize="medium")
    left.legend(frameon=False, fontsize="small")
    sites = audit.sites[:_SHOWN][::-1]
    colours = ["C3" if one.drifts else "C0" for one in sites]
    names = [literal(one.name) for one in sites]
    right.barh(names, [100 * one.wander for one in sites], color=colours)
    right.set_xlabel(f"scale wanders by (%), draws of {audit.sizes[-1].size}; red: drifts")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()


def _table(title: str) -> Table:
    return Table(
        title=title or None, title_justify="left", title_style="bold", box=SIMPLE_HEAD,
        pad_edge=False,
    )  # fmt: skip


def _shown(audit: CalibrationAudit) -> list[RangeSite]:
    drifting = [one for one in audit.sites if one.drifts]
    return list(dict.fromkeys((*audit.sites[:_SHOWN], *drifting[:_SHOWN])))


def _number(audit: CalibrationAudit, value: float) -> str:
    return f"{100 * value:.2f}" if audit.unit == "%" else f"{value:.4g}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2g} %"


def _drift(one: RangeSite) -> str:
    if one.p_value is None or one.larger is None:
        return "-"
    return (
        f"{'larger' if one.larger > 0.5 else 'smaller'} (p = {one.p_value:.1g})"
        if (one.drifts)
        else ""
    )
