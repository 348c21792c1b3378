"""What long commands show of their progress."""

from __future__ import annotations

import pytest

from qreg.cli import terminal


def test_without_a_terminal_progress_is_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with terminal.progress_bar() as show:
        show(1, 3, "quick")
        monkeypatch.setattr(terminal, "_LINE_S", 0.0)
        show(2, 3, "injecting faults")
        monkeypatch.setattr(terminal, "_LINE_S", 30.0)
        show(3, 3, "injecting faults")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "injecting faults: 2 of 3, after 0 s\n"


def test_on_a_terminal_progress_is_a_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    with terminal.progress_bar() as show:
        show(2, 3, "test samples")
    assert "2/3" in capsys.readouterr().err
