"""Judging cases for the history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qreg.errors import MissingDataError
from qreg.gate.pool import JudgeRequest, Pool, can_fork
from qreg.progress import Progress
from qreg.records.case import Case, Failure
from qreg.records.detail import CaseDetail
from qreg.records.verdict import Verdict


@dataclass(frozen=True)
class JudgedCases:
    """What was judged, and what this machine lacks for the rest."""

    cases: tuple[tuple[Verdict, CaseDetail], ...]
    failures: tuple[Failure, ...]


def judge_all(
    request: JudgeRequest, cases: Sequence[Case], *, jobs: int, progress: Progress
) -> JudgedCases:
    """Judge the cases as the gate does, each model in a process of its own."""
    forks = can_fork(request.options.threads)
    judge = Pool(request, cases, jobs=jobs) if forks else request.judge()
    found, failures = [], []
    try:
        for number, case in enumerate(cases):
            progress(number, len(cases), str(case))
            try:
                verdict = judge.verdict(case)
            except MissingDataError as error:
                failures.append(Failure(case, str(error), error.hint, unavailable=True))
                continue
            if isinstance(verdict, Verdict):
                found.append((verdict, judge.detail(case)))
            else:
                failures.append(verdict)
    finally:
        if isinstance(judge, Pool):
            judge.close()
    return JudgedCases(tuple(found), tuple(failures))
