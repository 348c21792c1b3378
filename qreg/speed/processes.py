"""Starting a child, waiting for it as long as it may take, and leaving nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
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


_CHILD = Path(child.__file__)


@dataclass(frozen=True)
class Job:
    """What a child is asked to do.

    Attributes:
        calls: in each round, of each case.
        warm_up: calls before them that are not timed.
        data_dir, checkpoints: "" for what the side's own settings say.
        extra: how many layers more, and in every how manyth call, of each case.
        keep: of each case's calls so many are returned.
        count: not timed: callgrind counts them, under which the child runs.
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
    count: bool = False


class LostError(Exception):
    """A child that gave no result; the text says how it ended, and at what."""

    def __init__(self, text: str, *, stage: str, details: str = "") -> None:
        super().__init__(text)
        self.stage, self.details = stage, details


def run_child(
    side: Side,
    job: Job,
    *,
    timeout: float,
    under: Sequence[str] = (),
    script: Path = _CHILD,
) -> dict[str, Any]:
    """Run a job in a fresh process of its own group, which is gone when this returns.

    Args:
        under: the command that runs the child's own, with its arguments.
        script: what the child runs.

    Raises:
        LostError: it could not be started, crashed, hung for `timeout` seconds, or said that it
            failed.
    """
    with tempfile.TemporaryDirectory(prefix="qreg-") as folder:
        result, stage = Path(folder, "result.json"), Path(folder, "stage")
        stage.write_text("starting")
        content = {**asdict(job), "cases": list(map(astuple, job.cases)), "stage": str(stage)}
        Path(folder, "job.json").write_text(json.dumps(content))
        arguments = (str(Path(folder, "job.json")), str(result))
        started = [*under, *command(side, *arguments, script=script)]
        ended = _wait(started, side, job.threads, timeout)
        return _read(result, stage.read_text(), ended)


def command(side: Side, *arguments: str, script: Path = _CHILD) -> list[str]:
    """How the child of a side is started."""
    return [side.python, "-c", _START, str(script.resolve()), *arguments]


def _wait(started: Sequence[str], side: Side, threads: int, timeout: float) -> str:
    """How the child ended: "" if it left by itself, with what it said last otherwise."""
    with tempfile.TemporaryFile() as said:
        try:
            process = subprocess.Popen(
                started,
                cwd=side.folder,
                env=_environment(side, threads),
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
        except OSError as error:
            return f"could not be started: {error}"
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired:
            return f"gave no result in {timeout:g} s"
        finally:
            _kill_group(process)
        said.seek(0)
        last = said.read().decode(errors="replace").strip().rpartition("\n")[2]
    return "" if status == 0 else f"{_status_text(status)}{f': {last}' if last else ''}"


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """End the child and whatever it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdin:
        process.stdin.close()


def _status_text(status: int) -> str:
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
