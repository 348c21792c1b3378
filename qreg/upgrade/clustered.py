"""An upgrade compared on a cluster: pieces whose reports are joined.

One piece compares what two versions offer and hold, which takes as long as some cases; the others
some cases of a model each. A machine does one after the other, and keeps the processes of the
sides for the next one.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path
from typing import Any

from qreg.errors import QregError
from qreg.processes.cluster import RayExecutor
from qreg.processes.executor import Piece, Places, Result, check_done
from qreg.processes.sending import case_options, options_at, settings_at
from qreg.processes.spreading import even_parts
from qreg.progress import Progress, no_progress
from qreg.records.case import Case
from qreg.records.decode import MismatchError, decoder, plain
from qreg.selection import use_project
from qreg.settings import Settings
from qreg.upgrade.check import KeptSides
from qreg.upgrade.parts import ReportPart, report_of
from qreg.upgrade.records import UpgradeReport
from qreg.upgrade.running import UpgradeRequest

# Making the environments of two versions, and as many time limits of a case as a side has.
_MAKING_S, _SIDES = 3600, 60
# What asking both sides for all that they offer takes, and a case of a network without layers, in
# times of a case of the largest network; measured with those of this project.
_INTERFACE, _SMALLEST = 0.8, 0.05
# So many units a machine does at least: one that is lost costs one of them, and the others are done
# at the same time to that.
_UNITS = 16
# The process of a machine that has those of the sides.
_PROCESS = "upgrade"


def check_on_cluster(
    executor: RayExecutor, request: UpgradeRequest, settings: Settings
) -> UpgradeReport:
    """Compare two PyTorch versions, each model's cases on a machine.

    All of one kind, as bits are compared; each makes the environments of versions once.

    Raises:
        QregError: as `check_upgrade`, or speed was to be compared.
    """
    comparer = ClusterComparer(executor, settings, request.options.progress)
    comparer.add([request])
    ((_, found),) = comparer.results()
    if isinstance(found, QregError):
        raise found
    return found


class ClusterComparer:
    """Compares pairs of sides on a cluster, each in several pieces.

    A pair is done when all its pieces are, whatever others are at work; a machine that is lost
    costs its pieces only.
    """

    #: Machines are not counted: what waits is taken by whichever is free.
    at_once = 1 << 10

    def __init__(
        self, executor: RayExecutor, settings: Settings, show: Progress = no_progress
    ) -> None:
        self._executor, self._settings, self._show = executor, settings, show
        self._kind = ""
        self._waiting: dict[str, _Comparison] = {}
        self._ended = self._count = 0

    def add(self, requests: Sequence[UpgradeRequest]) -> None:
        """Have these compared, at the same time as what is under way.

        Raises:
            QregError: speed was to be compared.
        """
        if any(request.speed is not None for request in requests):
            raise QregError(
                "--speed compares times, which need one machine",
                hint="leave out --ray or --speed; qreg speed check compares times alone",
            )
        self._kind = self._kind or self._executor.most_common_kind()
        room = max(1, self._executor.room(self._kind))  # a lost machine may come back
        made = {id(request): _Comparison(request, time.monotonic()) for request in requests}
        units = _ordered(requests, room, size=_sizes(self._settings))
        pieces = [_piece(unit, self._settings, self._kind) for unit in units]
        for unit, piece in zip(units, pieces, strict=True):
            made[id(unit.request)].pieces.append(piece)
            self._waiting[piece.name] = made[id(unit.request)]
        self._count += len(pieces)
        self._executor.add(pieces)

    def results(self) -> Iterator[tuple[UpgradeRequest, UpgradeReport | QregError]]:
        """Each comparison as soon as all its pieces have a result."""
        while self._waiting:
            for piece, result in self._executor.poll():
                made = self._waiting.pop(piece.name)
                made.results[piece.name] = result
                self._ended += 1
                if len(made.results) == len(made.pieces):
                    yield made.request, made.outcome()
            self._show(self._ended, self._count, self._executor.step())
            self._executor.wait()


@dataclass(eq=False)
class _Comparison:
    """A pair of sides, and the results of its pieces that have come."""

    request: UpgradeRequest
    start: float
    pieces: list[Piece] = field(default_factory=list)
    results: dict[str, Result] = field(default_factory=dict)

    def outcome(self) -> UpgradeReport | QregError:
        try:
            parts = [_read(piece.name, self.results[piece.name]) for piece in self.pieces]
        except QregError as error:
            return error
        return report_of(parts, self.request.cases, time.monotonic() - self.start)


@dataclass(frozen=True, eq=False)
class _Unit:
    """Some cases of a model in a comparison, or what both sides offer and hold, without cases.

    Attributes:
        cost: about how long it takes, in times of a case of the largest network.
        affinity: the comparison, whose sides' processes go on, and the model, whose process waits
            with what its cases share.
    """

    request: UpgradeRequest
    name: str
    cost: float
    cases: tuple[Case, ...] = ()
    affinity: tuple[str, ...] = ()


def _ordered(
    requests: Sequence[UpgradeRequest], room: int, *, size: Callable[[Case], int]
) -> list[_Unit]:
    """All units in the order in which machines take them.

    One comparison after the other, as a machine keeps the sides' processes of one; in each
    the largest units first (Graham, SIAM J. Appl. Math. 17 (1969) 416).

    Args:
        room: how many machines work at a time.
        size: of a case's network, in any unit.
    """
    largest = max((size(case) for one in requests for case in one.cases), default=0) or 1

    def cost(case: Case) -> float:
        return _SMALLEST + size(case) / largest

    total = sum(cost(case) for one in requests for case in one.cases)
    most = total / (room * _UNITS)
    return [
        unit
        for request in requests
        for unit in sorted(_units(request, cost, most), key=lambda one: one.cost, reverse=True)
    ]


def _units(request: UpgradeRequest, cost: Callable[[Case], float], most: float) -> Iterator[_Unit]:
    """Of each model in parts that take about so long at most, then of the interface."""
    models: dict[str, list[Case]] = {}
    sides = f"{request.baseline} -> {request.candidate}"
    for case in request.cases:
        models.setdefault(f"{case.dataset}/{case.model}", []).append(case)
    for model, cases in models.items():
        parts = even_parts(cases, max(1, math.ceil(sum(map(cost, cases)) / most)))
        for number, part in enumerate(parts):
            which = f" {number + 1} of {len(parts)}" if len(parts) > 1 else ""
            cases_cost = sum(map(cost, part))
            name = f"{sides}: {model}{which}"
            yield _Unit(request, name, cases_cost, tuple(part), affinity=(sides, model))
    yield _Unit(request, f"{sides}: interface", _INTERFACE, affinity=(sides,))


def _sizes(settings: Settings) -> Callable[[Case], int]:
    """Of a case's network, by its baseline where it has one."""
    from qreg.baselines.store import Store

    return Store(settings.baselines).size if settings.baselines else lambda _: 0


def _piece(unit: _Unit, settings: Settings, kind: str) -> Piece:
    request = unit.request
    family = request.family or len(request.cases)
    part = replace(request, cases=unit.cases, family=family, interface=not unit.cases)
    return Piece(
        name=unit.name,
        task=f"{__name__}:upgrade_sent",
        content=json.dumps(_content(part, settings)),
        seconds=_MAKING_S + _SIDES * request.timeout,
        environment=kind,
        process=_PROCESS,
        affinity=unit.affinity,
    )


def _content(request: UpgradeRequest, settings: Settings) -> dict[str, Any]:
    return {
        "root": str(settings.root.resolve()),
        "cases": [list(astuple(case)) for case in request.cases],
        "sides": [request.baseline, request.candidate],
        "options": case_options(settings, request.options, request.cases).plain(),
        "timeout": request.timeout,
        "family": request.family,
        "interface": request.interface,
    }


# Of the pieces before, whose processes the next ones can use.
_kept = KeptSides()


def upgrade_sent(content: dict[str, Any], places: Places) -> Result:
    """Compare the cases of a piece on this machine."""
    settings = settings_at(content["root"], places)
    use_project(settings)
    baseline, candidate = content["sides"]
    request = UpgradeRequest(
        cases=tuple(Case(*names) for names in content["cases"]),
        baseline=baseline,
        candidate=candidate,
        project=Path(settings.root),
        options=options_at(content["options"], places),
        timeout=content["timeout"],
        family=content["family"],
        interface=content["interface"],
    )
    found: Result = {}
    try:
        found = plain(_kept.pair(request).compare(request))
    except QregError as error:
        return {"error": str(error), "hint": error.hint}
    finally:
        if not found:  # what they have under way would be taken for the next piece's
            _kept.close()
    return found


def _read(name: str, result: Result) -> ReportPart:
    check_done(name, result)
    try:
        found: ReportPart = decoder(ReportPart)(result)
    except MismatchError as error:
        raise QregError(f"{name}: the report of its machine: {error}") from error
    return found
