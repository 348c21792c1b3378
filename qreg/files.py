"""Writing files so that a reader sees the old content or the new, never half of it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from filelock import FileLock


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` under a temporary name beside `path`, then rename it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, half = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(half).chmod(0o644)
        os.replace(half, path)
    except BaseException:
        Path(half).unlink(missing_ok=True)
        raise


def shipped_folder() -> Path:
    """This installation's own baselines: beside a source checkout, else in the package."""
    package = Path(__file__).resolve().parent
    beside = package.parent / "baselines"
    return beside if beside.is_dir() else package / "_baselines"


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
