"""``qreg compare``: a model and its quantized versions, side by side."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from qreg.cli.options import (
    add_data_options,
    add_engine_option,
    add_limit_option,
    add_method_option,
    add_ray_option,
    add_thread_option,
    check_model_and_methods,
    chosen_engines,
    executor_of,
    options_of,
)
from qreg.cli.terminal import write_file
from qreg.errors import QregError
from qreg.names import output_file, positive
from qreg.quantization import METHODS
from qreg.records.budget import Budget, BudgetOutcome
from qreg.records.case import Case
from qreg.selection import check_budget, dataset_sources
from qreg.settings import find_settings

if TYPE_CHECKING:
    from qreg.budget.run import CaseBudget
    from qreg.measure.options import Options
    from qreg.measure.sharded import Sharding
    from qreg.records.case import Failure
    from qreg.records.comparison import Comparison
    from qreg.records.measurement import Measurement

# the default methods with per-channel scales
_DEFAULT_METHODS = tuple(i.name for i in METHODS.facts() if i.default and not i.per_tensor)
# For each processor of a cluster, where --shards says nothing: one that ends early takes more.
_SHARDS = 2
_EPILOG = """\
examples:
  qreg compare
  qreg compare --dataset cifar10 --data-dir ~/data
  qreg compare --model resnet20 --methods static,qat --engine x86,qnnpack
  qreg compare --weights per_tensor --json comparison.json --plot comparison.png
  qreg compare --html comparison.html
  qreg compare --model file:net.onnx --methods file:net_int8.onnx --layers
  qreg compare --model mypackage.nets:make_net --dataset my_images/
  qreg compare --dataset shapes10 --shards 8
  qreg compare --dataset shapes10 --ray auto
  qreg compare --methods static --budget "max-drop=0.5,max-size=30 %,min-speed-up=1.5"

exit status: 0 all measured; 1 some case could not be measured, the others are shown, or a limit of
the budget is BROKEN; 2 failed
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser], what: str) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "compare",
        help=what,
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
        of_the_project=True,
    )
    parser.add_argument(
        "--weights",
        choices=("per_channel", "per_tensor"),
        default="per_channel",
        help="per_tensor: static and qat stand for static-per-tensor and qat-per-tensor",
    )
    add_engine_option(parser)
    add_limit_option(parser)
    parser.add_argument(
        "--shards",
        type=positive,
        default=0,
        metavar="N",
        help="measure quality in N ranges of the test samples, each in a process of its own, on "
        "all cores or with --ray on all machines; times are those of the first samples, here",
    )
    add_ray_option(parser)
    add_thread_option(parser)
    parser.add_argument(
        "--json", type=output_file, metavar="FILE", help="write all measurements as JSON"
    )
    parser.add_argument(
        "--plot", type=output_file, metavar="FILE", help="plot accuracy against size as PNG"
    )
    parser.add_argument(
        "--sort",
        choices=("given", "quality", "size", "speed"),
        default="given",
        help="order of the table's rows, the best first; fp32 is always the first "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--html", type=output_file, metavar="FILE", help="write a page: flips, layers, sizes"
    )
    parser.add_argument(
        "--layers",
        action="store_true",
        help="show the SQNR of every layer, and the first tensor that diverges from fp32",
    )
    parser.add_argument(
        "--budget",
        nargs="?",
        const="",
        metavar="LIMITS",
        help="judge each method by [tool.qreg.budget], or by limits given here: max-drop=0.5,"
        "max-size=0.7,min-speed-up=1.5,max-flips=2 %%",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure the methods and print the comparison."""
    if args.shards or args.ray:
        args.threads = args.threads or 1  # each core has a process
    methods = _methods(args.methods, args.weights)
    engines = chosen_engines(args.engines)
    check_model_and_methods(args.model, methods, args.weights_file)
    budget = None if args.budget is None else _budget(args.budget)
    if budget is not None:
        methods = _with_controls(args, methods, engines, budget)
    results = _measure(args, methods, engines)
    _print(results, traceback=args.traceback, sort=args.sort)
    if args.layers:
        _print_layers(results)
    judged = () if budget is None else _judge(results, budget)
    if args.json:
        write_file(args.json, _json(results, judged))
    if args.plot:
        from qreg.report.plot import comparison_png

        write_file(args.plot, comparison_png(results))
    if args.html:
        from qreg.report.compare_page import compare_page

        write_file(args.html, compare_page(results, created=_now()).encode(errors="replace"))
    broken = any(one.result is BudgetOutcome.BROKEN for case in judged for one in case.checks)
    return 1 if broken or _failed(results) else 0


def _budget(text: str) -> Budget:
    """The limits of the command line, or the project's."""
    from qreg.budget.table import read_limits

    if text:
        return read_limits(text)
    settings = find_settings(Path.cwd())
    if settings is None or not settings.budget:
        raise QregError(
            "--budget: no table [tool.qreg.budget] here or above",
            hint="write one, or give the limits: --budget max-drop=0.5,max-size=0.7",
        )
    check_budget(settings)
    return settings.budget


def _with_controls(
    args: argparse.Namespace, methods: tuple[str, ...], engines: tuple[str, ...], budget: Budget
) -> tuple[str, ...]:
    """The methods, and the controls that their drops are measured from."""
    from qreg.budget.run import controls

    cases = [Case(args.dataset, args.model, one, engines[0]) for one in methods]
    return tuple(dict.fromkeys((*methods, *controls(cases, budget))))


def _judge(results: tuple[Measurement | Failure, ...], budget: Budget) -> tuple[CaseBudget, ...]:
    """Judge the measured cases, and print the results."""
    from qreg.budget.report import budget_notes, budget_table
    from qreg.budget.run import judge_measurements
    from qreg.cli.terminal import console

    found = judge_measurements(results, budget)
    out = console()
    if not found:
        out.print("budget: no limit concerns a measured case.", style="dim")
        return ()
    out.print(budget_table(found))
    for note in budget_notes(found):
        out.print(note, style="dim", highlight=False)
    return found


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

        options = replace(options_of(args, show), sources=_sources())
        with _sharding(args, methods, engines, options) as observe:
            return compare(
                args.model,
                args.dataset,
                methods=methods,
                engines=engines,
                options=options,
                details=args.layers or args.html is not None,
                observe=observe,
            )


@contextmanager
def _sharding(
    args: argparse.Namespace, methods: tuple[str, ...], engines: tuple[str, ...], options: Options
) -> Iterator[Sharding | None]:
    """Where quality is measured, if not in this process."""
    if not (args.shards or args.ray):
        yield None
        return
    from qreg.measure.sharded import Sharding
    from qreg.processes.local import LocalExecutor
    from qreg.selection import project_settings

    settings = project_settings()
    cases = [Case(args.dataset, args.model, methods[0], engines[0])]
    with executor_of(args, cases) as cluster:
        if cluster is not None:
            kind = cluster.most_common_kind()
            parts = args.shards or _SHARDS * max(1, cluster.room(kind))
            yield Sharding(settings, options, cluster, parts, kind)
            return
        executor = LocalExecutor(jobs=os.cpu_count() or 1)
        try:
            yield Sharding(settings, options, executor, args.shards)
        finally:
            executor.close()


def _sources() -> tuple[tuple[str, str], ...]:
    """Where the project's datasets are, by the names that its cases have."""
    settings = find_settings(Path.cwd())
    return dataset_sources(settings) if settings else ()


def _print(results: tuple[Measurement | Failure, ...], *, traceback: bool, sort: str) -> None:
    from qreg.cli.terminal import console, say
    from qreg.records.case import Failure
    from qreg.report.comparison import (
        comparison_notes,
        comparison_table,
        failure_lines,
        sorted_results,
    )
    from qreg.report.folding import folded

    out = console()
    for table in folded(comparison_table(sorted_results(results, by=sort)), out):
        out.print(table)
    for note in comparison_notes(results):
        out.print(note, style="dim", highlight=False)
    for line in failure_lines(results):
        say(line, error=True)
    for result in results:
        if traceback and isinstance(result, Failure) and result.details:
            say(result.details, error=True)


def _print_layers(results: Comparison) -> None:
    from qreg.cli.terminal import console
    from qreg.report.layers import diverging_lines, layers_table

    details = [one for one in results.details if one.case.method != "fp32"]
    out = console()
    out.print(layers_table(details))
    for line in diverging_lines(details):
        out.print(line, highlight=False, markup=False)


def _failed(results: tuple[Measurement | Failure, ...]) -> bool:
    from qreg.records.case import Failure

    return any(isinstance(result, Failure) for result in results)


def _json(results: tuple[Measurement | Failure, ...], judged: tuple[CaseBudget, ...]) -> bytes:
    from qreg.budget.report import budget_json
    from qreg.report.json_text import measurements_text

    return measurements_text(results, budget=budget_json(judged), created=_now()).encode()


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
