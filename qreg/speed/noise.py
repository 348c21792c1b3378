"""How busy the machine is beside what is timed."""

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
    """Processor time until now, in seconds; NaN where the system does not say.

    Attributes:
        busy: of all processes, of all processors.
        steal: that the host took away.
        own: of this process and its children that have ended.
    """

    clock: float
    busy: float
    steal: float
    own: float

    def since(self, before: NoiseReading) -> tuple[float | None, float | None]:
        """Share of all processors' time that was stolen; processors that others kept busy."""
        passed = max(self.clock - before.clock, 1e-9)
        others = (self.busy - before.busy - (self.own - before.own)) / passed
        stolen = (self.steal - before.steal) / passed / (os.cpu_count() or 1)
        if math.isnan(others + stolen):
            return None, None
        return max(0.0, stolen), max(0.0, others)


def read_noise() -> NoiseReading:
    """A reading, from Linux's /proc/stat."""
    busy = steal = math.nan
    if _STAT.is_file():
        line = _STAT.read_text().splitlines()[0].split()
        ticks = [int(word) / os.sysconf("SC_CLK_TCK") for word in line[1:]]
        user, nice, system, _idle, _wait, irq, softirq, steal = ticks[:8]
        busy = user + nice + system + irq + softirq
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    own = sum(one.ru_utime + one.ru_stime for one in spent)
    return NoiseReading(time.monotonic(), busy, steal, own)
