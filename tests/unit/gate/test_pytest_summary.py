"""What a run's summary says beyond its cases."""

from __future__ import annotations

from typing import Any

import pytest

from qreg.gate.pytest_summary import _detectable_lines, environment_lines


def test_each_kind_of_machine_is_a_column() -> None:
    names = ("d/net/fp32@x86", "d/net/static@x86")
    outcomes = {"AVX2": ("PASS", "REGRESSED"), "AVX512, VNNI": ("PASS", "PASS")}
    records = [
        {"case": name, "environment": kind, "outcome": outcome}
        for kind, found in outcomes.items()
        for name, outcome in zip(names, found, strict=True)
    ]
    assert list(environment_lines(records)) == [
        "on each kind of machine:",
        "  1  AVX2",
        "  2  AVX512, VNNI",
        "                    1          2",
        "  d/net/fp32@x86    PASS       PASS",
        "  d/net/static@x86  REGRESSED  PASS",
    ]
    assert not list(environment_lines([{"case": "d/net/fp32@x86", "outcome": "PASS"}]))


def _record(detectable: float | None, judged_by: str = "MAE rise", unit: str = "m") -> Any:
    return {"detectable": detectable, "judged_by": judged_by, "unit": unit}


@pytest.mark.parametrize(
    ("drops", "said"),
    [
        ((0.02, 0.03), "smallest detectable MAE rise (power 80 %): 0.02 to 0.03 m;"),
        ((0.02, 0.02), "smallest detectable MAE rise (power 80 %): 0.02 m;"),
        ((0.0, 0.0), "smallest detectable MAE rise (power 80 %): any, as no sample's score moved;"),
        ((0.0, 0.02), "smallest detectable MAE rise (power 80 %): 0 to 0.02 m;"),
    ],
)
def test_the_smallest_detectable_change(drops: tuple[float, ...], said: str) -> None:
    (line,) = _detectable_lines([_record(None), *map(_record, drops)])
    assert line.startswith(said)
    assert line.endswith("below 1% (Holm)")


def test_of_accuracy_in_points() -> None:
    records = [_record(0.009, "accuracy drop", "%"), _record(0.017, "accuracy drop", "%")]
    (line,) = _detectable_lines(records)
    assert "accuracy drop (power 80 %): 0.90 to 1.70 points" in line
