"""Starting a child process, waiting for it with a timeout, and cleaning up after it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from qreg.files import read_regular
from qreg.processes.jobs import CHILD, Job, LostError, check_times, command, environment
from qreg.processes.sides import Side
from qreg.processes.temporary import temporary_folder

#: What `status_text` of a process that was killed begins with.
BY_A_SIGNAL = "was killed by"
# Bytes of a result: thousands of times of calls have some megabytes.
_MOST = 1 << 28


def run_child(
    side: Side, job: Job, *, timeout: float, under: Sequence[str] = (), script: Path = CHILD
) -> dict[str, Any]:
    """Run a job in a fresh process of its own group, which has ended when this returns.

    Args:
        under: a command that wraps the child's, with its arguments.
        script: the script to run.

    Raises:
        LostError: it could not be started, crashed, hung for `timeout` seconds, or reported a
            failure.
    """
    with started(side, script, job.content, threads=job.options.threads, under=under) as running:
        found = running.result(timeout=timeout)
    if script == CHILD and not job.count:
        check_times(found, len(job.cases))
    return found


def run_script(
    side: Side,
    script: Path,
    content: Mapping[str, Any],
    *,
    threads: int,
    timeout: float,
    variables: Mapping[str, str | None] | None = None,
) -> dict[str, Any]:
    """Run any script of qreg's that reads a job and writes a result as the child does.

    Args:
        variables: of its environment, or None for those to leave out.

    Raises:
        LostError: as of `run_child`.
    """
    with started(side, script, content, threads=threads, variables=variables) as running:
        return running.result(timeout=timeout)


@contextlib.contextmanager
def started(
    side: Side,
    script: Path,
    content: Mapping[str, Any],
    *,
    threads: int,
    under: Sequence[str] = (),
    turns: bool = False,
    variables: Mapping[str, str | None] | None = None,
) -> Iterator[Running]:
    """Start a script in a fresh process of its own group, which is killed at the end.

    Args:
        turns: whether it waits for its turn before every burst.

    Raises:
        LostError: it could not be started.
    """
    with temporary_folder("child") as folder, contextlib.ExitStack() as stack:
        (folder / "stage").write_text("starting")
        ready, report = os.pipe()
        stack.callback(os.close, ready)
        added = {"stage": str(folder / "stage"), "turns": report if turns else None}
        (folder / "job.json").write_text(json.dumps({**content, **added}))
        files = (str(folder / "job.json"), str(folder / "result.json"))
        try:
            words = [*under, *command(side, *files, script=script)]
            process = _popen(words, side, environment(side, threads, variables), report)
        finally:
            os.close(report)
        stack.callback(_kill_group, process)
        yield Running(process, folder, ready)


class Running:
    """A started script; its files are in a folder.

    Args:
        ready: the read end of a pipe to which it writes a byte when ready and after each turn.
    """

    def __init__(self, process: subprocess.Popen[bytes], folder: Path, ready: int) -> None:
        self._process, self._folder, self._ready = process, folder, ready
        self._start = time.monotonic()

    @property
    def done(self) -> bool:
        """Whether the process has ended."""
        return self._process.poll() is not None

    @property
    def stage(self) -> str:
        """The current stage, or the last one before it ended."""
        return (self._folder / "stage").read_text()

    def give_turn(self) -> None:
        """Let it time one burst; after the last one, let it exit."""
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(b"g")
            self._process.stdin.flush()

    def wait_ready(self, *, timeout: float) -> None:
        """Wait until it is ready for its first turn or has finished one.

        Args:
            timeout: seconds from its start.

        Raises:
            LostError: it ended instead, or the time is up.
        """
        ready, _, _ = select.select([self._ready], [], [], self._left(timeout))
        if not ready or not os.read(self._ready, 1):
            self.result(timeout=timeout)
            raise self._lost("ended before its turn")

    def result(self, *, timeout: float) -> dict[str, Any]:
        """The result it wrote; waits until `timeout` seconds from its start.

        Raises:
            LostError: it crashed, gave no result in time, or reported a failure.
        """
        try:
            status = self._process.wait(self._left(timeout))
        except subprocess.TimeoutExpired as error:
            raise self._lost(f"gave no result in {timeout:g} s") from error
        if status:
            output = (self._folder / "output").read_text(errors="replace")
            last = output.strip().rpartition("\n")[2]
            how = f"{status_text(status)}{f': {last}' if last else ''}"
            raise self._lost(how, killed=status < 0)
        if not (self._folder / "result.json").is_file():
            raise self._lost("wrote no result")
        try:
            found = json.loads(read_regular(self._folder / "result.json", most=_MOST))
            return _checked(found)
        except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
            raise self._lost("wrote a result that cannot be read") from error

    def _left(self, timeout: float) -> float:
        return max(0.0, self._start + timeout - time.monotonic())

    def _lost(self, how: str, *, killed: bool = False) -> LostError:
        return LostError(f"{how} ({self.stage})", stage=self.stage, killed=killed)


def _popen(
    started: Sequence[str], side: Side, variables: dict[str, str], report: int
) -> subprocess.Popen[bytes]:
    # the last line of its output is shown if it fails
    with Path(started[-1]).with_name("output").open("wb") as output:
        try:
            return subprocess.Popen(
                started,
                cwd=side.folder,
                env=variables,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
                pass_fds=(report,),
            )
        except OSError as error:
            text = f"could not be started: {error} (starting)"
            raise LostError(text, stage="starting") from error


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill the child and all processes of its group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdin:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()


def status_text(status: int) -> str:
    """How a process ended, from its exit status (negative for a signal)."""
    return f"{BY_A_SIGNAL} {signal.Signals(-status).name}" if status < 0 else f"exited {status}"


def _checked(result: Any) -> dict[str, Any]:
    if type(result) is not dict:
        raise TypeError(f"an object, and not {type(result).__name__}")
    if "error" in result:
        stage = str(result["stage"])
        text = f"{result['error']} ({stage})"
        raise LostError(text, stage=stage, details=str(result["details"]))
    return result
