"""Records of a comparison of several versions: frozen, of tuples, self-checking.

Only the standard library and the other records may be imported here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from qreg.upgrade.records import UpgradeLevel, UpgradeReport


class ChangeSubject(Enum):
    """What a change is a change of."""

    CASE = "case"
    INTERFACE = "interface"
    PROPERTY = "tensor property"


@dataclass(frozen=True)
class Change:
    """Something that differs between two versions, named so that it can be looked for in others.

    Attributes:
        name: of the case, the function or the property; of a warning, its text.
        what: a cause of a case's difference, or the kind of a change.
    """

    subject: ChangeSubject
    name: str
    what: str

    def __post_init__(self) -> None:
        if not self.name or not self.what:
            raise ValueError(f"a change without a name: {self}")

    def __lt__(self, other: Change) -> bool:
        return self.key < other.key

    @property
    def key(self) -> tuple[int, str, str]:
        """By which changes are sorted: cases first."""
        return list(ChangeSubject).index(self.subject), self.name, self.what


@dataclass(frozen=True)
class PairRecord:
    """Two neighbouring versions of the matrix.

    Attributes:
        baseline, candidate: as they were given.
        report: None where they could not be compared.
        failed: why not; "" where they were.
    """

    baseline: str
    candidate: str
    report: UpgradeReport | None
    failed: str = ""

    def __post_init__(self) -> None:
        if (self.report is None) != bool(self.failed):
            raise ValueError(f"{self.baseline} -> {self.candidate}: a report, or why there is none")


@dataclass(frozen=True)
class BisectionTrial:
    """A release between two versions of the matrix, compared with the first of them.

    Attributes:
        pair: number of the pair, from 0.
        release: as a side is named.
        level: None where it could not be compared.
        failed: why not; "" where it was.
    """

    pair: int
    release: str
    level: UpgradeLevel | None
    failed: str = ""
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if self.pair < 0 or not self.release or (self.level is None) != bool(self.failed):
            raise ValueError(f"a trial that is neither a result nor a failure: {self}")


@dataclass(frozen=True)
class Appearance:
    """Where a change of a pair appears.

    Attributes:
        pair: number of the pair, from 0.
        first: the first version that is known to have it.
        before: the last version before that one which is known not to have it.
        between: releases between those two of which nothing is known.
        gone: later versions of the pair that do not have it.
    """

    change: Change
    pair: int
    first: str
    before: str
    between: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        named = (self.first, self.before, *self.between, *self.gone)
        if self.pair < 0 or not all(named) or len(set(named)) != len(named):
            raise ValueError(f"an appearance at versions that contradict each other: {self}")

    @property
    def exact(self) -> bool:
        """Whether no release between is left in which it could have appeared."""
        return not self.between


@dataclass(frozen=True)
class MatrixReport:
    """Several versions, each compared with the next.

    Attributes:
        versions: as they were given, in that order.
        bisected: whether releases in between were tried.
        skipped: why releases between some pairs were not looked for.
    """

    versions: tuple[str, ...]
    pairs: tuple[PairRecord, ...]
    bisected: bool
    appearances: tuple[Appearance, ...]
    trials: tuple[BisectionTrial, ...]
    skipped: tuple[str, ...]
    seconds: float

    def __post_init__(self) -> None:
        wanted = tuple(zip(self.versions, self.versions[1:], strict=False))
        if len(wanted) < 1 or wanted != tuple((p.baseline, p.candidate) for p in self.pairs):
            raise ValueError("the pairs of a matrix are its versions, each with the next")
        tried = [(one.pair, one.release) for one in self.trials]
        if len(set(tried)) != len(tried):
            raise ValueError("a pair of versions is compared once")
        numbers = [*(one.pair for one in self.appearances), *(one.pair for one in self.trials)]
        if any(number >= len(self.pairs) for number in numbers):
            raise ValueError("an appearance between versions that are not in the matrix")

    @property
    def level(self) -> UpgradeLevel:
        """The worst of the pairs'."""
        found = [pair.report.level for pair in self.pairs if pair.report]
        return max(found, key=lambda level: level.severity, default=UpgradeLevel.SAFE)
