"""From a measurement and a baseline to a verdict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from qreg.checks.accuracy import accuracy_change, judge_accuracy, moved_images
from qreg.checks.agreement import agreement_p_value, judge_agreement
from qreg.checks.files import file_note, judge_file
from qreg.checks.layers import judge_layers, judge_parameters
from qreg.checks.logits import judge_logits, judge_numbers
from qreg.checks.operators import judge_kinds, judge_operators, judge_quantized
from qreg.checks.samples import Shared, judge_images, shared_images
from qreg.checks.score import Summarize, judge_scores
from qreg.checks.size import judge_size
from qreg.checks.tolerances import tolerances
from qreg.checks.warning_texts import judge_warnings
from qreg.records.baseline import Baseline, Snapshot
from qreg.records.case import Case, Failure
from qreg.records.method import MethodInfo
from qreg.records.numerics import Numerics
from qreg.records.verdict import (
    AccuracyChange,
    Basis,
    Check,
    Finding,
    Outcome,
    ScoreChange,
    Verdict,
)
from qreg.records.weights import parse_weights


def judge(
    observed: Snapshot,
    baseline: Baseline,
    basis: Basis,
    method: MethodInfo,
    *,
    alpha: float,
    summarize: Summarize | None = None,
) -> Verdict:
    """Judge the observation of a case by its baseline.

    Args:
        method: the facts of the case's method.
        alpha: the level of each test with a p-value; see `qreg.stats.holm.family_alpha`.
        summarize: the summary of the case's task, where that is of a whole set.
    """
    old = baseline.snapshot
    shared = shared_images(observed, old)
    findings = list(judge_images(shared, observed, old))
    if any(finding.outcome is Outcome.INCOMPARABLE for finding in findings):
        return Verdict(
            observed.case,
            Outcome.INCOMPARABLE,
            basis=basis,
            findings=tuple(findings),
            notes=(_OTHER_CPU,) if shared.altered and not basis.exact else (),
        )
    scores, found = judge_scores(
        observed.score,
        old.score,
        exact=basis.exact,
        alpha=alpha,
        tolerance=tolerances(observed, old, basis).score,
        summarize=summarize,
    )
    findings += found
    change = None if observed.score else accuracy_change(shared, alpha=alpha)
    if change:
        findings += judge_accuracy(change, alpha=alpha)
    findings += judge_agreement(observed, old, shared, exact=basis.exact, alpha=alpha)
    findings += _source(observed, old)
    findings += judge_quantized(method, observed.numerics)
    findings += judge_file(observed.file, old.file)
    findings += _numerics(observed, old, shared, basis, method)
    findings.sort(key=lambda finding: -finding.outcome.severity)
    return Verdict(
        case=observed.case,
        outcome=_outcome(findings),
        basis=basis,
        weights=str(parse_weights(observed.checkpoint)),
        accuracy=change,
        findings=tuple(findings),
        moved=() if observed.score else moved_images(observed, old, shared),
        p_values=(_p_value(scores or change), agreement_p_value(shared)),
        notes=_notes(observed, old, shared),
        score=scores,
    )


_OTHER_CPU = (
    "floats that a transform computes differ in the last bits between CPUs: where the raw content "
    "is the same, say so with a method digest(index) of the dataset"
)


def _p_value(change: AccuracyChange | ScoreChange | None) -> float:
    """One-sided p-value of being worse; 1 where nothing could be compared."""
    return change.p_value if change else 1.0


def no_baseline(observed: Snapshot, method: MethodInfo) -> Verdict:
    """The verdict without a baseline: only checks that need none are judged."""
    verdict = Verdict(
        observed.case,
        Outcome.NO_BASELINE,
        weights=str(parse_weights(observed.checkpoint)),
        notes=("no baseline: nothing was judged",),
    )
    for finding in (
        *judge_quantized(method, observed.numerics),
        *judge_numbers(observed, infinite=True),
    ):
        verdict = with_finding(verdict, finding)
    return verdict


def failed(failure: Failure) -> Verdict:
    """The verdict on a case that could not be observed."""
    notes = (failure.text, *([failure.hint] if failure.hint else []))
    return Verdict(failure.case, Outcome.ERROR, notes=notes, details=failure.details)


def with_finding(verdict: Verdict, finding: Finding) -> Verdict:
    """The verdict with a finding added."""
    findings = sorted((*verdict.findings, finding), key=lambda f: -f.outcome.severity)
    return replace(verdict, findings=tuple(findings), outcome=_outcome(findings))


def other_weights(case: Case, reason: str, hint: str) -> Verdict:
    """The verdict on a case with ambiguous weights: two sources disagree."""
    finding = Finding(
        check=Check.WEIGHTS,
        outcome=Outcome.INCOMPARABLE,
        expected="a checkpoint of the weights that the model brings",
        observed=reason,
        allowed="the same",
    )
    return Verdict(case, Outcome.INCOMPARABLE, findings=(finding,), notes=(hint,))


def without_findings(verdict: Verdict, known: Sequence[Finding]) -> Verdict:
    """The verdict without findings that another one has, too."""
    left = tuple(finding for finding in verdict.findings if finding not in known)
    if left == verdict.findings:
        return verdict
    return replace(verdict, findings=left, outcome=_outcome(left))


def _outcome(findings: Sequence[Finding]) -> Outcome:
    """The worst; but of other weights nothing that is measured is comparable."""
    if any(finding.check is Check.WEIGHTS for finding in findings):
        return Outcome.INCOMPARABLE
    return max((f.outcome for f in findings), key=lambda o: o.severity, default=Outcome.PASS)


def _numerics(
    observed: Snapshot, old: Snapshot, shared: Shared, basis: Basis, method: MethodInfo
) -> Iterator[Finding]:
    allowed = tolerances(observed, old, basis)
    # "2.14.1+cpu" and "2.14.1+cu130" are the same environment
    here, there = observed.environment, old.environment
    same_versions = (here.torch, here.onnxruntime) == (there.torch, there.onnxruntime)
    same_version = basis.exact or same_versions
    a, b = observed.numerics, old.numerics
    yield from judge_kinds(a.layers, b.layers)
    dispatched_alike = basis.exact or (same_version and _dispatched_alike(observed, old, method))
    yield from judge_operators(a.operators, b.operators, same_version=dispatched_alike)
    yield from judge_parameters(a.layers, b.layers, allowed)
    yield from judge_layers(a.layers, b.layers, allowed)
    yield from judge_logits(observed, old, shared, allowed)
    yield from _storage(a, b, exact=basis.exact)
    yield from judge_size(observed.size, old.size, same_version=same_version)
    if same_version:
        yield from judge_warnings(observed.warnings, old.warnings)


def _dispatched_alike(observed: Snapshot, old: Snapshot, method: MethodInfo) -> bool:
    """Whether the same operators must run around those that compute layers.

    PyTorch chooses instructions within a kernel, but a method's own Python code may choose
    operators by CPU.
    """
    here, there = observed.environment, old.environment
    same_cpu = (here.vnni, here.cpu_capability) == (there.vnni, there.cpu_capability)
    return same_cpu or not method.operators_by_cpu


def _source(observed: Snapshot, old: Snapshot) -> Iterator[Finding]:
    """Compare the weights and calibration samples."""
    weights, approved = parse_weights(observed.checkpoint), parse_weights(old.checkpoint)
    if not weights.same(approved):
        yield Finding(
            check=Check.WEIGHTS,
            outcome=Outcome.INCOMPARABLE,
            expected=str(approved),
            observed=f"other weights: {weights}",
            allowed="the same: approve the new weights",
        )
    if observed.draw != old.draw:
        yield Finding(
            check=Check.CALIBRATION,
            outcome=Outcome.REGRESSED,
            expected=f"samples drawn by the rule: {old.draw or 'first'}",
            observed=f"by the rule: {observed.draw or 'first'}",
            allowed="the same rule, or approve the new one",
        )
    if observed.calibration != old.calibration:
        yield Finding(
            check=Check.CALIBRATION,
            outcome=Outcome.REGRESSED,
            expected=f"{len(old.calibration)} calibration samples",
            observed=f"{len(observed.calibration)}, different ones",
            allowed="the same indices",
        )


def _storage(observed: Numerics, old: Numerics, *, exact: bool) -> Iterator[Finding]:
    """A model that has loaded its own saved state must compute the same."""
    kept, could = observed.reloaded == observed.single, old.reloaded == old.single
    if kept != could or (exact and not kept and observed.reloaded != old.reloaded):
        yield Finding(
            check=Check.STORAGE,
            outcome=Outcome.IMPROVED if kept else Outcome.REGRESSED,
            expected=f"{_loaded(old)} after saving and loading",
            observed=_loaded(observed),
            allowed="equal bits",
        )


def _loaded(numerics: Numerics) -> str:
    if numerics.reloaded == numerics.single:
        return "the same logits"
    return f"other logits, digest {numerics.reloaded[:16]}" if numerics.reloaded else "not loadable"


def _notes(observed: Snapshot, old: Snapshot, shared: Shared) -> tuple[str, ...]:
    total = len(observed.numerics.images.index)
    notes = []
    if len(shared.index) < total:
        notes.append(f"judged on {len(shared.index)} of {total} images: the others are new")
    if note := file_note(observed.file, old.file):
        notes.append(note)
    if observed.environment.torch != old.environment.torch and set(observed.warnings) != set(
        old.warnings
    ):
        more = len(set(observed.warnings) - set(old.warnings))
        fewer = len(set(old.warnings) - set(observed.warnings))
        notes.append(f"warnings under this PyTorch: {more} new, {fewer} gone")
    return tuple(notes)
