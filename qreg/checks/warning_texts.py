"""Warnings against the baseline's: distinct texts, not how often."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from qreg.records.verdict import Check, Finding, Outcome


def judge_warnings(observed: Sequence[str], baseline: Sequence[str]) -> Iterator[Finding]:
    """A new text is REGRESSED, a missing one IMPROVED."""
    more, fewer = sorted(set(observed) - set(baseline)), sorted(set(baseline) - set(observed))
    if more or fewer:
        yield Finding(
            check=Check.WARNINGS,
            outcome=Outcome.REGRESSED if more else Outcome.IMPROVED,
            expected=f"{len(set(baseline))} distinct texts",
            observed=f"{len(more)} new, {len(fewer)} gone",
            allowed="the same texts",
            where="; ".join(text[:120] for text in (more or fewer)[:2]),
        )
