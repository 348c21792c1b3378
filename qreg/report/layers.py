"""The SQNR of every layer as a table, and the first tensors that diverge, for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from qreg.checks.diverging import divergence
from qreg.records.detail import CaseDetail, LayerSqnr
from qreg.records.numerics import EQUAL_DB


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
    found = divergence(detail.layers)
    if found is None:
        lowest, db = min(known, key=lambda one: one[1])
        shown = "equal" if db >= EQUAL_DB else f"{db:.1f} dB"
        return f"{name}: no tensor diverges beyond rounding (lowest: {lowest.name}, {shown})"
    line = f"{name}: first diverging tensor: {found.first[0]} ({found.first[1]:.1f} dB)"
    if found.fall:
        layer_name, before, now = found.fall
        line += f"; largest fall: {layer_name} ({before:.1f} -> {now:.1f} dB)"
    if detail.in_float:
        alone = ", ".join(f"{one.now:.1f} with {one.layer} in float" for one in detail.in_float)
        line += f"; outputs: {detail.in_float[0].before:.1f} dB, {alone}"
    return line
