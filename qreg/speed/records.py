"""Speed: what was timed, and what it says. Frozen records of tuples, checked when made.

Only the standard library and the other records may be imported here.
"""

from __future__ import annotations

from dataclasses import dataclass

from qreg.records.case import Case, Environment
from qreg.records.verdict import Outcome


@dataclass(frozen=True)
class Timing:
    """Times of calls in one process: milliseconds a call, percentiles over `calls` calls."""

    p5_ms: float
    p50_ms: float
    p95_ms: float
    calls: int

    def __post_init__(self) -> None:
        if not 0 < self.p5_ms <= self.p50_ms <= self.p95_ms:
            raise ValueError(f"times contradict each other: {self}")


@dataclass(frozen=True)
class CaseTimes:
    """One case in one pair of processes."""

    case: Case
    baseline: Timing
    candidate: Timing


@dataclass(frozen=True)
class ProcessPair:
    """Two fresh processes, one of each side.

    Attributes:
        order: "AB" where the baseline's ran first, else "BA".
    """

    order: str
    times: tuple[CaseTimes, ...]

    def __post_init__(self) -> None:
        if self.order not in ("AB", "BA"):
            raise ValueError(f"order {self.order!r}")


@dataclass(frozen=True)
class Speed:
    """What the pairs of a case say; a positive change is a slowdown.

    Attributes:
        pairs: how many there were when it was judged.
        change, low, high: of the time of a call, as a share, with its interval.
        p_slower, p_faster: exact one-sided Wilcoxon signed-rank.
        spread: standard deviation of the pairs' log ratios.
        detectable: the smallest slowdown this run finds with the plan's power, as a share.
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
    """The judgement of one case.

    Attributes:
        case: the candidate's; the baseline's differs from it by method at most.
        against: the baseline's method.
        speed: None where there were too few pairs to say anything.
        baseline_ms, candidate_ms: median over the pairs of the 5th percentiles of a call.
        p50, p95: change of these percentiles, median over the pairs, as a share.
        notes: what a reader should know beside.
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
        steal: share of processor time that the host took away; None where it is not said.
        others: processors that other processes kept busy, on average; None likewise.
        load: the load average of a minute before the first pair.
        drift: change of both sides' times from the first third of the pairs to the last, share.
        processors: of this machine.
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
        commit: of the revision that was checked out, "" for the working tree.
    """

    given: str
    python: str
    commit: str
    environment: Environment


@dataclass(frozen=True)
class SpeedRun:
    """A whole comparison.

    Attributes:
        lost: why each pair that was discarded was.
        seed: of the order of the pairs.
        seconds: it took.
        interrupted: by the user; what was finished is in it.
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
    """One case's speed beside a pinned reference, as it was recorded.

    Attributes:
        time: ISO 8601, UTC.
        commit: of the candidate, "-dirty" with changes in it, "" outside git.
        reference: the commit or interpreter that all nights are measured beside.
        change, low, high: of the time of a call beside the reference's, as a share.
        noisy: why the machine was too busy for fine differences.
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


@dataclass(frozen=True)
class Counted:
    """Instructions a call of one case, a number for each burst of calls.

    Attributes:
        baseline: empty where one side alone was counted.
    """

    case: Case
    baseline: tuple[float, ...]
    candidate: tuple[float, ...]
