"""How busy the machine is with other work."""

from __future__ import annotations

import math
import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path

_STAT = Path("/proc/stat")


@dataclass(frozen=True)
class NoiseReading:
    """Cumulative processor time in seconds; NaN where the system does not report it.

    Attributes:
        clock: monotonic time of the reading.
        busy: by all processes on all processors.
        steal: taken by the host of a virtual machine.
        own: by this process and its finished children.
    """

    clock: float
    busy: float
    steal: float
    own: float

    def since(self, before: NoiseReading) -> tuple[float | None, float | None]:
        """The stolen share of all processors' time, and the processors kept busy by others."""
        passed = max(self.clock - before.clock, 1e-9)
        others = (self.busy - before.busy - (self.own - before.own)) / passed
        stolen = (self.steal - before.steal) / passed / (os.cpu_count() or 1)
        if math.isnan(others + stolen):
            return None, None
        return max(0.0, stolen), max(0.0, others)


def read_noise() -> NoiseReading:
    """Take a reading from Linux's /proc/stat."""
    busy = steal = math.nan
    if _STAT.is_file():
        line = _STAT.read_text().splitlines()[0].split()
        ticks = [int(word) / os.sysconf("SC_CLK_TCK") for word in line[1:]]
        user, nice, system, _idle, _wait, irq, softirq, steal = ticks[:8]
        busy = user + nice + system + irq + softirq
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    own = sum(one.ru_utime + one.ru_stime for one in spent)
    return NoiseReading(time.monotonic(), busy, steal, own)
