"""Running trials: every scenario of a case in the same pairs of processes, beside its copy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import log
from pathlib import Path
from typing import Any

import numpy as np

from qreg.compare.speed import make_plan
from qreg.errors import QregError
from qreg.records import Case
from qreg.speed.driver import Request, call_counts
from qreg.speed.load import noise_load
from qreg.speed.order import pair_orders
from qreg.speed.processes import LostError, run_child
from qreg.speed.sides import Side
from qreg.speed.trials import SCENARIOS, Scenario, Trial, append_trials

# Extra layers whose cost is measured where they stand, and then interpolated.
_LAYERS = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
# Calls of a first pair that are kept; calls of each kind when layers' cost is measured.
_KEPT, _PROBED = 100, 100


@dataclass(frozen=True)
class Setup:
    """What is run in each process, found out once.

    Attributes:
        calls: in each round, of every scenario.
        extra: layers more and in every how manyth call, of every scenario.
    """

    case: Case
    calls: tuple[int, ...]
    extra: tuple[tuple[int, int], ...]


def set_up(case: Case, request: Request, side: Side) -> Setup:
    """Find out how long a call takes, and how many layers take a share of it.

    Raises:
        QregError: the case cannot be run.
    """
    copies = len(_LAYERS)
    job = request.job([case] * copies, [_PROBED] * copies)
    job = replace(job, extra=tuple((layers, 1) for layers in _LAYERS))
    try:
        probe = run_child(side, job, timeout=3 * request.timeout)
    except LostError as error:
        raise QregError(f"{case}: {error}") from error
    seconds = [one["p5"] for one in probe["seconds"]]
    extra = tuple((_layers(one.work * one.every, seconds), one.every) for one in SCENARIOS)
    return Setup(case, call_counts(seconds[:1] * len(SCENARIOS)), extra)


def _layers(share: float, seconds: Sequence[float]) -> int:
    """How many layers make a call longer by that share; 1 where even one does by more."""
    shares = np.maximum.accumulate(np.array(seconds) / seconds[0] - 1)
    return max(1, round(float(np.interp(share, shares, _LAYERS)))) if share else 0


def run_trials(
    setup: Setup,
    request: Request,
    side: Side,
    *,
    numbers: range,
    load: int,
    store: Path,
    progress: Callable[[int, int, str], None],
) -> None:
    """Run trials and keep each when it is finished; a trial's number is its seed.

    Raises:
        QregError: over a quarter of a trial's pairs were lost.
    """
    pairs = make_plan(cases=1).pairs
    for number in numbers:
        with noise_load(load, number):
            seen = _pairs(setup, request, side, number, pairs, progress)
        append_trials(store, _trials(setup, seen, load=load, seed=number))


def _pairs(
    setup: Setup,
    request: Request,
    side: Side,
    seed: int,
    pairs: int,
    progress: Callable[[int, int, str], None],
) -> list[dict[str, dict[str, Any]]]:
    seen: list[dict[str, dict[str, Any]]] = []
    orders, lost = pair_orders(seed), 0
    order = next(orders)
    while len(seen) < pairs:
        progress(len(seen), pairs, f"trial {seed} of {setup.case}")
        try:
            seen.append({letter: _process(letter, setup, request, side) for letter in order})
            order = next(orders)
        except LostError as error:
            lost += 1
            if lost > pairs // 4:
                raise QregError(f"trial {seed}: too many pairs were lost: {error}") from error
    return seen


def _process(letter: str, setup: Setup, request: Request, side: Side) -> dict[str, Any]:
    """One process of a side: A runs copies of the case, B the case with each scenario's fault."""
    faulty = letter == "B"
    cases = [_case(setup.case, one) if faulty else setup.case for one in SCENARIOS]
    extra = setup.extra if faulty else ()
    job = replace(request.job(cases, setup.calls), extra=extra, keep=_KEPT)
    return run_child(side, job, timeout=request.timeout)


def _case(case: Case, scenario: Scenario) -> Case:
    return replace(case, method=scenario.method) if scenario.method else case


def _trials(
    setup: Setup, seen: Sequence[dict[str, dict[str, Any]]], *, load: int, seed: int
) -> list[Trial]:
    return [
        Trial(
            scenario=scenario.name,
            case=setup.case,
            load=load,
            seed=seed,
            ratios=tuple(_log_ratio(pair, place) for pair in seen),
            baseline_calls=tuple(seen[0]["A"]["kept"][place]),
            candidate_calls=tuple(seen[0]["B"]["kept"][place]),
        )
        for place, scenario in enumerate(SCENARIOS)
    ]


def _log_ratio(pair: dict[str, dict[str, Any]], place: int) -> float:
    baseline, candidate = (pair[side]["seconds"][place]["p5"] for side in "AB")
    return log(candidate / baseline)
