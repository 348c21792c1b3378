"""Which penalty the change points of `qreg speed history` need: alerts and power, night by night.

    python tests/speed/calibrate_penalty.py --series 200
    python tests/speed/calibrate_penalty.py --series 200 --trials .qreg/calibration.jsonl

Every night the history is looked at as `qreg speed history --confirm` does it: a last change point
that is a slowdown is confirmed by a paired check, once. Clean series have 60 nights; series with a
step of 3 % have 30 nights before it, and it must be found and confirmed within 5. Nights have four
kinds of noise. With `--trials` the pairs of the checks, and the nights of a fifth kind, are drawn
from this machine's own A/A trials, as `qreg speed calibrate` stored them; else pairs are normal.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from qreg.records.verdict import Outcome
from qreg.speed.calibration.trials import clean_ratios, outcome_so_far
from qreg.speed.compare.rule import make_plan
from qreg.speed.history.change_points import PENALTY, SEGMENT, change_points
from qreg.stats.hodges_lehmann import hodges_lehmann
from qreg.stats.intervals import clopper_pearson

NIGHTS, BEFORE, STEP, WITHIN, PAIRS = 60, 30, 0.03, 5, 12
# of the log ratio of a pair, and of a night's estimate, where no trials are given
PAIR_SD = 0.013
NIGHT_SD = PAIR_SD / np.sqrt(PAIRS)
PLAN = make_plan(cases=1)


def noise(kind: str, rng: np.random.Generator, count: int, pool: np.ndarray) -> np.ndarray:
    """Nights without a change, as shares."""
    if kind == "own A/A":
        return np.array([hodges_lehmann(rng.choice(pool, PAIRS)) for _ in range(count)])
    if kind == "heavy-tailed":
        return NIGHT_SD * rng.standard_t(3, count) / np.sqrt(3)
    found = NIGHT_SD * rng.normal(size=count)
    if kind == "autocorrelated":
        for night in range(1, count):
            found[night] = 0.5 * found[night - 1] + np.sqrt(0.75) * found[night]
    if kind == "spiky":
        spikes = rng.random(count) < 0.05
        found += spikes * rng.choice([-1, 1], count) * rng.uniform(0.02, 0.06, count)
    return found


def confirmed(rng: np.random.Generator, pool: np.ndarray, change: float) -> bool:
    """What the paired check says between two commits that differ by `change`."""
    pairs = rng.choice(pool, PLAN.pairs) + np.log1p(change)
    return outcome_so_far(pairs.tolist(), PLAN) is Outcome.REGRESSED


def watch(
    values: np.ndarray, since: int, penalty: float, rng: np.random.Generator, pool: np.ndarray
) -> tuple[int, bool]:
    """Look every night from `since` on: how many change points were checked; whether one alerted.

    The step, if there is one, is before night `BEFORE`; the two nights that are checked have it
    between them where the change point is at most one night off.
    """
    checked: set[int] = set()
    for night in range(since, len(values) + 1):
        starts = change_points(values[:night], penalty=penalty)
        if not starts or starts[-1] in checked:
            continue
        last, before = starts[-1], starts[-2] if len(starts) > 1 else 0
        if np.median(values[last:night]) <= np.median(values[before:last]):
            continue
        checked.add(last)
        stepped = abs(last - BEFORE) <= 1 and since > BEFORE
        if confirmed(rng, pool, STEP if stepped else 0.0):
            return len(checked), True
    return len(checked), False


def line(kind: str, penalty: float, series: int, pool: np.ndarray) -> str:
    """Series that were checked, and that alerted; and steps that were found and confirmed."""
    triggered = alerts = found = 0
    for number in range(series):
        rng = np.random.default_rng((number, len(kind)))
        checks, alert = watch(noise(kind, rng, NIGHTS, pool), 2 * SEGMENT, penalty, rng, pool)
        triggered, alerts = triggered + (checks > 0), alerts + alert
        stepped = noise(kind, rng, BEFORE + WITHIN, pool)
        stepped[BEFORE:] += STEP
        found += watch(stepped, BEFORE + 1, penalty, rng, pool)[1]
    cells = [f"{kind:15} {penalty:7.0f} {triggered / series:13.1%}"]
    for count in (alerts, found):
        low, high = clopper_pearson(count, series)
        cells.append(f"{count:4}/{series} ({low:5.1%}..{high:6.1%})")
    return "  ".join(cells)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=100)
    parser.add_argument("--trials", type=Path, metavar="FILE")
    parser.add_argument("--penalties", type=float, nargs="+", default=[PENALTY])
    args = parser.parse_args()
    kinds = ["normal", "heavy-tailed", "autocorrelated", "spiky"]
    pool = PAIR_SD * np.random.default_rng(0).normal(size=1000)
    if args.trials:
        pool = np.array(clean_ratios(args.trials))
        kinds.append("own A/A")
        print(f"{len(pool)} pairs of A/A trials, which spread by {pool.std(ddof=1):.2%}")
    print(f"{'noise':15} penalty  clean checked  clean alerts            steps found")
    for penalty in args.penalties:
        for kind in kinds:
            print(line(kind, penalty, args.series, pool), flush=True)


if __name__ == "__main__":
    main()
