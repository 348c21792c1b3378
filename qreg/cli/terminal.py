"""The terminal: tables, progress, signals, and files that were asked for."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
    from qreg.files import is_stream, write_output

    sys.stdout.flush()
    write_output(path, content)
    if not is_stream(path):
        print(f"wrote {os.fspath(path)}")


@contextmanager
def progress_bar() -> Iterator[Callable[[int, int, str], None]]:
    """Yield a function (done, total, what) that moves one bar."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("starting", total=None)

        def show(done: int, total: int, what: str) -> None:
            bar.update(task, completed=done, total=total, description=what)

        yield show


@contextmanager
def stop_when_terminated() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise KeyboardInterrupt meanwhile."""
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, signal.default_int_handler) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
