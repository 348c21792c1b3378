"""Where a side leaves what it found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class CaseFiles:
    """Where a side's files of one case are; the names are the same on both sides."""

    folder: Path
    number: int

    @property
    def stem(self) -> str:
        """Beginning of the files' names."""
        return str(self.folder / f"{self.number:03d}")

    def file(self, end: str) -> Path:
        """One of them."""
        return Path(f"{self.stem}.{end}")


#: And the end of the file's name.
KINDS = {"state dict": "state.pt", "TorchScript": "script.pt", "exported program": "program.pt2"}
