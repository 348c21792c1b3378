"""Reading and appending the gate's entries: in the store of the speed history, line by line.

Two writers do not mix their lines, and a killed one leaves at most one truncated line.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from qreg.history.records import GateEntry
from qreg.records.case import Case
from qreg.records.decode import decoder, plain
from qreg.records.detail import CaseDetail
from qreg.records.verdict import Verdict
from qreg.speed.history.store import GATE, Damage, append_kind, read_kind

Found = Sequence[tuple[Verdict, CaseDetail | None]]


def gate_entries(judged: Found, *, time: str, commit: str) -> tuple[GateEntry, ...]:
    """An entry for each judged case."""
    return tuple(
        _entry(verdict, detail or CaseDetail(verdict.case), time, commit)
        for verdict, detail in judged
    )


def _entry(verdict: Verdict, detail: CaseDetail, time: str, commit: str) -> GateEntry:
    return GateEntry(
        time=time,
        case=verdict.case,
        commit=commit,
        environment=detail.where,
        outcome=verdict.outcome,
        measure=detail.measure,
        unit=detail.unit,
        value=detail.value,
        file_bytes=detail.file_bytes,
        flips=len(verdict.moved),
        layer=verdict.layer,
        speed_up=detail.speed_up,
    )


def append(path: Path, entries: Sequence[GateEntry]) -> None:
    """Append entries; they are on disk when this returns.

    Raises:
        CorruptFileError: the file is not an SQLite database.
    """
    append_kind(path, GATE, [plain(one) for one in entries])


def read(path: Path) -> tuple[tuple[GateEntry, ...], tuple[Damage, ...]]:
    """All entries of the gate in the order they were added, and the damaged lines.

    Raises:
        CorruptFileError: it is no history.
    """
    return read_kind(path, GATE, decoder(GateEntry))


def by_case(entries: Sequence[GateEntry], *, last: int) -> dict[Case, tuple[GateEntry, ...]]:
    """The last entries of each case, in order."""
    found: dict[Case, list[GateEntry]] = {}
    for one in entries:
        found.setdefault(one.case, []).append(one)
    return {case: tuple(sorted(ones, key=lambda e: e.time)[-last:]) for case, ones in found.items()}
