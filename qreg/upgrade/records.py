"""Records of a comparison of two PyTorch versions: frozen, of tuples.

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
    """The result of a probe in one interpreter.

    Attributes:
        outcome: `WORKS`, "raises AttributeError: ...", "was killed by SIGILL", or a value.
        signature: of the probed function, as text; "" where there is none.
        warnings: distinct texts.
        used_by: methods that need it; empty if none does.
    """

    name: str
    outcome: str
    signature: str = ""
    warnings: tuple[str, ...] = ()
    used_by: tuple[str, ...] = ()


class AnswerKind(Enum):
    """What a side answers: which of its files."""

    PROBE = "probe"
    PROPERTY = "property"
    ODD = "odd"


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
    """A difference between the two sides in an interface or a tensor property.

    Attributes:
        used_by: methods that need it.
    """

    kind: ChangeKind
    name: str
    before: str
    after: str
    used_by: tuple[str, ...] = ()


@dataclass(frozen=True)
class ObserverRecord:
    """The inputs and results of an observer while a case was quantized.

    Attributes:
        name: the observer's path in the model; "" for a weight's.
        inputs: digest of all its inputs.
    """

    name: str
    kind: str
    inputs: str
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]


@dataclass(frozen=True)
class Difference:
    """The first difference between two runs or two states.

    Attributes:
        where: the layer.
        what: "scale", "zero point", "codes", "output", "values", ...
        before, after: as text.
        count, total: number of differing elements, and of all elements.
        lsb: the largest difference in quantization steps; None for floats.
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
    """A cell of the 2x2 comparison: quantized by one side, run by the other or by itself.

    Attributes:
        failed: how it failed, "" where it ran.
        images: number of samples whose logits are compared.
        moved: number of samples with a logit that differs from that of the same state run by the
            side that quantized it.
        first: the first layer with different outputs, None where there is none.
        told: whether a difference can be attributed: not where the state dict does not contain
            the whole model, so that even the side that quantized it computes other bits from it.
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
        """Whether B cannot use the file as A can."""
        return self.outcome in (FileOutcome.DIFFERENT, FileOutcome.NOT_LOADED)


@dataclass(frozen=True)
class Sizes:
    """Bytes of the saved file and of the tensors in it, before and after."""

    file: tuple[int, int]
    tensors: tuple[int, int]

    @property
    def containers(self) -> tuple[int, int]:
        """Bytes of the file other than tensors, before and after."""
        return self.file[0] - self.tensors[0], self.file[1] - self.tensors[1]


@dataclass(frozen=True)
class CaseUpgrade:
    """One case under both versions.

    Attributes:
        level: None where it was not compared.
        causes: what the differences are attributed to.
        findings: sentences, the most important first.
        cells: the two in which a side runs what the other quantized.
        verdict: of the regression gate, with A's snapshot as the baseline.
        unavailable: why it could not be compared.
    """

    case: Case
    level: UpgradeLevel | None
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
        reasons: for the level, one sentence each.
        probes: number of interface probes.
        properties: number of property checks.
        speed: None where it was not compared.
    """

    baseline: SideRecord
    candidate: SideRecord
    level: UpgradeLevel
    reasons: tuple[str, ...]
    cases: tuple[CaseUpgrade, ...]
    probes: int
    interface: tuple[InterfaceChange, ...]
    properties: int
    invariants: tuple[InterfaceChange, ...]
    speed: SpeedRun | None
    seconds: float


class UpgradeLevel(Enum):
    """The verdict on an upgrade; only the first needs no attention."""

    SAFE = "safe: bits equal"
    DIFFERENT = "different, within noise"
    UNSAFE = "do not upgrade"

    @property
    def severity(self) -> int:
        """Higher is worse."""
        return list(UpgradeLevel).index(self)


class Cause(Enum):
    """What a numerical difference is attributed to."""

    NONE = ""
    OBSERVERS = "observers"
    CONVERT = "convert"
    FLOAT = "float kernels, before the observers"
    KERNELS = "kernels"
    SERIALIZATION = "serialization"
    FAILS = "it fails"
