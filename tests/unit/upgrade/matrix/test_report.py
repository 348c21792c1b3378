"""The table and the pages of a matrix."""

from __future__ import annotations

import json
from dataclasses import replace

from rich.console import Console

from qreg.upgrade.matrix.records import (
    Appearance,
    BisectionTrial,
    Change,
    ChangeSubject,
    MatrixReport,
    PairRecord,
)
from qreg.upgrade.matrix.report import (
    closing_lines,
    labels,
    matrix_html,
    matrix_markdown,
    matrix_table,
    matrix_text,
    opening_lines,
    rows,
)
from qreg.upgrade.records import Cause, ChangeKind, InterfaceChange, UpgradeLevel
from tests.unit.upgrade.report.upgrade_report import CASE, REPORT, case, side

OTHER = replace(CASE, method="dynamic")
WARNING = InterfaceChange(ChangeKind.DEPRECATED, "f", "", "it goes away <b>soon</b> " * 9)
OLD, NEW = "/envs/old/bin/python", "/envs/new/bin/python"
_FIRST = replace(
    REPORT,
    baseline=side("2.9.1+cu128"),
    candidate=side("2.14.1"),
    level=UpgradeLevel.DIFFERENT,
    reasons=("kernels: why",),
    cases=(
        case(UpgradeLevel.DIFFERENT, causes=(Cause.KERNELS,), findings=("why",)),
        case(case=OTHER),
    ),
    interface=(WARNING,),
)
_SECOND = replace(REPORT, baseline=side("2.14.1"), cases=(case(), case(None, case=OTHER)))
MATRIX = MatrixReport(
    versions=(OLD, "2.14.1", NEW, "2.16.0"),
    pairs=(
        PairRecord(OLD, "2.14.1", _FIRST),
        PairRecord("2.14.1", NEW, _SECOND),
        PairRecord(NEW, "2.16.0", None, "pip cannot install torch==2.16.0"),
    ),
    bisected=True,
    appearances=(
        Appearance(
            Change(ChangeSubject.CASE, str(CASE), "kernels"),
            0,
            "2.12.0",
            "2.10.0",
            ("2.11.0",),
            ("2.13.0",),
        ),
        Appearance(
            Change(ChangeSubject.INTERFACE, WARNING.after, "deprecated"), 0, "2.14.1", "2.13.0"
        ),
    ),
    trials=(
        BisectionTrial(0, "2.11.0", None, "no such wheel"),
        BisectionTrial(0, "2.12.0", UpgradeLevel.DIFFERENT, seconds=8.0),
    ),
    skipped=(),
    seconds=60.0,
)


def test_a_row_is_a_case_or_a_change_and_a_column_a_pair() -> None:
    found = {row.cells[0]: row for row in rows(MATRIX)}
    changed = found["simple_cnn/static"]
    assert changed.cells[1:] == ("2.12.0", "within noise\nkernels: from 2.12.0", "bits equal", "-")
    assert changed.tone == "warn"
    assert found["simple_cnn/dynamic"].cells[1:] == ("", "bits equal", "not compared", "-")
    (warning,) = (row for row in found.values() if row.cells[0].startswith("it goes away"))
    assert warning.cells[1:] == ("2.14.1", "deprecated", "", "")
    assert len(warning.cells[0]) <= 72


def test_a_property_is_described_as_in_the_report_of_a_pair() -> None:
    lost = Appearance(Change(ChangeSubject.PROPERTY, "clamps", "lost"), 0, "2.14.1", OLD)
    found = rows(replace(MATRIX, appearances=(lost,)))[-1]
    assert found.cells == ("clamps", "2.14.1", "no longer holds", "", "")


def test_interpreters_are_called_by_their_pytorch_where_that_tells() -> None:
    assert labels(MATRIX)[OLD] == "2.9.1"
    same = replace(_SECOND, candidate=side("2.14.1"))
    pairs = (MATRIX.pairs[0], PairRecord("2.14.1", NEW, same), MATRIX.pairs[2])
    assert labels(replace(MATRIX, pairs=pairs))[NEW] == "new"


def test_first_versions_are_in_their_order_whichever_was_found_first() -> None:
    late = replace(MATRIX.appearances[1], first="2.9.10", before="2.9.2")
    found = (late, *reversed(MATRIX.appearances))
    text = "\n".join(closing_lines(replace(MATRIX, appearances=found)))
    order = [text.index(f"first at {name}") for name in ("2.9.10", "2.12.0", "2.14.1")]
    assert order == sorted(order)


def test_the_terminal_says_the_worst_pair_and_each_first_version() -> None:
    first, second, third = opening_lines(MATRIX)
    assert first.startswith("2.9.1 -> 2.14.1: different, within noise")
    assert second.startswith("PyTorch 2.9.1 -> 2.14.1 -> 2.15.0 -> 2.16.0")
    assert third == "- 2.15.0 -> 2.16.0: not compared: pip cannot install torch==2.16.0"
    lines = "\n".join(closing_lines(MATRIX))
    for part in (
        "first at 2.12.0, not at 2.10.0\n    shapes10/simple_cnn/static@x86: kernels",
        "(2.11.0, in between, cannot be compared)",
        "(absent again at 2.13.0)",
        "2.9.1 -> 2.11.0: not compared: no such wheel",
        "2.9.1 -> 2.12.0: different, within noise, 8 s",
    ):
        assert part in lines, part
    console = Console(width=118)
    with console.capture() as said:
        console.print(matrix_table(MATRIX))
    assert "-> 2.15.0" in said.get()


def test_nothing_is_safe_that_was_not_compared() -> None:
    none = tuple(replace(pair, report=None, failed="no") for pair in MATRIX.pairs)
    bare = replace(MATRIX, pairs=none, appearances=(), trials=())
    assert opening_lines(bare)[0] == "nothing could be compared"
    unavailable = replace(_SECOND, cases=(case(None),))
    pair = PairRecord("2.14.1", NEW, unavailable)
    alone = replace(bare, versions=("2.14.1", NEW), pairs=(pair,))
    assert opening_lines(alone)[0] == "no case could be compared"
    safe = PairRecord("2.14.1", NEW, replace(_SECOND, cases=(case(),)))
    assert opening_lines(replace(alone, pairs=(safe,)))[0] == (
        "safe: bits equal in 1 comparison of cases"
    )


def test_pages_have_the_table_and_the_details_of_each_pair() -> None:
    page = matrix_html(MATRIX, created="2026-11-26T00:00:00Z")
    assert "2.12.0" in page
    assert "<b>soon" not in page
    assert "2.9.1 -&gt; 2.14.1: Evidence" in page
    text = matrix_markdown(MATRIX)
    assert "| simple\\_cnn/static" in text or "| simple_cnn/static" in text
    assert "<b>soon" not in text
    content = json.loads(matrix_text(MATRIX, created="2026-11-26T00:00:00Z"))
    assert content["format"] == 1
    assert content["level"] == "different, within noise"
    assert content["appearances"][0]["first"] == "2.12.0"
    assert content["pairs"][0]["report"]["cases"][0]["level"] == "different, within noise"
    assert content["pairs"][2]["report"] is None
