"""The saturation audit as a table for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from qreg.records.measurement import LayerSaturation


def saturation_table(layers: Sequence[LayerSaturation], *, title: str) -> Table:
    """A row per layer: as quantized, then with half as many steps."""
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    table.add_column("layer", no_wrap=True)
    for header in ("pairs", "codes\n> 127", "overflows", "outputs\nhit"):
        table.add_column(header, justify="right")
    for header in ("reduced:\noverflows", "outputs\nhit"):
        table.add_column(header, justify="right")
    for layer in dict.fromkeys(one.layer for one in layers):
        as_is, halved = (_one(layers, layer, half) for half in (False, True))
        above = _share(as_is.codes_above_127, as_is.codes)
        table.add_row(layer, f"{as_is.pairs:,}", above, *_cells(as_is), *_cells(halved))
    return table


def _one(layers: Sequence[LayerSaturation], layer: str, halved: bool) -> LayerSaturation:
    return next(one for one in layers if (one.layer, one.halved) == (layer, halved))


def _cells(one: LayerSaturation) -> tuple[str, str]:
    return f"{one.overflows:,}", _share(one.outputs_hit, one.outputs)


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.2f} %" if whole else "-"


def saturation_notes(layers: Sequence[LayerSaturation], *, engine: str) -> tuple[str, ...]:
    """Notes for the table, one sentence per line."""
    if not any(one.pairs for one in layers):
        return (f"{engine} does not add products in pairs of 16 bits: nothing can overflow.",)
    as_is = [one for one in layers if not one.halved]
    hit = [one.layer for one in as_is if one.overflows]
    verdict = "As quantized, nothing overflows on a CPU without VNNI on these samples."
    if hit:
        verdict = (
            f"As quantized, {len(hit)} of {len(as_is)} layers overflow on a CPU without VNNI: "
            f"{', '.join(hit)}."
        )
    steps = "weights of seven bits" if engine == "onnxruntime" else "half as many steps"
    reduced = steps if engine == "onnxruntime" else f"activations with {steps}"
    left = sum(one.overflows for one in layers if one.halved)
    return (
        "pairs: sums of two int8 products; outputs hit: outputs with an overflow in their sum; "
        f"reduced: {reduced}, as with reduce_range.",
        verdict,
        f"With {steps} {left or 'no'} overflow{'s remain' if left > 1 else ' remains'}.",
    )
