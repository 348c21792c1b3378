"""What one PyTorch does beside another: frozen records of tuples.

Only the standard library and the other records may be imported here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from qreg.records.case import Case
from qreg.records.verdict import Verdict
from qreg.speed.records import SideRecord, SpeedRun

WORKS = "works"


@dataclass(frozen=True)
class Answer:
    """What a probe said in one interpreter.

    Attributes:
        outcome: `WORKS`, "raises AttributeError: ...", "was killed by SIGILL", or a value.
        signature: of what it probes, as text; "" where there is none.
        warnings: distinct texts.
        used_by: methods that need it; empty for what none needs.
    """

    name: str
    outcome: str
    signature: str = ""
    warnings: tuple[str, ...] = ()
    used_by: tuple[str, ...] = ()


class ChangeKind(Enum):
    """In what way a thing is not the same on both sides; the last three are of properties."""

    REMOVED = "removed"
    CRASHES = "crashes"
    BREAKS = "breaks"
    NOT_INSTALLED = "not installed"
    WORKS_NOW = "works now"
    SIGNATURE = "signature"
    DEPRECATED = "deprecated"
    WARNING = "warning"
    LOST = "lost"
    WON = "won"
    OTHER = "other"

    @property
    def breaking(self) -> bool:
        """Whether what needs the thing no longer works."""
        return self in (ChangeKind.REMOVED, ChangeKind.BREAKS, ChangeKind.CRASHES)


@dataclass(frozen=True)
class InterfaceChange:
    """One thing that is not the same on both sides.

    Attributes:
        used_by: cases' methods that need it.
    """

    kind: ChangeKind
    name: str
    before: str
    after: str
    used_by: tuple[str, ...] = ()


@dataclass(frozen=True)
class ObserverRecord:
    """What an observer saw and said while a case was quantized.

    Attributes:
        name: of the observer's place in the model; "" for a weight's.
        inputs: digest of all that it was given.
    """

    name: str
    kind: str
    inputs: str
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]


@dataclass(frozen=True)
class Difference:
    """The first place at which two runs or two states part.

    Attributes:
        where: the layer.
        what: "scale", "zero point", "codes", "output", "values", ...
        before, after: in words.
        count, total: how many elements differ, of how many.
        lsb: the largest difference in steps of the quantization; None for floats.
    """

    where: str
    what: str
    before: str
    after: str
    count: int = 0
    total: int = 0
    lsb: int | None = None


@dataclass(frozen=True)
class Cell:
    """One of the 2x2: quantized by one side, run by the other or itself.

    Attributes:
        failed: how it failed, "" where it ran.
        images: whose logits are compared.
        moved: of them, those with a logit that is not equal to that of the same state, run by
            the side that quantized it.
        first: the first layer that runs otherwise, None where none does.
        told: whether a difference says anything: not where the state does not hold all of the
            model, and the side that quantized it gives other bits after the same journey.
    """

    quantized_by: str
    run_by: str
    failed: str = ""
    images: int = 0
    moved: int = 0
    first: Difference | None = None
    told: bool = True

    @property
    def equal(self) -> bool:
        """Whether it ran, and gave the same bits."""
        return not self.failed and not self.moved and self.first is None


class FileOutcome(Enum):
    """What became of a file written by A and loaded by B."""

    EQUAL = "equal"
    DIFFERENT = "different"
    AS_KERNELS = "as the kernels"  # different by what the kernels are
    NOT_WRITTEN = "not written"  # by A already
    NOT_LOADED = "not loaded"


@dataclass(frozen=True)
class Artifact:
    """A file written by A and loaded by B; `kind` as in `qreg.upgrade.case_files`."""

    kind: str
    outcome: FileOutcome
    details: str = ""

    @property
    def broken(self) -> bool:
        """Whether B makes less of it than A."""
        return self.outcome in (FileOutcome.DIFFERENT, FileOutcome.NOT_LOADED)


@dataclass(frozen=True)
class Sizes:
    """Bytes of the saved file, and of the stored tensors in it, before and after."""

    file: tuple[int, int]
    tensors: tuple[int, int]

    @property
    def containers(self) -> tuple[int, int]:
        """What is not tensors."""
        return self.file[0] - self.tensors[0], self.file[1] - self.tensors[1]


@dataclass(frozen=True)
class CaseUpgrade:
    """One case under both.

    Attributes:
        level: None where it was not compared.
        causes: what a difference is put down to.
        findings: sentences, the first the most important.
        cells: without those in which a side runs its own.
        verdict: the regression gate's, A's snapshot being the baseline.
        unavailable: it could not be made under either, for this reason.
    """

    case: Case
    level: Level | None
    causes: tuple[Cause, ...] = ()
    findings: tuple[str, ...] = ()
    quantizing: Difference | None = None
    cells: tuple[Cell, ...] = ()
    artifacts: tuple[Artifact, ...] = ()
    sizes: Sizes | None = None
    verdict: Verdict | None = None
    unavailable: str = ""


@dataclass(frozen=True)
class UpgradeReport:
    """The whole comparison.

    Attributes:
        reasons: of the level, a sentence each.
        probes: how many were tried.
        properties: how many were tried.
        speed: None where it was not asked for.
    """

    baseline: SideRecord
    candidate: SideRecord
    level: Level
    reasons: tuple[str, ...]
    cases: tuple[CaseUpgrade, ...]
    probes: int
    interface: tuple[InterfaceChange, ...]
    properties: int
    invariants: tuple[InterfaceChange, ...]
    speed: SpeedRun | None
    seconds: float


class Level(Enum):
    """What an upgrade would do; the first is the only one that needs nobody's attention."""

    SAFE = "safe: bits equal"
    DIFFERENT = "different, within noise"
    UNSAFE = "do not upgrade"

    @property
    def severity(self) -> int:
        """The higher the worse."""
        return list(Level).index(self)


class Cause(Enum):
    """What a difference of numbers is put down to."""

    NONE = ""
    OBSERVERS = "observers"
    CONVERT = "convert"
    FLOAT = "float kernels, before the observers"
    KERNELS = "kernels"
    SERIALIZATION = "serialization"
    FAILS = "it fails"
