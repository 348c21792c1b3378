"""Multiple tests in one run: the significance level of each that bounds the run's error rate."""

from __future__ import annotations

from collections.abc import Sequence

#: Probability of any false alarm in a whole run.
FAMILY_ALPHA = 0.01
#: Tests with a p-value in one verdict: accuracy and agreement.
TESTS = 2
#: Probability, in addition, of a false alarm about a promised speed-up in a whole run. It is
#: separate because the other tests are exact, and this one assumes a distribution of times.
PROMISES_ALPHA = FAMILY_ALPHA / TESTS


def family_alpha(cases: int) -> float:
    """The significance level of each test in a run of `cases` cases.

    This is the first step of Holm's procedure: a run has a rejection at these levels exactly if
    Holm's procedure rejects anything at all. So each case can be judged when it is measured, and
    the run as a whole keeps `FAMILY_ALPHA`; `holm` finds further rejections afterwards.

    Raises:
        ValueError: there are no cases.
    """
    if cases < 1:
        raise ValueError(f"{cases} cases")
    return FAMILY_ALPHA / (TESTS * cases)


def holm(p_values: Sequence[float], *, alpha: float = FAMILY_ALPHA) -> tuple[bool, ...]:
    """Which hypotheses are rejected, with a probability of any false rejection of at most `alpha`.

    Source: Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Stat. 6
    (1979).
    """
    order = sorted(range(len(p_values)), key=lambda n: p_values[n])
    rejected = [False] * len(p_values)
    for rank, which in enumerate(order):
        if p_values[which] > alpha / (len(p_values) - rank):
            break
        rejected[which] = True
    return tuple(rejected)
