"""A process with PyTorch imported that does pieces of work in forks: ``-m qreg.processes.server``.

It reads jobs as lines of JSON and writes a line for each result; it ends with its input.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
from typing import Any

from qreg.processes.executor import Piece, Places
from qreg.processes.local import LocalExecutor
from qreg.processes.memory import nothing_collected
from qreg.processes.stopping import Stopped, stoppable


def main(imports: list[str]) -> int:
    """Answer until the input ends."""
    jobs, answers = os.dup(0), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)  # what a model reads is no job
    os.dup2(2, 1)  # what it prints is no answer
    try:
        with stoppable():
            with nothing_collected():
                for name in imports:
                    with contextlib.suppress(*[Exception] * name.startswith("?")):
                        importlib.import_module(name.removeprefix("?"))
            _write(answers, {"ready": True})
            return _serve(jobs, answers)
    except (Stopped, BrokenPipeError):
        return 0


def _serve(jobs: int, answers: Any) -> int:
    rest = b""
    with contextlib.ExitStack() as stack:
        kept: tuple[Places, LocalExecutor] | None = None
        while True:
            more = os.read(jobs, 1 << 20)
            if not more:
                return 0
            *lines, rest = (rest + more).split(b"\n")
            for job in map(json.loads, lines):
                places = Places(tuple((before, now) for before, now in job["moved"]))
                if kept is None or kept[0] != places:
                    stack.close()
                    kept = places, LocalExecutor(jobs=1, places=places)
                    stack.callback(kept[1].close)
                executor = kept[1]
                if not _answer(job, executor, places, jobs, answers):
                    return 0
                if not executor.keeps:  # nor has it files then
                    stack.close()
                    kept = None
                _write(answers, {"done": True})


def _answer(
    job: dict[str, Any], executor: LocalExecutor, places: Places, jobs: int, answers: Any
) -> bool:
    """Whether the job was done; not so where the input ended before."""
    pieces = [Piece(**one) for one in job["pieces"]]
    for module in {piece.task.partition(":")[0] for piece in pieces}:
        with contextlib.suppress(Exception):  # a piece that needs it says so
            importlib.import_module(module)  # once, and not in every fork
    executor.add(pieces)
    left = len(pieces)
    while left:
        for piece, result in executor.poll():
            left -= 1
            _write(answers, {"name": piece.name, "result": places.as_sent(result)})
        if left and executor.wait_or(jobs):
            return False  # nothing is asked meanwhile: this is the end
    return True


def _write(answers: Any, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer).encode() + b"\n")
    answers.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
