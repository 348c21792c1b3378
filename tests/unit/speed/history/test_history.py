from __future__ import annotations

import dataclasses
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from qreg.cli import main
from qreg.errors import CorruptFileError
from qreg.records.verdict import Outcome
from qreg.speed.history.change_points import change_points, find_changes
from qreg.speed.history.confirmations import Confirmation, confirmations_path, find, keep
from qreg.speed.history.entries import why_not_confirmed
from qreg.speed.history.store import append, read, store_path
from qreg.speed.records import HistoryEntry
from qreg.speed.report.history import history_lines, history_png
from tests.unit.speed.fake import CASES, ENVIRONMENT, fake_python, log_of


def entry(number: int, change: float = 0.0, **more: object) -> HistoryEntry:
    fields: dict = {
        "time": f"2026-{1 + number // 28 % 12:02}-{1 + number % 28:02}T03:00:00+00:00",
        "case": CASES[0],
        "commit": f"{number:040x}",
        "reference": "f" * 40,
        "environment": ENVIRONMENT,
        "change": change,
        "low": change - 0.01,
        "high": change + 0.01,
        "pairs": 12,
        "candidate_ms": 0.4,
    }
    return HistoryEntry(**{**fields, **more})


def series(count: int = 24, step_at: int = 99, by: float = 0.03) -> list[HistoryEntry]:
    noise = np.random.default_rng(2).normal(0, 0.004, count)
    return [entry(n, float(noise[n]) + (by if n >= step_at else 0)) for n in range(count)]


@pytest.mark.parametrize("name", ["n.jsonl", "n.sqlite"])
def test_what_is_appended_is_read_in_order(tmp_path: Path, name: str) -> None:
    path = tmp_path / "new" / name
    append(path, [entry(0), entry(1, 0.02, noisy=("drift",))])
    append(path, [entry(2)])
    assert read(path) == ((entry(0), entry(1, 0.02, noisy=("drift",)), entry(2)), ())


def test_where_it_lies(tmp_path: Path) -> None:
    assert store_path(None, tmp_path) == tmp_path / ".qreg" / "history" / "nights.jsonl"
    assert store_path(tmp_path / "folder", tmp_path) == tmp_path / "folder" / "nights.jsonl"
    assert store_path(Path("n.db"), tmp_path) == Path("n.db")
    assert read(tmp_path / "none.jsonl") == ((), ())
    assert read(tmp_path / "none.db") == ((), ())


def test_damaged_lines_are_reported_by_number_and_the_rest_read(tmp_path: Path) -> None:
    path = tmp_path / "n.jsonl"
    append(path, [entry(n) for n in range(5)])
    lines = path.read_text().splitlines(keepends=True)
    lines[1] = lines[1].replace('"pairs": 12', '"pairs": -12')
    lines[2] = lines[2].replace('"format": 2', '"format": 9')
    path.write_text("".join(lines)[:-30])
    entries, damaged = read(path)
    assert entries == (entry(0), entry(3))
    assert [line.number for line in damaged] == [2, 3, 5]
    assert "pairs" in damaged[0].reason
    append(path, [entry(6)])
    entries, damaged = read(path)
    assert entries == (entry(0), entry(3), entry(6))
    assert [line.number for line in damaged] == [2, 3, 5]


@pytest.mark.parametrize("content", [b"", b"\xff\xfe not UTF-8\n", b"[1]\n", b"null\n", b"{}\n"])
def test_any_content_can_be_read(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "n.jsonl"
    path.write_bytes(content)
    assert read(path)[0] == ()
    assert len(read(path)[1]) == bool(content)


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "n.db"
    path.write_text("something else, and long enough to be looked at" * 50)
    for work in (lambda: read(path), lambda: append(path, [entry(0)])):
        with pytest.raises(CorruptFileError, match="SQLite"):
            work()
    assert path.read_text().startswith("something else")


def _write(path: Path, first: int) -> None:
    for number in range(first, first + 25):
        append(path, [entry(number)])


@pytest.mark.parametrize("name", ["n.jsonl", "n.sqlite"])
def test_two_writers_do_not_mix(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write, args=(path, first)) for first in (0, 100)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    entries, damaged = read(path)
    assert not damaged
    assert sorted(int(n.commit, 16) for n in entries) == [*range(25), *range(100, 125)]


@pytest.mark.parametrize("name", ["n.jsonl", pytest.param("n.sqlite", marks=pytest.mark.slow)])
def test_a_killed_writer_costs_one_line_at_most(tmp_path: Path, name: str) -> None:
    path, root = tmp_path / name, Path(__file__).parents[4]
    code = (
        "from pathlib import Path\nfrom qreg.speed.history.store import append\n"
        "from tests.unit.speed.history.test_history import entry\nn = 0\n"
        f"while True:\n    append(Path({str(path)!r}), [entry(n)])\n    n += 1\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(root)}
    writer = subprocess.Popen([sys.executable, "-c", code], env=environment)
    for _ in range(400):
        if path.exists() and len(read(path)[0]) > 3:
            break
        time.sleep(0.05)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    before = read(path)[0]
    assert len(before) > 3
    append(path, [entry(999)])
    entries, damaged = read(path)
    assert len(damaged) <= 1
    assert entries == (*before, entry(999))


def test_a_step_is_found_within_five_entries_and_a_clean_series_is_quiet() -> None:
    assert change_points([n.change for n in series(60)]) == ()
    stepped = series(25, step_at=20)
    assert change_points([n.change for n in stepped]) == (20,)
    (found,) = find_changes(stepped)
    assert (found.before, found.after) == (stepped[18], stepped[21])
    assert found.by == pytest.approx(0.03, abs=0.006)


def test_spikes_short_series_and_equal_entries_do_not_trigger() -> None:
    spiky = [n.change + (0.05 if at in (7, 15) else 0) for at, n in enumerate(series(30))]
    assert change_points(spiky) == ()
    assert change_points([0.0] * 30) == ()
    assert change_points([0.0, 0.1, 0.2]) == ()


def test_what_cannot_be_checked_says_why() -> None:
    (change,) = find_changes(series(25, step_at=20))
    assert why_not_confirmed(change) == ""
    newer = dataclasses.replace(ENVIRONMENT, torch="2.15.0")
    later = dataclasses.replace(change.after, environment=newer)
    assert "torch 2.14.1 -> 2.15.0" in why_not_confirmed(dataclasses.replace(change, after=later))
    for commit, reason in (("", "outside git"), (change.before.commit, "same commit")):
        later = dataclasses.replace(change.after, commit=commit)
        assert reason in why_not_confirmed(dataclasses.replace(change, after=later))
    for side in ("before", "after"):
        dirty = dataclasses.replace(change.before, commit=f"{1:040x}-dirty")
        assert "uncommitted" in why_not_confirmed(dataclasses.replace(change, **{side: dirty}))


@pytest.mark.slow
def test_the_picture_and_the_lines() -> None:
    stepped = series(25, step_at=20)
    lines = history_lines(stepped, (20,))
    assert len(lines) == 25 + 3
    assert "change" in lines[21]
    assert lines[1].count("o") == 1
    assert history_png(stepped, (20,)).startswith(b"\x89PNG")


@pytest.mark.slow
def test_recording_and_showing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    sides = [fake_python(tmp_path / "a"), fake_python(tmp_path / "b", seconds=0.0012)]
    record = ["speed", "record", "--reference", sides[0], "--candidate", sides[1]]
    assert main([*record, "--cases", "shapes10/*/static@x86"]) == 0
    assert "recorded 4 of 4 cases" in capsys.readouterr().out
    assert main(["speed", "history", "*/simple_cnn/*", "--plot", "p.png"]) == 0
    said = capsys.readouterr().out
    assert "+20" in said
    assert "resnet20" not in said
    assert (tmp_path / "p.png").exists()
    assert main(["speed", "history", "--plot", "p.png"]) == 2
    assert main(["speed", "history", "no/*"]) == 2


def test_a_change_names_two_commits_and_the_next_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    store = tmp_path / "n.jsonl"
    append(store, series(25, step_at=20))
    with store.open("a") as file:
        file.write("half a li")
    assert main(["speed", "history", "--store", str(store)]) == 0
    said = capsys.readouterr()
    assert f"next: qreg speed check {18:040x} {21:040x} --cases 'shapes10/simple_cnn" in said.out
    assert "line 26 is damaged" in said.err
    # neither commit exists here
    assert main(["speed", "history", "--store", str(store), "--confirm"]) == 2


@pytest.mark.parametrize("slower", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_change_point_is_checked_once_and_only_that_alerts(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    slower: bool,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    # programs in PATH named like the commits stand for them
    names = [f"{18:040x}", f"{21:040x}"]
    fake_python(tmp_path / names[0])
    fake_python(tmp_path / names[1], seconds=0.00105 if slower else 0.001)
    store = tmp_path / "n.jsonl"
    append(store, series(25, step_at=20))
    command = ["speed", "history", "--store", str(store), "--confirm"]
    assert main(command) == int(slower)
    first = capsys.readouterr().out
    assert "checked on" not in first
    asked = len(log_of(str(tmp_path / names[1])))
    assert main(command) == int(slower)
    assert "checked on" in capsys.readouterr().out
    assert len(log_of(str(tmp_path / names[1]))) == asked


@pytest.mark.slow
def test_a_confirmation_is_measured_as_the_series_and_with_the_options_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    for name in (18, 21):
        fake_python(tmp_path / f"{name:040x}")
    store, where = tmp_path / "n.jsonl", dataclasses.replace(ENVIRONMENT, threads=2)
    mine = [dataclasses.replace(one, batch=8, environment=where) for one in series(25, step_at=20)]
    append(store, mine)
    command = ["speed", "history", "--store", str(store), "--confirm", "--pairs", "8"]
    assert main([*command, "--checkpoints", "mine", "--data-dir", "data"]) == 0
    for one in log_of(str(tmp_path / f"{21:040x}")):
        options = one["job"]["options"]
        assert (options["batch"], options["threads"]) == (8, 2)
        assert options["checkpoints"] == str(tmp_path / "mine")
        assert options["data_dir"] == str(tmp_path / "data")


def test_a_series_has_one_batch_size_and_one_number_of_threads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "n.jsonl"
    append(store, [entry(n, batch=1) for n in range(6)] + [entry(n, batch=8) for n in range(6, 9)])
    assert main(["speed", "history", "--store", str(store)]) == 0
    last = capsys.readouterr().out
    assert "2026-01-09" in last
    assert "2026-01-06" not in last
    assert main(["speed", "history", "--store", str(store), "--batch", "1"]) == 0
    first = capsys.readouterr().out
    assert "2026-01-06" in first
    assert "2026-01-09" not in first
    assert main(["speed", "history", "--store", str(store), "--threads", "3"]) == 2


def test_entries_of_the_first_format_are_read(tmp_path: Path) -> None:
    path = tmp_path / "n.jsonl"
    append(path, [entry(0)])
    line = path.read_text().replace('"format": 2', '"format": 1').replace('"batch": 0, ', "")
    path.write_text(line)
    assert read(path) == ((entry(0),), ())


def test_what_cannot_be_checked_is_no_alert_unless_strict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    store = tmp_path / "n.jsonl"
    entries = [dataclasses.replace(one, commit="5a3e" * 10) for one in series(25, step_at=20)]
    append(store, entries)
    command = ["speed", "history", "--store", str(store), "--confirm"]
    assert main(command) == 0
    assert "NOT CHECKED: both entries are of the same commit" in capsys.readouterr().out
    assert main([*command, "--strict"]) == 1


def test_a_commit_that_is_a_path_is_never_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    program = fake_python(tmp_path / "program")
    store = tmp_path / "n.jsonl"
    entries = series(25, step_at=20)
    append(store, [dataclasses.replace(one, commit=program) for one in entries])
    assert main(["speed", "history", "--store", str(store), "--confirm", "--strict"]) == 1
    assert "NOT CHECKED" in capsys.readouterr().out
    assert not (tmp_path / "program.log").exists()


def test_a_check_that_decided_nothing_or_a_damaged_line_is_asked_again(tmp_path: Path) -> None:
    (change,) = find_changes(series(25, step_at=20))
    path = confirmations_path(tmp_path / "n.jsonl")
    assert find(path, change) is None
    said = Confirmation(
        "2026-01-01", change.after.case, change.before.commit, change.after.commit, Outcome.PASS
    )
    keep(path, dataclasses.replace(said, outcome=Outcome.INCONCLUSIVE))
    with path.open("a") as file:
        file.write("half\n")
    assert find(path, change) is None
    keep(path, said)
    assert find(path, change) == said
    other = dataclasses.replace(change.after, commit="other")
    assert find(path, dataclasses.replace(change, after=other)) is None
