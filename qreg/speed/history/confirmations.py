"""Change points that were checked: one is checked once, however many nights still show it.

Without this, each of the next nights would ask the same question again, and a rule that errs once
in a hundred would in the end say yes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from qreg.files import append_lines, read_lines
from qreg.records.case import Case
from qreg.records.decode import MismatchError, decoder, parse
from qreg.records.verdict import Outcome
from qreg.speed.history.change_points import ChangePoint


@dataclass(frozen=True)
class Confirmation:
    """What the paired check said of a case between two commits.

    Attributes:
        time: ISO 8601, UTC.
        before, after: commits.
    """

    time: str
    case: Case
    before: str
    after: str
    outcome: Outcome


def store_of(entries: Path) -> Path:
    """The file of lines beside a store of nights."""
    return entries.with_name(f"{entries.name}.confirmed.jsonl")


def find(path: Path, change: ChangePoint) -> Confirmation | None:
    """The last check of this change; one that decided nothing does not count."""
    key = (change.after.case, change.before.commit, change.after.commit)
    found = [one for one in _read(path) if (one.case, one.before, one.after) == key]
    decided = [one for one in found if one.outcome is not Outcome.INCONCLUSIVE]
    return decided[-1] if decided else None


def keep(path: Path, confirmation: Confirmation) -> None:
    """Add one; it is on the disk when this returns."""
    content = {**asdict(confirmation), "outcome": confirmation.outcome.value}
    append_lines(path, [json.dumps(content, sort_keys=True)])


def _read(path: Path) -> Sequence[Confirmation]:
    """Those that can be read: a damaged line costs one check that is made again."""
    found = []
    for _, line in read_lines(path) if path.is_file() else ():
        try:
            found.append(decoder(Confirmation)(parse(line)))
        except MismatchError:
            continue
    return found
