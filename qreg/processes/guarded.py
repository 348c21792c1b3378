"""Running a whole command in its own process, to survive code that ends the process."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

from qreg.processes.child import end_with_parent
from qreg.processes.running import status_text
from qreg.processes.stopping import BY_SIGNAL, INTERRUPTED, stoppable

_FORWARDED = ("SIGINT", "SIGTERM", "SIGHUP")
# Time to end children and remove temporary files; then once more; then it is killed.
_PATIENCE_S = 5.0


def guarded(work: Callable[[], int], *, lost: Callable[[str], int]) -> int:
    """The status that `work` returns in a fork, or the result of `lost` if the fork dies.

    ``os._exit(0)`` in a model, or a crash, is otherwise indistinguishable from having done the
    work. A signal is passed on, and the fork killed where it does not end for it or a second one
    comes; it ends with this process, however that ends. The status after a signal is 128 plus its
    number, unless the work was done all the same.
    """
    if sys.platform != "linux":
        return work()
    numbers = {getattr(signal, name) for name in _FORWARDED}
    numbers = {one for one in numbers if signal.getsignal(one) is not signal.SIG_IGN}
    read, write = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)  # until both sides handle them
    parent, child = os.getpid(), os.fork()
    if child == 0:
        _work(work, parent, write, numbers)
    os.close(write)
    stopping = _Stopping(child)
    before = [(one, signal.signal(one, stopping.stop)) for one in (*numbers, signal.SIGALRM)]
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
    try:
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        said = os.read(read, 1)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        os.close(read)
        for number, handler in before:
            signal.signal(number, handler)
    if stopping.number and (not said or said[0] == INTERRUPTED):
        _clean_up(after=status)
        return BY_SIGNAL + stopping.number
    if said:
        return said[0]
    if -status in numbers:
        return BY_SIGNAL - status
    return lost(status_text(status) if status else "exited 0 without a result")


class _Stopping:
    """Passes a signal on, and insists."""

    def __init__(self, child: int) -> None:
        self.child, self.number, self._times = child, 0, 0

    def stop(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self.number = self.number or number
        self._times += 1
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self._times > 2 or (self._times == 2 and number != signal.SIGALRM):
                os.killpg(self.child, signal.SIGKILL)
            os.kill(self.child, self.number)
        signal.setitimer(signal.ITIMER_REAL, _PATIENCE_S)


def _clean_up(*, after: int) -> None:
    """Remove what a killed process could not."""
    if after < 0:
        from qreg.processes.temporary import remove_leftovers

        remove_leftovers()


def _work(work: Callable[[], int], parent: int, write: int, numbers: set[int]) -> None:
    status = 1
    try:
        os.setpgid(0, 0)  # a terminal's Ctrl-C comes once, from the parent
        end_with_parent()
        if os.getppid() != parent:
            os._exit(1)
        try:
            status = _stoppably(work, numbers)
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else int(error.code is not None)
        sys.stdout.flush()
        sys.stderr.flush()
        os.write(write, bytes([status & 0xFF]))
    except KeyboardInterrupt:
        status = INTERRUPTED
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _stoppably(work: Callable[[], int], numbers: set[int]) -> int:
    with stoppable():
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
        try:
            return work()
        finally:
            signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
