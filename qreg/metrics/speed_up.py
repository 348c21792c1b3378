"""Speed-up over fp32 in the same process, with interleaved runs. Higher is better."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from qreg.metrics.latency import time_interleaved

#: Batch sizes, of which the better one is kept: the activations of the small one stay in a core's
#: cache, where neighbours do not disturb fp32; the large one suits models of many small layers.
SPEED_UP_BATCHES = (8, 32)
# Many short bursts: even on a busy machine some calls are undisturbed.
_ROUNDS, _CALLS, _WARM_UP = 6, 2, 1


def log_speed_up(run: Callable[[], object], reference: Callable[[], object]) -> float:
    """Natural log of the reference's time over `run`'s, each the minimum over its calls.

    Times are processor times, so that waiting for a processor does not count. With several threads
    they are the sum over all threads.
    """
    theirs, own = time_interleaved(
        (reference, run), rounds=_ROUNDS, calls=_CALLS, warm_up=_WARM_UP, clock=time.process_time
    )
    return math.log(float(theirs.min()) / float(own.min()))
