"""The source of a model's weights: frozen records, checked on construction.

Only the standard library may be imported here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

_SHA256 = re.compile(r"[0-9a-f]{64}|")
_SHOWN = 16


class WeightsSource(Enum):
    """Where weights come from."""

    RANDOM = "random"
    FACTORY = "factory"
    FILE = "file"
    CHECKPOINT = "checkpoint"


@dataclass(frozen=True)
class Weights:
    """The source and identity of weights.

    Attributes:
        sha256: of the file, or of the state dict's tensors where there is no file
            (`qreg.models.weights.state_digest`); "" in a baseline of qreg 0.1 that lacks it.
    """

    source: WeightsSource
    sha256: str

    def __post_init__(self) -> None:
        if not _SHA256.fullmatch(self.sha256):
            raise ValueError(f"'{self.sha256}' is no sha256")

    def __str__(self) -> str:
        """``factory, sha256 0123456789abcdef``."""
        known = self.sha256[:_SHOWN]
        return f"{self.source.value}, sha256 {known}" if known else "factory, sha256 not recorded"

    @property
    def text(self) -> str:
        """The form in baseline files: a checkpoint's sha256, or ``factory:<sha256>`` for others.

        Factories' weights had no digest in qreg 0.1: "".
        """
        if self.source is WeightsSource.CHECKPOINT or not self.sha256:
            return self.sha256
        return f"{self.source.value}:{self.sha256}"

    def same(self, other: Weights) -> bool:
        """Whether both are the same weights, as far as recorded."""
        if self.sha256 and other.sha256:
            return self.sha256 == other.sha256
        return WeightsSource.CHECKPOINT not in (self.source, other.source)


def parse_weights(text: str) -> Weights:
    """The weights of a baseline file's text; see `Weights.text`.

    Raises:
        ValueError: it is no such text.
    """
    if not text:
        return Weights(WeightsSource.FACTORY, "")
    source, colon, sha256 = text.rpartition(":")
    if not sha256:
        raise ValueError(f"'{text}' is no sha256")
    return Weights(WeightsSource(source) if colon else WeightsSource.CHECKPOINT, sha256)
