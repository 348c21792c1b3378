from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from qreg.stats.mcnemar import ALPHA, POWER, detectable_drop, mcnemar


def test_against_the_binomial_by_hand() -> None:
    # 1 won, 5 lost: 2 * (C(6,0) + C(6,1)) / 2**6
    assert mcnemar(1, 5) == pytest.approx(14 / 64)
    assert mcnemar(5, 1) == pytest.approx(14 / 64)


@pytest.mark.parametrize("won", [0, 1, 3, 20, 300])
@pytest.mark.parametrize("lost", [0, 1, 2, 7, 33, 290])
def test_it_is_scipys_binomial_test(won: int, lost: int) -> None:
    if won + lost:
        expected = stats.binomtest(lost, won + lost, 0.5).pvalue
        assert mcnemar(won, lost) == pytest.approx(expected, rel=1e-9)


def test_nothing_changed_says_nothing() -> None:
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(7, 7) == 1.0


@pytest.mark.parametrize(("won", "lost"), [(-1, 0), (0, -1)])
def test_negative_counts(won: int, lost: int) -> None:
    with pytest.raises(ValueError, match="won and"):
        mcnemar(won, lost)


@pytest.mark.parametrize(("changed", "total"), [(-1, 5), (6, 5), (0, 0)])
def test_impossible_counts(changed: int, total: int) -> None:
    with pytest.raises(ValueError, match="changed of"):
        detectable_drop(changed, total)


def test_without_noise_five_losses_are_seen() -> None:
    # one-sided: 0.5**5 is under 5 %, 0.5**4 is not
    assert detectable_drop(0, 1000) == 0.005


def test_more_noise_hides_larger_drops() -> None:
    drops = [detectable_drop(changed, 10_000) for changed in (0, 20, 100, 400, 1600)]
    assert drops == sorted(drops)
    assert drops[-1] > 4 * drops[1]


@pytest.mark.parametrize("changed", [4, 40, 400])
def test_the_stated_power_is_reached_and_false_alarms_stay_under_their_level(changed: int) -> None:
    total, trials = 10_000, 3000
    added = round(detectable_drop(changed, total) * total)
    rng = np.random.default_rng(changed)

    def found(extra: int) -> float:
        flips = changed + extra
        lost = rng.binomial(flips, (changed / 2 + extra) / flips, size=trials)
        halved = [mcnemar(int(flips - n), int(n)) / 2 if n > flips / 2 else 1.0 for n in lost]
        return float(np.mean(np.array(halved) <= ALPHA))

    # four standard errors of 3,000 trials
    assert found(added) > POWER - 4 * np.sqrt(0.2 * 0.8 / trials)
    assert found(0) < ALPHA + 4 * np.sqrt(0.05 * 0.95 / trials)
