"""Process pairs: started together, their timed bursts interleaved."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Iterator, Mapping
from typing import Any

from qreg.processes.jobs import CHILD, Job, LostError, check_times
from qreg.processes.running import Running, started
from qreg.processes.sides import Side

#: Names of the sides in error messages.
NAMES = {"A": "baseline", "B": "candidate"}


def run_pair(
    order: str, sides: Mapping[str, Side], jobs: Mapping[str, Job], *, timeout: float
) -> dict[str, dict[str, Any]]:
    """Run a job on each side, both in fresh processes with interleaved timed bursts.

    They set up concurrently, and timing starts when both are ready. A round is one burst of each;
    the order alternates from round to round.

    Args:
        order: "AB" or "BA".

    Raises:
        LostError: either side returned no result.
    """
    with contextlib.ExitStack() as stack:
        running = {}
        for letter in order:
            job = jobs[letter]
            child = started(
                sides[letter], CHILD, job.content, threads=job.options.threads, turns=True
            )
            with _named(letter):
                running[letter] = stack.enter_context(child)
        _take_turns(order, running, jobs[order[0]].rounds, timeout)
        return {
            letter: _result(letter, one, jobs[letter], timeout) for letter, one in running.items()
        }


def _take_turns(order: str, running: Mapping[str, Running], rounds: int, timeout: float) -> None:
    for letter, one in running.items():
        with _named(letter):
            one.wait_ready(timeout=timeout)
    for number in range(rounds):
        for letter in order if number % 2 == 0 else reversed(order):
            running[letter].give_turn()
            with _named(letter):
                running[letter].wait_ready(timeout=timeout)
    for one in running.values():
        one.give_turn()


def _result(letter: str, running: Running, job: Job, timeout: float) -> dict[str, Any]:
    with _named(letter):
        found = running.result(timeout=timeout)
        check_times(found, len(job.cases))
        return found


@contextlib.contextmanager
def _named(letter: str) -> Iterator[None]:
    try:
        yield
    except LostError as error:
        text = f"{NAMES[letter]} {error}"
        raise LostError(text, stage=error.stage, details=error.details) from error


def processor_of(number: int, *, threads: int) -> int | None:
    """The processor to which both processes of a pair are pinned while timed; None for any.

    It is the same for both, so that a processor's neighbours affect both sides alike, and changes
    with each block of two pairs.
    """
    if threads > 1 or not hasattr(os, "sched_getaffinity"):
        return None
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[number // 2 % len(allowed)]


def pair_orders(seed: int) -> Iterator[str]:
    """An endless sequence of "AB" and "BA" (A: baseline), in randomized blocks of one each.

    The blocks cancel slow drifts, the random order cancels periodic disturbances.
    """
    generator = random.Random(seed)
    while True:
        block = ["AB", "BA"]
        generator.shuffle(block)
        yield from block
