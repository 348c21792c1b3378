"""The page of a comparison: each method against fp32, with the samples that changed and layers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from qreg.records.case import Failure
from qreg.records.comparison import Comparison
from qreg.records.detail import CaseDetail
from qreg.records.measurement import Measurement
from qreg.report.cards import Card, Tile, alone, card_markup, size_text
from qreg.report.charts import Spot, trade_off_chart
from qreg.report.comparison import comparison_notes, environment_note
from qreg.report.page import render
from qreg.report.score import number


def compare_page(results: Comparison, *, created: str) -> str:
    """The whole page, of measurements with their details."""
    details = {one.case: one for one in results.details}
    measured = [one for one in results if isinstance(one, Measurement)]
    case = results[0].case
    pairs = [(one, details.get(one.case) or CaseDetail(one.case)) for one in measured]
    shown = [detail for _, detail in pairs if detail.value is not None]
    measure = f"{shown[0].measure} {shown[0].unit}".strip() if shown else ""
    return render(
        "compare.html",
        title=f"{case.model} on {case.dataset}",
        created=created,
        headline=f"{case.model} on {case.dataset}: {len(measured)} methods measured",
        summary=[line for one, detail in pairs if (line := _line(one, detail))],
        failures=[one for one in results if isinstance(one, Failure)],
        rows=[_row(one, detail) for one, detail in pairs],
        measure=measure or "quality",
        picture=trade_off_chart(
            [_spot(detail) for detail in shown],
            measure=measure,
            title=f"{measure}, size and speed of {case.model} on {case.dataset}",
        ),
        cards=card_markup([_card(n, *pair) for n, pair in enumerate(pairs) if n]),
        notes=comparison_notes(results),
        environment=environment_note(measured[0]),
    )


def change_text(one: Measurement) -> str:
    """The change from fp32 with its interval; "" for fp32."""
    for found in one.agreements:
        if found.reference == "fp32":
            low, high = found.low * 100, found.high * 100
            return f"{found.change * 100:+.2f} points ({low:+.2f} to {high:+.2f})"
    for name, change in one.score_changes:
        if name == "fp32":
            shown = [number(v, change.unit, signed=True) for v in (change.low, change.high)]
            return f"{number(change.change, change.unit, signed=True)} ({' to '.join(shown)})"
    return ""


def flips_text(one: Measurement) -> str:
    """How many predictions or scores are not fp32's."""
    for found in one.agreements:
        if found.reference == "fp32":
            return f"{len(found.flips)} flips ({found.lost} lost, {found.won} won)"
    for name, change in one.score_changes:
        if name == "fp32":
            return f"{change.worse} samples worse, {change.better} better"
    return ""


def _line(one: Measurement, detail: CaseDetail) -> dict[str, str]:
    if not (change := change_text(one)):
        return {}
    before = detail.file_bytes_before or 0
    smaller = f"{before / detail.file_bytes:.1f} times smaller" if detail.file_bytes else ""
    speed = f"{one.latencies[0].speed_up:.2f} times as fast at batch 1"
    return {
        "method": _method(one),
        "text": "; ".join(filter(None, (change, flips_text(one), smaller, speed))),
    }


def _method(one: Measurement) -> str:
    return f"{one.case.method}@{one.case.engine}"


def _row(one: Measurement, detail: CaseDetail) -> dict[str, Any]:
    return {
        "method": _method(one),
        "value": alone(detail).removeprefix(detail.measure).strip(),
        "change": change_text(one),
        "flips": flips_text(one),
        "file": f"{one.size.file_bytes / 1e6:.3f}",
        "weights": f"{one.size.weight_bytes / 1e6:.3f}",
        "times": [f"{each.median_ms:.3f}" for each in one.latencies],
        "speed_ups": [f"{each.speed_up:.2f}" for each in one.latencies],
    }


def _card(position: int, one: Measurement, detail: CaseDetail) -> Card:
    weights = (f"{len(one.size.float_layers)} layers with float weights",)
    return Card(
        number=position,
        case=one.case,
        badge="",
        tone="info",
        under=weights if one.size.float_layers else (),
        tiles=tuple(_tiles(one, detail)),
        detail=detail,
        order="lost ones first, the most clearly decided first",
        reference="fp32",
        notes=detail.notes,
    )


def _tiles(one: Measurement, detail: CaseDetail) -> Iterator[Tile]:
    if figure := alone(detail).removeprefix(detail.measure).strip():
        yield Tile(detail.measure, figure, f"{change_text(one)} from fp32")
    if flips := flips_text(one):
        head, _, rest = flips.partition(" (")
        yield Tile("samples unlike fp32's", head, rest.rstrip(")"))
    yield Tile("size", size_text(detail), f"weights alone {one.size.weight_bytes / 1e6:.3f} MB")
    single, batch = one.latencies
    yield Tile(
        "speed-up over fp32",
        f"{single.speed_up:.2f} at batch 1",
        f"{batch.speed_up:.2f} at batch {batch.batch_size}",
    )


def _spot(detail: CaseDetail) -> Spot:
    assert detail.value is not None
    return Spot(
        name=f"{detail.case.method}@{detail.case.engine}",
        size=(detail.file_bytes or 0) / 1e6,
        value=detail.value * (100 if detail.unit == "%" else 1),
        speed_up=detail.speed_up,
    )
