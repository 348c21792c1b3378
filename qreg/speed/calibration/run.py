"""Running trials: every scenario of every case in the same pairs of processes, beside its copy."""

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

# Extra layers whose cost is measured where they stand, and then interpolated.
_LAYERS = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
# Calls of a first pair that are kept.
_KEPT = 100
# Bursts, and calls in each, when the cost of layers is measured.
_BURSTS, _PROBED = 10, 10


@dataclass(frozen=True)
class Entry:
    """What is run beside its copy in each pair.

    Attributes:
        calls: in each round.
        layers: more, in every `scenario.every`th call.
    """

    case: Case
    scenario: Scenario
    calls: int
    layers: int


@dataclass
class _Seen:
    """An entry's pairs so far: log ratios, and the calls of both sides in the first pair."""

    entry: Entry
    ratios: list[float]
    calls: tuple[tuple[float, ...], ...] = ()


def set_up(
    cases: Sequence[Case], scenarios: Sequence[Scenario], request: SpeedRequest, side: Side
) -> tuple[Entry, ...]:
    """Find out how long a call takes, and how many layers take a share of it.

    Raises:
        QregError: a case cannot be run.
    """
    wanted = [one for case in cases for one in scenarios if one.method != case.method]
    return tuple(
        Entry(case, scenario, calls, _layers(scenario.work * scenario.every, seconds))
        for case in cases
        for seconds in [_probe(case, request, side)]
        for calls in call_counts(seconds[:1] * len(wanted))[:1]
        for scenario in scenarios
        if scenario.method != case.method
    )


def _probe(case: Case, request: SpeedRequest, side: Side) -> list[float]:
    """Seconds of a call with each of `_LAYERS`."""
    copies = len(_LAYERS)
    job = request.job([case] * copies, [_PROBED] * copies, rounds=_BURSTS)
    job = replace(job, extra=tuple((layers, 1) for layers in _LAYERS))
    try:
        probe = run_child(side, job, timeout=3 * request.timeout)
    except LostError as error:
        raise QregError(f"{case}: {error}") from error
    return [one["p5"] for one in probe["seconds"]]


def _layers(share: float, seconds: Sequence[float]) -> int:
    """How many layers make a call longer by that share; 1 where even one does by more."""
    shares = np.maximum.accumulate(np.array(seconds) / seconds[0] - 1)
    return max(1, round(float(np.interp(share, shares, _LAYERS)))) if share else 0


def run_trials(
    entries: Sequence[Entry],
    request: SpeedRequest,
    side: Side,
    *,
    numbers: range,
    load: int,
    store: Path,
) -> None:
    """Run trials and keep each when it is finished; a trial's number is its seed.

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


def _run(entries: Sequence[Entry], request: SpeedRequest, side: Side, seed: int) -> list[_Seen]:
    """Pairs until the rule has decided every entry, or its plan ends: as a check goes."""
    plan = make_plan(cases=1, threads=request.options.threads)
    seen = [_Seen(entry, []) for entry in entries]
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
    seen: Sequence[_Seen], request: SpeedRequest, side: Side, order: str, number: int
) -> None:
    """A pair of processes: A runs copies of the cases, B the cases with each scenario's fault."""
    entries = [one.entry for one in seen]
    counts = [one.calls for one in entries]
    place = processor_of(number, threads=request.options.threads)
    jobs = {
        "A": request.job([one.case for one in entries], counts),
        "B": replace(
            request.job(list(map(_faulty, entries)), counts),
            extra=tuple((one.layers, one.scenario.every) for one in entries),
            serial=tuple(at for at, one in enumerate(entries) if one.scenario.serial),
        ),
    }
    jobs = {one: replace(job, keep=_KEPT, processor=place) for one, job in jobs.items()}
    found = run_pair(order, {"A": side, "B": side}, jobs, timeout=request.timeout)
    for at, one in enumerate(seen):
        one.ratios.append(_log_ratio(found, at))
        one.calls = one.calls or tuple(tuple(found[letter]["kept"][at]) for letter in "AB")


def _faulty(entry: Entry) -> Case:
    method = entry.scenario.method
    return replace(entry.case, method=method) if method else entry.case


def _trial(seen: _Seen, **common: Any) -> Trial:
    return Trial(
        scenario=seen.entry.scenario.name,
        case=seen.entry.case,
        ratios=tuple(seen.ratios),
        baseline_calls=seen.calls[0],
        candidate_calls=seen.calls[1],
        **common,
    )


def _log_ratio(pair: dict[str, dict[str, Any]], place: int) -> float:
    baseline, candidate = (pair[side]["seconds"][place]["p5"] for side in "AB")
    return log(candidate / baseline)
