"""Pieces of work in forks of this process, a group in each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import groupby
from pathlib import Path

from qreg.files import read_regular
from qreg.processes.executor import HERE, Piece, Places, Result, perform, tell_in
from qreg.processes.forked import Fork
from qreg.processes.temporary import remove_leftovers, temporary_folder
from qreg.records.decode import MismatchError, parse

# Bytes of a result: a page's details of a thousand samples have some megabytes.
_MOST_BYTES = 1 << 26


class LocalExecutor:
    """Runs groups of pieces, each in a fork of its own, `jobs` of them at a time.

    Nothing that a group does to its process, to PyTorch or to other modules reaches another
    group. A piece that ends its process has that as its result, and the remaining pieces of its
    group run in another fork.

    Args:
        places: of the folders that pieces name.
    """

    def __init__(self, *, jobs: int, places: Places = HERE) -> None:
        self._jobs, self._places = jobs, places
        self._open = ExitStack()
        self._folder = self._open.enter_context(temporary_folder("pieces"))
        self._files: dict[Path, Piece] = {}
        self._waiting: list[list[Path]] = []
        self._running: list[tuple[Fork, list[Path]]] = []
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
        for entry in tuple(self._running):
            fork, files = entry
            ended = fork.poll()
            for file in [one for one in files if one.exists()]:
                files.remove(file)
                yield self._files.pop(file), _read(file)
            if ended:
                self._running.remove(entry)
                if files:
                    self._start(files)
        while self._waiting and len(self._running) < self._jobs:
            self._start(self._waiting.pop(0))

    def _start(self, files: list[Path]) -> None:
        pieces = [(file, partial(_work, self._files[file], self._places, file)) for file in files]
        fork = Fork(pieces, seconds=self._files[files[0]].seconds)
        self._running.append((fork, files))

    def room(self, kind: str = "") -> int:  # noqa: ARG002 - one machine is of one kind
        return self._jobs

    def step(self) -> str:
        for _, files in self._running:
            for file in files:
                try:
                    return _step_file(file).read_text(encoding="utf-8", errors="replace")
                except OSError:
                    continue
        return ""

    def close(self) -> None:
        for fork, _ in self._running:
            fork.end()
        if self._running:  # what the killed ones could not remove themselves
            remove_leftovers()
        self._running.clear()
        self._open.close()


def _work(piece: Piece, places: Places, file: Path) -> Result:
    tell_in(_step_file(file))
    return perform(piece, places)


def _step_file(file: Path) -> Path:
    return file.with_suffix(".step")


def _read(file: Path) -> Result:
    """What a piece's process wrote: a model's, which could write anything there."""
    try:
        found = parse(read_regular(file, most=_MOST_BYTES))
    except (MismatchError, OSError) as error:
        return {"died": f"wrote no result: {error}", "details": ""}
    return found if isinstance(found, dict) else {"died": "wrote no result", "details": ""}
