"""An upgrade compared on a cluster: a piece for each model's cases, whose reports are joined."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

from qreg.errors import QregError
from qreg.processes.cluster import RayExecutor
from qreg.processes.executor import Piece, Places, Result, run
from qreg.processes.sending import options_at, sent_options, settings_at
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


def check_on_cluster(
    executor: RayExecutor, request: UpgradeRequest, settings: Settings
) -> UpgradeReport:
    """Compare two PyTorch versions, each model's cases on a machine.

    All of one kind, as bits are compared; each makes the environments of versions once.

    Raises:
        QregError: as `check_upgrade`, or speed was to be compared.
    """
    if request.speed is not None:
        raise QregError(
            "--speed compares times, which need one machine",
            hint="leave out --ray or --speed; qreg speed check compares times alone",
        )
    start, kind = time.monotonic(), executor.most_common_kind()
    groups: dict[tuple[str, str], list[Case]] = {}
    for case in request.cases:
        groups.setdefault((case.dataset, case.model), []).append(case)
    pieces = [
        Piece(
            name="/".join(names),
            task=f"{__name__}:upgrade_sent",
            content=_content(replace(request, cases=tuple(cases)), settings),
            seconds=_MAKING_S + _SIDES * request.timeout,
            environment=kind,
        )
        for names, cases in groups.items()
    ]
    found: dict[str, UpgradeReport] = {}
    for piece, result in run(executor, pieces):
        found[piece.name] = _read(piece.name, result)
        request.options.progress(len(found), len(pieces), "models compared on the cluster")
    return joined([found[piece.name] for piece in pieces], time.monotonic() - start)


def _content(request: UpgradeRequest, settings: Settings) -> str:
    found = {
        "root": str(settings.root.resolve()),
        "cases": [list(astuple(case)) for case in request.cases],
        "sides": [request.baseline, request.candidate],
        "options": sent_options(gate_options(settings, request.options)).plain(),
        "timeout": request.timeout,
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
    )
    try:
        found: Result = plain(check_upgrade(request))
        return found
    except QregError as error:
        return {"error": str(error), "hint": error.hint}


def _read(name: str, result: Result) -> UpgradeReport:
    for key in ("error", "raised", "died"):
        if key in result:
            raise QregError(f"{name}: {result[key]}", hint=str(result.get("hint", "")))
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
