"""Changes files of every kind that qreg reads, reads them, and prints what came of it as a table.

Each input must give a named error or the same result as the unharmed file (or, where a file is not
signed, a result that it could have been meant to have), in 5 s and 500 MB. Inputs are made by
hypothesis from a seed; they are read in forks with limits, hundreds in each.

Usage: python -m tests.robustness.mutations [--count N] [--seed N] [--jobs N] [--kind TEXT]
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.robustness.kinds import Kind, kinds, put, text
from tests.robustness.limits import Found, run_all

OUTCOMES = ("named", "same", "other", "silent", "traceback", "hang", "memory", "died")
#: What must not be.
WRONG = ("silent", "traceback", "hang", "memory", "died")
HEADINGS = {
    "named": "named error",
    "same": "same result",
    "other": "other, valid",
    "silent": "silent",
    "traceback": "traceback",
    "hang": "hang",
    "memory": "over 500 MB",
    "died": "died",
}


def changes_of(kind: Kind, count: int, number: int) -> list[Any]:
    """So many changes, the same ones for the same seed."""
    found: list[Any] = []

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(kind.changes)
    def collect(change: Any) -> None:
        found.append(change)

    collect()
    return found[:count]


def mutate(kind: Kind, count: int, number: int) -> list[Found]:
    """Read so many changed files of a kind."""
    changes, files = changes_of(kind, count, number), kind.make()
    with tempfile.TemporaryDirectory(prefix="robust-") as work:
        unharmed = Path(work, "unharmed")
        put(unharmed, files)
        expected = text(_read(kind, unharmed))

        def run(at: int) -> tuple[str, str]:
            folder = Path(work, str(at))
            folder.mkdir()
            try:
                return kind.run(folder, files, changes[at], expected)
            finally:
                os.chdir(work)
                shutil.rmtree(folder, ignore_errors=True)

        return run_all(len(changes), run)


def _numbered(number: int, count: int, chosen_seed: int) -> list[Found]:
    return mutate(kinds()[number], count, chosen_seed)


def _read(kind: Kind, folder: Path) -> Any:
    """The unharmed result; its reader prints and moves as a command would."""
    here, out, cache = Path.cwd(), os.dup(1), os.environ.get("QREG_CACHE_DIR")
    silent = os.open(os.devnull, os.O_WRONLY)
    sys.stdout.flush()
    os.dup2(silent, 1)
    try:
        return kind.read(folder)
    finally:
        sys.stdout.flush()
        os.dup2(out, 1)
        os.close(out)
        os.close(silent)
        os.chdir(here)
        os.environ.pop("QREG_CACHE_DIR", None)
        if cache is not None:
            os.environ["QREG_CACHE_DIR"] = cache


def table(counts: Sequence[tuple[str, Counter[str]]]) -> str:
    """The counts as a table in Markdown, and their sums."""
    total: Counter[str] = sum((found for _, found in counts), Counter())
    lines = [
        f"| kind of file | inputs | {' | '.join(HEADINGS.values())} |",
        f"|---|{'---:|' * (1 + len(HEADINGS))}",
    ]
    for name, found in (*counts, ("all", total)):
        cells = (str(found[one]) for one in OUTCOMES)
        lines.append(f"| {name} | {sum(found.values())} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> int:
    """Change, read, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000, help="of inputs, over all kinds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--kind", default="", help="only kinds whose name has this text")
    args = parser.parse_args()
    import torch  # noqa: F401 - once, and not in every fork

    chosen = [kind for kind in kinds() if args.kind in kind.name]
    each, started = -(-args.count // len(chosen)), time.monotonic()
    counts, slowest = [], Found(0, "named")
    numbers = [number for number, kind in enumerate(kinds()) if args.kind in kind.name]
    with ProcessPoolExecutor(args.jobs, get_context("fork")) as pool:
        results = list(pool.map(_numbered, numbers, repeat(each), repeat(args.seed)))
    for kind, found in zip(chosen, results, strict=True):
        counts.append((kind.name, Counter(one.outcome for one in found)))
        slowest = max(slowest, *found, key=lambda one: one.seconds)
        for one in found:
            if one.outcome in WRONG:
                print(
                    f"{kind.name}, input {one.number}: {one.outcome}: {one.text}", file=sys.stderr
                )
    print(table(counts))
    wrong = sum(found[one] for _, found in counts for one in WRONG)
    print(f"\nseed {args.seed}; {time.monotonic() - started:.0f} s; ", end="")
    print(f"the slowest input took {slowest.seconds:.1f} s of processor time; {wrong} wrong")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
