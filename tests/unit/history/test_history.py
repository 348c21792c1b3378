"""The history of verdicts: stored next to speed, read back, shown."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from qreg.history.changes import score_changes, size_changes
from qreg.history.records import GateEntry
from qreg.history.report import history_lines
from qreg.history.store import append, by_case, gate_entries, read
from qreg.records.verdict import Outcome
from qreg.report.history_page import history_page
from qreg.speed.history import store as speed_store
from qreg.speed.records import HistoryEntry
from tests.unit.baselines import build
from tests.unit.report import pages

ROOT = Path(__file__).parents[3]


def entry(day: int, value: float = 0.845, **changes: object) -> GateEntry:
    found = GateEntry(
        time=f"2026-11-{day:02}T03:00:00+00:00",
        case=build.CASE,
        commit=f"{day:040x}",
        environment=build.ENVIRONMENT,
        outcome=Outcome.PASS,
        measure="accuracy",
        unit="%",
        value=value,
        file_bytes=675_000,
    )
    return replace(found, **changes)  # type: ignore[arg-type]


def nights() -> list[GateEntry]:
    """Twenty nights: the score falls at the 12th, the file grows at the 15th, torch at the 17th."""
    newer = replace(build.ENVIRONMENT, torch="2.15.0")
    return [
        entry(
            day, 0.845 if day < 12 else 0.800,
            outcome=Outcome.PASS if day < 12 else Outcome.REGRESSED,
            layer="" if day < 12 else "conv1", flips=0 if day < 12 else 46,
            file_bytes=675_000 if day < 15 else 700_000,
            environment=build.ENVIRONMENT if day < 17 else newer,
        )
        for day in range(1, 21)
    ]  # fmt: skip


def timed(day: int) -> HistoryEntry:
    return HistoryEntry(
        time=f"2026-11-{day:02}T04:00:00+00:00", case=build.CASE, commit=f"{day:040x}",
        reference="v1.0", environment=build.ENVIRONMENT, change=0.01, low=0.0, high=0.02, pairs=12,
        candidate_ms=1.0, batch=1,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["nights.jsonl", "nights.sqlite"])
def test_both_kinds_are_in_one_store_and_neither_is_damage_to_the_other(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    append(path, [entry(1)])
    speed_store.append(path, [timed(1)])
    append(path, [entry(2, value=None, environment=None, outcome=Outcome.ERROR)])
    assert read(path) == ((entry(1), entry(2, value=None, environment=None,
                                          outcome=Outcome.ERROR)), ())  # fmt: skip
    assert speed_store.read(path) == ((timed(1),), ())


def test_an_unknown_kind_and_a_torn_line_are_reported_by_number(tmp_path: Path) -> None:
    path = tmp_path / "nights.jsonl"
    append(path, [entry(1)])
    with path.open("a") as file:
        file.write('{"format": 2, "kind": "other"}\n{"format": 2, "kind": "gate", "ti')
    append(path, [entry(2)])
    found, damaged = read(path)
    assert found == (entry(1), entry(2))
    assert [one.number for one in damaged] == [2, 3]


_WRITER = """
import sys
from pathlib import Path
from qreg.history.store import append
from tests.unit.history.test_history import entry
for number in range(40):
    append(Path(sys.argv[1]), [entry(1, flips=number), entry(2, flips=number)])
"""


@pytest.mark.slow
def test_two_writers_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "nights.jsonl"
    command = [sys.executable, "-c", _WRITER, str(path)]
    writers = [subprocess.Popen(command, cwd=ROOT) for _ in range(2)]
    assert [one.wait() for one in writers] == [0, 0]
    found, damaged = read(path)
    assert len(found) == 160
    assert not damaged


def test_an_entry_says_what_the_verdict_and_its_figures_said() -> None:
    verdict = pages.verdict()
    detail = replace(pages.detail(verdict), where=build.ENVIRONMENT)
    (one,) = gate_entries([(verdict, detail)], time=entry(1).time, commit="ab")
    assert (one.case, one.outcome, one.layer) == (verdict.case, Outcome.REGRESSED, "block.conv1")
    assert (one.value, one.file_bytes, one.flips) == (0.815, 675_000, 30)
    assert one.environment == build.ENVIRONMENT
    (bare,) = gate_entries([(verdict, None)], time=entry(1).time, commit="")
    assert bare.value is None


def test_changes_are_found() -> None:
    assert score_changes(nights()) == (11,)
    assert size_changes(nights()) == (14,)
    assert score_changes([entry(day) for day in range(1, 21)]) == ()


def test_the_terminal_shows_a_line_a_run() -> None:
    lines = history_lines(nights(), score_changes(nights()))
    assert lines[0] == "shapes10/simple_cnn/static@x86, accuracy %"
    assert "-- change --" in lines[12]
    assert "REGRESSED" in lines[13]
    assert "46 flips  conv1" in lines[13]
    assert len(by_case(nights(), last=5)[build.CASE]) == 5


def test_the_page_has_a_chart_a_case_with_its_changes() -> None:
    gate = {build.CASE: tuple(nights())}
    speed = {build.CASE: tuple(timed(day) for day in range(1, 21))}
    text = history_page(gate, speed, created=entry(1).time)
    assert "1 of 1 cases fail in their last run" in text
    assert text.count("<svg") == 2
    assert "1 change points" in text
    assert "environment changed: torch 2.14.1+cpu → 2.15.0" in text
    assert "size changed 1 times" in text
    assert "slowdown from the reference" in text


def test_names_from_a_file_stay_text(tmp_path: Path) -> None:
    path = tmp_path / "nights.jsonl"
    bad = entry(1, case=replace(build.CASE, model=pages.HOSTILE), commit=pages.HOSTILE)
    append(path, [bad])
    (one,), _ = read(path)
    assert one == bad
    text = history_page({one.case: (one,)}, {}, created=entry(1).time)
    assert "<script>alert" not in text
    assert json.loads(path.read_text())["kind"] == "gate"
