"""The line from two interpreters to the report of what an upgrade would change."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from typing import Any

from qreg.approvals import Approval, Baseline
from qreg.compare.family import family_alpha
from qreg.compare.upgrade import interface_changes, property_changes, verdict_of
from qreg.compare.upgrade_case import judge_case
from qreg.compare.upgrade_made import Made, Pair
from qreg.judge import judged
from qreg.records import Case, Environment
from qreg.speed.sides import Side, open_side
from qreg.timings import SideRecord, SpeedRun
from qreg.upgrade.place import Place
from qreg.upgrade.reading import read_answers, read_crossed, read_made
from qreg.upgrade.releases import is_version
from qreg.upgrade.running import Request, run_task
from qreg.upgrade.venvs import venv_python
from qreg.upgrades import WORKS, Answer, CaseUpgrade, UpgradeReport

_APPROVED = Approval(reason="qreg upgrade", date="2000-01-01T00:00:00Z", commit="", qreg="")


def check_upgrade(request: Request) -> UpgradeReport:
    """Compare two PyTorch versions.

    Raises:
        QregError: a side does not exist, cannot be installed, or does not import PyTorch.
    """
    with _sides(request) as sides, tempfile.TemporaryDirectory(prefix="qreg-upgrade-") as folder:
        start = time.monotonic()
        places = tuple(Path(folder, letter) for letter in "AB")
        environments = run_task(request, sides, places, "make")
        run_task(request, sides, places, "cross")
        cases, said = _cases(request, places)
        speed = request.speed(sides[0].python, sides[1].python) if request.speed else None
        records = tuple(map(_record, sides, environments))
        return _report((records[0], records[1]), places, cases, said, speed, start)


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


def _cases(
    request: Request, places: Sequence[Path]
) -> tuple[tuple[CaseUpgrade, ...], list[tuple[Answer, ...]]]:
    """The cases, judged; and what making them warned of on each side, like a probe's answer."""
    alpha = family_alpha(len(request.cases))
    judged_cases, said = [], []
    for number, case in enumerate(request.cases):
        first, second = (Place(folder, number) for folder in places)
        made = (read_made(case, first), read_made(case, second))
        crossed = (read_crossed(first), read_crossed(second))
        verdict = None
        if made[0].snapshot and made[1].snapshot:
            held = Baseline(made[0].snapshot, (_APPROVED,))
            verdict = judged(made[1].snapshot, (held,), alpha=alpha)[1]
        names = (request.baseline, request.candidate)
        judged_cases.append(judge_case(Pair(case, names, made, crossed), verdict))
        said.append(tuple(_warned(case, one) for one in made))
    return tuple(judged_cases), said


def _warned(case: Case, made: Made) -> Answer:
    texts = made.snapshot.warnings if made.snapshot else ()
    return Answer(str(case), WORKS, warnings=texts, used_by=(case.method,))


def _record(side: Side, seen: dict[str, Any]) -> SideRecord:
    known = {one.name: seen[one.name] for one in fields(Environment)}
    environment = Environment(**{**known, "limits": tuple(seen["limits"])})
    return SideRecord(side.given, side.python, side.commit, environment)


def _report(
    records: tuple[SideRecord, SideRecord],
    places: Sequence[Path],
    cases: tuple[CaseUpgrade, ...],
    said: Sequence[tuple[Answer, ...]],
    speed: SpeedRun | None,
    start: float,
) -> UpgradeReport:
    asked = [[read_answers(place, kind) for place in places] for kind in _KINDS]
    before, after = ((*asked[0][n], *(pair[n] for pair in said)) for n in (0, 1))
    interface = interface_changes(before, after)
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
        seconds=time.monotonic() - start,
    )


_KINDS = ("probe", "property", "odd")
