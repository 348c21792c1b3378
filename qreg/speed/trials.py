"""Trials of the rule: what was seen of one scenario, and what every rule says of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from qreg.baselines.strict import MismatchError, decoder, parse
from qreg.compare.peers import PEERS
from qreg.compare.speed import look_at, make_plan
from qreg.judgements import Outcome
from qreg.records import Case
from qreg.speed.lines import append_lines, read_lines

#: This project's rule, among its peers.
OWN = "qreg speed check"


@dataclass(frozen=True)
class Scenario:
    """What is done to the candidate.

    Attributes:
        work: extra work, as a share of a call's time, on average.
        every: in every how manyth call it is done, then so many times as much.
        method: that the candidate runs instead of the case's own, "" for it.
    """

    name: str
    work: float = 0.0
    every: int = 1
    method: str = ""


CLEAN = Scenario("A/A")
SCENARIOS = (
    CLEAN,
    *(Scenario(f"slower by {percent} %", work=percent / 100) for percent in (1, 2, 3, 5, 10)),
    Scenario("tail only, 1 call in 10", work=0.05, every=10),
    Scenario("fell back to fp32", method="fp32"),
)


@dataclass(frozen=True)
class Trial:
    """One scenario of one case, in a whole run's pairs.

    Attributes:
        load: how many processes kept the machine busy meanwhile.
        ratios: log of candidate over baseline, of 5th percentiles, one a pair.
        baseline_calls, candidate_calls: seconds of calls in the first pair's processes.
    """

    scenario: str
    case: Case
    load: int
    seed: int
    ratios: tuple[float, ...]
    baseline_calls: tuple[float, ...]
    candidate_calls: tuple[float, ...]


def says_slower(trial: Trial) -> dict[str, bool]:
    """Rule to whether it says that the candidate is slower."""
    calls = (trial.baseline_calls, trial.candidate_calls)
    return {OWN: _own(trial.ratios), **{name: rule(*calls) for name, rule in PEERS.items()}}


def _own(ratios: Sequence[float]) -> bool:
    plan = make_plan(pairs=len(ratios), cases=1)
    for look in plan.looks:
        speed = look_at([ratios[: look.pairs]], plan)[0]
        if speed.outcome is not Outcome.INCONCLUSIVE:
            return speed.outcome is Outcome.REGRESSED
    return False


def append_trials(path: Path, trials: Sequence[Trial]) -> None:
    """Keep finished trials, a line each."""
    append_lines(path, [json.dumps(asdict(trial), sort_keys=True) for trial in trials])


def read_trials(path: Path) -> tuple[tuple[Trial, ...], tuple[int, ...]]:
    """All trials, and the numbers of the lines that are none."""
    trials: list[Trial] = []
    damaged = []
    for number, line in read_lines(path) if path.is_file() else ():
        try:
            trials.append(decoder(Trial)(parse(line)))
        except MismatchError:
            damaged.append(number)
    return tuple(trials), tuple(damaged)


def clean_ratios(path: Path) -> tuple[float, ...]:
    """Log ratios of all pairs of the A/A trials."""
    trials, _ = read_trials(path)
    return tuple(ratio for one in trials if one.scenario == CLEAN.name for ratio in one.ratios)
