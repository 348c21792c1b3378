"""Temporary folders: gone at the end, and by the next run where there was none."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from qreg.processes.sides import open_side
from qreg.processes.temporary import remove_leftovers, temporary_folder


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    found = tmp_path / "temporary"
    found.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(found))
    monkeypatch.setenv("TMPDIR", str(found))
    return found


def _killed(code: str) -> None:
    """Run code that prints when it is there, and is killed then."""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        process.kill()


_FOLDER = """
import time
from qreg.processes.temporary import temporary_folder
with temporary_folder("test") as folder:
    (folder / "file").touch()
    print("there", flush=True)
    time.sleep(60)
"""


def test_a_folder_is_gone_at_the_end(folder: Path) -> None:
    with temporary_folder("test") as made:
        assert made.parent == folder
        assert remove_leftovers() == ()
        assert made.is_dir()
    assert not list(folder.iterdir())


def test_what_a_killed_run_left_is_removed_and_nothing_else(folder: Path) -> None:
    other = folder / "qreg-notes"
    other.mkdir()
    _killed(_FOLDER)
    (left,) = set(folder.iterdir()) - {other}
    assert remove_leftovers() == (left,)
    assert list(folder.iterdir()) == [other]


def test_what_was_killed_while_it_was_made_is_removed(folder: Path) -> None:
    for name in (".qreg-empty", ".qreg-not-locked"):
        (folder / name).mkdir()
    (folder / ".qreg-not-locked/.owner").touch()
    (folder / ".qreg-of-others").mkdir()
    (folder / ".qreg-of-others/file").touch()
    assert {one.name for one in remove_leftovers()} == {".qreg-empty", ".qreg-not-locked"}
    assert [one.name for one in folder.iterdir()] == [".qreg-of-others"]


def test_folders_are_made_while_other_runs_clean_up(folder: Path) -> None:
    ended = threading.Event()

    def clean() -> None:
        while not ended.is_set():
            remove_leftovers()

    cleaning = threading.Thread(target=clean)
    cleaning.start()
    try:
        for _ in range(300):
            with temporary_folder("test") as made:
                (made / "file").touch()
                assert [one.name for one in folder.iterdir() if one == made] == [made.name]
    finally:
        ended.set()
        cleaning.join()
    assert not list(folder.iterdir())


def test_a_revisions_tree_of_a_killed_run_is_forgotten(folder: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()

    def git(*command: str) -> str:
        name = ["-c", "user.name=a", "-c", "user.email=a@b"]
        done = subprocess.run(
            ["git", *name, *command], cwd=project, capture_output=True, text=True, check=True
        )
        return done.stdout

    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "one")
    code = f"""
import time
from pathlib import Path
from qreg.processes.sides import open_side
with open_side("HEAD", Path({str(project)!r})):
    print("there", flush=True)
    time.sleep(60)
"""
    _killed(code)
    assert git("worktree", "list").count("\n") == 2
    remove_leftovers()
    with open_side("HEAD", project):
        assert git("worktree", "list").count("\n") == 2
    assert git("worktree", "list").count("\n") == 1
    assert not list(folder.iterdir())
