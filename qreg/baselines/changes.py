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
        observed: the new measurement.
        baseline: the baseline it was judged by.
        replaces: whether `baseline` is of this environment and is replaced.
        orphan: the unused file to remove.
    """

    category: Category
    case: Case | None
    reason: str
    verdict: Verdict | None = None
    observed: Snapshot | None = None
    baseline: Baseline | None = None
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


def propose(observed: Snapshot, baseline: Baseline | None, verdict: Verdict) -> Proposal | None:
    """The change that makes `observed` the baseline of its environment; None where nothing differs.

    Args:
        baseline: that of `verdict`, None where the case has none.
    """
    if baseline is None:
        return Proposal(Category.CREATE, observed.case, "no baseline yet", verdict, observed)
    if not same_environment(baseline.snapshot.environment, observed.environment):
        reason = verdict.basis.reason if verdict.basis else "none of this environment"
        return Proposal(Category.CREATE, observed.case, reason, verdict, observed, baseline)
    category, reason = Category.FIX, _worst(verdict)
    if verdict.outcome is Outcome.PASS:
        category, reason = Category.UPDATE, _provenance(baseline, observed.environment)
    if not reason:
        return None
    return Proposal(category, observed.case, reason, verdict, observed, baseline, replaces=True)


def trims(
    stored: Iterable[Case], known: Callable[[Case], bool], orphans: Iterable[Path]
) -> tuple[Proposal, ...]:
    """Possible removals: files of unknown cases, and unused sidecars."""
    unknown = "unknown dataset, model, method or engine"
    gone = (Proposal(Category.TRIM, case, unknown) for case in stored if not known(case))
    unused = "not used by any baseline"
    return (*gone, *(Proposal(Category.TRIM, None, unused, orphan=path) for path in orphans))


def replaced(observed: Snapshot, baseline: Baseline, outcome: Outcome) -> Replaced:
    """What an approval of `observed` replaces, on the samples with identical content."""
    # imports scipy, which showing baselines does not need
    from qreg.stats.mcnemar import mcnemar

    if observed.score is not None and baseline.snapshot.score is not None:
        return _replaced_score(observed.score, baseline.snapshot.score, outcome)
    new, old = _by_image(observed), _by_image(baseline.snapshot)
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


def _replaced_score(observed: Score, baseline: Score, outcome: Outcome) -> Replaced:
    """Of a task: no sample is right or wrong, and flips are scores that moved."""
    from qreg.checks.score import score_change
    from qreg.tasks import whole_set_summary

    if observed.task != baseline.task or not set(observed.index) & set(baseline.index):
        return Replaced(outcome, correct=0, new_correct=0, total=0, flips=0, p_value=1.0)
    found = score_change(observed, baseline, alpha=0.05, summarize=whole_set_summary(observed))
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
    if change.observed is None or change.verdict is None or not reason.strip():
        raise ValueError(f"{change.category.value} of {change.case} for the reason {reason!r}")
    baseline, outcome = change.baseline, change.verdict.outcome
    approval = Approval(
        reason=reason.strip(),
        date=date,
        commit=commit,
        qreg=__version__,
        replaced=replaced(change.observed, baseline, outcome) if baseline else None,
    )
    earlier = baseline.history if baseline and change.replaces else ()
    return Baseline(change.observed, (*earlier, approval))


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


def _provenance(baseline: Baseline, observed: Environment) -> str:
    """The versions that differ from the recorded ones, as text; "" where none do."""
    then = baseline.snapshot.environment
    pairs = [("qreg", baseline.history[-1].qreg, __version__)]
    pairs += [(name, getattr(then, name), getattr(observed, name)) for name in PROVENANCE]
    return ", ".join(
        f"recorded with {name} {old or 'absent'}, now {new or 'absent'}"
        for name, old, new in pairs
        if old != new
    )
