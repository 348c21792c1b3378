"""Counting the instructions of calls under callgrind.

The child runs this file by its path, on any side: nothing of qreg may be imported here.
"""

from __future__ import annotations

import gc
from collections.abc import Callable


def count(calls: list[Callable[[], object]], counts: list[int], rounds: int, warm_up: int) -> None:
    """Have callgrind count each burst of calls of each case and write a file for each.

    Raises:
        RuntimeError: this PyTorch cannot control callgrind.
    """
    from torch import _C

    if not hasattr(_C, "_valgrind_toggle_and_dump_stats"):
        raise RuntimeError("this PyTorch cannot control callgrind")
    gc.collect()
    gc.disable()
    for _ in range(rounds):
        for call, number in zip(calls, counts):  # noqa: B905
            for _ in range(warm_up):
                call()
            _C._valgrind_toggle()
            for _ in range(number):
                call()
            _C._valgrind_toggle_and_dump_stats()
