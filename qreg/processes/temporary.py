"""Temporary folders that are always removed: by the next run, if a run was killed."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from qreg.errors import QregError

_PREFIX = "qreg-"
#: Locked as long as the process that created the folder lives.
_OWNER = ".owner"


@contextlib.contextmanager
def temporary_folder(purpose: str) -> Iterator[Path]:
    """A folder of this process, removed at the end; `purpose` is part of its name.

    Raises:
        QregError: none can be made.
    """
    try:
        _remove_leftovers_once(os.getpid())
        # no other process uses it before it is locked
        made = Path(tempfile.mkdtemp(prefix=f".{_PREFIX}{purpose}-"))
    except OSError as error:
        raise QregError(
            f"no temporary folder can be made: {error}",
            hint="set TMPDIR to a folder that may be written",
        ) from error
    folder = made.with_name(made.name.removeprefix("."))
    owner = os.open(made / _OWNER, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _lock(owner)
        made.rename(folder)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(owner)


@cache
def _remove_leftovers_once(pid: int) -> None:  # a fork looks for itself
    remove_leftovers()


def remove_leftovers() -> tuple[Path, ...]:
    """Remove the folders of this user's ended processes; returns the removed ones."""
    found = []
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            if folder.is_symlink() or folder.stat().st_uid != _user():
                continue
            owner = os.open(folder / _OWNER, os.O_RDWR)
            try:
                if _lock(owner):
                    shutil.rmtree(folder, ignore_errors=True)
                    found.append(folder)
            finally:
                os.close(owner)
    return tuple(found)


def _user() -> int:
    return os.getuid() if hasattr(os, "getuid") else 0


def _lock(handle: int) -> bool:
    """Whether no other process holds the lock of the file, as far as locks are known."""
    if sys.platform == "win32":
        return False
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
