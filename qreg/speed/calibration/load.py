"""A seeded background load for calibration on a busy machine: processes that work and rest."""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

# Mean seconds of work and of rest.
_WORK, _REST = 0.6, 0.6


@contextlib.contextmanager
def noise_load(processes: int, seed: int) -> Iterator[None]:
    """Run background processes that are each busy about half of the time."""
    started: list[subprocess.Popen[bytes]] = []
    try:
        for number in range(processes):
            command = [sys.executable, str(Path(__file__).resolve()), str(seed + number)]
            started.append(subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True))
        yield
    finally:
        for process in started:
            process.kill()
            process.communicate()


def burn(seed: int) -> None:
    """Alternate random spells of work and rest, touching more memory than a cache holds."""
    draw, memory = random.Random(seed), bytearray(32 << 20)
    while True:
        end = time.monotonic() + draw.expovariate(1 / _WORK)
        while time.monotonic() < end:
            memory[:: 64 * 16] = bytes(len(memory[:: 64 * 16]))
            sum(range(2000))
        time.sleep(draw.expovariate(1 / _REST))


if __name__ == "__main__":
    import os
    import threading

    # exit when the driver does, as the timed processes do
    threading.Thread(target=lambda: (os.read(0, 1), os._exit(1)), daemon=True).start()
    burn(int(sys.argv[1]))
