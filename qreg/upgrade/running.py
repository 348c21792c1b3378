"""Running tasks on both sides concurrently, each in a process of its interpreter."""

from __future__ import annotations

import json
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
from qreg.records.case import Case
from qreg.records.decode import MismatchError
from qreg.speed.records import SpeedRun
from qreg.upgrade import child

_CHILD = Path(child.__file__).resolve()
_POLL_S = 0.05
# Bytes of what a side says of its environment.
_MOST = 1 << 20
# A side's time limit, as a multiple of that of one piece of work.
_SIDE = 20
_OPTIONS = ("--from", "--to")
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
def started_sides(
    request: UpgradeRequest, sides: Sequence[Side], folder: Path
) -> Iterator[RunningSides]:
    """Start a process of each side's interpreter, which does one task after the other.

    Importing PyTorch and what it exports with takes longer than most cases.

    Args:
        folder: where tasks are given.

    Raises:
        QregError: a side cannot be started.
    """
    with ExitStack() as stack:
        processes = []
        for option, side in zip(_OPTIONS, sides, strict=True):
            own = folder / option
            own.mkdir()
            processes.append(stack.enter_context(_start(option, side, _job(request, own))))
        yield RunningSides(request, tuple(processes))


@dataclass
class RunningSides:
    """A process of each side, waiting for tasks; `given` counts those that it was given."""

    request: UpgradeRequest
    processes: tuple[_Process, ...]
    given: int = 0

    def run(
        self,
        task: str,
        cases: Sequence[dict[str, Any]],
        folders: Sequence[Path],
        *,
        interface: bool = False,
    ) -> None:
        """Do a task on both sides concurrently.

        Args:
            cases: their names and numbers, and other data that the task needs for each.
            folders: for the files of each side.
            interface: of "make": ask what the side offers, too.

        Raises:
            QregError: a side lacks PyTorch, or does not finish.
        """
        number, self.given = self.given, self.given + 1
        first, second = map(str, folders)
        shared = {"task": task, "cases": list(cases), "first": first, "second": second}
        for one, folder in zip(self.processes, folders, strict=True):
            folder.mkdir(exist_ok=True)
            one.give(number, {**shared, "folder": str(folder), "interface": interface})
        limit = time.monotonic() + _SIDE * self.request.timeout
        show = self.request.options.progress
        # both are asked each time: one that fails ends the run, whichever it is
        while not all([one.has_done(number) for one in self.processes]):  # noqa: C419
            if time.monotonic() > limit:
                raise self._late(number)
            done = sum(1 for files in folders for _ in files.glob(f"*.{task}.json"))
            show(done, len(folders) * len(cases), _TASKS[task])
            time.sleep(_POLL_S)

    def _late(self, number: int) -> QregError:
        late = next(one for one in self.processes if not one.has_done(number))
        how = f"gave no result in {_SIDE * self.request.timeout} s ({late.child.stage})"
        return _lost(late.option, late.side, LostError(how, stage=late.child.stage))

    def environments(self, folders: Sequence[Path]) -> tuple[dict[str, Any], ...]:
        """What each side runs in, as it wrote with its results of "make".

        Raises:
            QregError: a side wrote something else.
        """
        both = zip(self.processes, folders, strict=True)
        return tuple(one.environment(folder) for one, folder in both)


@dataclass(frozen=True)
class _Process:
    option: str
    side: Side
    child: Running
    folder: Path

    def give(self, number: int, task: dict[str, Any]) -> None:
        # it polls for the file
        write_atomically(self.folder / f"{number}.task", json.dumps(task).encode())

    def has_done(self, number: int) -> bool:
        """Whether it has; a failure is raised at once, without waiting for the other side."""
        if (self.folder / f"{number}.done").exists():
            return True
        if not self.child.done:
            return False
        try:
            self.child.result(timeout=0.1)
        except LostError as error:
            raise _lost(self.option, self.side, error) from error
        raise _lost(self.option, self.side, LostError("ended before its task", stage="ended"))

    def environment(self, folder: Path) -> dict[str, Any]:
        try:
            found = json.loads(read_regular(folder / "environment.json", most=_MOST))
            read_environment(found)
        except (OSError, ValueError, RecursionError, MismatchError) as error:
            said = LostError(f"wrote no environment that can be read: {error}", stage="reading")
            raise _lost(self.option, self.side, said) from error
        content: dict[str, Any] = found
        return content


@contextmanager
def _start(option: str, side: Side, job: dict[str, Any]) -> Iterator[_Process]:
    with ExitStack() as stack:
        try:
            child = stack.enter_context(started(side, _CHILD, job, threads=1))
        except LostError as error:
            raise _lost(option, side, error) from error
        yield _Process(option, side, child, Path(job["tasks"]))


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
