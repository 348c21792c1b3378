"""Mean average precision of detections, from rows that one sample contributes each.

A row is a flat list of triples, padded with NaN. A detection is (class, score, hits): `hits` has
bit t set where it is a true positive at `IOUS[t]`. The objects of a class are
(class, 0, -count). Which detection finds which object is settled within a sample, so that rows of
different models can be exchanged sample by sample and the summary computed again.

Source: Lin et al., "Microsoft COCO: common objects in context" (2014), as in pycocotools: at most
100 detections a sample, precision at 101 recalls, mean over 10 thresholds and the classes that
have objects.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

#: Thresholds of intersection over union from which a box counts as found.
IOUS = tuple(np.linspace(0.5, 0.95, 10).round(2).tolist())
#: Detections that are counted, a sample and a class.
MOST = 100
_RECALLS = np.linspace(0, 1, 101)


def match(
    boxes: Array, scores: Array, labels: Array, true_boxes: Array, true_labels: Array
) -> Array:
    """The row of one sample (K,).

    In order of their scores, detections take the free object of their class that they overlap
    most, if they do enough.

    Args:
        boxes: (D, 4), x1 y1 x2 y2, with scores (D,) and labels (D,).
        true_boxes: (G, 4), with labels (G,).
    """
    triples: list[tuple[float, float, float]] = []
    for label in np.union1d(labels, true_labels):
        chosen = np.flatnonzero(labels == label)
        chosen = chosen[np.argsort(-scores[chosen], kind="stable")][:MOST]
        objects = true_boxes[true_labels == label]
        if len(objects):
            triples.append((float(label), 0.0, -float(len(objects))))
        hits = _hits(iou(boxes[chosen], objects))
        triples += [
            (float(label), float(scores[which]), float(bits))
            for which, bits in zip(chosen, hits, strict=True)
        ]
    return np.array(triples, dtype=np.float64).reshape(-1)


def _hits(overlaps: Array) -> list[int]:
    """For each detection (D, G) in order, the thresholds at which it finds an object, as bits."""
    bits = [0] * len(overlaps)
    for number, threshold in enumerate(IOUS):
        free = np.ones(overlaps.shape[1], dtype=np.bool_)
        for row, found in enumerate(overlaps):
            if not free.any():
                break
            # the last of equals, as pycocotools takes it
            best = len(found) - 1 - int(np.argmax(np.where(free, found, -1.0)[::-1]))
            if found[best] >= threshold:
                free[best] = False
                bits[row] |= 1 << number
    return bits


def iou(boxes: Array, others: Array) -> Array:
    """Intersection over union of boxes (D, 4) with others (G, 4): (D, G)."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = (high - low).clip(min=0).prod(axis=2)
    union = _areas(boxes)[:, None] + _areas(others)[None] - shared
    overlaps: Array = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return overlaps


def _areas(boxes: Array) -> Array:
    areas: Array = (boxes[:, 2:] - boxes[:, :2]).clip(min=0).prod(axis=1)
    return areas


def mean_average_precision(rows: Array) -> float:
    """mAP of rows (N, K) as `match` makes them; 0 where there are no objects."""
    precisions = average_precisions(rows)
    return float(np.mean(list(precisions.values()))) if precisions else 0.0


def average_precisions(rows: Array) -> dict[int, float]:
    """Average precision by class, of the classes that have objects."""
    triples = rows.reshape(-1, 3)
    triples = triples[~np.isnan(triples[:, 0])]
    of_objects = triples[:, 2] < 0
    objects, found = triples[of_objects], triples[~of_objects]
    found = found[np.argsort(-found[:, 1], kind="stable")]
    bits = found[:, 2].astype(np.int64)
    hits = ((bits >> np.arange(len(IOUS))[:, None]) & 1).astype(np.bool_)
    return {
        int(label): _average_precision(
            hits[:, found[:, 0] == label], int(-objects[objects[:, 0] == label, 2].sum())
        )
        for label in np.unique(objects[:, 0])
    }


def _average_precision(hits: npt.NDArray[np.bool_], objects: int) -> float:
    """Mean over the thresholds of the interpolated precision; hits (T, D) by falling score."""
    thresholds, count = hits.shape
    if not count:
        return 0.0
    true = np.cumsum(hits, axis=1)
    precision = true / np.arange(1, count + 1)
    # the best precision at this recall or a higher one
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    # the fewest true positives of each recall, and where a threshold first has so many; the
    # thresholds are laid end to end for one search
    needed = np.searchsorted(np.arange(objects + 1) / objects, _RECALLS)
    apart = np.arange(thresholds)[:, None] * (count + objects + 1)
    places = np.searchsorted((true + apart).ravel(), needed + apart)
    rows = np.arange(thresholds)[:, None]
    at = places - rows * count
    padded = np.concatenate([precision, np.zeros((thresholds, 1))], axis=1)
    return float(np.mean(padded[rows, at]))
