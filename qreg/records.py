"""The records that travel: frozen, of tuples, checked when made.

Only the standard library and `qreg.observations` may be imported here.
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass

from qreg.observations import Accuracy, Agreement, Latency, Size

#: They use no quantized kernel: one engine says it all.
FLOAT_METHODS = ("fp32", "fp32-finetuned")


@dataclass(frozen=True, order=True)
class Case:
    """The unit that is measured, stored and judged."""

    dataset: str
    model: str
    method: str
    engine: str

    def __str__(self) -> str:
        return f"{self.dataset}/{self.model}/{self.method}@{self.engine}"


@dataclass(frozen=True)
class Environment:
    """What can change numbers.

    Attributes:
        cpu_capability: the vector instructions PyTorch's eager kernels use.
        vnni: whether the CPU adds int8 products without saturating in between.
        limits: environment variables, ``NAME=value``, that keep kernels off instructions.
    """

    torch: str
    torchvision: str
    torchao: str
    python: str
    numpy: str
    system: str
    arch: str
    cpu: str
    cpu_capability: str
    vnni: bool
    threads: int
    limits: tuple[str, ...] = ()


@dataclass(frozen=True)
class Measurement:
    """Everything observed of one case in one environment.

    Attributes:
        checkpoint: sha256 of the weights' file, "" where the factory brought them.
        calibration: canonical training indices whose ranges were observed.
        data_fingerprint: sha256 over index, labels and pixels of the test images.
        warnings: distinct texts emitted while the model was made and run.
    """

    case: Case
    environment: Environment
    checkpoint: str
    calibration: tuple[int, ...]
    data_fingerprint: str
    accuracy: Accuracy
    agreements: tuple[Agreement, ...]
    size: Size
    latencies: tuple[Latency, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Failure:
    """A case that could not be measured.

    Attributes:
        unavailable: the machine lacks something; otherwise code raised.
        details: the traceback, where code raised.
    """

    case: Case
    reason: str
    hint: str
    unavailable: bool
    details: str = ""

    @classmethod
    def raised(cls, case: Case, error: Exception) -> Failure:
        """The failure of a case whose code raised, with its traceback."""
        reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        details = "".join(traceback.format_exception(error))
        return cls(case, reason, "", unavailable=False, details=details)


@dataclass(frozen=True)
class LayerSaturation:
    """How often sums of two int8 products overflow 16 bits in one layer, without VNNI.

    Attributes:
        halved: False for the activations' codes as they are, True with half as many steps, as
            ``reduce_range`` would give them.
        pairs: how many sums of two products were formed.
        overflows: how many of them overflow.
        outputs: how many outputs were computed.
        outputs_hit: how many of them have an overflow in their sum.
        codes: how many activations there were.
        codes_above_127: how many of them have a code that needs the eighth bit.
    """

    layer: str
    halved: bool
    pairs: int = 0
    overflows: int = 0
    outputs: int = 0
    outputs_hit: int = 0
    codes: int = 0
    codes_above_127: int = 0

    def __post_init__(self) -> None:
        parts = (self.overflows, self.outputs_hit, self.codes_above_127)
        wholes = (self.pairs, self.outputs, self.codes)
        if not all(0 <= part <= whole for part, whole in zip(parts, wholes, strict=True)):
            raise ValueError(f"counts of {self.layer} contradict each other: {self}")

    def __add__(self, other: LayerSaturation) -> LayerSaturation:
        """Both counts together, of one layer on more images."""
        if (self.layer, self.halved) != (other.layer, other.halved):
            raise ValueError(f"{self.layer} and {other.layer} are not counts of one thing")
        return LayerSaturation(
            layer=self.layer,
            halved=self.halved,
            pairs=self.pairs + other.pairs,
            overflows=self.overflows + other.overflows,
            outputs=self.outputs + other.outputs,
            outputs_hit=self.outputs_hit + other.outputs_hit,
            codes=self.codes + other.codes,
            codes_above_127=self.codes_above_127 + other.codes_above_127,
        )
