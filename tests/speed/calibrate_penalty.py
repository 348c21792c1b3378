"""Which penalty the change points of `qreg speed history` need: false triggers and power.

    python tests/speed/calibrate_penalty.py --series 200
    python tests/speed/calibrate_penalty.py --trials .qreg/calibration.jsonl

Series of 60 clean nights, and of 35 nights with a step of 3 % five nights before the end, of four
kinds of noise; with `--trials`, also nights of 12 pairs drawn from this machine's own A/A trials,
as `qreg speed calibrate` stored them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from qreg.compare.walsh import hodges_lehmann
from qreg.speed.changes import change_points

NIGHTS, STEP, WITHIN, PAIRS = 60, 0.03, 5, 12
# of a night's estimate: 12 pairs of 1.3 %
SD = 0.004


def noise(kind: str, rng: np.random.Generator, count: int, pool: np.ndarray) -> np.ndarray:
    """Nights without a change, as shares."""
    if kind == "own A/A":
        return np.array([hodges_lehmann(rng.choice(pool, PAIRS)) for _ in range(count)])
    if kind == "heavy-tailed":
        return SD * rng.standard_t(3, count) / np.sqrt(3)
    found = SD * rng.normal(size=count)
    if kind == "autocorrelated":
        for night in range(1, count):
            found[night] = 0.5 * found[night - 1] + np.sqrt(0.75) * found[night]
    if kind == "spiky":
        spikes = rng.random(count) < 0.05
        found += spikes * rng.choice([-1, 1], count) * rng.uniform(0.02, 0.06, count)
    return found


def line(kind: str, penalty: float, series: int, pool: np.ndarray) -> str:
    """How many clean series trigger, and how many steps are found, to the night or the next."""
    triggers = found = 0
    before = NIGHTS // 2
    for number in range(series):
        rng = np.random.default_rng((number, len(kind)))
        triggers += bool(change_points(noise(kind, rng, NIGHTS, pool), penalty=penalty))
        stepped = noise(kind, rng, before + WITHIN, pool)
        stepped[before:] += STEP
        places = change_points(stepped, penalty=penalty)
        found += any(abs(place - before) <= 1 for place in places)
    return f"{kind:15} {penalty:7.0f} {triggers / series:15.1%} {found / series:13.1%}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=100)
    parser.add_argument("--trials", type=Path, metavar="FILE")
    args = parser.parse_args()
    kinds, pool = ["normal", "heavy-tailed", "autocorrelated", "spiky"], np.zeros(1)
    if args.trials:
        from qreg.speed.trials import clean_ratios

        pool = np.array(clean_ratios(args.trials))
        kinds.append("own A/A")
    print(f"{'noise':15} penalty  clean triggers  steps found")
    for kind in kinds:
        for penalty in (6, 8, 10, 15, 20):
            print(line(kind, penalty, args.series, pool), flush=True)


if __name__ == "__main__":
    main()
