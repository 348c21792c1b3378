"""The JSON of a baseline file, as dataclasses: their fields are its keys.

Described in docs/reference/baselines.md.

A field with its default value is omitted from the JSON.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

from qreg.records.baseline import Approval
from qreg.records.case import Case, Environment
from qreg.records.decode import Signed
from qreg.records.measurement import Role
from qreg.records.model_file import ModelFile

#: 1: `File` as below without promises, its arrays in safetensors files.
#: 2: promises.
#: 3: scores, draws, outputs of which a part is kept, samples without labels.
FORMAT = 3
#: Ranges of calibration samples that are still readable in the JSON.
MOST_RANGES = 16
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class CorrectEntry:
    """Accuracy, as counts of samples."""

    correct: int
    total: int


@dataclass(frozen=True)
class LogitsEntry:
    """What the logits in the sidecar must be, or what is kept of other outputs.

    Attributes:
        elements: as in `qreg.records.numerics.Logits`.
    """

    digest: str
    count: int
    classes: int
    elements: int = 0


@dataclass(frozen=True)
class WeightEntry:
    """A weight's quantization; its scales and zero points are in the sidecar."""

    qscheme: str
    dtype: str


@dataclass(frozen=True)
class OutputEntry:
    """An output's quantization."""

    qscheme: str
    dtype: str
    scales: tuple[float, ...]
    zero_points: tuple[Signed, ...]


@dataclass(frozen=True)
class LayerEntry:
    """A `qreg.records.numerics.Layer`."""

    name: str
    kind: str
    output_digest: str
    weight: WeightEntry | None = None
    weight_digest: str = ""
    bias_digest: str = ""
    output: OutputEntry | None = None
    sqnr_db: float | None = None


@dataclass(frozen=True)
class TensorsEntry:
    """A layer's stored tensors, each as [role, dtype, elements, bytes]."""

    layer: str
    stored: tuple[tuple[Role, str, int, int], ...]


@dataclass(frozen=True)
class SizeEntry:
    """A `qreg.records.measurement.Size`, its tensors by layer."""

    file_bytes: int
    weight_bytes: int
    tensors: tuple[TensorsEntry, ...]
    float_layers: tuple[str, ...]


@dataclass(frozen=True)
class Sidecar:
    """A file among the dataset's sidecars, named by its content."""

    file: str
    sha256: str

    def __post_init__(self) -> None:
        # this also keeps it inside its folder
        if not _SHA256.fullmatch(self.sha256) or self.file != sidecar_name(self.sha256):
            raise ValueError(f"file '{self.file}' is not named by sha256 '{self.sha256}'")


def sidecar_name(sha256: str) -> str:
    """The name of the sidecar with this content."""
    return f"{sha256[:32]}.safetensors"


@dataclass(frozen=True)
class Sidecars:
    """The sidecars of an entry."""

    arrays: Sidecar
    images: Sidecar


@dataclass(frozen=True)
class ScoreEntry:
    """A `qreg.records.score.Score`; its values, rows and predictions are in the sidecar."""

    task: str
    name: str
    higher_is_better: bool
    binary: bool
    summary: str
    unit: str
    value: float
    span: float | None = None


@dataclass(frozen=True)
class StoredBaseline:
    """The baseline of one environment.

    Attributes:
        sha256: of the entry without this field, and its case; it detects manual changes.
        calibration: ranges of canonical indices, [start, stop); of more than `MOST_RANGES` none
            are here, and the indices are in the sidecar.
    """

    environment: Environment
    history: tuple[Approval, ...]
    checkpoint: str
    calibration: tuple[tuple[int, int], ...]
    accuracy: CorrectEntry
    size: SizeEntry
    logits: LogitsEntry
    single: str
    reloaded: str
    reference: str
    operators: dict[str, int]
    layers: tuple[LayerEntry, ...]
    warnings: tuple[str, ...]
    sidecars: Sidecars
    sha256: str
    score: ScoreEntry | None = None
    draw: str = ""
    file: ModelFile | None = None


@dataclass(frozen=True)
class PromiseEntry:
    """A `qreg.records.baseline.Promise`; `sha256` as in `StoredBaseline`."""

    environment: Environment
    history: tuple[Approval, ...]
    batch: int
    log_speed_ups: tuple[float, ...]
    sha256: str


@dataclass(frozen=True)
class File:
    """A baseline file: one case, an entry and a promise for each environment."""

    format: int
    case: Case
    entries: tuple[StoredBaseline, ...]
    promises: tuple[PromiseEntry, ...] = ()


def named_alike(record: Any, kind: type) -> dict[str, Any]:
    """The values of a record's fields that `kind` has too, which need no encoding.

    A field that is the same on both sides only needs to be added to the two records.
    """
    names = _names(kind)
    return {name: value for name, value in vars(record).items() if name in names}


@cache
def _names(kind: type) -> frozenset[str]:
    return frozenset(field.name for field in fields(kind))
