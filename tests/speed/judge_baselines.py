"""How long a thousand baselines take to be read and judged, without torch.

They are written to a temporary folder and read in a fresh process: 10,000 images and 6 quantized
layers each. As the gate does, each is judged when it was read and not kept, on 1,000 of its images;
every tenth case predicts some of them worse than its baseline. Prints the time of each part, and
the target.

Usage: python tests/speed/judge_baselines.py [--count N]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

if TYPE_CHECKING:
    from qreg.records.baseline import Snapshot

IMAGES, GATE_IMAGES, WRONG = 10_000, 1_000, 80
TARGET_S = 1.0


def snapshot(number: int, *, images: int, wrong: int) -> Snapshot:
    """One of the snapshots, no two the same."""
    from qreg.records.case import Case
    from tests.unit.baselines import build

    case = Case("cifar10", f"model{number}", "static", "x86")
    seen = build.images(images)
    return build.snapshot(case=case, seen=seen, wrong=wrong, layers=6, channels=32, seed=number)


def write(root: Path, count: int) -> None:
    """Write `count` baselines."""
    from qreg.baselines.store import Store
    from tests.unit.baselines import build

    for number in range(count):
        Store(root).write(build.baseline(snapshot(number, images=IMAGES, wrong=WRONG)))


def judge(root: Path, count: int) -> None:
    """Read and judge them all."""
    start = time.perf_counter()
    from qreg.baselines.applicable import choose
    from qreg.baselines.store import Store
    from qreg.checks.verdict import judge
    from qreg.quantization import METHODS
    from qreg.stats.holm import family_alpha

    imported = time.perf_counter()
    now = [
        snapshot(number, images=GATE_IMAGES, wrong=WRONG if number % 10 else 5 * WRONG)
        for number in range(count)
    ]
    store, alpha, outcomes = Store(root), family_alpha(count), []
    worked, reading, judging = time.process_time(), 0.0, 0.0
    for one in now:
        before = time.perf_counter()
        baselines = store.read(one.case)
        read = time.perf_counter()
        method = METHODS.info(one.case.method)
        chosen = choose(baselines, one.environment, method)
        assert chosen is not None
        outcomes.append(judge(one, *chosen, method, alpha=alpha).outcome.value)
        reading += read - before
        judging += time.perf_counter() - read
    worked = time.process_time() - worked
    assert "torch" not in sys.modules
    counts = {name: outcomes.count(name) for name in sorted(set(outcomes))}
    print(f"imports {imported - start:.2f} s, reading {reading:.2f} s, ", end="")
    print(f"judging {judging:.2f} s of {count} baselines: {counts}")
    # on a shared machine the second is the one to compare
    print(f"both {reading + judging:.2f} s, {worked:.2f} s of them this process's own ", end="")
    print(f"(target: {TARGET_S} s for 1,000)")


def main() -> None:
    """Write, then judge in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--judge", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.judge:
        judge(args.judge, args.count)
        return
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), args.count)
        command = [sys.executable, __file__, "--judge", folder]
        command += ["--count", str(args.count)]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
