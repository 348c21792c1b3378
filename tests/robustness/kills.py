"""Kills commands at random moments, and prints what they left behind as a table.

Each command runs in a fork of this process, which has imported PyTorch, over a small project of its
own; it is sent SIGKILL, SIGTERM or SIGINT at a random moment of the time that it takes. Then every
process that it started must be gone, what was recorded before must be there, what was being written
must be the old or the new, as a whole, and the next run must remove the rest.

Usage: python -m tests.robustness.kills [--count N] [--seed N] [--only NAME]
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from tests.robustness.limits import limit_this_process
from tests.unit.baselines import build

_SUBREAPER = 36
#: What must not be.
WRONG = ("traceback", "orphans", "lost", "half", "left behind", "status")
_SIGNALS = (*[signal.SIGKILL] * 3, signal.SIGTERM, signal.SIGINT)
# A whole command, on a machine that is busy; and how long its children may take to follow it.
_PATIENCE_S, _FOLLOWS_S = 300.0, 20.0
_GUARD = 6 << 30
_NETS = """
import torch
from torch import nn

def tiny():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=4), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(256, 4)
    )
"""
_TABLE = """[tool.qreg]
models = ["nets:tiny"]
datasets = ["colours.npz"]
methods = ["fp32", "dynamic"]
"""
_CASE = "colours/nets:tiny/dynamic@x86"


@dataclass(frozen=True)
class Command:
    """A command that is killed.

    Attributes:
        prepare: makes what there is before it, in the project's folder.
        run: does it, in a fork.
        check: what is lost or half written afterwards, a text each; "lost: ..." or "half: ...".
        statuses: that it may end with when it is asked to, not killed.
    """

    name: str
    prepare: Callable[[Path], None]
    run: Callable[[Path], int]
    check: Callable[[Path], Sequence[str]]
    statuses: tuple[int, ...] = (0, 1, 130, 143)


def _main(*argv: str) -> Callable[[Path], int]:
    def run(folder: Path) -> int:
        from qreg.__main__ import main

        sys.argv = ["qreg", *argv]
        return main()

    return run


def _project(folder: Path) -> None:
    from conftest import make_npz

    (folder / "nets.py").write_text(_NETS)
    (folder / "pyproject.toml").write_text(_TABLE)
    make_npz(folder / "colours.npz", train=24, test=12)


def _nothing(_: Path) -> Sequence[str]:
    return ()


# --- baseline update ---


def _with_a_baseline(folder: Path) -> None:
    from qreg.baselines.store import Store

    _project(folder)
    Store(folder / "baselines").write(build.baseline(_older()))


def _older():  # type: ignore[no-untyped-def]
    from qreg.records.case import Case

    return build.snapshot(case=Case.parse(_CASE), environment=replace(build.ENVIRONMENT, cpu="x"))


def _check_baselines(folder: Path) -> Sequence[str]:
    from qreg.baselines.store import Store
    from qreg.errors import QregError
    from qreg.records.case import Case

    store, wrong = Store(folder / "baselines"), []
    try:
        for case in store.cases():
            store.read(case)
        if build.baseline(_older()) not in store.read(Case.parse(_CASE)):
            wrong.append("lost: the baseline of another environment")
        store.remove_orphans()
        if store.orphans():
            wrong.append("half: files that trim does not remove")
    except QregError as error:
        wrong.append(f"half: {error}")
    return wrong


# --- train ---


def _with_a_checkpoint(folder: Path) -> None:
    _project(folder)
    _fork_and_wait(lambda: _main(*_TRAIN)(folder), folder)
    if wrong := _check_checkpoint(folder):
        raise RuntimeError(f"{wrong}, {(folder / 'output').read_text()}")


_TRAIN = (
    "train", "--model", "nets:tiny", "--dataset", "colours.npz", "--epochs", "2", "--out", "mine",
    "--force",
)  # fmt: skip


def _check_checkpoint(folder: Path) -> Sequence[str]:
    """The old or the new one, with the recipe that belongs to it."""
    from qreg.data.files import file_sha256
    from qreg.errors import QregError
    from qreg.training.checkpoints import recipe_of

    path = folder / "mine/colours/nets.tiny/fp32.safetensors"
    try:
        found, recorded = file_sha256(path), recipe_of(path).sha256
    except (QregError, OSError) as error:
        return [f"half: {error}"]
    return [] if found == recorded else [f"half: sha256 {found}, and its recipe says {recorded}"]


# --- the cache ---


def _with_photos(folder: Path) -> None:
    from tests.robustness.kinds import _pictures, put

    files = _pictures("PNG")()
    for number in range(40):
        numbered = {name.replace(".png", f"-{number}.png"): one for name, one in files.items()}
        put(folder, numbered)
    (folder / "fingerprint").write_text(_fingerprint(folder, folder / "first-cache"))


def _fingerprint(folder: Path, cache: Path) -> str:
    from qreg.data import load_split, open_path

    os.environ["QREG_CACHE_DIR"] = str(cache)
    try:
        return load_split(open_path(folder / "photos"), "test").fingerprint()
    finally:
        os.environ.pop("QREG_CACHE_DIR")


def _decode(folder: Path) -> int:
    for number in range(20):
        _fingerprint(folder, folder / f"cache{number % 4}")
        if number % 4 == 3:
            for path in (folder / f"cache{number % 3}").rglob("*.npy"):
                path.write_bytes(b"damaged")
    return 0


def _check_cache(folder: Path) -> Sequence[str]:
    expected = (folder / "fingerprint").read_text()
    caches = [folder / f"cache{number}" for number in range(4)]
    return [f"half: {one}" for one in caches if _fingerprint(folder, one) != expected]


# --- speed history ---


def _record(name: str) -> Callable[[Path], int]:
    def run(folder: Path) -> int:
        from qreg.speed.history.store import append
        from tests.robustness.kinds import _entries

        with (folder / "done").open("a") as done:
            for number in range(60):
                append(folder / name, [replace(_entries()[0], pairs=number)])
                print(number, file=done, flush=True)  # acknowledged: from now on it may not be lost
        return 0

    return run


def _check_history(name: str) -> Callable[[Path], Sequence[str]]:
    def check(folder: Path) -> Sequence[str]:
        from qreg.speed.history.store import append, read
        from tests.robustness.kinds import _entries

        append(folder / name, [_entries()[1]])
        entries, damaged = read(folder / name)
        numbers = [entry.pairs for entry in entries]
        done = [int(line) for line in (folder / "done").read_text().split()]
        lost = [f"lost: entry {number}" for number in done if number not in numbers]
        half = [f"half: {len(damaged)} lines"] if len(damaged) > 1 else []
        return [*lost, *half, *([] if entries[-1] == _entries()[1] else ["lost: the next entry"])]

    return check


def _with_an_entry(name: str) -> Callable[[Path], None]:
    def prepare(folder: Path) -> None:
        (folder / "done").write_text("")
        _record(name)  # imports what it needs

    return prepare


# --- what starts processes ---


def _in_git(folder: Path) -> None:
    _project(folder)
    for words in (
        ("init", "-q"),
        ("add", "."),
        ("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "a"),
    ):
        subprocess.run(["git", *words], cwd=folder, check=True)


def _check_git(folder: Path) -> Sequence[str]:
    from qreg.processes.sides import _forget_leftovers

    _forget_leftovers(folder)
    listed = subprocess.run(
        ["git", "worktree", "list"], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return [f"half: git still has {line}" for line in listed[1:]]


def _gate(folder: Path) -> int:
    import pytest

    words = ["-q", "-n0", "-p", "no:cacheprovider", "-m", "regression", "--qreg-jobs", "2"]
    return int(pytest.main([*words, "-W", "ignore", "--rootdir", str(folder), str(folder)]))


def commands() -> tuple[Command, ...]:
    """All of them."""
    cases = ("--cases", _CASE)
    speed = ("speed", "check", "HEAD", ".", "--pairs", "8", *cases)
    update = ("baseline", "update", "--reason", "new", "--category", "create")
    return (
        Command("baseline update", _with_a_baseline, _main(*update), _check_baselines),
        Command("train", _with_a_checkpoint, _main(*_TRAIN), _check_checkpoint),
        Command("cache", _with_photos, _decode, _check_cache, (0, -2, -15)),
        Command(
            "history: lines", _with_an_entry("h.jsonl"), _record("h.jsonl"),
            _check_history("h.jsonl"), (0, -2, -15),
        ),
        Command(
            "history: SQLite", _with_an_entry("h.db"), _record("h.db"), _check_history("h.db"),
            (0, -2, -15),
        ),
        # pytest's own statuses: 2 interrupted
        Command("gate (pytest)", _with_a_baseline, _gate, _check_baselines, (0, 1, 2, 5, -15)),
        Command("speed check", _in_git, _main(*speed), _check_git),
        Command(
            "upgrade", _project, _main("upgrade", "--from", ".", "--to", ".", *cases), _nothing
        ),
    )  # fmt: skip


def _fork_and_wait(run: Callable[[], int], folder: Path, kill: float | None = None,
                   number: int = signal.SIGKILL) -> tuple[int, float]:  # fmt: skip
    """The status of a fork that runs it, sent a signal after so many seconds; and its seconds."""
    sys.stdout.flush()
    sys.stderr.flush()
    started = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        _child(run, folder)
    sent = False
    while time.monotonic() < started + _PATIENCE_S:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status), time.monotonic() - started
        if kill is not None and not sent and time.monotonic() > started + kill:
            os.kill(child, number)
            sent = True
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return 999, _PATIENCE_S


def _child(run: Callable[[], int], folder: Path) -> NoReturn:
    status = 1
    try:
        os.setsid()
        limit_this_process(memory=_GUARD)
        for name in ("SIGINT", "SIGTERM"):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
        os.chdir(folder)
        os.environ |= {
            "TMPDIR": str(folder / "tmp"), "QREG_CACHE_DIR": str(folder / "cache"),
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), str(folder)]),
        }  # fmt: skip
        os.environ.pop("CI", None)
        tempfile.tempdir = None
        output = os.open(folder / "output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.path.insert(0, str(folder))
        try:
            status = run()
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else 1
        except BaseException:
            traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status & 0xFF)


def _orphans() -> int:
    """How many processes did not follow; they come to this process, and are ended."""
    own, until = os.getpid(), time.monotonic() + _FOLLOWS_S
    while True:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        left = [pid for pid in _children(own) if pid != own]
        if not left:
            return 0
        if time.monotonic() > until:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return len(left)
        time.sleep(0.02)


def _children(parent: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, IndexError, ValueError):
            if int(path.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(path.parent.name))
    return found


def _left_behind(folder: Path) -> list[Path]:
    """Temporary files after the next run has cleaned up."""
    from qreg.processes import temporary

    before, tempfile.tempdir = tempfile.tempdir, str(folder / "tmp")
    try:
        temporary.remove_leftovers()
    finally:
        tempfile.tempdir = before
    # those of PyTorch and pytest are theirs
    return [one for one in (folder / "tmp").iterdir() if "qreg" in one.name]


def kill(command: Command, count: int, seed: int) -> Counter[str]:
    """Kill a command so many times."""
    moments, found = random.Random(f"{command.name}{seed}"), Counter[str]()
    with tempfile.TemporaryDirectory(prefix="kills-") as work:
        seconds = 0.0
        for number in range(-1, count):
            folder = Path(work, f"{number}")
            (folder / "tmp").mkdir(parents=True)
            command.prepare(folder)
            when, by = moments.uniform(0, seconds), moments.choice(_SIGNALS)
            at = None if number < 0 else when  # the first is not killed: how long it takes
            status, took = _fork_and_wait(lambda: command.run(folder), folder, at, by)  # noqa: B023
            if number < 0:
                seconds = took
                continue
            found["kills"] += 1
            found["done before"] += status in (0, 1) and took < when
            for what, text in _faults(command, folder, status, by):
                found[what] += 1
                print(f"{command.name}, kill {number} ({by.name}, {when:.2f} s): {what}: {text}",
                      file=sys.stderr)  # fmt: skip
            found["seconds"] += round(took)
    return found


def _faults(
    command: Command, folder: Path, status: int, by: signal.Signals
) -> list[tuple[str, str]]:
    found = [("orphans", f"{count} processes")] if (count := _orphans()) else []
    output = (folder / "output").read_text(errors="replace") if (folder / "output").exists() else ""
    if "Traceback" in output or "terminate called" in output or "Fatal" in output:
        found.append(("traceback", output[-1500:]))
    if by is not signal.SIGKILL and status not in command.statuses and status != -by:
        found.append(("status", f"{status}: {output[-300:]}"))
    for text in command.check(folder):
        found.append((text.partition(":")[0], text))
    if left := _left_behind(folder):
        found.append(("left behind", ", ".join(one.name for one in left)))
    return found


def table(counts: Sequence[tuple[str, Counter[str]]]) -> str:
    """The counts as a table in Markdown, and their sums."""
    names = ("kills", "done before", *WRONG)
    total: Counter[str] = sum((found for _, found in counts), Counter())
    lines = [f"| command | {' | '.join(names)} |", f"|---|{'---:|' * len(names)}"]
    for name, found in (*counts, ("all", total)):
        lines.append(f"| {name} | {' | '.join(str(found[one]) for one in names)} |")
    return "\n".join(lines)


def main() -> int:
    """Kill, look, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="kills of each command")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="only commands whose name has this text")
    args = parser.parse_args()
    ctypes.CDLL(None).prctl(_SUBREAPER, 1)  # orphans come to this process
    import torch
    import torch.ao.quantization  # noqa: F401

    counts = []
    for command in commands():
        if args.only in command.name:
            counts.append((command.name, kill(command, args.count, args.seed)))
            print(f"{command.name}: {dict(counts[-1][1])}", file=sys.stderr)
    print(table(counts))
    wrong = sum(found[one] for _, found in counts for one in WRONG)
    print(f"\nseed {args.seed}; {wrong} wrong")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
