"""``qreg migrate``: the successors of deprecated quantization methods, measured on a model."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from qreg.cli.options import (
    add_data_options,
    add_engine_option,
    add_limit_option,
    add_method_option,
    add_thread_option,
    check_model_and_methods,
    chosen_engines,
    options_of,
)
from qreg.cli.terminal import console, say, write_file
from qreg.errors import UnknownNameError
from qreg.names import output_file
from qreg.quantization import DEPRECATED
from qreg.quantization.engines import default_engine

if TYPE_CHECKING:
    from qreg.migrate.records import Migration

_DESCRIPTION = """\
Compare each deprecated method (torch.ao.quantization, eager) with its successors on the same
samples: accuracy, flips, size, speed and the operators that compute the layers, with the old and
the new code.
"""
_EPILOG = """\
examples:
  qreg migrate
  qreg migrate --methods static --compiled
  qreg migrate --model resnet20 --dataset cifar10 --markdown migration.md
  qreg migrate --model mypackage.nets:make_net --dataset my_images/ --methods dynamic,static
  qreg migrate --engine all --no-code --json migration.json

With --model package.module:factory the weights are the factory's; qat needs a checkpoint from
`qreg train`. The torchao successors need `pip install qreg[torchao]`; without it they are reported
as not available and skipped.

exit status: 0 every successor available on this machine is within noise of the deprecated method
or better; 1 one loses accuracy, quantizes nothing or failed, or none could be measured; 2 failed
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser], what: str) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "migrate",
        help=what,
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_data_options(parser)
    _add_choices(parser)
    add_thread_option(parser)
    parser.add_argument("--no-code", action="store_true", help="do not print the code")
    parser.add_argument(
        "--json", type=output_file, metavar="FILE", help="write the results as JSON"
    )
    parser.add_argument(
        "--markdown", type=output_file, metavar="FILE", help="write a report for a pull request"
    )
    parser.set_defaults(run=run)


def _add_choices(parser: argparse.ArgumentParser) -> None:
    add_method_option(parser, tuple(DEPRECATED), "the deprecated methods")
    add_engine_option(parser)
    parser.add_argument(
        "--compiled",
        action="store_true",
        help="include the successors that use torch.compile (takes minutes; needs a C++ compiler)",
    )
    parser.add_argument(
        "--onnxruntime",
        action="store_true",
        help="include ort-static and ort-dynamic (needs qreg[onnx])",
    )
    add_limit_option(parser)


def run(args: argparse.Namespace) -> int:
    """Measure, judge and print."""
    methods, engines = _methods(args.methods), chosen_engines(args.engines)
    check_model_and_methods(args.model, methods, args.weights_file)
    found = _migrate(args, methods, engines)
    _print(found, code=not args.no_code, traceback=args.traceback)
    _write(args, found)
    return 0 if found.fit else 1


def _methods(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if name not in DEPRECATED:
            raise UnknownNameError("deprecated method", name, DEPRECATED)
    return names


def _migrate(
    args: argparse.Namespace, methods: tuple[str, ...], engines: tuple[str, ...]
) -> Migration:
    from qreg.cli.terminal import progress_bar

    with progress_bar() as show:
        show(0, 1, "loading PyTorch")
        from qreg.migrate.run import migrate, successor_pairs
        from qreg.records.case import Case

        options = options_of(args, show)
        options.apply_threads()
        home = Case(args.dataset, args.model, "fp32", default_engine())
        pairs = successor_pairs(
            home, methods, engines, compiled=args.compiled, onnxruntime=args.onnxruntime
        )
        return migrate(home, pairs, options)


def _print(migration: Migration, *, code: bool, traceback: bool) -> None:
    from rich.padding import Padding

    from qreg.migrate.report import headline, migration_notes, migration_table, verdict_lines

    out = console()
    out.print(headline(migration), style="bold", highlight=False)
    for line in verdict_lines(migration):
        text = line.lstrip()
        out.print(Padding(text, (0, 0, 0, len(line) - len(text))), highlight=False)
    out.print(migration_table(migration))
    for note in migration_notes(migration):
        out.print(note, style="dim", highlight=False)
    if code:
        _print_code(migration)
    for failure in migration.failures:
        if traceback and failure.details:
            say(f"{failure.case}:\n{failure.details}", error=True)


def _print_code(migration: Migration) -> None:
    from rich.syntax import Syntax

    from qreg.migrate.text import code_blocks

    out = console()
    for title, text in code_blocks(migration):
        out.print(f"\n{title}", style="bold", highlight=False)
        out.print(Syntax(text, "python", background_color="default", word_wrap=True))


def _write(args: argparse.Namespace, migration: Migration) -> None:
    from qreg.cli.speed.output import now
    from qreg.migrate.text import migration_markdown, migration_text

    if args.json:
        write_file(args.json, migration_text(migration, created=now()).encode())
    if args.markdown:
        write_file(args.markdown, migration_markdown(migration).encode())
