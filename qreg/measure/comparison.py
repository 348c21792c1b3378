"""Measuring cases: build them, run them interleaved on the test samples, summarize."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import torch

from qreg.checks.score import score_change
from qreg.data import Dataset, Samples
from qreg.data.inputs import Inputs
from qreg.diagnosis.run import raised_failure
from qreg.errors import ContractError, DataError, QregError, UnavailableError
from qreg.measure.observation import Observation, Observer
from qreg.measure.options import Options, load_test
from qreg.measure.subject import Subject, case_setup, prepare
from qreg.metrics.accuracy import accuracy
from qreg.metrics.agreement import Predictions, agreement
from qreg.metrics.latency import Seconds, latency, time_interleaved
from qreg.metrics.size import model_size
from qreg.records.case import Case, Environment, Failure
from qreg.records.comparison import Comparison
from qreg.records.measurement import Accuracy, Latency, Measurement
from qreg.records.score import Score
from qreg.records.verdict import ScoreChange
from qreg.tasks import whole_set_summary

#: The level of the tests against fp32.
COMPARED_LEVEL = 0.05
#: The batch size for throughput, whose latency is reported.
BATCH = 100
#: Runs cases of one dataset on all of its test samples, elsewhere.
Observe: TypeAlias = Callable[[Sequence[Case]], Sequence[Observation | Failure]]
# Samples that cases are timed on, where they are observed elsewhere.
_TIMED = 10 * BATCH
# Batch-1 latency: bursts of calls, each after untimed warm-up calls.
_ROUNDS, _CALLS, _WARM_UP = 8, 12, 3


@dataclass(frozen=True, eq=False)
class Run:
    """The run of one case: its outputs, and seconds for each kind of batch."""

    subject: Subject
    observation: Observation
    batch_seconds: Seconds
    single_seconds: Seconds

    @property
    def predictions(self) -> Predictions:
        """Predicted classes (N,).

        Raises:
            ContractError: the task has none.
        """
        if self.observation.predictions is None:
            task = self.observation.score.task if self.observation.score else ""
            raise ContractError(
                f"task '{task}' has no predictions", hint="compare the scores of its samples"
            )
        return self.observation.predictions


@dataclass(frozen=True, eq=False)
class CaseRuns:
    """The runs of cases of one dataset and one model, on the same samples.

    Attributes:
        timed: of how many samples the times are; 0 where they are of all.
    """

    runs: tuple[Run | Failure, ...]
    dataset: Dataset
    test: Samples
    timed: int = 0

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks that hold for all cases."""
        if not self.timed:
            return self.test.notes
        text = f"times are of the first {self.timed:,} of {len(self.test):,} samples"
        return (*self.test.notes, text)


def measure(
    cases: Sequence[Case],
    options: Options,
    *,
    details: bool = False,
    observe: Observe | None = None,
) -> Comparison:
    """Measure cases of one dataset and one model, the first of which is the fp32 reference.

    Args:
        details: collect what a page shows, after everything was measured.
        observe: runs the cases on all samples elsewhere, as `qreg.measure.sharded.Sharding` does;
            here they are only timed, on the first samples.

    Returns:
        A measurement or a failure for each case, in their order.

    Raises:
        QregError: what concerns all cases: dataset, model, reference, a damaged file.
    """
    from qreg.measure.detail import run_details

    seen = run_cases(cases, options, observe)
    found = summarize(seen)
    return Comparison(found, run_details(seen, found) if details else ())


def run_cases(cases: Sequence[Case], options: Options, observe: Observe | None = None) -> CaseRuns:
    """Build the cases and run them interleaved; see `measure`."""
    dataset = options.dataset(cases[0].dataset)
    test = load_test(dataset, options)
    made = _prepare_all(cases, dataset, test, options)
    subjects = [one for one in made if isinstance(one, Subject)]
    timed = test if observe is None else test.rows(np.arange(min(len(test), _TIMED)))
    ran = _run_interleaved(subjects, dataset, timed, options)
    _refuse_failed(ran[0])
    if observe is not None:
        ran = _observed_elsewhere(ran, observe)
        _refuse_failed(ran[0])
    runs = iter(ran)
    seen = tuple(next(runs) if isinstance(one, Subject) else one for one in made)
    return CaseRuns(seen, dataset, test, 0 if observe is None else len(timed))


def _observed_elsewhere(ran: Sequence[Run | Failure], observe: Observe) -> list[Run | Failure]:
    """The runs, with what was observed on all samples."""
    working = [one for one in ran if isinstance(one, Run)]
    found = iter(observe([one.subject.case for one in working]))
    return [_with_observation(one, next(found)) if isinstance(one, Run) else one for one in ran]


def _with_observation(timed: Run, found: Observation | Failure) -> Run | Failure:
    if isinstance(found, Failure):
        return found
    return _not_finite(timed.subject, found) or replace(timed, observation=found)


def _prepare_all(
    cases: Sequence[Case], dataset: Dataset, test: Samples, options: Options
) -> list[Subject | Failure]:
    setup = case_setup(dataset, test, options)
    made = []
    for number, case in enumerate(cases):
        options.progress(number, len(cases), f"building {case.method}")
        made.append(prepare(case, setup))
        if number == 0:
            _refuse_failed(made[0])
    return made


def _refuse_failed(reference: object) -> None:
    if isinstance(reference, Failure):
        raise UnavailableError(
            f"the reference {reference.case} cannot be measured: {reference.text}",
            hint=reference.hint,
            details=reference.details,
        )


@torch.no_grad()
def _run_interleaved(
    subjects: Sequence[Subject], dataset: Dataset, test: Samples, options: Options
) -> list[Run | Failure]:
    """Run all cases on each batch before the next one, so that their times are comparable.

    One that raises, or whose outputs are not finite, is a failure; the others go on.
    """
    observers = [Observer(dataset) for _ in subjects]
    seconds: list[list[float]] = [[] for _ in subjects]
    failed: dict[int, Failure] = {}
    with _engine_kept():
        for number, batch in enumerate(test.batches(BATCH)):
            reference: Any = None  # fp32 is the first
            for which, subject in enumerate(subjects):
                if which in failed:
                    continue
                start = time.perf_counter()
                try:
                    out = subject.run(batch.inputs)
                    seconds[which].append((time.perf_counter() - start) / len(batch) * BATCH)
                    reference = out if which == 0 else reference
                    observers[which].add(out, batch, reference)
                except DataError:
                    raise
                except Exception as error:
                    failed[which] = _failure(subject.case, error)
            options.progress(min((number + 1) * BATCH, len(test)), len(test), "test samples")
        working = [which for which in range(len(subjects)) if which not in failed]
        single = _time_single([subjects[one] for one in working], test.first(1).inputs)
    found: dict[int, Run | Failure] = {**failed}
    for which, times in zip(working, single, strict=True):
        observation = observers[which].result()
        found[which] = _not_finite(subjects[which], observation) or Run(
            subject=subjects[which],
            observation=observation,
            batch_seconds=np.array(seconds[which])[:, None],
            single_seconds=times,
        )
    return [found[which] for which in range(len(subjects))]


def _failure(case: Case, error: Exception) -> Failure:
    """What concerns this case alone: its code raised, or its outputs fit no task."""
    if isinstance(error, QregError):
        return Failure(case, str(error), error.hint, unavailable=False)
    return raised_failure(case, error)


def _not_finite(subject: Subject, observation: Observation) -> Failure | None:
    hit = int((~np.isfinite(observation.rows)).any(axis=1).sum())
    if not hit:
        return None
    what = "logits" if observation.score is None else "outputs"
    reason = (
        f"the {what} of {hit} of {len(observation.rows)} samples are not finite (NaN or infinite)"
    )
    hint = "look for NaN in its weights, or for a scale of 0 in what was observed"
    return Failure(subject.case, reason, hint, unavailable=False)


def _time_single(subjects: Sequence[Subject], image: Inputs) -> list[Seconds]:
    runs = [lambda s=subject: s.run(image) for subject in subjects]
    return time_interleaved(runs, rounds=_ROUNDS, calls=_CALLS, warm_up=_WARM_UP)


def summarize(compared: CaseRuns) -> tuple[Measurement | Failure, ...]:
    """The measurements from the runs, each compared with fp32 and its control."""
    fingerprint = compared.test.fingerprint()
    runs = [run for run in compared.runs if isinstance(run, Run)]
    by_method = {run.subject.method.name: run for run in reversed(runs)}
    return tuple(
        _measurement(one, by_method, compared, one.subject.environment, fingerprint)
        if isinstance(one, Run)
        else one
        for one in compared.runs
    )


def _measurement(
    run: Run,
    by_method: dict[str, Run],
    runs: CaseRuns,
    environment: Environment,
    fingerprint: str,
) -> Measurement:
    subject = run.subject
    names = dict.fromkeys(("fp32", subject.method.control))
    labels, index = run.observation.labels, run.observation.index
    references = {n: by_method[n] for n in names if n in by_method and by_method[n] is not run}
    return Measurement(
        case=subject.case,
        environment=environment,
        checkpoint=subject.weights.text,
        calibration=subject.calibration,
        data_fingerprint=fingerprint,
        accuracy=_accuracy(run.observation, runs.dataset),
        agreements=tuple(
            agreement(run.predictions, reference.predictions, labels, index, name=name)
            for name, reference in references.items()
            if labels is not None
        ),
        size=model_size(subject.model),
        latencies=latencies(run, by_method["fp32"], environment.threads),
        warnings=subject.warnings,
        score=run.observation.score,
        score_changes=tuple(
            (name, _score_change(run.observation.score, reference.observation.score))
            for name, reference in references.items()
            if run.observation.score is not None and reference.observation.score is not None
        ),
        notes=(*runs.notes, *run.observation.notes),
    )


def _accuracy(observation: Observation, dataset: Dataset) -> Accuracy | None:
    if observation.labels is None or observation.predictions is None:
        return None
    classes = dataset.classes or tuple(map(str, range(int(observation.labels.max()) + 1)))
    return accuracy(observation.predictions, observation.labels, observation.index, classes=classes)


def _score_change(candidate: Score, reference: Score) -> ScoreChange:
    summarize = whole_set_summary(candidate)
    return score_change(candidate, reference, alpha=COMPARED_LEVEL, summarize=summarize)


def latencies(run: Run, reference: Run, threads: int) -> tuple[Latency, ...]:
    """Times for both kinds of batches, compared with those of another, interleaved run."""
    return (
        latency(run.single_seconds, reference.single_seconds, batch_size=1, threads=threads),
        latency(run.batch_seconds, reference.batch_seconds, batch_size=BATCH, threads=threads),
    )


@contextmanager
def _engine_kept() -> Iterator[None]:
    reference = torch.backends.quantized.engine
    try:
        yield
    finally:
        torch.backends.quantized.engine = reference
