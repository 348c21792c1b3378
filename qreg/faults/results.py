"""What the proof found: frozen records of tuples. Nothing here imports torch."""

from __future__ import annotations

from dataclasses import dataclass

from qreg.faults.noise import EnvironmentNoise
from qreg.records.case import Case
from qreg.records.verdict import Outcome

#: How a snapshot is judged, the strictest first: fields of `Observed`.
TIERS = ("exact", "statistical", "other_float")


@dataclass(frozen=True)
class Judged:
    """A verdict in short: its outcome and the checks that have findings."""

    outcome: Outcome
    checks: tuple[str, ...] = ()

    @property
    def silent(self) -> bool:
        """Whether nothing was said."""
        return self.outcome is Outcome.PASS


@dataclass(frozen=True)
class Observed:
    """What a process of its own made of a case.

    Attributes:
        exact: the verdict bit by bit.
        statistical: the verdict as between environments whose kernels differ.
        other_float: the verdict as where float arithmetic, and so observed ranges, differ too.
        same_environment: whether the gate would have judged bit by bit.
        unchanged: every field of the snapshot is the clean one's.
        noise: how far it lies from the clean one; None where it could not be observed.
        reason: why it could not be, "" where it was.
    """

    case: Case
    exact: Judged
    statistical: Judged
    other_float: Judged
    same_environment: bool = True
    unchanged: bool = False
    noise: EnvironmentNoise | None = None
    reason: str = ""


@dataclass(frozen=True)
class FaultRun:
    """A fault injected into a case, and what was observed.

    Attributes:
        unchanged_because: why the fault may change nothing; see `qreg.faults.fault.Fault`.
    """

    fault: str
    family: str
    size: str
    description: str
    unchanged_because: str
    observed: Observed

    @property
    def equivalent(self) -> bool:
        """Whether it changed nothing, for a reason that is known."""
        return self.observed.unchanged and bool(self.unchanged_because)


@dataclass(frozen=True)
class CleanRun:
    """A case without a fault, in a fresh process.

    Attributes:
        setting: how the process differs from the one that recorded the baseline.
        baseline: whose baseline it is judged against, "first" or "own".
    """

    setting: str
    baseline: str
    observed: Observed

    @property
    def judged(self) -> Judged:
        """By the tier the gate would have chosen."""
        seen = self.observed
        return seen.exact if seen.same_environment else seen.statistical


@dataclass(frozen=True)
class LeftOut:
    """A case that is not run clean in a setting, because it truly loses there."""

    setting: str
    case: Case
    reason: str


@dataclass(frozen=True)
class Proof:
    """All that was run.

    Attributes:
        not_applicable: names of faults that fit none of the cases.
    """

    faults: tuple[FaultRun, ...]
    clean: tuple[CleanRun, ...]
    not_applicable: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()

    @property
    def holds(self) -> bool:
        """Every fault that changes something caught bit by bit, and no alarm without a fault."""
        missed = [run for run in self.faults if run.observed.exact.silent and not run.equivalent]
        return not missed and all(run.judged.silent for run in self.clean)
