"""Running many inputs in limited forks: a crash, a hang or a glut costs one input.

A fork may take a bounded amount of memory more than it has, and each input a bounded time; it is
killed for more, and the next one goes on behind.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn

#: Seconds of processor time, and bytes, that one input may take.
SECONDS, BYTES = 5.0, 500 << 20
# Seconds by the clock: on a busy machine five seconds of work are many more.
_PATIENCE_S = 60.0
# The most that a fork may map beyond what it has: the limit is the input's, and this the machine's.
_GUARD = 2 << 30
_PROCESSES = 64


@dataclass(frozen=True)
class Found:
    """What became of an input: "named", "same", "other", "silent", "traceback", "hang", "memory"
    or "died"; with the text of it.
    """

    number: int
    outcome: str
    text: str = ""
    seconds: float = 0.0
    megabytes: int = 0


def run_all(count: int, run: Callable[[int], tuple[str, str]], *, batch: int = 200) -> list[Found]:
    """Run the inputs 0 to `count`, many in each fork.

    Args:
        run: returns the outcome and the text of the input with this number.
    """
    found: list[Found] = []
    while len(found) < count:
        numbers = range(len(found), min(count, len(found) + batch))
        found += _batch(numbers, run)
    return found


def _batch(numbers: Sequence[int], run: Callable[[int], tuple[str, str]]) -> list[Found]:
    read, write = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        os.close(read)
        _work(numbers, run, write)
    os.close(write)
    found, late = [], False
    with os.fdopen(read, "rb") as lines:
        while len(found) < len(numbers):
            ready, _, _ = select.select([lines], [], [], _PATIENCE_S)
            line = lines.readline() if ready else b""
            if not line:
                late = not ready
                break
            found.append(Found(**json.loads(line)))
    os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if len(found) < len(numbers):
        hang = late or status == -signal.SIGPROF
        how = f"over {SECONDS:g} s" if hang else f"ended with {status}"
        found.append(Found(numbers[len(found)], "hang" if hang else "died", how))
    return found


def _work(numbers: Sequence[int], run: Callable[[int], tuple[str, str]], write: int) -> NoReturn:
    try:
        limit_this_process(memory=_GUARD)
        silent = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(silent, stream)
        for number in numbers:
            one = _one(number, run)
            os.write(write, json.dumps(asdict(one)).encode() + b"\n")
    finally:
        os._exit(0)


def limit_this_process(*, memory: int) -> None:
    """Bound the memory, the processes and the written core files of this process."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + memory, used + memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    most = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    own = len([one for one in Path("/proc").iterdir() if one.name.isdecimal()]) + _PROCESSES
    wanted = own if most == resource.RLIM_INFINITY else min(own, most)
    resource.setrlimit(resource.RLIMIT_NPROC, (wanted, most))


def _one(number: int, run: Callable[[int], tuple[str, str]]) -> Found:
    before = _resident(reset=True)
    started = time.process_time()
    signal.setitimer(signal.ITIMER_PROF, SECONDS)  # its default action ends this process
    try:
        outcome, text = run(number)
    except MemoryError:
        outcome, text = "memory", f"over {_GUARD >> 20} MB"
    except BaseException as error:
        outcome, text = "traceback", _where(error)
    signal.setitimer(signal.ITIMER_PROF, 0)
    took, more = time.process_time() - started, _resident() - before
    if more > BYTES and outcome != "traceback":
        outcome, text = "memory", f"{more >> 20} MB"
    return Found(number, outcome, text, round(took, 3), more >> 20)


def _where(error: BaseException) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    own = [
        f"{Path(one.filename).name}:{one.lineno}"
        for one in traceback.extract_tb(error.__traceback__)
        if "/qreg/" in one.filename
    ]
    text = str(error).partition("\n")[0][:200]
    return f"{type(error).__name__}: {text} ({', '.join(own[-3:])}; {Path(last.filename).name})"


def _resident(*, reset: bool = False) -> int:
    """Bytes of memory in use at most since the last reset."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    return 0
