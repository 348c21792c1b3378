"""Changed files of every kind, always the same ones; `tests.robustness.mutations` makes more."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.robustness.kinds import Kind, kinds
from tests.robustness.mutations import WRONG, mutate

_EACH = pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.name)


@_EACH
def test_one(kind: Kind) -> None:
    _check(kind, 1)


@pytest.mark.slow
@_EACH
def test_a_few(kind: Kind) -> None:
    _check(kind, 2)


@pytest.mark.slow
@_EACH
def test_a_hundred(kind: Kind) -> None:
    _check(kind, 100)


def _check(kind: Kind, count: int) -> None:
    found = mutate(kind, count, number=0)
    assert len(found) == count or kind.name == "history: SQL schemas"
    wrong = Counter(f"{one.outcome}: {one.text}" for one in found if one.outcome in WRONG)
    assert not wrong
