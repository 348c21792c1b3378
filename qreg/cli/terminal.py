"""The terminal: text, tables, progress bars, and output files.

All that a command prints goes through here, where text that is not our own is made harmless.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qreg.report.escape import visible

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment
    from rich.text import Text

# Width without a terminal: wide enough for all columns of every table.
_WIDTH = 118
# Without a terminal, progress is a line after so long: short commands print none.
_LINE_S = 30.0


def console(*, width: int = _WIDTH) -> Console:
    """A console as wide as the terminal, or `width` columns without one."""
    terminal = _console()
    return terminal if terminal.is_terminal else _console(width=width)


def _console(**settings: Any) -> Console:
    """A console that prints text as it is: no markup, no emoji, no control characters."""
    from rich.console import Console
    from rich.segment import Segment

    class Plain(Console):
        def render_str(self, text: str, **how: Any) -> Text:
            # before it is measured, so that columns fit
            return super().render_str(visible(text), **how)

        def render(
            self, renderable: RenderableType, options: ConsoleOptions | None = None
        ) -> Iterator[Segment]:
            for one in super().render(renderable, options):
                harmless = one.control or one.text.isprintable() or one.text == "\n"
                yield one if harmless else Segment(visible(one.text), one.style)

    return Plain(markup=False, emoji=False, **settings)


def say(*lines: str, error: bool = False) -> None:
    """Print lines, on standard error for what went wrong or stands back."""
    stream = sys.stderr if error else sys.stdout
    for line in lines:
        print(visible(line), file=stream)


def write_file(path: Path, content: bytes) -> None:
    """Write a file atomically, and report it."""
    from qreg.files import is_stream, write_output

    sys.stdout.flush()
    write_output(path, content)
    if not is_stream(path):
        say(f"wrote {os.fspath(path)}")


@contextmanager
def progress_bar() -> Iterator[Callable[[int, int, str], None]]:
    """Show a progress bar; yields a function (done, total, what) that updates it.

    Where standard error is no terminal, what was done is a line there, every half minute at most.
    """
    console = _console(stderr=True)
    if not console.is_terminal:
        yield _progress_lines()
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting", total=None)

        def show(done: int, total: int, what: str) -> None:
            bar.update(task, completed=done, total=total, description=what)

        yield show


def _progress_lines() -> Callable[[int, int, str], None]:
    start = last = time.monotonic()

    def show(done: int, total: int, what: str) -> None:
        nonlocal last
        if (now := time.monotonic()) >= last + _LINE_S:
            last = now
            say(f"{what}: {done:,} of {total:,}, after {now - start:.0f} s", error=True)

    return show
