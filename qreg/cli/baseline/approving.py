"""Requests of ``qreg baseline diff`` and ``update``, and printing what came of them."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from qreg.cli.cases import case_choice, chosen_root
from qreg.cli.options import options_of
from qreg.cli.terminal import say
from qreg.errors import QregError
from qreg.files import check_output, shipped_folder
from qreg.processes.stopping import INTERRUPTED, asked_to_stop
from qreg.progress import Progress, no_progress
from qreg.selection import models_with_weights, project_settings
from qreg.settings import find_settings

if TYPE_CHECKING:
    from qreg.baselines.changes import Proposal
    from qreg.gate.approve import ApprovalRequest, Approved, Promises
    from qreg.gate.proposals import ProposalRequest, Proposals
    from qreg.records.case import Failure


def diff(args: argparse.Namespace) -> int:
    """Measure the cases and print what would change; returns the exit status."""
    from qreg.cli.terminal import progress_bar

    with progress_bar() as show:
        show(0, 1, "loading PyTorch")
        from qreg.gate.proposals import propose_changes, propose_trims

        request = proposal_request(args, show)
        found = propose_changes(request, request.cases())
        changes = (*found.changes, *propose_trims(request))
    _print_changes(found, changes, applied=False, traceback=args.traceback)
    skipped = _say_not_named(request)
    return _status(found, wrong=bool(changes or found.failures or skipped))


def update(args: argparse.Namespace) -> int:
    """Measure the cases and apply what is named; returns the exit status."""
    _check_where(args)
    from qreg.cli.terminal import progress_bar
    from qreg.gate.approve import PROMISE, approve

    _approval_request(args).check()
    with progress_bar() as show:
        show(0, 1, "loading PyTorch")
        request = _approval_request(args, show)
        done = approve(request)
    _print_approved(done, request, traceback=args.traceback)
    _say_whose_weights(args, request)
    wrong = done.wrong + _say_not_named(request.proposals)
    if request.wants(PROMISE) and not asked_to_stop():
        wrong += _record_promises(args)
    return _status(done.proposals, wrong=wrong > 0)


def _say_whose_weights(args: argparse.Namespace, request: ApprovalRequest) -> None:
    """The gate runs what the table names: it must name the file that was measured, too."""
    if args.weights_file is None:
        return
    settings, file = request.proposals.settings, args.weights_file.absolute()
    own = {one.name: one.weights and one.weights.absolute() for one in settings.definitions}
    named = [model for model, _ in models_with_weights() if own.get(model) != file]
    for model in named:
        say(
            f"{model}: measured with {args.weights_file}, which the gate does not know of\n"
            f'  [tool.qreg] must say so: models = [{{ factory = "{model}", '
            f'weights = "{args.weights_file}" }}]',
            error=True,
        )


def _say_not_named(request: ProposalRequest) -> int:
    """Name the cases that were not measured because only their file names their code."""
    found = request.not_named()
    if found:
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        say(
            f"{found[0]}{more}: not measured, because neither [tool.qreg] nor the command line "
            f"names its code\n  name it: qreg baseline diff {found[0]}",
            error=True,
        )
    return len(found)


def _status(proposals: Proposals, *, wrong: bool) -> int:
    if proposals.interrupted:
        say(f"qreg: interrupted; {proposals.interrupted} cases were not measured", error=True)
    if proposals.interrupted or (wrong and asked_to_stop()):
        return INTERRUPTED
    return int(wrong)


def proposal_request(args: argparse.Namespace, progress: Progress = no_progress) -> ProposalRequest:
    """What the command's options ask for."""
    from qreg.baselines.store import Store
    from qreg.gate.proposals import ProposalRequest

    return ProposalRequest(
        settings=project_settings(),
        store=Store(chosen_root(args, to_write=True)),
        names=tuple(args.cases),
        choice=case_choice(args),
        options=options_of(args, progress),
    )


def _approval_request(
    args: argparse.Namespace, progress: Progress = no_progress
) -> ApprovalRequest:
    from qreg.gate.approve import ApprovalRequest
    from qreg.git import current_commit

    return ApprovalRequest(
        proposals=proposal_request(args, progress),
        reason=args.reason,
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        commit=current_commit(Path.cwd()),
        categories=args.category,
        accepted=args.accept_regression,
        processes=args.processes,
    )


def _check_where(args: argparse.Namespace) -> None:
    """Refuse to approve in CI, and to write the baselines that are shipped."""
    if os.environ.get("CI", "").lower() in ("1", "true"):
        raise QregError(
            "baselines are not approved in CI",
            hint="a person approves them: run this where CI is not set, and commit the files",
        )
    named = args.baselines or os.environ.get("QREG_BASELINES")
    if (
        chosen_root(args, to_write=True) == shipped_folder()
        and not named
        and not find_settings(Path.cwd())
    ):
        raise QregError(
            f"there is no folder baselines in {Path.cwd()}",
            hint="create it, or choose another: --baselines DIR (the shipped ones are read-only)",
        )
    try:
        check_output(
            chosen_root(args, to_write=True) / "written"
        )  # before anything is measured; nothing is made
    except QregError as error:
        hint = "choose another folder: --baselines DIR"
        raise QregError(str(error).replace("/written ", " ", 1), hint=hint) from error


def _record_promises(args: argparse.Namespace) -> int:
    from qreg.cli.terminal import progress_bar
    from qreg.gate.approve import record_promises

    with progress_bar() as show:
        show(0, args.processes, "measuring in fresh processes")
        done = record_promises(_approval_request(args, show))
    _print_promises(done)
    return done.wrong


def _print_changes(
    proposals: Proposals, changes: Sequence[Proposal], *, applied: bool, traceback: bool
) -> None:
    from qreg.cli.terminal import console
    from qreg.report.baseline import change_notes, changes_table

    out = console()
    if changes:
        out.print(changes_table(changes, applied=applied), highlight=False)
    notes = change_notes(changes, unchanged=len(proposals.unchanged), applied=applied)
    for note in (*notes, *proposals.notes):
        out.print(note, style="dim", highlight=False)
    _print_failures(proposals.failures, traceback=traceback)


def _print_failures(failures: Sequence[Failure], *, traceback: bool) -> None:
    from qreg.report.comparison import failure_lines

    for failure, line in zip(failures, failure_lines(failures), strict=True):
        say(line, *([failure.details] if traceback else []), error=True)


def _print_approved(done: Approved, request: ApprovalRequest, *, traceback: bool) -> None:
    if not request.only_promises:
        _print_changes(done.proposals, done.applied, applied=True, traceback=traceback)
    for change in done.refused:
        say(
            f"{change.case}: not applied, because it REGRESSED ({change.reason}); to approve it "
            f"anyway: --accept-regression {change.case}",
            error=True,
        )
    if done.orphans:
        say(
            f"{done.orphans} unused sidecar{'' if done.orphans == 1 else 's'}; remove with: "
            "qreg baseline update --reason TEXT --category trim"
        )


def _print_promises(done: Promises) -> None:
    from qreg.checks.speed_up import expected, times
    from qreg.cli.terminal import console
    from qreg.report.baseline import promises_table

    console().print(promises_table(done.recorded), highlight=False)
    for now, before in done.refused:
        say(
            f"{now.case}: not applied, because it is {times(expected(now))} as fast as fp32 and "
            f"the promise is {times(expected(before))}; to approve it anyway: --accept-regression "
            f"{now.case}",
            error=True,
        )
    if done.interrupted:
        say("qreg: interrupted; cases with enough measurements are promised", error=True)
    for failure in done.failures:
        say(f"{failure.case}: {failure.reason}", error=True)
