"""The speed history store: append-only, as JSON lines or in SQLite.

A line is one case's entry of one recording. A killed writer leaves at most one truncated line,
which the next writer terminates; a reader reports it by number and reads the rest.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from qreg.errors import CorruptFileError
from qreg.files import append_lines, open_regular, read_lines
from qreg.records.decode import MismatchError, decoder, parse
from qreg.speed.records import HistoryEntry

#: 1: format, and an entry as in qreg.speed.records. 2: with its batch size. Entries of the gate
#: (`qreg.history`) have a kind as well.
FORMAT = 2
_READ = (1, 2)
#: The kinds of entries: a speed entry has none.
SPEED, GATE = "", "gate"
#: The default folder, next to pyproject.toml.
FOLDER = Path(".qreg") / "history"
_NAME = "nights.jsonl"
_DATABASES = (".sqlite", ".sqlite3", ".db")
# More damaged lines than a history has by accident: it is another file.
_MOST_DAMAGED = 1000
# Bytes of a row: an entry has some hundred.
_LONGEST = 1 << 20
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
    append_kind(path, SPEED, [asdict(one) for one in entries])


def append_kind(path: Path, kind: str, entries: Sequence[dict[str, Any]]) -> None:
    """Append entries of a kind, as `append` does."""
    head = {"format": FORMAT, **({"kind": kind} if kind else {})}
    lines = [json.dumps({**head, **one}, sort_keys=True) for one in entries]
    if path.suffix in _DATABASES:
        _insert(path, lines)
    else:
        append_lines(path, lines)


def read(path: Path) -> tuple[tuple[HistoryEntry, ...], tuple[Damage, ...]]:
    """All entries in the order they were added, and the damaged lines.

    Raises:
        CorruptFileError: it is no history, no SQLite database for example.
    """
    return read_kind(path, SPEED, decoder(HistoryEntry))


def read_kind(
    path: Path, kind: str, decode: Callable[[Any], Any]
) -> tuple[tuple[Any, ...], tuple[Damage, ...]]:
    """The entries of a kind, and the damaged lines of the store, as `read` does."""
    entries, damaged = [], []
    try:
        for number, line in _lines(path):
            try:
                found, content = _content(line)
                if found == kind:
                    entries.append(decode(content))
            except MismatchError as error:
                damaged.append(Damage(number, str(error)))
            if len(damaged) > _MOST_DAMAGED:
                raise _other(path, f"over {_MOST_DAMAGED} lines that are none")
    except OSError as error:
        raise _other(path, error.strerror or str(error)) from error
    return tuple(entries), tuple(damaged)


def _content(line: bytes) -> tuple[str, Any]:
    """The kind of a line's entry, and the entry."""
    content = parse(line)
    number = content.pop("format", None) if type(content) is dict else None
    if type(number) is not int or number not in _READ:
        raise MismatchError(f"format {FORMAT}", line[:60].decode(errors="replace"))
    kind = content.pop("kind", SPEED)
    if kind not in (SPEED, GATE):
        raise MismatchError("an entry of speed or of the gate", str(kind)[:60])
    return kind, content


def _lines(path: Path) -> Iterable[tuple[int, bytes]]:
    if not path.exists():
        return ()
    return _rows(path) if path.suffix in _DATABASES else read_lines(path)


def _insert(path: Path, lines: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with closing(sqlite3.connect(path, timeout=60)) as connection, connection:
            connection.execute(_TABLE)
            rows = [(line,) for line in lines]
            connection.executemany("INSERT INTO nights (line) VALUES (?)", rows)
    except sqlite3.Error as error:
        raise _other(path, str(error)) from error


def _rows(path: Path) -> Iterator[tuple[int, bytes]]:
    open_regular(path).close()
    try:
        # as it is: nothing is written to it, and what a stranger's schema says is not run
        with closing(_read_only(path)) as connection:
            kinds = connection.execute("SELECT type FROM sqlite_master WHERE name = 'nights'")
            if kinds.fetchall() not in ([], [("table",)]):
                raise _other(path, "no table of that name")
            columns = connection.execute("PRAGMA table_xinfo(nights)").fetchall()
            if any(one[-1] for one in columns):
                raise _other(path, "columns that are computed")
            if columns:
                rows = connection.execute("SELECT number, line FROM nights ORDER BY number")
                for number, line in rows:
                    if not isinstance(number, int):
                        raise _other(path, "a line without a number")
                    yield number, line if isinstance(line, bytes) else str(line).encode()
    except (sqlite3.Error, OverflowError, UnicodeError) as error:
        raise _other(path, str(error)) from error


def _read_only(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=60)
    # damaged text is shown as such, not raised
    connection.text_factory = lambda raw: raw.decode(errors="replace")
    if sys.version_info >= (3, 11):
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST)
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection


def _other(path: Path, text: str) -> CorruptFileError:
    kind = "an SQLite history database" if path.suffix in _DATABASES else "a speed history"
    return CorruptFileError(path, expected=kind, found=text, hint="give another file: --store")
