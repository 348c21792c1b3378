"""Latency: milliseconds per image, models run in turn. Lower is better."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from qreg.records.measurement import Latency

Seconds = npt.NDArray[np.float64]


def time_interleaved(
    runs: Sequence[Callable[[], object]],
    *,
    rounds: int,
    calls: int,
    warm_up: int,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Seconds]:
    """Call each of `runs` in bursts, round after round, so that all see the same noise.

    Each burst begins with `warm_up` calls that are not timed: the models before it have taken
    the caches.

    Returns:
        list: for each run, seconds (rounds, calls).
    """
    seconds = [np.empty((rounds, calls)) for _ in runs]
    for turn in range(rounds):
        for run, times in zip(runs, seconds, strict=True):
            for _ in range(warm_up):
                run()
            for call in range(calls):
                start = clock()
                run()
                times[turn, call] = clock() - start
    return seconds


def latency(seconds: Seconds, reference: Seconds, *, batch_size: int, threads: int) -> Latency:
    """Summarize times (rounds, calls) of batches of `batch_size`, beside the reference's."""
    per_image = seconds.ravel() / batch_size * 1000
    low, middle, high = np.percentile(per_image, (5, 50, 95))
    ratios = np.median(reference, axis=1) / np.median(seconds, axis=1)
    return Latency(
        batch_size=batch_size,
        threads=threads,
        calls=per_image.size,
        median_ms=float(middle),
        p5_ms=float(low),
        p95_ms=float(high),
        speed_up=float(np.median(ratios)),
    )
