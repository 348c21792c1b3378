"""False alarms and power of the tests of scores, by simulation: docs/evidence/scores.md.

    python tests/evidence/real_scores.py [--draws 1000] [--seed 0] [--table 'Real scores']

Prints tables in Markdown. One-sided, at a level of 5 %. Some minutes on one core.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import optimize, special, stats

from qreg.stats.hodges_lehmann import hodges_lehmann
from qreg.stats.intervals import paired_change
from qreg.stats.non_inferiority import BudgetOutcome, non_inferior, non_inferior_scores, tango
from qreg.stats.permutation import detectable_drop_of_summary, permutation
from qreg.stats.sign_flip import detectable_fall, mean_interval, sign_flip
from qreg.stats.signed_rank import signed_rank, typical_change
from qreg.tasks import summaries
from qreg.tasks.average_precision import IOUS, mean_average_precision

Array = npt.NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Array]
ALPHA = 0.05


def _normal(rng: np.random.Generator, count: int) -> Array:
    return rng.normal(size=count)


def _heavy_tail(rng: np.random.Generator, count: int) -> Array:
    return rng.standard_t(2, size=count)


def _zero_inflated(rng: np.random.Generator, count: int) -> Array:
    return rng.normal(size=count) * (rng.random(count) < 0.1)


def _ties(rng: np.random.Generator, count: int) -> Array:
    return rng.normal(size=count).round()


def _skewed(rng: np.random.Generator, count: int) -> Array:
    """Of mean zero and in [-1, 1]: nine in ten samples gain 0.02 of a score, one loses 0.18."""
    lost = rng.random(count) < 0.1
    sizes = rng.beta(2, 5, size=count) * 3.5
    return np.where(lost, -0.18, 0.02) * sizes


def _skewed_zeros(rng: np.random.Generator, count: int) -> Array:
    return _skewed(rng, count) * (rng.random(count) < 0.2)


DIFFERENCES: dict[str, Draw] = {
    "normal": _normal,
    "heavy tail (Student's t, 2 degrees of freedom)": _heavy_tail,
    "nine in ten unchanged": _zero_inflated,
    "ties (rounded to whole numbers)": _ties,
    "skewed, bounded: a few lose much": _skewed,
    "skewed, bounded: a few gain much": lambda rng, count: -_skewed(rng, count),
    "skewed, bounded: a few lose much, eight in ten unchanged": _skewed_zeros,
}


def _t_test(values: Array) -> float:
    return float(stats.ttest_1samp(values, 0, alternative="less").pvalue)


TESTS: dict[str, Callable[[Array], float]] = {
    "sign-flip": sign_flip,
    "signed-rank": signed_rank,
    "t": _t_test,
}


def share(found: Sequence[bool]) -> str:
    """In percent, with the half of its 95 % interval."""
    rate = float(np.mean(found))
    return f"{rate:.1%} ± {1.96 * np.sqrt(max(rate * (1 - rate), 1e-4) / len(found)):.1%}"


def real_scores(draws: int, seed: int) -> Iterator[str]:
    """False alarms, power at the drop stated as detectable, coverage."""
    yield (
        "| differences of scores | samples | "
        + " | ".join(f"{name}: false alarms" for name in TESTS)
        + (" | " + " | ".join(f"{name}: power" for name in TESTS))
        + " | mean interval covers | typical change covers |"
    )
    yield "|---|---:|" + "---:|" * (2 * len(TESTS) + 2)
    for name, draw in DIFFERENCES.items():
        middle = hodges_lehmann(draw(np.random.default_rng(seed), 100_001))
        for count in (50, 1000):
            rng = np.random.default_rng(seed)
            false: dict[str, list[bool]] = {test: [] for test in TESTS}
            power: dict[str, list[bool]] = {test: [] for test in TESTS}
            means, typical = [], []
            for _ in range(draws):
                noise = draw(rng, count)
                # stated from one comparison, to be found in another one
                other = draw(rng, count) - detectable_fall(noise, alpha=ALPHA)
                for test, p_value in TESTS.items():
                    false[test].append(p_value(noise) <= ALPHA)
                    power[test].append(p_value(other) <= ALPHA)
                low, high = mean_interval(noise, level=0.9)
                means.append(low <= 0 <= high)
                _, low, high = typical_change(noise, level=0.9)
                typical.append(low <= middle <= high)
            cells = [share(found) for found in (*false.values(), *power.values(), means, typical)]
            yield f"| {name} | {count} | " + " | ".join(cells) + " |"


def _iou_rows(rng: np.random.Generator, hard: Array, spread: float, shift: float = 0) -> Array:
    """Of 5 classes, (N, 10): a model's intersections on samples of given difficulty."""
    union = np.full((len(hard), 5), 200.0)
    noise = rng.normal(size=(len(hard), 5)) * spread
    quality = special.expit(-(hard[:, None] + shift + noise))
    return np.concatenate([np.round(union * quality), union], axis=1)


def _f1_rows(rng: np.random.Generator, hard: Array, spread: float, shift: float = 0) -> Array:
    right = special.expit(-(hard + shift + rng.normal(size=len(hard)) * spread))
    true, false = rng.binomial(10, right), rng.binomial(6, 1 - right)
    return np.stack([true, false, 10 - true], axis=1).astype(np.float64)


def _word_rows(rng: np.random.Generator, hard: Array, spread: float, shift: float = 0) -> Array:
    """Minus wrong words, and words: of very different numbers of words a sample."""
    words = 1 + (np.abs(hard) * 20).astype(np.int64)
    wrong = rng.binomial(words, special.expit(shift - 2 + spread * rng.normal(size=len(hard))))
    return np.stack([-wrong, words], axis=1).astype(np.float64)


def _box_rows(rng: np.random.Generator, hard: Array, spread: float, shift: float = 0) -> Array:
    """Triples of `qreg.tasks.average_precision`: two objects a sample, of three classes.

    Each is found with an overlap that depends on the difficulty; its confidence follows the
    overlap, not closely. Every other sample has a false detection.
    """
    count, parts = len(hard), []
    numbers, one = np.arange(count), np.ones(count)
    for which in range(2):
        overlap = special.expit(1.2 - 0.7 * hard - shift + rng.normal(size=count) * spread)
        found = overlap[:, None] >= np.array(IOUS)
        bits = (found << np.arange(len(IOUS))).sum(axis=1)
        kind, confidence = (numbers + which) % 3, overlap + rng.normal(size=count) * 0.2
        parts += [kind, 0 * one, -one, kind, confidence, bits]
    there = rng.random(count) < 0.5
    false = [np.where(there, part, np.nan) for part in (numbers % 3, rng.random(count), 0 * one)]
    return np.stack([*parts, *false], axis=1)


#: Rows, the summary, and how many samples of a set and how many of them change; mAP takes as long
#: as ten of the others.
SETS: dict[str, tuple[Any, Any, tuple[int, int]]] = {
    "mean IoU": (_iou_rows, summaries.mean_iou, (200, 100)),
    "micro F1": (_f1_rows, summaries.f1, (200, 100)),
    "word error rate": (_word_rows, summaries.ratio_of_sums, (200, 100)),
    "mAP": (_box_rows, mean_average_precision, (60, 30)),
}


def set_level(draws: int, seed: int) -> Iterator[str]:
    """The permutation test of summaries, and its power at the drop stated as detectable."""
    yield "| summary | samples | changed | false alarms | p below 0.1 % |"
    yield "|---|---:|---:|---:|---:|"
    for name, (rows, summarize, sizes) in SETS.items():
        for count, changed in ((8, 8), sizes):
            rng = np.random.default_rng(seed)
            found = []
            for _ in range(draws):
                hard = rng.normal(size=count)
                before = rows(rng, hard, 0.5)
                now = np.where(np.arange(count)[:, None] < changed, rows(rng, hard, 0.5), before)
                found.append(permutation(now, before, summarize).p_value)
            tail = [p <= 0.001 for p in found]
            cells = share([p <= ALPHA for p in found]), share(tail)
            yield f"| {name} | {count} | {changed} | " + " | ".join(cells) + " |"


def set_level_power(draws: int, seed: int) -> Iterator[str]:
    """The permutation test at the drop that it states as detectable with 80 %.

    The other model is worse on samples of every kind by a shift of their difficulty, which is
    searched for so that the expected drop is the detectable one.
    """
    yield "| summary | samples | changed | draws | detectable | drop | false alarms | power |"
    yield "|---|---:|---:|---:|---:|---:|---:|---:|"
    for name, (rows, summarize, (count, changed)) in SETS.items():

        def pair(rng: Any, shift: float, rows: Any = rows, part: Any = (count, changed)) -> Any:
            hard = rng.normal(size=part[0])
            before = rows(rng, hard, 0.5)
            other = rows(rng, hard, 0.5, shift)
            return np.where(np.arange(part[0])[:, None] < part[1], other, before), before

        def drop(shift: float, pair: Any = pair, summarize: Any = summarize) -> float:
            rng = np.random.default_rng(seed + 1)
            pairs = [pair(rng, shift) for _ in range(200)]
            return float(np.mean([summarize(old) - summarize(new) for new, old in pairs]))

        rng = np.random.default_rng(seed)
        clean = [permutation(*pair(rng, 0.0), summarize) for _ in range(draws)]
        spread = float(np.median([one.spread for one in clean]))
        detectable = detectable_drop_of_summary(spread, alpha=ALPHA, power=0.8)
        shift = float(
            optimize.brentq(lambda x, least=detectable: drop(x) - least, -1, 8, xtol=0.002)
        )
        worse = [permutation(*pair(rng, shift), summarize) for _ in range(draws)]
        cells = (
            f"{detectable * 100:.2f}",
            f"{-np.mean([one.change for one in worse]) * 100:.2f}",
            share([one.p_value <= ALPHA for one in clean]),
            share([one.p_value <= ALPHA for one in worse]),
        )
        yield f"| {name} | {count} | {changed} | {draws} | " + " | ".join(cells) + " |"


def paired_shares(draws: int, seed: int) -> Iterator[str]:
    """How often each one-sided 95 % bound of a change of a share misses it."""
    yield (
        "| samples | won | lost | Tango: below low | above high "
        "| Bonett and Price: below low | above high | kept, where the budget is just missed |"
    )
    yield "|---:|---:|---:|---:|---:|---:|---:|---:|"
    for count in (50, 200, 1000, 10_000):
        for won, lost in ((0.0, 0.005), (0.005, 0.01), (0.02, 0.02), (0.05, 0.1)):
            rng = np.random.default_rng(seed)
            parts = rng.multinomial(count, [won, lost, 1 - won - lost], size=draws)
            true, drop = won - lost, max(0.0, lost - won)
            score, adjusted, kept = [], [], []
            for up, down, _ in parts.tolist():
                score.append(tango(up, down, count, level=0.9))
                adjusted.append(paired_change(up, down, count, level=0.9)[1:])
                kept.append(
                    non_inferior(up, down, count, max_drop=drop).outcome is BudgetOutcome.KEPT
                )
            cells = [
                share([true < low for low, _ in score]),
                share([true > high for _, high in score]),
            ]
            cells.append(share([true < low for low, _ in adjusted]))
            cells.append(share([true > high for _, high in adjusted]))
            yield (
                f"| {count} | {won:.1%} | {lost:.1%} | " + " | ".join([*cells, share(kept)]) + " |"
            )


def real_budgets(draws: int, seed: int) -> Iterator[str]:
    """How often a budget of real scores is called kept where it is just missed, and broken.

    The last column is of Student's interval without the two samples that are added to it.
    """
    yield (
        "| differences of scores | samples "
        "| kept, just missed | broken, just kept | kept by Student's |"
    )
    yield "|---|---:|---:|---:|---:|"
    for name, draw in DIFFERENCES.items():
        for count in (50, 1000):
            rng = np.random.default_rng(seed)
            bound = 1.0 if "bounded" in name else None
            outcomes, plain = [], []
            for _ in range(draws):
                values = draw(rng, count)
                outcomes.append(non_inferior_scores(values, max_drop=0.0, span=bound).outcome)
                plain.append(mean_interval(values, level=0.9)[0] > 0)
            cells = [
                share([one is shown for one in outcomes])
                for shown in (BudgetOutcome.KEPT, BudgetOutcome.BROKEN)
            ]
            yield f"| {name} | {count} | " + " | ".join([*cells, share(plain)]) + " |"


TABLES = {
    "Real scores": real_scores,
    "Summaries of a whole set": set_level,
    "Power for summaries of a whole set": set_level_power,
    "Budgets of shares": paired_shares,
    "Budgets of real scores": real_budgets,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", choices=TABLES, action="append", help="only this one")
    parser.add_argument("--summary", choices=tuple(SETS), help="of whole sets only this one")
    given = parser.parse_args()
    for name in [name for name in SETS if given.summary not in (None, name)]:
        del SETS[name]
    for title in given.table or TABLES:
        print(f"\n### {title}\n", flush=True)
        for line in TABLES[title](given.draws, given.seed):
            print(line, flush=True)


if __name__ == "__main__":
    main()
