"""Judging in several processes, one model at a time; a crash affects its own case only."""

from __future__ import annotations

import multiprocessing
import sys
import warnings
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qreg.errors import MissingDataError
from qreg.measure.options import ONE_THREAD, Options
from qreg.records.case import Case, Failure
from qreg.records.verdict import Verdict
from qreg.settings import Settings

if TYPE_CHECKING:
    from qreg.gate.judge import Judge

Result = Verdict | Failure | MissingDataError


@dataclass(frozen=True)
class JudgeRequest:
    """How to judge, in any process.

    Attributes:
        alpha: the significance level of each test.
        options: how to measure, in each process; the settings determine the rest.
        full: use the whole test set.
    """

    settings: Settings
    baselines: Path
    alpha: float
    options: Options = ONE_THREAD
    full: bool = False

    def judge(self) -> Judge:
        """Create a judge in this process."""
        from qreg.baselines.store import Store
        from qreg.gate.judge import Judge
        from qreg.gate.observe import Gate
        from qreg.selection import gate_options, use_project

        self.options.apply_threads()
        use_project(self.settings)
        gate = Gate(gate_options(self.settings, self.options), full=self.full)
        return Judge(gate, Store(self.baselines), alpha=self.alpha)


class Pool:
    """Computes verdicts in several processes, which start at once."""

    def __init__(self, options: JudgeRequest, cases: Sequence[Case], *, jobs: int) -> None:
        self._options = options
        groups: dict[tuple[str, str], list[Case]] = {}
        for case in cases:
            groups.setdefault((case.dataset, case.model), []).append(case)
        self._executor = _executor(min(jobs, len(groups)))
        self._futures: dict[Case, Future[dict[Case, Result]]] = {}
        for group in groups.values():
            future = _submit(self._executor, options, tuple(group))
            self._futures.update(dict.fromkeys(group, future))

    def verdict(self, case: Case) -> Verdict | Failure:
        """Wait for the verdict of a case.

        Raises:
            MissingDataError: the dataset is not on this machine.
        """
        try:
            found = self._futures[case].result()[case]
        except BrokenProcessPool:
            found = _alone(self._options, case)
        if isinstance(found, MissingDataError):
            raise found
        return found

    def close(self) -> None:
        """End the processes without finishing the remaining cases."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def can_fork(threads: int) -> bool:
    """Whether several processes may judge.

    They are forks, so that what a project's conftest.py does to PyTorch is in effect. A fork of a
    process that has used threads may only run kernels on one thread.
    """
    return sys.platform == "linux" and threads == 1


def _executor(jobs: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("fork"))


def _submit(
    executor: ProcessPoolExecutor, options: JudgeRequest, cases: tuple[Case, ...]
) -> Future[dict[Case, Result]]:
    with warnings.catch_warnings():
        # Python warns about forking with threads, which numpy starts on import
        warnings.simplefilter("ignore", DeprecationWarning)
        return executor.submit(_judge_all, options, cases)


def _alone(options: JudgeRequest, case: Case) -> Result:
    """Judge a case in its own process, after another case of its group has crashed."""
    with _executor(1) as executor:
        try:
            return _submit(executor, options, (case,)).result()[case]
        except BrokenProcessPool:
            from qreg.checks.verdict import failed

            reason = "its process crashed (a signal, or out of memory)"
            return failed(Failure(case, reason, "", unavailable=False))


def _judge_all(options: JudgeRequest, cases: tuple[Case, ...]) -> dict[Case, Result]:
    judge = options.judge()
    found: dict[Case, Result] = {}
    for case in cases:
        try:
            found[case] = judge.verdict(case)
        except MissingDataError as error:
            found[case] = error
    return found
