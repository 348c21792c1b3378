"""Pieces of work in forks of this process, a group in each."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import count, groupby
from pathlib import Path

from qreg.files import read_regular, write_atomically
from qreg.processes.executor import HERE, Piece, Places, Result, perform, tell_in
from qreg.processes.forked import Fork, wait_for_result
from qreg.processes.temporary import remove_leftovers, temporary_folder
from qreg.records.decode import MismatchError, parse

# Bytes of a result: a page's details of a thousand samples have some megabytes.
_MOST_BYTES = 1 << 26


@dataclass
class _Worker:
    """A fork with the files of the pieces that it does.

    Attributes:
        process: that of its pieces, with their time limit; with "" it ends after them.
        folder: where it finds more pieces.
        tell: has a byte for each of them; None once it is closed.
        given: how many it got there.
    """

    fork: Fork
    files: list[Path]
    process: tuple[str, float]
    folder: Path
    tell: int | None
    given: int = 0

    def close(self) -> None:
        """Of a fork that has ended."""
        if self.tell is not None:
            os.close(self.tell)
            self.tell = None


class LocalExecutor:
    """Runs groups of pieces, each in a fork of its own, `jobs` of them at a time.

    Nothing that a group does to its process, to PyTorch or to other modules reaches another
    group. A piece that ends its process has that as its result, and the remaining pieces of its
    group run in another fork. A fork of a named process stays, and waits for more pieces of it.

    Args:
        places: of the folders that pieces name.
        kept: so many named processes may be there at a time, if that is more than `jobs`.
        folder: of its files, which its owner removes; None for a temporary one.
    """

    def __init__(
        self, *, jobs: int, places: Places = HERE, kept: int = 0, folder: Path | None = None
    ) -> None:
        self._jobs, self._places, self._kept = jobs, places, max(jobs, kept)
        self._open = ExitStack()
        self._folder = folder or self._open.enter_context(temporary_folder("pieces"))
        self._files: dict[Path, Piece] = {}
        self._waiting: list[list[Path]] = []
        self._running: list[_Worker] = []
        self._idle: list[_Worker] = []
        self._count = 0

    def add(self, pieces: Sequence[Piece], *, first: bool = False) -> None:
        groups = []
        for _, group in groupby(pieces, key=lambda piece: piece.group or piece.name):
            files = []
            for piece in group:
                file = self._folder / f"{self._count}.json"
                self._count += 1
                self._files[file] = piece
                files.append(file)
            groups.append(files)
        self._waiting = [*groups, *self._waiting] if first else [*self._waiting, *groups]

    def poll(self) -> Iterator[tuple[Piece, Result]]:
        for worker in tuple(self._running):
            ended = worker.fork.poll()
            while worker.files and worker.files[0].exists():
                file = worker.files.pop(0)
                result = _read(file)
                _empty(file)
                yield self._files.pop(file), result
            if ended:
                worker.close()
                self._running.remove(worker)
                if worker.files:
                    self._start(worker.files)
            elif worker.process[0] and not worker.files:
                self._running.remove(worker)
                self._idle.append(worker)
        while self._waiting and len(self._running) < self._jobs:
            self._start(self._waiting.pop(0))

    def wait(self) -> None:
        self.wait_or()

    def wait_or(self, *also: int) -> bool:
        """The same, or until one of these files can be read, and whether one can."""
        return wait_for_result([worker.fork for worker in self._running], *also)

    def _start(self, files: list[Path]) -> None:
        first = self._files[files[0]]
        process = first.process, first.seconds
        pieces = [(file, partial(_work, self._files[file], self._places, file)) for file in files]
        for worker in [one for one in self._idle if one.process == process]:
            self._idle.remove(worker)
            if worker.fork.poll():  # it ended meanwhile
                worker.close()
            else:
                self._give(worker, files)
                worker.fork.expect(pieces)
                self._running.append(worker)
                return
        while self._idle and len(self._running) + len(self._idle) >= self._kept:
            self._end(self._idle.pop(0))
        for file in files:
            if before := self._files[file].before_fork:
                before()
        folder = files[0].with_suffix(".given")
        told, tell = os.pipe()
        try:
            more = _given_in(folder, told, self._places) if first.process else ()
            fork = Fork(pieces, seconds=first.seconds, more=more)
        except BaseException:
            os.close(tell)
            raise
        finally:
            os.close(told)
        self._running.append(_Worker(fork, files, process, folder, tell))

    def _give(self, worker: _Worker, files: list[Path]) -> None:
        """Write down pieces for a fork that waits."""
        worker.folder.mkdir(exist_ok=True)
        worker.files = files
        for file in files:
            content = {"file": str(file), "piece": self._files[file].plain}
            write_atomically(worker.folder / str(worker.given), json.dumps(content).encode())
            worker.given += 1
            assert worker.tell is not None
            with contextlib.suppress(BrokenPipeError):  # it has ended: `poll` says how
                os.write(worker.tell, b".")

    def _end(self, worker: _Worker) -> None:
        worker.fork.end()
        worker.close()
        remove_leftovers()  # what it could not remove itself

    def room(self, kind: str = "") -> int:  # noqa: ARG002 - one machine is of one kind
        return self._jobs

    @property
    def keeps(self) -> bool:
        """Whether a process waits for more pieces of it."""
        return bool(self._idle)

    def step(self) -> str:
        for file in [worker.files[0] for worker in self._running if worker.files]:
            said = ""
            with contextlib.suppress(OSError):  # it has said nothing yet
                said = _step_file(file).read_text(encoding="utf-8", errors="replace")
            return said or self._files[file].name
        return ""

    def close(self) -> None:
        for worker in (*self._running, *self._idle):
            self._end(worker)
        self._running.clear()
        self._idle.clear()
        self._open.close()


def _empty(file: Path) -> None:
    """Leave of a result that was read that its piece is done; of a link not what it leads to."""
    empty = file.with_suffix(".read")
    with contextlib.suppress(OSError):
        empty.touch()
        os.replace(empty, file)


def _work(piece: Piece, places: Places, file: Path) -> Result:
    tell_in(_step_file(file))
    return perform(piece, places)


def _given_in(folder: Path, told: int, places: Places) -> Iterator[tuple[Path, partial[Result]]]:
    """The pieces that are written down in a folder, when a byte tells of each."""
    for number in count():
        os.read(told, 1)
        path = folder / str(number)
        content = json.loads(path.read_text(encoding="utf-8"))
        file = Path(content["file"])
        yield file, partial(_work, Piece(**content["piece"]), places, file)


def _step_file(file: Path) -> Path:
    return file.with_suffix(".step")


def _read(file: Path) -> Result:
    """What a piece's process wrote: a model's, which could write anything there."""
    try:
        found = parse(read_regular(file, most=_MOST_BYTES))
    except (MismatchError, OSError) as error:
        return {"died": f"wrote no result: {error}", "details": ""}
    return found if isinstance(found, dict) else {"died": "wrote no result", "details": ""}
