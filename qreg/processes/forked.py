"""Work in forks of one process that has imported PyTorch: a crash costs one piece of it."""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from qreg.processes.running import status_text

#: Does a piece of work and returns what can be written as JSON.
Work = Callable[[], dict[str, Any]]


def run_pieces(pieces: Sequence[tuple[Path, Work]], *, seconds: int) -> None:
    """Do pieces of work, one after the other in one fork, each with its result in its file.

    A piece that kills its process has ``{"died": how}`` for a result, and the others are done in
    another fork; one that raises has ``{"raised": what, "details": traceback}``.
    """
    left = list(pieces)
    while left:
        ended = _fork(left, seconds)
        left = [piece for piece in left if not piece[0].exists()]
        if left:
            _write(left.pop(0)[0], {"died": ended or "wrote no result"})


def _fork(pieces: Sequence[tuple[Path, Work]], seconds: int) -> str:
    """How the fork ended: "" if it came to its end."""
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
    # whole or not there at all: who reads it may be early
    half = path.with_suffix(".half")
    half.write_text(json.dumps(content), encoding="utf-8")
    os.replace(half, path)
