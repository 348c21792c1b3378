"""Applying those proposed changes to baselines that the user named."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from qreg.baselines.changes import Proposal, approved
from qreg.baselines.store import Store
from qreg.cli.baseline import promising
from qreg.cli.baseline.proposing import Proposals, chosen_cases, proposals, proposed_trims
from qreg.cli.cases import chosen_root
from qreg.errors import QregError
from qreg.files import shipped_folder
from qreg.git import current_commit
from qreg.records.case import Case
from qreg.settings import find_settings


def update(args: argparse.Namespace) -> int:
    """Measure, and write what was named; returns the exit status."""
    _check_approval(args)
    store = _own_store(args)
    accepted = {str(Case.parse(name)) for name in args.accept_regression}
    found = _proposals(args, store)
    promised = promising.promising_cases(args, store) if _wants_promises(args) else ()
    _check_accepted(accepted - set(map(str, promised)), found)
    trims = proposed_trims(args, store) if _wants(args, "trim") else ()
    wanted = [c for c in (*found.changes, *trims) if _wants(args, c.category.value)]
    refused = [c for c in wanted if c.regressed and str(c.case) not in accepted]
    applied = tuple(change for change in wanted if change not in refused)
    date = datetime.now(timezone.utc).isoformat(timespec="seconds")
    commit = current_commit(Path.cwd())
    _apply(applied, store, reason=args.reason, date=date, commit=commit)
    if set(args.category) != {promising.CATEGORY}:
        print_changes(found, applied, applied=True, traceback=args.traceback)
    _report_rest(refused, store)
    wrong = len(refused) + len(found.failures)
    if _wants_promises(args):
        wrong += promising.record(args, store, date=date, commit=commit)
    return int(wrong > 0)


def print_changes(
    found: Proposals, changes: Sequence[Proposal], *, applied: bool, traceback: bool
) -> None:
    """Print what is proposed, or was applied, and what could not be measured."""
    from qreg.cli.terminal import console
    from qreg.report.baseline import change_notes, changes_table
    from qreg.report.comparison import failure_lines

    out = console()
    if changes:
        out.print(changes_table(changes, applied=applied), highlight=False)
    for note in change_notes(changes, unchanged=len(found.unchanged), applied=applied):
        out.print(note, style="dim", highlight=False)
    for failure, line in zip(found.failures, failure_lines(found.failures), strict=True):
        print(line, *([failure.details] if traceback else []), sep="\n", file=sys.stderr)


def _check_approval(args: argparse.Namespace) -> None:
    """Refuse what no person approved, before anything slow begins."""
    if os.environ.get("CI", "").lower() in ("1", "true"):
        raise QregError(
            "baselines are not approved in CI",
            hint="a person approves them: run this where CI is not set, and commit the files",
        )
    if not args.reason.strip():
        raise QregError(
            "an approval needs a reason", hint='say why: --reason "retrained with augmentation"'
        )
    if not (args.cases or args.category or args.accept_regression):
        raise QregError(
            "nothing is named to be changed",
            hint="name cases ('shapes10/simple_cnn/*'), or categories (--category create); "
            "see what there is with: qreg baseline diff",
        )


def _check_accepted(accepted: set[str], found: Proposals) -> None:
    measured = {str(change.case) for change in found.changes}
    measured |= {str(case) for case in found.unchanged} | {str(f.case) for f in found.failures}
    for name in sorted(accepted - measured):
        raise QregError(
            f"--accept-regression {name} is not among the cases",
            hint="name it among CASES too, or leave CASES and --category out",
        )


def _own_store(args: argparse.Namespace) -> Store:
    chosen = chosen_root(args)
    named = args.baselines or os.environ.get("QREG_BASELINES")
    if chosen == shipped_folder() and not named and not find_settings(Path.cwd()):
        raise QregError(
            f"there is no folder baselines in {Path.cwd()}",
            hint="create it, or choose another: --baselines DIR (the shipped ones are read-only)",
        )
    return Store(chosen)


def _proposals(args: argparse.Namespace, store: Store) -> Proposals:
    if args.category and set(args.category) <= {"trim", promising.CATEGORY}:
        return Proposals()
    names = args.cases or ([] if args.category else args.accept_regression)
    return proposals(args, store, chosen_cases(args, store, names))


def _wants(args: argparse.Namespace, category: str) -> bool:
    # without cases and categories, --accept-regression names the cases
    if not args.category:
        return bool(args.cases) or category != "trim"
    return category in args.category


def _wants_promises(args: argparse.Namespace) -> bool:
    return promising.CATEGORY in args.category


def _apply(
    changes: Sequence[Proposal], store: Store, *, reason: str, date: str, commit: str
) -> None:
    for change in changes:
        if change.now is not None:
            store.write(approved(change, reason=reason, date=date, commit=commit))
        elif change.case is not None:
            store.remove(change.case)
    if any(change.orphan for change in changes):
        store.remove_orphans()


def _report_rest(refused: Sequence[Proposal], store: Store) -> None:
    for change in refused:
        print(
            f"{change.case}: not applied, because it REGRESSED ({change.reason}); to approve it "
            f"anyway: --accept-regression {change.case}",
            file=sys.stderr,
        )
    if orphans := len(store.orphans()):
        print(
            f"{orphans} unused sidecar{'' if orphans == 1 else 's'}; remove with: "
            "qreg baseline update --reason TEXT --category trim"
        )
