"""One task on both sides at the same time, each in a process of its interpreter."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qreg.errors import QregError
from qreg.measure.options import ONE_THREAD, Options
from qreg.processes.jobs import LostError
from qreg.processes.running import Running, started
from qreg.processes.sides import Side
from qreg.records.case import Case
from qreg.speed.records import SpeedRun
from qreg.upgrade import child

_CHILD = Path(child.__file__).resolve()
_POLL_S = 0.2
# A side may take so many times what one piece of its work may.
_SIDE = 20
_OPTIONS = ("--from", "--to")
#: What is said of each task.
_TASKS = {
    "make": "quantizing on both sides",
    "cross": "running what the other side quantized",
    "look": "looking for the first layer that differs",
}
Speed = Callable[[str, str], SpeedRun]


@dataclass(frozen=True)
class UpgradeRequest:
    """What is to be compared.

    Attributes:
        baseline, candidate: a PyTorch version, or an interpreter.
        project: the folder in which cases are made.
        timeout: seconds that one piece of work may take, and 20 times that all of a side's.
        speed: compares the speed of two interpreters; None where it is not asked for.
    """

    cases: tuple[Case, ...]
    baseline: str
    candidate: str
    project: Path
    options: Options = ONE_THREAD
    timeout: int = 120
    speed: Speed | None = None


def run_task(
    request: UpgradeRequest,
    sides: Sequence[Side],
    folders: Sequence[Path],
    task: str,
    cases: Sequence[dict[str, Any]],
) -> tuple[dict[str, Any], ...]:
    """One process of each side, at the same time; returns their environments.

    Args:
        cases: their names and numbers, and what else the task must know of each.

    Raises:
        QregError: a side cannot be started, lacks PyTorch, or does not come to its end.
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
        while not all(one.ended() for one in running) and time.monotonic() < limit:
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
        """Whether it has; what went wrong is raised at once, however long the other may take."""
        return self.child.done and bool(self.environment())

    def environment(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = self.child.result(timeout=0.1)["environment"]
        except LostError as error:
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


def _lost(option: str, side: Side, error: LostError) -> QregError:
    return QregError(
        f"{option} {side.given}: {error}",
        hint=f"an interpreter needs PyTorch and what qreg depends on; tried {side.python}",
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
        "cases": list(cases),
        "seconds": request.timeout,
        "folder": str(folders[number]),
        "first": str(folders[0]),
        "second": str(folders[1]),
        "options": request.options.plain(),
    }
