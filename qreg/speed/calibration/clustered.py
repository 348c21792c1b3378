"""Trials on a cluster: each has a machine to itself, where the extra layers are timed, too."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

from qreg.errors import QregError
from qreg.processes.executor import HERE as SENDER
from qreg.processes.executor import Executor, Piece, Places, Result, check_done, run
from qreg.processes.sending import case_options, options_at, settings_at
from qreg.processes.sides import HERE, open_side
from qreg.processes.temporary import temporary_folder
from qreg.records.case import Case
from qreg.records.decode import MismatchError, decoder, plain
from qreg.selection import use_project
from qreg.settings import Settings
from qreg.speed.calibration.run import run_trials, set_up
from qreg.speed.calibration.trials import Scenario, Trial, append_trials, read_trials
from qreg.speed.compare.rule import make_plan
from qreg.speed.driver import SpeedRequest

_LIMIT_S = 6 * 3600.0


def run_trials_on(
    executor: Executor,
    scenarios: Sequence[Scenario],
    request: SpeedRequest,
    settings: Settings,
    *,
    numbers: range,
    load: int,
    store: Path,
) -> None:
    """Run trials, each alone on a machine, appending each to `store` when it finishes.

    Trials of one number have the same seed as on one machine; times are the machine's that ran it.

    Raises:
        QregError: a trial could not be done; those that were are stored.
    """
    pieces = list(_pieces(scenarios, request, settings, numbers, load))
    done = 0

    def tick() -> None:
        request.options.progress(done, len(pieces), f"trials: {executor.step()}")

    for piece, result in run(executor, pieces, tick=tick):
        append_trials(store, _read(piece.name, result))
        done += 1


def _pieces(
    scenarios: Sequence[Scenario],
    request: SpeedRequest,
    settings: Settings,
    numbers: range,
    load: int,
) -> Iterator[Piece]:
    shared = {
        "root": str(settings.root.resolve()),
        "cases": [list(astuple(case)) for case in request.cases],
        "scenarios": [list(astuple(one)) for one in scenarios],
        "options": case_options(settings, request.options, request.cases).plain(),
        "timeout": request.timeout,
        "load": load,
    }
    for number in numbers:
        yield Piece(
            name=f"trial {number}",
            task=f"{__name__}:trial_sent",
            content=json.dumps({**shared, "number": number}),
            seconds=_LIMIT_S,
            timed=True,
        )


def _read(name: str, result: Result) -> tuple[Trial, ...]:
    check_done(name, result)
    try:
        return tuple(decoder(Trial)(one) for one in result["trials"])
    except MismatchError as error:
        raise QregError(f"{name}: the trials of its machine: {error}") from error


def trial_sent(content: dict[str, Any], places: Places = SENDER) -> Result:
    """Run a trial of all scenarios and cases on this machine."""
    settings = settings_at(content["root"], places)
    use_project(settings)
    options = options_at(content["options"], places)
    request = SpeedRequest(
        cases=tuple(Case(*names) for names in content["cases"]),
        plan=make_plan(cases=1, threads=options.threads),
        seed=0,
        options=options,
        timeout=content["timeout"],
    )
    scenarios, number = [Scenario(*one) for one in content["scenarios"]], content["number"]
    try:
        with temporary_folder("trial") as folder, open_side(HERE, settings.root) as side:
            store = Path(folder, "trials.jsonl")
            entries = set_up(request.cases, scenarios, request, side)
            numbers = range(number, number + 1)
            run_trials(entries, request, side, numbers=numbers, load=content["load"], store=store)
            return {"trials": [plain(one) for one in read_trials(store)[0]]}
    except QregError as error:
        return {"error": str(error), "hint": error.hint}
