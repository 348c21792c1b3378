"""The paired speed check: from two sides as given by the user to the record of a run."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qreg.errors import QregError
from qreg.processes.jobs import LostError, read_environment
from qreg.processes.running import run_child
from qreg.processes.sides import Side, open_side
from qreg.records.case import Case
from qreg.speed.compare.verdicts import drift
from qreg.speed.driver import SpeedRequest, Tally, call_counts, run_pairs, verdicts
from qreg.speed.noise import NoiseReading, read_noise
from qreg.speed.records import Noise, SideRecord, SpeedRun

# A side's first process may have to compile its modules and build the dataset's cache.
_FIRST_TIMEOUT_FACTOR = 3


def check_speed(request: SpeedRequest, baseline: str, candidate: str, project: Path) -> SpeedRun:
    """Compare the speed of cases on two sides, each a revision, an interpreter or ``.``.

    Raises:
        QregError: a side does not exist, cannot import torch, or cannot build a case.
    """
    with _sides(baseline, candidate, project) as sides:
        started, load = read_noise(), os.getloadavg()[0]
        probes = _probe(request, sides)
        calls = _calls(request, probes)
        tally = run_pairs(request, sides, calls)
        records = tuple(map(_record, sides, probes))
        return _run(request, tally, (records[0], records[1]), started, load)


@contextlib.contextmanager
def _sides(baseline: str, candidate: str, project: Path) -> Iterator[tuple[Side, Side]]:
    with open_side(baseline, project) as first, open_side(candidate, project) as second:
        yield first, second


def _probe(request: SpeedRequest, sides: tuple[Side, Side]) -> list[dict[str, Any]]:
    """Run one uncounted process per side: checks that it works and how long a call takes."""
    found = []
    for number, (side, name) in enumerate(zip(sides, ("baseline", "candidate"), strict=True)):
        request.options.progress(0, request.plan.pairs, f"probing the {name}")
        cases = request.cases if number else tuple(map(request.baseline_case, request.cases))
        job = request.job(cases, [3] * len(cases), rounds=1)
        try:
            found.append(run_child(side, job, timeout=_FIRST_TIMEOUT_FACTOR * request.timeout))
        except LostError as error:
            raise QregError(f"the {name} {side}: {error}", hint=_tried(side)) from error
    return found


def _tried(side: Side) -> str:
    paths = os.pathsep.join(map(str, side.paths))
    return f"tried, in {side.folder}: PYTHONPATH={paths} {side.python}"


def _calls(request: SpeedRequest, probes: list[dict[str, Any]]) -> dict[Case, int]:
    first, second = ([one["p50"] for one in probe["seconds"]] for probe in probes)
    counts = call_counts(tuple(map(max, first, second)))
    return dict(zip(request.cases, counts, strict=True))


def _record(side: Side, probe: dict[str, Any]) -> SideRecord:
    environment = read_environment(probe["environment"])
    return SideRecord(side.name, side.python, side.commit, environment)


def _run(
    request: SpeedRequest,
    tally: Tally,
    records: tuple[SideRecord, SideRecord],
    started: NoiseReading,
    load: float,
) -> SpeedRun:
    ended = read_noise()
    steal, others = ended.since(started)
    noise = Noise(steal, others, load, drift(tally.pairs), os.cpu_count() or 1)
    return SpeedRun(
        baseline=records[0],
        candidate=records[1],
        verdicts=verdicts(request, tally),
        pairs=tuple(tally.pairs),
        lost=tuple(tally.lost),
        noise=noise,
        seed=request.seed,
        threads=request.options.threads,
        batch=request.options.batch,
        seconds=ended.clock - started.clock,
        interrupted=tally.interrupted,
    )
