"""``qreg audit saturation``: would a model overflow on a CPU without VNNI?"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from qreg.cli.options import (
    add_data_options,
    add_method_options,
    add_thread_option,
    check_model_and_methods,
    options_of,
)
from qreg.errors import QregError
from qreg.names import positive
from qreg.quantization.engines import check_engine

if TYPE_CHECKING:
    from qreg.records.case import Case
    from qreg.records.measurement import LayerSaturation

_WIDTH = 100
_DESCRIPTION = """\
Count for each layer how often a sum of two int8 products would overflow the 16 bits in which a CPU
without VNNI adds them, from this model's weights and activations and on any CPU: as the model is
quantized, and with half as many activation steps (reduce_range).
"""
_EPILOG = """\
examples:
  qreg audit saturation --model simple_cnn --dataset cifar10 --engine onednn
  qreg audit saturation --method dynamic --images 200

exit status: 0 nothing overflows in the model as quantized; 1 something does; 2 failed
"""


def add_parser(audits: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the audit."""
    saturation = audits.add_parser(
        "saturation",
        help="16-bit overflow on CPUs without VNNI",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_data_options(saturation)
    add_method_options(saturation)
    saturation.add_argument(
        "--images",
        "--limit",
        dest="limit",
        type=positive,
        default=64,
        metavar="N",
        help="the first N test samples by canonical index (default: %(default)s)",
    )
    add_thread_option(saturation)
    saturation.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Count overflows and print them."""
    check_model_and_methods(args.model, (args.method,), args.weights_file)
    if args.engine:
        check_engine(args.engine)
    found, case = _count(args)
    _print(found, case, args.limit)
    return int(any(layer.overflows for layer in found if not layer.halved))


def _count(args: argparse.Namespace) -> tuple[tuple[LayerSaturation, ...], Case]:
    """The counts and their case."""
    from qreg.cli.terminal import progress_bar

    with progress_bar() as show:
        show(0, 1, "loading PyTorch")
        from qreg.measure.saturation import audit_case
        from qreg.quantization import method_info
        from qreg.quantization.engines import default_engine, engines_for
        from qreg.records.case import Case

        options = options_of(args, show)
        options.apply_threads()
        chosen = (args.engine or default_engine(),)
        engine = engines_for(method_info(args.method), chosen)[0]
        case = Case(args.dataset, args.model, args.method, engine)
        return audit_case(case, options), case


def _print(layers: tuple[LayerSaturation, ...], case: Case, samples: int) -> None:
    from qreg.cli.terminal import console
    from qreg.report.saturation import saturation_notes, saturation_table

    if not layers:
        raise QregError(
            f"{case} has no quantized convolution or linear layer",
            hint="choose a method that quantizes: --method static",
        )
    out = console(width=_WIDTH)
    out.print(saturation_table(layers, title=f"{case}, {samples} samples"))
    for note in saturation_notes(layers, engine=case.engine):
        out.print(note, style="dim", highlight=False)
