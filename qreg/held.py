"""From a verdict on numbers to one that holds the case to its promised speed, too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from qreg.approvals import Promise
from qreg.baselines.select import choose_promise
from qreg.compare.promise import can_be_told, check_promise, judge_promise, suspicious
from qreg.compare.verdict import with_finding
from qreg.judgements import PromiseCheck, Verdict
from qreg.records import Environment

Look = Callable[[int], float]


def hold(
    verdict: Verdict,
    promises: Sequence[Promise],
    environment: Environment,
    look: Look,
    *,
    alpha: float,
) -> Verdict:
    """The verdict, with what is found of the promise that applies.

    Args:
        look: measures the log of the speed-up over fp32 at a batch size, anew at every call.
    """
    found = checked(promises, environment, look, alpha=alpha)
    if found is None:
        return verdict
    check, promise, exact = found
    p_values = (*verdict.p_values, check.p_value)
    verdict = replace(verdict, promise=check, p_values=p_values)
    for finding in judge_promise(check, promise, exact=exact, alpha=alpha):
        verdict = with_finding(verdict, finding)
    return verdict


def checked(
    promises: Sequence[Promise],
    environment: Environment,
    look: Look,
    *,
    alpha: float,
) -> tuple[PromiseCheck, Promise, bool] | None:
    """Look as often as it takes; None where nothing is promised.

    Returns:
        tuple: what was seen, by which promise, and whether that is of this environment.
    """
    chosen = choose_promise(promises, environment)
    if chosen is None or not can_be_told(chosen[0]):
        return None
    promise, basis = chosen
    seen = [look(promise.batch)]
    while suspicious(seen, promise, exact=basis.exact, alpha=alpha):
        seen.append(look(promise.batch))
    return check_promise(seen, promise, exact=basis.exact), promise, basis.exact
