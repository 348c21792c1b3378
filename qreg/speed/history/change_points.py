"""Change points in a case's speed history: triggers, to be confirmed by the paired check."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qreg.errors import UnavailableError
from qreg.speed.records import HistoryEntry

#: Penalty for each change point, in units of the noise between entries; calibrated by
#: tests/speed/calibrate_penalty.py, whose table is in docs/evidence/speed.md: no clean series
#: alerts, and a trigger costs a paired check only.
PENALTY = 10.0
#: Minimum number of entries on each side of a change point: two may come from a noisy machine.
SEGMENT = 3
# Resolution of a measurement, as a share: equal entries would have no noise to scale by.
_FINEST = 1e-4


@dataclass(frozen=True)
class ChangePoint:
    """Where a case's speed changed.

    Attributes:
        before, after: an entry of each level, the second from the change: where a spike adjoins a
            step, the change point is off by one, and the entries next to it may be of one level.
        by: relative change of the median.
    """

    before: HistoryEntry
    after: HistoryEntry
    by: float


def change_points(values: Sequence[float], *, penalty: float = PENALTY) -> tuple[int, ...]:
    """Indices of the first value of each new level: PELT with the l1 cost, robust to spikes.

    Source: Killick, Fearnhead and Eckley, "Optimal detection of changepoints with a linear
    computational cost", JASA 107 (2012); as ruptures has it.

    Raises:
        UnavailableError: ruptures is not installed.
    """
    try:
        import ruptures
    except ImportError as error:
        hint = "install it with: pip install 'qreg[history]'"
        raise UnavailableError("change points need ruptures", hint=hint) from error
    if len(values) < 2 * SEGMENT:
        return ()
    series = np.asarray(values, dtype=np.float64)
    scaled = (series - np.median(series)) / _noise(series)
    search = ruptures.Pelt(model="l1", min_size=SEGMENT, jump=1).fit(scaled[:, None])
    return tuple(int(index) for index in search.predict(pen=penalty)[:-1])


def find_changes(entries: Sequence[HistoryEntry]) -> tuple[ChangePoint, ...]:
    """The change points in one case's history, the earliest first."""
    values = [entry.change for entry in entries]
    starts = change_points(values)
    bounds = (0, *starts, len(values))
    levels = [float(np.median(values[a:b])) for a, b in itertools.pairwise(bounds)]
    return tuple(
        ChangePoint(entries[at - 2], entries[at + 1], (1 + new) / (1 + old) - 1)
        for at, old, new in zip(starts, levels, levels[1:], strict=False)
    )


def _noise(series: npt.NDArray[np.float64]) -> float:
    """Standard deviation of an entry, from successive differences: unaffected by level shifts."""
    steps = np.abs(np.diff(series))
    return max(float(np.median(steps)) * 1.4826 / math.sqrt(2), _FINEST)
