"""Records of speed: times, ratios, verdicts, history. Frozen, of tuples, checked on construction.

Only the standard library and the other records may be imported here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from qreg.records.case import Case, Environment
from qreg.records.verdict import Outcome


@dataclass(frozen=True)
class Timing:
    """Call times in one process: milliseconds, percentiles over `calls` calls."""

    p5_ms: float
    p50_ms: float
    p95_ms: float
    calls: int

    def __post_init__(self) -> None:
        if not 0 < self.p5_ms <= self.p50_ms <= self.p95_ms:
            raise ValueError(f"times contradict each other: {self}")


@dataclass(frozen=True)
class CaseTimes:
    """Times of one case in one pair of processes."""

    case: Case
    baseline: Timing
    candidate: Timing


@dataclass(frozen=True)
class ProcessPair:
    """Two fresh processes, one per side.

    Attributes:
        order: "AB" where the baseline ran first, else "BA".
    """

    order: str
    times: tuple[CaseTimes, ...]

    def __post_init__(self) -> None:
        if self.order not in ("AB", "BA"):
            raise ValueError(f"order {self.order!r}")


@dataclass(frozen=True)
class Speed:
    """The statistics of a case's pairs; a positive change is a slowdown.

    Attributes:
        pairs: number of pairs when it was judged.
        change, low, high: relative change of the time per call, with its confidence interval.
        p_slower, p_faster: exact one-sided Wilcoxon signed-rank p-values.
        spread: standard deviation of the log ratios.
        detectable: the smallest relative slowdown that the plan detects with its power.
    """

    outcome: Outcome
    pairs: int
    change: float
    low: float
    high: float
    p_slower: float
    p_faster: float
    spread: float
    detectable: float


@dataclass(frozen=True)
class SpeedVerdict:
    """The verdict on one case.

    Attributes:
        case: of the candidate; the baseline's differs in its method at most.
        against: the baseline's method.
        speed: None where there were too few pairs.
        baseline_ms, candidate_ms: median over the pairs of the 5th percentile of call times.
        p50, p95: relative change of these percentiles, median over the pairs.
        notes: remarks for the reader.
    """

    case: Case
    against: str
    outcome: Outcome
    speed: Speed | None
    baseline_ms: float
    candidate_ms: float
    p50: float
    p95: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Noise:
    """How busy the machine was during a run.

    Attributes:
        steal: share of processor time taken by the host; None where unknown.
        others: mean number of processors kept busy by other processes; None where unknown.
        load: one-minute load average before the first pair.
        drift: relative change of both sides' times from the first third of the pairs to the last.
        processors: number of processors of this machine.
    """

    steal: float | None
    others: float | None
    load: float
    drift: float
    processors: int


@dataclass(frozen=True)
class SideRecord:
    """One side of a comparison.

    Attributes:
        given: as the user wrote it.
        commit: of the checked-out revision, "" for the working tree.
    """

    given: str
    python: str
    commit: str
    environment: Environment


@dataclass(frozen=True)
class SpeedRun:
    """The record of a whole speed check.

    Attributes:
        lost: a reason for each discarded pair.
        seed: of the order of the pairs.
        seconds: total duration.
        interrupted: whether the user interrupted; finished pairs are included.
    """

    baseline: SideRecord
    candidate: SideRecord
    verdicts: tuple[SpeedVerdict, ...]
    pairs: tuple[ProcessPair, ...]
    lost: tuple[str, ...]
    noise: Noise
    seed: int
    threads: int
    batch: int
    seconds: float
    interrupted: bool = False


@dataclass(frozen=True)
class HistoryEntry:
    """One case's speed relative to a pinned reference, as recorded.

    Attributes:
        time: ISO 8601, UTC.
        commit: of the candidate, with the suffix "-dirty" for uncommitted changes; "" outside git.
        reference: the commit or interpreter that all entries are compared with.
        change, low, high: relative change of the time per call from the reference's.
        noisy: why the machine was too noisy for small differences.
        batch: inputs a call; 0 where it was not recorded.
    """

    time: str
    case: Case
    commit: str
    reference: str
    environment: Environment
    change: float
    low: float
    high: float
    pairs: int
    candidate_ms: float
    noisy: tuple[str, ...] = ()
    batch: int = 0

    @property
    def series(self) -> tuple[str, int, int]:
        """What must be the same of all entries whose changes are compared."""
        return self.reference, self.batch, self.environment.threads

    def __post_init__(self) -> None:
        if not -1 < self.low <= self.change <= self.high:
            raise ValueError(f"{self.change} is not within {self.low} to {self.high}")
        datetime.fromisoformat(self.time)


@dataclass(frozen=True)
class Counted:
    """Instructions per call of one case, one number per burst of calls.

    Attributes:
        baseline: empty where only one side was counted.
    """

    case: Case
    baseline: tuple[float, ...]
    candidate: tuple[float, ...]
