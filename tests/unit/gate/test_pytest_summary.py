"""What a run's summary says beyond its cases."""

from __future__ import annotations

from qreg.gate.pytest_summary import environment_lines


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
