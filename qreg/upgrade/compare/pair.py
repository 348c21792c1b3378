"""What both sides made and ran of a case, as it is given to the comparison."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from qreg.records.baseline import Snapshot
from qreg.records.case import Case
from qreg.upgrade.compare.arrays import Array, Arrays
from qreg.upgrade.records import ObserverRecord


@dataclass(frozen=True, eq=False)
class SideResult:
    """What a side made of a case, and how it ran there.

    Attributes:
        failure: why it could not be made or run, "" where it could.
        written: kinds of artifacts, each with the reason for not being written, or "".
    """

    failure: str = ""
    unavailable: bool = False
    snapshot: Snapshot | None = None
    seen: tuple[ObserverRecord, ...] = ()
    state: Arrays | None = None
    layers: Arrays | None = None
    written: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, eq=False)
class CrossRun:
    """What a side ran of both sides' states, and of the files that A wrote.

    Attributes:
        failed: "control", "carried" and kinds of artifacts, each with how it failed, or "".
        layers, logits: of "control" (its own state, carried like the other's) and "carried".
        loaded: logits of the first images, of each kind of artifact.
    """

    failed: Mapping[str, str]
    layers: Mapping[str, Arrays]
    logits: Mapping[str, Array]
    loaded: Mapping[str, Array]


@dataclass(frozen=True, eq=False)
class CasePair:
    """One case on both sides; A is the baseline, and the first.

    Attributes:
        inspections: for A's state and B's, the outputs of every layer on images whose logits
            moved, run by the side that quantized it and by the other; None where not needed.
    """

    case: Case
    names: tuple[str, str]
    results: tuple[SideResult, SideResult]
    cross_runs: tuple[CrossRun, CrossRun]
    inspections: tuple[tuple[Arrays, Arrays] | None, tuple[Arrays, Arrays] | None] = (None, None)
