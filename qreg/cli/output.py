"""Standard output, for a terminal or a file."""

from __future__ import annotations

from rich.console import Console

# Where no terminal says how wide it is, a table of every column fits without being cut.
_WIDTH = 118


def console(*, width: int = _WIDTH) -> Console:
    """A console as wide as the terminal, or `width` columns where there is none."""
    found = Console()
    return found if found.is_terminal else Console(width=width)
