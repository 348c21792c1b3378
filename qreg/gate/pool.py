"""Judging each model in its own process; whatever ends the process affects its own case only."""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qreg.errors import MissingDataError
from qreg.files import read_regular
from qreg.gate.warm import warm_up
from qreg.measure.options import ONE_THREAD, Options
from qreg.processes.forked import Fork, Piece
from qreg.processes.temporary import temporary_folder
from qreg.records.case import Case, Failure
from qreg.records.decode import MismatchError, decoder, parse, plain
from qreg.records.detail import CaseDetail
from qreg.records.verdict import CaseResult, Verdict
from qreg.settings import Settings

if TYPE_CHECKING:
    from qreg.gate.judge import Judge

#: Seconds that a case may take: of the shipped ones the slowest take some seconds, one that
#: `torch.compile` finishes takes minutes on a busy machine.
TIMEOUT = 900
_POLL_S = 0.02
# Bytes of a result: a page's details of a thousand samples have some megabytes.
_MOST_BYTES = 1 << 26
# A process says at most every so many seconds what it is doing.
_TELL_S = 0.2
# Imported before the forks are made, and not in every one of them; the first must be there.
_HEAVY = ("qreg.gate.judge", "torch.export")


@dataclass(frozen=True)
class JudgeRequest:
    """How to judge, in any process.

    Attributes:
        alpha: the significance level of each test.
        options: how to measure, in each process; the settings determine the rest.
        full: use the whole test set.
        timeout: the longest that one case may take, in seconds.
        details: collect what a page shows of each case, after it was judged.
    """

    settings: Settings
    baselines: Path
    alpha: float
    options: Options = ONE_THREAD
    full: bool = False
    timeout: float = TIMEOUT
    details: bool = False

    def judge(self) -> Judge:
        """Create a judge in this process."""
        from qreg.baselines.store import Store
        from qreg.gate.judge import Judge
        from qreg.gate.observe import Gate
        from qreg.selection import gate_options, use_project

        self.options.apply_threads()
        use_project(self.settings)
        gate = Gate(gate_options(self.settings, self.options), full=self.full, share=True)
        return Judge(
            gate,
            Store(self.baselines),
            alpha=self.alpha,
            details=self.details,
            budget=self.settings.budget,
        )


@dataclass(frozen=True)
class Status:
    """How far a run is.

    Attributes:
        step: what is being done, in words.
        left: seconds, estimated from the cases that are done; None before the first.
    """

    done: int
    total: int
    step: str
    left: float | None


class Pool:
    """Computes verdicts in several processes, started at the first request.

    The cases of a model are judged one after the other in one fork, so nothing that a model does
    to its process, to PyTorch or to other modules reaches another model. A case that ends its
    process is an ERROR, and the model's remaining cases are judged in another fork.

    Args:
        show: called again and again while a verdict is waited for.
    """

    def __init__(
        self,
        request: JudgeRequest,
        cases: Sequence[Case],
        *,
        jobs: int,
        show: Callable[[Status], None] | None = None,
    ) -> None:
        self._show, self._started = show, time.monotonic()
        self._request, self._jobs = request, jobs
        self._open = ExitStack()
        folder = self._open.enter_context(temporary_folder("gate"))
        groups: dict[tuple[str, str], list[Case]] = {}
        for case in cases:
            groups.setdefault((case.dataset, case.model), []).append(case)
        numbers = {case: number for number, case in enumerate(cases)}
        self._files = {case: folder / f"{numbers[case]}.json" for case in cases}
        self._groups = list(groups.values())
        self._running: list[Fork] = []
        self._warm = False
        self._asked: set[Case] = set()
        for name in _HEAVY:
            importlib.import_module(name)

    def verdict(self, case: Case) -> Verdict | Failure:
        """Wait for the verdict of a case; requested again, the case is judged again.

        Raises:
            MissingDataError: the dataset is not on this machine.
        """
        if case in self._asked:
            self._files[case] = self._files[case].with_suffix(".again.json")
            self._groups.insert(0, [case])
        self._asked.add(case)
        found = _read(case, self._wait(self._files[case]))
        if found.verdict:
            return found.verdict
        assert found.failure
        if found.no_data:
            raise MissingDataError(found.failure.reason, hint=found.failure.hint)
        return found.failure

    def detail(self, case: Case) -> CaseDetail:
        """Wait for what a page shows of a judged case; a failure to collect it is a note."""
        return _read_detail(case, self._wait(_detail_file(self._files[case])))

    def _wait(self, file: Path) -> Path:
        while not file.exists():
            self._work()
            if self._show:
                self._show(self._status())
            time.sleep(_POLL_S)
        return file

    def _status(self) -> Status:
        done = sum(file.exists() for file in self._files.values())
        total, passed = len(self._files), time.monotonic() - self._started
        steps = (_step(file) for file in self._files.values() if not file.exists())
        return Status(
            done=done,
            total=total,
            step=next(filter(None, steps), "starting"),
            left=passed / done * (total - done) if done else None,
        )

    def _work(self) -> None:
        """Start forks while there is room, and replace those that have ended early."""
        for fork in tuple(self._running):
            if fork.poll():
                self._running.remove(fork)
                if fork.left:
                    self._running.append(self._fork(fork.left))
        while self._groups and len(self._running) < self._jobs:
            if self._running and len(self._groups) > 1 and not self._warm:
                # while the first fork judges; with a single one left it would save nothing
                self._warm = True
                warm_up(case for group in self._groups for case in group)
            group = self._groups.pop(0)
            self._running.append(self._fork([one for case in group for one in self._pieces(case)]))

    def _pieces(self, case: Case) -> Iterator[Piece]:
        # two, so that whatever happens to the second cannot change a verdict
        file, step = self._files[case], None
        if self._show:
            step = _step_file(file)
        yield file, partial(_judge, self._request, case, step)
        if self._request.details:
            yield _detail_file(file), partial(_collect, self._request, case)

    def _fork(self, pieces: Sequence[Piece]) -> Fork:
        return Fork(pieces, seconds=self._request.timeout)

    def close(self) -> None:
        """End the processes; what was not asked for is not finished."""
        for fork in self._running:
            fork.end()
        self._open.close()


def can_fork(threads: int) -> bool:
    """Whether processes of their own may judge.

    They are forks, so that what a project's conftest.py does to PyTorch is judged too. A fork of
    a process that has run threads may run kernels on one thread only.
    """
    return sys.platform == "linux" and threads == 1


# This process's judge, of a fork: its parent never has one.
_judges: list[Judge] = []


# Where this process writes what it is doing, and when it did last; None for nowhere.
_steps: list[Path | None] = [None]
_told = [0.0]


def _tell(done: int, total: int, what: str) -> None:
    """Progress of the case that is judged, for the process that shows it."""
    file, now = _steps[0], time.monotonic()
    if file is None or now < _told[0] + _TELL_S:
        return
    _told[0] = now
    with contextlib.suppress(OSError):
        file.write_text(f"{what} {done}/{total}" if total else what, encoding="utf-8")


def _step_file(file: Path) -> Path:
    return file.with_suffix(".step")


def _step(file: Path) -> str:
    try:
        return _step_file(file).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _judge(request: JudgeRequest, case: Case, step: Path | None = None) -> dict[str, Any]:
    _steps[0], _told[0] = step, 0.0
    _tell(0, 0, f"{case}: building")
    if not _judges:
        if step is not None:
            request = replace(request, options=replace(request.options, progress=_tell))
        _judges.append(request.judge())
    found: dict[str, Any] = plain(_judges[0].result(case))
    return found


def _collect(request: JudgeRequest, case: Case) -> dict[str, Any]:
    # in a fork that replaced one that ended, nothing was judged
    found: dict[str, Any] = plain(_judges[0].detail(case) if _judges else CaseDetail(case))
    return found


def _content(file: Path) -> Any:
    """What a process wrote: a model's, which could write anything there.

    Raises:
        MismatchError: it is no JSON, no file, or larger than any result.
    """
    try:
        return parse(read_regular(file, most=_MOST_BYTES))
    except OSError as error:
        raise MismatchError("a file", error.strerror or str(error)) from error


def _detail_file(file: Path) -> Path:
    return file.with_suffix(".detail")


def _read_detail(case: Case, file: Path) -> CaseDetail:
    try:
        content = _content(file)
        if isinstance(content, dict) and {"died", "raised"} & content.keys():
            how = content.get("raised") or f"its process {content['died']}"
            return CaseDetail(case, notes=(f"details could not be collected: {how}",))
        found: CaseDetail = decoder(CaseDetail)(content)
    except MismatchError as error:
        return CaseDetail(case, notes=(f"details could not be collected: {error}",))
    return found


def _read(case: Case, file: Path) -> CaseResult:
    """What the case's process wrote, or an ERROR that says how that ended."""
    from qreg.checks.verdict import failed

    try:
        content = _content(file)
        if not isinstance(content, dict) or not {"died", "raised"} & content.keys():
            found: CaseResult = decoder(CaseResult)(content)
            return found
        how = content.get("raised") or f"its process {content['died']}"
        details = str(content.get("details", ""))
    except MismatchError as error:
        how, details = f"its process wrote no verdict: {error}", json.dumps(str(error))
    return CaseResult(failed(Failure(case, str(how), "", unavailable=False, details=details)))
