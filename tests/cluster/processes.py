"""Commands of this project, as typed, and the processes that were started by something."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]


def typed(
    words: Sequence[str], *, folder: Path = ROOT, variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """``python WORDS`` in a folder, run to its end, with what it said."""
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def processes_with(name: str, value: str, *, containing: str = "") -> list[int]:
    """Numbers of the processes that inherited an environment variable with this value.

    Args:
        containing: only those in whose command line this is.
    """
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            variables = (process / "environ").read_bytes().split(b"\0")
            words = (process / "cmdline").read_bytes()
            state = (process / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if f"{name}={value}".encode() in variables and containing.encode() in words:
            found += [int(process.name)] * (state != "Z")
    return found
