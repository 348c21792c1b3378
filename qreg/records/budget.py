"""Budgets and known failures: frozen records of tuples, checked on construction.

Only the standard library and the other records may be imported here.
"""

from __future__ import annotations

import datetime
import math
from dataclasses import dataclass, fields, replace
from enum import Enum
from fnmatch import fnmatchcase

from qreg.records.case import Case


class BudgetOutcome(Enum):
    """The result for a budget."""

    KEPT = "KEPT"
    BROKEN = "BROKEN"
    NOT_SHOWN = "NOT SHOWN"


class Against(Enum):
    """What a drop is measured from."""

    FP32 = "fp32"
    CONTROL = "control"


@dataclass(frozen=True)
class Limits:
    """What the owner allows of a case; None where nothing is said.

    Attributes:
        max_drop: largest drop of the task's score: percentage points of a share, else in the
            unit of its summary.
        against: what the drop is measured from; None for fp32.
        max_size: megabytes of the saved state dict.
        max_size_share: the same as a share of fp32's.
        min_speed_up: smallest speed-up over fp32, at batch size 1.
        max_flips: number of samples predicted otherwise than by fp32.
        max_flips_share: the same as a share of all samples.
    """

    max_drop: float | None = None
    against: Against | None = None
    max_size: float | None = None
    max_size_share: float | None = None
    min_speed_up: float | None = None
    max_flips: int | None = None
    max_flips_share: float | None = None

    def __post_init__(self) -> None:
        for name in ("max_drop", "max_flips", "max_flips_share"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name.replace('_', '-')} is a number of 0 or more")
        for name in ("max_size", "max_size_share", "min_speed_up"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name.replace('_', '-')} is a number above 0")
        if self.max_flips_share is not None and self.max_flips_share > 1:
            raise ValueError("max-flips is at most 100 %")

    def __bool__(self) -> bool:
        """Whether anything is limited."""
        return any(getattr(self, f.name) is not None for f in fields(self) if f.name != "against")

    def then(self, later: Limits) -> Limits:
        """These limits, those of `later` in place of the same ones here."""
        said = {name: value for name, value in vars(later).items() if value is not None}
        for one, other in (("max_size", "max_size_share"), ("max_flips", "max_flips_share")):
            if one in said or other in said:
                said = {one: None, other: None} | said
        return replace(self, **said)


NO_LIMITS = Limits()


@dataclass(frozen=True)
class Budget:
    """The limits of a project.

    Attributes:
        everywhere: of all methods that quantize.
        patterns: a pattern of methods or cases with its limits, in the order of the table; of
            two that say the same of a case, the later counts.
    """

    everywhere: Limits = NO_LIMITS
    patterns: tuple[tuple[str, Limits], ...] = ()

    def __bool__(self) -> bool:
        """Whether anything is limited anywhere."""
        return bool(self.everywhere) or any(limits for _, limits in self.patterns)

    def of(self, case: Case, *, float_only: bool | None) -> Limits:
        """The limits of a case; what only keeps floats has none but those that name it."""
        found = NO_LIMITS if float_only else self.everywhere
        for pattern, limits in self.patterns:
            if pattern_matches(pattern, case):
                found = found.then(limits)
        return found


#: Where nothing is said.
NO_BUDGET = Budget()


def pattern_matches(pattern: str, case: Case) -> bool:
    """Whether a pattern fits a case's name; without a slash its method, or method@engine."""
    if "/" in pattern:
        return fnmatchcase(str(case), pattern)
    names = (case.method, f"{case.method}@{case.engine}")
    return any(fnmatchcase(name, pattern) for name in names)


@dataclass(frozen=True)
class BudgetCheck:
    """One limit of a case, and what was measured.

    Attributes:
        limit: its key in the table: "max-drop".
        allowed, observed: as text, with units.
        value, low, high: what was measured, and one-sided bounds at 95 %; None where there is no
            bound or no number.
        bound: the limit, in the same unit.
        needed: how many samples, or processes for a speed-up, would show that it is kept, if
            further ones are like these; None where none would.
    """

    limit: str
    result: BudgetOutcome
    allowed: str
    observed: str
    bound: float
    value: float | None = None
    low: float | None = None
    high: float | None = None
    needed: int | None = None


@dataclass(frozen=True)
class KnownFailure:
    """A failure that the owner knows of.

    Attributes:
        pattern: of methods or cases.
        expires: ISO 8601; the last day on which it is excused.
    """

    pattern: str
    reason: str
    expires: str

    def __post_init__(self) -> None:
        if not self.reason.strip():
            raise ValueError("a known failure needs a reason")
        datetime.date.fromisoformat(self.expires)

    def expired(self, today: str) -> bool:
        """Whether the last day is over; `today` is ISO 8601."""
        return datetime.date.fromisoformat(today) > datetime.date.fromisoformat(self.expires)
