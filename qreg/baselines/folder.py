"""The folder of baselines, its file names, and its write lock."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from qreg.errors import QregError
from qreg.files import locked, shipped_folder
from qreg.records.case import Case, file_part

SIDECARS = "sidecars"
# Folders next to those of datasets and models.
_TAKEN = ("checkpoints", SIDECARS)
_LOCKS = ".locks"
# Bytes of a part of a file's name: file systems take 255, a suffix and a temporary name included.
_LONGEST = 180


def baseline_root(
    chosen: Path | None = None, *, own: Path | None = None, to_write: bool = False
) -> Path:
    """The folder of baselines.

    `chosen`, else ``QREG_BASELINES``, else the project's `own`, else ``baselines`` if it exists,
    else that of the checkout that qreg runs from. A ``baselines`` with nothing but the checkpoints
    that `qreg train` wrote has none to read, and hides none.

    Args:
        to_write: whether baselines may be written: then ``baselines`` counts as it is.

    Raises:
        QregError: none of these; an installed qreg brings checkpoints, and no baselines.
    """
    named = chosen or os.environ.get("QREG_BASELINES") or own
    if named:
        return Path(named)
    here, shipped = Path("baselines"), shipped_folder()
    if here.is_dir() and (to_write or not _only_checkpoints(here)):
        return here
    if not any(shipped.glob("*/*/*@*.json")):
        if here.is_dir():
            return here
        raise QregError(
            f"there is no folder baselines in {Path.cwd()}, and an installed qreg brings none",
            hint="make it, or name another: --baselines DIR; those of the shipped models are in "
            "a checkout of qreg",
        )
    return shipped


def _only_checkpoints(folder: Path) -> bool:
    try:
        return [one.name for one in folder.iterdir()] == [_TAKEN[0]]
    except OSError:  # whoever reads it says so
        return False


def case_file(case: Case) -> Path:
    """The file of a case, from the root. ``package.module:thing`` has ':' replaced by '.'.

    Raises:
        QregError: a name of the case cannot be part of a file's name.
    """
    return Path(case_file_name(case))


def case_file_name(case: Case) -> str:
    """The same as text, with slashes: ten thousand paths take a second to be made.

    Raises: as `case_file`.
    """
    dataset, model = _name(case.dataset), _name(case.model)
    return f"{dataset}/{model}/{_name(case.method)}@{_name(case.engine)}.json"


@lru_cache(maxsize=1 << 14)
def _name(name: str) -> str:
    part = file_part(name)
    odd = part.startswith(".") or not part.isprintable() or set(part) & set("/\\@")
    if not part or odd or part in _TAKEN or len(part.encode()) > _LONGEST:
        raise QregError(
            f"{name!r} cannot be part of the name of a baseline's file",
            hint=f"use a name of at most {_LONGEST} bytes without / \\ @, not starting with a dot, "
            f"not {' or '.join(_TAKEN)}",
        )
    return part


@contextmanager
def writing(root: Path) -> Iterator[None]:
    """Hold the write lock of `root`.

    Raises:
        QregError: another process does not release it, or the folder is not writable.
    """
    locks = root / _LOCKS
    try:
        locks.mkdir(parents=True, exist_ok=True)
        if locks.is_symlink():
            raise OSError(errno.ELOOP, "it is a link to another folder", str(locks))
        _ignore(locks / ".gitignore")
        with locked(locks / "store.lock"):
            yield
    except OSError as error:
        raise QregError(
            f"{root} cannot be written: {error}", hint="choose another folder: --baselines DIR"
        ) from error


def _ignore(path: Path) -> None:
    """Let git ignore the folder, so that projects need no entry of their own; nothing is replaced.

    A link is not followed, even one that leads nowhere.
    """
    with contextlib.suppress(FileExistsError):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with os.fdopen(handle, "w") as file:
            file.write("*\n")
