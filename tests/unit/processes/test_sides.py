from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from qreg.errors import QregError
from qreg.processes.sides import HERE, open_side


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project in a folder of a repository with two commits."""
    folder = tmp_path / "repository" / "inner"
    folder.mkdir(parents=True)
    git(folder.parent, "init", "--quiet", "--initial-branch=trunk")
    git(folder, "config", "user.email", "a@b")
    git(folder, "config", "user.name", "a")
    (folder.parent / "top.txt").write_text("before the project")
    git(folder.parent, "add", ".")
    git(folder, "commit", "--quiet", "--message=zero")
    for text in ("one", "two"):
        (folder / "nets.py").write_text(f"which = '{text}'")
        git(folder, "add", ".")
        git(folder, "commit", "--quiet", f"--message={text}")
    return folder


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_weights_that_git_ignores_are_the_projects_own(project: Path) -> None:
    table = '[tool.qreg]\nmodels = [{ factory = "nets:net", weights = "w/net.pt" }]\n'
    (project / "pyproject.toml").write_text(table)
    (project / ".gitignore").write_text("*.pt\n")
    git(project, "add", ".")
    git(project, "commit", "--quiet", "--message=three")
    with open_side("HEAD", project) as side:
        assert not (side.folder / "w").exists()  # there is none at all
    (project / "w").mkdir()
    (project / "w" / "net.pt").write_bytes(b"weights")
    with open_side("HEAD", project) as side:
        assert (side.folder / "w" / "net.pt").read_bytes() == b"weights"
    assert (project / "w" / "net.pt").read_bytes() == b"weights"


def test_a_revision_is_checked_out_and_removed(project: Path) -> None:
    with open_side("HEAD~1", project) as side:
        assert (side.folder / "nets.py").read_text() == "which = 'one'"
        assert side.commit == git(project, "rev-parse", "HEAD~1")
        assert side.python == sys.executable
        assert side.folder in side.paths
        assert (side.paths[-1] / "qreg" / "speed").is_dir()
    assert not side.folder.exists()
    assert len(git(project, "worktree", "list").splitlines()) == 1


def test_it_is_removed_when_the_work_fails(project: Path) -> None:
    with pytest.raises(KeyboardInterrupt), open_side("trunk", project):
        raise KeyboardInterrupt
    assert len(git(project, "worktree", "list").splitlines()) == 1


def test_an_interpreter_is_a_file_a_virtual_environment_or_a_program(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = project.parent / "bin" / "python"
    program.parent.mkdir()
    program.symlink_to(sys.executable)
    for given in (str(program), str(project.parent)):
        with open_side(given, project) as side:
            assert (side.python, side.folder, side.commit) == (str(program), project, "")
    program.rename(program.with_name("other-python"))
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    with open_side("other-python", project) as side:
        assert side.python == str(program.with_name("other-python"))


def test_the_working_tree(project: Path) -> None:
    with open_side(HERE, project) as side:
        assert (side.python, side.folder, side.commit) == (sys.executable, project, "")


@pytest.mark.parametrize("given", ["nosuch", "--all", "", "/no/such/python"])
def test_what_is_neither_is_refused_with_what_was_tried(project: Path, given: str) -> None:
    expected = pytest.raises(QregError, match="neither a revision")
    with expected as caught, open_side(given, project):
        pass
    assert str(project) in caught.value.hint
    assert "PATH" in caught.value.hint


def test_a_revision_without_the_project(project: Path) -> None:
    with pytest.raises(QregError, match="has no folder inner"), open_side("HEAD~2", project):
        pass
    assert len(git(project, "worktree", "list").splitlines()) == 1


def test_outside_a_repository_there_are_interpreters_only(tmp_path: Path) -> None:
    # not HEAD itself, which is a program where libwww-perl is installed
    with pytest.raises(QregError, match="HEAD~0"), open_side("HEAD~0", tmp_path):
        pass


def test_a_revision_is_one_although_a_file_has_its_name(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repository may hold a file trunk/bin/python, which must not choose what is run."""
    program = project / "trunk" / "bin" / "python"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.chdir(project)
    with open_side(str(project / "trunk"), project) as named:
        assert named.python == str(program)
    with open_side("trunk", project) as side:
        assert side.commit
        assert side.python == sys.executable
