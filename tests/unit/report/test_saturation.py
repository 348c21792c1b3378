from __future__ import annotations

from rich.console import Console

from qreg.records.measurement import LayerSaturation
from qreg.report.saturation import saturation_notes, saturation_table

_COUNTS = {"outputs": 100, "codes": 50}


def _found(overflows: int, left: int) -> tuple[LayerSaturation, ...]:
    return (
        LayerSaturation(
            "conv1", False, pairs=1000, overflows=overflows, outputs_hit=overflows,
            codes_above_127=5, **_COUNTS,
        ),
        LayerSaturation("conv1", True, pairs=1000, overflows=left, **_COUNTS),
    )  # fmt: skip


def _text(found: tuple[LayerSaturation, ...]) -> str:
    console = Console(width=100, record=True, quiet=False, file=None)
    with console.capture() as captured:
        console.print(saturation_table(found, title="case"))
    return captured.get()


def test_a_row_shows_both_counts() -> None:
    row = next(line for line in _text(_found(12, 0)).splitlines() if "conv1" in line)
    assert row.split() == ["conv1", "1,000", "10.00", "%", "12", "12.00", "%", "0", "0.00", "%"]


def test_notes_name_the_layers_and_what_is_left() -> None:
    assert (
        "1 of 1 layers overflow on a CPU without VNNI: conv1."
        in saturation_notes(_found(12, 0), engine="onednn")[1]
    )
    assert "no overflow " in saturation_notes(_found(12, 0), engine="onednn")[2]
    assert "2 overflows " in saturation_notes(_found(12, 2), engine="onednn")[2]
    assert "1 overflow " in saturation_notes(_found(12, 1), engine="onednn")[2]
    assert "nothing overflows" in saturation_notes(_found(0, 0), engine="onednn")[1]


def test_an_engine_without_pairs_says_so() -> None:
    found = (LayerSaturation("fc", False), LayerSaturation("fc", True))
    assert saturation_notes(found, engine="qnnpack") == (
        "qnnpack does not add products in pairs of 16 bits: nothing can overflow.",
    )
