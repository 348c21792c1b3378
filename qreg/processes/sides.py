"""The sides of a comparison: a git revision, an interpreter, or the working tree."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import qreg
from qreg.errors import QregError
from qreg.processes.temporary import temporary_folder
from qreg.settings import read_settings

#: The working tree with the interpreter that runs qreg.
HERE = "."


@dataclass(frozen=True)
class Side:
    """The code and interpreter of a side.

    Attributes:
        name: as the user wrote it.
        folder: working directory of the child: the project's folder in that revision.
        paths: for PYTHONPATH.
        commit: of the checked-out revision, "" for the working tree.
    """

    name: str
    python: str
    folder: Path
    paths: tuple[Path, ...]
    commit: str = ""

    def __str__(self) -> str:
        code = f"revision {self.commit[:10]}" if self.commit else "the working tree"
        return f"'{self.name}' ({code}, {self.python})"


@contextlib.contextmanager
def open_side(name: str, project: Path, *, revisions: bool = True) -> Iterator[Side]:
    """The side that `name` stands for; a checked-out revision is removed at the end.

    What git knows as a revision of the project's repository is one, where revisions are allowed:
    no file or folder of that name is run in its place. Else a file is an interpreter, a folder
    with ``bin/python`` a virtual environment, and then programs in PATH are looked for.

    Raises:
        QregError: it is none of these; the hint lists what was tried.
    """
    with temporary_folder("side") as temporary:
        # An interpreter without qreg uses this copy, without the other packages next to it.
        link = temporary / "qreg-link"
        link.mkdir()
        (link / "qreg").symlink_to(Path(qreg.__file__).resolve().parent)
        commit = _commit(name, project) if revisions and name != HERE else ""
        python = sys.executable if name == HERE or commit else _interpreter(name)
        if commit:
            with _checked_out(commit, name, project, temporary) as folder:
                yield _side(name, sys.executable, folder, link, commit)
            return
        found = python or shutil.which(name)
        if not found:
            what = "neither a revision nor an interpreter" if revisions else "not an interpreter"
            hint = _tried(name, project if revisions else None)
            raise QregError(f"'{name}' is {what}", hint=hint)
        yield _side(name, found, project, link, "")


def _side(name: str, python: str, folder: Path, link: Path, commit: str) -> Side:
    return Side(name, python, folder, (folder, folder / "src", link), commit)


def _interpreter(name: str) -> str:
    path = Path(name).expanduser()
    if path.is_dir() and (path / "bin" / "python").exists():
        path = path / "bin" / "python"
    # not resolved: a virtual environment's interpreter is a link that identifies itself by path
    return str(path.absolute()) if path.is_file() and os.access(path, os.X_OK) else ""


def _tried(name: str, project: Path | None) -> str:
    revision = f"the revision {name} of the git repository at {project}, " if project else ""
    return f"tried: the file {Path(name).absolute()}, {revision}the program {name} in PATH"


def _git(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["git", "-C", str(project), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _commit(name: str, project: Path) -> str:
    """The commit of a revision; "" if there is none, or no git."""
    if name.startswith("-"):
        return ""
    with contextlib.suppress(OSError):
        found = _git(project, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
        return found.stdout.strip() if found.returncode == 0 else ""
    return ""


def _forget_leftovers(project: Path) -> None:
    """Let git forget the trees of killed runs, whose folders are gone, and no one else's."""
    listed = _git(project, "worktree", "list", "--porcelain").stdout.splitlines()
    for line in listed:
        tree = Path(line.removeprefix("worktree "))
        left = line.startswith("worktree ") and tree.parent.name.startswith("qreg-side-")
        if left and not tree.exists():
            _git(project, "worktree", "remove", "--force", str(tree))


@contextlib.contextmanager
def _checked_out(commit: str, name: str, project: Path, temporary: Path) -> Iterator[Path]:
    """The project's folder at a commit, in a temporary worktree."""
    prefix = _git(project, "rev-parse", "--show-prefix").stdout.strip()
    tree = temporary / "tree"
    _forget_leftovers(project)
    added = _git(project, "worktree", "add", "--quiet", "--detach", str(tree), commit)
    if added.returncode:
        raise QregError(f"'{name}' cannot be checked out: {added.stderr.strip()}")
    try:
        if not (tree / prefix).is_dir():
            raise QregError(f"'{name}' has no folder {prefix}", hint="choose a later revision")
        _link_weights(tree / prefix, project)
        yield tree / prefix
    finally:
        _git(project, "worktree", "remove", "--force", str(tree))


def _link_weights(folder: Path, project: Path) -> None:
    """Weights that the revision's table names and git does not track are the project's own."""
    settings = read_settings(folder / "pyproject.toml")
    for one in settings.definitions if settings else ():
        if one.weights is None or one.weights.exists():
            continue
        own = project / os.path.relpath(one.weights, folder)
        if own.is_file():
            one.weights.parent.mkdir(parents=True, exist_ok=True)
            one.weights.symlink_to(own.resolve())
