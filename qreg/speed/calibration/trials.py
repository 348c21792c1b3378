"""Calibration trials: the measurements of one scenario, and the decision of each rule on them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from qreg.files import append_lines, read_lines
from qreg.records.case import Case
from qreg.records.decode import MismatchError, decoder, parse
from qreg.records.verdict import Outcome
from qreg.speed.calibration.other_tools import OTHER_RULES
from qreg.speed.compare.rule import SequentialPlan, judge_look, make_plan

#: This project's rule, in tables next to the other tools'.
OWN = "qreg speed check"


@dataclass(frozen=True)
class Scenario:
    """A slowdown injected into the candidate.

    Attributes:
        work: mean extra work, as a share of a call's time.
        every: the extra work is done in every `every`-th call, and is `every` times as large.
        method: run by the candidate in place of the case's own; "" for the case's own.
        serial: whether calls run on a single thread, however many the process has.
    """

    name: str
    work: float = 0.0
    every: int = 1
    method: str = ""
    serial: bool = False


CLEAN = Scenario("A/A")
#: Scenarios by their names on the command line (`qreg speed calibrate --scenarios`).
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
#: The default scenarios.
USUAL = ("A/A", "1%", "2%", "3%", "5%", "10%", "tail", "fp32")
#: The default scenarios with several threads, whose thresholds are looser.
USUAL_THREADS = ("A/A", "10%", "20%", "serial")


@dataclass(frozen=True)
class Trial:
    """One scenario of one case, with as many pairs as the rule needed to decide.

    Attributes:
        load: number of background processes started to keep the machine busy.
        others: processors kept busy by all other processes; None where unknown.
        steal: share of processor time taken by the host; None where unknown.
        ratios: log of candidate over baseline 5th percentiles, one per pair.
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

    def __post_init__(self) -> None:
        if not self.ratios:
            raise ValueError("a trial without pairs")
        calls = (*self.baseline_calls, *self.candidate_calls)
        if not self.baseline_calls or not self.candidate_calls or min(calls) <= 0:
            raise ValueError("a side without calls, or with calls that took no time")
        if self.threads < 1 or self.batch < 1 or self.load < 0:
            raise ValueError(f"threads {self.threads}, batch {self.batch}, load {self.load}")


def says_slower(trial: Trial) -> dict[str, bool]:
    """For each rule, whether it reports the candidate as slower."""
    calls = (trial.baseline_calls, trial.candidate_calls)
    plan = make_plan(cases=1, threads=trial.threads)
    own = outcome_so_far(trial.ratios, plan) is Outcome.REGRESSED
    return {OWN: own, **{name: rule(*calls) for name, rule in OTHER_RULES.items()}}


def outcome_so_far(ratios: Sequence[float], plan: SequentialPlan) -> Outcome:
    """The outcome of the first look that decides; INCONCLUSIVE if none has decided yet."""
    for look in plan.looks:
        if look.pairs <= len(ratios):
            speed = judge_look([ratios[: look.pairs]], plan, detectable=False)[0]
            if speed.outcome is not Outcome.INCONCLUSIVE:
                return speed.outcome
    return Outcome.INCONCLUSIVE


def append_trials(path: Path, trials: Sequence[Trial]) -> None:
    """Append finished trials, one JSON line each."""
    append_lines(path, [json.dumps(asdict(trial), sort_keys=True) for trial in trials])


def read_trials(path: Path) -> tuple[tuple[Trial, ...], tuple[int, ...]]:
    """All trials, and the line numbers of lines that cannot be decoded."""
    trials: list[Trial] = []
    damaged = []
    for number, line in read_lines(path) if path.exists() else ():
        try:
            trials.append(decoder(Trial)(parse(line)))
        except MismatchError:
            damaged.append(number)
    return tuple(trials), tuple(damaged)


def clean_ratios(path: Path) -> tuple[float, ...]:
    """Log ratios of all pairs of A/A trials."""
    trials, _ = read_trials(path)
    return tuple(ratio for one in trials if one.scenario == CLEAN.name for ratio in one.ratios)
