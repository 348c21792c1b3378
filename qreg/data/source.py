"""A dataset that a project defines in its ``[tool.qreg]`` table."""

from __future__ import annotations

import re
from dataclasses import dataclass

from qreg.data.draw import Draw

_NAME = re.compile(r"\w[\w.:=+-]{0,119}")
Three = tuple[float, float, float]


@dataclass(frozen=True)
class DatasetSource:
    """Where samples are from, what is done to them, and how they are scored.

    Attributes:
        name: as in cases and file names.
        source: a registered name, a path, or ``package.module:object``.
        task: a registered name or ``package.module:TASK``; "" for the source's own.
        transform: of a folder of images; see `qreg.data.folder.open_folder`.
        mean, std: of a folder's images without a transform.
        calibration, samples: how the calibration samples and the gate's are drawn.

    Raises:
        ValueError: the name cannot be part of a case's name.
    """

    name: str
    source: str
    task: str = ""
    transform: str = ""
    mean: Three | None = None
    std: Three | None = None
    calibration: Draw | None = None
    samples: Draw | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"'{self.name}': a name is of letters, digits and . : = + - _")
