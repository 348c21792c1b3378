"""Results of the proof: frozen records of tuples, without torch."""

from __future__ import annotations

from dataclasses import dataclass

from qreg.faults.noise import EnvironmentNoise
from qreg.records.case import Case
from qreg.records.verdict import Outcome
from qreg.stats.intervals import clopper_pearson

#: The tiers of judgement, the strictest first: fields of `ObservedCase`.
TIERS = ("exact", "statistical", "other_float")


#: The share of draws in which a budget may be judged wrongly: the bounds are one-sided at 95 %.
STATED_RATE = 0.05
#: Of the interval by which an observed share is compared with it: there are some fifty rows.
RATE_LEVEL = 0.999


@dataclass(frozen=True)
class TierVerdict:
    """A summary of a verdict: its outcome and the checks with findings."""

    outcome: Outcome
    checks: tuple[str, ...] = ()

    @property
    def silent(self) -> bool:
        """Whether there is nothing to report."""
        return self.outcome is Outcome.PASS


@dataclass(frozen=True)
class ObservedCase:
    """A case as observed in its own process.

    Attributes:
        exact: the bit-exact verdict.
        statistical: the verdict as between environments with different kernels.
        other_float: the verdict as where float arithmetic, and so calibrated ranges, differ too.
        same_environment: whether the gate would have judged bit-exactly.
        unchanged: whether every field of the snapshot equals the clean one's.
        noise: differences from the clean one; None where it could not be observed.
        reason: why it could not be observed, "" where it was.
    """

    case: Case
    exact: TierVerdict
    statistical: TierVerdict
    other_float: TierVerdict
    same_environment: bool = True
    unchanged: bool = False
    noise: EnvironmentNoise | None = None
    reason: str = ""


@dataclass(frozen=True)
class FaultRun:
    """A fault injected into a case, and the result.

    Attributes:
        unchanged_because: why the fault may change nothing; see `qreg.faults.fault.Fault`.
    """

    fault: str
    family: str
    size: str
    description: str
    unchanged_because: str
    observed: ObservedCase

    @property
    def equivalent(self) -> bool:
        """Whether it changed nothing, for a known reason."""
        return self.observed.unchanged and bool(self.unchanged_because)


@dataclass(frozen=True)
class CleanRun:
    """A fault-free case in a fresh process.

    Attributes:
        setting: how the process differs from the one that recorded the baseline.
        baseline: the baseline it is judged by, "first" or "own".
    """

    setting: str
    baseline: str
    observed: ObservedCase

    @property
    def judged(self) -> TierVerdict:
        """The verdict of the tier that the gate would have chosen."""
        observed = self.observed
        return observed.exact if observed.same_environment else observed.statistical


@dataclass(frozen=True)
class LeftOut:
    """A case that is excluded from a setting because it truly loses accuracy there."""

    setting: str
    case: Case
    reason: str


@dataclass(frozen=True)
class BudgetRates:
    """How often a budget got each result, where the truth is known.

    Attributes:
        what: the case, or how samples were simulated.
        samples: of each draw.
        miss: by how many points the true drop exceeds the budget; negative where it is kept.
        kept, broken, not_shown: numbers of draws.
        truth: the drop on all `of` samples, in points; None where simulated.
    """

    what: str
    samples: int
    miss: float
    kept: int
    broken: int
    not_shown: int
    truth: float | None = None
    of: int = 0

    @property
    def draws(self) -> int:
        """The number of draws."""
        return self.kept + self.broken + self.not_shown

    @property
    def wrong(self) -> int:
        """Draws that were called KEPT though the budget is missed, or BROKEN though it is kept."""
        return self.kept if self.miss >= 0 else self.broken

    @property
    def holds(self) -> bool:
        """Whether no more draws are wrong than the rule states, as far as so many draws can tell.

        At the budget itself either answer is wrong.
        """
        worst = max(self.wrong, self.broken if self.miss == 0 else 0)
        return clopper_pearson(worst, self.draws, level=RATE_LEVEL)[0] <= STATED_RATE


@dataclass(frozen=True)
class PlantedSite:
    """A site that was damaged, and its place in the ranking of all sites.

    Attributes:
        site: in the names of the user's model.
        rank: from 1; 0 where it was not ranked.
        sites: how many there are.
        significant: whether its drop is shown, after Holm's correction.
        drop: of the score with only it quantized; None where it was not measured in full.
        noise: its share of the squared errors that all sites cause one by one.
        unit: of the score; "%" of a share.
    """

    case: Case
    site: str
    rank: int
    sites: int
    significant: bool
    drop: float | None
    noise: float
    unit: str

    @property
    def first(self) -> bool:
        """Whether the ranking puts it first."""
        return self.rank == 1


@dataclass(frozen=True)
class Proof:
    """The results of a selftest.

    Attributes:
        not_applicable: names of faults that fit none of the cases.
        planted: bad sites that `qreg sensitivity` must put first.
        budgets: rates at which budgets around the true drop are judged.
    """

    faults: tuple[FaultRun, ...]
    clean: tuple[CleanRun, ...]
    not_applicable: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    planted: tuple[PlantedSite, ...] = ()
    budgets: tuple[BudgetRates, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether all is as it must be.

        Every fault that changes something is caught bit-exactly, without false alarms; every bad
        site ranks first; and budgets are judged wrongly at most at the stated rate.
        """
        missed = [run for run in self.faults if run.observed.exact.silent and not run.equivalent]
        return (
            not missed
            and all(run.judged.silent for run in self.clean)
            and all(one.first for one in self.planted)
            and all(one.holds for one in self.budgets)
        )
