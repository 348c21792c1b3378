"""Many writers at once: of one baseline, one history, one checkpoint; prints what survived.

In each round a handful of processes wait for each other, then write the same thing. Of approvals of
one case, each that was accepted must be in the history of the last one, and the others refused;
every entry of a history must be there; a checkpoint must be one of those that were written, with
its own recipe.

Usage: python -m tests.robustness.writers [--count ROUNDS] [--writers N]
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing.synchronize import Barrier
from pathlib import Path

from tests.unit.baselines import build

_HISTORIES = ("h.jsonl", "h.db")
_CHECKPOINT = "data/net/fp32.safetensors"
Write = Callable[[Path, int], str]


def approve(folder: Path, number: int) -> str:
    """Approve the case once more, after what is read there; "accepted" or "refused"."""
    from qreg.baselines.store import Store
    from qreg.errors import ChangedMeanwhileError

    store = Store(folder)
    before = store.read(build.CASE)
    history = before[0].history if before else ()
    mine = build.approval(f"writer {number}")
    found = build.baseline(build.snapshot(seed=number), *history, mine)
    try:
        store.write(found, follows=True)
    except ChangedMeanwhileError:
        return "refused"
    return "accepted"


def append(folder: Path, number: int) -> str:
    """Append to both histories."""
    from qreg.speed.history.store import append as append_to
    from tests.robustness.kinds import _entries

    for name in _HISTORIES:
        append_to(folder / name, [replace(_entries()[0], pairs=number)])
    return "accepted"


def save(folder: Path, number: int) -> str:
    """Save a checkpoint of other weights."""
    import torch
    from torch import nn

    from qreg.training.checkpoints import save_checkpoint
    from qreg.training.recipe import default_recipe

    torch.manual_seed(number)
    recipe = replace(default_recipe("net", "data", "fp32"), seed=number)
    save_checkpoint(folder / _CHECKPOINT, nn.Linear(50, 50), recipe)
    return "accepted"


def _lost_approvals(folder: Path, said: Sequence[str]) -> int:
    from qreg.baselines.store import Store

    (found,) = Store(folder).read(build.CASE)
    return said.count("accepted") - len(found.history)


def _lost_entries(folder: Path, said: Sequence[str]) -> int:
    from qreg.speed.history.store import read

    missing = 0
    for name in _HISTORIES:
        entries, damaged = read(folder / name)
        missing += len(said) - len({one.pairs for one in entries}) + len(damaged)
    return missing


def _torn_checkpoint(folder: Path, said: Sequence[str]) -> int:
    from torch import nn

    from qreg.errors import QregError
    from qreg.training.checkpoints import load_checkpoint

    try:
        load_checkpoint(folder / _CHECKPOINT, lambda: nn.Linear(50, 50))
    except QregError:
        return 1
    return 0


#: What is written, and what of it is lost or torn.
TESTS: dict[str, tuple[Write, Callable[[Path, Sequence[str]], int]]] = {
    "approvals of one case": (approve, _lost_approvals),
    "entries of a history": (append, _lost_entries),
    "one checkpoint": (save, _torn_checkpoint),
}


def write_at_once(name: str, rounds: int, writers: int) -> Counter[str]:
    """The counts over the rounds: accepted, refused, lost."""
    write, lost = TESTS[name]
    found: Counter[str] = Counter()
    context = multiprocessing.get_context("fork")
    for number in range(rounds):
        with tempfile.TemporaryDirectory(prefix="writers-") as folder:
            barrier, answers = context.Barrier(writers), context.SimpleQueue()
            processes = [
                context.Process(
                    target=_writer,
                    args=(write, Path(folder), number * writers + one, barrier, answers),
                )
                for one in range(writers)
            ]
            for process in processes:
                process.start()
            said = [answers.get() for _ in processes]
            for process in processes:
                process.join()
            found.update(said)
            found["lost"] += lost(Path(folder), said)
    return found


def _writer(
    write: Write,
    folder: Path,
    number: int,
    barrier: Barrier,
    answers: multiprocessing.SimpleQueue[str],
) -> None:
    said = "failed"
    try:
        barrier.wait(60)
        said = write(folder, number)
    finally:
        answers.put(said)


def main() -> int:
    """Write, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=50, help="rounds of each")
    parser.add_argument("--writers", type=int, default=6)
    args = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    names = ("accepted", "refused", "failed", "lost")
    print(f"| {args.writers} writers at once | rounds | {' | '.join(names)} |")
    print(f"|---|{'---:|' * (1 + len(names))}")
    wrong = 0
    for name in TESTS:
        found = write_at_once(name, args.count, args.writers)
        wrong += found["lost"] + found["failed"]
        print(f"| {name} | {args.count} | {' | '.join(str(found[one]) for one in names)} |")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
