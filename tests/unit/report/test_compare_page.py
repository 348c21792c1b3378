"""The comparison's page, of real measurements."""

from __future__ import annotations

from dataclasses import replace

import pytest

import qreg
from qreg.records.comparison import Comparison
from qreg.report.compare_page import compare_page
from qreg.report.comparison import sorted_results

CREATED = "2026-11-25T00:00:00+00:00"


@pytest.fixture(scope="module")
def compared() -> Comparison:
    options = qreg.Options(limit=60, threads=1)
    return qreg.compare("linear_100", "shapes10", methods=["static"], options=options, details=True)


def test_the_page_shows_each_method_with_its_flips_and_layers(compared: Comparison) -> None:
    text = compare_page(compared, created=CREATED)
    static = compared[1]
    assert isinstance(static, qreg.Measurement)
    flips = static.agreements[0].flips
    assert flips
    assert "2 methods measured" in text
    assert f"{len(flips)} flips ({static.agreements[0].lost} lost" in text
    assert "times as fast at batch 1" in text
    assert "SQNR by layer" in text
    assert text.count("data:image/") >= len(flips[:12])
    assert "Sizes by layer and dtype" in text
    assert "right: fp32" in text or not static.agreements[0].lost + static.agreements[0].won
    assert "could not be collected" not in text


def test_details_are_of_the_measured_cases_and_only_when_asked_for(compared: Comparison) -> None:
    fp32, static = compared.details
    assert fp32.case.method == "fp32"
    assert fp32.samples == ()
    assert static.value_before == fp32.value
    assert [one.expected_margin for one in static.samples if one.worse] == sorted(
        (one.expected_margin for one in static.samples if one.worse), reverse=True
    )
    assert Comparison([]).details == ()


def test_rows_are_sorted_with_fp32_first(compared: Comparison) -> None:
    fp32, static = compared
    failed = qreg.Failure(replace(static.case, method="qat"), "why", "", unavailable=True)
    given = (fp32, failed, static)
    for by in ("quality", "size", "speed"):
        assert sorted_results(given, by=by) == (fp32, static, failed)
    assert sorted_results(given, by="given") == given
