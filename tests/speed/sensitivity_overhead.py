"""`qreg sensitivity` against a bare loop that quantizes anew for every site, interleaved.

    python tests/speed/sensitivity_overhead.py --model resnet20 --limit 1000

The bare loop makes, for each site, the model with only that layer in float (``static-keep``), which
calibrates and converts, and runs it on the same samples: what one writes without qreg. It is
measured on a few layers of the network and multiplied by their number; qreg measures all sites.
The ratio is of processor time; only at rest is the wall time that is printed meaningful.
"""

from __future__ import annotations

import argparse
import time
import warnings

import torch

from qreg.measure.options import Options, load_test
from qreg.measure.subject import Subject, case_setup, prepare
from qreg.quantization.engines import default_engine
from qreg.quantization.keeping import keeping_name
from qreg.records.case import Case
from qreg.sensitivity.measuring import prepared
from qreg.sensitivity.records import SitePart
from qreg.sensitivity.recovery import recover
from qreg.sensitivity.run import Extent, measure_sensitivity


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--dataset", default="shapes10")
    parser.add_argument("--limit", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--bare", type=int, default=2, help="layers that the bare loop measures")
    parser.add_argument("--recover", action="store_true", help="time qreg recover, too")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    options = Options(limit=args.limit, threads=args.threads)
    options.apply_threads()
    case = Case(args.dataset, args.model, "static", default_engine())
    sites = [switch.site for switch in prepared(case, options).simulation.switches]
    layers = [site.layer for site in sites if site.part is SitePart.WEIGHT]
    chosen = layers[:: max(1, len(layers) // args.bare)][: args.bare]
    bare = [_timed(lambda layer=layer: _bare(case, layer, options)) for layer in chosen]
    for name, extent in (("as it is", Extent()), ("--all", Extent(everything=True))):
        wall, used = _timed(lambda e=extent: measure_sensitivity(case, options, e))
        # each site twice: only it, and all but it
        whole = sum(one[1] for one in bare) / len(bare) * len(sites) * 2
        print(
            f"qreg sensitivity {name}: {len(sites)} sites, {wall:.1f} s, {used:.1f} s of processor "
            f"time; the bare loop: {whole:.0f} s; ratio {used / whole:.3f}"
        )
    if args.recover:
        wall, used = _timed(lambda: recover(case, options, 1.0))
        print(f"qreg recover: {wall:.1f} s, {used:.1f} s of processor time")


def _timed(run: object) -> tuple[float, float]:
    wall, used = time.perf_counter(), time.process_time()
    run()  # type: ignore[operator]
    return time.perf_counter() - wall, time.process_time() - used


@torch.no_grad()
def _bare(case: Case, layer: str, options: Options) -> None:
    dataset = options.dataset(case.dataset)
    test = load_test(dataset, options)
    method = keeping_name(case.method, (layer.removeprefix("model."),))
    made = prepare(
        Case(case.dataset, case.model, method, case.engine), case_setup(dataset, test, options)
    )
    assert isinstance(made, Subject), made
    for batch in test.batches(100):
        made.run(batch.inputs)


if __name__ == "__main__":
    main()
