"""Files that name code: it is run only where the project's table or the command line names it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from qreg.baselines.store import Store
from qreg.cli import main
from qreg.records.case import Case
from tests.unit.baselines import build

_EVIL = Case("shapes10", "evil:boom", "static", "x86")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a baseline whose model writes a file when it is made."""
    (tmp_path / "evil.py").write_text("def boom():\n    open('RAN', 'w').close()\n")
    Store(tmp_path / "baselines").write(build.baseline(build.snapshot(case=_EVIL)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CI", raising=False)
    return tmp_path


@pytest.mark.parametrize("table", ["", '[tool.qreg]\nmodels = ["simple_cnn"]\n'])
@pytest.mark.parametrize("words", [(), ("shapes10/evil*",)])
def test_a_baseline_runs_no_code(
    folder: Path, table: str, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "pyproject.toml").write_text(table)
    assert main(["baseline", "diff", *words]) in (1, 2)
    said = capsys.readouterr().err
    assert "names its code" in said or "unknown case" in said
    assert not (folder / "RAN").exists()


def test_one_that_is_named_is_run(folder: Path) -> None:
    main(["baseline", "diff", str(_EVIL)])
    assert (folder / "RAN").exists()


def test_neither_does_a_history(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from qreg.speed.history.store import append
    from tests.robustness.kinds import _entries

    pytest.importorskip("ruptures")
    entries = [
        replace(one, case=_EVIL, change=0.5 * (n > 4), low=-0.01, high=0.6)
        for n, one in enumerate(_entries())
    ]
    append(folder / "h.jsonl", entries)
    assert main(["speed", "history", "--store", "h.jsonl", "--confirm"]) == 2
    assert "names its code" in capsys.readouterr().err
    assert not (folder / "RAN").exists()
