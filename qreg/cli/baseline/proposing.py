"""Measuring cases, judging them by their baselines, and proposing changes."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qreg.cli.cases import (
    has_options,
    is_known,
    matches,
    named_cases,
    optioned_cases,
)
from qreg.cli.options import options_of
from qreg.errors import CorruptFileError, MissingDataError, OtherWeightsError
from qreg.progress import Progress
from qreg.records.baseline import Snapshot
from qreg.records.case import Case, Failure
from qreg.selection import gate_options, project_settings

if TYPE_CHECKING:
    from qreg.baselines.changes import Proposal
    from qreg.baselines.store import Store


@dataclass(frozen=True)
class Proposals:
    """The results of all cases.

    Attributes:
        changes: in the order of the cases.
        unchanged: cases that match their baselines.
        failures: cases that could not be measured, or whose baselines could not be read.
    """

    changes: tuple[Proposal, ...] = ()
    unchanged: tuple[Case, ...] = ()
    failures: tuple[Failure, ...] = ()


def proposals(args: argparse.Namespace, store: Store, cases: Sequence[Case]) -> Proposals:
    """Measure the cases on the whole test set and propose changes."""
    from qreg.cli.terminal import progress_bar

    if not cases:
        return Proposals()
    with progress_bar() as show:
        show(0, len(cases), "loading PyTorch")
        observe = _observer(args, cases, show)
        found = [_propose(case, store, observe, cases=len(cases)) for case in cases]
    return Proposals(
        tuple(one for one in found if not isinstance(one, Case | Failure)),
        tuple(one for one in found if isinstance(one, Case)),
        tuple(one for one in found if isinstance(one, Failure)),
    )


def chosen_cases(args: argparse.Namespace, store: Store, names: Sequence[str]) -> tuple[Case, ...]:
    """The cases to measure: the named ones, else those selected by options, else all with a
    baseline.
    """
    settings, stored = project_settings(), store.cases()
    if names:
        found = named_cases(names, (*optioned_cases(args, settings), *stored), settings)
        return tuple(case for case in found if is_known(case, settings))
    if has_options(args) or "create" in getattr(args, "category", ()):
        return optioned_cases(args, settings)
    return tuple(case for case in stored if is_known(case, settings))


def proposed_trims(args: argparse.Namespace, store: Store) -> tuple[Proposal, ...]:
    """What could be removed: among the named cases, else anything unless options select cases."""
    from qreg.baselines.changes import trims

    settings = project_settings()

    def known(case: Case) -> bool:
        return is_known(case, settings)

    if args.cases:
        named = (case for case in store.cases() if matches(case, args.cases))
        return trims(named, known, ())
    return () if has_options(args) else trims(store.cases(), known, store.orphans())


def _observer(
    args: argparse.Namespace, cases: Sequence[Case], show: Progress
) -> Callable[[Case], Snapshot | Failure]:
    from qreg.gate.observe import Gate

    number = 0

    def progress(done: int, total: int, what: str) -> None:
        show(done, total, f"{number}/{len(cases)} {what}")

    options = gate_options(project_settings(), options_of(args, progress))
    options.apply_threads()
    gate = Gate(options, full=True)

    def observe(case: Case) -> Snapshot | Failure:
        nonlocal number
        number += 1
        return gate.observe(case)

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
