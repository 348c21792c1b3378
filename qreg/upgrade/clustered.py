"""An upgrade compared on a cluster: pieces whose reports are joined.

One piece compares what two versions offer and hold, which takes as long as many cases; the others
a model's cases each, several of them by the same processes of the two sides.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
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
from qreg.upgrade.check import OpenedSides, onnx_packages, opened_sides
from qreg.upgrade.parts import ReportPart, report_of
from qreg.upgrade.records import UpgradeReport
from qreg.upgrade.running import UpgradeRequest

# Making the environments of two versions, and as many time limits of a case as a side has.
_MAKING_S, _SIDES = 3600, 60
_POLL_S = 0.02
# Groups of models for each processor: more of them share less, fewer leave one idle at the end.
_GROUPS = 2


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
        for request in requests:
            if request.speed is not None:
                raise QregError(
                    "--speed compares times, which need one machine",
                    hint="leave out --ray or --speed; qreg speed check compares times alone",
                )
            self._kind = self._kind or self._executor.most_common_kind()
            room = max(1, self._executor.room(self._kind))  # a lost machine may come back
            count = -(-_GROUPS * room // len(requests))
            pieces = tuple(_pieces(request, self._settings, self._kind, count))
            made = _Comparison(request, pieces, time.monotonic())
            self._waiting |= {piece.name: made for piece in pieces}
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
            time.sleep(_POLL_S)


@dataclass(eq=False)
class _Comparison:
    """A pair of sides, and the results of its pieces that have come."""

    request: UpgradeRequest
    pieces: tuple[Piece, ...]
    start: float
    results: dict[str, Result] = field(default_factory=dict)

    def outcome(self) -> UpgradeReport | QregError:
        try:
            parts = [_read(piece.name, self.results[piece.name]) for piece in self.pieces]
        except QregError as error:
            return error
        return report_of(parts, self.request.cases, time.monotonic() - self.start)


def _pieces(request: UpgradeRequest, settings: Settings, kind: str, count: int) -> Iterator[Piece]:
    """Up to `count` groups of the models, and the interface, whose time fills what is left.

    The models of a group are compared by the same processes; each has its result when it is done,
    so that a lost machine costs one of them.
    """
    models: dict[tuple[str, str], tuple[Case, ...]] = {}
    for case in request.cases:
        of_it = models.get((case.dataset, case.model), ())
        models[case.dataset, case.model] = (*of_it, case)
    family = request.family or len(request.cases)
    groups = [list(models.items())[at::count] for at in range(min(count, len(models)))]
    sides = f"{request.baseline} -> {request.candidate}"
    for group in groups:
        for number, (names, cases) in enumerate(group):
            part = replace(request, cases=cases, family=family, interface=False)
            content = {**_content(part, settings), "last": number == len(group) - 1}
            name = f"{sides}: {'/'.join(names)}"
            yield _piece(name, content, f"{sides}: {'/'.join(group[0][0])}", request, kind)
    interface = replace(request, cases=(), family=family)
    yield _piece(f"{sides}: interface", _content(interface, settings), "", request, kind)


def _piece(
    name: str, content: dict[str, Any], group: str, request: UpgradeRequest, kind: str
) -> Piece:
    return Piece(
        name=name,
        task=f"{__name__}:upgrade_sent",
        content=json.dumps(content),
        group=group,
        seconds=_MAKING_S + _SIDES * request.timeout,
        environment=kind,
    )


def _content(request: UpgradeRequest, settings: Settings) -> dict[str, Any]:
    return {
        "root": str(settings.root.resolve()),
        "cases": [list(astuple(case)) for case in request.cases],
        "sides": [request.baseline, request.candidate],
        "options": sent_options(gate_options(settings, request.options)).plain(),
        "timeout": request.timeout,
        "family": request.family,
        "interface": request.interface,
        "last": True,
    }


# The sides of the piece before, whose processes this one's can use, if it is of the same group.
_kept: dict[str, tuple[ExitStack, OpenedSides]] = {}


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
    keep = False
    try:
        found: Result = plain(_sides_of(request).compare(request))
        keep = not content["last"]
    except QregError as error:
        return {"error": str(error), "hint": error.hint}
    finally:
        if not keep:
            _close_kept()
    return found


def _sides_of(request: UpgradeRequest) -> OpenedSides:
    needed = [request.baseline, request.candidate, *onnx_packages(request)]
    key = json.dumps([*needed, request.options.plain(), request.timeout])
    if key not in _kept:
        _close_kept()
        with ExitStack() as stack:
            sides = stack.enter_context(opened_sides(request))
            _kept[key] = stack.pop_all(), sides
    return _kept[key][1]


def _close_kept() -> None:
    while _kept:
        _, (stack, _) = _kept.popitem()
        stack.close()


def _read(name: str, result: Result) -> ReportPart:
    check_done(name, result)
    try:
        found: ReportPart = decoder(ReportPart)(result)
    except MismatchError as error:
        raise QregError(f"{name}: the report of its machine: {error}") from error
    return found
