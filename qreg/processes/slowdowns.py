"""Injected slowdowns of a call, for the calibration: real work, never a sleep.

The child runs this file by its path, on any side: nothing of qreg may be imported here.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

# Size of an extra layer: it takes about a microsecond and stays in the L1 cache.
_LAYER = 1024
Call = Callable[[], object]


def with_layers(call: Call, layers: int, every: int) -> Call:
    """The call with N extra layers on every k-th call: a slowdown from real work.

    The layers are small and work in place, so that they take time but do not evict the model.
    """
    import torch

    values, numbers = torch.rand(_LAYER), itertools.count()

    def both() -> object:
        if next(numbers) % every == 0:
            for _ in range(layers):
                torch.relu_(values)
        return call()

    return both


def on_one_thread(call: Call) -> Call:
    """The call on a single thread: a slowdown that a single-threaded run does not show."""
    import torch

    threads = torch.get_num_threads()

    def alone() -> object:
        torch.set_num_threads(1)
        try:
            return call()
        finally:
            torch.set_num_threads(threads)

    return alone
