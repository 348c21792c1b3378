"""Speed-up over fp32 in the same process, with interleaved runs. Higher is better."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from qreg.metrics.latency import time_interleaved

#: Batch sizes, of which the better one is kept: the activations of the small one stay in a core's
#: cache, where neighbours do not disturb fp32; the large one suits models of many small layers.
SPEED_UP_BATCHES = (8, 32)
# Many short bursts: even on a busy machine some calls are undisturbed.
_ROUNDS, _CALLS, _WARM_UP = 6, 2, 1


@dataclass
class Fastest:
    """The shortest time of a reference so far, in seconds; it is the same work each time."""

    seconds: float = math.inf


def log_speed_up(
    run: Callable[[], object],
    reference: Callable[[], object],
    fastest: Fastest | None = None,
    *,
    enough: float = math.inf,
) -> float:
    """Natural log of the reference's time over `run`'s, each the minimum over its calls.

    Times are processor times, so that waiting for a processor does not count. With several threads
    they are the sum over all threads.

    Args:
        fastest: of the same reference, measured before in this process: it is then run in the
            first and the last round only. It is the minimum over more calls, so that the ratio is
            if anything too low. It is updated.
        enough: `run` is not run again once the ratio is at least this: more calls could only
            shorten its time.
    """
    few = fastest is not None and math.isfinite(fastest.seconds)
    theirs = [fastest.seconds] if fastest is not None else []
    own = [math.inf]

    def found() -> float:
        return math.log(min(theirs) / min(own)) if math.isfinite(min(own)) else -math.inf

    for turn in range(_ROUNDS):
        last = turn == _ROUNDS - 1
        if turn == 0 or not few or (last and found() < enough):
            theirs.append(_shortest(reference))
        if turn == 0 or found() < enough:
            own.append(_shortest(run))
    if fastest is not None:
        fastest.seconds = min(theirs)
    while found() < enough and len(own) <= _ROUNDS:
        own.append(_shortest(run))
    return found()


def _shortest(run: Callable[[], object]) -> float:
    """Processor seconds of the fastest call of a burst."""
    (times,) = time_interleaved(
        (run,), rounds=1, calls=_CALLS, warm_up=_WARM_UP, clock=time.process_time
    )
    return float(times.min())
