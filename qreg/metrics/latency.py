"""Latency: milliseconds per sample, with the models' runs interleaved. Lower is better."""

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
    """Time `runs` in interleaved bursts, so that all experience the same noise.

    Each burst starts with `warm_up` untimed calls, because the previous model filled the caches.

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
    """Summarize times (rounds, calls) of batches of `batch_size`, and the speed-up."""
    per_sample = seconds.ravel() / batch_size * 1000
    low, middle, high = np.percentile(per_sample, (5, 50, 95))
    ratios = np.median(reference, axis=1) / np.median(seconds, axis=1)
    return Latency(
        batch_size=batch_size,
        threads=threads,
        calls=per_sample.size,
        median_ms=float(middle),
        p5_ms=float(low),
        p95_ms=float(high),
        speed_up=float(np.median(ratios)),
    )
