"""Results of the proof: frozen records of tuples, without torch."""

from __future__ import annotations

from dataclasses import dataclass

from qreg.faults.noise import EnvironmentNoise
from qreg.records.case import Case
from qreg.records.verdict import Outcome

#: The tiers of judgement, the strictest first: fields of `Observed`.
TIERS = ("exact", "statistical", "other_float")


@dataclass(frozen=True)
class Judged:
    """A summary of a verdict: its outcome and the checks with findings."""

    outcome: Outcome
    checks: tuple[str, ...] = ()

    @property
    def silent(self) -> bool:
        """Whether there is nothing to report."""
        return self.outcome is Outcome.PASS


@dataclass(frozen=True)
class Observed:
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
    exact: Judged
    statistical: Judged
    other_float: Judged
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
    observed: Observed

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
    observed: Observed

    @property
    def judged(self) -> Judged:
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
class Proof:
    """The results of a selftest.

    Attributes:
        not_applicable: names of faults that fit none of the cases.
    """

    faults: tuple[FaultRun, ...]
    clean: tuple[CleanRun, ...]
    not_applicable: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()

    @property
    def holds(self) -> bool:
        """Every fault that changes something is caught bit-exactly, without false alarms."""
        missed = [run for run in self.faults if run.observed.exact.silent and not run.equivalent]
        return not missed and all(run.judged.silent for run in self.clean)
