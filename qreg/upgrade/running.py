"""Running a task on both sides concurrently, each in a process of its interpreter."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qreg.errors import QregError
from qreg.measure.options import ONE_THREAD, Options
from qreg.processes.jobs import LostError, read_environment
from qreg.processes.running import Running, started
from qreg.processes.sides import Side
from qreg.records.case import Case
from qreg.records.decode import MismatchError
from qreg.speed.records import SpeedRun
from qreg.upgrade import child

_CHILD = Path(child.__file__).resolve()
_POLL_S = 0.2
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


def run_task(
    request: UpgradeRequest,
    sides: Sequence[Side],
    folders: Sequence[Path],
    task: str,
    cases: Sequence[dict[str, Any]],
) -> tuple[dict[str, Any], ...]:
    """Run one process per side concurrently; returns their environments.

    Args:
        cases: their names and numbers, and other data that the task needs for each.

    Raises:
        QregError: a side cannot be started, lacks PyTorch, or does not finish.
    """
    with ExitStack() as stack:
        running = [
            _Run(
                option,
                side,
                stack.enter_context(_start(option, side, _job(request, folders, n, task, cases))),
            )
            for n, (option, side) in enumerate(zip(_OPTIONS, sides, strict=True))
        ]
        limit = time.monotonic() + _SIDE * request.timeout
        # both are asked each time: one that fails ends the run, whichever it is
        while sum(one.ended() for one in running) < len(running) and time.monotonic() < limit:
            done = sum(1 for files in folders for _ in files.glob(f"*.{task}.json"))
            request.options.progress(done, len(folders) * len(cases), _TASKS[task])
            time.sleep(_POLL_S)
        return tuple(one.environment() for one in running)


@dataclass(frozen=True)
class _Run:
    option: str
    side: Side
    child: Running

    def ended(self) -> bool:
        """Whether it has ended; a failure is raised at once, without waiting for the other."""
        return self.child.done and bool(self.environment())

    def environment(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = self.child.result(timeout=0.1).get("environment", {})
            read_environment(found)
        except (LostError, MismatchError) as error:
            raise _lost(self.option, self.side, error) from error
        return found


@contextmanager
def _start(option: str, side: Side, job: dict[str, Any]) -> Iterator[Running]:
    with ExitStack() as stack:
        try:
            child = stack.enter_context(started(side, _CHILD, job, threads=1))
        except LostError as error:
            raise _lost(option, side, error) from error
        yield child


def _lost(option: str, side: Side, error: LostError | MismatchError) -> QregError:
    return QregError(
        f"{option} {side.name}: {error}",
        hint=f"an interpreter needs PyTorch and qreg's dependencies; tried {side.python}",
    )


def _job(
    request: UpgradeRequest,
    folders: Sequence[Path],
    number: int,
    task: str,
    cases: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    folders[number].mkdir(exist_ok=True)
    return {
        "task": task,
        "interface": request.interface,
        "cases": list(cases),
        "seconds": request.timeout,
        "folder": str(folders[number]),
        "first": str(folders[0]),
        "second": str(folders[1]),
        "options": request.options.plain(),
    }
