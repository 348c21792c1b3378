"""Append-only files of lines: safe under two writers, and under one that is killed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from filelock import FileLock


def append_lines(path: Path, lines: Sequence[str]) -> None:
    """Add lines; they are on the disk when this returns. A half line before them is ended."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"), path.open("ab") as file:
        ended = not file.tell() or _last_byte(path) == b"\n"
        file.write(("" if ended else "\n").encode() + "".join(f"{one}\n" for one in lines).encode())
        file.flush()
        os.fsync(file.fileno())


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Number, from 1, and content of every line that is not empty."""
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        if line.strip():
            yield number, line


def _last_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1)
