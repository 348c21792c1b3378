"""Measuring cases, judging them by their baselines, and proposing changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from qreg.errors import CorruptFileError, MissingDataError, OtherWeightsError
from qreg.measure.options import Options
from qreg.records.baseline import Snapshot
from qreg.records.case import Case, Failure
from qreg.selection import CaseChoice, gate_options, is_known, matches, may_run, named_cases
from qreg.settings import Settings

if TYPE_CHECKING:
    from qreg.baselines.changes import Proposal
    from qreg.baselines.store import Store


@dataclass(frozen=True)
class ProposalRequest:
    """Which cases to measure, against which baselines.

    Attributes:
        names: names of cases and patterns; () where only `choice` selects.
        options: how to measure; the settings determine the rest.
    """

    settings: Settings
    store: Store
    choice: CaseChoice
    options: Options
    names: tuple[str, ...] = ()

    def cases(self, *, create: bool = False) -> tuple[Case, ...]:
        """The named cases, else those that `choice` selects, else all that have a baseline.

        Args:
            create: without names and choice, all of the project's.
        """
        settings = self.settings
        stored = [case for case in self.store.cases() if may_run(case, settings)]
        if self.names:
            among = (*self.choice.cases(settings), *stored)
            found = named_cases(self.names, among, settings)
            return tuple(case for case in found if is_known(case, settings))
        if self.choice or create:
            return self.choice.cases(settings)
        return tuple(case for case in stored if is_known(case, settings))

    def not_named(self) -> tuple[Case, ...]:
        """Cases that have a baseline, and would run code that only their file names."""
        if self.choice and not self.names:
            return ()
        found = (case for case in self.store.cases() if not may_run(case, self.settings))
        globs = (case for case in found if not self.names or matches(case, self.names))
        return tuple(case for case in globs if str(case) not in self.names)


@dataclass(frozen=True)
class Proposals:
    """The results of all cases.

    Attributes:
        changes: in the order of the cases.
        unchanged: cases that match their baselines.
        failures: cases that could not be measured, or whose baselines could not be read.
        notes: what was done to samples and outputs, by dataset and model.
        interrupted: how many cases were left, where the user interrupted; 0 where none were.
    """

    changes: tuple[Proposal, ...] = ()
    unchanged: tuple[Case, ...] = ()
    failures: tuple[Failure, ...] = ()
    notes: tuple[str, ...] = ()
    interrupted: int = 0


def propose_changes(request: ProposalRequest, cases: Sequence[Case]) -> Proposals:
    """Measure the cases on the whole test set and propose changes.

    Interrupted after the first, it proposes those of the cases that are measured.
    """
    if not cases:
        return Proposals()
    noted: dict[str, None] = {}
    observe = _observer(request, cases, noted)
    found: list[Proposal | Case | Failure] = []
    try:
        for case in cases:
            found.append(_propose(case, request.store, observe, cases=len(cases)))
    except KeyboardInterrupt:
        if not found:
            raise
    return Proposals(
        tuple(one for one in found if not isinstance(one, Case | Failure)),
        tuple(one for one in found if isinstance(one, Case)),
        tuple(one for one in found if isinstance(one, Failure)),
        tuple(noted),
        interrupted=len(cases) - len(found),
    )


def propose_trims(request: ProposalRequest) -> tuple[Proposal, ...]:
    """What could be removed: among the named cases, else anything unless a choice is made."""
    from qreg.baselines.changes import trims

    store = request.store

    def known(case: Case) -> bool:
        return is_known(case, request.settings)

    if request.names:
        named = (case for case in store.cases() if matches(case, request.names))
        return trims(named, known, ())
    return () if request.choice else trims(store.cases(), known, store.orphans())


def _observer(
    request: ProposalRequest, cases: Sequence[Case], noted: dict[str, None]
) -> Callable[[Case], Snapshot | Failure]:
    from qreg.gate.observe import Gate

    number, show = 0, request.options.progress

    def progress(done: int, total: int, what: str) -> None:
        show(done, total, f"{number}/{len(cases)} {what}")

    options = gate_options(request.settings, replace(request.options, progress=progress))
    options.apply_threads()
    gate = Gate(options, full=True)

    def observe(case: Case) -> Snapshot | Failure:
        nonlocal number
        number += 1
        found = gate.observe(case)
        scope = f"{case.dataset}/{case.model}"
        noted.update(dict.fromkeys(f"{scope}: {note}" for note in gate.notes(case.dataset)))
        return found

    return observe


def _propose(
    case: Case, store: Store, observe: Callable[[Case], Snapshot | Failure], *, cases: int
) -> Proposal | Case | Failure:
    """A proposed change, or the case itself where there is none."""
    from qreg.baselines.changes import propose
    from qreg.gate.judge import judged
    from qreg.stats.holm import family_alpha

    try:
        baselines = store.read(case)
        now = observe(case)
    except (CorruptFileError, MissingDataError, OtherWeightsError) as error:
        missing = isinstance(error, MissingDataError)
        return Failure(case, str(error), error.hint, unavailable=missing)
    if isinstance(now, Failure):
        return now
    before, verdict = judged(now, baselines, alpha=family_alpha(cases))
    return propose(now, before, verdict) or case
