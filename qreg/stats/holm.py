"""Many tests in one run: what each may err, so that the run hardly ever does."""

from __future__ import annotations

from collections.abc import Sequence

#: The chance of any false alarm in one whole run.
FAMILY_ALPHA = 0.01
#: Tests with a p-value in one verdict: accuracy and agreement.
TESTS = 2
#: The chance, beside it, that a promised speed-up is called broken in one whole run: each has the
#: level of a test. It is apart because those tests are exact, and this one rests on a model of how
#: times spread.
PROMISES_ALPHA = FAMILY_ALPHA / TESTS


def family_alpha(cases: int) -> float:
    """The level of each test in a run of so many cases.

    This is the first step of Holm's procedure: a run has a rejection at these levels exactly if
    Holm's procedure rejects anything at all. So each case can be judged when it is measured,
    and the run as a whole keeps `FAMILY_ALPHA`; `holm` names the further ones afterwards.

    Raises:
        ValueError: there are no cases.
    """
    if cases < 1:
        raise ValueError(f"{cases} cases")
    return FAMILY_ALPHA / (TESTS * cases)


def holm(p_values: Sequence[float], *, alpha: float = FAMILY_ALPHA) -> tuple[bool, ...]:
    """Which hypotheses are rejected, the chance of any false rejection being at most `alpha`.

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
