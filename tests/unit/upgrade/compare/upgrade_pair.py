"""Both sides of a case, made without torch, for what compares them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from qreg.records.numerics import Logits
from qreg.upgrade.compare.pair import CasePair, CrossRun, SideResult
from qreg.upgrade.records import ObserverRecord
from tests.unit.baselines import build

SNAPSHOT = build.snapshot()
STATE = {
    ("conv1", "weight scale"): np.array([0.5, 0.25], dtype=np.float32),
    ("conv1", "weight codes"): np.arange(6, dtype=np.int8).reshape(2, 3),
    ("conv1", "scale"): np.array(0.125),
}
LAYERS = {
    ("quant", "output"): np.arange(8, dtype=np.uint8),
    ("conv1", "output"): np.arange(8, dtype=np.uint8) + 3,
}
OBSERVERS = (
    ObserverRecord("quant.activation_post_process", "HistogramObserver", "aa", (0.5,), (3,)),
    ObserverRecord("conv1.activation_post_process", "HistogramObserver", "bb", (0.25,), (0,)),
    ObserverRecord("", "PerChannelMinMaxObserver", "cc", (0.5, 0.25), (0, 0)),
)
KINDS = ("state dict", "TorchScript", "exported program")


def logits(snapshot: Any = SNAPSHOT) -> Any:
    found: Logits = snapshot.numerics.logits
    return np.frombuffer(found.values, dtype="<f4").reshape(found.count, found.classes).copy()


def results(**changes: Any) -> SideResult:
    """A side's; of `changes` those of Made."""
    found = SideResult(
        snapshot=SNAPSHOT,
        observers=OBSERVERS,
        state=STATE,
        layers=LAYERS,
        written=tuple((kind, "") for kind in KINDS),
    )
    return replace(found, **changes)


def cross_runs(**changes: Any) -> CrossRun:
    """Runs that are all as they should be."""
    found = CrossRun(
        failed=dict.fromkeys(("control", "carried", *KINDS), ""),
        layers={"control": LAYERS, "carried": LAYERS},
        logits={"control": logits(), "carried": logits()},
        loaded={kind: logits()[:8] for kind in KINDS},
    )
    return replace(found, **changes)


def pair(
    a: SideResult | None = None,
    b: SideResult | None = None,
    *,
    on_a: CrossRun | None = None,
    on_b: CrossRun | None = None,
) -> CasePair:
    """A case under versions 1 and 2."""
    both = (a or results(), b or results()), (on_a or cross_runs(), on_b or cross_runs())
    return CasePair(SNAPSHOT.case, ("1", "2"), *both)


def moved(arrays: Mapping[Any, Any], place: Any, step: Any = 1) -> dict[Any, Any]:
    """The same arrays with the last value of one moved."""
    found = {name: np.array(array, copy=True) for name, array in arrays.items()}
    found[place].reshape(-1)[-1:] += np.asarray(step, dtype=found[place].dtype)
    return found
