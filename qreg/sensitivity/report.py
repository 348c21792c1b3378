"""A sensitivity and a recovery as text, tables and JSON; never prints."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from rich.box import SIMPLE_HEAD
from rich.table import Table

from qreg.records.budget import BudgetOutcome
from qreg.records.method import Form
from qreg.report.json_text import enveloped
from qreg.report.score import number
from qreg.sensitivity.records import (
    FrontPoint,
    Recovery,
    ScoreEffect,
    Sensitivity,
    SiteEffect,
    SitePart,
    Verified,
)

#: 1: format, qreg, created, and a record as in qreg.sensitivity.records.
FORMAT = 1
MB = 1e6
#: Rows of the table for sites that were only screened.
_SCREENED_ROWS = 5


def amount(value: float, unit: str) -> str:
    """A summary's value with its unit."""
    return f"{number(value, unit)} {unit}".rstrip()


def _signed(value: float, unit: str) -> str:
    # adding 0 makes 0 of -0
    return f"{round(value * 100, 2) + 0:+.2f}" if unit == "%" else f"{value + 0:+.3g}"


def step(value: float, unit: str) -> str:
    """A change with its unit: of a share, in points."""
    shown = _signed(value, unit)
    return f"{shown} {'points' if unit == '%' else unit}".rstrip()


def headline(result: Sensitivity) -> str:
    """What quantization costs, and which sites cost it."""
    harmful = result.harmful
    start = (
        f"{result.case}: {result.summary} {amount(result.float_value, result.unit)} in float, "
        f"{amount(result.converted_value, result.unit)} quantized"
    )
    if not harmful:
        return f"{start}; no single site changes it significantly"
    names = ", ".join(str(effect.site) for effect in harmful[:3])
    more = f" and {len(harmful) - 3} more" if len(harmful) > 3 else ""
    verb = "does" if len(harmful) == 1 else "do"
    return f"{start}; {names}{more} {verb} damage"


def sensitivity_table(result: Sensitivity, *, everything: bool = False) -> Table:
    """A row for each site, the most harmful first.

    Args:
        everything: show all sites that were only screened, not only the noisiest.
    """
    table = Table(title_justify="left", box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("rank", justify="right", no_wrap=True)
    table.add_column("site", overflow="fold")
    for header in (
        "SQNR\ndB",
        "noise\n%",
        "only it:\nchange",
        "flips",
        "all but it:\nchange",
        "weight\nMB less",
        "ms\nless",
    ):
        table.add_column(header, justify="right", no_wrap=True)
    for effect in _shown(result, everything=everything):
        table.add_row(*_row(effect, result.unit))
    return table


def _shown(result: Sensitivity, *, everything: bool) -> tuple[SiteEffect, ...]:
    full = sum(effect.only is not None for effect in result.effects)
    return result.effects if everything else result.effects[: full + _SCREENED_ROWS]


def _row(effect: SiteEffect, unit: str) -> tuple[str, ...]:
    site = effect.site
    saved = f"{site.saved_bytes / MB:.3f}" if site.part is SitePart.WEIGHT else ""
    return (
        f"{'=' if effect.tied else ''}{effect.rank or '-'}{'*' if effect.significant else ' '}",
        str(site),
        "" if effect.sqnr_db is None else f"{effect.sqnr_db:.1f}",
        "" if effect.noise is None else f"{effect.noise * 100:.1f}",
        _change(effect.only, unit),
        "" if effect.only is None or effect.only.flips is None else str(effect.only.flips),
        _change(effect.but, unit),
        saved,
        "" if effect.saved_ms is None else f"{effect.saved_ms:.3f}",
    )


def _change(effect: ScoreEffect | None, unit: str) -> str:
    if effect is None:
        return ""
    change = effect.score
    low, high = (_short(end, unit) for end in (change.low, change.high))
    return f"{_short(change.change, unit)} ({low}..{high})"


def _short(value: float, unit: str) -> str:
    return f"{round(value * 100, 1) + 0:+.1f}" if unit == "%" else f"{value + 0:+.3g}"


def sensitivity_notes(result: Sensitivity, *, everything: bool = False) -> Iterator[str]:
    """What the columns mean, one sentence per line."""
    full = sum(effect.only is not None for effect in result.effects)
    hidden = len(result.effects) - len(_shown(result, everything=everything))
    if hidden:
        yield f"{hidden} sites with less noise are not shown: --all measures them in full."
    yield (
        f"SQNR, noise: of the outputs with only this site quantized, on {result.screened} samples; "
        "noise: its share of the squared errors of all sites, one by one."
    )
    yield (
        f"only it: with only this site quantized, compared with float; all but it: with the others "
        f"quantized, compared with all; {result.summary}, on the same {result.measured} samples, "
        f"paired 90 % interval; {full} of {len(result.effects)} sites were measured so."
    )
    yield (
        f"*: quantizing only it changes the score (Holm over {full} sites, {result.level:.0%}). "
        "=: cannot be told from the site above it without =."
    )
    yield "MB less, ms less: what quantizing the weight saves in the file, and at batch 1."
    agreement = result.agreement
    same = (
        f", {agreement.same} of {agreement.total} predictions are the same"
        if agreement.same is not None
        else ""
    )
    yield (
        "Sites are switched in a simulation with the converted model's scales, zero points and "
        f"weights; with all on, its {result.summary} is "
        f"{amount(result.quantized_value, result.unit)} and the converted model's "
        f"{amount(result.converted_value, result.unit)}{same} "
        f"(SQNR {agreement.sqnr_db:.0f} dB)."
    )
    if not result.shared:
        yield "The network could not be traced: every run was of the whole network."
    if result.stopped:
        yield f"Time limit: {result.stopped}."


def sensitivity_text(result: Sensitivity, *, created: str) -> str:
    """The record as JSON. `created` is an ISO 8601 time."""
    return enveloped(asdict(result), number=FORMAT, created=created)


def recovery_text(result: Recovery, *, created: str) -> str:
    """The record as JSON. `created` is an ISO 8601 time."""
    return enveloped(asdict(result), number=FORMAT, created=created)


def recovery_lines(result: Recovery) -> Iterator[str]:
    """The result: which layers, and whether the other samples show that it is enough."""
    unit, names = result.unit, ", ".join(result.keep)
    budget = f"a drop of at most {step(result.max_drop, unit).lstrip('+')}"
    before = f"{result.case.method} drops by {_points(result.before, unit)}"
    if not result.keep and result.found:
        yield f"{result.case}: nothing needs to stay in float for {budget}: {before}"
    elif result.found:
        yield (
            f"{result.case}: leave {len(result.keep)} of {result.layers} layers in "
            f"{_form(result)} for {budget}: {names}"
        )
        yield f"{before} without it"
    else:
        yield f"{result.case}: nothing found within {budget}; {before}"
        yield (
            f"the nearest leaves {len(result.keep)} of {result.layers} layers in "
            f"{_form(result)} and drops by "
            f"{_points(result.verified, unit)}: {names or 'none'}"
        )
    yield _verified_line(result)


def _form(result: Recovery) -> str:
    return "float" if result.form is Form.FLOAT32 else result.form.value


def _points(one: Verified, unit: str) -> str:
    low, high = (_signed(end, unit) for end in (one.low, one.high))
    return f"{step(one.drop, unit)} ({low}..{high})"


def _verified_line(result: Recovery) -> str:
    one, unit = result.verified, result.unit
    text = (
        f"verified on {one.total} samples it was not chosen by: {one.outcome.value}: "
        f"{result.summary} {amount(one.value, unit)}, float {amount(result.fp32_value, unit)}, "
        f"drop {_points(one, unit)}"
    )
    if one.outcome is BudgetOutcome.NOT_SHOWN and one.needed:
        text += f"; {one.needed} samples like these would show it"
    return text


def recovery_table(result: Recovery) -> Table:
    """The front: score, size and time of the alternatives."""
    table = Table(title_justify="left", box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("in float", overflow="fold")
    for header in (f"drop of {result.summary}", "file MB", "ms/sample\nbatch 1"):
        table.add_column(header, justify="right", no_wrap=True)
    for point in result.front:
        table.add_row(*_front_row(point, result.unit))
    return table


def _front_row(point: FrontPoint, unit: str) -> tuple[str, ...]:
    simulated = " (simulated)" if point.simulated else ""
    return (
        point.name,
        f"{step(point.drop, unit)}{simulated}",
        f"{point.bytes / MB:.2f}",
        "" if point.ms is None else f"{point.ms:.3f}",
    )


def recovery_notes(result: Recovery) -> Iterator[str]:
    """How it was found, one sentence per line."""
    yield (
        f"chosen on {result.chosen.total} samples: by the simulation, the most harmful layers "
        f"first, then without each that is not needed; the real converted model drops by "
        f"{_points(result.chosen, result.unit)} there ({result.chosen.outcome.value})."
    )
    yield (
        "drop: compared with the same weights in float; one-sided 95 % bounds: KEPT where the "
        "upper one is below the budget."
    )


def other_form_line(result: Recovery) -> str:
    """The same list in another form, with its verdict; "" where there is none."""
    if result.other is None:
        return ""
    one = result.other
    return (
        f"in {one.form.value} (--keep-as {one.form.value}): {_points(one.verified, result.unit)}, "
        f"{one.verified.outcome.value}: {one.method}"
    )


def gate_line(result: Recovery) -> str:
    """What to write into ``[tool.qreg]``; "" where nothing is kept."""
    return f'methods = ["{result.case.method}", "{result.method}"]' if result.keep else ""
