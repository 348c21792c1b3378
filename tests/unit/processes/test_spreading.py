"""Work in parts of nearly equal length."""

from __future__ import annotations

import pytest

from qreg.processes.spreading import even_parts, parts_of


@pytest.mark.parametrize(
    ("count", "parts", "sizes"),
    [(7, 2, [3, 4]), (7, 1, [7]), (3, 5, [1, 1, 1]), (0, 3, []), (4, 0, [])],
)
def test_parts_are_even_and_none_is_empty(count: int, parts: int, sizes: list[int]) -> None:
    found = even_parts(range(count), parts)
    assert [len(one) for one in found] == sizes
    assert [unit for part in found for unit in part] == list(range(count))[: sum(sizes)]


@pytest.mark.parametrize(
    ("count", "room", "sizes"),
    [(24, 2, [12, 12]), (9, 2, [4, 5]), (7, 2, [7]), (3, 5, [3]), (24, 100, [4] * 6), (9, 0, [9])],
)
def test_parts_are_even_and_not_too_small(count: int, room: int, sizes: list[int]) -> None:
    parts = parts_of(range(count), room)
    assert [len(one) for one in parts] == sizes
    assert [unit for part in parts for unit in part] == list(range(count))
