"""Starting a child, waiting for it as long as it may take, and leaving nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

from qreg.records import Case
from qreg.speed import child
from qreg.speed.sides import Side

# As `python child.py` would, but without putting the folder of this file before all others.
_START = (
    "import runpy, sys; sys.argv[:] = sys.argv[1:]; runpy.run_path(sys.argv[0], None, '__main__')"
)


@dataclass(frozen=True)
class Job:
    """What a child is asked to do.

    Attributes:
        calls: in each round, of each case.
        warm_up: calls before them that are not timed.
        data_dir, checkpoints: "" for what the side's own settings say.
        extra: how many layers more, and in every how manyth call, of each case.
        serial: places of the cases that run on one thread, whatever the process has.
        keep: of each case's calls so many are returned.
        processor: the one it runs on once everything is made, None for any.
    """

    cases: tuple[Case, ...]
    calls: tuple[int, ...]
    rounds: int
    warm_up: int
    threads: int
    batch: int
    data_dir: str = ""
    checkpoints: str = ""
    extra: tuple[tuple[int, int], ...] = ()
    serial: tuple[int, ...] = ()
    keep: int = 0
    processor: int | None = None


class LostError(Exception):
    """A child that gave no result; the text says how it ended, and at what."""

    def __init__(self, text: str, *, stage: str, details: str = "") -> None:
        super().__init__(text)
        self.stage, self.details = stage, details


def run_child(side: Side, job: Job, *, timeout: float) -> dict[str, Any]:
    """Run a job in a fresh process of its own group, which is gone when this returns.

    Raises:
        LostError: it could not be started, crashed, hung for `timeout` seconds, or said that it
            failed.
    """
    with start_child(side, job, timeout=timeout) as child:
        return child.result()


@contextlib.contextmanager
def start_child(side: Side, job: Job, *, timeout: float, turns: bool = False) -> Iterator[Child]:
    """A fresh process at work, which is gone at the end; with `turns` it waits for each of them.

    Raises:
        LostError: it could not be started.
    """
    with tempfile.TemporaryDirectory(prefix="qreg-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        (folder / "stage").write_text("starting")
        done, told = os.pipe()
        stack.callback(os.close, done)
        content = {**asdict(job), "cases": list(map(astuple, job.cases))}
        content |= {"stage": str(folder / "stage"), "turns": told if turns else None}
        (folder / "job.json").write_text(json.dumps(content))
        try:
            process = _popen(side, folder, job.threads, told)
        finally:
            os.close(told)
        stack.callback(_kill_group, process)
        yield Child(process, folder, done, time.monotonic() + timeout, timeout)


@dataclass
class Child:
    """A process that was started.

    Attributes:
        done: the end of a pipe into which it writes a byte when it is ready, and after each turn.
        deadline: of the monotonic clock, after which it counts as hanging.
    """

    process: subprocess.Popen[bytes]
    folder: Path
    done: int
    deadline: float
    timeout: float

    def wait_done(self) -> None:
        """Wait until it is ready for its first turn, or has finished one.

        Raises:
            LostError: it ended instead, or is out of time.
        """
        ready, _, _ = select.select([self.done], [], [], max(0.0, self.deadline - time.monotonic()))
        if not ready or not os.read(self.done, 1):
            self.result()
            raise self._lost("ended before its turn")

    def give_turn(self) -> None:
        """Let it time one burst; after the last one, let it end."""
        assert self.process.stdin
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(b"g")
            self.process.stdin.flush()

    def result(self) -> dict[str, Any]:
        """What it found, when it has ended by itself.

        Raises:
            LostError: it has not, is out of time, or says that it failed.
        """
        try:
            status = self.process.wait(max(0.0, self.deadline - time.monotonic()))
        except subprocess.TimeoutExpired as error:
            raise self._lost(f"gave no result in {self.timeout:g} s") from error
        if status:
            said = (self.folder / "said").read_bytes().decode(errors="replace")
            last = said.strip().rpartition("\n")[2]
            raise self._lost(f"{_status_text(status)}{f': {last}' if last else ''}")
        if not (self.folder / "result.json").is_file():
            raise self._lost("wrote no result")
        return _checked(json.loads((self.folder / "result.json").read_text()))

    def _lost(self, how: str) -> LostError:
        stage = (self.folder / "stage").read_text()
        return LostError(f"{how} ({stage})", stage=stage)


def command(side: Side, *arguments: str) -> list[str]:
    """How the child of a side is started."""
    return [side.python, "-c", _START, str(Path(child.__file__).resolve()), *arguments]


def _popen(side: Side, folder: Path, threads: int, told: int) -> subprocess.Popen[bytes]:
    with (folder / "said").open("w+b") as said:
        try:
            return subprocess.Popen(
                command(side, str(folder / "job.json"), str(folder / "result.json")),
                cwd=side.folder,
                env=_environment(side, threads),
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=said,
                start_new_session=True,
                pass_fds=(told,),
            )
        except OSError as error:
            raise LostError(
                f"could not be started: {error} (starting)", stage="starting"
            ) from error


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """End the child and whatever it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdin:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()


def _status_text(status: int) -> str:
    return f"was killed by {signal.Signals(-status).name}" if status < 0 else f"exited {status}"


def _checked(found: dict[str, Any]) -> dict[str, Any]:
    if "error" in found:
        text = f"{found['error']} ({found['stage']})"
        raise LostError(text, stage=found["stage"], details=found["details"])
    return found


def _environment(side: Side, threads: int) -> dict[str, str]:
    paths: Sequence[str] = [*map(str, side.paths), os.environ.get("PYTHONPATH", "")]
    pinned = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONHOME", "PYTHONEXECUTABLE")}
    own = {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONWARNINGS": "ignore"}
    if side.python != sys.executable:
        kept.pop("VIRTUAL_ENV", None)
    return {**kept, **pinned, **own}
