"""What other tools would say of the same samples: their usual rules, from one run a side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean, median

Calls = Sequence[float]
#: The usual setting of ``--benchmark-compare-fail``.
_FAIL = 0.05
#: Level of a single test on calls, as this project's own.
_ALPHA = 0.01
#: asv's: ``continuous --factor`` and ``asv.statistics.is_different``.
_ASV_FACTOR, _ASV_P = 1.1, 0.002


def _above(figure: Callable[[Calls], float]) -> Callable[[Calls, Calls], bool]:
    return lambda baseline, candidate: figure(candidate) > (1 + _FAIL) * figure(baseline)


def _mann_whitney(baseline: Calls, candidate: Calls) -> bool:
    from scipy import stats

    return bool(stats.mannwhitneyu(candidate, baseline, alternative="greater").pvalue < _ALPHA)


def _welch(baseline: Calls, candidate: Calls) -> bool:
    from scipy import stats

    found = stats.ttest_ind(candidate, baseline, equal_var=False, alternative="greater")
    return bool(found.pvalue < _ALPHA)


def _asv(baseline: Calls, candidate: Calls) -> bool:
    from scipy import stats

    slower = median(candidate) > _ASV_FACTOR * median(baseline)
    return slower and bool(stats.mannwhitneyu(candidate, baseline).pvalue < _ASV_P)


#: Name to rule: seconds of the calls of one process of each side, to whether it says "slower".
PEERS: dict[str, Callable[[Calls, Calls], bool]] = {
    "pytest-benchmark mean:5%": _above(fmean),
    "pytest-benchmark median:5%": _above(median),
    "pytest-benchmark min:5%": _above(min),
    "Mann-Whitney on calls": _mann_whitney,
    "Welch on calls": _welch,
    "asv continuous": _asv,
}
