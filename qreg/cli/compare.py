"""``qreg compare``: a model and its quantized versions, side by side."""

from __future__ import annotations

import argparse
from datetime import datetime, timezone
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
from qreg.cli.terminal import write_file
from qreg.names import output_file
from qreg.quantization import METHODS

if TYPE_CHECKING:
    from qreg.records.case import Failure
    from qreg.records.comparison import Comparison
    from qreg.records.measurement import Measurement

# the default methods with per-channel scales
_DEFAULT_METHODS = tuple(i.name for i in METHODS.facts() if i.default and not i.per_tensor)
_EPILOG = """\
examples:
  qreg compare
  qreg compare --dataset cifar10 --data-dir ~/data
  qreg compare --model resnet20 --methods static,qat --engine x86,qnnpack
  qreg compare --weights per_tensor --json comparison.json --plot comparison.png
  qreg compare --html comparison.html
  qreg compare --model mypackage.nets:make_net --dataset my_images/

exit status: 0 all measured; 1 some case could not be measured, the others are shown; 2 failed
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "compare",
        help="accuracy, size and speed of a model's quantized versions",
        description="Quantize a model by several methods and report the accuracy cost and the "
        "size and speed gains of each, with confidence intervals.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_data_options(parser)
    add_method_option(
        parser,
        _DEFAULT_METHODS,
        f"from {', '.join(METHODS.names())}, or package.module:method; fp32 is always measured",
    )
    parser.add_argument(
        "--weights",
        choices=("per_channel", "per_tensor"),
        default="per_channel",
        help="per_tensor: static and qat stand for static-per-tensor and qat-per-tensor",
    )
    add_engine_option(parser)
    add_limit_option(parser)
    add_thread_option(parser)
    parser.add_argument(
        "--json", type=output_file, metavar="FILE", help="write all measurements as JSON"
    )
    parser.add_argument(
        "--plot", type=output_file, metavar="FILE", help="plot accuracy against size as PNG"
    )
    parser.add_argument(
        "--html", type=output_file, metavar="FILE", help="write a page: flips, layers, sizes"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure the methods and print the comparison."""
    methods = _methods(args.methods, args.weights)
    engines = chosen_engines(args.engines)
    check_model_and_methods(args.model, methods)
    results = _measure(args, methods, engines)
    _print(results, traceback=args.traceback)
    if args.json:
        write_file(args.json, _json(results))
    if args.plot:
        from qreg.report.plot import comparison_png

        write_file(args.plot, comparison_png(results))
    if args.html:
        from qreg.report.compare_page import compare_page

        write_file(args.html, compare_page(results, created=_now()).encode(errors="replace"))
    return 1 if _failed(results) else 0


def _methods(names: tuple[str, ...], weights: str) -> tuple[str, ...]:
    chosen = ["fp32", *names]
    if weights == "per_tensor":
        variants = {info.variant_of: info.name for info in METHODS.facts() if info.per_tensor}
        chosen = [variants.get(name, name) for name in chosen]
    return tuple(dict.fromkeys(chosen))


def _measure(
    args: argparse.Namespace, methods: tuple[str, ...], engines: tuple[str, ...]
) -> Comparison:
    from qreg.cli.terminal import progress_bar

    with progress_bar() as show:
        show(0, 1, "loading PyTorch")
        from qreg.api import compare

        options = options_of(args, show)
        return compare(
            args.model,
            args.dataset,
            methods=methods,
            engines=engines,
            options=options,
            details=args.html is not None,
        )


def _print(results: tuple[Measurement | Failure, ...], *, traceback: bool) -> None:
    from qreg.cli.terminal import console, say
    from qreg.records.case import Failure
    from qreg.report.comparison import comparison_notes, comparison_table, failure_lines

    out = console()
    out.print(comparison_table(results))
    for note in comparison_notes(results):
        out.print(note, style="dim", highlight=False)
    for line in failure_lines(results):
        say(line, error=True)
    for result in results:
        if traceback and isinstance(result, Failure) and result.details:
            say(result.details, error=True)


def _failed(results: tuple[Measurement | Failure, ...]) -> bool:
    from qreg.records.case import Failure

    return any(isinstance(result, Failure) for result in results)


def _json(results: tuple[Measurement | Failure, ...]) -> bytes:
    from qreg.report.json_text import measurements_text

    return measurements_text(results, created=_now()).encode()


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
