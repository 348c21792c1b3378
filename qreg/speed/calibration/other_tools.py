"""Decision rules of other benchmarking tools, applied to one run per side of the same samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean, median

Calls = Sequence[float]
#: A common setting of ``--benchmark-compare-fail``.
_FAIL = 0.05
#: Significance level of a single test on calls, the same as this project's.
_ALPHA = 0.01
#: asv's defaults: ``continuous --factor`` and ``asv.statistics.is_different``.
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


#: Rules by name: from the seconds per call of one baseline and one candidate process, whether the
#: candidate is reported as slower.
OTHER_RULES: dict[str, Callable[[Calls, Calls], bool]] = {
    "pytest-benchmark mean:5%": _above(fmean),
    "pytest-benchmark median:5%": _above(median),
    "pytest-benchmark min:5%": _above(min),
    "Mann-Whitney on calls": _mann_whitney,
    "Welch on calls": _welch,
    "asv continuous": _asv,
}
