"""Changes to baselines: proposed, shown, and approved before anything is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from qreg import __version__
from qreg.baselines.applicable import same_environment
from qreg.records.baseline import Approval, Baseline, Replaced, Snapshot
from qreg.records.case import Case, Environment
from qreg.records.score import Score
from qreg.records.verdict import Check, Outcome, Verdict

#: Versions recorded in a baseline that do not affect its bits.
PROVENANCE = ("torch", "torchvision", "torchao", "python", "numpy")


class Category(Enum):
    """The kind of a change."""

    CREATE = "create"
    FIX = "fix"
    UPDATE = "update"
    TRIM = "trim"


@dataclass(frozen=True)
class Proposal:
    """One proposed change.

    Attributes:
        case: None where an orphan is removed.
        reason: why it is proposed.
        verdict: on the new measurement; None for a removal.
        now: the new measurement.
        before: the baseline it was judged by.
        replaces: whether `before` is of this environment and is replaced.
        orphan: the unused file to remove.
    """

    category: Category
    case: Case | None
    reason: str
    verdict: Verdict | None = None
    now: Snapshot | None = None
    before: Baseline | None = None
    replaces: bool = False
    orphan: Path | None = None

    @property
    def regressed(self) -> bool:
        """Whether it must be accepted explicitly."""
        if self.verdict is None:
            return False
        # other weights are another model, and it may not be a worse one without a word
        accuracy = (f for f in self.verdict.findings if f.check is Check.ACCURACY)
        worse = any(finding.outcome is Outcome.REGRESSED for finding in accuracy)
        return worse or self.verdict.outcome is Outcome.REGRESSED


def propose(now: Snapshot, before: Baseline | None, verdict: Verdict) -> Proposal | None:
    """The change that makes `now` the baseline of its environment; None where nothing differs.

    Args:
        before: the baseline of `verdict`, None where the case has none.
    """
    if before is None:
        return Proposal(Category.CREATE, now.case, "no baseline yet", verdict, now)
    if not same_environment(before.snapshot.environment, now.environment):
        reason = verdict.basis.reason if verdict.basis else "none of this environment"
        return Proposal(Category.CREATE, now.case, reason, verdict, now, before)
    category, reason = Category.FIX, _worst(verdict)
    if verdict.outcome is Outcome.PASS:
        category, reason = Category.UPDATE, _provenance(before, now.environment)
    if not reason:
        return None
    return Proposal(category, now.case, reason, verdict, now, before, replaces=True)


def trims(
    stored: Iterable[Case], known: Callable[[Case], bool], orphans: Iterable[Path]
) -> tuple[Proposal, ...]:
    """Possible removals: files of unknown cases, and unused sidecars."""
    unknown = "unknown dataset, model, method or engine"
    gone = (Proposal(Category.TRIM, case, unknown) for case in stored if not known(case))
    unused = "not used by any baseline"
    return (*gone, *(Proposal(Category.TRIM, None, unused, orphan=path) for path in orphans))


def replaced(now: Snapshot, before: Baseline, outcome: Outcome) -> Replaced:
    """What an approval of `now` replaces, on the samples with identical content."""
    # imports scipy, which showing baselines does not need
    from qreg.stats.mcnemar import mcnemar

    if now.score is not None and before.snapshot.score is not None:
        return _replaced_score(now.score, before.snapshot.score, outcome)
    new, old = _by_image(now), _by_image(before.snapshot)
    both = [(key[1], old[key], new[key]) for key in old if key in new]
    won = sum(then != label == after for label, then, after in both)
    lost = sum(after != label == then for label, then, after in both)
    correct = sum(then == label for label, then, _ in both)
    return Replaced(
        outcome=outcome,
        correct=correct,
        new_correct=correct + won - lost,
        total=len(both),
        flips=sum(then != after for _, then, after in both),
        p_value=mcnemar(won, lost),
    )


def _replaced_score(now: Score, before: Score, outcome: Outcome) -> Replaced:
    """Of a task: no sample is right or wrong, and flips are scores that moved."""
    from qreg.checks.score import score_change
    from qreg.tasks import whole_set_summary

    if now.task != before.task or not set(now.index) & set(before.index):
        return Replaced(outcome, correct=0, new_correct=0, total=0, flips=0, p_value=1.0)
    found = score_change(now, before, alpha=0.05, summarize=whole_set_summary(now))
    return Replaced(
        outcome=outcome,
        correct=0,
        new_correct=0,
        total=found.total,
        flips=found.worse + found.better,
        p_value=min(1.0, 2 * min(found.p_value, found.p_better)),
    )


def approved(change: Proposal, *, reason: str, date: str, commit: str) -> Baseline:
    """The baseline that an approved change writes.

    Raises:
        ValueError: it removes something, or the reason is blank.
    """
    if change.now is None or change.verdict is None or not reason.strip():
        raise ValueError(f"{change.category.value} of {change.case} for the reason {reason!r}")
    before, outcome = change.before, change.verdict.outcome
    approval = Approval(
        reason=reason.strip(),
        date=date,
        commit=commit,
        qreg=__version__,
        replaced=replaced(change.now, before, outcome) if before else None,
    )
    earlier = before.history if before and change.replaces else ()
    return Baseline(change.now, (*earlier, approval))


def _by_image(snapshot: Snapshot) -> dict[tuple[int, int, int], int]:
    """Predictions by index, label and digest."""
    seen = snapshot.numerics.images
    none = (0,) * len(seen.index)  # of a task without labels, or without predictions
    images = zip(seen.index, seen.labels or none, seen.digests, strict=True)
    return dict(zip(images, snapshot.predictions or none, strict=True))


def _worst(verdict: Verdict) -> str:
    for found in verdict.findings:
        where = f" in {found.where}" if found.where else ""
        return f"{found.check.value}{where}: expected {found.expected}, observed {found.observed}"
    return verdict.outcome.value


def _provenance(before: Baseline, now: Environment) -> str:
    """The versions that differ from the recorded ones, as text; "" where none do."""
    then = before.snapshot.environment
    pairs = [("qreg", before.history[-1].qreg, __version__)]
    pairs += [(name, getattr(then, name), getattr(now, name)) for name in PROVENANCE]
    return ", ".join(
        f"recorded with {name} {old or 'absent'}, now {new or 'absent'}"
        for name, old, new in pairs
        if old != new
    )
