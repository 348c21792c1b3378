"""The facts of a delivered model file: frozen records, checked on construction.

Only the standard library may be imported here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class ModelFile:
    """A model's file, as far as it can be told without running it.

    Attributes:
        format: "ONNX", "exported program", "TorchScript".
        sha256: of its content; of an ONNX file with external data, of that too.
        total_bytes: its size, with that of its external data.
        producer: the program that wrote it, with its version, "" where the file does not say.
        opsets: versions of the operator sets, such as ``ai.onnx 17``.
        external: names of the files with its external data.
    """

    format: str
    sha256: str
    total_bytes: int
    producer: str = ""
    opsets: tuple[str, ...] = ()
    external: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _SHA256.fullmatch(self.sha256) or self.total_bytes < 1:
            raise ValueError(f"{self.total_bytes} bytes with sha256 '{self.sha256}'")

    def __str__(self) -> str:
        """``ONNX, ai.onnx 17, sha256 0123456789abcdef``."""
        return ", ".join((self.format, *self.opsets, f"sha256 {self.sha256[:16]}"))
