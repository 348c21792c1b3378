"""The SQNR of every layer as a table, and the first tensors that diverge, for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from qreg.records.detail import CaseDetail, LayerSqnr
from qreg.records.numerics import EQUAL_DB

#: Floats that differ in rounding alone: what a float export keeps of float32's 150 dB in depth.
ROUNDING_DB = 90.0


def layers_table(details: Sequence[CaseDetail]) -> Table:
    """A row per layer, a column per case; in the order in which they run."""
    table = Table(
        title="SQNR of each layer's output to the float model's, dB",
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("layer")
    for detail in details:
        table.add_column(detail.case.method, justify="right")
    found = [{layer.name: layer for layer in detail.layers} for detail in details]
    for name in dict.fromkeys(name for layers in found for name in layers):
        cells = (_cell(layers.get(name)) for layers in found)
        table.add_row(Text(name), *cells)
    return table


def _cell(layer: LayerSqnr | None) -> str:
    if layer is None or layer.now is None:
        return ""
    return "equal" if layer.now >= EQUAL_DB else f"{layer.now:.1f}"


def diverging_lines(details: Sequence[CaseDetail]) -> tuple[str, ...]:
    """For each case the first tensor that differs by more than rounding, and the largest fall."""
    return tuple(line for detail in details if (line := _diverging(detail)))


def _diverging(detail: CaseDetail) -> str:
    known = [(layer, layer.now) for layer in detail.layers if layer.now is not None]
    name = detail.case.method
    if not known:
        return f"{name}: no tensor has a counterpart in the float model"
    first = next(((layer, db) for layer, db in known if db < ROUNDING_DB), None)
    if first is None:
        lowest, db = min(known, key=lambda one: one[1])
        shown = "equal" if db >= EQUAL_DB else f"{db:.1f} dB"
        return f"{name}: no tensor diverges beyond rounding (lowest: {lowest.name}, {shown})"
    line = f"{name}: first diverging tensor: {first[0].name} ({first[1]:.1f} dB)"
    falls = [
        (before - now, layer.name, before, now)
        for (_, before), (layer, now) in pairwise(known)
        if before < ROUNDING_DB and before > now
    ]
    if falls:
        _, layer_name, before, now = max(falls)
        line += f"; largest fall: {layer_name} ({before:.1f} -> {now:.1f} dB)"
    return line
