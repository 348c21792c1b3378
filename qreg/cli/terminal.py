"""The terminal: tables, progress bars, signals, and output files."""

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

# Width without a terminal: wide enough for all columns of every table.
_WIDTH = 118


def console(*, width: int = _WIDTH) -> Console:
    """A console as wide as the terminal, or `width` columns without one."""
    from rich.console import Console

    terminal = Console()
    return terminal if terminal.is_terminal else Console(width=width)


def write_file(path: Path, content: bytes) -> None:
    """Write a file atomically, and report it."""
    from qreg.files import is_stream, write_output

    sys.stdout.flush()
    write_output(path, content)
    if not is_stream(path):
        print(f"wrote {os.fspath(path)}")


@contextmanager
def progress_bar() -> Iterator[Callable[[int, int, str], None]]:
    """Show a progress bar; yields a function (done, total, what) that updates it."""
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
    """Let SIGTERM and SIGHUP raise KeyboardInterrupt in this context."""
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, signal.default_int_handler) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
