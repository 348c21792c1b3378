"""The line from two interpreters to the report of what an upgrade would change."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from qreg.approvals import Approval, Baseline
from qreg.compare.family import family_alpha
from qreg.compare.upgrade import interface_changes, property_changes, verdict_of
from qreg.compare.upgrade_case import Pair, judge_case
from qreg.errors import QregError
from qreg.judge import judged
from qreg.records import Case, Environment
from qreg.speed.processes import LostError, Running, started
from qreg.speed.sides import Side, open_side
from qreg.timings import SideRecord, SpeedRun
from qreg.upgrade import child
from qreg.upgrade.place import Place
from qreg.upgrade.reading import read_answers, read_crossed, read_made
from qreg.upgrade.releases import is_version
from qreg.upgrade.venvs import venv_python
from qreg.upgrades import CaseUpgrade, UpgradeReport

_CHILD = Path(child.__file__).resolve()
_POLL_S = 0.2
_TASKS = {"make": "quantizing on both sides", "cross": "running what the other side quantized"}
_APPROVED = Approval(reason="qreg upgrade", date="2000-01-01T00:00:00Z", commit="", qreg="")
Speed = Callable[[str, str], SpeedRun]


@dataclass(frozen=True)
class Request:
    """What is to be compared.

    Attributes:
        baseline, candidate: a PyTorch version, or an interpreter.
        project: the folder in which cases are made.
        timeout: seconds that one piece of work may take, and 20 times that all of a side's.
        speed: compares the speed of two interpreters; None where it is not asked for.
        progress: called with (done, total, what) as the work goes on.
    """

    cases: tuple[Case, ...]
    baseline: str
    candidate: str
    project: Path
    timeout: int = 120
    data_dir: Path | None = None
    checkpoints: Path | None = None
    speed: Speed | None = None
    progress: Callable[[int, int, str], None] = lambda *_: None


def check_upgrade(request: Request) -> UpgradeReport:
    """Compare two PyTorch versions.

    Raises:
        QregError: a side does not exist, cannot be installed, or does not import PyTorch.
    """
    with _sides(request) as sides, tempfile.TemporaryDirectory(prefix="qreg-upgrade-") as folder:
        start = time.monotonic()
        places = tuple(Path(folder, letter) for letter in "AB")
        environments = _run(request, sides, places, "make")
        _run(request, sides, places, "cross")
        cases = tuple(_cases(request, places))
        speed = request.speed(sides[0].python, sides[1].python) if request.speed else None
        records = tuple(map(_record, sides, environments))
        return _report((records[0], records[1]), places, cases, speed, time.monotonic() - start)


@contextlib.contextmanager
def _sides(request: Request) -> Iterator[tuple[Side, Side]]:
    given = [_interpreter(x, request) for x in (request.baseline, request.candidate)]
    with ExitStack() as stack:
        opened = [
            stack.enter_context(open_side(x, request.project, revisions=False)) for x in given
        ]
        yield opened[0], opened[1]


def _interpreter(given: str, request: Request) -> str:
    return str(venv_python(given, show=request.progress)) if is_version(given) else given


def _run(
    request: Request, sides: Sequence[Side], places: Sequence[Path], task: str
) -> list[dict[str, Any]]:
    """One process of each side, at the same time; their environments."""
    with ExitStack() as stack:
        running = []
        for side, own, other in zip(sides, places, reversed(places), strict=True):
            own.mkdir(exist_ok=True)
            folders = {"folder": str(own), "other": str(other), "writer": str(places[0])}
            job = {"task": task, "cases": list(map(_names, request.cases)), **folders}
            job |= {"seconds": request.timeout, **_given(request)}
            running.append(stack.enter_context(started(side, _CHILD, job, threads=1)))
        _watch(request, running, places, task)
        return [_result(one, *of) for one, *of in zip(running, sides, _SIDES, strict=True)]


_SIDES = ("--from", "--to")


def _names(case: Case) -> list[str]:
    return [case.dataset, case.model, case.method, case.engine]


def _given(request: Request) -> dict[str, str]:
    paths = {"data_dir": request.data_dir, "checkpoints": request.checkpoints}
    return {name: str(path.resolve()) if path else "" for name, path in paths.items()}


def _watch(request: Request, running: Sequence[Running], places: Sequence[Path], task: str) -> None:
    end, done = {"make": "made", "cross": "crossed"}[task], 0
    limit = time.monotonic() + 20 * request.timeout
    while not all(one.done for one in running) and time.monotonic() < limit:
        done = sum(1 for place in places for _ in place.glob(f"*.{end}.json"))
        request.progress(done, 2 * len(request.cases), _TASKS[task])
        time.sleep(_POLL_S)


def _result(running: Running, side: Side, option: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = running.result(timeout=0.1)["environment"]
    except LostError as error:
        hint = f"an interpreter needs PyTorch and what qreg depends on; tried {side.python}"
        raise QregError(f"{option} {side.given}: {error}", hint=hint) from error
    return found


def _cases(request: Request, places: Sequence[Path]) -> Iterator[CaseUpgrade]:
    alpha = family_alpha(len(request.cases))
    names = _labels(request)
    for number, case in enumerate(request.cases):
        first, second = (Place(folder, number) for folder in places)
        made = (read_made(case, first), read_made(case, second))
        crossed = (read_crossed(first), read_crossed(second))
        verdict = None
        if made[0].snapshot and made[1].snapshot:
            held = Baseline(made[0].snapshot, (_APPROVED,))
            verdict = judged(made[1].snapshot, (held,), alpha=alpha)[1]
        yield judge_case(Pair(case, names, made, crossed), verdict)


def _labels(request: Request) -> tuple[str, str]:
    return request.baseline, request.candidate


def _record(side: Side, seen: dict[str, Any]) -> SideRecord:
    known = {one.name: seen[one.name] for one in fields(Environment)}
    environment = Environment(**{**known, "limits": tuple(seen["limits"])})
    return SideRecord(side.given, side.python, side.commit, environment)


def _report(
    records: tuple[SideRecord, SideRecord],
    places: Sequence[Path],
    cases: tuple[CaseUpgrade, ...],
    speed: SpeedRun | None,
    seconds: float,
) -> UpgradeReport:
    asked = [[read_answers(place, kind) for place in places] for kind in _KINDS]
    interface = interface_changes(*asked[0])
    invariants = tuple(change for pair in asked[1:] for change in property_changes(*pair))
    level, reasons = verdict_of(cases, interface, invariants, speed)
    return UpgradeReport(
        baseline=records[0],
        candidate=records[1],
        level=level,
        reasons=reasons,
        cases=cases,
        probes=len(asked[0][0]),
        interface=interface,
        properties=len(asked[1][0]) + len(asked[2][0]),
        invariants=invariants,
        speed=speed,
        seconds=seconds,
    )


_KINDS = ("probe", "property", "odd")
