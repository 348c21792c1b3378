from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from qreg.checks.samples import judge_images
from qreg.records.baseline import Snapshot
from qreg.records.numerics import Images
from qreg.records.verdict import Check, Outcome
from tests.unit.baselines import build
from tests.unit.checks import given

BEFORE = given.snapshot()
INCOMPARABLE, INCONCLUSIVE = Outcome.INCOMPARABLE, Outcome.INCONCLUSIVE


def _said(now: Snapshot, before: Snapshot = BEFORE) -> list[tuple[Check, Outcome]]:
    return given.said(judge_images(given.shared(now, before), now, before))


def test_rows_point_at_the_same_images_in_both() -> None:
    now, before = given.with_rows(BEFORE, [1, 4, 6, 30]), given.with_rows(BEFORE, [0, 4, 6, 31])
    shared = given.shared(now, before)
    assert shared.index.tolist() == [4, 6]
    assert shared.labels.tolist() == [4, 6]
    assert (shared.observed.tolist(), shared.expected.tolist()) == ([5, 6], [5, 6])
    assert (shared.observed_rows.tolist(), shared.baseline_rows.tolist()) == ([1, 2], [1, 2])
    assert shared.altered == 0


@pytest.mark.parametrize("column", ["labels", "digests"])
def test_altered_images_are_counted_and_cannot_be_compared(column: str) -> None:
    images = BEFORE.numerics.images
    altered = list(getattr(images, column))
    altered[3], altered[17] = altered[3] + 1, altered[17] + 1
    now = _with_images(replace(images, **{column: tuple(altered)}))
    shared = given.shared(now, BEFORE)
    assert shared.altered == 2
    (finding,) = judge_images(shared, now, BEFORE)
    assert finding.outcome is INCOMPARABLE
    assert finding.observed.startswith("2 of 40 ")


def _with_images(images: Images) -> Snapshot:
    right = sum(a == b for a, b in zip(BEFORE.predictions, images.labels, strict=True))
    return replace(BEFORE, correct=right, numerics=replace(BEFORE.numerics, images=images))


def test_no_image_in_common() -> None:
    assert _said(given.with_rows(BEFORE, [0, 1]), given.with_rows(BEFORE, [2, 3])) == [
        (Check.IMAGES, INCOMPARABLE)
    ]


@pytest.mark.parametrize(
    ("rows", "missing"),
    [
        ([*range(1, 40)], 1),  # the first
        ([*range(7), *range(8, 40)], 1),  # the last with logits
        ([*range(20), *range(23, 40)], 3),  # three in the middle
        ([*range(5)], 3),  # all after the fifth, of which three have logits
    ],
)
def test_missing_images_leave_the_judgement_open(rows: list[int], missing: int) -> None:
    now = given.with_rows(BEFORE, rows)
    (finding,) = judge_images(given.shared(now, BEFORE), now, BEFORE)
    assert (finding.check, finding.outcome) == (Check.IMAGES, INCONCLUSIVE)
    assert finding.observed == f"{missing} of them are missing"


def test_the_gates_images_of_a_whole_test_set_are_enough() -> None:
    assert _said(given.with_rows(BEFORE, [*range(8)])) == []


def test_new_images_are_no_finding() -> None:
    assert _said(BEFORE, given.with_rows(BEFORE, [*range(20)])) == []


def test_images_are_found_by_canonical_index_not_by_position() -> None:
    index = np.arange(40) * 7 + 3
    images = replace(build.images(), index=tuple(index.tolist()))
    before = given.with_numerics(BEFORE, images=images, disagreements=())
    assert given.shared(BEFORE, before).index.tolist() == [3, 10, 17, 24, 31, 38]
    assert given.shared(BEFORE, before).baseline_rows.tolist() == [0, 1, 2, 3, 4, 5]
