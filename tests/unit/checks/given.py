"""Pairs of snapshots for the tests of verdicts: `tests/unit/baselines/build.py` with one change."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from qreg.checks.samples import Shared, shared_images
from qreg.checks.verdict import judge
from qreg.quantization import METHODS
from qreg.records.baseline import Snapshot
from qreg.records.numerics import Images, Logits
from qreg.records.verdict import Basis, Check, Finding, Outcome, Verdict
from qreg.stats.holm import family_alpha
from tests.unit.baselines import build

EXACT = Basis(exact=True, reason="same environment: judged bit by bit")
LOOSE = Basis(exact=False, reason="another environment: judged statistically")
#: The level of each test in a run of one case.
ALPHA = family_alpha(1)
NEWER = replace(build.ENVIRONMENT, torch="2.15.0+cpu")


def snapshot(**changes: Any) -> Snapshot:
    """A snapshot of a model that survives saving and loading."""
    return with_numerics(build.snapshot(**changes), reloaded=build.hexadecimal("single", 0))


def with_numerics(found: Snapshot, **changes: Any) -> Snapshot:
    return replace(found, numerics=replace(found.numerics, **changes))


def with_layer(found: Snapshot, position: int, **changes: Any) -> Snapshot:
    layers = list(found.numerics.layers)
    layers[position] = replace(layers[position], **changes)
    return with_numerics(found, layers=tuple(layers))


def with_predictions(found: Snapshot, predictions: tuple[int, ...]) -> Snapshot:
    labels = found.numerics.images.labels
    correct = sum(a == b for a, b in zip(predictions, labels, strict=True))
    return replace(found, predictions=predictions, correct=correct)


def with_logits(found: Snapshot, values: Any) -> Snapshot:
    """`values`: (count, classes)."""
    array = np.asarray(values, dtype="<f4")
    return with_numerics(found, logits=Logits(*array.shape, array.tobytes()))


def logits(found: Snapshot) -> np.ndarray[Any, np.dtype[np.float32]]:
    kept = found.numerics.logits
    return np.frombuffer(kept.values, "<f4").reshape(kept.count, kept.classes).copy()


def with_rows(found: Snapshot, rows: list[int]) -> Snapshot:
    """Only these images: index, labels, digests, predictions, logits and disagreements."""
    seen = found.numerics.images
    index, labels, digests = (
        tuple(column[row] for row in rows) for column in (seen.index, seen.labels, seen.digests)
    )
    kept = [row for row in rows if row < found.numerics.logits.count]
    less = with_logits(found, logits(found)[kept]) if kept else found
    numerics = replace(
        less.numerics,
        images=Images(index, labels, digests),
        disagreements=tuple(i for i in found.numerics.disagreements if i in index),
    )
    predictions = tuple(found.predictions[row] for row in rows)
    correct = sum(a == b for a, b in zip(predictions, labels, strict=True))
    return replace(found, predictions=predictions, correct=correct, numerics=numerics)


def shared(now: Snapshot, before: Snapshot) -> Shared:
    return shared_images(now, before)


def verdict(
    now: Snapshot,
    before: Snapshot,
    basis: Basis = EXACT,
    *,
    alpha: float = ALPHA,
) -> Verdict:
    return judge(
        now,
        build.baseline(before),
        basis,
        METHODS.info(now.case.method),
        alpha=alpha,
        summarize=ratio if now.score and now.score.rows else None,
    )


def ratio(rows: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    """The summary of `build.score`."""
    return float(rows[:, 0].sum() / rows[:, 1].sum())


def said(findings: Any) -> list[tuple[Check, Outcome]]:
    """What findings are about and say, of a verdict or an iterator."""
    found: tuple[Finding, ...] = tuple(getattr(findings, "findings", findings))
    return [(finding.check, finding.outcome) for finding in found]
