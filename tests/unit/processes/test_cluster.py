"""What a lost machine had left is shared by the machines that are there."""

from __future__ import annotations

import pytest

from qreg.processes.cluster import parts_of


@pytest.mark.parametrize(
    ("count", "room", "sizes"),
    [(24, 2, [12, 12]), (9, 2, [4, 5]), (7, 2, [7]), (3, 5, [3]), (24, 100, [4] * 6), (9, 0, [9])],
)
def test_parts_are_even_and_not_too_small(count: int, room: int, sizes: list[int]) -> None:
    parts = parts_of(range(count), room)
    assert [len(one) for one in parts] == sizes
    assert [unit for part in parts for unit in part] == list(range(count))
