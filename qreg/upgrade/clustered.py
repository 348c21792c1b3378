"""An upgrade compared on a cluster: a piece for each model's cases, whose reports are joined."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path
from typing import Any

from qreg.errors import QregError
from qreg.processes.cluster import RayExecutor
from qreg.processes.executor import Piece, Places, Result, check_done
from qreg.processes.sending import options_at, sent_options, settings_at
from qreg.progress import Progress, no_progress
from qreg.records.case import Case
from qreg.records.decode import MismatchError, decoder, plain
from qreg.selection import gate_options, use_project
from qreg.settings import Settings
from qreg.upgrade.check import check_upgrade
from qreg.upgrade.compare.verdict import verdict_of
from qreg.upgrade.records import UpgradeReport
from qreg.upgrade.running import UpgradeRequest

# Making the environments of two versions, and as many time limits of a case as a side has.
_MAKING_S, _SIDES = 3600, 60
_POLL_S = 0.02


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
    """Compares pairs of sides on a cluster: each model's cases of each pair are a piece.

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
        for request in requests:
            if request.speed is not None:
                raise QregError(
                    "--speed compares times, which need one machine",
                    hint="leave out --ray or --speed; qreg speed check compares times alone",
                )
            self._kind = self._kind or self._executor.most_common_kind()
            pieces = tuple(_pieces(request, self._settings, self._kind))
            made = _Comparison(request, pieces, time.monotonic())
            self._waiting |= {piece.name: made for piece in pieces}
            self._count += len(pieces)
            self._executor.add(pieces)

    def results(self) -> Iterator[tuple[UpgradeRequest, UpgradeReport | QregError]]:
        """Each comparison as soon as all its pieces have a result."""
        while self._waiting:
            for piece, result in self._executor.poll():
                made = self._waiting.pop(piece.name)
                made.found[piece.name] = result
                self._ended += 1
                if len(made.found) == len(made.pieces):
                    yield made.request, made.outcome()
            self._show(self._ended, self._count, self._executor.step())
            time.sleep(_POLL_S)


@dataclass(eq=False)
class _Comparison:
    """A pair of sides, and the results of its pieces that have come."""

    request: UpgradeRequest
    pieces: tuple[Piece, ...]
    start: float
    found: dict[str, Result] = field(default_factory=dict)

    def outcome(self) -> UpgradeReport | QregError:
        try:
            reports = [_read(piece.name, self.found[piece.name]) for piece in self.pieces]
        except QregError as error:
            return error
        return joined(reports, time.monotonic() - self.start)


def _pieces(request: UpgradeRequest, settings: Settings, kind: str) -> Iterator[Piece]:
    groups: dict[tuple[str, str], list[Case]] = {}
    for case in request.cases:
        groups.setdefault((case.dataset, case.model), []).append(case)
    family = request.family or len(request.cases)
    sides = f"{request.baseline} -> {request.candidate}"
    for names, cases in groups.items():
        part = replace(request, cases=tuple(cases), family=family)
        yield Piece(
            name=f"{sides}: {'/'.join(names)}",
            task=f"{__name__}:upgrade_sent",
            content=_content(part, settings),
            seconds=_MAKING_S + _SIDES * request.timeout,
            environment=kind,
        )


def _content(request: UpgradeRequest, settings: Settings) -> str:
    found = {
        "root": str(settings.root.resolve()),
        "cases": [list(astuple(case)) for case in request.cases],
        "sides": [request.baseline, request.candidate],
        "options": sent_options(gate_options(settings, request.options)).plain(),
        "timeout": request.timeout,
        "family": request.family,
    }
    return json.dumps(found)


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
    )
    try:
        found: Result = plain(check_upgrade(request))
        return found
    except QregError as error:
        return {"error": str(error), "hint": error.hint}


def _read(name: str, result: Result) -> UpgradeReport:
    check_done(name, result)
    try:
        found: UpgradeReport = decoder(UpgradeReport)(result)
    except MismatchError as error:
        raise QregError(f"{name}: the report of its machine: {error}") from error
    return found


def joined(reports: Sequence[UpgradeReport], seconds: float) -> UpgradeReport:
    """One report of several, each of other cases between the same sides."""
    first = reports[0]
    cases = tuple(case for one in reports for case in one.cases)
    interface = tuple(dict.fromkeys(change for one in reports for change in one.interface))
    invariants = tuple(dict.fromkeys(change for one in reports for change in one.invariants))
    level, reasons = verdict_of(cases, interface, invariants, first.speed)
    return replace(
        first,
        level=level,
        reasons=reasons,
        cases=cases,
        interface=interface,
        invariants=invariants,
        seconds=seconds,
    )
