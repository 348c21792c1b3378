"""Entries of the history: frozen records of tuples, checked on construction.

Only the standard library and the other records may be imported here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from qreg.records.case import Case, Environment
from qreg.records.verdict import Outcome


@dataclass(frozen=True)
class GateEntry:
    """What the gate found of one case in one run.

    Attributes:
        time: ISO 8601, UTC.
        commit: with the suffix "-dirty" for uncommitted changes; "" outside git.
        environment: None where the case could not be observed.
        measure, unit: what `value` is: "accuracy", "%" (of a share).
        value, file_bytes: None where they were not measured.
        flips: predictions unlike the baseline's.
        layer: the first diverging layer, "" where there is none.
        speed_up: fp32's time over the case's, None unless one is promised.
    """

    time: str
    case: Case
    commit: str
    environment: Environment | None
    outcome: Outcome
    measure: str
    unit: str
    value: float | None
    file_bytes: int | None
    flips: int = 0
    layer: str = ""
    speed_up: float | None = None

    def __post_init__(self) -> None:
        datetime.fromisoformat(self.time)
