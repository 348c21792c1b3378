"""Judging each model in processes of its own; whatever ends one affects its own case only."""

from __future__ import annotations

import contextlib
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qreg.errors import MissingDataError, QregError
from qreg.files import resolved
from qreg.gate.unchanged import Unchanged, entries_folder, known_state
from qreg.gate.warm import warm_up
from qreg.measure.options import ONE_THREAD, Options
from qreg.processes.executor import Executor, Piece, Places, Result, tell
from qreg.processes.local import LocalExecutor
from qreg.processes.sending import case_options, options_at, settings_at
from qreg.processes.spreading import even_parts
from qreg.records.case import Case, Failure
from qreg.records.decode import MismatchError, decoder, plain
from qreg.records.detail import CaseDetail
from qreg.records.verdict import CaseResult, Verdict
from qreg.settings import Settings

if TYPE_CHECKING:
    from qreg.gate.judge import Judge

#: Seconds that a case may take: of the shipped ones the slowest take some seconds, one that
#: `torch.compile` finishes takes minutes on a busy machine.
TIMEOUT = 900
# A group of cases is at most so large a part of what each processor of a cluster has left to do.
_SHARES = 2
# Cases of a model that are not spread over processes: what they share took as long as some cases.
_TOGETHER = 8


@dataclass(frozen=True)
class JudgeRequest:
    """How to judge, in any process.

    Attributes:
        alpha: the significance level of each test.
        options: how to measure, in each process; the settings determine the rest.
        full: use the whole test set.
        timeout: the longest that one case may take, in seconds.
        details: collect what a page shows of each case, after it was judged.
        cache: skip cases of which everything is as when they passed; see `qreg.gate.unchanged`.
    """

    settings: Settings
    baselines: Path
    alpha: float
    options: Options = ONE_THREAD
    full: bool = False
    timeout: float = TIMEOUT
    details: bool = False
    cache: bool = False

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
    """Computes verdicts in several processes, here or elsewhere, started at the first request.

    The cases of a model, in parts where they are many, are judged one after the other in a process
    of their own, so nothing that a model does to its process, to PyTorch or to other modules
    reaches another model. A case that ends its process is an ERROR, and the remaining cases of the
    model, or the part, are judged in another one.

    Args:
        executor: where they are; None for `jobs` forks of this process.
        show: called again and again while a verdict is waited for.
        kinds: the environments in which each case is judged; "" for any.
    """

    def __init__(
        self,
        request: JudgeRequest,
        cases: Sequence[Case],
        *,
        jobs: int = 1,
        executor: Executor | None = None,
        show: Callable[[Status], None] | None = None,
        kinds: Sequence[str] = ("",),
    ) -> None:
        self._show, self._started = show, time.monotonic()
        self._request, self._total = request, len(cases) * len(kinds)
        self._executor = executor or LocalExecutor(jobs=jobs)
        self._results: dict[str, Result] = {}
        self._attempts: dict[tuple[Case, str], int] = {}
        # on other machines all cases are judged: what they have loaded is not known here
        known = request.cache and executor is None
        self._known = known_state(request) if known else None
        for kind in kinds:
            groups, room = model_groups(cases), self._executor.room(kind)
            if executor or room > 1:
                groups = spread_groups(groups, room, size=_sizes(request))
            for number, group in enumerate(groups):
                pieces = [
                    replace(piece, group=f"{piece.group} {number}")
                    for case in group
                    for piece in self._pieces(case, kind)
                ]
                if executor is None:
                    pieces[0] = replace(pieces[0], before_fork=partial(warm_up, group))
                self._executor.add(pieces)

    def verdict(self, case: Case, kind: str = "") -> Verdict | Failure:
        """Wait for the verdict of a case; requested again, the case is judged again.

        Raises:
            MissingDataError: the dataset is not on the machine that judged.
        """
        self._attempts[case, kind] = self._attempts.get((case, kind), 0) + 1
        if self._attempts[case, kind] > 1:
            self._executor.add(list(self._pieces(case, kind)), first=True)
        found = _read(case, self._wait(self._name(case, kind)))
        if found.verdict:
            return found.verdict
        assert found.failure
        if found.no_data:
            raise MissingDataError(found.failure.reason, hint=found.failure.hint)
        return found.failure

    def detail(self, case: Case, kind: str = "") -> CaseDetail:
        """Wait for what a page shows of a judged case; a failure to collect it is a note."""
        return _read_detail(case, self._wait(_detail_name(self._name(case, kind))))

    def _name(self, case: Case, kind: str) -> str:
        attempt = self._attempts.get((case, kind), 1)
        return f"{case} {kind}".strip() + (f" {attempt}" if attempt > 1 else "")

    def _wait(self, name: str) -> Result:
        while name not in self._results:
            for piece, result in self._executor.poll():
                self._results[piece.name] = result
            if self._show:
                self._show(self._status())
            if name not in self._results:
                self._executor.wait()
        return self._results[name]

    def _status(self) -> Status:
        done = sum(not name.endswith(_DETAIL) for name in self._results)
        total, passed = self._total, time.monotonic() - self._started
        return Status(
            done=done,
            total=total,
            step=self._executor.step() or "starting",
            left=passed / done * (total - done) if done else None,
        )

    def _pieces(self, case: Case, kind: str) -> Iterator[Piece]:
        # two, so that whatever happens to the second cannot change a verdict
        name, content = self._name(case, kind), sent_request(self._request, case)
        group = f"{case.dataset}/{case.model} {kind}"
        request = self._request
        judging = Piece(
            name=name,
            task=f"{__name__}:judge_sent",
            content=content,
            group=group,
            seconds=request.timeout,
            in_fork=partial(_judge, request, case, self._known),
            environment=kind,
        )
        yield judging
        if request.details:
            yield replace(
                judging,
                name=_detail_name(name),
                task=f"{__name__}:collect_sent",
                in_fork=partial(_collect, request, case),
                follows=True,
            )

    def close(self) -> None:
        """End the processes; what was not asked for is not finished."""
        self._executor.close()


def model_groups(cases: Sequence[Case]) -> list[list[Case]]:
    """Cases that are judged in one process: those of a model, in their order."""
    by_model: dict[tuple[str, str], list[Case]] = {}
    for case in cases:
        by_model.setdefault((case.dataset, case.model), []).append(case)
    return list(by_model.values())


def spread_groups(
    groups: Sequence[list[Case]], room: int, *, size: Callable[[Case], int]
) -> list[list[Case]]:
    """The groups of models in the order in which processes take them, so that all end together.

    The large ones come first and whole; the later, the smaller are the parts of a model (guided
    self-scheduling: Polychronopoulos and Kuck, IEEE Trans. Comput. C-36 (1987) 1425). The cases of
    one method stay together: most of what cases share, its engines do.

    Args:
        room: how many groups run at a time.
        size: of a case's network, in any unit.
    """
    found: list[list[Case]] = []
    left = sum(map(len, groups))
    for group in sorted(groups, key=lambda one: max(map(size, one)), reverse=True):
        methods = list(dict.fromkeys(case.method for case in group))
        ordered = sorted(group, key=lambda case: methods.index(case.method))
        most = max(_TOGETHER, math.ceil(left / (_SHARES * max(1, room))))
        found += map(list, even_parts(ordered, math.ceil(len(ordered) / most)))
        left -= len(ordered)
    return found


def _sizes(request: JudgeRequest) -> Callable[[Case], int]:
    """Of a case's network, by its baseline."""
    from qreg.baselines.store import Store

    return Store(request.baselines).size


def can_fork(threads: int) -> bool:
    """Whether processes of their own may judge.

    They are forks, so that what a project's conftest.py does to PyTorch is judged too. A fork of
    a process that has run threads may run kernels on one thread only.
    """
    return sys.platform == "linux" and threads == 1


# This process's judge, of a fork: its parent never has one.
_judges: list[Judge] = []
_caches: list[Unchanged] = []


def _judge(
    request: JudgeRequest, case: Case, known: tuple[str, tuple[str, ...]] | None = None
) -> Result:
    tell(0, 0, f"{case}: building")
    if not _judges:
        request = replace(request, options=replace(request.options, progress=tell))
        _judges.append(request.judge())
    result = _result(_judges[0], case, known)
    found: Result = plain(result)
    return found


def _result(judge: Judge, case: Case, known: tuple[str, tuple[str, ...]] | None) -> CaseResult:
    if known is None:
        return judge.result(case)
    if not _caches:
        _caches.append(Unchanged(judge, *known, entries_folder()))
    if (found := _caches[0].result(case)) is not None:
        return found
    result = judge.result(case)
    _caches[0].keep(case, result)
    return result


def _collect(request: JudgeRequest, case: Case) -> Result:
    # in a fork that replaced one that ended, nothing was judged
    found: Result = plain(_judges[0].detail(case) if _judges else CaseDetail(case))
    return found


def sent_request(request: JudgeRequest, case: Case) -> str:
    """A request and a case as JSON, for `judge_sent` on any machine."""
    options = case_options(request.settings, request.options, [case])
    found = {
        "root": str(request.settings.root),
        "baselines": str(resolved(request.baselines)),
        "alpha": request.alpha,
        "options": options.plain(),
        "full": request.full,
        "details": request.details,
        "case": list(astuple(case)),
        "baseline": _baseline_digest(request.baselines, case),
    }
    return json.dumps(found)


def judge_sent(content: dict[str, Any], places: Places) -> Result:
    """Judge the case of `sent_request`, in the environment of this process.

    Raises:
        QregError: the baseline here is not the sender's.
    """
    request, case = _received(content, places)
    if _baseline_digest(request.baselines, case) != content["baseline"]:
        raise QregError(
            f"{case}: the baseline here is not the one that was sent",
            hint="do not approve while cases are judged; else this is a fault of qreg's",
        )
    return _judge(request, case)


def _baseline_digest(root: Path, case: Case) -> str:
    """Of a baseline's file; "" where there is none, or none that can be read."""
    from qreg.baselines.store import Store

    with contextlib.suppress(QregError, OSError):
        return Store(root).digest(case)
    return ""


def collect_sent(content: dict[str, Any], places: Places) -> Result:
    """What a page shows of the case that was judged before."""
    return _collect(*_received(content, places))


def _received(content: dict[str, Any], places: Places) -> tuple[JudgeRequest, Case]:
    request = JudgeRequest(
        settings_at(content["root"], places),
        places.path(content["baselines"]),
        content["alpha"],
        options_at(content["options"], places),
        full=content["full"],
        details=content["details"],
    )
    return request, Case(*content["case"])


_DETAIL = " details"


def _detail_name(name: str) -> str:
    return name + _DETAIL


def _read_detail(case: Case, content: Result) -> CaseDetail:
    try:
        if how := _how(content):
            return CaseDetail(case, notes=(f"details could not be collected: {how}",))
        found: CaseDetail = decoder(CaseDetail)(content)
    except MismatchError as error:
        return CaseDetail(case, notes=(f"details could not be collected: {error}",))
    return found


def _how(content: Result) -> str:
    """How a piece ended without a result of its own; "" where it has one."""
    if not {"died", "raised"} & content.keys():
        return ""
    return str(content.get("raised") or f"its process {content['died']}")


def _read(case: Case, content: Result) -> CaseResult:
    """What the case's process found, or an ERROR that says how that ended."""
    from qreg.checks.verdict import failed

    details = str(content.get("details", ""))
    try:
        how = _how(content)
        if not how:
            found: CaseResult = decoder(CaseResult)(content)
            return found
    except MismatchError as error:
        how, details = f"its process wrote no verdict: {error}", json.dumps(str(error))
    return CaseResult(failed(Failure(case, how, "", unavailable=False, details=details)))
