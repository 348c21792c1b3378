"""Mutants of the oracle that compute the same, each with the reason.

Keyed by file, line and the change, so that an edit of the oracle brings them up again.
"""

from __future__ import annotations

EQUIVALENT: dict[tuple[str, int, str, str], str] = {}
