"""Records of a check: request, observations, report.

Only the standard library may be imported here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from qreg.diagnosis.records import advice
from qreg.errors import QregError

_NUMBER = r"-?\d+(?:\.\d+)?"
_INPUT = re.compile(
    r"(?:(?P<name>[A-Za-z_]\w*)=)?(?P<shape>\d+(?:x\d+)*|-)(?::(?P<dtype>[a-z]\w*))?"
    rf"(?::(?P<low>{_NUMBER})(?:\.\.|-)(?P<high>{_NUMBER}))?"
)
_FLOATS = ("float32", "float16", "bfloat16", "float64")
_INTEGERS = {"int64": (-(2**63), 2**63 - 1), "int32": (-(2**31), 2**31 - 1), "uint8": (0, 255)}
_DTYPES = (*_FLOATS, *_INTEGERS, "bool")


@dataclass(frozen=True)
class InputShape:
    """One tensor of a model's input: ``3x224x224``, ``ids=128:int64:0..30000``; without the batch.

    Attributes:
        name: of the parameter of forward, "" for a positional one.
        shape: of one sample; () for a number a sample, written "-".
        low, high: the smallest and the largest value; None for the dtype's own rule: normal
            floats, integers from 0 to 9, true.
    """

    shape: tuple[int, ...]
    name: str = ""
    dtype: str = "float32"
    low: float | None = None
    high: float | None = None

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
                hint="write 3x224x224, NAME=128:int64 or 128:int64:0..30000; without the batch; "
                f"of {', '.join(_DTYPES)}",
            )
        shape = () if found["shape"] == "-" else tuple(map(int, found["shape"].split("x")))
        return cls(shape, found["name"] or "", dtype, *_range(text, dtype, found))

    def __str__(self) -> str:
        size = "x".join(map(str, self.shape)) or "-"
        dtype = "" if self.dtype == "float32" else f":{self.dtype}"
        values = "" if self.low is None else f":{self.low:g}..{self.high:g}"
        if self.dtype in _INTEGERS and self.low is not None:
            values = f":{self.low}..{self.high}"
        return f"{self.name}{'=' if self.name else ''}{size}{dtype}{values}"


def _range(text: str, dtype: str, match: re.Match[str]) -> tuple[float | None, float | None]:
    if match["low"] is None:
        return None, None
    hint = f"integers of {dtype}, the smaller first" if dtype in _INTEGERS else "the smaller first"
    if dtype == "bool":
        raise QregError(f"input '{text}': a range of {dtype}", hint="bools are all true")
    try:
        number = int if dtype in _INTEGERS else float
        low, high = number(match["low"]), number(match["high"])
    except ValueError as error:
        raise QregError(f"input '{text}': {error}", hint=hint) from error
    least, most = _INTEGERS.get(dtype, (low, high))
    if not least <= low <= high <= most:
        raise QregError(f"input '{text}': values from {low} to {high}", hint=hint)
    return low, high


class RemarkLevel(Enum):
    """How much a finding about a model weighs."""

    BROKEN = "broken"  # nothing can be measured
    WARNING = "warning"  # what is measured may not be what was meant
    NOTE = "note"  # worth knowing


@dataclass(frozen=True)
class Remark:
    """One finding about a model, or about what a method made of it, in one line."""

    check: str
    level: RemarkLevel
    text: str
    advice: str = ""
    where: str = ""


class AttemptOutcome(Enum):
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
    outcome: AttemptOutcome
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
        if (self.outcome is AttemptOutcome.WORKS) == bool(self.reason):
            raise ValueError(f"{self.method}: {self.outcome.value} with reason '{self.reason}'")

    @property
    def advice(self) -> str:
        """What to do, in one line."""
        return advice(self.remedy, self.instead, known=self.known)


@dataclass(frozen=True)
class ObservedModel:
    """What was observed of the float model, on a few inputs; the rule reads its contract from it.

    Attributes:
        quantized: modules that are quantized already.
        outputs: values of a sample's output; 0 where it is not one tensor (N, outputs).
        classes: of the dataset; 0 where there is none.
        shape: of the output, where its first dimension is not the samples; () where it is.
        samples: of the batch that it is of.
        alone: why a batch of one fails, "" if it runs.
        random: the first layer whose output differs when the same batch is run again; None if
            there is none.
        written: buffers that running the model changes.
        not_finite: the first layer with NaN or infinity; None if there is none.
        neighbours: the largest change of a sample's output, relative to the largest output, when
            it is run in another batch.
        constant: whether all samples have the same output.
        correct, total, chance: of the samples with labels; what always naming the most frequent
            class gets right.
        repeated: layers that run more than once, and how often.
        task: that scores the outputs; "" where there are no targets.
        misfit: why it cannot, "" if it can.
        remedy: what to do about it; "" where another task is to be named.
        fitting: the tasks that can, where it cannot.
        computed: whether the samples are floats that the dataset computes, without a digest.
        fx, export: why torch.fx cannot trace it or torch.export not export it, "" if it can.
    """

    quantized: tuple[str, ...] = ()
    outputs: int = 0
    classes: int = 0
    shape: tuple[int, ...] = ()
    samples: int = 0
    alone: str = ""
    random: str | None = None
    written: tuple[str, ...] = ()
    not_finite: str | None = None
    neighbours: float = 0.0
    constant: bool = False
    correct: int = 0
    total: int = 0
    chance: int = 0
    repeated: tuple[tuple[str, int], ...] = ()
    task: str = ""
    misfit: str = ""
    remedy: str = ""
    fitting: tuple[str, ...] = ()
    fx: str = ""
    export: str = ""
    computed: bool = False


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
        return any(remark.level is RemarkLevel.BROKEN for remark in self.contract)

    @property
    def working(self) -> tuple[str, ...]:
        """The methods that quantize it."""
        return tuple(a.method for a in self.attempts if a.outcome is AttemptOutcome.WORKS)

    @property
    def status(self) -> int:
        """Exit status: 0, all methods work; 1, some do not; 2, the contract is broken."""
        if self.broken:
            return 2
        return int(len(self.working) < len(self.attempts))
