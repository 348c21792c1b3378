"""Running pieces of work in forks of a process with PyTorch imported: a crash loses one piece."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from qreg.processes.running import status_text

#: Does a piece of work and returns what can be written as JSON.
Work = Callable[[], dict[str, Any]]


def run_pieces(pieces: Sequence[tuple[Path, Work]], *, seconds: int) -> None:
    """Run pieces of work one after the other in a fork, writing each result to its file.

    The result of a piece that kills its process is ``{"died": how}``, and the remaining ones run
    in another fork; that of one that raises is ``{"raised": what, "details": traceback}``.
    """
    left = list(pieces)
    while left:
        ended = _fork(left, seconds)
        left = [piece for piece in left if not piece[0].exists()]
        if left:
            _write(left.pop(0)[0], {"died": ended or "wrote no result"})


def run_together(
    pieces: Sequence[tuple[Path, Work]],
    *,
    jobs: int,
    seconds: int,
    done: Callable[[Path], None] = lambda _: None,
) -> None:
    """Do each piece of work in a fork of its own, `jobs` of them at a time.

    Results are as of `run_pieces`. What a fork prints goes to the file ``<result>.said``. When
    this is interrupted, the forks are killed.

    Args:
        done: called with each result's file as it is finished.
    """
    left, running = list(pieces), dict[int, tuple[Path, float]]()
    try:
        while left or running:
            while left and len(running) < jobs:
                path, work = left.pop(0)
                running[_start(path, work)] = (path, time.monotonic() + seconds)
            for pid in list(running):
                if (ended := _ended(pid, running[pid][1], seconds)) is not None:
                    path, _ = running.pop(pid)
                    if not path.exists():
                        _write(path, {"died": ended or "wrote no result"})
                    done(path)
            time.sleep(0.02)
    finally:
        for pid in running:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _start(path: Path, work: Work) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        return child
    try:
        said = os.open(path.with_suffix(".said"), os.O_WRONLY | os.O_CREAT, 0o644)
        os.dup2(said, 1)
        os.dup2(said, 2)
        _write(path, _attempt(work))
        os._exit(0)
    finally:
        os._exit(1)


def _ended(pid: int, until: float, seconds: int) -> str | None:
    """How a fork ended, "" if it came to its end; None while it runs and has time left."""
    found, status = os.waitpid(pid, os.WNOHANG)
    if found:
        code = os.waitstatus_to_exitcode(status)
        return "" if code == 0 else status_text(code)
    if time.monotonic() < until:
        return None
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return f"gave no result in {seconds} s"


def _fork(pieces: Sequence[tuple[Path, Work]], seconds: int) -> str:
    """Run pieces in a fork; returns how it ended, "" if it completed."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        try:
            for path, work in pieces:
                signal.alarm(seconds)
                _write(path, _attempt(work))
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status == -signal.SIGALRM:
        return f"gave no result in {seconds} s"
    return "" if status == 0 else status_text(status)


def _attempt(work: Work) -> dict[str, Any]:
    try:
        return work()
    except Exception as error:
        text = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        return {"raised": text, "details": traceback.format_exc()}


def _write(path: Path, content: dict[str, Any]) -> None:
    # atomic: a reader may poll for the file
    half = path.with_suffix(".half")
    half.write_text(json.dumps(content), encoding="utf-8")
    os.replace(half, path)
