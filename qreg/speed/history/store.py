"""The speed history store: append-only, as JSON lines or in SQLite.

A line is one case's entry of one recording. A killed writer leaves at most one truncated line,
which the next writer terminates; a reader reports it by number and reads the rest.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

from qreg.errors import CorruptFileError
from qreg.files import append_lines, read_lines
from qreg.records.decode import MismatchError, decoder, parse
from qreg.speed.records import HistoryEntry

#: 1: format, and an entry as in qreg.speed.records. 2: with its batch size.
FORMAT = 2
_READ = (1, 2)
#: The default folder, next to pyproject.toml.
FOLDER = Path(".qreg") / "history"
_NAME = "nights.jsonl"
_DATABASES = (".sqlite", ".sqlite3", ".db")
_TABLE = "CREATE TABLE IF NOT EXISTS nights (number INTEGER PRIMARY KEY, line TEXT NOT NULL)"


@dataclass(frozen=True)
class Damage:
    """A line that cannot be decoded; the first line is number 1."""

    number: int
    reason: str


def store_path(given: Path | None, project: Path) -> Path:
    """The store's file: SQLite or JSON lines by its suffix; a folder contains `nights.jsonl`."""
    path = given or project / FOLDER
    return path if path.suffix else path / _NAME


def append(path: Path, entries: Sequence[HistoryEntry]) -> None:
    """Append entries; they are on disk when this returns, and concurrent writers do not mix.

    Raises:
        CorruptFileError: the file is not an SQLite database.
    """
    lines = [json.dumps({"format": FORMAT, **asdict(one)}, sort_keys=True) for one in entries]
    if path.suffix in _DATABASES:
        _insert(path, lines)
    else:
        append_lines(path, lines)


def read(path: Path) -> tuple[tuple[HistoryEntry, ...], tuple[Damage, ...]]:
    """All entries in the order they were added, and the damaged lines.

    Raises:
        CorruptFileError: the file is not an SQLite database.
    """
    entries, damaged = [], []
    for number, line in _lines(path):
        try:
            entries.append(_entry(line))
        except MismatchError as error:
            damaged.append(Damage(number, str(error)))
    return tuple(entries), tuple(damaged)


def _entry(line: bytes) -> HistoryEntry:
    content = parse(line)
    if type(content) is not dict or content.pop("format", None) not in _READ:
        raise MismatchError(f"format {FORMAT}", line[:60].decode(errors="replace"))
    entry: HistoryEntry = decoder(HistoryEntry)(content)
    return entry


def _lines(path: Path) -> Iterable[tuple[int, bytes]]:
    if not path.is_file():
        return ()
    return _rows(path) if path.suffix in _DATABASES else read_lines(path)


def _insert(path: Path, lines: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with closing(sqlite3.connect(path, timeout=60)) as connection, connection:
            connection.execute(_TABLE)
            rows = [(line,) for line in lines]
            connection.executemany("INSERT INTO nights (line) VALUES (?)", rows)
    except sqlite3.DatabaseError as error:
        raise _not_a_database(path, error) from error


def _rows(path: Path) -> list[tuple[int, bytes]]:
    try:
        with closing(sqlite3.connect(path, timeout=60)) as connection:
            connection.execute(_TABLE)
            rows = connection.execute("SELECT number, line FROM nights ORDER BY number")
            return [(number, str(line).encode()) for number, line in rows]
    except sqlite3.DatabaseError as error:
        raise _not_a_database(path, error) from error


def _not_a_database(path: Path, error: sqlite3.DatabaseError) -> CorruptFileError:
    return CorruptFileError(
        path, expected="an SQLite history database", found=str(error), hint="give another file"
    )
