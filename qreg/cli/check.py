"""``qreg check``: does a model keep the contract, and which methods can quantize it?"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from qreg.check.records import InputShape
from qreg.cli.options import (
    add_folder_options,
    add_method_option,
    add_task_option,
    add_weights_option,
    check_model_and_methods,
)
from qreg.cli.terminal import console, progress_bar, write_file
from qreg.errors import QregError
from qreg.names import Once, positive, positive_or_zero
from qreg.quantization import METHODS
from qreg.quantization.engines import check_engine

if TYPE_CHECKING:
    from qreg.check.records import CheckReport

#: One method of each kind, of those that take seconds.
DEFAULT_METHODS = ("dynamic", "static", "fx-static", "pt2e-static", "torchao-int8-dynamic")
_DEFAULT_INPUT = InputShape((3, 224, 224))
_DESCRIPTION = """\
Check, without recording anything, whether a model keeps the contract and which methods can quantize
it: works, blocked or unavailable. For blocked methods it names the layer, line and operator, the
reason, and what to do. Each method is tried in its own process.
"""
_EPILOG = """\
examples:
  qreg check torchvision:resnet18
  qreg check nets:tiny --dataset good.npz
  qreg check houses:mlp --dataset houses:data --task regression
  qreg check nets:tiny --input 3x32x32 --methods static,fx-static,pt2e-static
  qreg check nets:tagger --input ids=128:int64:0..30000 --input mask=128:bool --json check.json

An input is given without the batch dimension, positional or as NAME=SHAPE, with its dtype if not
float32; a scalar per sample is NAME=-. Values are random (see --seed): normal floats, integers 0 to
9, bools true; or from a range, both ends included: 3x224x224:0..1, ids=128:int64:0..511.

exit status: 0 all chosen methods work; 1 some are blocked or unavailable; 2 the contract is broken,
or the model is not found
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser], what: str) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "check",
        help=what,
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_check_options(parser)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results as JSON")
    parser.set_defaults(run=run)


def add_check_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for the model, see `given_model`, its inputs, and the methods."""
    parser.add_argument(
        "checked_model",
        metavar="MODEL",
        nargs="?",
        help="torchvision:NAME, timm:NAME, package.module:factory, or a model's name",
    )
    parser.add_argument("--model", action=Once, metavar="MODEL", help="the same, by its option")
    parser.add_argument(
        "--dataset",
        action=Once,
        default="",
        metavar="NAME",
        help="run it on samples of this dataset: a name, a folder, an npz file, "
        "package.module:DATASET",
    )
    add_task_option(parser)
    parser.add_argument(
        "--input",
        dest="inputs",
        action="append",
        default=[],
        metavar="SHAPE",
        help=f"run it on random inputs of this shape; once per tensor (default: {_DEFAULT_INPUT})",
    )
    add_method_option(parser, DEFAULT_METHODS, f"from {', '.join(METHODS.names())}, or your own")
    parser.add_argument(
        "--engine", action=Once, default="", help="(default: the first available one)"
    )
    parser.add_argument("--seed", type=positive_or_zero, default=0, help="seed of random inputs")
    parser.add_argument(
        "--jobs", type=positive, default=os.cpu_count() or 1, metavar="N", help="default: all cores"
    )
    parser.add_argument(
        "--timeout",
        type=positive,
        default=300,
        metavar="SECONDS",
        help="a method that takes longer is blocked (default: %(default)s)",
    )
    add_weights_option(parser)
    add_folder_options(parser)


def run(args: argparse.Namespace) -> int:
    """Run the check and print the results."""
    model = given_model(args)
    if not model:
        raise QregError("no MODEL is given", hint="see: qreg check --help")
    found = checked(args, model)
    print_check(found, traceback=args.traceback)
    if args.json:
        from qreg.check.report import report_text

        write_file(args.json, report_text(found).encode())
    return found.status


def given_model(args: argparse.Namespace) -> str:
    """The model that was given, as MODEL or as --model; "" for none.

    Raises:
        QregError: two were given.
    """
    if args.checked_model and args.model:
        raise QregError("the model is given twice", hint=f"{args.checked_model}, or {args.model}")
    return args.checked_model or args.model or ""


def checked(args: argparse.Namespace, model: str) -> CheckReport:
    """Run the check that the options describe.

    Raises:
        QregError: the model, the dataset or a method is unknown.
    """
    inputs = tuple(map(InputShape.parse, args.inputs))
    if args.dataset and inputs:
        raise QregError("--dataset and --input", hint="give one of the two")
    if len({bool(each.name) for each in inputs}) > 1:
        raise QregError("only some inputs have names", hint="name all inputs, or none")
    check_model_and_methods(model, args.methods, args.weights_file)
    if args.engine:
        check_engine(args.engine)
    with progress_bar() as show:
        show(0, 1, "loading PyTorch")
        from qreg.check.run import CheckRequest, check
        from qreg.cli.options import options_of
        from qreg.quantization.engines import default_engine

        request = CheckRequest(
            model=model,
            methods=args.methods,
            engine=args.engine or default_engine(),
            dataset=args.dataset,
            inputs=inputs if args.dataset else inputs or (_DEFAULT_INPUT,),
            seed=args.seed,
            jobs=args.jobs,
            seconds=args.timeout,
            options=options_of(args, show),
        )
        return check(request)


def print_check(report: CheckReport, *, traceback: bool) -> None:
    """Print the contract, the methods, and why some are blocked."""
    from qreg.check.report import attempt_lines, contract_lines, headline, methods_table

    out = console()
    out.print(headline(report), style="bold", highlight=False)
    for line in contract_lines(report):
        out.print(line, highlight=False)
    out.print(methods_table(report))
    for line in attempt_lines(report):
        out.print(line, highlight=False)
    for one in report.attempts:
        if traceback and one.traceback:
            out.print(f"\n{one.method}:\n{one.traceback}", highlight=False, markup=False)
