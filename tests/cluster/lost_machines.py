"""Kill machines of a cluster at random moments while the gate runs.

    python -m tests.cluster.lost_machines --count 20

A run of the gate over some shipped cases after the other, each with one of two machines killed at
a random moment and another put in its place. Prints what was lost, and whether the verdicts were
those of this machine, each case once.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import threading
import time
from pathlib import Path

from qreg.gate.clustered import gate_executor
from qreg.gate.pool import JudgeRequest, Pool
from qreg.measure.options import Options
from qreg.records.case import Case
from qreg.records.decode import plain
from qreg.records.verdict import Verdict
from qreg.selection import select_cases
from qreg.settings import find_settings
from tests.cluster.nodes import nodes

ROOT = Path(__file__).parents[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20, help="runs, each with a kill")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--models", default="linear_100,simple_cnn")
    parser.add_argument("--methods", default="fp32,dynamic,static")
    args = parser.parse_args()
    settings = find_settings(ROOT)
    assert settings is not None
    assert settings.baselines
    options = Options(threads=1, checkpoints=ROOT / "baselines" / "checkpoints")
    request = JudgeRequest(settings, settings.baselines, alpha=0.001, options=options)
    cases = select_cases(
        settings,
        datasets=["shapes10"],
        models=args.models.split(","),
        methods=args.methods.split(","),
    )
    start = time.monotonic()
    expected = judged(Pool(request, cases, jobs=1), cases)
    seconds = time.monotonic() - start
    print(f"{len(cases)} cases judged here in {seconds:.1f} s", flush=True)
    chance, equal, lost = random.Random(args.seed), 0, 0
    with tempfile.TemporaryDirectory() as folder, nodes(Path(folder)) as cluster:
        alive = [cluster.add(), cluster.add()]
        for number in range(args.count):
            executor = gate_executor(request, cases, cluster.address)
            victim, moment = alive.pop(chance.randrange(2)), chance.uniform(0, seconds)
            killing = threading.Timer(moment, cluster.kill, [victim])
            killing.start()
            found = judged(Pool(request, cases, executor=executor), cases)
            killing.join()
            alive.append(cluster.add())
            counts = executor.counts
            lost += counts.nodes + counts.workers
            equal += found == expected and sum(counts.done.values()) == len(cases)
            print(
                f"{number + 1}: killed after {moment:.1f} s; groups that were lost: "
                f"{counts.nodes + counts.workers}; verdicts equal so far {equal}",
                flush=True,
            )
    print(
        f"{args.count} machines killed while {len(cases)} cases were judged, {lost} groups of "
        f"cases lost by it: the same verdicts as here, each once, in {equal} of {args.count} runs"
    )
    raise SystemExit(equal != args.count)


def judged(pool: Pool, cases: tuple[Case, ...]) -> list[object]:
    """All verdicts, without promises: no two measurements of time are equal."""
    try:
        found = [pool.verdict(case) for case in cases]
    finally:
        pool.close()
    assert all(isinstance(one, Verdict) for one in found)
    return [{k: v for k, v in plain(one).items() if k != "promise"} for one in found]


if __name__ == "__main__":
    main()
