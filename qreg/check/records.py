"""Records of a check: request, observations, report.

Only the standard library may be imported here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from qreg.diagnosis.records import advice
from qreg.errors import QregError

_INPUT = re.compile(r"(?:(?P<name>[A-Za-z_]\w*)=)?(?P<shape>\d+(?:x\d+)*|-)(?::(?P<dtype>\w+))?")
_DTYPES = ("float32", "float16", "bfloat16", "float64", "int64", "int32", "uint8", "bool")


@dataclass(frozen=True)
class InputShape:
    """One tensor of a model's input: ``3x224x224``, ``ids=128:int64``; without the batch.

    Attributes:
        name: of the parameter of forward, "" for a positional one.
        shape: of one sample; () for a number a sample, written "-".
    """

    shape: tuple[int, ...]
    name: str = ""
    dtype: str = "float32"

    @classmethod
    def parse(cls, text: str) -> InputShape:
        """Read it as it is written on the command line.

        Raises:
            QregError: it is not written so.
        """
        found = _INPUT.fullmatch(text)
        dtype = (found["dtype"] if found else None) or "float32"
        if not found or dtype not in _DTYPES:
            raise QregError(
                f"input '{text}'",
                hint="write 3x224x224, or NAME=128:int64; without the batch; of "
                f"{', '.join(_DTYPES)}",
            )
        shape = () if found["shape"] == "-" else tuple(map(int, found["shape"].split("x")))
        return cls(shape, found["name"] or "", dtype)

    def __str__(self) -> str:
        size = "x".join(map(str, self.shape)) or "-"
        dtype = "" if self.dtype == "float32" else f":{self.dtype}"
        return f"{self.name}{'=' if self.name else ''}{size}{dtype}"


class Level(Enum):
    """How much a finding about a model weighs."""

    BROKEN = "broken"  # nothing can be measured
    WARNING = "warning"  # what is measured may not be what was meant
    NOTE = "note"  # worth knowing


@dataclass(frozen=True)
class Remark:
    """One finding about a model, or about what a method made of it, in one line."""

    check: str
    level: Level
    text: str
    advice: str = ""
    where: str = ""


class Outcome(Enum):
    """Whether a method can quantize a model."""

    WORKS = "works"
    BLOCKED = "blocked"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True)
class Attempt:
    """One method tried on a model.

    Attributes:
        where, operator, reason: of what blocked it; see `qreg.diagnosis.records`.
        remedy: what to change in the model, "" where nothing is known.
        instead: methods to use instead.
        known: whether those were found to work for this model.
        weight_bytes: of all weights, after it.
        float_bytes: of those weights that stayed float.
        seconds: it took.
        traceback: of what blocked it.
    """

    method: str
    outcome: Outcome
    where: str = ""
    operator: str = ""
    reason: str = ""
    remedy: str = ""
    instead: tuple[str, ...] = ()
    known: bool = False
    remarks: tuple[Remark, ...] = ()
    weight_bytes: int = 0
    float_bytes: int = 0
    seconds: float = 0.0
    traceback: str = ""

    def __post_init__(self) -> None:
        if (self.outcome is Outcome.WORKS) == bool(self.reason):
            raise ValueError(f"{self.method}: {self.outcome.value} with reason '{self.reason}'")

    @property
    def advice(self) -> str:
        """What to do, in one line."""
        return advice(self.remedy, self.instead, known=self.known)


@dataclass(frozen=True)
class Observed:
    """What was observed of the float model, on a few inputs; the rule reads its contract from it.

    Attributes:
        quantized: modules that are quantized already.
        outputs: values of a sample's output; 0 where it is not one tensor (N, outputs).
        classes: of the dataset; 0 where there is none.
        alone: why a batch of one fails, "" if it runs.
        random: the first layer whose output differs when the same batch is run again; None if
            there is none.
        not_finite: the first layer with NaN or infinity; None if there is none.
        neighbours: the largest change of a sample's output, relative to the largest output, when
            it is run in another batch.
        constant: whether all samples have the same output.
        correct, total, chance: of the samples with labels; what always naming the most frequent
            class gets right.
        repeated: layers that run more than once, and how often.
        fx, export: why torch.fx cannot trace it or torch.export not export it, "" if it can.
    """

    quantized: tuple[str, ...] = ()
    outputs: int = 0
    classes: int = 0
    alone: str = ""
    random: str | None = None
    not_finite: str | None = None
    neighbours: float = 0.0
    constant: bool = False
    correct: int = 0
    total: int = 0
    chance: int = 0
    repeated: tuple[tuple[str, int], ...] = ()
    fx: str = ""
    export: str = ""


@dataclass(frozen=True)
class CheckReport:
    """All of it.

    Attributes:
        data: what the model was run on.
    """

    model: str
    engine: str
    data: str
    contract: tuple[Remark, ...]
    attempts: tuple[Attempt, ...]

    @property
    def broken(self) -> bool:
        """Whether the model does not keep the contract."""
        return any(remark.level is Level.BROKEN for remark in self.contract)

    @property
    def working(self) -> tuple[str, ...]:
        """The methods that quantize it."""
        return tuple(a.method for a in self.attempts if a.outcome is Outcome.WORKS)

    @property
    def status(self) -> int:
        """Exit status: 0, all methods work; 1, some do not; 2, the contract is broken."""
        if self.broken:
            return 2
        return int(len(self.working) < len(self.attempts))
