"""Counting the correct predictions of a snapshot, which has a faster way for few classes."""

from __future__ import annotations

import operator

from hypothesis import given
from hypothesis import strategies as st

from qreg.records.baseline import _equal

_CLASSES = st.integers(0, 260)  # on both sides of what a byte holds


@given(st.lists(st.tuples(_CLASSES, _CLASSES)))
def test_pairs_are_counted_as_one_by_one(pairs: list[tuple[int, int]]) -> None:
    one, other = tuple(a for a, _ in pairs), tuple(b for _, b in pairs)
    assert _equal(one, other) == sum(map(operator.eq, one, other))


def test_what_has_no_labels_has_nothing_correct() -> None:
    assert _equal((1, 2, 300), ()) == 0
