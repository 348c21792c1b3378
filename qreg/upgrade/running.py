"""Running tasks on both sides concurrently, each in a process of its interpreter."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qreg.errors import QregError
from qreg.files import read_regular
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
    request: UpgradeRequest, sides: Sequence[Side], folders: Sequence[Path]
) -> Iterator[RunningSides]:
    """Start a process of each side's interpreter, which does one task after the other.

    Importing PyTorch and what it exports with takes longer than most cases.

    Args:
        folders: for the files of each side.

    Raises:
        QregError: a side cannot be started.
    """
    with ExitStack() as stack:
        yield RunningSides(
            request,
            tuple(
                stack.enter_context(_start(option, side, _job(request, folders, number)))
                for number, (option, side) in enumerate(zip(_OPTIONS, sides, strict=True))
            ),
            tuple(folders),
        )


@dataclass(frozen=True)
class RunningSides:
    """A process of each side, at work in the side's folder."""

    request: UpgradeRequest
    processes: tuple[_Process, ...]
    folders: tuple[Path, ...]

    def run(self, task: str, cases: Sequence[dict[str, Any]]) -> None:
        """Do a task on both sides concurrently.

        Args:
            cases: their names and numbers, and other data that the task needs for each.

        Raises:
            QregError: a side lacks PyTorch, or does not finish.
        """
        for folder in self.folders:
            give_task(folder, task, cases)
        limit = time.monotonic() + _SIDE * self.request.timeout
        show = self.request.options.progress
        # both are asked each time: one that fails ends the run, whichever it is
        while not all([one.has_done(task) for one in self.processes]):  # noqa: C419
            if time.monotonic() > limit:
                raise self._late(task)
            done = sum(1 for files in self.folders for _ in files.glob(f"*.{task}.json"))
            show(done, len(self.folders) * len(cases), _TASKS[task])
            time.sleep(_POLL_S)

    def _late(self, task: str) -> QregError:
        late = next(one for one in self.processes if not one.has_done(task))
        how = f"gave no result in {_SIDE * self.request.timeout} s ({late.child.stage})"
        return _lost(late.option, late.side, LostError(how, stage=late.child.stage))

    def environments(self) -> tuple[dict[str, Any], ...]:
        """What each side runs in, once it has done a task.

        Raises:
            QregError: a side wrote something else.
        """
        return tuple(one.environment() for one in self.processes)


@dataclass(frozen=True)
class _Process:
    option: str
    side: Side
    child: Running
    folder: Path

    def has_done(self, task: str) -> bool:
        """Whether it has; a failure is raised at once, without waiting for the other side."""
        if (self.folder / f"{task}.done").exists():
            return True
        if not self.child.done:
            return False
        try:
            self.child.result(timeout=0.1)
        except LostError as error:
            raise _lost(self.option, self.side, error) from error
        raise _lost(self.option, self.side, LostError("ended before its task", stage="ended"))

    def environment(self) -> dict[str, Any]:
        try:
            found = json.loads(read_regular(self.folder / "environment.json", most=_MOST))
            read_environment(found)
        except (OSError, ValueError, RecursionError, MismatchError) as error:
            said = LostError(f"wrote no environment that can be read: {error}", stage="reading")
            raise _lost(self.option, self.side, said) from error
        content: dict[str, Any] = found
        return content


def give_task(folder: Path, task: str, cases: Sequence[dict[str, Any]]) -> None:
    """Write what the process of a side waits for."""
    half = folder / "half"  # atomic: it polls for the file
    half.write_text(json.dumps({"task": task, "cases": list(cases)}), encoding="utf-8")
    os.replace(half, folder / f"{task}.task")


@contextmanager
def _start(option: str, side: Side, job: dict[str, Any]) -> Iterator[_Process]:
    with ExitStack() as stack:
        try:
            child = stack.enter_context(started(side, _CHILD, job, threads=1))
        except LostError as error:
            raise _lost(option, side, error) from error
        yield _Process(option, side, child, Path(job["folder"]))


def _lost(option: str, side: Side, error: LostError | MismatchError) -> QregError:
    return QregError(
        f"{option} {side.name}: {error}",
        hint=f"an interpreter needs PyTorch and qreg's dependencies; tried {side.python}",
    )


def _job(request: UpgradeRequest, folders: Sequence[Path], number: int) -> dict[str, Any]:
    folders[number].mkdir(exist_ok=True)
    return {
        "interface": request.interface,
        "seconds": request.timeout,
        "folder": str(folders[number]),
        "first": str(folders[0]),
        "second": str(folders[1]),
        "options": request.options.plain(),
    }
