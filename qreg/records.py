"""The records that travel: frozen, of tuples, checked when made.

Only the standard library and `qreg.observations` may be imported here.
"""

from __future__ import annotations

from dataclasses import dataclass

from qreg.observations import Accuracy, Agreement, Latency, Size


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
