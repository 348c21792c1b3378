"""Dividing work that is shared by processes or machines."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

T = TypeVar("T")
# So many units at least go on together where a machine was lost.
_TOGETHER = 4


def even_parts(units: Sequence[T], count: int) -> list[Sequence[T]]:
    """`count` parts of nearly equal length in the order of the units, none of them empty."""
    parts = min(count, len(units))
    ends = [len(units) * part // parts for part in range(parts + 1)] if parts else []
    return [units[start:end] for start, end in pairwise(ends)]


def parts_of(units: Sequence[T], room: int) -> list[Sequence[T]]:
    """What a lost machine had left, in parts: it comes last, and all machines are to end then.

    Pieces that one process does after the other share some work, so not each alone.
    """
    return even_parts(units, max(1, min(room, len(units) // _TOGETHER)))
