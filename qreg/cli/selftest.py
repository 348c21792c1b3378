"""``qreg selftest``: does the gate detect faults, without false alarms?"""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from qreg.cli.cases import add_case_options
from qreg.cli.options import (
    add_ray_option,
    add_thread_option,
    check_model_and_methods,
    chosen_engines,
    executor_of,
    options_of,
)
from qreg.errors import QregError
from qreg.names import Names, output_file, positive, positive_or_zero
from qreg.processes.temporary import temporary_folder
from qreg.quantization.engines import available_engines

if TYPE_CHECKING:
    from qreg.faults.results import Proof
    from qreg.records.case import Case

_METHODS = ("fp32", "static", "dynamic", "qat")
_DESCRIPTION = f"""\
Inject faults into the quantization of a model, one at a time and each in a fresh process, and show
which of the gate's checks detect them: bit-exactly, as in the same environment, and statistically,
as on another machine. Then run the cases without a fault in fresh processes, with other numbers of
threads and emulating other CPUs, and count false alarms. Baselines are recorded in a temporary
folder; approved ones are neither read nor changed. Last, plant a bad site at each position of the
model, which must rank first, and judge budgets where the true drop is known.

Defaults: simple_cnn on shapes10 with {",".join(_METHODS)} on the first available engine;
clean runs on all engines. This takes about 20 minutes.
"""
_EPILOG = """\
examples:
  qreg selftest
  qreg selftest --faults zero-point+1,bias-dropped --method static --clean-runs 0
  qreg selftest --model resnet20 --dataset cifar10 --engine x86,onednn --json proof.json
  qreg selftest --faults none --clean-runs 3
  qreg selftest --ray local
  qreg selftest --faults bad-site,budget-missed --method static --clean-runs 0

exit status: 0 every fault that changes anything is detected bit-exactly, there is no false alarm,
every bad site ranks first, and budgets are judged as they claim; 1 otherwise; 2 failed, with the
reason
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser], what: str) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "selftest",
        help=what,
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_case_options(parser)
    parser.add_argument(
        "--faults",
        "--fault",
        action=Names,
        metavar="A,B,...",
        help="these faults only, or none (default: all applicable ones). Two are not injected into "
        "the gate's cases: bad-site, a site without precision at each position of the model, which "
        "qreg sensitivity must rank first; and budget-missed, budgets around the true drop, which "
        "may be judged wrongly in 5 %% of all draws",
    )
    parser.add_argument(
        "--draws",
        type=positive,
        default=1000,
        metavar="N",
        help="simulated draws for each row of budget-missed, and a tenth as many of real samples "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--clean-runs",
        type=positive_or_zero,
        default=1,
        metavar="N",
        help="clean runs per setting (default: %(default)s)",
    )
    add_thread_option(parser, default=1)
    add_ray_option(parser)
    parser.add_argument(
        "--json", type=output_file, metavar="FILE", help="write the results as JSON"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the selftest and print the results."""
    proof = _proof(args)
    _print(proof)
    if args.json:
        from qreg.cli.terminal import write_file
        from qreg.faults.report.proof_json import proof_text

        write_file(args.json, proof_text(proof).encode())
    return 0 if proof.holds else 1


def _proof(args: argparse.Namespace) -> Proof:
    from qreg.cli.terminal import progress_bar

    with ExitStack() as stack:
        show = stack.enter_context(progress_bar())
        folder = stack.enter_context(temporary_folder("selftest"))
        show(0, 1, "loading PyTorch")
        from qreg.faults import chosen_proofs, get_faults
        from qreg.faults.processes import Launcher
        from qreg.faults.selftest import Selftest

        none = args.faults == ("none",)
        cases, clean = _cases(args, chosen_engines(args.engines)), _clean_cases(args)
        executor = stack.enter_context(executor_of(args, (*cases, *clean)))
        kind = executor.most_common_kind() if executor else ""
        test = Selftest(
            launcher=Launcher(options_of(args, show), executor, kind),
            cases=cases,
            clean_cases=clean,
            faults=() if none else get_faults(args.faults),
            clean_runs=args.clean_runs,
            folder=Path(folder),
            proofs=() if none else chosen_proofs(args.faults),
            draws=args.draws,
        )
        return test.run()


def _cases(args: argparse.Namespace, engines: tuple[str, ...]) -> tuple[Case, ...]:
    from qreg.selection import gate_cases

    models, methods = args.models or ("simple_cnn",), args.methods or _METHODS
    for model in models:
        check_model_and_methods(model, methods, args.weights_file)
    return gate_cases(args.datasets or ("shapes10",), models, methods, engines)


def _clean_cases(args: argparse.Namespace) -> tuple[Case, ...]:
    """The cases of the clean runs, on all engines unless chosen."""
    return _cases(args, chosen_engines(args.engines) if args.engines else available_engines())


def _print(proof: Proof) -> None:
    from qreg.cli.terminal import console
    from qreg.faults.report.clean_runs import clean_notes, clean_table
    from qreg.faults.report.proofs import (
        budget_rates_notes,
        budget_rates_table,
        planted_notes,
        planted_table,
    )
    from qreg.faults.report.tables import fault_notes, fault_size_table, fault_table, share_table

    if not (proof.faults or proof.clean or proof.planted or proof.budgets):
        raise QregError(
            "nothing to run: no fault applies to these cases",
            hint="choose other methods, or --clean-runs 1",
        )
    out = console()
    if proof.faults:
        for table in (fault_table, share_table, fault_size_table):
            out.print(table(proof.faults))
        for note in fault_notes(proof):
            out.print(note, style="dim", highlight=False)
    if proof.clean:
        out.print(clean_table(proof.clean))
        for note in clean_notes(proof):
            out.print(note, style="dim", highlight=False)
    for proven in (planted_table(proof.planted), budget_rates_table(proof.budgets)):
        if proven.row_count:
            out.print(proven)
    for note in (*planted_notes(proof.planted), *budget_rates_notes(proof.budgets)):
        out.print(note, style="dim", highlight=False)
