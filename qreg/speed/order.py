"""Which side runs first in which pair."""

from __future__ import annotations

import random
from collections.abc import Iterator


def pair_orders(seed: int) -> Iterator[str]:
    """Endless "AB" and "BA", A being the baseline, in blocks of one each in random order.

    A block takes out what changes slowly, and the randomness what comes at regular times.
    """
    generator = random.Random(seed)
    while True:
        block = ["AB", "BA"]
        generator.shuffle(block)
        yield from block
