"""Confirmed and refuted change points: each is checked once, however long the history shows it.

Otherwise every later run would test the same change again, and a rule with 1 % of false alarms
would eventually raise one.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from qreg.errors import CorruptFileError
from qreg.files import append_lines, read_lines
from qreg.records.case import Case
from qreg.records.decode import MismatchError, decoder, parse
from qreg.records.verdict import Outcome
from qreg.speed.history.change_points import ChangePoint


@dataclass(frozen=True)
class Confirmation:
    """The result of the paired check of a case between two commits.

    Attributes:
        time: ISO 8601, UTC.
        before, after: commits.
    """

    time: str
    case: Case
    before: str
    after: str
    outcome: Outcome


def confirmations_path(store: Path) -> Path:
    """The file of confirmations, next to a history store."""
    return store.with_name(f"{store.name}.confirmed.jsonl")


def find(path: Path, change: ChangePoint) -> Confirmation | None:
    """The last conclusive check of this change; None where there is none."""
    key = (change.after.case, change.before.commit, change.after.commit)
    checks = [one for one in _read(path) if (one.case, one.before, one.after) == key]
    conclusive = [one for one in checks if one.outcome is not Outcome.INCONCLUSIVE]
    return conclusive[-1] if conclusive else None


def keep(path: Path, confirmation: Confirmation) -> None:
    """Append a confirmation; it is on disk when this returns."""
    content = {**asdict(confirmation), "outcome": confirmation.outcome.value}
    append_lines(path, [json.dumps(content, sort_keys=True)])


def _read(path: Path) -> Sequence[Confirmation]:
    """The readable confirmations: a damaged line only means that one check is repeated.

    Raises:
        CorruptFileError: it is no file of lines.
    """
    confirmations = []
    try:
        for _, line in read_lines(path) if path.exists() else ():
            with contextlib.suppress(MismatchError):
                confirmations.append(decoder(Confirmation)(parse(line)))
    except OSError as error:
        raise CorruptFileError(
            path, expected="confirmations", found=error.strerror or str(error), hint="remove it"
        ) from error
    return confirmations
