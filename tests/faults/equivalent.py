"""Mutants of the oracle that compute the same, each with the reason.

Keyed by file, line and the change, so that an edit of the oracle brings them up again.
"""

from __future__ import annotations

EQUIVALENT: dict[tuple[str, int, str, str], str] = {
    (
        "rounding.py",
        59,
        "Fraction(2) ** exponent > size",
        "Fraction(2) ** exponent >= size",
    ): "a power of two is a multiple of the wider and of the narrower quantum",
}
