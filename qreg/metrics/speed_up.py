"""Speed-up over fp32 in the same process: the two are run in turn. Higher is better."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from qreg.metrics.latency import time_interleaved

#: Images a call, of which the better one is kept: the small one's activations stay in a core's
#: cache, where neighbours do not reach fp32; the large one is for models of many small layers.
SPEED_UP_BATCHES = (8, 32)
# Many short bursts: some calls are not disturbed, however busy the machine.
_ROUNDS, _CALLS, _WARM_UP = 6, 2, 1


def log_speed_up(run: Callable[[], object], reference: Callable[[], object]) -> float:
    """Natural log of the reference's time over `run`'s, each the shortest of its calls.

    Times are the processor's, not the clock's: what waits for a processor does not count. With
    several threads it is the work of all of them.
    """
    theirs, own = time_interleaved(
        (reference, run), rounds=_ROUNDS, calls=_CALLS, warm_up=_WARM_UP, clock=time.process_time
    )
    return math.log(float(theirs.min()) / float(own.min()))
