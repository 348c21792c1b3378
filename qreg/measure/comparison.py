"""Measuring cases: build them, run them interleaved on the test samples, summarize."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from qreg.data import Dataset, Samples
from qreg.data.inputs import Inputs
from qreg.diagnosis.run import raised_failure
from qreg.errors import DataError, UnavailableError
from qreg.measure.environment import capture_environment
from qreg.measure.options import Options, load_test
from qreg.measure.recorded_warnings import silence_one_time_warnings
from qreg.measure.subject import Subject, case_setup, prepare
from qreg.metrics.accuracy import accuracy
from qreg.metrics.agreement import Predictions, agreement
from qreg.metrics.latency import Seconds, latency, time_interleaved
from qreg.metrics.size import model_size
from qreg.records.case import Case, Environment, Failure
from qreg.records.measurement import Latency, Measurement

#: The batch size for throughput, whose latency is reported.
BATCH = 100
# Batch-1 latency: bursts of calls, each after untimed warm-up calls.
_ROUNDS, _CALLS, _WARM_UP = 8, 12, 3


@dataclass(frozen=True, eq=False)
class Run:
    """The run of one case: predictions (N,), and seconds for each kind of batch.

    Attributes:
        digest: sha256 of the logits of all samples.
    """

    subject: Subject
    predictions: Predictions
    digest: str
    batch_seconds: Seconds
    single_seconds: Seconds


@dataclass(frozen=True, eq=False)
class CaseRuns:
    """The runs of cases of one dataset and one model, on the same samples."""

    runs: tuple[Run | Failure, ...]
    dataset: Dataset
    test: Samples
    labels: Predictions


def measure(cases: Sequence[Case], options: Options) -> tuple[Measurement | Failure, ...]:
    """Measure cases of one dataset and one model, the first of which is the fp32 reference.

    Returns:
        tuple: a measurement or a failure for each case, in their order.

    Raises:
        QregError: what concerns all cases: dataset, model, reference, a damaged file.
    """
    return summarize(run_cases(cases, options))


def run_cases(cases: Sequence[Case], options: Options) -> CaseRuns:
    """Build the cases and run them interleaved; see `measure`."""
    silence_one_time_warnings()
    dataset = options.dataset(cases[0].dataset)
    test = load_test(dataset, options)
    made = _prepare_all(cases, dataset, test, options)
    subjects = [one for one in made if isinstance(one, Subject)]
    ran = _run_interleaved(subjects, dataset, test, options)
    _refuse_failed(ran[0])
    runs = iter(ran)
    seen = tuple(next(runs) if isinstance(one, Subject) else one for one in made)
    return CaseRuns(seen, dataset, test, _labels(test))


def _labels(test: Samples) -> Predictions:
    if test.labels is None:
        raise DataError("targets that are no class labels", hint="give labels 0 .. classes - 1")
    return test.labels


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

    One that raises, or whose logits are not finite, is a failure; the others go on.
    """
    logits: list[list[torch.Tensor]] = [[] for _ in subjects]
    seconds: list[list[float]] = [[] for _ in subjects]
    failed: dict[int, Failure] = {}
    with _engine_kept():
        for number, batch in enumerate(test.batches(BATCH)):
            for which, subject in enumerate(subjects):
                if which in failed:
                    continue
                start = time.perf_counter()
                try:
                    out = subject.run(batch.inputs)
                except Exception as error:
                    failed[which] = raised_failure(subject.case, error)
                    continue
                seconds[which].append((time.perf_counter() - start) / len(batch) * BATCH)
                logits[which].append(out)
            options.progress(min((number + 1) * BATCH, len(test)), len(test), "test images")
        working = [which for which in range(len(subjects)) if which not in failed]
        single = _time_single([subjects[one] for one in working], test.first(1).inputs)
    found: dict[int, Run | Failure] = {**failed}
    for which, times in zip(working, single, strict=True):
        outs = torch.cat(logits[which])[:, : len(dataset.classes)]
        found[which] = _not_finite(subjects[which], outs) or Run(
            subject=subjects[which],
            predictions=outs.argmax(dim=1).numpy(),
            digest=hashlib.sha256(outs.float().numpy().tobytes()).hexdigest(),
            batch_seconds=np.array(seconds[which])[:, None],
            single_seconds=times,
        )
    return [found[which] for which in range(len(subjects))]


def _not_finite(subject: Subject, logits: torch.Tensor) -> Failure | None:
    hit = int((~torch.isfinite(logits)).any(dim=1).sum())
    if not hit:
        return None
    reason = f"the logits of {hit} of {len(logits)} samples are not finite (NaN or infinite)"
    hint = "look for NaN in its weights, or for a scale of 0 in what was observed"
    return Failure(subject.case, reason, hint, unavailable=False)


def _time_single(subjects: Sequence[Subject], image: Inputs) -> list[Seconds]:
    runs = [lambda s=subject: s.run(image) for subject in subjects]
    return time_interleaved(runs, rounds=_ROUNDS, calls=_CALLS, warm_up=_WARM_UP)


def summarize(seen: CaseRuns) -> tuple[Measurement | Failure, ...]:
    """The measurements from the runs, each compared with fp32 and its control."""
    environment, fingerprint = capture_environment(), seen.test.fingerprint()
    runs = [run for run in seen.runs if isinstance(run, Run)]
    by_method = {run.subject.method.name: run for run in reversed(runs)}
    return tuple(
        _measurement(one, by_method, seen, environment, fingerprint)
        if isinstance(one, Run)
        else one
        for one in seen.runs
    )


def _measurement(
    run: Run,
    by_method: dict[str, Run],
    seen: CaseRuns,
    environment: Environment,
    fingerprint: str,
) -> Measurement:
    subject = run.subject
    names = dict.fromkeys(("fp32", subject.method.control))
    references = {n: by_method[n] for n in names if n in by_method and by_method[n] is not run}
    return Measurement(
        case=subject.case,
        environment=environment,
        checkpoint=subject.weights.text,
        calibration=subject.calibration,
        data_fingerprint=fingerprint,
        accuracy=accuracy(
            run.predictions, seen.labels, seen.test.index, classes=seen.dataset.classes
        ),
        agreements=tuple(
            agreement(
                run.predictions, reference.predictions, seen.labels, seen.test.index, name=name
            )
            for name, reference in references.items()
        ),
        size=model_size(subject.model),
        latencies=latencies(run, by_method["fp32"], environment.threads),
        warnings=subject.warnings,
    )


def latencies(run: Run, reference: Run, threads: int) -> tuple[Latency, ...]:
    """Times for both kinds of batches, compared with those of another, interleaved run."""
    return (
        latency(run.single_seconds, reference.single_seconds, batch_size=1, threads=threads),
        latency(run.batch_seconds, reference.batch_seconds, batch_size=BATCH, threads=threads),
    )


@contextmanager
def _engine_kept() -> Iterator[None]:
    before = torch.backends.quantized.engine
    try:
        yield
    finally:
        torch.backends.quantized.engine = before
