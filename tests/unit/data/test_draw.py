"""Which samples are drawn: the same ones on every platform, all classes among them."""

from __future__ import annotations

import numpy as np
import pytest

from qreg.data.arrays import ArraySamples
from qreg.data.draw import FIRST, RANDOM, STRATIFIED, Draw, missing_classes
from qreg.errors import QregError


def _samples(labels: np.ndarray, *, known: bool = True) -> ArraySamples:
    count = len(labels)
    values = {"": np.zeros((count, 1), np.float32)}
    return ArraySamples(values, {}, np.arange(count), labels if known else None)


PINNED_RANDOM, PINNED_STRATIFIED = [0, 367, 411, 504, 822], [209, 736, 854, 935, 996]
SORTED = np.repeat(np.arange(3), [900, 90, 10])


def test_sorted_classes_are_all_drawn_by_their_share() -> None:
    whole = _samples(SORTED)
    drawn = Draw(100).of(whole)
    assert drawn.labels is not None
    assert np.bincount(drawn.labels).tolist() == [90, 9, 1]
    assert missing_classes(drawn, whole) == ()
    assert missing_classes(Draw(100, FIRST).of(whole), whole) == (1, 2)


def test_every_class_is_there_where_the_draw_is_large_enough() -> None:
    drawn = Draw(3).of(_samples(SORTED))
    assert drawn.labels is not None
    assert drawn.labels.tolist() == [0, 1, 2]


def test_the_draw_is_pinned() -> None:
    """Other indices would be other baselines."""
    assert Draw(5, RANDOM).of(_samples(SORTED)).index.tolist() == PINNED_RANDOM
    assert Draw(5, STRATIFIED, seed=1).of(_samples(SORTED)).index.tolist() == PINNED_STRATIFIED


def test_labels_that_are_not_known_are_drawn_at_random() -> None:
    drawn = Draw(50).of(_samples(SORTED, known=False))
    assert drawn.index.tolist() == Draw(50, RANDOM).of(_samples(SORTED)).index.tolist()


def test_a_subset_of_the_indices_draws_by_index_and_not_by_position() -> None:
    whole = _samples(SORTED)
    chosen = set(Draw(500, RANDOM).of(whole).index.tolist())
    part = whole.take([i for i in range(1000) if i % 7])
    assert len(chosen & set(Draw(425, RANDOM).of(part).index.tolist())) > 400


def test_first_goes_by_canonical_index() -> None:
    part = _samples(np.zeros(100, np.int64)).take(range(40, 100))
    assert Draw(50, FIRST).of(part).index.tolist() == list(range(40, 50))
    assert Draw(20, FIRST).of(part).index.tolist() == list(range(40, 60))


@pytest.mark.parametrize("size", [1, 7, 100, 999, 1000, 5000])
def test_as_many_as_asked_for(size: int) -> None:
    drawn = Draw(size).of(_samples(SORTED))
    assert len(drawn) == min(size, 1000)
    assert (np.diff(drawn.index) > 0).all()


@pytest.mark.parametrize("bad", [{"size": 0}, {"size": 5, "how": "best"}, {"size": 5, "seed": -1}])
def test_what_is_no_draw(bad: dict[str, object]) -> None:
    with pytest.raises(QregError):
        Draw(**bad)  # type: ignore[arg-type]


def test_what_is_recorded() -> None:
    assert Draw(5, FIRST).rule == ""
    assert Draw(5).rule == "stratified, seed 0"
