"""Dividing work that is shared by processes or machines."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

T = TypeVar("T")


def even_parts(units: Sequence[T], count: int) -> list[Sequence[T]]:
    """`count` parts of nearly equal length in the order of the units, none of them empty."""
    parts = min(count, len(units))
    ends = [len(units) * part // parts for part in range(parts + 1)] if parts else []
    return [units[start:end] for start, end in pairwise(ends)]
