"""Running a whole command in its own process, to survive code that ends the process."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable

from qreg.processes.child import end_with_parent
from qreg.processes.running import status_text

_FORWARDED = ("SIGINT", "SIGTERM", "SIGHUP")
#: What a shell says of a command that was ended by a signal, plus its number.
_BY_SIGNAL = 128


def guarded(work: Callable[[], int], *, lost: Callable[[str], int]) -> int:
    """The status that `work` returns in a fork, or the result of `lost` if the fork dies.

    ``os._exit(0)`` in a model, or a crash, is otherwise indistinguishable from having done the
    work. Signals are passed on once; the fork ends with this process, however that ends.
    """
    if sys.platform != "linux":
        return work()
    read, write = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    parent, child = os.getpid(), os.fork()
    if child == 0:
        _work(work, parent, write)
    os.close(write)
    numbers = [getattr(signal, name) for name in _FORWARDED]
    numbers = [one for one in numbers if signal.getsignal(one) is not signal.SIG_IGN]
    before = [signal.signal(one, lambda n, _: _send(child, n)) for one in numbers]
    try:
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        said = os.read(read, 1)
    finally:
        os.close(read)
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
    if said:
        return said[0]
    if -status in numbers:
        return _BY_SIGNAL - status
    return lost(status_text(status) if status else "exited 0 without a result")


def _work(work: Callable[[], int], parent: int, write: int) -> None:
    status = 1
    try:
        os.setpgid(0, 0)  # a terminal's Ctrl-C comes once, from the parent
        end_with_parent()
        if os.getppid() != parent:
            os._exit(1)
        try:
            status = work()
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else int(error.code is not None)
        sys.stdout.flush()
        sys.stderr.flush()
        os.write(write, bytes([status & 0xFF]))
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _send(child: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, number)
