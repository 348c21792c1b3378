"""A progress bar behind pytest's own line: cases done, the current step, the time left."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

import pytest

from qreg.gate.pool import Status
from qreg.report.escape import visible

# Redrawn at most every so many seconds while no case ends.
_EVERY_S = 0.15
_BAR = 10
# Columns below which nothing is shown.
_LEAST = 12
_SAVE, _RESTORE, _ERASE = "\x1b7", "\x1b8", "\x1b[K"


def progress_of(config: pytest.Config, environment: Mapping[str, str] | None = None) -> Bar | None:
    """The bar of a run; None where nobody would see it: no terminal, ``-q``, CI, xdist."""
    given = os.environ if environment is None else environment
    reporter = config.pluginmanager.getplugin("terminalreporter")
    quiet = config.get_verbosity() < 0 or bool(given.get("CI")) or given.get("TERM") == "dumb"
    if reporter is None or quiet or hasattr(config, "workerinput"):
        return None
    if getattr(config.option, "numprocesses", None) or not reporter.isatty:
        return None
    return Bar(config, reporter)


class Bar:
    """Draws and erases the bar; the cursor stays where pytest left it."""

    def __init__(self, config: pytest.Config, reporter: Any) -> None:
        self._reporter = reporter
        self._capture = config.pluginmanager.getplugin("capturemanager")
        self._drawn, self._since, self._done = False, 0.0, -1

    def show(self, status: Status) -> None:
        """Draw, unless that was done just now and no case has ended since."""
        now = time.monotonic()
        if status.done == self._done and now < self._since + _EVERY_S:
            return
        self._since, self._done = now, status.done
        terminal = self._reporter._tw
        room = terminal.fullwidth - terminal.width_of_current_line - 2
        if room >= _LEAST:
            self._write(f"{_SAVE} {bar_text(status, room)}{_ERASE}{_RESTORE}")
            self._drawn = True

    def clear(self) -> None:
        """Erase it, before pytest goes on with its line."""
        if self._drawn:
            self._write(_ERASE)
            self._drawn = False

    def _write(self, text: str) -> None:
        # during a test, what is written goes to where pytest captures it
        if self._capture is None:
            self._put(text)
            return
        with self._capture.global_and_fixture_disabled():
            self._put(text)

    def _put(self, text: str) -> None:
        file = self._reporter._tw._file
        file.write(text)
        file.flush()


def bar_text(status: Status, room: int) -> str:
    """What fits in `room` columns: the count, then the time left, the bar and the step."""
    count = f"{status.done}/{status.total}"
    left = f", {_minutes(status.left)} left" if status.left is not None else ""
    filled = round(_BAR * status.done / status.total) if status.total else 0
    drawn = f"[{'#' * filled}{'-' * (_BAR - filled)}] "
    text = f"{drawn}{count}{left}"
    if len(text) > room:
        return f"{count}{left}"[:room]
    step = f" {visible(status.step)}"
    return text + step if len(text + step) <= room else (text + step)[: room - 3] + "..."


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"
