"""Standard output, for a terminal or a file, and files that were asked for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

# Where no terminal says how wide it is, a table of every column fits without being cut.
_WIDTH = 118


def console(*, width: int = _WIDTH) -> Console:
    """A console as wide as the terminal, or `width` columns where there is none."""
    from rich.console import Console

    found = Console()
    return found if found.is_terminal else Console(width=width)


def write_file(path: Path, content: bytes) -> None:
    """Write all of it or nothing, and say so."""
    from qreg.files import write_atomically

    write_atomically(path, content)
    print(f"wrote {os.fspath(path)}")
