"""The gate over the shipped cases on a cluster of two machines here, compared with one core.

    python -m tests.cluster.speed [--engines all] [--kill]

The cluster has two machines of one processor each; with ``--kill`` one of them is killed on the
way, and another one put in its place, as a cluster's manager does. Prints both times, their ratio,
and whether the verdicts are equal. To be run on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from qreg.gate.clustered import gate_executor
from qreg.gate.pool import JudgeRequest, Pool
from qreg.measure.options import Options
from qreg.processes.executor import Executor
from qreg.records.case import Case
from qreg.records.decode import plain
from qreg.selection import select_cases
from qreg.settings import find_settings
from tests.cluster.nodes import nodes

ROOT = Path(__file__).parents[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engines", default="all", help="of the cases (default: all)")
    parser.add_argument("--datasets", default="", help="of the cases (default: the table's)")
    parser.add_argument("--models", default="", help="of the cases (default: the table's)")
    parser.add_argument("--data-dir", type=Path, help="folder of cifar10")
    parser.add_argument("--kill", action="store_true", help="kill a machine on the way")
    parser.add_argument("--pieces", type=Path, help="write the seconds of each case")
    args = parser.parse_args()
    settings = find_settings(ROOT)
    assert settings is not None
    assert settings.baselines
    options = Options(
        data_dir=args.data_dir, threads=1, checkpoints=ROOT / "baselines" / "checkpoints"
    )
    request = JudgeRequest(settings, settings.baselines, alpha=0.0001, options=options)
    chosen = {
        name: tuple(filter(None, getattr(args, name).split(",")))
        for name in ("datasets", "models", "engines")
    }
    cases = select_cases(settings, **chosen)
    start = time.monotonic()
    here, ends = judged(Pool(request, cases, jobs=1), cases)
    one_core = time.monotonic() - start
    print(f"{len(cases)} cases, one process here: {one_core:.1f} s", flush=True)
    if args.pieces:
        args.pieces.write_text(json.dumps(seconds_of_cases(cases, ends)))
    with tempfile.TemporaryDirectory() as folder, nodes(Path(folder)) as cluster:
        first, _ = cluster.add(), cluster.add()
        warm(gate_executor(request, cases, cluster.address))
        executor = gate_executor(request, cases, cluster.address)

        start = time.monotonic()
        with ThreadPoolExecutor(1) as judging:  # Ray adds machines from the main thread only
            there_later = judging.submit(judged, Pool(request, cases, executor=executor), cases)
            if args.kill:
                wait([there_later], timeout=one_core / 4)
                cluster.kill(first)
                cluster.add()
            there, _ = there_later.result()
        clustered = time.monotonic() - start
        counts = executor.counts
    lost = f", with {counts.nodes + counts.workers} lost on the way" if args.kill else ""
    print(f"{len(cases)} cases, two machines{lost}: {clustered:.1f} s")
    print(f"{one_core / clustered:.2f} times as fast as one core")
    for line in differences(here, there):
        print("different:", line)
    print(f"verdicts equal: {here == there}")
    raise SystemExit(here != there)


def warm(executor: Executor) -> None:
    """Have each machine hold what is sent, as it does from its second run on."""
    try:
        executor.kinds()  # type: ignore[attr-defined]
    finally:
        executor.close()


def judged(pool: Pool, cases: tuple[Case, ...]) -> tuple[list[object], list[float]]:
    """All verdicts without promises, which are measured, and the seconds at which they came."""
    start, ends, found = time.monotonic(), [], []
    try:
        for case in cases:
            found.append(pool.verdict(case))
            ends.append(time.monotonic() - start)
    finally:
        pool.close()
    return [{k: v for k, v in plain(one).items() if k != "promise"} for one in found], ends


def seconds_of_cases(cases: tuple[Case, ...], ends: list[float]) -> dict[str, float]:
    """Seconds of each case, where one process judged all of them, one after the other."""
    starts = [0.0, *ends[:-1]]
    times = zip(cases, starts, ends, strict=True)
    return {str(case): end - start for case, start, end in times}


def differences(one: Any, other: Any, where: str = "") -> Iterator[str]:
    """Where two JSON values differ, and in what."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        for name in one:
            yield from differences(one[name], other[name], f"{where}.{name}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, pair in enumerate(zip(one, other, strict=True)):
            yield from differences(*pair, f"{where}[{number}]")
    elif one != other:
        yield f"{where}: {one!r:.200} and {other!r:.200}"


if __name__ == "__main__":
    main()
