"""Shared by the actions of ``qreg speed``: selecting cases, measurement options, and running."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from qreg.cli.cases import add_case_options, optioned_cases
from qreg.cli.options import add_numbers, options_of
from qreg.errors import QregError
from qreg.names import Names, positive_or_zero
from qreg.selection import project_settings

if TYPE_CHECKING:
    from qreg.measure.options import Options
    from qreg.records.case import Case
    from qreg.settings import Settings
    from qreg.speed.compare.rule import SequentialPlan
    from qreg.speed.records import SpeedRun


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Add --cases and the options that select cases."""
    parser.add_argument(
        "--cases",
        "--case",
        nargs="+",
        action=Names,
        metavar="CASE",
        help="names, or patterns: '*/qat@*'",
    )
    add_case_options(parser)


def add_measuring(parser: argparse.ArgumentParser, *, pairs: int = 16) -> None:
    """Add the measurement options."""
    numbers = {"threads": (1, "threads of PyTorch's kernels"), "batch": (1, "inputs a call")}
    add_numbers(parser, numbers)
    add_pairs(parser, pairs=pairs)


def add_pairs(parser: argparse.ArgumentParser, *, pairs: int = 16) -> None:
    """How many pairs of processes there are, and how long each may take."""
    numbers = {
        "pairs": (pairs, "maximum number of process pairs: even, 8 or more"),
        "timeout": (60, "seconds that one process may take"),
    }
    add_numbers(parser, numbers)
    parser.add_argument(
        "--seed",
        type=positive_or_zero,
        metavar="N",
        help="seed of the order of the pairs (default: random)",
    )


def check_cases(
    args: argparse.Namespace,
    baseline: str,
    candidate: str,
    *,
    plan: Callable[..., SequentialPlan] | None = None,
    choose: Callable[[Settings], tuple[Case, ...]] | None = None,
    options: Options | None = None,
) -> tuple[SpeedRun, SequentialPlan]:
    """Run the check that the options describe, with a progress bar; returns it and its plan.

    Args:
        choose: the cases, instead of those that the command's options choose.
        options: how to measure, instead of as they say.
    """
    from qreg.cli.terminal import progress_bar

    with progress_bar() as show:
        show(0, args.pairs, "choosing cases")
        from qreg.quantization import METHODS
        from qreg.selection import dataset_sources
        from qreg.speed.check import check_speed
        from qreg.speed.compare.rule import make_plan
        from qreg.speed.driver import SpeedRequest

        settings = project_settings()
        cases = choose(settings) if choose else chosen_cases(args, settings)
        options = replace(options or options_of(args), progress=show)
        # a revision that is checked out lacks the data that git ignores
        options = replace(options, sources=options.sources or dataset_sources(settings))
        against = METHODS.check(args.against) if getattr(args, "against", "") else ""
        request = SpeedRequest(
            cases=cases,
            plan=_plan(args.pairs, cases, plan or partial(make_plan, threads=options.threads)),
            seed=_seed(args.seed),
            against=against,
            options=options,
            timeout=args.timeout,
        )
        return check_speed(request, baseline, candidate, settings.root), request.plan


def _seed(seed: int | None) -> int:
    import secrets

    return secrets.randbits(32) if seed is None else seed


def _plan(
    pairs: int, cases: tuple[Case, ...], make: Callable[..., SequentialPlan]
) -> SequentialPlan:
    try:
        return make(pairs=pairs, cases=len(cases))
    except ValueError as error:
        raise QregError(
            f"--pairs {pairs} with {len(cases)} cases: no result could be significant",
            hint="give an even number of 8 or more pairs, or fewer cases: 2 for 8 pairs, 12 for 12",
        ) from error


def chosen_cases(args: argparse.Namespace, settings: Settings) -> tuple[Case, ...]:
    """The named cases, or those that the options select."""
    from qreg.quantization.engines import default_engine
    from qreg.selection import dataset_sources, named_cases

    if not args.engines and settings.engines in ((), ("all",)):
        args.engines = (default_engine(),)
    if args.cases:
        return named_cases(args.cases, optioned_cases(args, settings), settings)
    usual = [name for name in ("dynamic", "static") if name in settings.methods]
    args.datasets = args.datasets or dataset_sources(settings)[0][:1]
    args.methods = args.methods or tuple(usual or settings.methods)
    return optioned_cases(args, settings)
