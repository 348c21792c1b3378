from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from qreg.records.case import Case
from qreg.upgrade.records import (
    Artifact,
    Cause,
    Cell,
    ChangeKind,
    Difference,
    FileOutcome,
    InterfaceChange,
    UpgradeLevel,
    UpgradeReport,
)
from qreg.upgrade.report.html_page import upgrade_html
from qreg.upgrade.report.markdown import upgrade_markdown
from qreg.upgrade.report.sections import sections
from qreg.upgrade.report.text import closing_lines, opening_lines, upgrade_text
from qreg.upgrade.report.words import headline, rows, title
from tests.unit.upgrade.report.upgrade_report import CASE, REPORT, case

_MOVED = Cell("1", "2", images=10, moved=3, first=Difference("conv1", "output", "1", "2", 1, 8, 1))
_DIES = Cell("2", "1", failed="was killed by SIGSEGV")
_REMOVED = InterfaceChange(
    ChangeKind.REMOVED, "torch.gone", "works", "raises AttributeError", ("static",)
)
_LOST = InterfaceChange(ChangeKind.LOST, "NaN is refused", "holds", "broken: NaN")
_CODES = {"causes": (Cause.CONVERT,), "findings": ("codes moved",)}
UNSAFE = replace(
    REPORT,
    level=UpgradeLevel.UNSAFE,
    reasons=("convert: codes moved", "removed: torch.gone <b>"),
    cases=(
        case(UpgradeLevel.SAFE, case=replace(CASE, method="fp32")),
        case(
            UpgradeLevel.UNSAFE,
            causes=(Cause.CONVERT,),
            findings=("codes moved",),
            cells=(_MOVED, _DIES),
        ),
        case(None, case=replace(CASE, method="qat"), verdict=None, unavailable="no checkpoint"),
    ),
    interface=(
        _REMOVED,
        InterfaceChange(ChangeKind.DEPRECATED, "torch.old", "", "will be removed"),
    ),
    invariants=(_LOST,),
)


def test_headlines() -> None:
    assert headline(REPORT) == "safe: bits equal in 1 case"
    assert headline(UNSAFE) == "do not upgrade: convert: codes moved"
    different = replace(REPORT, level=UpgradeLevel.DIFFERENT, invariants=(_LOST,))
    text = headline(different)
    assert text.startswith("different, within noise: 1 of 1 cases")
    assert "1 tensor properties" in text


def test_nothing_compared_is_not_safe() -> None:
    report = replace(REPORT, cases=(case(None, unavailable="torchao: not installed"),))
    assert headline(report) == "no case could be compared"
    candidate = replace(
        REPORT.candidate, environment=replace(REPORT.candidate.environment, torchao="0.18.0")
    )
    assert ", torchao none -> 0.18.0, " in title(replace(report, candidate=candidate))


def test_the_worst_case_is_first_and_cells_say_how_many_images() -> None:
    worst, equal, missing = rows(UNSAFE)
    assert worst[:5] == (
        "simple_cnn/static",
        "do not upgrade\nconvert",
        "equal",
        "3 of 10",
        "fails",
    )
    assert equal[1] == "bits equal"
    assert equal[5] == "= -"
    assert equal[7] == "100 -> 110"
    assert missing[:2] == ("simple_cnn/qat", "not compared")


def test_a_difference_that_cannot_be_attributed_is_no_number() -> None:
    untold = replace(_MOVED, told=False)
    both = replace(REPORT, cases=(case(UpgradeLevel.SAFE, cells=(untold, untold)),))
    assert rows(both)[0][3:5] == ("unknown", "unknown")


def test_names_are_whole_where_cases_share_nothing() -> None:
    other = case(case=Case("cifar10", "simple_cnn", "static", "x86"))
    both = replace(REPORT, cases=(*REPORT.cases, other))
    assert rows(both)[0][0] == "shapes10/simple_cnn/static@x86"
    assert title(both) == "PyTorch 2.14.1 -> 2.15.0"


@pytest.mark.parametrize("kind", ["text", "markdown", "html"])
def test_every_format_is_complete(kind: str) -> None:
    forms = {
        "text": "\n".join((*opening_lines(UNSAFE), *closing_lines(UNSAFE))),
        "markdown": upgrade_markdown(UNSAFE).replace("\\", ""),
        "html": upgrade_html(UNSAFE, created="now"),
    }
    wanted = ("do not upgrade: convert: codes moved", "no checkpoint", "torch.gone", "torch.old")
    for text in (*wanted, "NaN is refused", "--speed", "container", "2.15.0"):
        assert text in forms[kind], text


def test_files_are_grouped() -> None:
    lines = next(one.lines for one in sections(UNSAFE) if one.title == "Artifacts")
    assert "state dict: written by A and loaded by B, equal outputs: 3 cases" in lines
    assert any("TorchScript: not written" in line and "2 more" in line for line in lines)
    broken = (Artifact("TorchScript", FileOutcome.NOT_LOADED, "RuntimeError"),)
    (row,) = rows(replace(REPORT, cases=(case(UpgradeLevel.UNSAFE, artifacts=broken),)))
    assert row[5] == "X"


def test_markup_is_escaped_and_the_page_is_whole() -> None:
    class Parser(HTMLParser):
        open: list[str] = []  # noqa: RUF012

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            if tag not in ("meta", "link"):
                self.open.append(tag)
            for name, value in attrs:  # nothing from elsewhere
                assert name not in ("src", "href") or str(value).startswith(("#", "data:"))

        def handle_endtag(self, tag: str) -> None:
            assert self.open.pop() == tag

    page = upgrade_html(UNSAFE, created="now")
    assert "<b>" not in page
    parser = Parser()
    parser.feed(page)
    assert not parser.open
    assert "<b>" not in upgrade_markdown(UNSAFE)


def _json(report: UpgradeReport) -> dict:
    return json.loads(upgrade_text(report, created="2026-01-01T00:00:00+00:00"))


def test_json() -> None:
    found = _json(UNSAFE)
    assert found["level"] == "do not upgrade"
    assert found["cases"][1]["causes"] == ["convert"]
    assert found["cases"][1]["cells"][0]["first"]["where"] == "conv1"
    assert found["cases"][2]["level"] is None
