"""What a notebook shows."""

from __future__ import annotations

from dataclasses import replace

import qreg
from qreg.records.decode import decoder, plain
from qreg.records.verdict import Outcome, Verdict
from tests.unit.report import pages


def test_a_verdict_says_what_moved() -> None:
    text = pages.verdict()._repr_html_()
    for shown in ("REGRESSED", "84.50 → 81.50 %", "first diverging layer: block.conv1",
                  "30 samples flipped", "SQNR 10 dB", "qreg baseline diff"):  # fmt: skip
        assert shown in text
    assert "first diverging" not in pages.verdict(Outcome.PASS)._repr_html_()


def test_names_stay_text() -> None:
    bad = replace(pages.verdict(model=pages.HOSTILE), layer=pages.HOSTILE + "\x1b[2J")
    text = bad._repr_html_()
    assert "<script>" not in text
    assert "\x1b" not in text


def test_a_verdict_travels_as_before() -> None:
    one = pages.verdict()
    assert decoder(Verdict)(plain(one)) == one
    assert "_html" not in plain(one)


def test_a_comparison_and_a_measurement_are_tables() -> None:
    found = qreg.compare(
        "linear_100", "shapes10", methods=["dynamic"], options=qreg.Options(limit=20, threads=1)
    )
    text = found._repr_html_()
    assert "linear_100 on shapes10" in text
    assert text.count("<tr>") == 3
    assert "accuracy %" in text
    assert isinstance(found[1], qreg.Measurement)
    assert ">dynamic</td>" in found[1]._repr_html_()
