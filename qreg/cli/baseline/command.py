"""``qreg baseline``: show baselines, propose changes, and apply approved ones."""

from __future__ import annotations

import argparse
from pathlib import Path

from qreg.cli.cases import add_case_options, chosen_root
from qreg.cli.options import add_action, add_thread_option
from qreg.errors import QregError
from qreg.names import Names, positive
from qreg.records.case import Case

_CATEGORIES = ("create", "fix", "update", "trim", "promise")
# with fewer, the tails of Student's t are too heavy to detect a fallback
_PROCESSES = 12
_SHOW_EPILOG = """\
examples:
  qreg baseline show shapes10/simple_cnn/static@x86
  qreg baseline show shapes10/simple_cnn/static@x86 --json

exit status: 0 shown; 2 there is no baseline, or it is damaged
"""
_DIFF_EPILOG = """\
Cases are those of [tool.qreg] in pyproject.toml, or else all registered ones. Without CASES and
options that select cases, every case that has a baseline is measured.

examples:
  qreg baseline diff
  qreg baseline diff 'shapes10/simple_cnn/*'
  qreg baseline diff --model simple_cnn,resnet20 --engines x86

exit status: 0 every case matches its baseline; 1 changes are proposed, or some case could not be
measured; 2 failed, with the reason
"""
_UPDATE_EPILOG = """\
Only named changes are applied: those of CASES, or with --category all changes of a category
(within CASES where both are given). A REGRESSED case must be named with --accept-regression.

categories:
  create   the case has no baseline, or none for this environment
  fix      the measurement differs from this environment's baseline
  update   it is equal, but was recorded with other versions
  trim     a baseline of an unknown case, or an unused sidecar
  promise  the speed-up over fp32, measured in fresh processes and then promised; only if named,
           and after the others

examples:
  qreg baseline update --reason "first baselines" --category create --dataset shapes10
  qreg baseline update --reason "retrained, #123" 'shapes10/simple_cnn/*'
  qreg baseline update --reason "new method" --category create,promise --methods static
  qreg baseline update --reason "new machine" --category promise
  qreg baseline update --reason "fewer classes" --accept-regression shapes10/simple_cnn/qat@x86

exit status: 0 all named changes are applied; 1 some were refused or could not be measured, the rest
is applied; 2 nothing is applied, with the reason
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser], what: str) -> None:
    """Add the command."""
    parser = subparsers.add_parser("baseline", help=what)
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    show = _action(actions, "show", "print the approved baselines of a case", _SHOW_EPILOG)
    show.add_argument("case", metavar="CASE", help="dataset/model/method@engine")
    show.add_argument("--json", action="store_true", help="print the file after verifying it")
    show.set_defaults(run=run_show)
    diff = _action(actions, "diff", "measure, and show what would change", _DIFF_EPILOG)
    _add_measuring(diff)
    diff.set_defaults(run=run_diff)
    update = _action(actions, "update", "measure, and approve the named changes", _UPDATE_EPILOG)
    _add_measuring(update)
    _add_approving(update)
    update.set_defaults(run=run_update, interrupted="nothing is applied")


def _action(
    actions: argparse._SubParsersAction[argparse.ArgumentParser], name: str, what: str, epilog: str
) -> argparse.ArgumentParser:
    parser = add_action(actions, name, what, epilog)
    parser.add_argument(
        "--baselines",
        type=Path,
        metavar="DIR",
        help="folder of baselines; else QREG_BASELINES, else that of [tool.qreg], else baselines, "
        "else the shipped ones",
    )
    return parser


def _add_measuring(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "cases", nargs="*", metavar="CASES", help="names of cases, or patterns: 'cifar10/*/qat@*'"
    )
    add_case_options(parser)
    # baselines with other numbers of threads are of other environments: the default is one
    add_thread_option(parser, default=1)


def _add_approving(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--reason", default="", metavar="TEXT", help="reason, kept in the baseline")
    parser.add_argument(
        "--category",
        "--categories",
        action=Names,
        among=_CATEGORIES,
        metavar="A,B,...",
        help=f"all changes of these categories, from {', '.join(_CATEGORIES)}",
    )
    parser.add_argument(
        "--processes",
        type=positive,
        default=_PROCESSES,
        metavar="N",
        help="number of fresh processes for a promise (default: %(default)s)",
    )
    parser.add_argument(
        "--accept-regression",
        nargs="+",
        action=Names,
        metavar="CASE",
        help="approve these cases although they REGRESSED",
    )


def run_show(args: argparse.Namespace) -> int:
    """Print the baselines of a case."""
    from qreg.baselines.store import Store
    from qreg.cli.terminal import console, say
    from qreg.report.baseline import baseline_parts

    store, case = Store(chosen_root(args)), Case.parse(args.case)
    baselines, promises = store.read(case), store.promises(case)
    if not baselines:
        raise QregError(
            f"no baseline of {case} in {store.root}",
            hint=f"create one with: qreg baseline update --reason TEXT {case}",
        )
    if args.json:
        say(store.text(case))
        return 0
    out = console()
    for part in baseline_parts(baselines, promises):
        out.print(part, highlight=False)
    return 0


def run_diff(args: argparse.Namespace) -> int:
    """Measure the cases and show what would change."""
    from qreg.cli.baseline.approving import diff

    return diff(args)


def run_update(args: argparse.Namespace) -> int:
    """Measure the cases and apply the named changes."""
    from qreg.cli.baseline.approving import update

    return update(args)
