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

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

#: Thresholds of intersection over union from which a box counts as found.
IOUS = tuple(np.linspace(0.5, 0.95, 10).round(2).tolist())
#: Detections that are counted, a sample and a class.
MOST = 100
_RECALLS = np.linspace(0, 1, 101)
# Numbers in an array when many sets are summarized at once: some megabytes.
_AT_ONCE = 1 << 19
Masks = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]


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


@dataclass(frozen=True)
class MeanAveragePrecision:
    """mAP of rows (N, K) as `match` makes them, times a number; 0 where there are no objects."""

    factor: float = 1.0

    def __call__(self, rows: Array) -> float:
        """The summary of a set."""
        precisions = average_precisions(rows)
        return self.factor * (float(np.mean(list(precisions.values()))) if precisions else 0.0)

    def times(self, factor: float) -> MeanAveragePrecision:
        """This summary times a number."""
        return MeanAveragePrecision(factor * self.factor)

    def exchanging(
        self, candidate: Array, reference: Array, moved: Rows
    ) -> Callable[[Masks], Array] | None:
        """See `qreg.stats.permutation.ManySets`; the same bits as set by set.

        The detections of both models are sorted once, and each set has some of them. That needs
        the same objects in both.
        """
        pool = _Pool.of(candidate, reference, moved)
        if pool is None:
            return None

        def exchanged(masks: Masks) -> Array:
            step = max(1, _AT_ONCE // max(1, pool.width))
            parts = [masks[at : at + step] for at in range(0, len(masks), step)]
            found = [
                self.factor * pool.of_first(p) - self.factor * pool.of_second(p) for p in parts
            ]
            return np.concatenate(found)

        return exchanged


#: mAP of rows (N, K).
mean_average_precision = MeanAveragePrecision()


@dataclass(frozen=True, eq=False)
class _OfClass:
    """The detections D of one class by both models, by falling score.

    Attributes:
        hits: at each threshold (T, D).
        moved: of which exchanged sample each is, counted among these (D,); -1 for another sample,
            whose detections are the same by both models.
        by_reference: by which model those of exchanged samples are (D,).
        objects: of the class.
    """

    hits: npt.NDArray[np.bool_]
    moved: Rows
    by_reference: npt.NDArray[np.bool_]
    objects: int

    def average_precisions(self, exchanged: Masks) -> Array:
        """Of M sets: those with the reference's detections of the exchanged samples (M, N)."""
        if not (self.moved >= 0).any():
            return np.full(len(exchanged), _average_precision(self.hits, self.objects))
        here = np.where(self.moved < 0, True, exchanged[:, self.moved] == self.by_reference)
        return _average_precisions_of_sets(self.hits, here, self.objects)


@dataclass(frozen=True)
class _Pool:
    """The detections of both models."""

    classes: tuple[_OfClass, ...]

    @classmethod
    def of(cls, candidate: Array, reference: Array, moved: Rows) -> _Pool | None:
        """None where the models were given different objects."""
        samples = np.arange(len(candidate))
        given, found = zip(*(_split(rows, samples) for rows in (candidate, reference)), strict=True)
        if not np.array_equal(*given) or (given[0][:, 1] % 1).any():
            return None
        place = np.full(len(candidate), -1)
        place[moved] = np.arange(len(moved))
        ours, theirs = found[0], found[1][place[found[1][:, 0].astype(np.int64)] >= 0]
        both = np.concatenate([ours, theirs])
        by_reference = np.arange(len(both)) >= len(ours)
        # as in one set: by falling score, then by sample, then as in its row
        order = np.lexsort((both[:, 0], -both[:, 2]))
        both, by_reference = both[order], by_reference[order]
        return cls(tuple(_classes(both, by_reference, place, given[0])))

    @property
    def width(self) -> int:
        """Numbers that one set needs in the largest array."""
        least = len(IOUS) * len(_RECALLS)
        one = (max(len(each.moved), each.objects, least) for each in self.classes)
        return max(one, default=0)

    def of_first(self, masks: Masks) -> Array:
        """mAP of M sets of the candidate's outcomes, but for the samples exchanged (M, N)."""
        if not self.classes:
            return np.zeros(len(masks))
        found = [each.average_precisions(masks) for each in self.classes]
        mean: Array = np.ascontiguousarray(np.stack(found, axis=1)).mean(axis=1)
        return mean

    def of_second(self, masks: Masks) -> Array:
        """The same of the reference's."""
        return self.of_first(~masks)


def _split(rows: Array, samples: Rows) -> tuple[Array, Array]:
    """Objects and detections, each with its sample in front (G, 4) and (D, 4)."""
    triples = rows.reshape(len(rows), -1, 3)
    numbered = np.concatenate(
        [np.broadcast_to(samples[:, None, None], (*triples.shape[:2], 1)), triples], axis=2
    ).reshape(-1, 4)
    numbered = numbered[~np.isnan(numbered[:, 1])]
    of_objects = numbered[:, 3] < 0
    return numbered[of_objects], numbered[~of_objects]


def _classes(
    found: Array, by_reference: npt.NDArray[np.bool_], place: Rows, objects: Array
) -> Iterator[_OfClass]:
    """The sorted detections (D, 4) by class."""
    moved = place[found[:, 0].astype(np.int64)]
    hits = _hits_of_bits(found[:, 3])
    for label in np.unique(objects[:, 1]):
        of_it = found[:, 1] == label
        count = int(-objects[objects[:, 1] == label, 3].sum())
        yield _OfClass(hits[:, of_it], moved[of_it], by_reference[of_it], count)


def _hits_of_bits(bits: Array) -> npt.NDArray[np.bool_]:
    """For each threshold, which detections are true positives (T, D)."""
    shifted = bits.astype(np.int64) >> np.arange(len(IOUS))[:, None]
    return (shifted & 1).astype(np.bool_)


def average_precisions(rows: Array) -> dict[int, float]:
    """Average precision by class, of the classes that have objects."""
    triples = rows.reshape(-1, 3)
    triples = triples[~np.isnan(triples[:, 0])]
    of_objects = triples[:, 2] < 0
    objects, found = triples[of_objects], triples[~of_objects]
    found = found[np.argsort(-found[:, 1], kind="stable")]
    hits = _hits_of_bits(found[:, 2])
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
    # where a threshold first has so many true positives; the thresholds are laid end to end for
    # one search
    needed = _needed(objects)
    apart = np.arange(thresholds)[:, None] * (count + objects + 1)
    places = np.searchsorted((true + apart).ravel(), needed + apart)
    rows = np.arange(thresholds)[:, None]
    at = places - rows * count
    padded = np.concatenate([precision, np.zeros((thresholds, 1))], axis=1)
    return float(np.mean(padded[rows, at]))


def _needed(objects: int) -> Rows:
    """The fewest true positives of each recall (R,)."""
    found: Rows = np.searchsorted(np.arange(objects + 1) / objects, _RECALLS)
    return found


def _average_precisions_of_sets(
    hits: npt.NDArray[np.bool_], here: npt.NDArray[np.bool_], objects: int
) -> Array:
    """`_average_precision` of M sets, each with some of the detections (M, D); the same bits.

    Only true positives matter: at any other detection precision is below that at the one before.
    """
    sets, needed = np.arange(len(here))[:, None], _needed(objects)
    rank = np.cumsum(here, axis=1)
    interpolated = np.zeros((len(here), len(hits), len(needed)))
    for number, threshold in enumerate(hits):
        chosen = np.flatnonzero(threshold)
        if not len(chosen):
            continue
        present = here[:, chosen]
        true = np.cumsum(present, axis=1)
        precision = np.zeros(present.shape)
        np.divide(true, rank[:, chosen], out=precision, where=present)
        best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        # the best precision from so many true positives on; a detection that is not in the set
        # says that of the next one
        by_count = np.zeros((len(here), max(len(chosen), objects) + 2))
        by_count[sets, true - present + 1] = best
        by_count[:, 0] = best[:, 0]
        interpolated[:, number] = by_count[:, needed]
    found: Array = interpolated.reshape(len(here), -1).mean(axis=1)
    return found
