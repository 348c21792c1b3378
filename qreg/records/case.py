"""The records that travel: frozen, of tuples, checked when made.

Only the standard library may be imported here.
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass


def file_part(name: str) -> str:
    """What a name of a case is called in file names: ``nets.net`` for ``nets:net``."""
    return name.replace(":", ".")


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
