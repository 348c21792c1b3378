"""Starting a child, waiting for it as long as it may take, and leaving nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from qreg.records import Case
from qreg.speed import child
from qreg.speed.sides import Side

# As `python child.py` would, but without putting the folder of this file before all others.
_START = (
    "import runpy, sys; sys.argv[:] = sys.argv[1:]; runpy.run_path(sys.argv[0], None, '__main__')"
)
_CHILD = Path(child.__file__).resolve()
_FILES = ("job", "result")


@dataclass(frozen=True)
class Job:
    """What a child is asked to do.

    Attributes:
        calls: in each round, of each case.
        warm_up: calls before them that are not timed.
        data_dir, checkpoints: "" for what the side's own settings say.
        extra: how many layers more, and in every how manyth call, of each case.
        keep: of each case's calls so many are returned.
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
    keep: int = 0


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
    content = {**asdict(job), "cases": list(map(astuple, job.cases))}
    return run_script(side, _CHILD, content, threads=job.threads, timeout=timeout)


def run_script(
    side: Side, script: Path, content: dict[str, Any], *, threads: int, timeout: float
) -> dict[str, Any]:
    """The same for any script of qreg's that reads a job and writes a result as the child does."""
    with started(side, script, content, threads=threads) as running:
        return running.result(timeout=timeout)


class Running:
    """A script that was started; its files are in `folder`."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path, said: BinaryIO) -> None:
        self._process, self._folder, self._said = process, folder, said

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self._process.poll() is not None

    @property
    def stage(self) -> str:
        """What it is doing, or was when it ended."""
        return (self._folder / "stage").read_text()

    def result(self, *, timeout: float) -> dict[str, Any]:
        """What it wrote, waited for if it runs still.

        Raises:
            LostError: it crashed, gives no result in time, or says that it failed.
        """
        try:
            ended = self._how(self._process.wait(timeout))
        except subprocess.TimeoutExpired:
            ended = f"gave no result in {timeout:g} s"
        return _read(self._folder / "result.json", self.stage, ended)

    def _how(self, status: int) -> str:
        """How it ended: "" if it left by itself, with what it said last otherwise."""
        self._said.seek(0)
        last = self._said.read().decode(errors="replace").strip().rpartition("\n")[2]
        return "" if status == 0 else f"{status_text(status)}{f': {last}' if last else ''}"


@contextlib.contextmanager
def started(
    side: Side, script: Path, content: dict[str, Any], *, threads: int
) -> Iterator[Running]:
    """A script in a fresh process of its own group, which is gone at the end.

    Raises:
        LostError: it could not be started.
    """
    with tempfile.TemporaryDirectory(prefix="qreg-") as folder:
        stage = Path(folder, "stage")
        stage.write_text("starting")
        Path(folder, "job.json").write_text(json.dumps({**content, "stage": str(stage)}))
        with Path(folder, "said").open("w+b") as said:
            process = _start(side, script, Path(folder), threads, said)
            try:
                yield Running(process, Path(folder), said)
            finally:
                _kill_group(process)


def command(side: Side, *arguments: str, script: Path = _CHILD) -> list[str]:
    """How a script is started on a side."""
    return [side.python, "-c", _START, str(script), *arguments]


def _start(
    side: Side, script: Path, folder: Path, threads: int, said: BinaryIO
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            command(side, *(str(folder / f"{x}.json") for x in _FILES), script=script),
            cwd=side.folder,
            env=_environment(side, threads),
            stdin=subprocess.PIPE,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    except OSError as error:
        text = f"could not be started: {error} (starting)"
        raise LostError(text, stage="starting") from error


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """End the child and whatever it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdin:
        process.stdin.close()


def status_text(status: int) -> str:
    """How a process ended, by its exit status, negative for a signal."""
    return f"was killed by {signal.Signals(-status).name}" if status < 0 else f"exited {status}"


def _read(result: Path, stage: str, ended: str) -> dict[str, Any]:
    if ended or not result.is_file():
        raise LostError(f"{ended or 'wrote no result'} ({stage})", stage=stage)
    found: dict[str, Any] = json.loads(result.read_text())
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
