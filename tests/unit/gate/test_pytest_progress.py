"""The bar behind pytest's line: what it says, and where it is not shown."""

from __future__ import annotations

import io
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from qreg.gate.pool import Status
from qreg.gate.pytest_progress import Bar, bar_text, progress_of

STATUS = Status(done=5, total=13, step="shapes10/net/static@x86 300/1000", left=101.0)


@pytest.mark.parametrize(
    ("room", "text"),
    [
        (90, "[####------] 5/13, 1:41 left shapes10/net/static@x86 300/1000"),
        (40, "[####------] 5/13, 1:41 left shapes10..."),
        (20, "5/13, 1:41 left"),
        (4, "5/13"),
    ],
)
def test_what_fits_is_shown(room: int, text: str) -> None:
    assert bar_text(STATUS, room) == text
    assert len(bar_text(STATUS, room)) <= room


def test_a_step_that_is_an_escape_sequence_is_written_out() -> None:
    assert "\x1b" not in bar_text(Status(0, 2, "\x1b[2J", None), 60)
    assert bar_text(Status(0, 2, "starting", None), 60) == "[----------] 0/2 starting"


def _config(*, tty: bool = True, verbosity: int = 0, **more: Any) -> Any:
    terminal = SimpleNamespace(fullwidth=80, width_of_current_line=10, _file=io.StringIO())
    reporter = SimpleNamespace(isatty=tty, _tw=terminal)
    manager = SimpleNamespace(getplugin={"terminalreporter": reporter}.get)
    options = SimpleNamespace(numprocesses=None)
    return SimpleNamespace(
        pluginmanager=manager, get_verbosity=lambda: verbosity, option=options, **more
    )


def test_it_is_not_shown_where_nobody_looks() -> None:
    assert isinstance(progress_of(_config(), {}), Bar)
    assert progress_of(_config(tty=False), {}) is None
    assert progress_of(_config(verbosity=-1), {}) is None
    assert progress_of(_config(workerinput={}), {}) is None
    assert progress_of(_config(), {"CI": "true"}) is None
    assert progress_of(_config(), {"TERM": "dumb"}) is None


def test_it_leaves_the_cursor_and_is_erased() -> None:
    config = _config()
    bar = progress_of(config, {})
    assert bar is not None
    file = config.pluginmanager.getplugin("terminalreporter")._tw._file
    bar.clear()
    assert file.getvalue() == ""
    bar.show(STATUS)
    bar.show(STATUS)  # too soon
    assert file.getvalue().count("5/13") == 1
    assert file.getvalue().startswith("\x1b7")
    assert file.getvalue().endswith("\x1b[K\x1b8")
    bar.show(replace(STATUS, done=6))  # never too soon
    assert "6/13" in file.getvalue()
    bar.clear()
    assert file.getvalue().endswith("\x1b[K")
