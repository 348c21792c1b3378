"""Temporary folders that are always removed: by the next run, if a run was killed."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from qreg.errors import QregError
from qreg.files import lock_now

_PREFIX = "qreg-"
#: Locked as long as the process that created the folder lives.
_OWNER = ".owner"
# Of this process and of those that it is a fork of; some are removed by now.
_made: list[Path] = []


def made_folders() -> tuple[Path, ...]:
    """The temporary folders that this process made, and those that it was forked from."""
    return tuple(_made)


@contextlib.contextmanager
def temporary_folder(purpose: str) -> Iterator[Path]:
    """A folder of this process, removed at the end; `purpose` is part of its name.

    Raises:
        QregError: none can be made.
    """
    try:
        _remove_leftovers_once(os.getpid())
        folder, owner = _locked_folder(purpose)
    except OSError as error:
        raise QregError(
            f"no temporary folder can be made: {error}",
            hint="set TMPDIR to a folder that may be written",
        ) from error
    _made.append(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(owner)


def _locked_folder(purpose: str) -> tuple[Path, int]:
    """A new folder, and the handle whose lock says that its process lives.

    It has its name from the moment that it is locked. Until then another run may take it for what
    a killed one left: then another one is made.
    """
    while True:
        made = Path(tempfile.mkdtemp(prefix=f".{_PREFIX}{purpose}-"))
        folder = made.with_name(made.name.removeprefix("."))
        try:
            owner = os.open(made / _OWNER, os.O_RDWR | os.O_CREAT, 0o600)
        except FileNotFoundError:
            continue
        try:
            if lock_now(owner) is not False:
                made.rename(folder)
                return folder, owner
        except FileNotFoundError:
            pass
        except BaseException:
            shutil.rmtree(made, ignore_errors=True)
            os.close(owner)
            raise
        os.close(owner)


@cache
def _remove_leftovers_once(pid: int) -> None:  # a fork looks for itself
    remove_leftovers()


def remove_leftovers() -> tuple[Path, ...]:
    """Remove the folders of this user's ended processes; returns the removed ones."""
    found = []
    folders = Path(tempfile.gettempdir())
    for folder in (*folders.glob(f"{_PREFIX}*"), *folders.glob(f".{_PREFIX}*")):
        with contextlib.suppress(OSError):
            if folder.is_symlink() or folder.stat().st_uid != _user():
                continue
            if folder.name.startswith(".") and not (folder / _OWNER).exists():
                folder.rmdir()  # unless its owner has just come
                found.append(folder)
                continue
            owner = os.open(folder / _OWNER, os.O_RDWR)
            try:
                if lock_now(owner):
                    shutil.rmtree(folder, ignore_errors=True)
                    found.append(folder)
            finally:
                os.close(owner)
    return tuple(found)


def _user() -> int:
    return os.getuid() if hasattr(os, "getuid") else 0
