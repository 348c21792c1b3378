"""``qreg speed record`` and ``qreg speed history``: speed over time."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from qreg.cli.options import add_action, add_folder_options
from qreg.cli.speed.options import add_measuring, add_pairs, add_selection, check_cases
from qreg.cli.terminal import say
from qreg.errors import QregError
from qreg.names import output_file, positive
from qreg.selection import matches, may_run, models_with_weights, project_settings

if TYPE_CHECKING:
    from qreg.measure.options import Options
    from qreg.records.case import Case
    from qreg.records.verdict import Outcome
    from qreg.speed.history.change_points import ChangePoint
    from qreg.speed.records import HistoryEntry

_PAIRS = 12
_RECORD_EPILOG = """\
Use the same reference for every recording: a release's tag, or a virtual environment that you keep.
Each recording runs all its pairs, and nothing is judged.

examples:
  qreg speed record --reference v1.0 --model simple_cnn
  qreg speed record --reference ../venv-pinned --methods static --store nights.sqlite

exit status: 0 recorded; 1 some case had too few pairs and was not recorded; 2 failed, with the
reason
"""
_HISTORY_EPILOG = """\
A change point is a trigger, not an alarm: it names the commits of two entries. With --confirm, if a
case's latest change is a slowdown, the paired check runs between those commits, and only its result
raises an alarm. Each change point is checked once; the result is stored next to the history.

examples:
  qreg speed history
  qreg speed history '*/simple_cnn/*' --plot nights.png --confirm

exit status: 0 shown; 1 a slowdown was confirmed (with --strict: or is not excluded); 2 there is
nothing to show, or --plot needs a case
"""


def add_actions(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add both actions."""
    record = _action(actions, "record", "record speed relative to a reference", _RECORD_EPILOG)
    record.add_argument(
        "--reference", required=True, metavar="REF|PYTHON", help="the same in every recording"
    )
    record.add_argument("--candidate", default=".", metavar="REF|PYTHON", help="(default: .)")
    add_selection(record)
    add_measuring(record, pairs=_PAIRS)
    record.set_defaults(run=run_record)
    history = _action(actions, "history", "show recorded speed and change points", _HISTORY_EPILOG)
    history.add_argument("cases", nargs="*", metavar="CASE", help="names, or patterns: '*/qat@*'")
    history.add_argument(
        "--plot", type=output_file, metavar="FILE", help="plot a single case as PNG"
    )
    history.add_argument(
        "--last", type=positive, default=60, metavar="N", help="entries per case (default: 60)"
    )
    history.add_argument("--confirm", action="store_true", help="check the last slowdowns")
    history.add_argument(
        "--strict", action="store_true", help="also fail on a slowdown that cannot be checked"
    )
    add_pairs(history)
    for name, what in (("threads", "threads"), ("batch", "inputs a call")):
        history.add_argument(
            f"--{name}",
            type=positive,
            metavar="N",
            help=f"only entries with this number of {what} (default: the latest entry's)",
        )
    add_folder_options(history, downloads=False)
    history.set_defaults(run=run_history)


def _action(
    actions: argparse._SubParsersAction[argparse.ArgumentParser], name: str, what: str, epilog: str
) -> argparse.ArgumentParser:
    parser = add_action(actions, name, what, epilog)
    parser.add_argument(
        "--store",
        type=Path,
        metavar="FILE",
        help="JSON lines, or SQLite by its suffix (default: .qreg/history/nights.jsonl)",
    )
    return parser


def run_record(args: argparse.Namespace) -> int:
    """Measure the cases and append the entries."""
    from qreg.cli.speed.output import exit_status, now, print_run
    from qreg.files import check_output
    from qreg.speed.compare.rule import single_look
    from qreg.speed.history.entries import history_entries
    from qreg.speed.history.store import append, store_path

    root = project_settings().root
    path = store_path(args.store, root)
    check_output(path)
    run, plan = check_cases(args, args.reference, args.candidate, plan=single_look)
    print_run(run, plan)
    if run.interrupted:
        return exit_status(run, strict=False)
    entries = history_entries(run, plan, root, time=now())
    append(path, entries)
    say(f"recorded {len(entries)} of {len(run.verdicts)} cases in {os.fspath(path)}")
    return int(len(entries) < len(run.verdicts))


def run_history(args: argparse.Namespace) -> int:
    """Show the history, and confirm slowdowns if asked to."""
    from qreg.speed.history.change_points import change_points, find_changes
    from qreg.speed.report.history import history_lines

    shown = _entries(args)
    if args.plot and len(shown) != 1:
        raise QregError(f"--plot with {len(shown)} cases", hint="name one case")
    alerts = 0
    for entries in shown.values():
        starts = change_points([entry.change for entry in entries])
        say("\n".join(history_lines(entries, starts)))
        changes = find_changes(entries)
        for change in changes:
            say(_change_text(change))
        if args.plot:
            _write_plot(args.plot, entries, starts)
        if args.confirm and changes and changes[-1].by > 0:
            alerts += _alerts(changes[-1], args)
    return int(alerts > 0)


def _entries(args: argparse.Namespace) -> dict[Case, tuple[HistoryEntry, ...]]:
    from qreg.speed.history.store import read, store_path

    path = store_path(args.store, project_settings().root)
    entries, damaged = read(path)
    for line in damaged:
        say(f"{path}, line {line.number} is damaged: {line.reason}", error=True)
    kept = [n for n in entries if _is_asked_for(n, args)]
    if not kept:
        raise QregError(f"{path} has no entries of these cases", hint="record: qreg speed record")
    # another reference, batch size or number of threads is another series: the last one's counts
    last = {entry.case: entry.series for entry in kept}
    return {
        case: tuple(n for n in kept if n.case == case and n.series == series)[-args.last :]
        for case, series in last.items()
    }


def _is_asked_for(entry: HistoryEntry, args: argparse.Namespace) -> bool:
    named = not args.cases or matches(entry.case, args.cases)
    batch = args.batch in (None, entry.batch)
    return named and batch and args.threads in (None, entry.environment.threads)


def _of_entry(args: argparse.Namespace, entry: HistoryEntry) -> Options:
    """How the entry was measured, with the folders that are named."""
    from qreg.measure.options import Options

    return Options(
        data_dir=args.data_dir,
        checkpoints=args.checkpoints,
        threads=entry.environment.threads,
        batch=entry.batch or 1,
        weight_files=models_with_weights(),
    )


def _change_text(change: ChangePoint) -> str:
    before, after = change.before, change.after
    return (
        f"change {change.by * 100:+.1f} % between {before.time[:10]} ({before.commit or 'no git'}) "
        f"and {after.time[:10]} ({after.commit or 'no git'})\n"
        f"  next: qreg speed check {before.commit} {after.commit} --cases '{after.case}'"
        f" --batch {after.batch or 1} --threads {after.environment.threads}"
    )


def _write_plot(path: Path, entries: tuple[HistoryEntry, ...], starts: tuple[int, ...]) -> None:
    from qreg.cli.terminal import write_file
    from qreg.speed.report.history import history_png

    write_file(path, history_png(entries, starts))


def _alerts(change: ChangePoint, args: argparse.Namespace) -> bool:
    """Whether the paired check confirms the slowdown, by a stored result or a new run."""
    from qreg.records.verdict import Outcome
    from qreg.speed.history.confirmations import confirmations_path, find
    from qreg.speed.history.entries import why_not_confirmed
    from qreg.speed.history.store import store_path

    if reason := why_not_confirmed(change):
        say(f"NOT CHECKED: {reason}")
        return bool(args.strict)
    path = confirmations_path(store_path(args.store, project_settings().root))
    if known := find(path, change):
        say(f"already checked on {known.time[:10]}: {known.outcome.value}")
    outcome = known.outcome if known else _confirm(change, path, args)
    return outcome is Outcome.REGRESSED or (args.strict and outcome is not Outcome.PASS)


def _confirm(change: ChangePoint, path: Path, args: argparse.Namespace) -> Outcome:
    """Run the paired check between the two commits, print it, and store the result."""
    from qreg.cli.speed.output import now, print_run
    from qreg.speed.history.confirmations import Confirmation, keep

    before, after, case = change.before.commit, change.after.commit, change.after.case
    if str(case) not in args.cases and not may_run(case, project_settings()):
        raise QregError(
            f"{case}: neither [tool.qreg] nor the command line names its code",
            hint=f"a history's file runs none: name it, qreg speed history --confirm {case}",
        )
    run, plan = check_cases(
        args, before, after, choose=lambda _: (case,), options=_of_entry(args, change.after)
    )
    print_run(run, plan)
    outcome = run.verdicts[0].outcome
    if not run.interrupted:
        keep(path, Confirmation(now(), case, before, after, outcome))
    return outcome
