"""History entries from a finished run, and whether a change between two of them can be checked."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from qreg.git import current_commit
from qreg.speed.compare.rule import SequentialPlan
from qreg.speed.compare.verdicts import complaints
from qreg.speed.history.change_points import ChangePoint
from qreg.speed.records import HistoryEntry, SpeedRun

# What may be given to git, and to nothing else: an entry is a file that anybody may have written.
_COMMIT = re.compile(r"[0-9a-f]{7,64}(-dirty)?|")


def history_entries(
    run: SpeedRun, plan: SequentialPlan, project: Path, *, time: str
) -> tuple[HistoryEntry, ...]:
    """A history entry for each case with all its pairs."""
    commit = run.candidate.commit or current_commit(project)
    return tuple(
        HistoryEntry(
            time=time,
            case=verdict.case,
            commit=commit,
            reference=run.baseline.commit or run.baseline.python,
            environment=run.candidate.environment,
            change=verdict.speed.change,
            low=verdict.speed.low,
            high=verdict.speed.high,
            pairs=verdict.speed.pairs,
            candidate_ms=verdict.candidate_ms,
            noisy=complaints(run.noise),
            batch=run.batch,
        )
        for verdict in run.verdicts
        if verdict.speed and verdict.speed.pairs == plan.pairs
    )


def why_not_confirmed(change: ChangePoint) -> str:
    """Why a change cannot be checked by comparing its two commits; "" if it can."""
    before, after = change.before, change.after
    odd = [one.commit for one in (before, after) if not _COMMIT.fullmatch(one.commit)]
    names = [
        f"{one.name} {old} -> {new}"
        for one in fields(before.environment)
        if (old := getattr(before.environment, one.name))
        != (new := getattr(after.environment, one.name))
    ]
    if any(odd):
        return f"an entry's commit is none: {odd[0]!r}"
    if names:
        return f"the environment changed too ({', '.join(names)}); compare interpreters instead"
    if "" in (before.commit, after.commit) or before.commit.endswith("-dirty"):
        return "an entry was recorded outside git or with uncommitted changes"
    if after.commit.endswith("-dirty"):
        return "the later entry was recorded with uncommitted changes"
    return "both entries are of the same commit" if before.commit == after.commit else ""
