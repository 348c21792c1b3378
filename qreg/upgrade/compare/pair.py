"""The results of both sides for a case: the input of the comparison."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from qreg.records.baseline import Snapshot
from qreg.records.case import Case
from qreg.upgrade.compare.arrays import Array, Arrays
from qreg.upgrade.records import ObserverRecord


@dataclass(frozen=True, eq=False)
class SideResult:
    """A case as quantized and run by one side.

    Attributes:
        failure: why it could not be built or run, "" where it could.
        lacks: the package that is missing on this side, "" where none is.
        of_file: it has no state to pass on: both sides load the same file, or export the model.
        written: kinds of artifacts, each with the reason why it could not be written, or "".
    """

    failure: str = ""
    unavailable: bool = False
    lacks: str = ""
    snapshot: Snapshot | None = None
    observers: tuple[ObserverRecord, ...] = ()
    state: Arrays | None = None
    layers: Arrays | None = None
    written: tuple[tuple[str, str], ...] = ()
    of_file: bool = False


@dataclass(frozen=True, eq=False)
class CrossRun:
    """Both sides' states, and the files written by A, as run by one side.

    Attributes:
        failed: "control", "carried" and kinds of artifacts, each with how it failed, or "".
        layers, logits: of "control" (its own state, reloaded like the other's) and "carried" (the
            other side's).
        loaded: logits of the first samples, for each kind of artifact.
    """

    failed: Mapping[str, str]
    layers: Mapping[str, Arrays]
    logits: Mapping[str, Array]
    loaded: Mapping[str, Array]


@dataclass(frozen=True, eq=False)
class CasePair:
    """One case on both sides; A, the baseline, comes first.

    Attributes:
        inspections: for A's state and B's, the outputs of every layer on images whose logits
            moved, run by the side that quantized it and by the other; None where not needed.
    """

    case: Case
    names: tuple[str, str]
    results: tuple[SideResult, SideResult]
    cross_runs: tuple[CrossRun, CrossRun]
    inspections: tuple[tuple[Arrays, Arrays] | None, tuple[Arrays, Arrays] | None] = (None, None)
