"""`qreg upgrade --matrix` here and on a cluster of two machines, one of them killed on the way.

    python -m tests.cluster.matrix 2.9.1,2.14.1,2.15.0 --kill

Prints both tables' times, what was lost, and whether everything that was found is equal. Versions'
environments are those of this machine's cache, which the cluster's machines share: else each would
make its own, of 6 GB each.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from qreg.cli.options import options_of
from qreg.cli.terminal import console
from qreg.cli.upgrade import sides
from qreg.data.cache import cache_root
from qreg.processes.cluster import project_executor
from qreg.records.case import Case
from qreg.records.decode import plain
from qreg.selection import select_cases
from qreg.settings import Settings, find_settings
from qreg.upgrade.clustered import ClusterComparer
from qreg.upgrade.matrix.records import MatrixReport
from qreg.upgrade.matrix.report import closing_lines, matrix_table, opening_lines
from qreg.upgrade.matrix.run import LocalComparer, MatrixRequest, compare_matrix
from qreg.upgrade.running import UpgradeRequest
from tests.cluster.nodes import Nodes, nodes
from tests.cluster.speed import differences, warm

ROOT = Path(__file__).parents[2]
_SIDES = ("baseline", "candidate")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("matrix", type=sides, help="versions or interpreters, as of --matrix")
    parser.add_argument("--models", default="linear_100,simple_cnn")
    parser.add_argument("--methods", default="", help="(default: the table's, without successors)")
    parser.add_argument("--successors", action="store_true", help="FX's, PT2E's and torchao's too")
    parser.add_argument("--kill", action="store_true", help="kill a machine on the way")
    args = parser.parse_args()
    settings = find_settings(ROOT)
    assert settings is not None
    cases = chosen(settings, args)
    # named in whole: where a checkpoint is missing, a cluster names the sender's folder in whole
    options = replace(options_of(args), checkpoints=ROOT / "baselines" / "checkpoints")
    template = UpgradeRequest(cases, "", "", settings.root, options=options)
    request = MatrixRequest(args.matrix, template)
    with one_core():
        here = timed(request, LocalComparer(), "here on one core, one pair after the other")
    out = console()
    for line in opening_lines(here):
        out.print(line)
    out.print(matrix_table(here))
    for line in closing_lines(here):
        out.print(line)
    with tempfile.TemporaryDirectory() as folder, nodes(Path(folder)) as cluster:
        machines = Machines(cluster, Path(folder))
        first, _ = machines.add(), machines.add()
        warm(project_executor(cluster.address, settings, cases, template.options))
        executor = project_executor(cluster.address, settings, cases, template.options)
        try:
            comparer = ClusterComparer(executor, settings)
            with ThreadPoolExecutor(1) as comparing:  # Ray adds machines from the main thread only
                later = comparing.submit(timed, request, comparer, "on two machines")
                if args.kill:
                    wait([later], timeout=here.seconds / 4)
                    cluster.kill(first)
                    machines.add()
                there = later.result()
            counts = executor.counts
        finally:
            executor.close()
    if args.kill:
        print(f"machines lost while they did a piece: {counts.nodes}, workers: {counts.workers}")
    print(f"{here.seconds / there.seconds:.2f} times as fast as on one core")
    same = found(here) == found(there)
    if not same:
        for line in differences(found(here), found(there)):
            print("different:", line)
    print(f"verdicts equal: {same}")
    raise SystemExit(not same)


@contextmanager
def one_core() -> Iterator[None]:
    """Keep this process, and what it starts, on one core: the two sides of a pair are processes."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


class Machines:
    """Adds machines that share the environments of this one's cache."""

    def __init__(self, cluster: Nodes, folder: Path) -> None:
        self._cluster, self._folder, self._made = cluster, folder, 0

    def add(self) -> Any:
        self._made += 1
        cache = self._folder / f"cache{self._made}"
        cache.mkdir()
        venvs = cache_root() / "venvs"
        venvs.mkdir(parents=True, exist_ok=True)
        (cache / "venvs").symlink_to(venvs)
        return self._cluster.add(variables={"QREG_CACHE_DIR": str(cache)})


def chosen(settings: Settings, args: argparse.Namespace) -> tuple[Case, ...]:
    """The shapes10 cases of the options."""
    from qreg.quantization import METHODS

    found = select_cases(
        settings,
        datasets=["shapes10"],
        models=args.models.split(","),
        methods=tuple(filter(None, args.methods.split(","))),
    )
    if args.methods or args.successors:
        return found
    return tuple(case for case in found if not METHODS.info(case.method).replaces)


def timed(request: MatrixRequest, comparer: Any, what: str) -> MatrixReport:
    start = time.monotonic()
    report = compare_matrix(request, comparer)
    print(f"{what}: {time.monotonic() - start:.0f} s", flush=True)
    return report


def found(report: MatrixReport) -> Any:
    """All that is judged, and where it appears.

    Not the times, nor where a machine has its interpreters; and of warnings only the texts, as
    which case is named first depends on which were in the same process.
    """
    pairs = []
    for pair in report.pairs:
        assert pair.report is not None, pair.failed
        records = (pair.report.baseline, pair.report.candidate)
        sides = (replace(one, given="", python="") for one in records)
        judged = replace(pair.report, interface=(), seconds=0.0, speed=None)
        pairs.append(plain(replace(judged, **dict(zip(_SIDES, sides, strict=True)))))
    return [pairs, [plain(one) for one in report.appearances]]


if __name__ == "__main__":
    main()
