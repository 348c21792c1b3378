"""The folder of baselines, its file names, and its write lock."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from qreg.errors import QregError
from qreg.files import shipped_folder
from qreg.records.case import Case, file_part

SIDECARS = "sidecars"
# Folders next to those of datasets and models.
_TAKEN = ("checkpoints", SIDECARS)
_LOCKS = ".locks"
# Writing takes milliseconds: a longer wait means that another process hangs.
_PATIENCE_S = 60


def baseline_root(chosen: Path | None = None, *, own: Path | None = None) -> Path:
    """The folder of baselines.

    `chosen`, else ``QREG_BASELINES``, else the project's `own`, else ``baselines`` if it exists,
    else that of the checkout that qreg runs from.

    Raises:
        QregError: none of these; an installed qreg brings checkpoints, and no baselines.
    """
    named = chosen or os.environ.get("QREG_BASELINES") or own
    if named:
        return Path(named)
    here, shipped = Path("baselines"), shipped_folder()
    if here.is_dir():
        return here
    if not any(shipped.glob("*/*/*@*.json")):
        raise QregError(
            f"there is no folder baselines in {Path.cwd()}, and an installed qreg brings none",
            hint="make it, or name another: --baselines DIR; those of the shipped models are in "
            "a checkout of qreg",
        )
    return shipped


def case_file(case: Case) -> Path:
    """The file of a case, from the root. ``package.module:thing`` has ':' replaced by '.'.

    Raises:
        QregError: a name of the case cannot be part of a file's name.
    """
    dataset, model, method, engine = (
        _name(name) for name in (case.dataset, case.model, case.method, case.engine)
    )
    return Path(dataset, model, f"{method}@{engine}.json")


def _name(name: str) -> str:
    part = file_part(name)
    odd = part.startswith(".") or not part.isprintable() or set(part) & set("/\\@")
    if not part or odd or part in _TAKEN:
        raise QregError(
            f"{name!r} cannot be part of the name of a baseline's file",
            hint=f"use a name without / \\ @, not starting with a dot, not {' or '.join(_TAKEN)}",
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
        # ignored here, so that projects need no entry of their own
        (locks / ".gitignore").write_text("*\n")
        with FileLock(locks / "store.lock", timeout=_PATIENCE_S):
            yield
    except Timeout as error:
        raise QregError(
            f"{root}: another process has been writing for {_PATIENCE_S} s",
            hint="wait for it, or stop it",
        ) from error
    except OSError as error:
        raise QregError(
            f"{root} cannot be written: {error}", hint="choose another folder: --baselines DIR"
        ) from error
