"""The driver: runs pairs of fresh processes and the planned looks until every case is decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from qreg.measure.options import ONE_THREAD, Options
from qreg.processes.jobs import Job, LostError
from qreg.processes.sides import Side
from qreg.records.case import Case
from qreg.records.verdict import Outcome
from qreg.speed.compare.rule import FEWEST, SequentialPlan, describe, judge_look
from qreg.speed.compare.verdicts import log_ratios, speed_verdict, times_of
from qreg.speed.pairs import pair_orders, processor_of, run_pair
from qreg.speed.records import CaseTimes, ProcessPair, Speed, SpeedVerdict, Timing

#: Bursts of calls per process, and untimed warm-up calls before each: the two processes of a pair
#: are interleaved, and the shorter a burst, the more similar the noise that both experience.
ROUNDS, WARM_UP = 20, 3
#: Seconds of calls per process, shared by its cases, with a minimum and maximum per case: the
#: longer, the likelier a busy neighbour pauses in between. Importing PyTorch takes longer.
_SECONDS, _SHORTEST, _LONGEST = 1.5, 0.3, 0.75
_FEWEST_CALLS, _MOST_CALLS = 40, 5000


@dataclass(frozen=True)
class SpeedRequest:
    """What to compare, and how.

    Attributes:
        against: the method that the baseline runs in place of the case's own; "" for the same.
        options: how to measure; its calibration samples do not count.
        timeout: seconds that one process may take.
    """

    cases: tuple[Case, ...]
    plan: SequentialPlan
    seed: int
    options: Options = ONE_THREAD
    against: str = ""
    timeout: float = 60.0

    def job(self, cases: Sequence[Case], calls: Sequence[int], *, rounds: int = ROUNDS) -> Job:
        """The job of one process."""
        return Job(
            cases=tuple(cases),
            calls=tuple(calls),
            rounds=rounds,
            warm_up=WARM_UP,
            options=self.options,
        )

    def baseline_case(self, case: Case) -> Case:
        """The case that the baseline runs for a candidate's case."""
        return replace(case, method=self.against) if self.against else case


@dataclass
class Tally:
    """The state of a run so far."""

    pairs: list[ProcessPair] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    decided: dict[Case, Speed] = field(default_factory=dict)
    interrupted: bool = False
    error: str = ""


def call_counts(seconds: Sequence[float]) -> tuple[int, ...]:
    """Calls per round for cases that take `seconds` per call."""
    share = max(_SHORTEST, min(_LONGEST, _SECONDS / len(seconds)))
    wanted = (max(_FEWEST_CALLS, min(_MOST_CALLS, share / one)) for one in seconds)
    return tuple(round(count / ROUNDS) for count in wanted)


def run_pairs(request: SpeedRequest, sides: tuple[Side, Side], calls: dict[Case, int]) -> Tally:
    """Run and judge pairs until every case is decided, the plan ends, or the user interrupts."""
    tally, plan = Tally(), request.plan
    orders = pair_orders(request.seed)
    try:
        while len(tally.pairs) < plan.pairs and not tally.error:
            # a lost pair is repeated in the same order, so that blocks stay complete
            _keep_one(next(orders), request, sides, calls, tally)
            _look(request, tally)
            if len(tally.decided) == len(request.cases):
                break
    except KeyboardInterrupt:
        tally.interrupted = True
    return tally


def _keep_one(
    order: str,
    request: SpeedRequest,
    sides: tuple[Side, Side],
    calls: dict[Case, int],
    tally: Tally,
) -> None:
    """Run a pair in this order, repeating it until it succeeds or too many are lost."""
    open_cases = [case for case in request.cases if case not in tally.decided]
    while not tally.error:
        what = f"{len(open_cases)} case{'s' * (len(open_cases) > 1)} open"
        request.options.progress(len(tally.pairs), request.plan.pairs, what)
        try:
            number = len(tally.pairs)
            tally.pairs.append(_run_pair(number, order, open_cases, request, sides, calls))
            return
        except LostError as error:
            tally.lost.append(str(error))
            if len(tally.lost) > request.plan.pairs // 4:
                tally.error = f"over a quarter of the pairs were lost; the last one: {error}"


def _run_pair(
    number: int,
    order: str,
    cases: Sequence[Case],
    request: SpeedRequest,
    sides: tuple[Side, Side],
    calls: dict[Case, int],
) -> ProcessPair:
    counts = [calls[case] for case in cases]
    processor = processor_of(number, threads=request.options.threads)
    chosen = {"A": list(map(request.baseline_case, cases)), "B": cases}
    jobs = {one: replace(request.job(chosen[one], counts), processor=processor) for one in order}
    pair = dict(zip("AB", sides, strict=True))
    result = run_pair(order, pair, jobs, timeout=request.timeout)
    found = {one: [_timing(**seconds) for seconds in result[one]["seconds"]] for one in order}
    times = map(CaseTimes, cases, found["A"], found["B"])
    return ProcessPair(order, tuple(times))


def _timing(*, p5: float, p50: float, p95: float, calls: int) -> Timing:
    """Convert seconds to milliseconds."""
    return Timing(p5 * 1000, p50 * 1000, p95 * 1000, calls)


def _look(request: SpeedRequest, tally: Tally) -> None:
    if len(tally.pairs) not in {look.pairs for look in request.plan.looks}:
        return
    open_cases = [case for case in request.cases if case not in tally.decided]
    ratios = [log_ratios(times_of(case, tally.pairs)) for case in open_cases]
    last = len(tally.pairs) == request.plan.pairs
    for case, speed in zip(open_cases, judge_look(ratios, request.plan), strict=True):
        if last or speed.outcome is not Outcome.INCONCLUSIVE:
            tally.decided[case] = speed


def verdicts(request: SpeedRequest, tally: Tally) -> tuple[SpeedVerdict, ...]:
    """A verdict for every case; cases left undecided by an early end are not judged."""
    return tuple(_verdict(case, request, tally) for case in request.cases)


def _verdict(case: Case, request: SpeedRequest, tally: Tally) -> SpeedVerdict:
    times = times_of(case, tally.pairs)
    speed = tally.decided.get(case)
    error = "" if speed else tally.error
    if speed is None and len(times) >= FEWEST:
        speed = describe(log_ratios(times), request.plan)
    against = request.baseline_case(case).method
    return speed_verdict(case, against, times, speed, error=error)
