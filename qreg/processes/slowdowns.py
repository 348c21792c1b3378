"""Made slowdowns of a call, for the calibration: real work, never a sleep.

The child runs this file by its path, on whatever side: nothing of qreg may be imported here.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

# Values of an extra layer: they take a microsecond and stay in the first cache.
_LAYER = 1024
Call = Callable[[], object]


def with_layers(call: Call, layers: int, every: int) -> Call:
    """The call, with so many layers more in every so manyth: a fault made of real work.

    They are small and work in place, so that they take time and not the model's caches.
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
    """The call, without the threads that the process has: a fault that one thread does not show."""
    import torch

    threads = torch.get_num_threads()

    def alone() -> object:
        torch.set_num_threads(1)
        try:
            return call()
        finally:
            torch.set_num_threads(threads)

    return alone
