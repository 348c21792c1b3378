"""Ctrl-C, SIGTERM and SIGHUP: one exception, raised where it leaves nothing half done."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

#: The status of a command that says itself that it was interrupted.
INTERRUPTED = 130
#: What a shell says of a command that was ended by a signal, plus its number.
BY_SIGNAL = 128
_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
#: Until imports are done, and what must not be cut in two.
_RETRY_S = 0.02
# An import that hangs may be interrupted all the same.
_PATIENCE_S = 5.0
_IMPORTING = "<frozen importlib._bootstrap>"


class Stopped(KeyboardInterrupt):
    """The program was asked to end; `number` is the signal's."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class _Asked:
    """What this process was asked, and whether it may be stopped here."""

    number, since, holding = 0, 0.0, 0


_asked = _Asked()


def asked_to_stop() -> int:
    """The number of the signal that asked this process to end; 0 where none did."""
    return _asked.number


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Let SIGINT, SIGTERM and SIGHUP raise `Stopped` in this context, in the main thread.

    Not while a module is imported, which would leave half of it; and again where an exception
    cannot be raised, in a destructor for example, whose text on standard error is left out.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)]
    numbers = [one for one in numbers if signal.getsignal(one) is not signal.SIG_IGN]
    before = [(one, signal.signal(one, _stop)) for one in numbers]
    hook, sys.unraisablehook = sys.unraisablehook, _unraisable
    _asked.number = _asked.holding = 0
    try:
        yield
    finally:
        sys.unraisablehook = hook
        for number, handler in before:
            signal.signal(number, handler)


@contextlib.contextmanager
def whole() -> Iterator[None]:
    """What is done in this context is not cut in two: the program stops after it."""
    _asked.holding += 1
    try:
        yield
    finally:
        _asked.holding -= 1
    if _asked.number and not _asked.holding and _is_handled():
        raise Stopped(_asked.number)


def stop_by_default() -> None:
    """Let signals end this process, a fork, as they would any other."""
    for name in _SIGNALS[1:]:
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _asked.number = _asked.holding = 0


def _is_handled() -> bool:
    return signal.getsignal(signal.SIGINT) is _stop or signal.getsignal(signal.SIGTERM) is _stop


def _stop(number: int, frame: FrameType | None) -> None:
    if not _asked.number:
        _asked.number, _asked.since = number, time.monotonic()
    if _asked.holding:
        return  # raised at its end
    if _imports(frame) and time.monotonic() < _asked.since + _PATIENCE_S:
        _again()
        return
    raise Stopped(_asked.number)


def _imports(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == _IMPORTING:
            return True
        frame = frame.f_back
    return False


def _again() -> None:
    signal.signal(signal.SIGALRM, _stop)
    signal.setitimer(signal.ITIMER_REAL, _RETRY_S)


def _unraisable(unraisable: Any) -> None:
    if issubclass(unraisable.exc_type, KeyboardInterrupt):
        _again()
    else:
        sys.__unraisablehook__(unraisable)
