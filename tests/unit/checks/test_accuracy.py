from __future__ import annotations

import re
from fractions import Fraction
from functools import cache
from itertools import product
from math import comb

import numpy as np
import pytest
from scipy import stats

from qreg.checks.accuracy import accuracy_change, judge_accuracy, moved_images
from qreg.records.baseline import Snapshot
from qreg.records.verdict import AccuracyChange, Check, Finding, Outcome
from qreg.stats.holm import family_alpha
from qreg.stats.intervals import paired_change
from qreg.stats.mcnemar import POWER, critical_losses, detectable_drop, lost_more
from tests.unit.baselines import build
from tests.unit.checks import given
from tests.unit.checks.given import ALPHA

TOTAL = 400
SEEN = build.images(TOTAL)


def _pair(won: int, lost: int) -> tuple[Snapshot, Snapshot]:
    """Now and before: the first `won` images became right, the last `lost` wrong."""
    labels = tuple(SEEN.labels)
    wrong = tuple((label + 1) % 10 for label in labels)
    before = given.with_predictions(build.snapshot(seen=SEEN), wrong[:won] + labels[won:])
    right = TOTAL - lost
    return given.with_predictions(before, labels[:right] + wrong[right:]), before


def _change(won: int, lost: int, *, alpha: float = ALPHA) -> AccuracyChange:
    now, before = _pair(won, lost)
    return accuracy_change(given.shared(now, before), alpha=alpha)


@cache
def _found(won: int, lost: int, alpha: float = ALPHA) -> Finding | None:
    found = list(judge_accuracy(_change(won, lost, alpha=alpha), alpha=alpha))
    assert len(found) <= 1
    return found[0] if found else None


def _outcome(won: int, lost: int, alpha: float = ALPHA) -> Outcome:
    found = _found(won, lost, alpha)
    return found.outcome if found else Outcome.PASS


def _exact_p(won: int, lost: int) -> Fraction:
    flips = won + lost
    return Fraction(sum(comb(flips, n) for n in range(lost, flips + 1)), 2**flips)


@pytest.mark.parametrize("flips", range(11))
def test_the_p_value_is_a_count_of_all_ways_to_fall(flips: int) -> None:
    for lost in range(flips + 1):
        ways = [sum(way) >= lost for way in product((0, 1), repeat=flips)]
        assert lost_more(flips - lost, lost) == pytest.approx(sum(ways) / len(ways), rel=1e-12)


@pytest.mark.parametrize(("won", "lost"), [(-1, 0), (0, -1)])
def test_negative_counts(won: int, lost: int) -> None:
    with pytest.raises(ValueError, match="won and"):
        lost_more(won, lost)


# 1/32 and 1/1024 are hit exactly by even odds
@pytest.mark.parametrize("alpha", [0.05, 1 / 32, 0.005, 1 / 1024, 0.0001, family_alpha(500)])
def test_the_margin_is_the_smallest_significant_surplus(alpha: float) -> None:
    level = Fraction(alpha)
    alone = next(n for n in range(1, 100) if Fraction(1, 2**n) <= level)
    for flips in range(80):
        significant = [
            2 * lost - flips for lost in range(flips + 1) if _exact_p(flips - lost, lost) <= level
        ]
        expected = min(significant, default=alone)
        assert critical_losses(flips, alpha=alpha) == expected, flips


def test_counts_are_those_of_the_shared_images() -> None:
    found = _change(3, 5)
    assert (found.total, found.won, found.lost) == (TOTAL, 3, 5)
    assert (found.expected, found.observed) == (TOTAL - 3, TOTAL - 5)
    assert found.change == pytest.approx(-2 / TOTAL)
    assert found.p_value == pytest.approx(float(_exact_p(3, 5)))
    assert (found.change, found.low, found.high) == paired_change(3, 5, TOTAL, level=0.9)
    now, before = _pair(3, 5)
    less = given.with_rows(now, [*range(10)])
    fewer = accuracy_change(given.shared(less, before), alpha=ALPHA)
    assert (fewer.total, fewer.won, fewer.lost) == (10, 3, 0)


def test_each_outcome_is_what_it_is_defined_to_be() -> None:
    seen = set()
    for won, lost in product(range(0, 41, 2), range(0, 41, 2)):
        margin = critical_losses(won + lost, alpha=ALPHA) / TOTAL
        if _exact_p(won, lost) <= Fraction(ALPHA):
            expected = Outcome.REGRESSED
        elif _exact_p(lost, won) <= Fraction(ALPHA):
            expected = Outcome.IMPROVED
        elif -paired_change(won, lost, TOTAL, level=0.9)[1] > margin:
            expected = Outcome.INCONCLUSIVE
        else:
            expected = Outcome.PASS
        assert _outcome(won, lost) is expected, (won, lost)
        seen.add(expected)
    assert len(seen) == 4


@pytest.mark.parametrize("won", [0, 4, 20])
def test_one_loss_more_turns_the_outcome(won: int) -> None:
    by_losses = [_outcome(won, lost) for lost in range(won, won + 40)]
    first = by_losses.index(Outcome.REGRESSED)
    lost = won + first
    assert lost - won == critical_losses(won + lost, alpha=ALPHA)
    assert (lost - 1) - won < critical_losses(won + lost - 1, alpha=ALPHA)
    assert all(outcome is Outcome.REGRESSED for outcome in by_losses[first:])
    severities = [outcome.severity for outcome in by_losses]
    assert severities == sorted(severities)
    mirrored = [_outcome(losses, won) for losses in range(won, won + 40)]
    assert mirrored.index(Outcome.IMPROVED) == first


def test_a_level_that_is_just_reached_is_enough() -> None:
    assert _outcome(0, 8, 1 / 256) is Outcome.REGRESSED
    assert _outcome(8, 0, 1 / 256) is Outcome.IMPROVED
    assert _outcome(0, 8, 1 / 257) is not Outcome.REGRESSED


def test_a_finding_says_how_much_and_how_sure() -> None:
    found = _found(2, 20)
    assert found is not None
    assert found.check is Check.ACCURACY
    assert found.expected == f"{398 / 400:.2%} (398 of 400)"
    low, high = (100 * end for end in paired_change(2, 20, TOTAL, level=0.9)[1:])
    assert found.observed == f"95.00%, -4.50 points ({low:+.2f} to {high:+.2f})"
    margin = 100 * critical_losses(22, alpha=ALPHA) / TOTAL
    assert found.allowed == f"a drop below {margin:.2f} points"
    assert re.fullmatch(r"20 \w+ lost, 2 won", found.where)
    assert found.p_value == pytest.approx(float(_exact_p(2, 20)))


@pytest.mark.parametrize("cases", [1, 20])
@pytest.mark.parametrize("noise", [0, 6, 40])
def test_the_detectable_drop_is_found_and_noise_is_not(noise: int, cases: int) -> None:
    alpha, trials = family_alpha(cases), 1500
    added = round(detectable_drop(noise, TOTAL, alpha=alpha) * TOTAL)
    rng = np.random.default_rng(noise + cases)

    def alarms(extra: int) -> int:
        flips = noise + extra
        lost = rng.binomial(flips, (noise / 2 + extra) / max(flips, 1), size=trials)
        return sum(_outcome(flips - int(n), int(n), alpha) is Outcome.REGRESSED for n in lost)

    # Clopper-Pearson at 99.9 %
    power = stats.binomtest(alarms(added), trials).proportion_ci(0.999)
    false = stats.binomtest(alarms(0), trials).proportion_ci(0.999)
    assert power.high >= POWER
    assert false.low <= alpha
    assert _power(noise, added, alpha) >= POWER > _power(noise, added - 1, alpha)


def _power(noise: int, added: int, alpha: float) -> float:
    """The chance of a significant count of losses, summed up."""
    flips = noise + added
    critical = [n for n in range(flips + 1) if _exact_p(flips - n, n) <= Fraction(alpha)]
    share = (noise / 2 + added) / max(flips, 1)
    return float(stats.binom.pmf(critical, flips, share).sum())


def test_moved_images_have_margins_where_logits_are_kept() -> None:
    before = given.snapshot()
    logits = given.logits(before)
    logits[2] = [0.5, 3.0, 2.25, *[0.0] * 7]
    before = given.with_logits(before, logits)
    predictions = list(before.predictions)
    predictions[2], predictions[30] = 9, 8
    now = given.with_predictions(before, tuple(predictions))
    kept, other = moved_images(now, before, given.shared(now, before))
    assert (kept.index, kept.label, kept.expected, kept.observed) == (2, 2, 3, 9)
    assert kept.expected_margin == kept.observed_margin == 0.75
    assert (other.index, other.expected, other.observed) == (30, 0, 8)
    assert other.expected_margin is None
    assert other.observed_margin is None
