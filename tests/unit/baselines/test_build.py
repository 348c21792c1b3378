from __future__ import annotations

from tests.unit.baselines import build


def test_what_is_built_is_the_same_each_time_and_differs_by_seed() -> None:
    assert build.baseline() == build.baseline()
    assert build.snapshot(seed=1) != build.snapshot()
    assert build.snapshot(wrong=7).correct == build.snapshot().correct - 2
