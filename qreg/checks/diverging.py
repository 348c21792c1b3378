"""Where the layers of a case part from the float model's: the first one, and the largest fall."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from qreg.records.detail import LayerSqnr

#: Floats that differ in rounding alone: what a float export keeps of float32's 150 dB in depth.
ROUNDING_DB = 90.0


@dataclass(frozen=True)
class Divergence:
    """Layers of a case that differ from the float model's by more than rounding.

    Attributes:
        first: the first of them in execution order, and its SQNR in dB.
        fall: the layer that loses most to the one before it, with both SQNRs; None where none does.
    """

    first: tuple[str, float]
    fall: tuple[str, float, float] | None


def divergence(layers: Sequence[LayerSqnr]) -> Divergence | None:
    """Where layers diverge; None where none does by more than rounding."""
    known = [(layer.name, layer.now) for layer in layers if layer.now is not None]
    first = next(((name, db) for name, db in known if db < ROUNDING_DB), None)
    if first is None:
        return None
    falls = [
        (baseline - observed, name, baseline, observed)
        for (_, baseline), (name, observed) in pairwise(known)
        if baseline < ROUNDING_DB and baseline > observed
    ]
    return Divergence(first, max(falls)[1:] if falls else None)
