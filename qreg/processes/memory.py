"""How a process that measures networks handles memory."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys
from collections.abc import Iterator

# Source: mallopt(3). The threshold is the largest that glibc takes on all its versions.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MMAP_BYTES = 32 << 20
_KEPT_BYTES = 256 << 20


def keep_freed_memory() -> None:
    """Let this process use freed memory again, up to 256 MiB, and not return it at once (glibc).

    Every output of a layer is allocated and freed; where that goes to the system each time, the
    system clears its pages anew, which takes a tenth of the time of a convolutional network.
    """
    if sys.platform != "linux":
        return
    with contextlib.suppress(AttributeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


@contextlib.contextmanager
def nothing_collected() -> Iterator[None]:
    """Look for no garbage meanwhile.

    Importing PyTorch makes a million objects that stay: looking through all of them again and again
    takes a quarter of the time of importing what `torch.export` needs.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
