"""``qreg history``: verdicts, scores and sizes over time."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from qreg.cli.cases import add_case_options, chosen_root, optioned_cases
from qreg.cli.options import add_action
from qreg.cli.terminal import say
from qreg.errors import QregError
from qreg.names import output_file, positive
from qreg.selection import matches, project_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qreg.history.records import GateEntry
    from qreg.history.run import JudgedCases
    from qreg.records.case import Case
    from qreg.speed.records import HistoryEntry

_RECORD_EPILOG = """\
The same as `pytest -m regression --qreg-record`, without pytest: cases are judged by their
baselines, and score, size and verdict of each are appended to the history, next to what
`qreg speed record` appends. Nothing is approved.

examples:
  qreg history record
  qreg history record --model simple_cnn --store nights.sqlite

exit status: 0 recorded; 1 some case could not be judged on this machine; 2 failed, with the reason
"""
_SHOW_EPILOG = """\
examples:
  qreg history show
  qreg history show '*/simple_cnn/*' --last 30

exit status: 0 shown; 2 there is nothing to show
"""
_HTML_EPILOG = """\
The page has one small chart a case: its score, and its speed where that was recorded, with change
points; commits, verdicts, sizes and environments are in the tooltips.

examples:
  qreg history html nights.html
  qreg history html nights.html '*/simple_cnn/*' --last 90

exit status: 0 written; 2 there is nothing to show
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser], what: str) -> None:
    """Add the command."""
    parser = subparsers.add_parser("history", help=what)
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    record = add_action(actions, "record", "judge the cases and record them", _RECORD_EPILOG)
    add_case_options(record)
    record.add_argument("--baselines", type=Path, metavar="DIR", help="folder of baselines")
    record.add_argument("--jobs", type=positive, default=0, metavar="N", help="judging processes")
    record.set_defaults(run=run_record)
    show = add_action(actions, "show", "show recorded verdicts, scores and sizes", _SHOW_EPILOG)
    show.set_defaults(run=run_show)
    html = add_action(actions, "html", "write a page with a chart a case", _HTML_EPILOG)
    html.add_argument("file", type=output_file, metavar="FILE")
    html.set_defaults(run=run_html)
    for one in (show, html):
        one.add_argument("cases", nargs="*", metavar="CASE", help="names, or patterns: '*/qat@*'")
        one.add_argument(
            "--last", type=positive, default=60, metavar="N", help="runs per case (default: 60)"
        )
    for one in (record, show, html):
        one.add_argument(
            "--store",
            type=Path,
            metavar="FILE",
            help="JSON lines, or SQLite by its suffix (default: .qreg/history/nights.jsonl)",
        )


def run_record(args: argparse.Namespace) -> int:
    """Judge the cases and append their entries."""
    from qreg.cli.speed.output import now
    from qreg.files import check_output
    from qreg.gate.report import headline
    from qreg.git import current_commit
    from qreg.history.store import append, gate_entries
    from qreg.speed.history.store import store_path

    root = project_settings().root
    path = store_path(args.store, root)
    check_output(path)
    judged = _judged(args)
    for verdict, _ in judged.cases:
        say(headline(verdict))
    for failure in judged.failures:
        say(f"not judged: {failure.case}: {failure.text}", error=True)
    append(path, gate_entries(judged.cases, time=now(), commit=current_commit(root)))
    total = len(judged.cases) + len(judged.failures)
    say(f"recorded {len(judged.cases)} of {total} cases in {os.fspath(path)}")
    return int(bool(judged.failures) or not judged.cases)


def _judged(args: argparse.Namespace) -> JudgedCases:
    from qreg.cli.terminal import progress_bar

    with progress_bar() as show:
        show(0, 1, "loading PyTorch")
        from dataclasses import replace

        from qreg.gate.pool import JudgeRequest
        from qreg.history.run import judge_all
        from qreg.measure.options import ONE_THREAD
        from qreg.stats.holm import family_alpha

        settings = project_settings()
        cases = optioned_cases(args, settings)
        request = JudgeRequest(
            settings=settings,
            baselines=chosen_root(args),
            alpha=family_alpha(len(cases)),
            options=replace(ONE_THREAD, data_dir=args.data_dir, checkpoints=args.checkpoints),
            details=True,
        )
        jobs = args.jobs or min(4, os.cpu_count() or 1)
        return judge_all(request, cases, jobs=jobs, progress=show)


def run_show(args: argparse.Namespace) -> int:
    """Print the history of each case."""
    from qreg.history.changes import score_changes, why_no_changes
    from qreg.history.report import history_lines

    gate, _ = _entries(args)
    for entries in gate.values():
        for line in history_lines(entries, score_changes(entries)):
            say(line)
    if note := why_no_changes():
        say(note)
    return 0


def run_html(args: argparse.Namespace) -> int:
    """Write the page."""
    from qreg.cli.speed.output import now
    from qreg.cli.terminal import write_file
    from qreg.report.history_page import history_page

    gate, speed = _entries(args, speed=True)
    page = history_page(gate, speed, created=now())
    write_file(args.file, page.encode(errors="replace"))
    return 0


def _entries(
    args: argparse.Namespace, *, speed: bool = False
) -> tuple[dict[Case, tuple[GateEntry, ...]], dict[Case, tuple[HistoryEntry, ...]]]:
    """The entries of the gate, and those of speed where they are wanted too, of each case.

    Raises:
        QregError: there are none.
    """
    from qreg.history.store import by_case, read
    from qreg.speed.history.store import read as read_speed
    from qreg.speed.history.store import store_path

    path = store_path(args.store, project_settings().root)
    entries, damaged = read(path)
    for line in damaged:
        say(f"{path}, line {line.number} is damaged: {line.reason}", error=True)
    kept = [one for one in entries if not args.cases or matches(one.case, args.cases)]
    times = read_speed(path)[0] if speed else ()
    timed = _last_series(
        [one for one in times if not args.cases or matches(one.case, args.cases)], args.last
    )
    if not kept and not timed:
        raise QregError(
            f"{path} has no entries of these cases",
            hint="record: qreg history record, or pytest -m regression --qreg-record",
        )
    return by_case(kept, last=args.last), timed


def _last_series(
    entries: Sequence[HistoryEntry], last: int
) -> dict[Case, tuple[HistoryEntry, ...]]:
    """Of each case the entries that compare with its last one."""
    series = {one.case: one.series for one in entries}
    return {
        case: tuple(n for n in entries if n.case == case and n.series == key)[-last:]
        for case, key in series.items()
    }
