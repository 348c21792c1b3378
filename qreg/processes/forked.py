"""Running pieces of work in forks of a process with PyTorch imported: a crash loses one piece.

A fork and its children are killed when its parent ends in any way. A piece that exceeds its time
limit ends its fork, and the stacks of its threads are recorded.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import json
import os
import select
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn, TextIO

from qreg.processes.child import end_with_parent
from qreg.processes.memory import keep_freed_memory
from qreg.processes.running import status_text
from qreg.processes.stopping import stop_by_default, whole

#: Does a piece of work and returns JSON values.
Work = Callable[[], dict[str, Any]]
#: The file for the result, and the work.
Piece = tuple[Path, Work]
_TELL_S = 1.0
# A fork says when a result is there; for one that no longer can it is looked so often.
_LOOK_S, _OFTEN_S = 0.2, 0.01
# Grace period after which a fork that cannot end itself is killed.
_PATIENCE_S = 5.0


def _fork() -> int:
    with warnings.catch_warnings():
        # Python warns about forking with threads, which numpy starts on import
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


class Fork:
    """A fork that runs pieces of work one after the other, writing each result to its file.

    Args:
        seconds: time limit of each piece.
        output: a file for its output; None for the parent's output.
        more: in the fork, what it does after `pieces`, as it comes; see `expect`.
    """

    def __init__(
        self,
        pieces: Sequence[Piece],
        *,
        seconds: float,
        output: Path | None = None,
        more: Iterable[Piece] = (),
    ) -> None:
        self._pieces, self._more, self._seconds = tuple(pieces), more, seconds
        self._stacks = pieces[0][0].with_suffix(".stacks")
        self._done, self._since, self._ended = 0, time.monotonic(), False
        #: Has a byte for each result; None where it has been closed.
        self.told: int | None
        self.told, tell = os.pipe()
        os.set_blocking(tell, False)
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        try:
            with whole():  # what libraries do before and after a fork is not cut in two
                try:
                    self.pid = _fork()
                    if self.pid == 0:
                        self._run(parent, output, tell)
                finally:  # the fork has its own
                    os.close(tell)
        except BaseException:
            self._close()
            if hasattr(self, "pid"):
                self.end()
            raise

    @property
    def left(self) -> tuple[Piece, ...]:
        """The pieces without a result."""
        return tuple(piece for piece in self._pieces if not piece[0].exists())

    def expect(self, pieces: Sequence[Piece]) -> None:
        """Wait for these too, which `more` gives in the fork."""
        self._pieces += tuple(pieces)
        self._since = time.monotonic()

    def _run(self, parent: int, output: Path | None, tell: int) -> NoReturn:
        status = 1
        gc.freeze()  # else collecting touches, and so copies, every page of the parent's objects
        try:
            os.setsid()
            end_with_parent()
            stop_by_default()
            if os.getppid() != parent:  # it ended in between
                os._exit(1)
            if output is not None:
                file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
                os.dup2(file, 1)
                os.dup2(file, 2)
            _renew_thread_pool()
            keep_freed_memory()
            with self._stacks.open("w") as stacks:
                for path, work in chain(self._pieces, self._more):
                    _end_after(self._seconds, stacks)
                    _write(path, _attempt(work))
                    with contextlib.suppress(OSError):  # full, or closed by what the piece did
                        os.write(tell, b".")
                    signal.setitimer(signal.ITIMER_REAL, 0)
            status = 0
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)  # whatever threads are left

    def poll(self) -> bool:
        """Whether it has ended; the result of the piece that ended it then says how."""
        if self._ended:  # who asks again may have left off before it took all results
            return True
        # results come in the order of the pieces: who waits asks for the next one only
        while self._done < len(self._pieces) and self._pieces[self._done][0].exists():
            self._done, self._since = self._done + 1, time.monotonic()
        waited = time.monotonic() - self._since
        late = self._done < len(self._pieces) and waited > self._seconds + _PATIENCE_S
        # not reaped yet: its number is not given to another process before its group is gone
        ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None and not late:
            return False
        status = self.end()
        stacks = self._stacks.read_text(errors="replace") if self._stacks.exists() else ""
        self._stacks.unlink(missing_ok=True)
        if left := self.left:
            how = f"gave no result in {self._seconds:g} s" if late or stacks else _how(status)
            _write(left[0][0], {"died": how, "details": stacks})
        self._ended = True
        return True

    def wait(self) -> None:
        """Wait until it has ended; see `poll`. An interruption kills it."""
        try:
            while not self.poll():
                wait_for_result([self])
        except BaseException:
            self.end()
            raise

    def hear(self) -> None:
        """Take what it told; nothing more comes once its end has been closed."""
        if self.told is not None and not os.read(self.told, 1 << 12):
            self._close()

    def _close(self) -> None:
        if self.told is not None:
            os.close(self.told)
            self.told = None

    def end(self) -> int:
        """Kill it and its children; returns its exit status, negative for a signal."""
        self._close()
        # its group outlives it, where it started others; a fork that was just made has none yet
        for kill in (os.killpg, os.kill):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                kill(self.pid, signal.SIGKILL)
        try:
            return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        except ChildProcessError:  # it was ended before
            return 0


def wait_for_result(forks: Sequence[Fork], *also: int) -> bool:
    """Wait until one of the forks has a result or ends, or for a fraction of a second.

    Returns:
        Whether one of the files `also` can be read.
    """
    told = {one.told: one for one in forks if one.told is not None}
    seconds = _LOOK_S if len(told) == len(forks) else _OFTEN_S
    asked = select.poll()  # not `select.select`, which takes no file above the 1,023rd
    for one in (*told, *also):
        asked.register(one, select.POLLIN)
    ready = {one for one, _ in asked.poll(seconds * 1000)}
    for one in ready & told.keys():
        told[one].hear()
    return not ready.isdisjoint(also)


def _renew_thread_pool() -> None:
    """Have PyTorch replace its thread pool, which no fork inherits, while there is one thread.

    It does so where the pool is first asked for, without a lock: threads of autograd that ask for
    it at the same time end the process ("Invalid thread pool!", ParallelOpenMP.cpp).
    """
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(torch.get_num_threads())


def _end_after(seconds: float, stacks: TextIO) -> None:
    """End this process after some time, the stacks of its threads written to a file first.

    By a signal's default action: `faulthandler.dump_traceback_later` waits forever in the fork of
    a process that uses it, as pytest does with ``faulthandler_timeout``, and a fork in its own.
    """
    faulthandler.unregister(signal.SIGALRM)  # what is registered is not registered again
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    faulthandler.register(signal.SIGALRM, file=stacks, all_threads=True, chain=True)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def run_pieces(pieces: Sequence[Piece], *, seconds: float) -> None:
    """Run pieces of work one after the other in a fork, writing each result to its file.

    The result of a piece that ends its process or exceeds its time limit is
    ``{"died": how, "details": stacks}``, and the remaining ones run in another fork; that of one
    that raises is ``{"raised": what, "details": traceback}``.
    """
    left = tuple(pieces)
    while left:
        fork = Fork(left, seconds=seconds)
        fork.wait()
        left = fork.left


def run_together(
    pieces: Sequence[Piece],
    *,
    jobs: int,
    seconds: float,
    done: Callable[[Path], None] = lambda _: None,
    waiting: Callable[[Mapping[Path, float]], None] = lambda _: None,
) -> None:
    """Run each piece of work in its own fork, `jobs` of them at a time.

    Results are as in `run_pieces`. A fork's output goes to the file ``<result>.output``.

    Args:
        done: called with each result's file as it is finished.
        waiting: called each second with the files of what is running, and for how many seconds.
    """
    left, running = list(pieces), list[tuple[Path, Fork]]()
    since: dict[Path, float] = {}
    told = time.monotonic()
    try:
        while left or running:
            while left and len(running) < jobs:
                piece = left.pop(0)
                output = piece[0].with_suffix(".output")
                running.append((piece[0], Fork([piece], seconds=seconds, output=output)))
                since[piece[0]] = time.monotonic()
            for one in tuple(running):
                if one[1].poll():
                    running.remove(one)
                    done(one[0])
            if (now := time.monotonic()) >= told + _TELL_S:
                told = now
                waiting({path: now - since[path] for path, _ in running})
            wait_for_result([fork for _, fork in running])
    finally:
        for _, fork in running:
            fork.end()


def _how(status: int) -> str:
    return status_text(status) if status else "exited 0 without a result"


def _attempt(work: Work) -> dict[str, Any]:
    try:
        return work()
    except BaseException as error:  # a model may say sys.exit(): that ends its own piece only
        said = str(error).strip().partition("\n")[0]
        text = f"{type(error).__name__}{f': {said}' if said else ''}"
        return {"raised": text, "details": traceback.format_exc()}


def _write(path: Path, content: dict[str, Any]) -> None:
    # atomic: a reader may poll for the file
    half = path.with_suffix(".half")
    half.write_text(json.dumps(content), encoding="utf-8")
    os.replace(half, path)
