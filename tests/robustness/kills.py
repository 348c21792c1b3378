"""Kills commands at random moments, and prints what they left behind as a table.

Each command runs in a fork of this process, which has imported PyTorch, over a small project of its
own; it is sent SIGKILL, SIGTERM or SIGINT at a random moment of the time that it takes. Then every
process that it started must be gone, what was recorded before must be there, what was being written
must be the old or the new, as a whole, and the next run must remove the rest.

With --keep each kill is a line of a file: a run that was ended goes on where it was, and the table
is that of all of its lines.

Usage: python -m tests.robustness.kills [--count N] [--seed N] [--only NAME] [--keep FILE]
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import importlib
import importlib.util
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import NoReturn

from tests.robustness.limits import limit_this_process
from tests.unit.baselines import build

_SUBREAPER, _DEATH_SIGNAL = 36, 1
#: What must not be.
WRONG = ("traceback", "hang", "orphans", "lost", "half", "left behind", "status")
_STOPPING = (signal.SIGTERM, signal.SIGINT)
_SIGNALS = (*[signal.SIGKILL] * 3, *_STOPPING)
# How long a command may take on a busy machine, as a multiple of what it took undisturbed and at
# least so many seconds; how long after a signal, and how long its children, may take to end.
_TIMES, _AT_LEAST_S, _ENDS_S, _FOLLOWS_S = 20.0, 300.0, 120.0, 20.0
_UNDISTURBED_S = 1800.0
_SHORT_S = 5.0
_GUARD = 6 << 30
# Imported once, and not in every fork; what is not installed is left out.
_HEAVY = (
    "pytest", "torch", "torch._dynamo", "torch.ao.quantization", "torch.export", "torchvision",
    "qreg.cli", "qreg.gate.judge", "qreg.training.run", "qreg.pytest_plugin",
)  # fmt: skip
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
        early: moments are ``seconds * u**early`` of a uniform u: more of them are early where most
            of a long run repeats the same.
        prints: what an undisturbed run says, so that it is known to do what it is killed in.
        share: of the kills that are asked for.
    """

    name: str
    prepare: Callable[[Path], None]
    run: Callable[[Path], int]
    check: Callable[[Path], Sequence[str]]
    statuses: tuple[int, ...] = (0, 1, 130, 143)
    early: float = 1.0
    prints: str = ""
    share: float = 1.0


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


def _approved(folder: Path) -> None:
    """Every case of the project has its baseline."""
    _project(folder)
    _undisturbed(_main(*_UPDATE), folder, "2 create")


def _check_approved(folder: Path) -> Sequence[str]:
    from qreg.baselines.store import Store

    store = Store(folder / "baselines")
    found = [len(store.read(case)) for case in store.cases()]
    return [] if found == [1, 1] else [f"lost: {found} approvals of two cases"]


_UPDATE = ("baseline", "update", "--reason", "new", "--category", "create")


# --- train ---


def _with_a_checkpoint(folder: Path) -> None:
    _project(folder)
    _undisturbed(_main(*_TRAIN), folder, "of 12 test samples")


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


def _with_a_report(folder: Path) -> None:
    _in_git(folder)
    (folder / "report.json").write_text(_OLD)


_OLD = '{"old": true}'


def _check_report(folder: Path) -> Sequence[str]:
    """The old or the new one."""
    text = (folder / "report.json").read_text()
    try:
        found = json.loads(text)
    except ValueError as error:
        return [f"half: report.json: {error}"]
    halves = [one.name for one in folder.glob(".report.json*")]
    whole = text == _OLD or len(found) > 3
    return [f"half: {halves}"] * bool(halves) + ["half: report.json"] * (not whole)


def _check_git(folder: Path) -> Sequence[str]:
    from qreg.processes.sides import _forget_leftovers

    _forget_leftovers(folder)
    listed = subprocess.run(
        ["git", "worktree", "list"], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return [*(f"half: git still has {line}" for line in listed[1:]), *_check_report(folder)]


def _gate(folder: Path) -> int:
    import pytest

    words = ["-q", "-n0", "-p", "no:cacheprovider", "-m", "regression", "--qreg-jobs", "2"]
    return int(pytest.main([*words, "-W", "ignore", "--rootdir", str(folder), str(folder)]))


def commands(side: str = ".") -> tuple[Command, ...]:
    """All of them; `side` is the other interpreter of an upgrade."""
    cases, report = ("--cases", _CASE), ("--json", "report.json")
    speed = ("speed", "check", "HEAD", ".", "--pairs", "8", *cases, *report)
    upgrade = ("upgrade", "--from", ".", "--to", side, *cases, *report)
    direct = (0, -2, -15)  # no command, so that it says nothing when it is asked to end
    return (
        Command(
            "baseline update", _with_a_baseline, _main(*_UPDATE), _check_baselines, prints="create"
        ),
        Command(
            "train", _with_a_checkpoint, _main(*_TRAIN), _check_checkpoint,
            prints="of 12 test samples",
        ),
        Command("cache", _with_photos, _decode, _check_cache, direct),
        Command(
            "record: lines", _with_an_entry("h.jsonl"), _record("h.jsonl"),
            _check_history("h.jsonl"), direct, share=0.5,
        ),
        Command(
            "record: SQLite", _with_an_entry("h.db"), _record("h.db"), _check_history("h.db"),
            direct, share=0.5,
        ),
        # pytest's own statuses: 2 interrupted
        Command(
            "gate (pytest)", _approved, _gate, _check_approved, (0, 2, -15), prints="2 passed"
        ),
        Command(
            "speed check", _with_a_report, _main(*speed), _check_git, early=3, prints="8 pairs"
        ),
        Command("upgrade", _with_a_report, _main(*upgrade), _check_report, early=2, prints="Cases"),
        *_others(),
    )  # fmt: skip


def _others() -> tuple[Command, ...]:
    """What measures and writes a report or a table: the old one is there, or the new one."""
    model = ("--model", "nets:tiny", "--dataset", "colours.npz")
    report = ("--json", "report.json")
    words = {
        "compare": ("compare", *model, "--methods", "fp32,dynamic", *report),
        "check": ("check", "nets:tiny", "--dataset", "colours.npz", *report),
        "sensitivity": ("sensitivity", *model, "--method", "dynamic", *report),
        "recover": ("recover", *model, "--method", "dynamic", "--max-drop", "50", *report),
        "audit calibration": ("audit", "calibration", *model, *report),
    }
    usual = [
        Command(f"other: {name}", _with_a_report, _main(*given), _check_report, share=0.1)
        for name, given in words.items()
    ]
    methods = ("--methods", "fp32,dynamic")
    init = ("init", "nets:tiny", "--dataset", "colours.npz", *methods, "--force")
    store = ("--store", "h.jsonl")
    return (
        *usual,
        Command("other: init", _in_git, _main(*init), _check_table, share=0.1, prints="next"),
        Command(
            "other: history record", _approved, _main("history", "record", *store), _check_approved,
            share=0.1, prints="recorded 2",
        ),
    )  # fmt: skip


def _check_table(folder: Path) -> Sequence[str]:
    """The table before, or the new one: either is read."""
    from qreg.errors import QregError
    from qreg.settings import read_settings

    try:
        found = read_settings(folder / "pyproject.toml")
    except QregError as error:
        return [f"half: {error}"]
    halves = [one.name for one in folder.glob(".pyproject*")]
    return [f"half: {halves}"] * bool(halves) + ["lost: the table"] * (found is None)


def _undisturbed(run: Callable[[Path], int], folder: Path, prints: str) -> float:
    """Run it to its end, which must be as expected; returns its seconds."""
    (folder / "tmp").mkdir(exist_ok=True)
    status, took, _ = _fork_and_wait(lambda: run(folder), folder, patience=_UNDISTURBED_S)
    said = (folder / "output").read_text(errors="replace")
    if status not in (0, 1) or prints not in said:
        raise RuntimeError(f"undisturbed it ended with {status}: {said[-2000:]}")
    return took


def _fork_and_wait(
    run: Callable[[], int], folder: Path, kill: float | None = None,
    number: int = signal.SIGKILL, patience: float = _AT_LEAST_S,
) -> tuple[int, float, bool]:  # fmt: skip
    """The status of a fork that runs it, sent a signal after so many seconds; its seconds; whether
    the signal was sent.

    A hang is status 999.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    started = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        # blocked until the fork handles it as a program of its own would
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
        child = os.fork()
    if child == 0:
        _child(run, folder)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)
    sent, until = False, started + patience
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status), time.monotonic() - started, sent
        if kill is not None and not sent and time.monotonic() > started + kill:
            os.kill(child, number)
            sent, until = True, time.monotonic() + _ENDS_S
        time.sleep(0.002 if kill is None or kill < 3 else 0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return 999, time.monotonic() - started, sent


def _child(run: Callable[[], int], folder: Path) -> NoReturn:
    status = 1
    try:
        os.setsid()
        ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL)
        limit_this_process(memory=_GUARD)
        for one in _STOPPING:
            signal.signal(one, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)
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


@dataclass(frozen=True)
class Kill:
    """One kill: of which command, when and by what, and what was wrong afterwards.

    Attributes:
        seconds: that the command takes undisturbed.
        when: seconds from its start.
        sent: whether the signal was sent; else it had finished before.
        faults: what of `WRONG`, and the text.
    """

    command: str
    seed: int
    number: int
    seconds: float
    when: float
    by: str
    took: float
    sent: bool
    status: int
    faults: tuple[tuple[str, str], ...] = ()


def kill(command: Command, number: int, seed: int, template: Path, seconds: float) -> Kill:
    """Kill a command once, in a copy of its project."""
    moments = random.Random(f"{command.name}{seed}/{number}")
    when, by = seconds * moments.random() ** command.early, moments.choice(_SIGNALS)
    with tempfile.TemporaryDirectory(prefix="kill-") as work:
        folder = Path(work, "project")
        shutil.copytree(template, folder, symlinks=True)
        patience = max(_AT_LEAST_S, _TIMES * seconds)
        status, took, sent = _fork_and_wait(lambda: command.run(folder), folder, when, by, patience)
        faults = tuple(_faults(command, folder, status, by))
        return Kill(command.name, seed, number, round(seconds, 2), round(when, 3), by.name,
                    round(took, 3), sent, status, faults)  # fmt: skip


def _faults(
    command: Command, folder: Path, status: int, by: signal.Signals
) -> Iterator[tuple[str, str]]:
    output = (folder / "output").read_text(errors="replace") if (folder / "output").exists() else ""
    if status == 999:
        yield "hang", output[-1500:]
    if count := _orphans():
        yield "orphans", f"{count} processes"
    if any(
        one in output for one in ("Traceback", "terminate called", "Fatal", "Exception ignored")
    ):
        yield "traceback", output[-3000:]
    expected = (*command.statuses, -by) if by is not signal.SIGKILL else (*command.statuses, -9)
    if status not in expected:
        yield "status", f"{status}: {output[-300:]}"
    # first, as the next run does it: git forgets only trees whose folders are gone
    if left := _left_behind(folder):
        yield "left behind", ", ".join(one.name for one in left)
    for text in command.check(folder):
        yield text.partition(":")[0], text


def table(kills: Sequence[Kill]) -> str:
    """The counts as a table in Markdown, and their sums."""
    names = ("kills", "done before", *WRONG)
    counts: dict[str, Counter[str]] = {}
    for one in kills:
        found = counts.setdefault(one.command, Counter())
        found.update({"kills": int(one.sent), "done before": int(not one.sent)})
        found.update({what for what, _ in one.faults})
    total: Counter[str] = sum(counts.values(), Counter())
    lines = [f"| command | {' | '.join(names)} |", f"|---|{'---:|' * len(names)}"]
    for name, found in (*counts.items(), ("all", total)):
        lines.append(f"| {name} | {' | '.join(str(found[one]) for one in names)} |")
    return "\n".join(lines)


def _worker() -> None:
    """Orphans come to this process, which ends with its parent."""
    libc = ctypes.CDLL(None)
    libc.prctl(_SUBREAPER, 1)
    libc.prctl(_DEATH_SIGNAL, signal.SIGKILL)


def _prepared(name: str, side: str, template: Path) -> float:
    """Make the project, and run the command undisturbed in a copy; the seconds it takes."""
    command = next(one for one in commands(side) if one.name == name)
    (template / "tmp").mkdir(parents=True)
    command.prepare(template)
    took = 0.0
    for _ in range(2):
        with tempfile.TemporaryDirectory(prefix="kill-") as work:
            folder = Path(work, "project")
            shutil.copytree(template, folder, symlinks=True)
            again = _undisturbed(command.run, folder, command.prints)
            if wrong := list(_faults(command, folder, 0, signal.SIGKILL)):
                raise RuntimeError(f"{name}, undisturbed: {wrong}")
        took = min(again, took or again)
        if took > _SHORT_S:  # of shorter ones the first run takes longer
            break
    return took


def _kill(name: str, side: str, number: int, seed: int, template: Path, seconds: float) -> Kill:
    command = next(one for one in commands(side) if one.name == name)
    return kill(command, number, seed, template, seconds)


def run(name: str, numbers: Sequence[int], *, seed: int, side: str, jobs: int) -> Iterator[Kill]:
    """The kills of a command with these numbers, several at once."""
    with (
        tempfile.TemporaryDirectory(prefix="kills-") as work,
        ProcessPoolExecutor(jobs, get_context("fork"), initializer=_worker) as pool,
    ):
        template = Path(work, "template")
        seconds = pool.submit(_prepared, name, side, template).result()
        given = (side, *(seed, template, seconds))
        started = [pool.submit(_kill, name, side, one, *given[1:]) for one in numbers]
        for future in started:
            yield future.result()


def _kept(path: Path | None) -> list[Kill]:
    lines = path.read_text().splitlines() if path and path.exists() else ()
    found = [json.loads(line) for line in lines]
    return [Kill(**{**one, "faults": tuple(map(tuple, one["faults"]))}) for one in found]


def main() -> int:
    """Kill, look, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="kills of each command")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="only commands whose name has this text")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="kills at once")
    parser.add_argument("--keep", type=Path, help="a file of the kills that are done")
    parser.add_argument(
        "--side", default=".", help="the other interpreter of the upgrades (default: this one)"
    )
    args = parser.parse_args()
    for name in _HEAVY:
        if importlib.util.find_spec(name.partition(".")[0]):
            importlib.import_module(name)
    chosen = [(one.name, one.share) for one in commands() if args.only in one.name]
    started, kills = time.monotonic(), list[Kill]()
    for name, share in chosen:
        count = int(args.count * share + 0.5)
        done = [one for one in _kept(args.keep) if (one.command, one.seed) == (name, args.seed)]
        # what had finished before its signal was sent is no kill: others are made in its place
        while (left := count - sum(one.sent for one in done)) > 0:
            numbers = range(len(done), len(done) + left)
            for one in run(name, numbers, seed=args.seed, side=args.side, jobs=args.jobs):
                done.append(one)
                _keep(args.keep, one)
        kills += done
    print(table(kills))
    wrong = sum(len({what for what, _ in one.faults}) for one in kills)
    sent = sum(one.sent for one in kills)
    print(f"\nseed {args.seed}; {sent} kills in {time.monotonic() - started:.0f} s; {wrong} wrong")
    return int(wrong > 0)


def _keep(path: Path | None, one: Kill) -> None:
    for what, text in one.faults:
        where = f"{one.command}, kill {one.number} ({one.by}, {one.when:.2f} s)"
        print(f"{where}: {what}: {text}", file=sys.stderr, flush=True)
    if path:
        with path.open("a") as file:
            print(json.dumps(asdict(one)), file=file, flush=True)


if __name__ == "__main__":
    sys.exit(main())
