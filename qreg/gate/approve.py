"""Applying those proposed changes to baselines that the user named."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from qreg import __version__
from qreg.baselines.applicable import choose_promise, same_environment
from qreg.baselines.changes import Proposal, approved
from qreg.baselines.store import Store
from qreg.checks.speed_up import expected, is_detectable, lowest
from qreg.checks.tolerances import PROMISE_LEVEL
from qreg.errors import ChangedMeanwhileError, QregError
from qreg.gate.proposals import ProposalRequest, Proposals, propose_changes, propose_trims
from qreg.processes.stopping import whole
from qreg.records.baseline import FEWEST_PROCESSES, Approval, Promise
from qreg.records.case import Case, Failure
from qreg.speed.promises import (
    MeasuredSpeedUps,
    PromiseRequest,
    check_processes,
    measure_speed_ups,
)

#: The category of promised speed-ups, besides those of `qreg.baselines.changes.Category`.
PROMISE = "promise"
_TRIM, _CREATE = "trim", "create"


@dataclass(frozen=True)
class ApprovalRequest:
    """An approval by the user.

    Attributes:
        categories: all changes of these; () where the cases are named.
        accepted: names of cases that are approved although they regressed.
        processes: fresh processes for a promise.
        date, commit: of the approval; ISO 8601, UTC.
    """

    proposals: ProposalRequest
    reason: str
    date: str
    commit: str
    categories: tuple[str, ...] = ()
    accepted: tuple[str, ...] = ()
    processes: int = FEWEST_PROCESSES

    def check(self) -> None:
        """Refuse incomplete approvals, before anything slow starts.

        Raises:
            QregError: there is no reason, nothing is named, or a name is not that of a case.
        """
        if not self.reason.strip():
            raise QregError(
                "an approval needs a reason", hint='add: --reason "retrained with augmentation"'
            )
        if not (self.proposals.names or self.categories or self.accepted):
            raise QregError(
                "no change is named",
                hint="name cases ('shapes10/simple_cnn/*'), or categories (--category create); "
                "see the proposed changes with: qreg baseline diff",
            )
        for name in self.accepted:
            Case.parse(name)

    def wants(self, category: str) -> bool:
        """Whether changes of a category are approved."""
        # without cases and categories, --accept-regression names the cases
        if not self.categories:
            return category != PROMISE and (bool(self.proposals.names) or category != _TRIM)
        return category in self.categories

    @property
    def only_promises(self) -> bool:
        """Whether no baseline is to be measured or removed."""
        return set(self.categories) == {PROMISE}

    @property
    def approval(self) -> Approval:
        """The record that is kept of it."""
        return Approval(self.reason.strip(), self.date, self.commit, __version__)


@dataclass(frozen=True)
class Approved:
    """The result of an approval.

    Attributes:
        refused: regressions that were not accepted by name.
        orphans: sidecars that nothing refers to any more.
    """

    proposals: Proposals
    applied: tuple[Proposal, ...]
    refused: tuple[Proposal, ...]
    orphans: int

    @property
    def wrong(self) -> int:
        """How many cases were refused or failed."""
        return len(self.refused) + len(self.proposals.failures)


@dataclass(frozen=True)
class Promises:
    """The result of measuring promises.

    Attributes:
        refused: each with the promise that it falls short of.
        failures: cases that could not be measured often enough.
    """

    recorded: tuple[Promise, ...]
    refused: tuple[tuple[Promise, Promise], ...]
    failures: tuple[Failure, ...]
    interrupted: bool

    @property
    def wrong(self) -> int:
        """How many cases were refused or failed, and one more where it was interrupted."""
        return len(self.refused) + len(self.failures) + int(self.interrupted)


def approve(request: ApprovalRequest) -> Approved:
    """Measure the cases and apply the changes that are approved, and no others.

    Raises:
        QregError: a name is unknown or not among the cases.
        KeyboardInterrupt: interrupted while measuring; nothing is applied.
    """
    store, proposals = request.proposals.store, request.proposals
    found = _proposals(request)
    if found.interrupted:
        raise KeyboardInterrupt  # who interrupts an approval does not approve
    promised = promised_cases(request) if request.wants(PROMISE) else ()
    _check_accepted(request, set(map(str, promised)), found)
    trims = propose_trims(proposals) if request.wants(_TRIM) else ()
    wanted = [one for one in (*found.changes, *trims) if request.wants(one.category.value)]
    refused = [one for one in wanted if one.regressed and str(one.case) not in request.accepted]
    applied, lost = _apply([one for one in wanted if one not in refused], store, request)
    found = replace(found, failures=(*found.failures, *lost))
    return Approved(found, applied, tuple(refused), _orphans(store))


def _orphans(store: Store) -> int:
    with contextlib.suppress(QregError, OSError):
        return len(store.orphans())
    return 0  # what is wrong with a file was said of its case, and what is applied is applied


def _proposals(request: ApprovalRequest) -> Proposals:
    if request.categories and set(request.categories) <= {_TRIM, PROMISE}:
        return Proposals()
    given = request.proposals
    names = given.names or (() if request.categories else request.accepted)
    measured = replace(given, names=names)
    return propose_changes(measured, measured.cases(create=_CREATE in request.categories))


def _check_accepted(request: ApprovalRequest, promised: set[str], proposals: Proposals) -> None:
    measured = {str(change.case) for change in proposals.changes}
    measured |= {str(case) for case in proposals.unchanged} | {
        str(f.case) for f in proposals.failures
    }
    for name in sorted(set(request.accepted) - promised - measured):
        raise QregError(
            f"--accept-regression {name} is not among the cases",
            hint="add it to CASES, or omit CASES and --category",
        )


def _apply(
    changes: Sequence[Proposal], store: Store, request: ApprovalRequest
) -> tuple[tuple[Proposal, ...], tuple[Failure, ...]]:
    """The applied changes, and those that could not be: each is written as a whole, or not."""
    applied: list[Proposal] = []
    lost: list[Failure] = []
    for change in changes:
        if change.case is None:
            continue
        try:
            with whole():
                _write(change, store, request)
                applied.append(change)
        except (QregError, OSError) as error:
            lost.append(_not_applied(change.case, error))
        except KeyboardInterrupt:
            left = [one for one in changes if one not in applied and one.case]
            lost += [_not_applied(one.case, None) for one in left if one.case]
            return tuple(applied), tuple(lost)
    if any(change.orphan for change in changes):
        gone = set(store.remove_orphans())
        applied += [one for one in changes if one.orphan in gone]
    return tuple(applied), tuple(lost)


def _write(change: Proposal, store: Store, request: ApprovalRequest) -> None:
    given = {"reason": request.reason, "date": request.date, "commit": request.commit}
    if change.observed is not None:
        store.write(approved(change, **given), follows=True)
    elif change.case is not None:
        store.remove(change.case)


def _not_applied(case: Case, error: QregError | OSError | None) -> Failure:
    if error is None:
        return Failure(case, "not applied: interrupted", "", unavailable=False)
    hint = error.hint if isinstance(error, QregError) else ""
    kept = isinstance(error, ChangedMeanwhileError)
    return Failure(case, f"{'' if kept else 'not applied: '}{error}", hint, unavailable=False)


def promised_cases(request: ApprovalRequest) -> tuple[Case, ...]:
    """The chosen cases that have a baseline, without fp32, the reference."""
    stored = set(request.proposals.store.cases())
    chosen = request.proposals.cases(create=_CREATE in request.categories)
    return tuple(case for case in chosen if case in stored and case.method != "fp32")


def record_promises(request: ApprovalRequest) -> Promises:
    """Measure the speed-ups over fp32 in fresh processes, and promise them.

    Raises:
        QregError: no chosen case has a baseline, or the processes are too few.
    """
    store, cases = request.proposals.store, promised_cases(request)
    if not cases:
        raise QregError("no chosen case has a baseline", hint="see: qreg baseline diff")
    count = check_processes(request.processes, FEWEST_PROCESSES)
    asked = PromiseRequest(cases=cases, processes=count, options=request.proposals.options)
    measured = measure_speed_ups(asked, request.proposals.settings.root)
    lacking = [case for case in cases if not _enough(case, measured)]
    made = [
        _promise(case, measured, store, request.approval) for case in cases if case not in lacking
    ]
    refused = {one: baseline for one in made if (baseline := _fell_short_of(one, store, request))}
    recorded, failures = list[Promise](), list[Failure]()
    for promise in (one for one in made if one not in refused):
        try:
            with whole():
                store.write_promise(promise)
                recorded.append(promise)
        except (QregError, OSError) as error:
            failures.append(_not_applied(promise.case, error))
    failures += [
        Failure(case, measured.errors.get(case, "not measured"), "", unavailable=False)
        for case in lacking
    ]
    return Promises(tuple(recorded), tuple(refused.items()), tuple(failures), measured.interrupted)


def _enough(case: Case, measured: MeasuredSpeedUps) -> bool:
    seen = measured.log_speed_ups.get(case, {})
    return bool(seen) and all(len(logs) >= FEWEST_PROCESSES for logs in seen.values())


def _promise(case: Case, measured: MeasuredSpeedUps, store: Store, approval: Approval) -> Promise:
    """The promise at the batch size at which a fallback is easiest to detect."""
    where = measured.environment
    assert where is not None
    earlier = [one for one in store.promises(case) if same_environment(one.environment, where)]
    history = (*(earlier[0].history if earlier else ()), approval)
    seen = measured.log_speed_ups[case].items()
    found = [Promise(case, where, batch, tuple(logs), history) for batch, logs in seen]
    return max(found, key=lambda one: lowest(one, exact=False, alpha=PROMISE_LEVEL))


def _fell_short_of(observed: Promise, store: Store, request: ApprovalRequest) -> Promise | None:
    """The approved promise that it is below, unless that is accepted by name."""
    chosen = choose_promise(store.promises(observed.case), observed.environment)
    if chosen is None or not is_detectable(chosen[0]) or str(observed.case) in request.accepted:
        return None
    limit = lowest(chosen[0], exact=chosen[1].exact, alpha=PROMISE_LEVEL)
    return chosen[0] if expected(observed) < limit else None
