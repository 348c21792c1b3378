"""One way to run independent pieces of work, wherever that is: here, or on a Ray cluster."""

from __future__ import annotations

import contextlib
import importlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from qreg.errors import QregError

#: JSON values; ``{"died": how, "details": stacks}`` of a piece that ended its process, and
#: ``{"raised": what, "details": traceback}`` of one that raised.
#: A task that refuses says ``{"error": what, "hint": remedy}``.
Result = dict[str, Any]
#: Does a piece of work from its content, with the places of the sender's folders.
Task = Callable[[Any, "Places"], Result]
_TELL_S = 0.2


@dataclass(frozen=True)
class Piece:
    """A piece of work.

    Attributes:
        name: unique among the pieces of an executor.
        task: ``module:function`` of qreg's, a `Task`.
        content: what it is given, as JSON.
        group: pieces of one group run one after the other in one process.
        follows: it continues what the piece before it in its group did, in the same process.
        seconds: its time limit.
        in_fork: does the same in a fork of this process, for what cannot travel; None for the task.
        before_fork: done here before its group is forked, so that no fork does it anew.
        folders: what this piece alone reads, sent as it is when the piece is started.
        timed: it measures time, and must not share its machine.
        environment: only where this is the name of the machine's kind; "" for any.
        process: groups of the same one use the same process of a machine, where it waits for
            them with what the one before left there; "" for a process of its own.
        affinity: pieces that share the first of these names, or more of them, take less time where
            another of them was done: the sides of an upgrade, then a model; empty for any.
    """

    name: str
    task: str
    content: str = "{}"
    group: str = ""
    follows: bool = False
    seconds: float = 900.0
    in_fork: Callable[[], Result] | None = field(default=None, compare=False)
    before_fork: Callable[[], None] | None = field(default=None, compare=False)
    folders: tuple[Path, ...] = ()
    timed: bool = False
    environment: str = ""
    process: str = ""
    affinity: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.name or ":" not in self.task:
            raise ValueError(f"piece {self.name!r} of {self.task!r}")

    @property
    def plain(self) -> dict[str, Any]:
        """What another process needs of it."""
        names = ("name", "task", "content", "group", "seconds", "process")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class Places:
    """Where the sender's folders are in this process.

    Attributes:
        moved: pairs of a folder as the sender names it, and as it is here; none where nothing
            was sent.
    """

    moved: tuple[tuple[str, str], ...] = ()

    def path(self, sent: Path | str) -> Path:
        """Where a path of the sender's is; one outside of all that was sent stays as it is."""
        given = Path(sent)
        found = []
        for before, now in sorted(self.moved, key=lambda pair: -len(pair[0])):
            with contextlib.suppress(ValueError):
                found.append(Path(now) / given.relative_to(before))
        # parts of one folder may have been sent apart
        return next((one for one in found if one.exists()), next(iter(found), given))

    def as_sent(self, value: Any) -> Any:
        """A value of JSON whose texts have the sender's names of its folders."""
        if isinstance(value, str):
            for before, now in self.moved:
                value = value.replace(now, before)
        elif isinstance(value, list):
            value = [self.as_sent(one) for one in value]
        elif isinstance(value, dict):
            value = {name: self.as_sent(one) for name, one in value.items()}
        return value


#: Nothing was sent.
HERE = Places()


def perform(piece: Piece, places: Places = HERE) -> Result:
    """Do a piece of work in this process."""
    if piece.in_fork is not None:
        return piece.in_fork()
    module, _, name = piece.task.partition(":")
    task: Task = getattr(importlib.import_module(module), name)
    return task(json.loads(piece.content), places)


class Executor(Protocol):
    """Runs pieces of work, each until it has a result, in any order."""

    def add(self, pieces: Sequence[Piece], *, first: bool = False) -> None:
        """Have pieces run; before all that are not started yet, if `first`."""

    def poll(self) -> Iterator[tuple[Piece, Result]]:
        """Do what can be done without waiting; the results that have come since."""

    def wait(self) -> None:
        """Wait a moment, for a result or else a fraction of a second; then `poll` again."""

    def room(self, kind: str = "") -> int:
        """How many pieces it can do at a time, on machines of a kind if one is given."""

    def step(self) -> str:
        """What is being done, in words; "" where that is not known."""

    def close(self) -> None:
        """End what runs. Nothing of it is left."""


def run(
    executor: Executor, pieces: Sequence[Piece], *, tick: Callable[[], None] = lambda: None
) -> Iterator[tuple[Piece, Result]]:
    """Run pieces to their ends: each with its result, in the order in which they end.

    Args:
        tick: called again and again while one is waited for.
    """
    executor.add(pieces)
    left = {piece.name for piece in pieces}
    while left:
        for piece, result in executor.poll():
            left.discard(piece.name)
            yield piece, result
        if left:
            tick()
            executor.wait()


class _Told:
    """Where this process writes what it is doing, and when it last did."""

    file: Path | None = None
    at = 0.0


def tell_in(file: Path | None) -> None:
    """Let `tell` of this process write into a file, or nowhere."""
    _Told.file, _Told.at = file, 0.0


def tell(done: int, total: int, what: str) -> None:
    """Progress of the piece that this process does, for the process that shows it."""
    file, now = _Told.file, time.monotonic()
    if file is None or now < _Told.at + _TELL_S:
        return
    _Told.at = now
    with contextlib.suppress(OSError):
        file.write_text(f"{what} {done}/{total}" if total else what, encoding="utf-8")


def check_done(name: str, result: Result) -> None:
    """Check that a piece of that name was done.

    Raises:
        QregError: it was not, with what it said and its hint.
    """
    for key in ("error", "raised", "died"):
        if key in result:
            raise QregError(f"{name}: {result[key]}", hint=str(result.get("hint", "")))
