"""How long it takes to find out which cases have a baseline, with 10,000 of them, without torch.

They are written to a temporary folder, of the size of the shipped ones, and listed in a fresh
process, as every command on baselines does before it measures: their cases, and the sidecars that
none of them uses.

Usage: python tests/speed/scan_baselines.py [--count N]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

TARGET_S = 2.0
LAYERS = 20


def write(root: Path, count: int) -> None:
    """Write `count` baselines that differ in their case alone, and share their sidecars."""
    from qreg.baselines.encoding import encode, file_text
    from qreg.baselines.store import Store
    from qreg.records.case import Case
    from tests.unit.baselines import build

    one = build.baseline(
        build.snapshot(seen=build.images(100), wrong=8, layers=LAYERS, channels=32)
    )
    store = Store(root)
    for number in range(count):
        case = Case(f"data{number % 10}", f"model{number // 40}", f"method{number % 40}", "x86")
        encoded = encode(replace(one, snapshot=replace(one.snapshot, case=case)))
        path = store.path(case)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file_text(case, [encoded.entry]))


def scan(root: Path) -> None:
    """List them all."""
    from qreg.baselines.store import Store

    start, worked = time.perf_counter(), time.process_time()
    store = Store(root)
    cases, orphans = store.cases(), store.orphans()
    took, worked = time.perf_counter() - start, time.process_time() - worked
    assert "torch" not in sys.modules
    size = sum(path.stat().st_size for path in map(store.path, cases)) // len(cases)
    print(f"{len(cases)} baselines of {size} bytes, {len(orphans)} unused sidecars: ", end="")
    print(f"{took:.2f} s, {worked:.2f} s of them this process's own (target: under {TARGET_S} s)")


def main() -> None:
    """Write, then scan in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--scan", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.scan:
        scan(args.scan)
        return
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), args.count)
        subprocess.run([sys.executable, __file__, "--scan", folder], check=True)


if __name__ == "__main__":
    main()
