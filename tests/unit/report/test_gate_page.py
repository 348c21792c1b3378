"""The gate's page, without a browser: everything is there, and nothing that is given is markup."""

from __future__ import annotations

import time
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from qreg.records.verdict import Outcome
from qreg.report.gate_page import gate_page
from tests.unit.report import pages

CREATED = "2026-11-25T00:00:00+00:00"


class _Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.outside: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.outside += [v for k, v in attrs if k in ("src", "href") and v and v[0] not in "#d"]


def _page(*verdicts: object, **changes: object) -> str:
    found = [(one, pages.detail(one, **changes)) for one in verdicts]
    return gate_page(found, created=CREATED, lines=("2 cases: judged",))


def test_a_page_says_which_model_layer_and_samples_moved() -> None:
    text = _page(pages.verdict(), pages.verdict(Outcome.PASS, method="fp32"))
    assert "1 of 2 cases regressed, 1 passes" in text
    assert "first diverging layer <strong>block.conv1</strong>" in text
    assert "30 samples flipped (30 lost, 0 won)" in text
    assert "84.50 → 81.50 %" in text
    assert text.index("regressed") < text.index("Samples that changed (12 of 30")
    for shown in (
        "label dog: lost", "margin 0.5 → 0.25", "a film dog", "data:image/png;base64,",
        "first diverging: block.conv1", "1.400%, in the baseline 0.000%", "a drop below 2.7 points",
        "qint8", "2.15.0", "retrained", "IMPROVED, 12 flips", "a note", "qreg baseline diff",
        "histograms could not be collected: a reason", "2 cases: judged", "size and speed",
    ):  # fmt: skip
        assert shown in text, shown


def test_the_page_needs_nothing_from_elsewhere() -> None:
    found = _Tags(_page(pages.verdict()))
    assert found.outside == []
    assert found.tags.count("script") == 1
    assert "http" not in _page(pages.verdict()).replace("http-equiv", "")


def test_names_stay_text() -> None:
    plain = pages.verdict()
    hostile = pages.HOSTILE
    bad = replace(
        pages.verdict(model=hostile, method=hostile),
        layer=hostile, notes=(hostile,), details=hostile, weights=hostile,
        findings=tuple(replace(f, where=hostile, observed=hostile) for f in plain.findings),
    )  # fmt: skip
    text = _page(bad, name=hostile)
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text
    assert "{{ 7*7 }}" in text
    assert sorted(set(_Tags(text).tags)) == sorted(set(_Tags(_page(plain)).tags))


def test_a_name_of_ten_thousand_characters_is_cut() -> None:
    text = _page(pages.verdict(model=pages.LONG, method=pages.LONG), name=pages.LONG)
    assert "n" * 500 in text  # what is filtered by is whole
    assert len(text) < 400_000


@pytest.mark.slow
def test_two_hundred_regressed_cases_are_small_and_fast() -> None:
    found = []
    for number in range(200):
        one = pages.verdict(method=f"method{number}")
        full = pages.detail(one, layers=60)
        views = tuple(replace(s, views=(pages.picture(number),)) for s in full.samples)
        found.append((one, replace(full, samples=views)))
    start = time.process_time()
    text = gate_page(found, created=CREATED)
    assert time.process_time() - start < 5
    assert len(text.encode()) < 3_000_000
    assert text.count("<article") == 200
    assert "Shortened, so that the page stays below 3 MB" in text


def test_what_passed_is_one_line_and_no_case_is_said() -> None:
    text = _page(pages.verdict(Outcome.PASS))
    assert "The case passes" in text
    assert "<article" not in text
    assert "no case was judged" in gate_page([], created=CREATED)
