"""The files that a side writes for each case."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class CaseFiles:
    """The files of one case on one side; their names are the same on both sides."""

    folder: Path
    number: int

    @property
    def stem(self) -> str:
        """Common prefix of the files' paths."""
        return str(self.folder / f"{self.number:03d}")

    def file(self, end: str) -> Path:
        """The file with this suffix."""
        return Path(f"{self.stem}.{end}")


#: Kinds of artifacts, with the suffix of the file's name.
KINDS = {"state dict": "state.pt", "TorchScript": "script.pt", "exported program": "program.pt2"}
