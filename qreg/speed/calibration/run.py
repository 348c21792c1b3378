"""Calibration trials: all scenarios of all cases in the same pairs, against clean copies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import log
from pathlib import Path
from typing import Any

import numpy as np

from qreg.errors import QregError
from qreg.processes.jobs import LostError
from qreg.processes.running import run_child
from qreg.processes.sides import Side
from qreg.records.case import Case
from qreg.records.verdict import Outcome
from qreg.speed.calibration.load import noise_load
from qreg.speed.calibration.trials import Scenario, Trial, append_trials, outcome_so_far
from qreg.speed.compare.rule import make_plan
from qreg.speed.driver import SpeedRequest, call_counts
from qreg.speed.noise import read_noise
from qreg.speed.pairs import pair_orders, processor_of, run_pair

# Numbers of extra layers whose cost is measured; costs in between are interpolated.
_LAYERS = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
# Calls of a trial's first pair whose times are kept.
_KEPT = 100
# Bursts, and calls per burst, when the cost of extra layers is measured.
_BURSTS, _PROBED = 10, 10


@dataclass(frozen=True)
class CalibrationEntry:
    """One case with one injected slowdown, run against a clean copy in each pair.

    Attributes:
        calls: per round.
        layers: extra layers in every `scenario.every`-th call.
    """

    case: Case
    scenario: Scenario
    calls: int
    layers: int


@dataclass
class _EntrySamples:
    """Measurements of an entry so far: a log ratio per pair, and the first pair's call times."""

    entry: CalibrationEntry
    ratios: list[float]
    calls: tuple[tuple[float, ...], ...] = ()


def set_up(
    cases: Sequence[Case], scenarios: Sequence[Scenario], request: SpeedRequest, side: Side
) -> tuple[CalibrationEntry, ...]:
    """Measure how long a call takes and how many extra layers add the scenario's share of it.

    Raises:
        QregError: a case cannot be run.
    """
    wanted = [one for case in cases for one in scenarios if one.method != case.method]
    return tuple(
        CalibrationEntry(case, scenario, calls, _layers(scenario.work * scenario.every, seconds))
        for case in cases
        for seconds in [_probe(case, request, side)]
        for calls in call_counts(seconds[:1] * len(wanted))[:1]
        for scenario in scenarios
        if scenario.method != case.method
    )


def _probe(case: Case, request: SpeedRequest, side: Side) -> list[float]:
    """Seconds per call with each number of extra layers in `_LAYERS`."""
    copies = len(_LAYERS)
    job = request.job([case] * copies, [_PROBED] * copies, rounds=_BURSTS)
    job = replace(job, extra=tuple((layers, 1) for layers in _LAYERS))
    try:
        probe = run_child(side, job, timeout=3 * request.timeout)
    except LostError as error:
        raise QregError(f"{case}: {error}") from error
    return [one["p5"] for one in probe["seconds"]]


def _layers(share: float, seconds: Sequence[float]) -> int:
    """How many extra layers lengthen a call by `share`; 1 where a single layer exceeds it."""
    shares = np.maximum.accumulate(np.array(seconds) / seconds[0] - 1)
    return max(1, round(float(np.interp(share, shares, _LAYERS)))) if share else 0


def run_trials(
    entries: Sequence[CalibrationEntry],
    request: SpeedRequest,
    side: Side,
    *,
    numbers: range,
    load: int,
    store: Path,
) -> None:
    """Run trials, appending each to `store` when it finishes; a trial's number is its seed.

    Raises:
        QregError: over a quarter of a trial's pairs were lost.
    """
    for number in numbers:
        with noise_load(load, number):
            started = read_noise()
            seen = _run(entries, request, side, number)
            stolen, others = read_noise().since(started)
        how = request.options
        common = {"load": load, "seed": number, "threads": how.threads, "batch": how.batch}
        append_trials(store, [_trial(one, steal=stolen, others=others, **common) for one in seen])


def _run(
    entries: Sequence[CalibrationEntry], request: SpeedRequest, side: Side, seed: int
) -> list[_EntrySamples]:
    """Run pairs, as a speed check does, until every entry is decided or the plan ends."""
    plan = make_plan(cases=1, threads=request.options.threads)
    seen = [_EntrySamples(entry, []) for entry in entries]
    orders, lost, done, still = pair_orders(seed), 0, 0, seen
    order = next(orders)
    while done < plan.pairs and still:
        request.options.progress(
            done, plan.pairs, f"trial {seed}: {len(still)} of {len(seen)} open"
        )
        try:
            _pair(still, request, side, order, done)
        except LostError as error:
            lost += 1
            if lost > plan.pairs // 4:
                raise QregError(f"trial {seed}: too many pairs were lost: {error}") from error
            continue
        order, done = next(orders), done + 1
        still = [s for s in still if outcome_so_far(s.ratios, plan) is Outcome.INCONCLUSIVE]
    return seen


def _pair(
    samples: Sequence[_EntrySamples], request: SpeedRequest, side: Side, order: str, number: int
) -> None:
    """Run one process pair: A the clean copies, B the cases with each scenario's slowdown."""
    entries = [one.entry for one in samples]
    counts = [one.calls for one in entries]
    processor = processor_of(number, threads=request.options.threads)
    jobs = {
        "A": request.job([one.case for one in entries], counts),
        "B": replace(
            request.job(list(map(_faulty, entries)), counts),
            extra=tuple((one.layers, one.scenario.every) for one in entries),
            serial=tuple(at for at, one in enumerate(entries) if one.scenario.serial),
        ),
    }
    jobs = {one: replace(job, keep=_KEPT, processor=processor) for one, job in jobs.items()}
    found = run_pair(order, {"A": side, "B": side}, jobs, timeout=request.timeout)
    for at, one in enumerate(samples):
        one.ratios.append(_log_ratio(found, at))
        one.calls = one.calls or tuple(tuple(found[letter]["kept"][at]) for letter in "AB")


def _faulty(entry: CalibrationEntry) -> Case:
    method = entry.scenario.method
    return replace(entry.case, method=method) if method else entry.case


def _trial(samples: _EntrySamples, **common: Any) -> Trial:
    return Trial(
        scenario=samples.entry.scenario.name,
        case=samples.entry.case,
        ratios=tuple(samples.ratios),
        baseline_calls=samples.calls[0],
        candidate_calls=samples.calls[1],
        **common,
    )


def _log_ratio(pair: dict[str, dict[str, Any]], place: int) -> float:
    baseline, candidate = (pair[side]["seconds"][place]["p5"] for side in "AB")
    return log(candidate / baseline)
