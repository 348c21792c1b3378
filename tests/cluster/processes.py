"""The processes here that were started by something, wherever they are now."""

from __future__ import annotations

from pathlib import Path


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
