"""Trials of the rule: what was seen of one scenario, and what every rule says of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from qreg.files import append_lines, read_lines
from qreg.records.case import Case
from qreg.records.decode import MismatchError, decoder, parse
from qreg.records.verdict import Outcome
from qreg.speed.calibration.other_tools import PEERS
from qreg.speed.compare.rule import SequentialPlan, judge_look, make_plan

#: This project's rule, among its peers.
OWN = "qreg speed check"


@dataclass(frozen=True)
class Scenario:
    """What is done to the candidate.

    Attributes:
        work: extra work, as a share of a call's time, on average.
        every: in every how manyth call it is done, then so many times as much.
        method: that the candidate runs instead of the case's own, "" for it.
        serial: it runs on one thread, whatever the process has.
    """

    name: str
    work: float = 0.0
    every: int = 1
    method: str = ""
    serial: bool = False


CLEAN = Scenario("A/A")
#: By the names that `qreg speed calibrate --scenarios` takes.
SCENARIOS = {
    "A/A": CLEAN,
    **{
        f"{percent}%": Scenario(f"slower by {percent} %", work=percent / 100)
        for percent in (1, 2, 3, 5, 10, 20)
    },
    "tail": Scenario("tail only, 1 call in 10", work=0.05, every=10),
    "fp32": Scenario("fell back to fp32", method="fp32"),
    "serial": Scenario("lost its second thread", serial=True),
}
#: Those that are run unless others are chosen.
USUAL = ("A/A", "1%", "2%", "3%", "5%", "10%", "tail", "fp32")
#: The same of several threads, whose gate is looser.
USUAL_THREADS = ("A/A", "10%", "20%", "serial")


@dataclass(frozen=True)
class Trial:
    """One scenario of one case, in as many pairs as the rule needed.

    Attributes:
        load: how many processes kept the machine busy meanwhile, on purpose.
        others: processors that all other processes kept busy; None where it is not known.
        steal: share of processor time that the host took away; None likewise.
        ratios: log of candidate over baseline, of 5th percentiles, one a pair.
        baseline_calls, candidate_calls: seconds of calls in the first pair's processes.
    """

    scenario: str
    case: Case
    load: int
    seed: int
    threads: int
    batch: int
    steal: float | None
    others: float | None
    ratios: tuple[float, ...]
    baseline_calls: tuple[float, ...]
    candidate_calls: tuple[float, ...]


def says_slower(trial: Trial) -> dict[str, bool]:
    """Rule to whether it says that the candidate is slower."""
    calls = (trial.baseline_calls, trial.candidate_calls)
    plan = make_plan(cases=1, threads=trial.threads)
    own = outcome_so_far(trial.ratios, plan) is Outcome.REGRESSED
    return {OWN: own, **{name: rule(*calls) for name, rule in PEERS.items()}}


def outcome_so_far(ratios: Sequence[float], plan: SequentialPlan) -> Outcome:
    """What the first look that decides says; INCONCLUSIVE: none of those there were."""
    for look in plan.looks:
        if look.pairs <= len(ratios):
            speed = judge_look([ratios[: look.pairs]], plan, detectable=False)[0]
            if speed.outcome is not Outcome.INCONCLUSIVE:
                return speed.outcome
    return Outcome.INCONCLUSIVE


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
