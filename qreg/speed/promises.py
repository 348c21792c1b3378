"""Measurements for speed-up promises: speed-ups over fp32 in fresh processes, spread over time."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from qreg.errors import QregError
from qreg.measure.options import FEW_CALIBRATION, ONE_THREAD, Options
from qreg.metrics.speed_up import SPEED_UP_BATCHES
from qreg.processes.jobs import Job, LostError, read_environment
from qreg.processes.running import run_child
from qreg.processes.sides import HERE, Side, open_side
from qreg.records.case import Case, Environment
from qreg.records.decode import MismatchError, decoder
from qreg.speed import promise_child

# As many as the gate uses on a small machine, so that they disturb each other as they do there.
_JOBS = min(2, os.cpu_count() or 1)


@dataclass(frozen=True)
class PromiseRequest:
    """What to measure, and how.

    Attributes:
        processes: per case.
        timeout: seconds that one process may take for all cases of a model.
    """

    cases: tuple[Case, ...]
    processes: int
    options: Options = ONE_THREAD
    timeout: float = 600.0

    def job(self, cases: Sequence[Case]) -> Job:
        """The job of one process."""
        return Job(
            cases=tuple(cases),
            calls=(),
            rounds=0,
            warm_up=0,
            options=replace(self.options, calibration=FEW_CALIBRATION),
        )


@dataclass
class MeasuredSpeedUps:
    """Measured speed-ups, and the errors of cases that could not be measured.

    Attributes:
        log_speed_ups: by case and batch size, one per process.
        interrupted: whether the user interrupted; finished processes are included.
    """

    environment: Environment | None = None
    log_speed_ups: dict[Case, dict[int, list[float]]] = field(default_factory=dict)
    errors: dict[Case, str] = field(default_factory=dict)
    interrupted: bool = False


def measure_speed_ups(request: PromiseRequest, project: Path) -> MeasuredSpeedUps:
    """Measure every case in several fresh processes, one model at a time, in rounds.

    The processes of one case are thus spread over the whole recording. A lost process reduces the
    number of measurements of its cases, which is reported where too few remain.

    Raises:
        QregError: the project cannot be opened.
    """
    groups: dict[tuple[str, str], list[Case]] = {}
    for case in request.cases:
        groups.setdefault((case.dataset, case.model), []).append(case)
    rounds = [group for _ in range(request.processes) for group in groups.values()]
    measured, executor = MeasuredSpeedUps(), ThreadPoolExecutor(_JOBS)
    with open_side(HERE, project) as side:
        try:
            work = executor.map(lambda group: _run(request, side, group), rounds)
            for number, (group, result) in enumerate(zip(rounds, work, strict=True)):
                request.options.progress(
                    number + 1, len(rounds), f"{group[0].dataset}/{group[0].model}"
                )
                _take(measured, group, result)
        except KeyboardInterrupt:
            measured.interrupted = True
        finally:
            # running processes are awaited: they are few and seconds from their end
            executor.shutdown(cancel_futures=True)
    return measured


def _run(request: PromiseRequest, side: Side, group: Sequence[Case]) -> dict[str, Any] | str:
    try:
        script = Path(promise_child.__file__)
        found = run_child(side, request.job(group), timeout=request.timeout, script=script)
        read_environment(found.get("environment"))
        _FOUND(found.get("found"))
    except (LostError, MismatchError) as error:
        return str(error)
    return found


@dataclass(frozen=True)
class _Found:
    """What a process says of a case."""

    error: str = ""
    log_speed_ups: tuple[float, ...] = ()


_FOUND = decoder(tuple[_Found, ...])


def _take(measured: MeasuredSpeedUps, group: Sequence[Case], result: dict[str, Any] | str) -> None:
    if isinstance(result, str):
        measured.errors |= dict.fromkeys(group, result)
        return
    measured.environment = read_environment(result["environment"])
    for case, one in zip(group, result["found"], strict=True):
        if "error" in one:
            measured.errors[case] = one["error"]
            continue
        seen = measured.log_speed_ups.setdefault(case, {batch: [] for batch in SPEED_UP_BATCHES})
        for batch, log_speed_up in zip(SPEED_UP_BATCHES, one["log_speed_ups"], strict=True):
            seen[batch].append(round(log_speed_up, 4))


def check_processes(count: int, fewest: int) -> int:
    """Return `count` if it is enough processes to estimate a spread.

    Raises:
        QregError: it cannot.
    """
    if count < fewest:
        raise QregError(f"--processes {count}", hint=f"give {fewest} or more")
    return count
