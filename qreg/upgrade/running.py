"""Running tasks on both sides concurrently, each in a process of its interpreter."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qreg.errors import QregError
from qreg.files import read_regular, write_atomically
from qreg.measure.options import ONE_THREAD, Options
from qreg.processes.jobs import LostError, read_environment
from qreg.processes.running import Running, started
from qreg.processes.sides import Side
from qreg.processes.temporary import temporary_folder
from qreg.records.case import Case
from qreg.records.decode import MismatchError
from qreg.speed.records import SpeedRun
from qreg.upgrade import child

_CHILD = Path(child.__file__).resolve()
_POLL_S, _TELL_S = 0.05, 0.5
# Bytes of what a side says of its environment.
_MOST = 1 << 20
# A side's time limit, as a multiple of that of one piece of work.
_SIDE = 20
#: Where a side is named.
SIDE_OPTIONS = ("--from", "--to")
#: Progress texts of the tasks.
_TASKS = {
    "make": "quantizing on both sides",
    "cross": "running the other side's models",
    "look": "locating the first diverging layer",
}
Speed = Callable[[str, str], SpeedRun]


@dataclass(frozen=True)
class UpgradeRequest:
    """What to compare, and how.

    Attributes:
        baseline, candidate: a PyTorch version or an interpreter.
        project: working directory of both sides.
        timeout: seconds that one piece of work may take; a side may take 20 times that.
        speed: compares the speed of two interpreters; None to skip it.
        family: number of cases that are one family of tests; 0 for these cases alone.
        interface: compare what both sides offer and hold too, whatever the cases.
    """

    cases: tuple[Case, ...]
    baseline: str
    candidate: str
    project: Path
    options: Options = ONE_THREAD
    timeout: int = 120
    speed: Speed | None = None
    family: int = 0
    interface: bool = True


@contextmanager
def started_side(option: str, request: UpgradeRequest, side: Side) -> Iterator[SideProcess]:
    """Start a process of a side's interpreter, which does one task after the other.

    Importing PyTorch and what it exports with takes longer than most cases.

    Raises:
        QregError: it cannot be started.
    """
    with temporary_folder("tasks") as folder, ExitStack() as stack:
        try:
            running = started(side, _CHILD, _job(request, folder), threads=1)
            child = stack.enter_context(running)
        except LostError as error:
            raise _lost(option, side, error) from error
        yield SideProcess(side, child, folder)


@dataclass(frozen=True)
class RunningSides:
    """The processes of two sides, waiting for tasks."""

    processes: tuple[SideProcess, ...]

    def run(
        self,
        task: str,
        cases: Sequence[dict[str, Any]],
        folders: Sequence[Path],
        request: UpgradeRequest,
    ) -> None:
        """Do a task on both sides concurrently.

        Args:
            cases: their names and numbers, and other data that the task needs for each.
            folders: for the files of each side.
            request: whether "make" asks what the side offers, too; the time limit and progress.

        Raises:
            QregError: a side lacks PyTorch, or does not finish.
        """
        first, second = map(str, folders)
        shared = {
            "task": task,
            "cases": list(cases),
            "first": first,
            "second": second,
            "comparison": f"{request.baseline} -> {request.candidate}",
        }
        for one, folder in zip(self.processes, folders, strict=True):
            folder.mkdir(exist_ok=True)
            one.give({**shared, "folder": str(folder), "interface": request.interface})
        limit = time.monotonic() + _SIDE * request.timeout
        show, told = request.options.progress, -math.inf
        # both are asked each time: one that fails ends the run, whichever it is
        named = tuple(zip(SIDE_OPTIONS, self.processes, strict=True))
        while not all([one.has_done(option) for option, one in named]):  # noqa: C419
            if (now := time.monotonic()) > limit:
                raise self._late(_SIDE * request.timeout)
            if now > told + _TELL_S:
                told = now
                done = sum(1 for files in folders for _ in files.glob(f"*.{task}.json"))
                show(done, len(folders) * len(cases), _TASKS[task])
            time.sleep(_POLL_S)

    def _late(self, seconds: int) -> QregError:
        named = zip(SIDE_OPTIONS, self.processes, strict=True)
        option, late = next(x for x in named if not x[1].has_done(x[0]))
        how = f"gave no result in {seconds} s ({late.child.stage})"
        return _lost(option, late.side, LostError(how, stage=late.child.stage))

    def environments(self, folders: Sequence[Path]) -> tuple[dict[str, Any], ...]:
        """What each side runs in, as it wrote with its results of "make".

        Raises:
            QregError: a side wrote something else.
        """
        every = zip(SIDE_OPTIONS, self.processes, folders, strict=True)
        return tuple(one.environment(option, folder) for option, one, folder in every)


@dataclass
class SideProcess:
    """A process of a side, and the folder of its tasks; `given` counts those."""

    side: Side
    child: Running
    folder: Path
    given: int = 0

    def give(self, task: dict[str, Any]) -> None:
        # it polls for the file
        write_atomically(self.folder / f"{self.given}.task", json.dumps(task).encode())
        self.given += 1

    def has_done(self, option: str) -> bool:
        """Whether it has done all; a failure is raised at once, without waiting for another."""
        if (self.folder / f"{self.given - 1}.done").exists():
            return True
        if not self.child.done:
            return False
        try:
            self.child.result(timeout=0.1)
        except LostError as error:
            raise _lost(option, self.side, error) from error
        raise _lost(option, self.side, LostError("ended before its task", stage="ended"))

    def environment(self, option: str, folder: Path) -> dict[str, Any]:
        try:
            found = json.loads(read_regular(folder / "environment.json", most=_MOST))
            read_environment(found)
        except (OSError, ValueError, RecursionError, MismatchError) as error:
            said = LostError(f"wrote no environment that can be read: {error}", stage="reading")
            raise _lost(option, self.side, said) from error
        content: dict[str, Any] = found
        return content


def _lost(option: str, side: Side, error: LostError | MismatchError) -> QregError:
    return QregError(
        f"{option} {side.name}: {error}",
        hint=f"an interpreter needs PyTorch and qreg's dependencies; tried {side.python}",
    )


def _job(request: UpgradeRequest, folder: Path) -> dict[str, Any]:
    return {
        "seconds": request.timeout,
        "tasks": str(folder),
        "options": request.options.plain(),
    }
