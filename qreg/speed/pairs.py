"""Two processes at a time: started together, timed in turn."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

from qreg.speed.processes import Child, Job, LostError, start_child
from qreg.speed.sides import Side

#: What a side is called where it is lost.
NAMES = {"A": "baseline", "B": "candidate"}


def run_pair(
    order: str, sides: Mapping[str, Side], jobs: Mapping[str, Job], *, timeout: float
) -> dict[str, dict[str, Any]]:
    """Run a job on each side, both in fresh processes; their bursts are timed in turn.

    They get ready at the same time, and nothing is timed before both are. A round is a burst of
    each; the one that goes first in one round goes last in the next.

    Args:
        order: "AB" or "BA".

    Raises:
        LostError: either side gave no result.
    """
    with contextlib.ExitStack() as stack:
        children = {}
        for letter in order:
            with _named(letter):
                child = start_child(sides[letter], jobs[letter], timeout=timeout, turns=True)
                children[letter] = stack.enter_context(child)
        _take_turns(order, children, jobs[order[0]].rounds)
        return {letter: _result(letter, child) for letter, child in children.items()}


def _take_turns(order: str, children: Mapping[str, Child], rounds: int) -> None:
    for letter, child in children.items():
        with _named(letter):
            child.wait_done()
    for number in range(rounds):
        for letter in order if number % 2 == 0 else reversed(order):
            with _named(letter):
                children[letter].give_turn()
                children[letter].wait_done()
    for child in children.values():
        child.give_turn()


def _result(letter: str, child: Child) -> dict[str, Any]:
    with _named(letter):
        return child.result()


@contextlib.contextmanager
def _named(letter: str) -> Iterator[None]:
    try:
        yield
    except LostError as error:
        text = f"{NAMES[letter]} {error}"
        raise LostError(text, stage=error.stage, details=error.details) from error


def processor_of(number: int, *, threads: int) -> int | None:
    """The processor that both processes of a pair take while they are timed, None for any.

    The same for both, so that what one processor sees of the neighbours is no difference between
    the sides; the next for the next block of two pairs.
    """
    if threads > 1 or not hasattr(os, "sched_getaffinity"):
        return None
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[number // 2 % len(allowed)]
