"""Judging a budget by what `qreg compare` measured."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace

from qreg.budget.rule import Evidence, Pair, judge_limits
from qreg.quantization import method_info
from qreg.records.budget import Against, Budget, BudgetCheck, Limits
from qreg.records.case import Case, Failure
from qreg.records.measurement import Measurement
from qreg.settings import dataset_name
from qreg.tasks import whole_set_summary


@dataclass(frozen=True)
class CaseBudget:
    """The limits of a case and their results."""

    case: Case
    checks: tuple[BudgetCheck, ...]


def judge_measurements(
    results: Sequence[Measurement | Failure], budget: Budget
) -> tuple[CaseBudget, ...]:
    """Judge all measured cases that have limits, in their order."""
    measured = [one for one in results if isinstance(one, Measurement)]
    found = []
    for one in measured:
        limits = limits_of(one.case, budget)
        if limits:
            found.append(CaseBudget(one.case, judge_limits(limits, _evidence(one, measured))))
    return tuple(found)


def limits_of(case: Case, budget: Budget) -> Limits:
    """The limits of a case, whose dataset may be given as a path."""
    named = replace(case, dataset=dataset_name(case.dataset))
    return budget.of(named, float_only=method_info(case.method).float_only)


def controls(cases: Sequence[Case], budget: Budget) -> tuple[str, ...]:
    """The controls that must be measured too, because a drop is measured from them."""
    limited = [(case, limits_of(case, budget)) for case in cases]
    wanted = [case for case, limits in limited if limits.against is Against.CONTROL and limits]
    return tuple(dict.fromkeys(method_info(case.method).control for case in wanted))


def _evidence(one: Measurement, measured: Sequence[Measurement]) -> Evidence:
    control = method_info(one.case.method).control
    pairs = {}
    for name in ("fp32", control):
        among = [other for other in measured if other.case.method == name]
        # of several engines its own; what is float only has been measured on one
        among.sort(key=lambda other: other.case.engine != one.case.engine)
        if among:
            pairs[name] = _pair(one, among[0])
    return Evidence(
        score=one.score,
        file_bytes=one.size.file_bytes,
        pairs=pairs,
        control=control,
        log_speed_ups=(math.log(one.latencies[0].speed_up),),
        looks=1,
        summarize=whole_set_summary(one.score),
    )


def _pair(one: Measurement, other: Measurement) -> Pair:
    size = other.size.file_bytes
    if one.score is not None:
        own, others = one.score.predictions, other.score.predictions if other.score else None
        known = own is not None and others is not None
        flips = sum(map(operator.ne, own or (), others or ())) if known else None
        return Pair(len(one.score.index), 0, 0, flips, other.score, size)
    assert one.accuracy is not None
    total = one.accuracy.total
    for found in one.agreements:
        if found.reference == other.case.method:
            return Pair(total, found.won, found.lost, len(found.flips), None, size)
    return Pair(total, 0, 0, 0, None, size)  # the reference itself
